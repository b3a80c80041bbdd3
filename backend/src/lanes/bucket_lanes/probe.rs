//! What the simulation looks at in a bucket's lanes.

use cartgate_ledger::CommandId;
use cartgate_policy::Sku;

use super::super::queued::Queued;
use super::super::reserve_queue::Place;
use super::{BucketLanes, Phase};

impl BucketLanes {
    /// The ids of a SKU's reserve commands that wait, in the order in which they are to be decided.
    pub(in super::super) fn waiting(&self, sku: &Sku) -> Vec<CommandId> {
        self.queued(sku).filter_map(|queued| queued.command.id()).collect()
    }

    /// Whether one of them was in a turn already, and was put back.
    pub(in super::super) fn has_put_back(&self, sku: &Sku) -> bool {
        self.queued(sku).any(|queued| queued.was_taken)
    }

    fn queued(&self, sku: &Sku) -> impl Iterator<Item = &Queued> {
        let hot = self.hot.get(sku);
        let parked = hot.and_then(|hot| match &hot.phase {
            Phase::Leaving { parked } => Some(parked),
            Phase::Joining | Phase::Open => None,
        });
        let queues = [&self.normal.reserve].into_iter().chain(hot.map(|hot| &hot.lane.reserve));
        let places = queues.chain(parked).flat_map(|queue| queue.iter());
        places.filter_map(move |place| match place {
            Place::Command(queued) if queued.sku == *sku => Some(queued),
            Place::Command(_) | Place::Handoff(_) => None,
        })
    }

    /// Where a SKU is on its way into a lane of its own and out of it.
    pub(in super::super) fn phase(&self, sku: &Sku) -> Option<&'static str> {
        Some(match &self.hot.get(sku)?.phase {
            Phase::Joining => "joining",
            Phase::Open => "open",
            Phase::Leaving { parked } if parked.is_empty() => "leaving",
            Phase::Leaving { .. } => "parking",
        })
    }
}
