//! A test's engine: the owner runs only when the test says so, on a real store, with a clock that
//! stands still until it is set.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cartgate_ledger::{
    Command, CommandId, Fingerprint, JournalEntry, Outcome, Reservation, ReservationState, Reserve,
    UnixMs,
};
use cartgate_policy::Sku;
use tempfile::TempDir;

use super::owner::{Next, Owner};
use super::{Answer, EnqueueError, LaneSettings, Retention, Shared, Stopped, Waiter};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{
    Commit, Embedded, Ended, EndedKind, Loaded, StockRow, Store, StoreError, Ticketed,
};

pub(super) const SETTINGS: LaneSettings = LaneSettings {
    batch_max: 1_000,
    reserve_queue_max: 1_000,
    settle_queue_max: 10,
    reserves_per_s: None,
    ticket_ttl_ms: 60_000,
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
    pub(super) directory: TempDir,
    pub(super) now_ms: Arc<AtomicU64>,
    pub(super) shared: Arc<Shared>,
    pub(super) owner: Owner,
    pub(super) store: Arc<Watched>,
}

impl Rig {
    /// An engine with `units` of `A` in stock, at time 1,000.
    pub(super) fn new(units: u64, settings: LaneSettings) -> Self {
        let directory = TempDir::new().unwrap();
        let mut rig = Self::open(directory, Arc::new(AtomicU64::new(1_000)), settings);
        let waiter = rig.settle(Command::Set { units });
        rig.turns();
        assert!(matches!(outcome(waiter), Ok(Outcome::Stock(_))));
        rig
    }

    pub(super) fn open(directory: TempDir, now_ms: Arc<AtomicU64>, settings: LaneSettings) -> Self {
        let store = Arc::new(Watched::open(directory.path()));
        let dyn_store = Arc::clone(&store) as Arc<dyn Store>;
        let metrics = Arc::new(Metrics::default());
        let owner = Owner::restore(dyn_store, &settings, clock(&now_ms), metrics).unwrap();
        Self { directory, now_ms, shared: Arc::clone(&owner.shared), owner, store }
    }

    /// All that is not in the store is lost, and the engine starts again.
    pub(super) fn crash(self, settings: LaneSettings) -> Self {
        let Self { directory, now_ms, shared, owner, store } = self;
        drop((shared, owner, store));
        Self::open(directory, now_ms, settings)
    }

    pub(super) fn set_time(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }

    pub(super) fn reserve(&self, number: u8) -> Result<Waiter, EnqueueError> {
        let mut command = reserve(number);
        if let Command::Reserve(reserve) = &mut command {
            reserve.claim_by = (self.shared.clock)().plus_ms(WAIT_MS);
        }
        self.shared.submit(sku(), command, "r")
    }

    pub(super) fn settle(&self, command: Command) -> Waiter {
        self.shared.submit(sku(), command, "s").unwrap()
    }

    /// Turns until there is nothing left to do.
    pub(super) fn turns(&mut self) {
        while self.owner.turn().unwrap() == Next::Turn {}
    }

    pub(super) fn row(&self) -> StockRow {
        self.store.stock(&sku()).unwrap().unwrap()
    }

    pub(super) fn state(&self, number: u8) -> Option<ReservationState> {
        self.store.reservation(id(number)).unwrap().map(|(_, reservation)| reservation.state)
    }
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

pub(super) fn reserve(number: u8) -> Command {
    Command::Reserve(Reserve {
        id: id(number),
        fingerprint: Fingerprint([number; 16]),
        repeatable: true,
        customer: None,
        quantity: NonZeroU32::MIN,
        hold_ms: HOLD_MS,
        claim_by: UnixMs(u64::MAX),
    })
}

/// What the waiter has by now; a test that would wait fails instead.
pub(super) fn outcome(waiter: Waiter) -> Result<Outcome, Stopped> {
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
pub(super) async fn ticket(rig: &mut Rig, waiter: Waiter) -> Result<Answer, Stopped> {
    let asking = tokio::spawn(waiter.outcome_or_ticket(Duration::ZERO));
    while !asking.is_finished() {
        tokio::task::yield_now().await;
        rig.turns();
    }
    asking.await.unwrap()
}

/// How a store fails on purpose.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    Error,
    Panic,
}

/// The real store, with its commits counted, and failing when told to.
pub(super) struct Watched {
    inner: Embedded,
    pub(super) commits: AtomicU64,
    fault: Mutex<Option<Fault>>,
}

impl Watched {
    pub(super) fn open(directory: &Path) -> Self {
        Self {
            inner: Embedded::open(directory, 4).unwrap(),
            commits: AtomicU64::new(0),
            fault: Mutex::new(None),
        }
    }

    /// From now on commits fail in this way.
    pub(super) fn break_by(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }
}

impl Store for Watched {
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Some(Fault::Error) => {
                let source = "broken on purpose".into();
                return Err(StoreError::Database { action: "be written", source });
            }
            Some(Fault::Panic) => panic!("broken on purpose"),
            None => {}
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(commit)
    }

    fn buckets(&self) -> u16 {
        self.inner.buckets()
    }

    fn secret(&self) -> [u8; 32] {
        self.inner.secret()
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        self.inner.stock(sku)
    }

    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        self.inner.reservation(id)
    }

    fn ticketed(&self, id: CommandId) -> Result<Option<Ticketed>, StoreError> {
        self.inner.ticketed(id)
    }

    fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.inner.journal(sku, after, limit)
    }

    fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        self.inner.ended(kind, from, until, limit)
    }
}
