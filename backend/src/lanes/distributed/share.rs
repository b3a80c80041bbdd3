//! What an owner has in memory, as a part of what its process has.

use std::sync::Arc;

use crate::metrics::Metrics;

/// An owner's part of its process's holds and hot items: in the gauges for as long as the owner lives.
///
/// The bound on holds is one on memory. So it is judged by all that the process holds, not bucket by
/// bucket: the holds of a hot item are all in one.
pub(super) struct Share {
    metrics: Arc<Metrics>,
    holds_max: usize,
    holds: usize,
    hot_items: usize,
}

impl Share {
    pub(super) fn new(metrics: Arc<Metrics>, holds_max: usize) -> Self {
        Self { metrics, holds_max, holds: 0, hot_items: 0 }
    }

    /// So many the owner has from now on.
    pub(super) fn set(&mut self, holds: usize, hot_items: usize) {
        self.metrics.change_holds(self.holds, holds);
        self.metrics.change_hot_items(self.hot_items, hot_items);
        (self.holds, self.hot_items) = (holds, hot_items);
    }

    /// Whether the process may have another hold.
    pub(super) fn may_hold(&self) -> bool {
        self.metrics.holds() < self.holds_max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}
