//! Workers with their threads, on the model of a shared store whose clock follows the machine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cartgate_ledger::UnixMs;

use super::Worker;
use crate::lanes::rig::{self, SETTINGS};
use crate::metrics::Metrics;
use crate::store::post::{Group, Post};
use crate::store::shared_memory::{Fault, SharedMemory};
use crate::store::tenure::{
    Posted, PostedCommand, SharedStore, Stream, Tenure, WorkerId, WorkerReport,
};
use crate::store::{Store as _, StoreError};

const BUCKETS: u16 = 4;

fn start(store: &Arc<SharedMemory>) -> Worker {
    Worker::start(Arc::clone(store) as _, SETTINGS, Arc::new(Metrics::default())).unwrap()
}

/// Looks until it is so; the store's clock goes on meanwhile.
fn wait_until(store: &SharedMemory, what: &str, is_so: impl Fn() -> bool) {
    let (started, began) = (Instant::now(), store.now());
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
        store.set_now(began.plus_ms(started.elapsed().as_millis() as u64));
    }
}

/// How many buckets each worker has, by what they report.
fn shares(store: &SharedMemory) -> Vec<usize> {
    let nobody = WorkerReport { worker: WorkerId(0), buckets: Vec::new() };
    let reports = store.report(&nobody).unwrap();
    store.retire(WorkerId(0)).unwrap();
    let others = reports.into_iter().filter(|report| report.worker != nobody.worker);
    let mut shares: Vec<_> = others.map(|report| report.buckets.len()).collect();
    shares.sort_unstable();
    shares
}

fn post(store: &SharedMemory, bucket: u16, units: u64) {
    let command = PostedCommand {
        sku: rig::sku(),
        command: rig::set(units),
        request_id: "r".into(),
        reply: None,
        good_for_ms: 0,
    };
    let posted = vec![Posted::Command(command)];
    let group = Group { stream: Stream::Settle, depth_max: 10, posted };
    store.post(bucket, Post { groups: vec![group], ..Post::default() });
}

fn is_set(store: &SharedMemory, bucket: u16, units: u64) -> bool {
    let row = store.data(bucket).stock(&rig::sku()).unwrap();
    row.is_some_and(|row| row.counters.available == units)
}

#[test]
fn buckets_are_shared_handed_over_and_taken_over() {
    let store = Arc::new(SharedMemory::new(BUCKETS, UnixMs(1_000)).with_threads());
    let first = start(&store);
    wait_until(&store, "the first has all", || shares(&store) == [4]);
    (0..BUCKETS).for_each(|bucket| post(&store, bucket, 1));
    wait_until(&store, "all are served", || (0..BUCKETS).all(|b| is_set(&store, b, 1)));

    let second = start(&store);
    wait_until(&store, "both have two", || shares(&store) == [2, 2]);
    (0..BUCKETS).for_each(|bucket| post(&store, bucket, 2));
    wait_until(&store, "all are served", || (0..BUCKETS).all(|b| is_set(&store, b, 2)));

    drop(first);
    // Given back in order: nobody waits for a lease to end.
    assert_eq!(shares(&store).len(), 1);
    wait_until(&store, "the second has all", || shares(&store) == [4]);
    (0..BUCKETS).for_each(|bucket| post(&store, bucket, 3));
    wait_until(&store, "all are served", || (0..BUCKETS).all(|b| is_set(&store, b, 3)));
    second.stop();
    second.join();
    for bucket in 0..BUCKETS {
        assert!(store.acquire(bucket, WorkerId(9)).unwrap().is_some(), "{bucket} is free");
    }
}

#[test]
fn an_owner_that_fails_is_followed_by_another() {
    let store = Arc::new(SharedMemory::new(1, UnixMs(1_000)).with_threads());
    let worker = start(&store);
    wait_until(&store, "the bucket is owned", || shares(&store) == [1]);
    store.set_fault(Some(Fault::After));
    post(&store, 0, 1);
    wait_until(&store, "it is written", || is_set(&store, 0, 1));
    post(&store, 0, 2);
    wait_until(&store, "it goes on", || is_set(&store, 0, 2));
    drop(worker);
}

/// A store of which a worker reaches only a part.
struct Partly {
    store: Arc<SharedMemory>,
    /// Buckets below this one are out of reach.
    first: u16,
    /// Whether the list of workers is.
    is_list_away: AtomicBool,
}

fn out_of_reach() -> StoreError {
    StoreError::OutOfReach { retry_after: Duration::ZERO }
}

impl SharedStore for Partly {
    fn buckets(&self) -> u16 {
        SharedStore::buckets(&*self.store)
    }

    fn secret(&self) -> [u8; 32] {
        SharedStore::secret(&*self.store)
    }

    fn acquire(
        &self,
        bucket: u16,
        worker: WorkerId,
    ) -> Result<Option<Arc<dyn Tenure>>, StoreError> {
        if bucket < self.first { Err(out_of_reach()) } else { self.store.acquire(bucket, worker) }
    }

    fn compare_past(&self) -> (usize, Result<(), StoreError>) {
        self.store.compare_past()
    }

    fn report(&self, report: &WorkerReport) -> Result<Vec<WorkerReport>, StoreError> {
        let is_away = self.is_list_away.load(Ordering::SeqCst);
        if is_away { Err(out_of_reach()) } else { self.store.report(report) }
    }

    fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.store.retire(worker)
    }
}

fn start_on_part(store: &Arc<SharedMemory>, first: u16) -> (Arc<Partly>, Worker) {
    let (store, is_list_away) = (Arc::clone(store), AtomicBool::new(false));
    let partly = Arc::new(Partly { store, first, is_list_away });
    let worker = Worker::start(Arc::clone(&partly) as _, SETTINGS, Arc::new(Metrics::default()));
    (partly, worker.unwrap())
}

#[test]
fn what_one_worker_cannot_reach_another_takes() {
    let store = Arc::new(SharedMemory::new(BUCKETS, UnixMs(1_000)).with_threads());
    let (_partly, cut_off) = start_on_part(&store, BUCKETS - 1);
    wait_until(&store, "it has what it can", || shares(&store) == [1]);
    let other = start(&store);
    (0..BUCKETS).for_each(|bucket| post(&store, bucket, 1));
    wait_until(&store, "all are served", || (0..BUCKETS).all(|b| is_set(&store, b, 1)));
    drop((cut_off, other));
}

#[test]
fn buckets_are_taken_while_the_list_of_workers_is_away() {
    let store = Arc::new(SharedMemory::new(1, UnixMs(1_000)).with_threads());
    let (partly, worker) = start_on_part(&store, 0);
    wait_until(&store, "the bucket is owned", || shares(&store) == [1]);
    partly.is_list_away.store(true, Ordering::SeqCst);
    store.set_fault(Some(Fault::After));
    post(&store, 0, 1);
    wait_until(&store, "it is written", || is_set(&store, 0, 1));
    post(&store, 0, 2);
    wait_until(&store, "it goes on", || is_set(&store, 0, 2));
    drop(worker);
}

#[test]
fn what_was_not_given_back_is_counted_when_it_is_taken_over() {
    let store = Arc::new(SharedMemory::new(2, UnixMs(1_000)).with_threads());
    let gone = [0, 1].map(|bucket| store.acquire(bucket, WorkerId(9)).unwrap().unwrap());
    gone[0].release().unwrap();
    let metrics = Arc::new(Metrics::default());
    let worker = Worker::start(Arc::clone(&store) as _, SETTINGS, Arc::clone(&metrics)).unwrap();
    wait_until(&store, "it has both", || shares(&store) == [2]);
    drop(worker);
    assert_eq!((metrics.tenures_begun.get(), metrics.takeovers.get()), (2, 1));
}
