//! What callers and the owner share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cartgate_ledger::{Command, CommandId, Outcome, Reservation};
use cartgate_policy::Sku;
use tokio::sync::oneshot;

use super::board::Board;
use super::bucket_lanes::BucketLanes;
use super::idle::Idle;
use super::in_line::InLine;
use super::registry::{Verdict, Wanted};
use super::taken::Change;
use super::waiter::{Queue, Waiter};
use super::{BucketDepths, Buckets, EnqueueError, HotLaneState, LaneSettings, Submission};
use crate::clock::Clock;
use crate::hot_items::HotItem;

/// The lanes, and the owner while nobody works them off.
pub(super) struct Shared {
    pub(super) buckets: Buckets,
    pub(super) clock: Clock,
    lanes: Box<[Mutex<BucketLanes>]>,
    /// The registry of hot items, as of the last commit.
    registry: RwLock<BTreeMap<Sku, HotItem>>,
    /// How they stand.
    pub(super) board: Board,
    holds_max: usize,
    /// Holds that have not ended, as of the last commit.
    pub(super) hold_count: AtomicUsize,
    pub(super) idle: Idle,
}

impl Shared {
    pub(super) fn new(buckets: Buckets, settings: &LaneSettings, clock: Clock) -> Self {
        Self {
            buckets,
            clock,
            lanes: buckets.all().map(|_| Mutex::new(BucketLanes::new(settings))).collect(),
            registry: RwLock::default(),
            board: Board::default(),
            holds_max: settings.holds_max,
            hold_count: AtomicUsize::new(0),
            idle: Idle::default(),
        }
    }

    pub(super) fn submit(self: &Arc<Self>, submission: Submission) -> Result<Waiter, EnqueueError> {
        let may_hold = self.hold_count.load(Ordering::Relaxed) < self.holds_max;
        let (sku, id) = (submission.sku.clone(), submission.command.id());
        let outcome = self.lanes_of(&sku).push(submission, &self.clock, may_hold)?;
        self.idle.submitted();
        Ok(Waiter::new(sku, id, outcome, Queue::Here(Arc::clone(self))))
    }

    /// Gives back the hold in an outcome that nobody hears of.
    pub(super) fn cancel(&self, sku: Sku, outcome: &Outcome) {
        let Outcome::Held(Reservation { id, attempt, .. }) = outcome else { return };
        let command = Command::Cancel { id: *id, attempt: *attempt, even_claimed: false };
        let submission = Submission { sku, command, trail: "hung-up".into() };
        self.lanes_of(&submission.sku.clone()).push_unheard(submission, &self.clock);
        self.idle.wake_for_work();
    }

    pub(super) fn change_hot_item(
        &self,
        wanted: Wanted,
    ) -> Result<oneshot::Receiver<Verdict>, EnqueueError> {
        let (reply, written) = oneshot::channel();
        self.lanes_of(&wanted.sku.clone()).change_hot_item(Change { wanted, reply })?;
        self.idle.wake_for_work();
        Ok(written)
    }

    pub(super) fn registry(&self) -> RwLockReadGuard<'_, BTreeMap<Sku, HotItem>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn registry_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Sku, HotItem>> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lanes of a SKU's bucket.
    pub(super) fn lanes_of(&self, sku: &Sku) -> MutexGuard<'_, BucketLanes> {
        lock(&self.lanes[usize::from(self.buckets.of_sku(sku))])
    }

    /// The lanes of every bucket, one after the other.
    pub(super) fn each_lanes(&self) -> impl Iterator<Item = MutexGuard<'_, BucketLanes>> {
        self.lanes.iter().map(lock)
    }

    pub(super) fn depths(&self) -> Vec<BucketDepths> {
        let now = (self.clock)();
        let depths = self.buckets.all().zip(self.each_lanes()).map(|(bucket, lanes)| {
            let (normal, hot) = lanes.depths(now);
            BucketDepths { bucket, normal, hot }
        });
        depths.collect()
    }

    pub(super) fn hot_lane(&self, sku: &Sku) -> Option<HotLaneState> {
        self.lanes_of(sku).hot_lane(sku, (self.clock)())
    }

    pub(super) fn in_line(&self, sku: &Sku, id: CommandId) -> Option<InLine> {
        self.lanes_of(sku).in_line(sku, id, (self.clock)())
    }

    pub(super) fn close(&self) {
        self.each_lanes().for_each(|mut lanes| lanes.close());
        self.idle.wake_for_work();
    }

    /// Whether new commands are refused.
    pub(super) fn is_closed(&self) -> bool {
        self.each_lanes().all(|lanes| lanes.is_closed())
    }

    /// Refuses what comes, and drops what waits.
    pub(super) fn discard(&self) {
        for mut lanes in self.each_lanes() {
            lanes.close();
            lanes.discard();
        }
    }
}

fn lock(lanes: &Mutex<BucketLanes>) -> MutexGuard<'_, BucketLanes> {
    // Nothing in here can panic half way through a change.
    lanes.lock().unwrap_or_else(PoisonError::into_inner)
}
