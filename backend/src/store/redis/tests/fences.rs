//! Whoever is owner no more, or rests on what is there no more, changes nothing.

use super::*;

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

/// A failover may lose that a lease was taken: then its epoch is given to another.
#[test]
fn an_epoch_that_is_given_twice_is_told_apart_by_the_nonce() {
    let mut rig = Rig::new();
    let first = rig.acquire(1);
    rig.run(&["DEL", "{cg:0}:meta"]);
    let second = rig.acquire(2);
    assert_eq!(rig.ask::<u64>(&["HGET", "{cg:0}:meta", "epoch"]), 1, "the same epoch");
    check_refused(&mut rig, &first, &sale(0, 1), "fenced");
    assert!(rig.acquire(2).renew().unwrap());
    drop(second);
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

/// The clock of a server that takes over may be behind that of the one before.
#[test]
fn a_lease_from_a_clock_that_was_ahead_does_not_last() {
    let mut rig = Rig::new();
    rig.acquire(1);
    rig.run(&["HSET", "{cg:0}:meta", "until_ms", "99999999999999"]);
    rig.acquire(2);
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
    let turn = TurnCommit { steps: vec![step(Stream::Normal, None, &entries)], ..sale(0, 2) };
    check_refused(&mut rig, &tenure, &turn, "entry");

    let another = ["XADD", "{cg:0}:lane", &place, "n", "00000000000000ff", "t", "1", "d", "\0"];
    rig.run(&another);
    let tenure = rig.acquire(1);
    check_refused(&mut rig, &tenure, &turn, "entry");
}

#[tokio::test]
async fn a_cursor_that_has_moved_is_not_moved_again() {
    let mut rig = Rig::new();
    rig.post(Stream::Normal, 1..3).await;
    let tenure = rig.acquire(1);
    let entries = in_lane(read(&tenure));
    let mut turn = TurnCommit { steps: vec![step(Stream::Normal, None, &entries)], ..sale(0, 2) };
    tenure.commit_turn(&turn).unwrap();
    turn.commit = Commit::default();
    check_refused(&mut rig, &tenure, &turn, "cursor");
}

#[test]
fn a_turn_that_was_decided_on_another_row_is_refused() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    tenure.commit_turn(&sale(0, 1)).unwrap();
    let later = sale(0, 2);
    let row = crate::store::encoding::encode(&later.commit.skus[0].row).unwrap();
    redis::cmd("HSET").arg("{cg:0}:stock").arg("A").arg(row).exec(&mut rig.connection).unwrap();
    check_refused(&mut rig, &tenure, &sale(1, 2), "stock");

    rig.run(&["DEL", "{cg:0}:stock"]);
    let tenure = rig.acquire(1);
    check_refused(&mut rig, &tenure, &sale(1, 2), "stock");
}

/// Whoever forgets to say what a turn was decided on decides on nothing.
#[test]
fn a_row_that_nobody_names_must_not_be_there() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    tenure.commit_turn(&sale(0, 1)).unwrap();
    let unnamed = TurnCommit { rows_before: vec![], ..sale(0, 2) };
    check_refused(&mut rig, &tenure, &unnamed, "stock");
}
