//! What a failover has lost is announced, whoever has the bucket next.

use cartgate_ledger::{Reservation, ReservationState};

use super::proxy::{Proxy, Way};
use super::*;
use crate::store::redis::Lost;
use crate::store::tenure::{Place, Ticket};

fn lost(known: u64, found: u64) -> Vec<Lost> {
    vec![Lost { sku: sku("A"), known, found }]
}

fn refusal() -> TurnCommit {
    let state = ReservationState::SoldOut { available: 0 };
    let refused = Reservation { state, ..held(9) };
    let commit = Commit { reservations: vec![(sku("A"), refused)], ..Commit::default() };
    TurnCommit { commit, ..TurnCommit::default() }
}

/// A store with versions 1 and 2, where a tenure begins that is going to lose what it writes.
fn begin() -> (Rig, Taken, Vec<(String, Vec<u8>)>) {
    let mut rig = Rig::new();
    rig.acquire(1).commit_turn(&sale(0, 2)).unwrap();
    assert_eq!(compared(&rig.store), 0);
    let tenure = rig.acquire(1);
    tenure.load().unwrap();
    let dumped = rig.dump();
    (rig, tenure, dumped)
}

fn compared(store: &RedisStore) -> usize {
    let (lost, compared) = store.compare_past();
    compared.unwrap();
    lost
}

async fn check_lost(rig: &Rig, count: usize, expected: &[Lost]) {
    assert_eq!(compared(&rig.store), count);
    assert_eq!(rig.api.lost(0).await.unwrap(), expected);
    assert_eq!(compared(&rig.store), 0, "it is lost once");
}

#[tokio::test]
async fn what_was_lost_is_announced_before_anybody_has_the_bucket() {
    let (mut rig, tenure, dumped) = begin();
    tenure.commit_turn(&sale(2, 3)).unwrap();
    tenure.commit_turn(&sale(3, 4)).unwrap();
    rig.restore(&dumped);
    drop(tenure);
    check_lost(&rig, 1, &lost(4, 2)).await;
}

/// Another worker writes other things under the same versions.
#[tokio::test]
async fn what_was_lost_is_not_taken_for_what_came_in_its_place() {
    let (mut rig, tenure, _) = begin();
    tenure.commit_turn(&sale(2, 3)).unwrap();
    let dumped = rig.dump();
    tenure.commit_turn(&sale(3, 5)).unwrap();
    rig.restore(&dumped);
    rig.lapse();
    let other = rig.server.store();
    let next = other.acquire(0, WorkerId(2)).unwrap().unwrap();
    next.commit_turn(&sale(3, 6)).unwrap();
    drop(tenure);
    check_lost(&rig, 1, &lost(5, 3)).await;
    drop(next);
    assert_eq!(compared(&other), 0, "it is all there");
}

/// The tenure had ended in order, and the bucket gone to another, before the failover.
#[tokio::test]
async fn what_was_given_back_is_missed_as_well() {
    let (mut rig, tenure, dumped) = begin();
    tenure.commit_turn(&sale(2, 3)).unwrap();
    tenure.release().unwrap();
    drop(tenure);
    let other = rig.server.store();
    let next = other.acquire(0, WorkerId(2)).unwrap().unwrap();
    next.load().unwrap();
    next.commit_turn(&sale(3, 4)).unwrap();
    assert_eq!(compared(&rig.store), 0, "not yet");
    rig.restore(&dumped);
    drop(next);
    assert_eq!(compared(&other), 1);
    assert_eq!(rig.api.lost(0).await.unwrap(), lost(4, 3));
    check_lost(&rig, 1, &lost(4, 2)).await;
}

/// Its versions do not tell: no stock was changed.
#[tokio::test]
async fn a_refusal_that_was_lost_is_announced() {
    let (mut rig, tenure, dumped) = begin();
    tenure.commit_turn(&refusal()).unwrap();
    rig.restore(&dumped);
    drop(tenure);
    check_lost(&rig, 1, &lost(2, 2)).await;
}

#[tokio::test]
async fn a_ticket_that_was_lost_is_announced() {
    let (mut rig, tenure, dumped) = begin();
    let ticket = Ticket { until: UnixMs(9), place: Place::default() };
    let tickets = vec![(id(1), sku("A"), ticket)];
    tenure.commit_turn(&TurnCommit { tickets, ..TurnCommit::default() }).unwrap();
    rig.restore(&dumped);
    drop(tenure);
    check_lost(&rig, 1, &lost(2, 2)).await;
}

/// Nobody was told of it.
#[tokio::test]
async fn a_turn_of_which_nobody_knows_is_no_loss() {
    let rig = Rig::new();
    for way in [Way::LosesReplies, Way::Closed] {
        let proxy = Proxy::to(rig.server.port());
        let store = RedisStore::open(proxy.url().parse().unwrap(), settings()).unwrap();
        let tenure = store.acquire(0, WorkerId(1)).unwrap().unwrap();
        proxy.go(way);
        tenure.commit_turn(&refusal()).unwrap_err();
        proxy.go(Way::Open);
        drop(tenure);
        assert_eq!(compared(&store), 0, "{way:?}");
    }
    assert_eq!(rig.api.lost(0).await.unwrap(), []);
}

/// What was lost is said all the same, once, and noted when there is room for it.
#[tokio::test]
async fn a_loss_is_announced_though_the_store_takes_no_note_of_it() {
    let (mut rig, tenure, dumped) = begin();
    tenure.commit_turn(&sale(2, 3)).unwrap();
    rig.restore(&dumped);
    drop(tenure);
    rig.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let (lost_now, compared_now) = rig.store.compare_past();
    assert!(lost_now == 1 && compared_now.is_err());
    rig.run(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(compared(&rig.store), 0, "it was announced before");
    assert_eq!(rig.api.lost(0).await.unwrap(), lost(3, 2));
}
