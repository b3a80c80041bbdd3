//! What one SKU's journal says: it is folded entry by entry, by rules written down a second time.

use std::collections::BTreeMap;

use cartgate_ledger::{Cause, CommandId, Counters, JournalEntry, Terms, UnixMs};

use super::wish::Wish;
use super::{Checked, Violation};

/// One SKU's stock and sale, as far as they were committed.
#[derive(Clone, Default)]
pub(super) struct Book {
    pub(super) entries: Vec<JournalEntry>,
    /// The units last set, and what was adjusted since.
    total: i64,
    at: UnixMs,
    /// The rules of the sale, and all that there have been.
    pub(super) terms: Terms,
    pub(super) terms_ever: Vec<Terms>,
    /// Units held and bought.
    by_customer: BTreeMap<&'static str, i64>,
}

/// A hold, from when it was taken.
#[derive(Clone)]
pub(super) struct Taking {
    pub(super) at: UnixMs,
    units: u32,
    /// Units whose fate is open.
    open: u32,
    pub(super) end: Option<(Cause, UnixMs)>,
    /// How long somebody was told that it lasts.
    pub(super) promised_until: Option<UnixMs>,
    /// Whether somebody was told of it, or used it.
    pub(super) is_known: bool,
    /// Whether its command was repeated since.
    pub(super) was_repeated: bool,
    /// In which of the engine's lives it was taken.
    pub(super) life: u32,
    /// The first attempt that may have taken it; 0: not known yet.
    pub(super) attempt: u32,
}

impl Taking {
    pub(super) fn is_open(&self) -> bool {
        self.end.is_none()
    }
}

/// Who may have wanted what the journal says of a reservation.
#[derive(Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) confirm: bool,
    pub(super) release: bool,
    pub(super) extend: bool,
    /// By a cart.
    pub(super) cancel: bool,
    /// By hanging up.
    pub(super) hang_up: bool,
}

impl Wanted {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            confirm: self.confirm || other.confirm,
            release: self.release || other.release,
            extend: self.extend || other.extend,
            cancel: self.cancel || other.cancel,
            hang_up: self.hang_up || other.hang_up,
        }
    }
}

impl Book {
    pub(super) fn counters(&self) -> Counters {
        self.entries.last().map(|entry| entry.after).unwrap_or_default()
    }

    pub(super) fn version(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
        self.terms_ever.push(terms);
    }

    /// Adds an entry, if it follows from those before.
    pub(super) fn add(&mut self, entry: &JournalEntry) -> Checked {
        ensure!(entry.version == self.version() + 1, "a gap before {entry:?}");
        ensure!(entry.before == self.counters(), "a jump before {entry:?}");
        ensure!(entry.at >= self.at, "time runs backwards in {entry:?}");
        let [available, held, confirmed] = signed(entry.before);
        let by = entry.quantity;
        let (after, total) = match entry.cause {
            Cause::Set => ([by - held - confirmed, held, confirmed], by),
            Cause::Adjust => ([available + by, held, confirmed], self.total + by),
            Cause::Reserve => ([available - by, held + by, confirmed], self.total),
            Cause::Confirm => ([available, held - by, confirmed + by], self.total),
            Cause::Release | Cause::Expire | Cause::Cancel => {
                ([available + by, held - by, confirmed], self.total)
            }
        };
        ensure!(after.iter().all(|units| *units >= 0), "fewer units than none after {entry:?}");
        ensure!(signed(entry.after) == after, "{entry:?} does not add up");
        ensure!(after.iter().sum::<i64>() == total, "{total} units were set, not as in {entry:?}");
        self.total = total;
        self.at = entry.at;
        self.entries.push(entry.clone());
        Ok(())
    }

    /// Checks that a hold may be taken now, for the first time or (`again`) to be sold late, and
    /// counts its units.
    pub(super) fn take(&mut self, entry: &JournalEntry, wish: Wish, again: bool) -> Checked {
        let Terms { customer_cap, opens_at, closes_at } = self.terms;
        let is_open =
            opens_at.is_none_or(|at| at <= entry.at) && closes_at.is_none_or(|at| at > entry.at);
        ensure!(is_open || again, "{entry:?} is outside of the sale: {:?}", self.terms);
        let Some(customer) = wish.customer else {
            ensure!(customer_cap.is_none() || again, "{entry:?} is for nobody, under a cap");
            return Ok(());
        };
        let units = self.by_customer.entry(customer).or_default();
        *units += entry.quantity;
        let is_over = customer_cap.is_some_and(|cap| *units > i64::from(cap.get()));
        ensure!(!is_over, "{customer} has {units} units, more than {customer_cap:?}: {entry:?}");
        Ok(())
    }

    /// Units that a customer has no more.
    pub(super) fn give_back(&mut self, wish: Wish, units: i64) {
        if let Some(customer) = wish.customer {
            *self.by_customer.entry(customer).or_default() -= units;
        }
    }

    /// The quantities of the entries about `id` for this cause.
    pub(super) fn quantities(&self, cause: Cause, id: CommandId) -> impl Iterator<Item = i64> {
        let entries = self.entries.iter().rev();
        entries.filter(move |e| e.cause == cause && e.id == Some(id)).map(|entry| entry.quantity)
    }
}

impl Taking {
    pub(super) fn new(entry: &JournalEntry, life: u32) -> Result<Self, Violation> {
        let units = u32::try_from(entry.quantity).map_err(|_| Violation(format!("{entry:?}")))?;
        Ok(Self {
            at: entry.at,
            units,
            open: units,
            end: None,
            promised_until: None,
            is_known: false,
            was_repeated: false,
            life,
            attempt: 0,
        })
    }

    pub(super) fn units(&self) -> u32 {
        self.units
    }

    /// Ends the hold, or what a sale has left of it, as the journal says.
    pub(super) fn end(&mut self, entry: &JournalEntry, wanted: Wanted) -> Checked {
        let is_rest_of_sale = matches!(self.end, Some((Cause::Confirm, _)))
            && self.open > 0
            && entry.cause == Cause::Release;
        ensure!(self.is_open() || is_rest_of_sale, "a hold ends twice: {entry:?}");
        let may_leave_some = entry.cause == Cause::Confirm;
        let units = i64::from(self.open);
        ensure!(
            entry.quantity == units || (may_leave_some && entry.quantity < units),
            "{entry:?} is about {units} units"
        );
        let promise = self.promised_until;
        let is_wanted = match entry.cause {
            Cause::Confirm => wanted.confirm,
            Cause::Release => wanted.release || is_rest_of_sale,
            Cause::Expire => promise.is_none_or(|until| entry.at >= until),
            Cause::Cancel => wanted.cancel || (wanted.hang_up && promise.is_none()),
            Cause::Set | Cause::Reserve | Cause::Adjust => false,
        };
        ensure!(is_wanted, "{entry:?}, and nobody wanted it; promised until {promise:?}");
        self.open -= u32::try_from(entry.quantity).unwrap_or(self.open);
        if self.end.is_none() {
            self.end = Some((entry.cause, entry.at));
        }
        Ok(())
    }

    /// Whether nothing of it hangs in the air: all units of a hold have one fate, all at once.
    pub(super) fn is_whole(&self) -> bool {
        self.is_open() || self.open == 0
    }
}

fn signed(counters: Counters) -> [i64; 3] {
    let Counters { available, held, confirmed } = counters;
    // What would not fit is far more than there ever is.
    [available, held, confirmed].map(|units| i64::try_from(units).unwrap_or(i64::MIN / 8))
}
