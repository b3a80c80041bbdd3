//! How the engine ends: told to, or because its store failed. Here the owner runs by itself.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cartgate_ledger::{Command, Outcome};
use tempfile::TempDir;

use super::rig::{Fault, SETTINGS, STALLED, Watched, clock, id, reserve, sku};
use super::{Answer, EnqueueError, LaneSettings, Lanes, State, Stopped};
use crate::metrics::Metrics;
use crate::store::Store;

async fn running(directory: &TempDir, settings: LaneSettings) -> (Arc<Watched>, Lanes) {
    let store = Arc::new(Watched::open(directory.path()));
    let lanes = Lanes::start(
        Arc::clone(&store) as Arc<dyn Store>,
        settings,
        clock(&Arc::new(AtomicU64::new(1))),
        Arc::new(Metrics::default()),
    );
    let lanes = lanes.unwrap();
    let set = lanes.submit(sku(), Command::Set { units: 50 }, "s").unwrap();
    assert!(matches!(set.outcome().await, Ok(Outcome::Stock(_))));
    (store, lanes)
}

#[tokio::test]
async fn when_a_write_fails_everyone_is_told_and_nothing_more_is_taken() {
    for fault in [Fault::Error, Fault::Panic] {
        let directory = TempDir::new().unwrap();
        let (store, lanes) = running(&directory, SETTINGS).await;
        store.break_by(fault);
        let waiter = lanes.submit(sku(), Command::Set { units: 60 }, "s").unwrap();
        assert_eq!(waiter.outcome().await, Err(Stopped));
        assert_eq!(lanes.stopped().await, State::Failed);
        let refused = lanes.submit(sku(), Command::Set { units: 70 }, "s").err();
        assert_eq!(refused, Some(EnqueueError::Stopped));
    }
}

#[tokio::test]
async fn stopping_answers_those_who_wait() {
    let directory = TempDir::new().unwrap();
    let (_store, lanes) = running(&directory, SETTINGS).await;
    let waiters: Vec<_> = (0..100).map(|n| lanes.submit(sku(), reserve(n), "r").unwrap()).collect();
    assert_eq!(lanes.stop().await, State::Drained);
    let mut held = 0;
    for waiter in waiters {
        held += usize::from(matches!(waiter.outcome().await, Ok(Outcome::Held(_))));
    }
    assert_eq!(held, 50);
}

/// Tickets are in the store: they are no reason to stay, not even those given at the last moment.
#[tokio::test]
async fn stopping_leaves_tickets_for_the_next_start() {
    let directory = TempDir::new().unwrap();
    let (store, lanes) = running(&directory, STALLED).await;
    let waiters = [1, 2].map(|n| lanes.submit(sku(), reserve(n), "r").unwrap());
    let [first, second] = waiters;
    assert!(matches!(first.outcome().await, Ok(Outcome::Held(_))));
    let (stopped, answer) =
        tokio::join!(lanes.stop(), second.outcome_or_ticket(Duration::from_millis(50)));
    assert_eq!((stopped, answer), (State::Drained, Ok(Answer::Ticket)));
    assert!(store.ticketed(id(2)).unwrap().is_some());
}

#[tokio::test]
async fn a_write_that_fails_while_stopping_is_a_failure() {
    let directory = TempDir::new().unwrap();
    let (store, lanes) = running(&directory, STALLED).await;
    let [first, second] = [1, 2].map(|n| lanes.submit(sku(), reserve(n), "r").unwrap());
    assert!(matches!(first.outcome().await, Ok(Outcome::Held(_))));
    store.break_by(Fault::Error);
    let (stopped, answer) =
        tokio::join!(lanes.stop(), second.outcome_or_ticket(Duration::from_millis(50)));
    assert_eq!((stopped, answer), (State::Failed, Err(Stopped)));
}
