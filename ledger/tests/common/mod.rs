//! A stock with all that its owner keeps beside it, checked after each step.

#![allow(dead_code, reason = "each file of tests uses a part of it")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

pub(crate) mod history;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use cartgate_ledger::{
    Adjust, Adjustment, Cause, Changes, Circumstances, Claim, Command, CommandId, Counters,
    Fingerprint, JournalEntry, OnExpired, Outcome, Purchase, Recalled, Reservation,
    ReservationState, Reserve, Stock, Terms, UnixMs, apply, verify_next,
};

/// One SKU, and what is kept of it outside of [`Stock`].
#[derive(Default)]
pub(crate) struct Owner {
    pub(crate) stock: Stock,
    pub(crate) journal: Vec<JournalEntry>,
    pub(crate) purchases: Vec<Purchase>,
    kept: HashMap<CommandId, Reservation>,
    adjustments: HashMap<CommandId, Adjustment>,
    /// The units last set, and what was adjusted since.
    total: u64,
    /// What folding the journal says that customers hold and have bought.
    by_customer: HashMap<Arc<str>, u64>,
}

impl Owner {
    /// An owner of so many units, set at time 0.
    pub(crate) fn of(units: u64) -> Self {
        let mut owner = Self::default();
        owner.apply(&set(units), at(0));
        owner
    }

    /// Applies a command as often as it is deferred: nothing overtakes it.
    pub(crate) fn apply(&mut self, command: &Command, circumstances: Circumstances<'_>) -> Outcome {
        let deferred_max = self.stock.hold_count();
        for _ in 0..=deferred_max {
            let outcome = self.try_once(command, circumstances);
            if outcome != Outcome::Deferred {
                return outcome;
            }
        }
        panic!("{command:?} was deferred more often than there were holds to expire");
    }

    /// Applies a command once, and checks everything.
    pub(crate) fn try_once(
        &mut self,
        command: &Command,
        circumstances: Circumstances<'_>,
    ) -> Outcome {
        let recalled_reservation;
        let recalled_adjustment;
        let mut recalled = None;
        // The stock knows itself what it holds.
        if let Some(id) = command.id().filter(|id| self.stock.hold(*id).is_none()) {
            recalled_reservation = self.kept.get(&id).cloned();
            recalled_adjustment = self.adjustments.get(&id).cloned();
            recalled = recalled_reservation.as_ref().map(Recalled::Reservation);
            recalled = recalled.or(recalled_adjustment.as_ref().map(Recalled::Adjustment));
        }
        let circumstances = Circumstances { recalled, ..circumstances };
        let mut changes = Changes::default();
        let outcome = apply(&mut self.stock, command, circumstances, &mut changes);
        self.count_total(command, &outcome, &changes);
        self.keep(command, changes);
        self.check();
        if outcome != Outcome::Deferred && *command == Command::Expire {
            let overdue = self.held().find(|hold| due_at(hold) <= self.stock.now());
            assert_eq!(overdue, None, "a hold outlived its time");
        }
        outcome
    }

    /// Changes the terms as an owner does: with the purchases so far.
    pub(crate) fn set_terms(&mut self, terms: Terms) {
        self.stock.set_terms(terms, &self.purchases_by_customer());
        self.check();
    }

    /// What is kept of a reserve command.
    pub(crate) fn kept(&self, id: CommandId) -> Option<&Reservation> {
        self.kept.get(&id)
    }

    fn count_total(&mut self, command: &Command, outcome: &Outcome, changes: &Changes) {
        match (command, outcome) {
            (Command::Set { units, .. }, Outcome::Stock { .. }) => self.total = *units,
            // A repeat gets the first answer, and adds nothing.
            (Command::Adjust(adjust), Outcome::Adjusted(_))
                if changes.entries.iter().any(|entry| entry.cause == Cause::Adjust) =>
            {
                self.total = self.total.checked_add_signed(adjust.by).unwrap();
            }
            _ => {}
        }
    }

    fn keep(&mut self, command: &Command, changes: Changes) {
        for after in changes.reservations {
            let before = self.kept.insert(after.id, after.clone());
            let may_follow = self.may_follow(command, before.as_ref(), &after);
            assert!(may_follow, "after {command:?} {before:?} became {after:?}");
        }
        for adjustment in changes.adjustments {
            let before = self.adjustments.insert(adjustment.id, adjustment);
            assert_eq!(before, None, "an adjustment is decided once");
        }
        self.purchases.extend(changes.purchases);
        for entry in changes.entries {
            self.write_down(entry);
        }
    }

    /// Invariant 2: what may become of a reservation, by which command.
    fn may_follow(
        &self,
        command: &Command,
        before: Option<&Reservation>,
        after: &Reservation,
    ) -> bool {
        use ReservationState::{Confirmed, Expired, Held, Released};
        let Some(before) = before else { return matches!(command, Command::Reserve(_)) };
        match (before.state, after.state) {
            (Held { expires_at: earlier }, Held { expires_at: later }) => {
                after.attempt >= before.attempt
                    && later >= earlier
                    && (later == earlier || later <= latest_of(command, before))
            }
            (Held { .. }, Confirmed { quantity, .. }) => {
                matches!(command, Command::Confirm { .. }) && quantity <= before.quantity
            }
            (Held { .. }, Released { .. }) => ends_by_hand(command, before),
            (Held { .. }, Expired { .. }) => due_at(before) <= self.stock.now(),
            (Expired { .. }, Confirmed { quantity, .. }) => {
                let is_reacquired =
                    matches!(command, Command::Confirm { on_expired: OnExpired::Reacquire, .. });
                is_reacquired && quantity <= before.quantity
            }
            _ => {
                let is_anew = matches!(command, Command::Reserve(_));
                before.is_forgone() && is_anew && after.attempt > before.attempt
            }
        }
    }

    /// Invariant 5, and the cap: no unit is taken above it, whatever it was when others were taken.
    fn write_down(&mut self, entry: JournalEntry) {
        let (version, counters, last_at) = match self.journal.last() {
            Some(last) => (last.version, last.after, last.at),
            None => (0, Counters::default(), UnixMs(0)),
        };
        verify_next(version, counters, &entry).expect("the journal has no gap");
        assert!(entry.at >= last_at && entry.at == self.stock.now(), "its time runs on");
        let customer = entry.id.and_then(|id| self.kept.get(&id)?.customer.clone());
        if let Some(customer) = customer {
            let units = self.by_customer.entry(customer).or_default();
            match entry.cause {
                Cause::Reserve => {
                    *units += entry.quantity.unsigned_abs();
                    let cap = self.stock.terms().customer_cap;
                    assert!(cap.is_none_or(|cap| *units <= cap.get().into()), "above {cap:?}");
                }
                Cause::Release | Cause::Expire | Cause::Cancel => {
                    *units -= entry.quantity.unsigned_abs();
                }
                Cause::Set | Cause::Confirm | Cause::Adjust => {}
            }
        }
        self.journal.push(entry);
    }

    fn check(&self) {
        let counters = self.stock.counters();
        assert_eq!(counters.total(), self.total, "invariant 1: units add up");
        let held: u64 = self.held().map(|hold| u64::from(hold.quantity)).sum();
        let confirmed: u64 = self.kept.values().map(sold_units).sum();
        assert_eq!((counters.held, counters.confirmed), (held, confirmed), "holds add up");
        assert_eq!(self.held().count(), self.stock.hold_count());
        assert_eq!(self.stock.next_due(), self.held().map(due_at).min(), "the next to expire");
        let folded = self.journal.last().map_or(Counters::default(), |entry| entry.after);
        assert_eq!(folded, counters, "invariant 5: folding the journal gives the stock");
        self.check_customers();
        assert_eq!(self.restored(true), self.stock, "what is kept restores the stock");
        assert_eq!(self.restored(false), self.stock, "in whichever order");
    }

    fn check_customers(&self) {
        let mut by_customer: HashMap<Arc<str>, u64> = HashMap::new();
        let named = self.held().filter_map(|hold| Some((hold.customer.clone()?, hold.quantity)));
        for (customer, units) in named {
            *by_customer.entry(customer).or_default() += u64::from(units);
        }
        for (customer, units) in self.purchases_by_customer() {
            *by_customer.entry(customer).or_default() += units;
        }
        let mut folded = self.by_customer.clone();
        folded.retain(|_, units| *units > 0);
        assert_eq!(by_customer, folded, "customers have what the journal says");
    }

    /// The stock as it would be after a restart.
    fn restored(&self, terms_first: bool) -> Stock {
        let (counters, version) = (self.stock.counters(), self.stock.version());
        let mut stock = Stock::restore(counters, version, self.stock.now());
        let purchases = self.purchases_by_customer();
        if terms_first {
            stock.set_terms(self.stock.terms(), &purchases);
        }
        self.kept.values().cloned().for_each(|kept| stock.restore_hold(kept));
        if !terms_first {
            stock.set_terms(self.stock.terms(), &purchases);
        }
        stock
    }

    fn held(&self) -> impl Iterator<Item = &Reservation> {
        self.kept.values().filter(|kept| matches!(kept.state, ReservationState::Held { .. }))
    }

    fn purchases_by_customer(&self) -> Vec<(Arc<str>, u64)> {
        let units = |purchase: &Purchase| (Arc::clone(&purchase.customer), purchase.units.into());
        self.purchases.iter().map(units).collect()
    }
}

/// The latest moment until which `command` may extend a hold.
fn latest_of(command: &Command, hold: &Reservation) -> UnixMs {
    match command {
        Command::Extend { hold_ms_max, .. } => hold.decided_at.plus_ms(*hold_ms_max),
        _ => UnixMs(0),
    }
}

/// Whether `command` may give the hold back before its time.
fn ends_by_hand(command: &Command, hold: &Reservation) -> bool {
    match command {
        Command::Release { .. } => true,
        Command::Cancel { attempt, even_claimed, .. } => {
            *attempt == hold.attempt && (*even_claimed || hold.claim != Claim::Claimed)
        }
        _ => false,
    }
}

/// When a hold goes back by itself.
fn due_at(hold: &Reservation) -> UnixMs {
    match (hold.state, hold.claim) {
        (ReservationState::Held { expires_at }, Claim::Unclaimed { until }) => {
            UnixMs(expires_at.0.min(until.0))
        }
        (ReservationState::Held { expires_at }, _) => expires_at,
        _ => UnixMs(u64::MAX),
    }
}

fn sold_units(reservation: &Reservation) -> u64 {
    match reservation.state {
        ReservationState::Confirmed { quantity, .. } => quantity.into(),
        _ => 0,
    }
}

/// Somebody waits, and as many holds may expire as there are.
pub(crate) fn at(now: u64) -> Circumstances<'static> {
    Circumstances {
        now: UnixMs(now),
        recalled: None,
        is_awaited: true,
        unclaimed_ms: 10,
        expire_max: 100,
    }
}

/// The same with nobody waiting.
pub(crate) fn unawaited(now: u64) -> Circumstances<'static> {
    Circumstances { is_awaited: false, ..at(now) }
}

pub(crate) fn id(number: u8) -> CommandId {
    CommandId([number; 16])
}

pub(crate) fn units(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("at least one")
}

pub(crate) fn set(units: u64) -> Command {
    Command::Set { units, expected_version: None }
}

/// An adjustment that is the same each time it comes with the same number.
pub(crate) fn adjust_by(number: u8, by: i64) -> Adjust {
    Adjust { id: id(number), fingerprint: Fingerprint([number; 16]), repeatable: true, by }
}

pub(crate) fn adjust(number: u8, by: i64) -> Command {
    Command::Adjust(adjust_by(number, by))
}

/// A wish of customer `c` for so many units, for 40 ms.
pub(crate) fn wish(number: u8, quantity: u32) -> Reserve {
    Reserve {
        id: id(number),
        fingerprint: Fingerprint([number; 16]),
        repeatable: true,
        customer: Some("c".into()),
        quantity: units(quantity),
        hold_ms: 40,
        claim_by: UnixMs(u64::MAX),
        attempt: 1,
        is_tentative: false,
    }
}

pub(crate) fn reserve(number: u8, quantity: u32) -> Command {
    Command::Reserve(wish(number, quantity))
}

pub(crate) fn confirm(number: u8) -> Command {
    confirm_some(number, None, OnExpired::Refuse)
}

pub(crate) fn confirm_some(number: u8, quantity: Option<u32>, on_expired: OnExpired) -> Command {
    Command::Confirm { id: id(number), quantity: quantity.map(units), on_expired }
}

pub(crate) fn release(number: u8) -> Command {
    Command::Release { id: id(number) }
}

pub(crate) fn extend(number: u8, hold_ms: u64, hold_ms_max: u64) -> Command {
    Command::Extend { id: id(number), hold_ms, hold_ms_max }
}

pub(crate) fn claim(number: u8) -> Command {
    Command::Claim { id: id(number) }
}

pub(crate) fn cancel(number: u8, attempt: u32) -> Command {
    Command::Cancel { id: id(number), attempt, even_claimed: false }
}

pub(crate) fn cancel_claimed(number: u8, attempt: u32) -> Command {
    Command::Cancel { id: id(number), attempt, even_claimed: true }
}
