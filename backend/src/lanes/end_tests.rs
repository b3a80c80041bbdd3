//! How the engine ends: told to, or because its store failed. Here the owner runs by itself.

use std::time::Duration;

use cartgate_ledger::Outcome;

use super::rig::{SETTINGS, STALLED, id, reserve, running, set, submit};
use super::{Answer, EnqueueError, State};
use crate::store::Store;
use crate::store::memory::Crash;

#[tokio::test]
async fn when_a_write_fails_everyone_is_told_and_nothing_more_is_taken() {
    for fault in [Crash::Before, Crash::After, Crash::Panic] {
        let (store, lanes) = running(SETTINGS).await;
        store.crash_at_commit(fault);
        let waiter = submit(&lanes, set(60)).unwrap();
        assert_eq!(waiter.outcome().await, Err(EnqueueError::Stopped));
        assert_eq!(lanes.stopped().await, State::Failed);
        let refused = submit(&lanes, set(70)).err();
        assert_eq!(refused, Some(EnqueueError::Stopped));
    }
}

#[tokio::test]
async fn stopping_answers_those_who_wait() {
    let (_store, lanes) = running(SETTINGS).await;
    let waiters: Vec<_> = (0..100).map(|n| submit(&lanes, reserve(n)).unwrap()).collect();
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
    let (store, lanes) = running(STALLED).await;
    let waiters = [1, 2].map(|n| submit(&lanes, reserve(n)).unwrap());
    let [first, second] = waiters;
    assert!(matches!(first.outcome().await, Ok(Outcome::Held(_))));
    let (stopped, answer) =
        tokio::join!(lanes.stop(), second.outcome_or_ticket(Duration::from_millis(50)));
    assert_eq!((stopped, answer), (State::Drained, Ok(Answer::Ticket)));
    assert!(store.ticketed(id(2)).unwrap().is_some());
}

#[tokio::test]
async fn a_write_that_fails_while_stopping_is_a_failure() {
    let (store, lanes) = running(STALLED).await;
    let [first, second] = [1, 2].map(|n| submit(&lanes, reserve(n)).unwrap());
    assert!(matches!(first.outcome().await, Ok(Outcome::Held(_))));
    store.crash_at_commit(Crash::Before);
    let (stopped, answer) =
        tokio::join!(lanes.stop(), second.outcome_or_ticket(Duration::from_millis(50)));
    assert_eq!((stopped, answer), (State::Failed, Err(EnqueueError::Stopped)));
}
