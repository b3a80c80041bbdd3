//! How long the answer to a command that has ended is kept for those who repeat it.

use std::collections::VecDeque;

use cartgate_ledger::UnixMs;

use crate::store::{Ended, EndedKind, Store, StoreError};

/// What is remembered of reservations that have ended, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Holds that were confirmed, released or expired, in milliseconds from their end.
    pub settled_ms: u64,
    /// Refusals, in milliseconds.
    pub refused_ms: u64,
    /// The most refusals; the earliest give way.
    pub refused_max: usize,
}

/// The most settled reservations forgotten in one turn, so that no turn is long because of it.
const FORGET_MAX: usize = 4_096;

/// How often settled reservations are looked through, in milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;

/// Decides what to forget, turn by turn.
pub(super) struct Forgetting {
    retention: Retention,
    /// The refusals that are kept, earliest first: a ring of at most `refused_max`.
    refused: VecDeque<Ended>,
    /// Settled reservations that ended before this are forgotten already.
    settled_from: UnixMs,
    next_look: UnixMs,
}

impl Forgetting {
    /// Takes up with the refusals that the store keeps, earliest first.
    pub(super) fn restore(retention: Retention, refused: Vec<Ended>) -> Self {
        let (settled_from, next_look) = (UnixMs(0), UnixMs(0));
        Self { retention, refused: refused.into(), settled_from, next_look }
    }

    /// What to forget in a turn at `now` that ends the reservations in `ended`. These themselves
    /// are never forgotten in the same turn: one commit must not write and remove the same.
    pub(super) fn turn(
        &mut self,
        store: &dyn Store,
        ended: &[Ended],
        now: UnixMs,
    ) -> Result<Vec<Ended>, StoreError> {
        let mut forgotten = self.forget_refused(now);
        self.refused.extend(ended.iter().filter(|e| e.kind == EndedKind::Refused));
        if now >= self.next_look {
            forgotten.extend(self.forget_settled(store, now)?);
        }
        Ok(forgotten)
    }

    fn forget_refused(&mut self, now: UnixMs) -> Vec<Ended> {
        let mut forgotten = Vec::new();
        while let Some(first) = self.refused.front() {
            let is_over = self.refused.len() > self.retention.refused_max;
            if !is_over && first.at.plus_ms(self.retention.refused_ms) > now {
                break;
            }
            forgotten.extend(self.refused.pop_front());
        }
        forgotten
    }

    fn forget_settled(&mut self, store: &dyn Store, now: UnixMs) -> Result<Vec<Ended>, StoreError> {
        let mut settled = store.ended(EndedKind::Settled, self.settled_from, FORGET_MAX)?;
        let is_more = settled.len() == FORGET_MAX;
        settled.retain(|ended| ended.at.plus_ms(self.retention.settled_ms) <= now);
        if let Some(last) = settled.last() {
            self.settled_from = last.at;
        }
        let is_all_due = is_more && settled.len() == FORGET_MAX;
        self.next_look = if is_all_due { now } else { now.plus_ms(LOOK_EVERY_MS) };
        Ok(settled)
    }
}
