//! A lane: two queues, and the pace at which one of them drains.

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroU32;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;

use super::pacer::Pacer;
use super::queued::Queued;
use super::reserve_queue::{Place, ReserveQueue};
use super::{EnqueueError, LaneDepth};

/// The queues of a bucket's ordinary SKUs, or of one hot item.
pub(super) struct Lane {
    pub(super) reserve: ReserveQueue,
    pub(super) settle: VecDeque<Queued>,
    pacer: Pacer,
}

/// What a lane's reserve queue gives for one turn.
#[derive(Default)]
pub(super) struct Drained {
    pub(super) commands: Vec<Queued>,
    /// SKUs whose HANDOFF came up.
    pub(super) handoffs: Vec<Sku>,
    /// Reserve commands whose callers had gone.
    pub(super) hung_up: Vec<Queued>,
    /// Milliseconds until pacing, or the next turn, lets reserve commands through, if one is left.
    pub(super) paced_ms: Option<u64>,
}

impl Lane {
    pub(super) fn new(reserves_per_s: Option<NonZeroU32>) -> Self {
        let (reserve, settle) = Default::default();
        Self { reserve, settle, pacer: Pacer::new(reserves_per_s) }
    }

    pub(super) fn set_pace(&mut self, reserves_per_s: Option<NonZeroU32>) {
        // The same pace goes on: what it has let through counts.
        if self.pacer.per_s() != reserves_per_s {
            self.pacer = Pacer::new(reserves_per_s);
        }
    }

    /// How many reserve commands it gives per second; `None`: as many as it can.
    pub(super) fn per_s(&self) -> Option<NonZeroU32> {
        self.pacer.per_s()
    }

    /// Takes at most `max` reserve commands, as pacing allows. `is_held` says whether a command's hold
    /// is there already.
    pub(super) fn drain(
        &mut self,
        max: usize,
        now: UnixMs,
        is_held: impl Fn(&Queued) -> bool,
        drained: &mut Drained,
    ) {
        let mut left = max;
        while let Some(place) = self.reserve.front() {
            // A mark, and what nobody waits for, cost no pace; neither does what is too late to
            // take anything, or repeats what has taken it: else a lane under a flood would be busy
            // with nothing but the past. And what was put back has had its share of it.
            let is_paced = match place {
                Place::Handoff(_) => false,
                Place::Command(queued) => {
                    let takes = !queued.is_abandoned() && !queued.is_lapsed(now);
                    takes && !queued.was_taken && !is_held(queued)
                }
            };
            if left == 0 {
                return drained.look_again_in(0);
            }
            if is_paced && let Err(wait_ms) = self.pacer.admit() {
                return drained.look_again_in(wait_ms);
            }
            match self.reserve.pop_front() {
                Some(Place::Command(queued)) if queued.is_abandoned() => {
                    drained.hung_up.push(queued);
                }
                Some(Place::Command(queued)) => {
                    left -= 1;
                    drained.commands.push(Queued { was_taken: true, ..queued });
                }
                Some(Place::Handoff(sku)) => drained.handoffs.push(sku),
                None => {}
            }
        }
    }

    /// Drops ticketed commands that nobody waits for, and what is behind them.
    pub(super) fn leave_tickets(&mut self, left: &mut HashSet<Sku>) {
        self.reserve.leave_tickets(left);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reserve.is_empty() && self.settle.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.reserve.clear();
        self.settle.clear();
    }

    pub(super) fn depth(&self, now: UnixMs) -> LaneDepth {
        let oldest = [self.reserve.oldest(), self.settle.front()].into_iter().flatten();
        let oldest = oldest.map(|queued| queued.enqueued_at).min().unwrap_or(now);
        LaneDepth {
            reserve: self.reserve.len(),
            settle: self.settle.len(),
            oldest_age_ms: now.0.saturating_sub(oldest.0),
        }
    }
}

impl Drained {
    fn look_again_in(&mut self, ms: u64) {
        self.paced_ms = Some(self.paced_ms.map_or(ms, |earlier| earlier.min(ms)));
    }
}

/// Whether a queue takes one more.
pub(super) fn check_room(depth: usize, max: usize) -> Result<(), EnqueueError> {
    if depth < max { Ok(()) } else { Err(EnqueueError::Full { depth }) }
}
