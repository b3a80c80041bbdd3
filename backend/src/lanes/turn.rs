//! One turn of the owner: commands in, one commit and its answers out.

use std::collections::{BTreeMap, HashMap, HashSet};

use cartgate_ledger::{
    Changes, Circumstances, Command, CommandId, IdMap, Outcome, Recalled, Refusal, Reservation,
    ReservationState, UnixMs,
};
use cartgate_policy::Sku;

use super::QUANTUM_MIN;
use super::queued::Queued;
use super::seen::Seen;
use super::shared::Shared;
use super::stocks::Stocks;
use crate::hot_items::HotItem;
use crate::metrics::{Metrics, command_name, outcome_name};
use crate::store::{Commit, Ended, EndedKind, SkuCommit, Store, StoreError};

/// How long one turn may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnLimits {
    /// What every lane may give for it: see [`QUANTUM_MIN`].
    pub(super) quantum_min: usize,
    /// When so many holds have expired, sweeping for due ones goes on in the next turn, so that a
    /// sale's holds that are due together keep nobody waiting for long: at 2 us each, 8 ms.
    pub(super) sweep_max: usize,
    /// How many of a SKU expire because of one of its commands. If more are due, the command waits
    /// for another turn.
    pub(super) expire_max: usize,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self { quantum_min: QUANTUM_MIN, sweep_max: 4_096, expire_max: 1_024 }
    }
}

/// The work of one turn, before it is committed.
pub(super) struct Turn<'a> {
    store: &'a dyn Store,
    stocks: &'a mut Stocks,
    unclaimed_ms: u64,
    limits: TurnLimits,
    /// How many more holds a sweep may return.
    sweep_left: usize,
    skus: Vec<(Sku, Changes)>,
    by_sku: HashMap<Sku, usize>,
    /// Reservations that changed in this turn, by their places in `skus`: the store does not know
    /// of it yet.
    changed: IdMap<(usize, usize)>,
    /// Adjustments of this turn, likewise.
    adjusted: IdMap<(usize, usize)>,
    superseded: Vec<Ended>,
    decided: Vec<(Queued, Outcome)>,
    deferred: Deferred,
}

/// Commands that have to wait for another turn, in order, and their SKUs.
#[derive(Default)]
pub(super) struct Deferred {
    pub(super) settle: Vec<Queued>,
    pub(super) reserve: Vec<Queued>,
    pub(super) skus: HashSet<Sku>,
}

impl Deferred {
    pub(super) fn is_empty(&self) -> bool {
        self.skus.is_empty()
    }
}

/// What became of a command, as the owner knows it.
enum Memory {
    Nothing,
    Changed(Reservation),
    Stored(Reservation),
    Adjustment(cartgate_ledger::Adjustment),
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        store: &'a dyn Store,
        stocks: &'a mut Stocks,
        unclaimed_ms: u64,
        limits: TurnLimits,
        commands: usize,
    ) -> Self {
        let (skus, by_sku, adjusted, superseded, deferred) = Default::default();
        let changed = IdMap::with_capacity_and_hasher(commands, Default::default());
        let decided = Vec::with_capacity(commands);
        Self {
            store,
            stocks,
            unclaimed_ms,
            limits,
            sweep_left: limits.sweep_max,
            skus,
            by_sku,
            changed,
            adjusted,
            superseded,
            decided,
            deferred,
        }
    }

    /// Applies a settle command, judged at the time it came.
    pub(super) fn settle(&mut self, queued: Queued) -> Result<(), StoreError> {
        // What sets or adjusts waits behind what was deferred. Nothing else does: nobody who paid in
        // time is to come too late.
        if matches!(queued.command, Command::Set { .. } | Command::Adjust(_))
            && self.deferred.skus.contains(&queued.sku)
        {
            self.deferred.settle.push(queued);
            return Ok(());
        }
        // What was due by then goes back first, as far as a turn can.
        self.sweep_sku(&queued.sku, queued.enqueued_at);
        let (at, is_awaited) = (queued.enqueued_at, queued.has_caller());
        let deferred = self.decide(queued, at, is_awaited)?;
        self.deferred.settle.extend(deferred);
        Ok(())
    }

    /// Applies a reserve command, judged at `now`.
    pub(super) fn reserve(&mut self, queued: Queued, now: UnixMs) -> Result<(), StoreError> {
        // Its caller may have gone since it was taken from the lane.
        if queued.is_abandoned() {
            return Ok(());
        }
        if self.deferred.skus.contains(&queued.sku) {
            self.deferred.reserve.push(queued);
            return Ok(());
        }
        // Whoever has a ticket comes back for the outcome, or does not: whether somebody waits
        // beside is of no account.
        let is_awaited = !queued.is_ticketed() && queued.has_caller();
        let deferred = self.decide(queued, now, is_awaited)?;
        self.deferred.reserve.extend(deferred);
        Ok(())
    }

    /// Applies a command; gives it back if it has to wait for another turn.
    fn decide(
        &mut self,
        queued: Queued,
        at: UnixMs,
        is_awaited: bool,
    ) -> Result<Option<Queued>, StoreError> {
        match self.apply(&queued.sku, &queued.command, at, is_awaited)? {
            Outcome::Deferred => {
                self.deferred.skus.insert(queued.sku.clone());
                Ok(Some(queued))
            }
            outcome => {
                self.decided.push((queued, outcome));
                Ok(None)
            }
        }
    }

    /// Returns to the shelf what holds have left behind that are due at `now`, until the turn is
    /// long enough. No reservation is judged wrongly for what stays for the next one: any command
    /// that counts units makes its own SKU's holds expire first.
    pub(super) fn sweep(&mut self, now: UnixMs) {
        while self.sweep_left > 0
            && let Some((due, sku)) = self.stocks.next_due().cloned()
            && due <= now
        {
            self.sweep_sku(&sku, now);
        }
    }

    fn sweep_sku(&mut self, sku: &Sku, now: UnixMs) {
        if self.sweep_left == 0 || !self.stocks.is_due(sku, now) {
            return;
        }
        let changed = self.changed.len();
        let circumstances = self.circumstances(now, false, None, self.sweep_left);
        self.change(sku, &Command::Expire, circumstances);
        // At least one: what expires may have changed in this turn before.
        self.sweep_left = self.sweep_left.saturating_sub((self.changed.len() - changed).max(1));
    }

    /// Ends the turn: what to write, what to answer once it is written, and what is to come again.
    pub(super) fn finish(self) -> (Commit, Decided, Deferred) {
        let Self { stocks, skus, changed, mut superseded, decided, deferred, .. } = self;
        let mut commit = Commit::default();
        let ticketed = decided.iter().filter(|(queued, _)| queued.is_ticketed());
        commit.unticketed = ticketed.filter_map(|(queued, _)| queued.command.id()).collect();
        for (place, (sku, changes)) in skus.into_iter().enumerate() {
            for (index, reservation) in changes.reservations.into_iter().enumerate() {
                // The last of one id counts.
                if changed.get(&reservation.id) == Some(&(place, index)) {
                    commit.ended.extend(end_of(&reservation));
                    commit.reservations.push((sku.clone(), reservation));
                }
            }
            for adjustment in changes.adjustments {
                let (kind, at) = (EndedKind::Adjustment, adjustment.decided_at);
                commit.ended.push(Ended { kind, at, id: adjustment.id });
                commit.adjustments.push((sku.clone(), adjustment));
            }
            commit.purchases.extend(changes.purchases.into_iter().map(|p| (sku.clone(), p)));
            if let Some(row) = stocks.row(&sku).filter(|_| !changes.entries.is_empty()) {
                commit.skus.push(SkuCommit { sku, row, entries: changes.entries });
            }
        }
        if !superseded.is_empty() {
            let ended: HashSet<&Ended> = commit.ended.iter().collect();
            superseded.retain(|end| !ended.contains(end));
        }
        commit.superseded = superseded;
        (commit, Decided(decided), deferred)
    }

    fn apply(
        &mut self,
        sku: &Sku,
        command: &Command,
        at: UnixMs,
        is_awaited: bool,
    ) -> Result<Outcome, StoreError> {
        let memory = self.recall(sku, command)?;
        let recalled = match &memory {
            Memory::Nothing => None,
            Memory::Changed(found) | Memory::Stored(found) => Some(Recalled::Reservation(found)),
            Memory::Adjustment(found) => Some(Recalled::Adjustment(found)),
        };
        let expire_max = self.limits.expire_max;
        let circumstances = self.circumstances(at, is_awaited, recalled, expire_max);
        let outcome = self.change(sku, command, circumstances);
        if let Memory::Stored(before) = &memory
            && self.changed.contains_key(&before.id)
        {
            self.superseded.extend(end_of(before));
        }
        Ok(outcome)
    }

    fn circumstances<'b>(
        &self,
        now: UnixMs,
        is_awaited: bool,
        recalled: Option<Recalled<'b>>,
        expire_max: usize,
    ) -> Circumstances<'b> {
        Circumstances { now, recalled, is_awaited, unclaimed_ms: self.unclaimed_ms, expire_max }
    }

    /// What became of the command that `command` names, if the stock does not hold it any more.
    fn recall(&self, sku: &Sku, command: &Command) -> Result<Memory, StoreError> {
        let id = match command {
            Command::Reserve(reserve) if !reserve.repeatable => return Ok(Memory::Nothing),
            Command::Adjust(adjust) => return self.recall_adjustment(adjust.id),
            _ => command.id(),
        };
        let Some(id) = id.filter(|id| !self.stocks.has_hold(sku, *id)) else {
            return Ok(Memory::Nothing);
        };
        if let Some((place, index)) = self.changed.get(&id) {
            return Ok(Memory::Changed(self.skus[*place].1.reservations[*index].clone()));
        }
        Ok(self.store.ended_reservation(id)?.map_or(Memory::Nothing, Memory::Stored))
    }

    fn recall_adjustment(&self, id: CommandId) -> Result<Memory, StoreError> {
        let found = match self.adjusted.get(&id) {
            Some((place, index)) => Some(self.skus[*place].1.adjustments[*index].clone()),
            None => self.store.adjustment(id)?,
        };
        Ok(found.map_or(Memory::Nothing, Memory::Adjustment))
    }

    fn change(
        &mut self,
        sku: &Sku,
        command: &Command,
        circumstances: Circumstances<'_>,
    ) -> Outcome {
        let place = self.place_of(sku);
        let Some((_, changes)) = self.skus.get_mut(place) else {
            return Outcome::Refused(Refusal::UnknownSku);
        };
        let seen = (changes.reservations.len(), changes.adjustments.len());
        let outcome = self.stocks.apply(sku, command, circumstances, changes);
        for (index, reservation) in changes.reservations.iter().enumerate().skip(seen.0) {
            self.changed.insert(reservation.id, (place, index));
        }
        for (index, adjustment) in changes.adjustments.iter().enumerate().skip(seen.1) {
            self.adjusted.insert(adjustment.id, (place, index));
        }
        outcome
    }

    fn place_of(&mut self, sku: &Sku) -> usize {
        // Commands of a hot lane come in a row.
        if let Some(last) = self.skus.len().checked_sub(1)
            && self.skus[last].0 == *sku
        {
            return last;
        }
        *self.by_sku.entry(sku.clone()).or_insert_with(|| {
            self.skus.push((sku.clone(), Changes::default()));
            self.skus.len() - 1
        })
    }
}

/// The outcomes of a turn, to be told once they are durable.
pub(super) struct Decided(Vec<(Queued, Outcome)>);

/// How many reserve commands were decided, and how many of them were held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reserves {
    pub(super) decided: u64,
    pub(super) held: u64,
}

impl Decided {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Queued, Outcome)> {
        self.0.iter()
    }

    /// Counts and logs what was decided, and tells traces of it.
    pub(super) fn note(&self, metrics: &Metrics, seen: &Seen<'_>) {
        let mut counts = HashMap::<_, u64>::new();
        for (queued, outcome) in &self.0 {
            let (command, result) = (command_name(&queued.command), outcome_name(outcome));
            tracing::debug!(
                request_id = %queued.trail.id(),
                trace_id = queued.trail.trace_id().map(tracing::field::display),
                sku = %queued.sku,
                command,
                id = queued.command.id().map(tracing::field::display),
                outcome = result,
                "command committed"
            );
            seen.record(&metrics.spans, queued, result, self.len());
            *counts.entry((command, result)).or_default() += 1;
        }
        for ((command, result), count) in counts {
            metrics.count_commands(command, result, count);
        }
    }

    /// The reserve commands of hot items; of each perhaps in several parts.
    pub(super) fn reserves_of(&self, hot_items: &BTreeMap<Sku, HotItem>) -> Vec<(&Sku, Reserves)> {
        let all: &[_] = if hot_items.is_empty() { &[] } else { &self.0 };
        // Lane by lane, so that what is of one hot item is together.
        let by_sku = all.chunk_by(|(one, _), (next, _)| one.sku == next.sku);
        let reserves = by_sku.filter_map(|decided| {
            let sku = decided.first().map(|(queued, _)| &queued.sku)?;
            let mut reserves = Reserves::default();
            let of_reserve =
                |(queued, _): &&(Queued, Outcome)| matches!(queued.command, Command::Reserve(_));
            for (_, outcome) in decided.iter().filter(of_reserve) {
                reserves.decided += 1;
                reserves.held += u64::from(matches!(outcome, Outcome::Held(_)));
            }
            hot_items.contains_key(sku).then_some((sku, reserves))
        });
        reserves.collect()
    }

    /// Answers every caller that still waits, and gives back the holds that nobody hears of.
    pub(super) fn answer(self, shared: &Shared) {
        for (queued, outcome) in self.0 {
            if let Some(unheard) = queued.replies.tell(outcome) {
                shared.cancel(queued.sku, &unheard);
            }
        }
    }
}

/// Counts what was held of hot items.
pub(super) fn note_admitted(reserves: &[(&Sku, Reserves)], metrics: &Metrics, now: UnixMs) {
    for (sku, Reserves { held, .. }) in reserves.iter().filter(|(_, reserves)| reserves.held > 0) {
        metrics.count_admitted(sku, *held, now);
    }
}

/// How a reservation ended, if it can no longer change.
fn end_of(reservation: &Reservation) -> Option<Ended> {
    let kind = match reservation.state {
        ReservationState::Held { .. } => return None,
        ReservationState::Confirmed { .. }
        | ReservationState::Released { .. }
        | ReservationState::Expired { .. } => EndedKind::Hold,
        _ => EndedKind::Refusal,
    };
    Some(Ended { kind, at: reservation.since, id: reservation.id })
}
