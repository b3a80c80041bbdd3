//! A test's engine: the owner runs only when the test says so, on a real store, with a clock that
//! stands still until it is set. And one whose owner runs by itself.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cartgate_ledger::{
    Command, CommandId, Fingerprint, OnExpired, Outcome, Reservation, ReservationState, Reserve,
    UnixMs,
};
use cartgate_policy::Sku;
use tokio::sync::oneshot;

use super::owner::{Next, Owner};
use super::pacer::PACE_CLOCK;
use super::registry::{Verdict, Wanted};
use super::shared::Shared;
use super::{Answer, EnqueueError, LaneSettings, Lanes, Retention, Submission, Waiter};
use crate::clock::Clock;
use crate::hot_items::{HotItem, Note};
use crate::metrics::Metrics;
use crate::store::memory::Memory;
use crate::store::{StockRow, Store};

pub(super) const SETTINGS: LaneSettings = LaneSettings {
    batch_max: 1_000,
    reserve_queue_max: 1_000,
    settle_queue_max: 10,
    reserves_per_s: None,
    ticket_ttl_ms: 60_000,
    unclaimed_ms: 15_000,
    hot_items_max: 3,
    holds_max: 1_000,
    retention: Retention { holds_ms: 5_000, refusals_ms: 2_000, refusals_max: 3 },
};

/// One command, then none: time stands still for pacing in tests.
pub(super) const STALLED: LaneSettings =
    LaneSettings { reserves_per_s: NonZeroU32::new(1), reserve_queue_max: 3, ..SETTINGS };

pub(super) const HOLD_MS: u64 = 100;

/// How long those who reserve wait.
const WAIT_MS: u64 = 10_000;

pub(super) struct Rig {
    pub(super) now_ms: Arc<AtomicU64>,
    pub(super) shared: Arc<Shared>,
    pub(super) owner: Owner,
    pub(super) store: Arc<Memory>,
}

impl Rig {
    /// An engine with `units` of `A` in stock, at time 1,000.
    pub(super) fn new(units: u64, settings: LaneSettings) -> Self {
        let store = Arc::new(Memory::new(4));
        let mut rig = Self::open(store, Arc::new(AtomicU64::new(1_000)), settings);
        let waiter = rig.settle(set(units));
        rig.turns();
        assert!(matches!(outcome(waiter), Ok(Outcome::Stock { .. })));
        rig
    }

    pub(super) fn open(store: Arc<Memory>, now_ms: Arc<AtomicU64>, settings: LaneSettings) -> Self {
        let dyn_store = Arc::clone(&store) as Arc<dyn Store>;
        let metrics = Arc::new(Metrics::default());
        let owner = Owner::restore(dyn_store, &settings, clock(&now_ms), metrics).unwrap();
        Self { now_ms, shared: Arc::clone(&owner.shared), owner, store }
    }

    /// All that is not in the store is lost, and the engine starts again.
    pub(super) fn crash(self, settings: LaneSettings) -> Self {
        let Self { now_ms, store, .. } = self;
        Self::open(store, now_ms, settings)
    }

    pub(super) fn set_time(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Lets time pass, also for those who pace.
    pub(super) fn advance(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
        PACE_CLOCK.with(|clock| clock.advance(Duration::from_millis(ms)));
    }

    pub(super) fn reserve(&self, number: u8) -> Result<Waiter, EnqueueError> {
        self.reserve_of(&sku(), number)
    }

    pub(super) fn reserve_of(&self, sku: &Sku, number: u8) -> Result<Waiter, EnqueueError> {
        let mut command = reserve(number);
        if let Command::Reserve(reserve) = &mut command {
            reserve.claim_by = (self.shared.clock)().plus_ms(WAIT_MS);
        }
        self.submit(sku, command)
    }

    pub(super) fn submit(&self, sku: &Sku, command: Command) -> Result<Waiter, EnqueueError> {
        let (sku, trail) = (sku.clone(), "r".into());
        self.shared.submit(Submission { sku, command, trail })
    }

    pub(super) fn settle(&self, command: Command) -> Waiter {
        self.submit(&sku(), command).unwrap()
    }

    /// Makes a SKU a hot item, or one no more, and takes a turn.
    pub(super) fn change_hot_item(&mut self, sku: &Sku, item: Option<HotItem>) {
        let mut verdict = self.ask_hot_item(sku, item);
        self.owner.turn().unwrap();
        assert!(verdict.try_recv().unwrap().is_ok());
    }

    /// Asks for a change of a hot item.
    pub(super) fn ask_hot_item(
        &self,
        sku: &Sku,
        item: Option<HotItem>,
    ) -> oneshot::Receiver<Verdict> {
        let (sku, note) = (sku.clone(), Note::default());
        self.shared.change_hot_item(Wanted { sku, item, note }).unwrap()
    }

    /// Turns until there is nothing left to do.
    pub(super) fn turns(&mut self) {
        while self.owner.turn().unwrap() == Next::Turn {}
    }

    pub(super) fn row(&self) -> StockRow {
        self.store.stock(&sku()).unwrap().unwrap()
    }

    pub(super) fn reservation(&self, number: u8) -> Option<Reservation> {
        self.store.reservation(id(number)).unwrap().map(|(_, reservation)| reservation)
    }

    pub(super) fn state(&self, number: u8) -> Option<ReservationState> {
        self.reservation(number).map(|reservation| reservation.state)
    }
}

/// An engine whose owner runs by itself, with 50 units in stock, at time 1.
pub(super) async fn running(settings: LaneSettings) -> (Arc<Memory>, Lanes) {
    let store = Arc::new(Memory::new(4));
    let lanes = Lanes::start(
        Arc::clone(&store) as Arc<dyn Store>,
        settings,
        clock(&Arc::new(AtomicU64::new(1))),
        Arc::new(Metrics::default()),
    );
    let lanes = lanes.unwrap();
    let set = submit(&lanes, set(50)).unwrap();
    assert!(matches!(set.outcome().await, Ok(Outcome::Stock { .. })));
    (store, lanes)
}

pub(super) fn submit(lanes: &Lanes, command: Command) -> Result<Waiter, EnqueueError> {
    lanes.submit(sku(), command, "r".into())
}

pub(super) fn clock(now_ms: &Arc<AtomicU64>) -> Clock {
    let now_ms = Arc::clone(now_ms);
    Arc::new(move || UnixMs(now_ms.load(Ordering::SeqCst)))
}

pub(super) fn sku() -> Sku {
    Sku::parse("A").unwrap()
}

pub(super) fn id(number: u8) -> CommandId {
    CommandId([number; 16])
}

pub(super) fn set(units: u64) -> Command {
    Command::Set { units, expected_version: None }
}

pub(super) fn confirm(number: u8) -> Command {
    Command::Confirm { id: id(number), quantity: None, on_expired: OnExpired::Refuse }
}

pub(super) fn reserve(number: u8) -> Command {
    Command::Reserve(Reserve {
        id: id(number),
        fingerprint: Fingerprint([number; 16]),
        repeatable: true,
        customer: None,
        quantity: NonZeroU32::MIN,
        hold_ms: HOLD_MS,
        claim_by: UnixMs(u64::MAX),
        attempt: 1,
        is_tentative: false,
    })
}

/// What the waiter has by now; a test that would wait fails instead.
pub(super) fn outcome(waiter: Waiter) -> Result<Outcome, EnqueueError> {
    let mut future = Box::pin(waiter.outcome());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(outcome) => outcome,
        std::task::Poll::Pending => panic!("there is no outcome yet"),
    }
}

pub(super) fn is_held(waiter: Waiter) -> bool {
    matches!(outcome(waiter), Ok(Outcome::Held(_)))
}

/// Waits no time at all, then asks for a ticket; `rig` takes its turns meanwhile.
pub(super) async fn ticket(rig: &mut Rig, waiter: Waiter) -> Result<Answer, EnqueueError> {
    let asking = tokio::spawn(waiter.outcome_or_ticket(Duration::ZERO));
    while !asking.is_finished() {
        tokio::task::yield_now().await;
        rig.turns();
    }
    asking.await.unwrap()
}
