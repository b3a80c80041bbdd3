//! How long the answer to a command that has ended is kept for those who repeat it.

use std::collections::BTreeSet;

use cartgate_ledger::UnixMs;
use serde::Deserialize;

use crate::store::{Commit, Ended, EndedKind, Store, StoreError};

/// What is remembered of reservations that have ended, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Holds that were confirmed, released or expired, and adjustments, in milliseconds from their
    /// end.
    pub holds_ms: u64,
    /// Refusals, in milliseconds.
    pub refusals_ms: u64,
    /// The most refusals; the earliest give way. At most 10,000,000. On a shared store each bucket has
    /// as many.
    pub refusals_max: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { holds_ms: 24 * 60 * 60 * 1_000, refusals_ms: 5 * 60 * 1_000, refusals_max: 100_000 }
    }
}

/// How many of each kind are forgotten in one turn, so that no turn is long because of it. A turn that
/// forgot anything is followed by another.
const FORGET_MAX: usize = 4_096;

/// How often ended holds are looked through, in milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;

/// Decides what to forget, turn by turn.
pub(super) struct Forgetting {
    retention: Retention,
    /// The refusals that are kept, earliest first: at most `refusals_max`.
    refusals: BTreeSet<Ended>,
    /// Holds that ended before this are forgotten already.
    holds_from: UnixMs,
    /// Adjustments that were made before this are.
    adjustments_from: UnixMs,
    next_look: UnixMs,
}

impl Forgetting {
    /// Takes up with the refusals that the store keeps.
    pub(super) fn restore(retention: Retention, refusals: Vec<Ended>) -> Self {
        let refusals = refusals.into_iter().collect();
        let (holds_from, adjustments_from, next_look) = Default::default();
        Self { retention, refusals, holds_from, adjustments_from, next_look }
    }

    /// What to forget in a turn at `now` that is about to be committed. What ends with that commit is
    /// never forgotten in the same turn: one commit must not write and remove the same.
    pub(super) fn turn(
        &mut self,
        store: &dyn Store,
        commit: &Commit,
        now: UnixMs,
    ) -> Result<Vec<Ended>, StoreError> {
        // What was refused and is judged anew.
        for end in &commit.superseded {
            self.refusals.remove(end);
        }
        let coming = commit.ended.iter().filter(|end| end.kind == EndedKind::Refusal);
        // More than come, whatever a turn may do: else there would be ever more of them.
        let mut forgotten = self.forget_refusals(now, FORGET_MAX.max(2 * coming.clone().count()));
        self.refusals.extend(coming);
        if now >= self.next_look {
            forgotten.extend(self.forget_holds(store, now)?);
        }
        // These may be earlier than what is forgotten already: if the clock was set back, or if a
        // command, judged at the time it came, had waited for so long.
        if let Some(earliest) = commit.ended.iter().map(|end| end.at).min() {
            self.holds_from = self.holds_from.min(earliest);
            self.adjustments_from = self.adjustments_from.min(earliest);
        }
        Ok(forgotten)
    }

    fn forget_refusals(&mut self, now: UnixMs, max: usize) -> Vec<Ended> {
        let mut forgotten = Vec::new();
        while forgotten.len() < max
            && let Some(first) = self.refusals.first()
        {
            let is_over = self.refusals.len() > self.retention.refusals_max;
            if !is_over && first.at.plus_ms(self.retention.refusals_ms) > now {
                break;
            }
            forgotten.extend(self.refusals.pop_first());
        }
        forgotten
    }

    fn forget_holds(&mut self, store: &dyn Store, now: UnixMs) -> Result<Vec<Ended>, StoreError> {
        let until = UnixMs(now.0.saturating_sub(self.retention.holds_ms));
        let mut forgotten = Vec::new();
        let mut is_all = true;
        for (kind, from) in [
            (EndedKind::Hold, &mut self.holds_from),
            (EndedKind::Adjustment, &mut self.adjustments_from),
        ] {
            let due = store.ended(kind, *from, until, FORGET_MAX)?;
            if let Some(last) = due.last() {
                *from = last.at;
            }
            is_all &= due.len() < FORGET_MAX;
            forgotten.extend(due);
        }
        // As many as were asked for: there may be more, so look again in the next turn.
        self.next_look = if is_all { now.plus_ms(LOOK_EVERY_MS) } else { now };
        Ok(forgotten)
    }
}
