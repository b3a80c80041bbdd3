//! One turn of the owner: commands in, one commit and its answers out.

use std::collections::{BTreeMap, HashMap};

use cartgate_ledger::{
    Changes, Command, CommandId, Outcome, Refusal, Reservation, ReservationState, UnixMs,
};
use cartgate_policy::Sku;

use super::Queued;
use super::stocks::Stocks;
use crate::metrics::{Metrics, command_name, outcome_name};
use crate::store::{Commit, Ended, EndedKind, SkuCommit, Store, StoreError};

/// When so many reservations have changed in a turn, sweeping for due holds goes on in the next, so
/// that a thousand products' holds that are due together keep nobody waiting for long.
const EXPIRE_MAX: usize = 4_096;

/// The work of one turn, before it is committed.
pub(super) struct Turn<'a> {
    store: &'a dyn Store,
    stocks: &'a mut Stocks,
    changes: BTreeMap<Sku, Changes>,
    /// Reservations that changed in this turn: the store does not know of it yet.
    changed: HashMap<CommandId, (Sku, Reservation)>,
    decided: Vec<(Queued, Outcome)>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(store: &'a dyn Store, stocks: &'a mut Stocks) -> Self {
        let (changes, changed, decided) = Default::default();
        Self { store, stocks, changes, changed, decided }
    }

    /// Applies a caller's command, judged at `now`.
    pub(super) fn decide(&mut self, queued: Queued, now: UnixMs) -> Result<(), StoreError> {
        let recalled = self.recall(&queued.sku, &queued.command)?;
        let outcome = self.apply(&queued.sku, &queued.command, recalled.as_ref(), now);
        self.decided.push((queued, outcome));
        Ok(())
    }

    /// Returns to the shelf what holds have left behind that are due at `now`: SKU after SKU, until
    /// the turn is long enough. No reservation is judged wrongly for what stays for the next one:
    /// any command makes its own SKU's holds expire first.
    pub(super) fn expire(&mut self, now: UnixMs) {
        while self.changed.len() < EXPIRE_MAX
            && let Some((due, sku)) = self.stocks.next_due().cloned()
            && due <= now
        {
            self.apply(&sku, &Command::Expire, None, now);
        }
    }

    /// Ends the turn: what to write, and what to answer once it is written.
    pub(super) fn finish(self) -> (Commit, Decided) {
        let mut commit = Commit::default();
        let is_ticketed = |(queued, _): &&(Queued, Outcome)| queued.is_ticketed;
        let decided = self.decided.iter().filter(is_ticketed);
        commit.unticketed = decided.filter_map(|(queued, _)| queued.command.id()).collect();
        for (sku, changes) in self.changes {
            let Some(row) = self.stocks.row(&sku) else { continue };
            if !changes.entries.is_empty() {
                commit.skus.push(SkuCommit { sku, row, entries: changes.entries });
            }
        }
        for (sku, reservation) in self.changed.into_values() {
            // Ended at the SKU's own time, not the turn's: that one never runs backwards.
            let at = self.stocks.row(&sku).map_or(reservation.decided_at, |row| row.now);
            let kind = ended_kind(&reservation);
            commit.ended.extend(kind.map(|kind| Ended { kind, at, id: reservation.id }));
            commit.reservations.push((sku, reservation));
        }
        (commit, Decided(self.decided))
    }

    /// What became of the command that `command` names, if the stock does not hold it any more.
    fn recall(&self, sku: &Sku, command: &Command) -> Result<Option<Reservation>, StoreError> {
        let id = match command {
            Command::Reserve(reserve) if reserve.repeatable => reserve.id,
            Command::Confirm { id } | Command::Release { id } => *id,
            Command::Reserve(_) | Command::Set { .. } | Command::Expire => return Ok(None),
        };
        if self.stocks.has_hold(sku, id) {
            return Ok(None);
        }
        if let Some((_, reservation)) = self.changed.get(&id) {
            return Ok(Some(reservation.clone()));
        }
        Ok(self.store.reservation(id)?.map(|(_, reservation)| reservation))
    }

    fn apply(
        &mut self,
        sku: &Sku,
        command: &Command,
        recalled: Option<&Reservation>,
        now: UnixMs,
    ) -> Outcome {
        if !self.changes.contains_key(sku) {
            self.changes.insert(sku.clone(), Changes::default());
        }
        let Some(changes) = self.changes.get_mut(sku) else {
            return Outcome::Refused(Refusal::UnknownSku);
        };
        let seen = changes.reservations.len();
        let outcome = self.stocks.apply(sku, command, recalled, now, changes);
        for reservation in &changes.reservations[seen..] {
            self.changed.insert(reservation.id, (sku.clone(), reservation.clone()));
        }
        outcome
    }
}

/// The outcomes of a turn, to be told once they are durable.
pub(super) struct Decided(Vec<(Queued, Outcome)>);

impl Decided {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Answers every caller that still waits.
    pub(super) fn answer(self, metrics: &Metrics) {
        for (queued, outcome) in self.0 {
            let (command, result) = (command_name(&queued.command), outcome_name(&outcome));
            tracing::debug!(
                request_id = %queued.request_id,
                sku = %queued.sku,
                command,
                id = queued.command.id().map(tracing::field::display),
                outcome = result,
                "command committed"
            );
            metrics.count_command(command, result);
            for reply in queued.replies {
                // The caller may have gone: the outcome stands, and can be asked for again.
                let _ = reply.send(outcome.clone());
            }
        }
    }
}

fn ended_kind(reservation: &Reservation) -> Option<EndedKind> {
    match reservation.state {
        ReservationState::Held { .. } => None,
        ReservationState::SoldOut { .. } => Some(EndedKind::Refusal),
        ReservationState::Confirmed { .. }
        | ReservationState::Released { .. }
        | ReservationState::Expired { .. } => Some(EndedKind::Hold),
    }
}
