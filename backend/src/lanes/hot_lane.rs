//! The lane of one hot item, and its way in and out of the bucket.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use cartgate_ledger::{CommandId, UnixMs};
use cartgate_policy::Sku;

use super::LaneDepth;
use super::lane::Lane;
use super::queued::Queued;
use super::reserve_queue::{Place, ReserveQueue};

/// A hot item's lane.
pub(super) struct HotLane {
    pub(super) lane: Lane,
    pub(super) phase: Phase,
    /// Whether the SKU is still a hot item. If not, the lane goes with the mark that is on its way.
    pub(super) is_wanted: bool,
}

/// Where the HANDOFF mark is.
pub(super) enum Phase {
    /// In the normal lane: nothing is taken from this one yet.
    Joining,
    /// There is none.
    Open,
    /// In this lane. What comes behind it is parked until it is committed.
    Leaving {
        /// What comes behind it.
        parked: ReserveQueue,
    },
}

impl HotLane {
    /// An empty lane that waits for nothing.
    pub(super) fn new(reserves_per_s: Option<NonZeroU32>) -> Self {
        Self { lane: Lane::new(reserves_per_s), phase: Phase::Open, is_wanted: true }
    }

    /// Its queues of reserve commands, in the order in which they are decided.
    pub(super) fn queues(&mut self) -> impl Iterator<Item = &mut ReserveQueue> {
        let parked = match &mut self.phase {
            Phase::Leaving { parked } => Some(parked),
            Phase::Joining | Phase::Open => None,
        };
        [&mut self.lane.reserve].into_iter().chain(parked)
    }

    /// The queue that reserve commands enter from now on.
    pub(super) fn entrance(&mut self) -> &mut ReserveQueue {
        match &mut self.phase {
            Phase::Leaving { parked } => parked,
            Phase::Joining | Phase::Open => &mut self.lane.reserve,
        }
    }

    /// The SKU is a hot item no more: what comes from now on is handed over to the normal lane. If
    /// another mark is on its way already, that one does.
    pub(super) fn leave(&mut self, sku: &Sku) {
        self.is_wanted = false;
        if matches!(self.phase, Phase::Open) {
            self.lane.reserve.push(Place::Handoff(sku.clone()));
            self.phase = Phase::Leaving { parked: ReserveQueue::default() };
        }
    }

    /// Takes up what is parked: the mark is committed, and the SKU stays here.
    pub(super) fn open(&mut self) {
        if let Phase::Leaving { parked } = std::mem::replace(&mut self.phase, Phase::Open) {
            self.lane.reserve.append(parked);
        }
    }

    /// What waits here, reserve commands and settle commands, for the normal lane.
    pub(super) fn close(mut self) -> (ReserveQueue, VecDeque<Queued>) {
        self.open();
        (self.lane.reserve, self.lane.settle)
    }

    /// How many places there are before a command that waits here.
    pub(super) fn before(&self, id: CommandId) -> Option<u64> {
        let queue = &self.lane.reserve;
        let parked = || match &self.phase {
            Phase::Leaving { parked } => Some(queue.len() as u64 + parked.before(id)?),
            Phase::Joining | Phase::Open => None,
        };
        queue.before(id).or_else(parked)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lane.is_empty() && self.parked() == 0
    }

    pub(super) fn depth(&self, now: UnixMs) -> LaneDepth {
        let mut depth = self.lane.depth(now);
        depth.reserve += self.parked();
        depth
    }

    /// How many commands are parked.
    fn parked(&self) -> usize {
        match &self.phase {
            Phase::Leaving { parked } => parked.len(),
            Phase::Joining | Phase::Open => 0,
        }
    }
}
