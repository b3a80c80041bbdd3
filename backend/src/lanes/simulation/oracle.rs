//! What must be so, judged from what was asked, what was written, and what customers were told.

use std::collections::{BTreeMap, BTreeSet};

use cartgate_ledger::{
    Adjustment, Cause, Claim, Command, CommandId, Fingerprint, Outcome, Reservation,
    ReservationState, UnixMs,
};
use cartgate_policy::Sku;

use super::book::{Book, Taking, Wanted};
use super::coverage::Coverage;
use super::request::Asked;
use super::wish::{HOLD_MS_MAX, SKUS, Wish, number_of};
use super::{Checked, Violation};
use crate::lanes::LaneSettings;
use crate::store::{Commit, Ended, EndedKind, SkuCommit};

mod past;
mod rest;

/// What is known of the engine from the outside.
#[derive(Clone)]
pub(super) struct Oracle {
    pub(super) books: [Book; SKUS.len()],
    pub(super) records: BTreeMap<CommandId, Record>,
    pub(super) adjustments: BTreeMap<CommandId, AdjustRecord>,
    /// Commands that a ticket was given for and that wait, and until when.
    pub(super) ticketed: BTreeMap<CommandId, UnixMs>,
    /// Those of them that somebody may have been told of.
    pub(super) promised: BTreeSet<CommandId>,
    /// The latest time that there has been.
    pub(super) latest: UnixMs,
    /// How often the engine was started again.
    pub(super) life: u32,
    pub(super) coverage: Coverage,
    settings: LaneSettings,
    /// Whether each bucket has an owner of its own, which keeps as many refusals as it may.
    pub(super) is_shared: bool,
    refusals_kept: BTreeMap<u16, usize>,
}

/// What is known of a reserve command.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) wish: Wish,
    /// How often it was asked for.
    times: u32,
    fingerprints: Vec<Fingerprint>,
    /// Where it stands in the store.
    pub(super) stands: Option<Reservation>,
    pub(super) was_forgotten: bool,
    pub(super) was_ticketed: bool,
    /// Until when those of its tickets were good, at most, that have ended with what was decided.
    pub(super) ended_ticket: UnixMs,
    /// The answer that a repeat has to get, and to which request it was given.
    pub(super) told: Option<Told>,
    pub(super) wanted: Wanted,
    /// Until when somebody waits for it, or has a ticket for it.
    claim_by: UnixMs,
    /// The last attempt that somebody was told of.
    pub(super) attempt: u32,
    /// The attempts that a cart has cancelled, and whether even if they were claimed.
    cancelled: Vec<(u32, bool)>,
    pub(super) takings: Vec<Taking>,
}

/// An answer that a customer has heard.
#[derive(Clone)]
pub(super) struct Told {
    /// How many requests there had been by then.
    pub(super) number: usize,
    pub(super) outcome: Outcome,
    pub(super) fingerprint: Fingerprint,
}

/// What is known of an adjustment.
#[derive(Clone, Default)]
pub(super) struct AdjustRecord {
    by: i64,
    /// How often it was made since it was last forgotten.
    times: u32,
    pub(super) stands: Option<Adjustment>,
    pub(super) was_forgotten: bool,
}

impl Record {
    pub(super) fn new(wish: Wish) -> Self {
        let (fingerprints, stands, told, wanted, takings) = Default::default();
        Self {
            wish,
            times: 0,
            fingerprints,
            stands,
            was_forgotten: false,
            was_ticketed: false,
            ended_ticket: UnixMs::default(),
            told,
            wanted,
            claim_by: UnixMs::default(),
            attempt: 1,
            cancelled: Vec::new(),
            takings,
        }
    }

    pub(super) fn open_taking(&mut self) -> Option<&mut Taking> {
        self.takings.last_mut().filter(|taking| taking.is_open())
    }

    pub(super) fn has_other_fingerprints(&self) -> bool {
        self.fingerprints.len() > 1
    }

    /// Whether it may be cancelled, as far as its claim and its attempt tell.
    fn may_cancel(&self, cancelled: &Reservation) -> bool {
        let was_claimed = self.held().is_some_and(|hold| hold.claim == Claim::Claimed);
        let is_meant = |(attempt, even_claimed): &(u32, bool)| {
            *attempt == cancelled.attempt && (*even_claimed || !was_claimed)
        };
        // Nobody hangs up on a line of a cart.
        let is_hung_up = !self.wish.is_tentative && self.wanted.hang_up && !was_claimed;
        is_hung_up || self.cancelled.iter().any(is_meant)
    }

    fn held(&self) -> Option<&Reservation> {
        self.stands.as_ref().filter(|stands| stands.is_held())
    }
}

impl Oracle {
    pub(super) fn new(settings: LaneSettings, now: UnixMs) -> Self {
        let (books, records, adjustments, ticketed, promised) = Default::default();
        Self {
            books,
            records,
            adjustments,
            ticketed,
            promised,
            latest: now,
            life: 0,
            coverage: Coverage::default(),
            settings,
            is_shared: false,
            refusals_kept: BTreeMap::new(),
        }
    }

    /// Holds that have not ended.
    pub(super) fn hold_count(&self) -> usize {
        self.records.values().filter(|record| record.held().is_some()).count()
    }

    /// Holds of some SKUs that have not ended.
    pub(super) fn hold_count_of(&self, is_meant: impl Fn(usize) -> bool) -> usize {
        let held = self.records.values().filter(|record| record.held().is_some());
        held.filter(|record| is_meant(record.wish.sku)).count()
    }

    /// When the first hold goes back by itself.
    pub(super) fn next_due(&self) -> Option<UnixMs> {
        self.records.values().filter_map(|record| record.held()?.due_at()).min()
    }

    /// Somebody asks, and the engine takes it.
    pub(super) fn asked(&mut self, asked: &Asked, wish: Wish) {
        if let Command::Adjust(adjust) = &asked.command {
            self.adjustments.entry(adjust.id).or_default().by = adjust.by;
            return;
        }
        let Some(id) = asked.command.id() else { return };
        let record = self.records.entry(id).or_insert_with(|| Record::new(wish));
        let mut knows = true;
        match &asked.command {
            Command::Reserve(reserve) => {
                knows = false;
                record.claim_by = record.claim_by.max(reserve.claim_by);
                record.times += 1;
                if !record.fingerprints.contains(&reserve.fingerprint) {
                    record.fingerprints.push(reserve.fingerprint);
                }
                if let Some(taking) = record.open_taking() {
                    taking.was_repeated = true;
                }
            }
            Command::Confirm { .. } => record.wanted.confirm = true,
            Command::Release { .. } => record.wanted.release = true,
            Command::Extend { .. } => record.wanted.extend = true,
            Command::Cancel { attempt, even_claimed, .. } => {
                knows = false;
                record.wanted.cancel = true;
                record.cancelled.push((*attempt, *even_claimed));
            }
            // Not before it is heard.
            Command::Claim { .. } => knows = false,
            _ => {}
        }
        if let Some(taking) = record.open_taking() {
            taking.is_known |= knows;
        }
    }

    /// The store has written something.
    pub(super) fn committed(&mut self, commit: &Commit, now: UnixMs) -> Checked {
        for (sku, item) in &commit.hot_items {
            let terms = item.map(|item| item.terms).unwrap_or_default();
            self.books[number_of(sku)].set_terms(terms);
        }
        for end in &commit.forgotten {
            self.forget(end, now)?;
        }
        for changed in &commit.skus {
            self.write_entries(changed, now)?;
        }
        for (sku, adjustment) in &commit.adjustments {
            let record = self.adjustments.get_mut(&adjustment.id);
            ensure!(
                record.is_some(),
                "an adjustment that nobody asked for: {adjustment:?} of {sku}"
            );
            if let Some(record) = record {
                record.stands = Some(adjustment.clone());
            }
        }
        for (_, reservation) in &commit.reservations {
            self.write_reservation(reservation)?;
        }
        commit.unticketed.iter().try_for_each(|id| self.check_unticketed(*id, commit, now))?;
        for ticketed in &commit.ticketed {
            self.ticket(ticketed.reserve.id, ticketed.reserve.claim_by);
            self.promise(ticketed.reserve.id);
        }
        commit.unticketed.iter().for_each(|id| self.end_ticket(*id));
        commit.skus.iter().try_for_each(|changed| self.check_holds(&changed.sku))?;
        let refusals: Vec<_> =
            commit.ended.iter().filter(|end| end.kind == EndedKind::Refusal).collect();
        if let Some(first) = refusals.first() {
            let max = self.settings.retention.refusals_max + refusals.len();
            let kept = *self.refusals_kept(first.id);
            ensure!(kept <= max, "{kept} refusals are kept");
        }
        Ok(())
    }

    /// Whoever has a ticket can find out what became of it, unless it came too late for anything.
    fn check_unticketed(&self, id: CommandId, commit: &Commit, now: UnixMs) -> Checked {
        let stands = self.records.get(&id).and_then(|record| record.stands.as_ref());
        let is_told = stands.is_some() || commit.forgotten.iter().any(|end| end.id == id);
        let is_lapsed = self.ticketed.get(&id).is_some_and(|until| *until < now);
        let is_owed = self.promised.contains(&id) && !is_lapsed;
        ensure!(is_told || !is_owed, "nothing says what became of the ticket {id}");
        Ok(())
    }

    /// A command is good until then: that is written.
    pub(super) fn ticket(&mut self, id: CommandId, until: UnixMs) {
        self.ticketed.insert(id, until);
        self.asked_ticket(id, until);
    }

    /// A command may be good until then.
    pub(super) fn asked_ticket(&mut self, id: CommandId, until: UnixMs) {
        if let Some(record) = self.records.get_mut(&id) {
            record.claim_by = record.claim_by.max(until);
        }
    }

    /// Whoever asked for the ticket is about to have it, or hears what became of an earlier request for
    /// the same: then it ended with that.
    pub(super) fn promise(&mut self, id: CommandId) {
        if self.ticketed.contains_key(&id) {
            self.promised.insert(id);
        }
        if let Some(record) = self.records.get_mut(&id) {
            record.was_ticketed = true;
        }
    }

    fn end_ticket(&mut self, id: CommandId) {
        self.promised.remove(&id);
        let until = self.ticketed.remove(&id).unwrap_or_default();
        if let Some(record) = self.records.get_mut(&id) {
            record.ended_ticket = record.ended_ticket.max(until);
        }
    }

    fn write_entries(&mut self, changed: &SkuCommit, now: UnixMs) -> Checked {
        let book = &mut self.books[number_of(&changed.sku)];
        for (index, entry) in changed.entries.iter().enumerate() {
            book.add(entry)?;
            let Some(id) = entry.id else {
                ensure!(entry.cause == Cause::Set, "{entry:?} is about nothing");
                continue;
            };
            if entry.cause == Cause::Adjust {
                let record = self.adjustments.entry(id).or_default();
                record.times += 1;
                ensure!(record.by == entry.quantity, "nobody asked for {entry:?}");
                ensure!(record.times == 1, "made twice: {entry:?}");
                continue;
            }
            let Some(record) = self.records.get_mut(&id) else {
                return Err(Violation(format!("nobody asked for {entry:?}")));
            };
            if entry.cause == Cause::Reserve {
                let ended = record.takings.last().is_none_or(|taking| !taking.is_open());
                ensure!(ended, "a hold is taken twice: {entry:?}");
                let next = changed.entries.get(index + 1);
                let again = next.is_some_and(|n| n.cause == Cause::Confirm && n.id == entry.id);
                let is_late = record.claim_by < now && !again;
                ensure!(!is_late, "taken at {}, too late for anybody: {entry:?}", now.0);
                book.take(entry, record.wish, again)?;
                let terms = book.terms;
                let is_capped = terms.customer_cap.is_some();
                let has_window = terms.opens_at.or(terms.closes_at).is_some();
                self.coverage.count_if(is_capped, "judged", "a sale under a cap");
                self.coverage.count_if(has_window, "judged", "a sale in its window");
                self.coverage.count_if(again, "judged", "a hold sold late");
                record.takings.push(Taking::new(entry, self.life)?);
            } else {
                let Some(taking) = record.takings.last_mut() else {
                    return Err(Violation(format!("what never began ends: {entry:?}")));
                };
                taking.end(entry, record.wanted)?;
                let is_timely = entry.cause == Cause::Expire && taking.promised_until.is_some();
                let is_hung_up = entry.cause == Cause::Cancel && !record.wanted.cancel;
                self.coverage.count_if(is_timely, "judged", "an end at the promised time");
                self.coverage.count_if(is_hung_up, "judged", "a hang-up's hold given back");
                if entry.cause == Cause::Cancel {
                    // A repeat is judged anew.
                    record.told = None;
                }
                if entry.cause != Cause::Confirm {
                    book.give_back(record.wish, entry.quantity);
                }
            }
        }
        let row = changed.row;
        ensure!(row.version == book.version(), "{row:?} at journal entry {}", book.version());
        ensure!(row.counters == book.counters(), "{row:?}, but {:?}", book.counters());
        Ok(())
    }

    /// How many refusals the owner of this one keeps.
    fn refusals_kept(&mut self, id: CommandId) -> &mut usize {
        let owner = if self.is_shared { u16::from_be_bytes([id.0[0], id.0[1]]) } else { 0 };
        self.refusals_kept.entry(owner).or_default()
    }

    fn write_reservation(&mut self, reservation: &Reservation) -> Checked {
        let Some(record) = self.records.get_mut(&reservation.id) else {
            return Err(Violation(format!("nobody asked for {reservation:?}")));
        };
        let wish = record.wish;
        let is_wished = reservation.customer.as_deref() == wish.customer
            && reservation.quantity == wish.quantity_of(reservation.fingerprint)
            && record.fingerprints.contains(&reservation.fingerprint);
        ensure!(is_wished, "{wish:?} has become {reservation:?}");
        let is_cancelled = matches!(reservation.state, ReservationState::Released { .. })
            && reservation.is_forgone();
        ensure!(!is_cancelled || record.may_cancel(reservation), "cancelled: {:?}", record.stands);
        if let ReservationState::Held { expires_at } = reservation.state {
            let latest = reservation.decided_at.plus_ms(HOLD_MS_MAX);
            ensure!(expires_at <= latest, "too long: {reservation:?}");
        }
        let is_refusal = |r: &Reservation| r.state.expires_at().is_none();
        let is_passing = is_refusal(reservation) && reservation.is_forgone();
        self.coverage.count_if(is_passing, "judged", "a ticket refused for the sale's terms");
        let was_refusal = record.stands.as_ref().is_some_and(is_refusal);
        let attempts_before = record.stands.as_ref().map_or(0, |stands| stands.attempt);
        if let Some(taking) = record.takings.last_mut().filter(|taking| taking.attempt == 0) {
            // What has come since, in the same turn, has raised the reservation's.
            taking.attempt = reservation.attempt.min(attempts_before + 1);
        }
        if reservation.is_forgone() {
            record.told = None;
        }
        record.stands = Some(reservation.clone());
        let kept = self.refusals_kept(reservation.id);
        *kept = *kept + usize::from(is_refusal(reservation)) - usize::from(was_refusal);
        Ok(())
    }

    /// Something is forgotten: not before its time.
    fn forget(&mut self, end: &Ended, now: UnixMs) -> Checked {
        let retention = self.settings.retention;
        if end.kind == EndedKind::Adjustment {
            let record = self.adjustments.entry(end.id).or_default();
            ensure!(end.at.plus_ms(retention.holds_ms) <= now, "forgotten too soon: {end:?}");
            record.stands = None;
            record.times = 0;
            record.was_forgotten = true;
            return Ok(());
        }
        let Some(record) = self.records.get_mut(&end.id) else {
            return Err(Violation(format!("nobody asked for {end:?}")));
        };
        let Some(stands) = record.stands.take() else { return Ok(()) };
        record.told = None;
        record.was_forgotten = true;
        let is_over = match end.kind {
            EndedKind::Refusal => {
                let kept = self.refusals_kept(end.id);
                *kept -= 1;
                *kept >= retention.refusals_max
                    || stands.since.plus_ms(retention.refusals_ms) <= now
            }
            _ => stands.since.plus_ms(retention.holds_ms) <= now,
        };
        ensure!(is_over && !stands.is_held(), "forgotten too soon at {}: {stands:?}", now.0);
        Ok(())
    }

    /// A SKU's holds agree with its counters, and what was due is back before anything is taken.
    fn check_holds(&self, sku: &Sku) -> Checked {
        let number = number_of(sku);
        let book = &self.books[number];
        let taken_at = book.entries.last().filter(|e| e.cause == Cause::Reserve).map(|e| e.at);
        let mut units = 0;
        for record in self.records.values().filter(|record| record.wish.sku == number) {
            ensure!(record.takings.last().is_none_or(Taking::is_whole), "part of a hold is lost");
            let is_taken = record.takings.last().is_some_and(Taking::is_open);
            ensure!(is_taken == record.held().is_some(), "the journal denies {:?}", record.stands);
            let Some(hold) = record.held() else { continue };
            units += u64::from(hold.quantity);
            let is_late = hold.due_at().is_some_and(|due| taken_at.is_some_and(|at| due <= at));
            ensure!(!is_late, "another hold was taken while this was due: {hold:?}");
        }
        ensure!(units == book.counters().held, "{units} units in holds, not {:?}", book.counters());
        Ok(())
    }
}
