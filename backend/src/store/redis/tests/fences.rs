//! Whoever is owner no more, or rests on what is there no more, changes nothing.

use cartgate_ledger::{Reservation, ReservationState};

use super::*;
use crate::store::tenure::{Route, RouteChange};

#[test]
fn a_zombie_changes_nothing_before_the_next_owner_has_committed() {
    let mut rig = Rig::new();
    let zombie = rig.acquire(1);
    zombie.commit_turn(&sale(0, 2)).unwrap();
    assert!(rig.store.acquire(0, WorkerId(2)).unwrap().is_none(), "it has the lease");
    rig.lapse();
    let next = rig.acquire(2);
    check_refused(&mut rig, &zombie, &sale(2, 3), "fenced");
    next.commit_turn(&sale(2, 3)).unwrap();
}

/// A lease that has passed, and that nobody has taken, is still its owner's.
#[test]
fn an_owner_whose_lease_has_passed_goes_on_until_there_is_another() {
    let mut rig = Rig::new();
    let owner = rig.acquire(1);
    rig.lapse();
    owner.commit_turn(&sale(0, 2)).unwrap();
    assert!(owner.renew().unwrap());
    assert!(rig.store.acquire(0, WorkerId(2)).unwrap().is_none());
}

/// A worker that has thrown its memory away begins anew, at once.
#[test]
fn a_worker_takes_its_own_lease_again_and_fences_its_former_self() {
    let mut rig = Rig::new();
    let former = rig.acquire(1);
    let next = rig.acquire(1);
    check_refused(&mut rig, &former, &sale(0, 1), "fenced");
    next.commit_turn(&sale(0, 1)).unwrap();
}

/// A failover may lose that a lease was taken, and another takes it.
#[test]
fn a_lease_that_was_forgotten_is_over() {
    let mut rig = Rig::new();
    let first = rig.acquire(1);
    rig.run(&["DEL", "{cg:0}:meta"]);
    let second = rig.acquire(2);
    check_refused(&mut rig, &first, &sale(0, 1), "fenced");
    assert!(second.renew().unwrap());
}

#[test]
fn a_lease_that_is_lost_cannot_be_kept_nor_given_back() {
    let mut rig = Rig::new();
    let [kept, given] = [rig.acquire(1), rig.acquire(1)];
    rig.lapse();
    let next = rig.acquire(2);
    assert!(!kept.renew().unwrap());
    given.release().unwrap();
    assert!(next.renew().unwrap(), "it was not given back by another");
    next.release().unwrap();
    assert!(next.renew().is_err());
    rig.acquire(3);
}

#[test]
fn a_takeover_is_told_from_what_was_given_back() {
    let mut rig = Rig::new();
    assert!(!rig.acquire(1).is_takeover(), "nobody had it");
    rig.lapse();
    assert!(!rig.acquire(1).is_takeover(), "it was its own");
    rig.lapse();
    let second = rig.acquire(2);
    assert!(second.is_takeover());
    second.release().unwrap();
    assert!(!rig.acquire(3).is_takeover());
}

/// The clock of a server that takes over may be behind that of the one before.
#[test]
fn a_lease_from_a_clock_that_was_ahead_does_not_last() {
    let mut rig = Rig::new();
    rig.acquire(1);
    rig.run(&["HSET", "{cg:0}:meta", "until_ms", "99999999999999"]);
    rig.acquire(2);
}

/// What the other has decided is not in the streams any more, and a failover may forget that it was.
#[tokio::test]
async fn a_zombie_reads_nothing() {
    for wait in [Duration::ZERO, Duration::from_millis(1)] {
        let mut rig = Rig::new();
        rig.post(Stream::Normal, 1..2).await;
        let zombie = rig.acquire(1);
        let from = [(Stream::Normal, EntryId::default())];
        let read = |tenure: &Taken| tenure.read(&from, READ_MAX, wait);
        assert_eq!(in_lane(read(&zombie).unwrap()).len(), 1);
        rig.lapse();
        let next = rig.acquire(2);
        let found = read(&zombie);
        assert!(matches!(found, Err(StoreError::TenureOver { reason: "fenced", .. })), "{found:?}");
        assert!(zombie.commit_turn(&sale(0, 2)).is_err(), "over is over");
        assert_eq!(in_lane(read(&next).unwrap()).len(), 1);
    }
}

/// A failover may lose what was posted, and give the same place to something else.
#[tokio::test]
async fn a_cursor_does_not_pass_what_the_owner_has_not_read() {
    let mut rig = Rig::new();
    rig.post(Stream::Normal, 1..3).await;
    let tenure = rig.acquire(1);
    let entries = in_lane(read(&tenure));
    let place = format!("{}-{}", entries[0].id.ms, entries[0].id.number);
    rig.run(&["DEL", "{cg:0}:lane"]);
    let turn = TurnCommit { steps: vec![step(Stream::Normal, &entries)], ..sale(0, 2) };
    check_refused(&mut rig, &tenure, &turn, "entry");

    let another = ["XADD", "{cg:0}:lane", &place, "n", "00000000000000ff", "t", "1", "d", "\0"];
    rig.run(&another);
    let tenure = rig.acquire(1);
    check_refused(&mut rig, &tenure, &turn, "entry");
}

#[test]
fn a_turn_does_not_follow_one_that_was_lost() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    let acquired = rig.dump();
    tenure.commit_turn(&sale(0, 1)).unwrap();
    let committed = rig.dump();
    tenure.commit_turn(&sale(1, 2)).unwrap();
    rig.restore(&committed);
    check_refused(&mut rig, &tenure, &sale(2, 3), "history");

    let tenure = rig.acquire(1);
    tenure.commit_turn(&sale(1, 2)).unwrap();
    rig.restore(&acquired);
    check_refused(&mut rig, &tenure, &sale(2, 3), "fenced");
}

/// A refusal changes no row, and its stream may have no cursor yet: nothing but the turn before tells
/// that the SKU's lane is not open any more, and that earlier commands wait in the normal one.
#[tokio::test]
async fn a_refusal_from_a_lane_whose_opening_was_lost_overtakes_nobody() {
    let mut rig = Rig::new();
    let hot = Stream::Hot(sku("A"));
    let tenure = rig.acquire(1);
    rig.post(Stream::Normal, 1..2).await;
    let route = |route, mark_in| RouteChange { sku: sku("A"), route: Some(route), mark_in };
    let joining = vec![route(Route::Joining, Some(Stream::Normal))];
    tenure.commit_turn(&TurnCommit { routes: joining, ..<_>::default() }).unwrap();
    let (joined_version, _) = rig.api.routes(0).await.unwrap();
    rig.post_by(joined_version, hot.clone(), 2..3).await;
    let before = rig.dump();

    let steps = vec![step(Stream::Normal, &in_lane(read(&tenure)))];
    let routes = vec![route(Route::Open, None)];
    tenure.commit_turn(&TurnCommit { steps, routes, ..sale(0, 2) }).unwrap();
    rig.restore(&before);

    let from = [(hot.clone(), EntryId::default())];
    let arrived = tenure.read(&from, READ_MAX, Duration::ZERO).unwrap();
    let state = ReservationState::SoldOut { available: 0 };
    let refused = Reservation { state, ..held(2) };
    let commit = Commit { reservations: vec![(sku("A"), refused)], ..Commit::default() };
    let steps = vec![step(hot, &arrived.entries[0].1)];
    let turn = TurnCommit { commit, steps, ..<_>::default() };
    check_refused(&mut rig, &tenure, &turn, "history");
}
