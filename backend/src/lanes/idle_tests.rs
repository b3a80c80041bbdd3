//! Who takes the owner's turns, and that nobody is forgotten meanwhile. The owner runs by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cartgate_ledger::Outcome;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::rig::{SETTINGS, confirm, reserve, running, set, submit};
use super::{EnqueueError, LaneSettings, Lanes, State};
use crate::store::memory::{Crash, Memory};

/// More than any of this takes, and less than the owner sleeps at most.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often a busy machine may spoil the quiet that a test needs.
const TRIES: usize = 1_000;

/// Whether this thread wrote the last commit.
fn wrote_here(store: &Memory) -> bool {
    store.writer().is_some_and(|writer| writer.id() == thread::current().id())
}

fn was_owners_thread(store: &Memory) -> bool {
    store.writer().is_some_and(|writer| writer.name() == Some("owner"))
}

/// Sends a command, again and again, until the next caller may take a turn.
async fn quiet(lanes: &Lanes) {
    for _ in 0..TRIES {
        let waiter = submit(lanes, set(50)).unwrap();
        assert!(matches!(waiter.outcome().await, Ok(Outcome::Stock { .. })));
        // Whoever took that turn brings the owner back after the answer.
        for _ in 0..TRIES {
            if lanes.shared.idle.is_quiet() {
                return;
            }
            thread::yield_now();
        }
    }
    panic!("it is never quiet");
}

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_time().build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_caller_takes_its_turn_itself() {
    let (store, lanes) = running(SETTINGS).await;
    assert!(was_owners_thread(&store), "the first one wakes the thread");
    for _ in 0..TRIES {
        quiet(&lanes).await;
        assert!(submit(&lanes, set(51)).unwrap().outcome().await.is_ok());
        if wrote_here(&store) {
            assert_eq!(lanes.stop().await, State::Drained);
            return;
        }
    }
    panic!("no caller takes a turn");
}

/// Where the caller's thread is the only one, nobody else could go on meanwhile.
#[test]
fn the_only_worker_takes_no_turn() {
    let alone = Builder::new_current_thread().build().unwrap();
    for runtime in [alone, runtime(1)] {
        runtime.block_on(async {
            let (store, lanes) = running(SETTINGS).await;
            for _ in 0..100 {
                let waiter = submit(&lanes, set(50)).unwrap();
                assert!(waiter.outcome().await.is_ok());
                assert!(was_owners_thread(&store));
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_one_caller_share_its_turn() {
    let (store, lanes) = running(SETTINGS).await;
    for _ in 0..TRIES {
        quiet(&lanes).await;
        let commits = store.commits();
        let waiters = [set(51), set(52), set(53)].map(|set| submit(&lanes, set).unwrap());
        for waiter in waiters {
            assert!(waiter.outcome().await.is_ok());
        }
        if wrote_here(&store) {
            assert_eq!(store.commits(), commits + 1);
            return;
        }
    }
    panic!("no caller takes a turn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_turn_that_fails_stops_the_engine() {
    for fault in [Crash::Before, Crash::After, Crash::Panic] {
        let mut tries = 0..TRIES;
        while !fails_here(fault).await {
            assert!(tries.next().is_some(), "no caller takes a turn");
        }
    }
}

/// Returns whether it was this thread that failed.
async fn fails_here(fault: Crash) -> bool {
    let (store, lanes) = running(SETTINGS).await;
    quiet(&lanes).await;
    store.crash_at_commit(fault);
    let [first, second] = [60, 61].map(|units| submit(&lanes, set(units)).unwrap());
    let answers = (first.outcome().await, second.outcome().await);
    assert_eq!(answers, (Err(EnqueueError::Stopped), Err(EnqueueError::Stopped)));
    let is_here = wrote_here(&store);
    assert_eq!(lanes.stopped().await, State::Failed);
    assert_eq!(submit(&lanes, set(70)).err(), Some(EnqueueError::Stopped));
    is_here
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_caller_leaves_is_decided_all_the_same() {
    let (store, lanes) = running(SETTINGS).await;
    quiet(&lanes).await;
    let commits = store.commits();
    drop(submit(&lanes, set(99)).unwrap());
    let began = Instant::now();
    while store.commits() == commits {
        assert!(began.elapsed() < DEADLINE, "it is left lying");
        tokio::task::yield_now().await;
    }
}

/// Callers that come alone and together, wait or leave: none is forgotten.
#[test]
fn none_of_many_is_forgotten() {
    const CALLERS: u8 = 8;
    const ROUNDS: usize = 500;
    runtime(4).block_on(async {
        let settings = LaneSettings { settle_queue_max: 1_000, ..SETTINGS };
        let (_store, lanes) = running(settings).await;
        let (lanes, mut callers) = (Arc::new(lanes), JoinSet::new());
        for caller in 0..CALLERS {
            let lanes = Arc::clone(&lanes);
            callers.spawn(async move {
                for round in 0..ROUNDS {
                    let waiter = submit(&lanes, reserve(caller)).unwrap();
                    if round % 3 == usize::from(caller) % 3 {
                        tokio::task::yield_now().await;
                    }
                    if round % 7 == usize::from(caller) % 7 {
                        drop(waiter);
                    } else {
                        assert!(matches!(waiter.outcome().await, Ok(Outcome::Held(_))));
                    }
                    let confirmed = submit(&lanes, confirm(caller)).unwrap();
                    assert!(confirmed.outcome().await.is_ok());
                }
            });
        }
        let all = timeout(DEADLINE, callers.join_all()).await;
        assert!(all.is_ok(), "somebody waits for ever");
        assert_eq!(lanes.stop().await, State::Drained);
    });
}

/// The worker that waits for the disk is the one that has looked after everybody's timers.
#[test]
fn a_stuck_disk_keeps_nobody_else_waiting() {
    let runtime = runtime(2);
    let (store, lanes) = runtime.block_on(running(SETTINGS));
    let (lanes, ticks) = (Arc::new(lanes), Arc::new(AtomicU64::new(0)));
    let ticking = Arc::clone(&ticks);
    runtime.spawn(async move {
        loop {
            sleep(Duration::from_millis(1)).await;
            ticking.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut stuck = 0;
    for _ in 0..TRIES {
        runtime.block_on(quiet(&lanes));
        store.hold_up();
        let begun = store.commits();
        let calling = Arc::clone(&lanes);
        let caller = runtime.spawn(async move {
            sleep(Duration::from_millis(1)).await;
            submit(&calling, set(60)).unwrap().outcome().await
        });
        await_until("the disk is stuck", || store.commits() > begun);
        if !was_owners_thread(&store) {
            stuck += 1;
            let before = ticks.load(Ordering::SeqCst);
            await_until("time goes on", || ticks.load(Ordering::SeqCst) > before + 3);
        }
        store.let_go();
        assert!(runtime.block_on(caller).unwrap().is_ok());
        if stuck == 5 {
            return;
        }
    }
    panic!("no worker takes a turn");
}

fn await_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "waited in vain: {what}");
        thread::yield_now();
    }
}
