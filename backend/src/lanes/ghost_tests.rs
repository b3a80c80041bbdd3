//! No ghost holds: what nobody knows of goes back on the shelf.

use std::time::Duration;

use cartgate_ledger::{Claim, Command, Outcome, ReservationState};

use super::Answer;
use super::owner::Next;
use super::rig::{HOLD_MS, Rig, SETTINGS, STALLED, confirm, id, is_held, outcome, reserve, ticket};

const LONG: super::LaneSettings = super::LaneSettings { unclaimed_ms: HOLD_MS / 2, ..SETTINGS };

/// Decides what is queued, without what comes of it.
fn one_turn(rig: &mut Rig) {
    assert!(matches!(rig.owner.turn().unwrap(), Next::Sleep(_)));
}

#[test]
fn a_hang_up_between_the_commit_and_the_answer_gives_the_hold_back() {
    let mut rig = Rig::new(1, SETTINGS);
    let waiter = rig.reserve(1).unwrap();
    one_turn(&mut rig);
    // The answer is on its way: nobody takes it.
    drop(waiter);
    rig.turns();
    assert!(matches!(rig.state(1), Some(ReservationState::Released { .. })));
    assert_eq!(rig.row().counters.available, 1);
    // Nobody had been told, so that the repeat is judged anew.
    let again = rig.reserve(1).unwrap();
    rig.turns();
    assert!(is_held(again));
    assert!(matches!(rig.state(1), Some(ReservationState::Held { .. })));
}

#[test]
fn a_repeat_keeps_what_the_first_caller_hung_up_on() {
    let mut rig = Rig::new(1, SETTINGS);
    let first = rig.reserve(1).unwrap();
    one_turn(&mut rig);
    let repeat = rig.reserve(1).unwrap();
    drop(first);
    // The cancellation is taken first, but is of an earlier attempt or of nothing.
    rig.turns();
    assert!(is_held(repeat));
    assert!(matches!(rig.state(1), Some(ReservationState::Held { .. })));
}

#[test]
fn of_those_who_joined_the_last_to_hang_up_gives_the_hold_back() {
    for hear_first in [true, false] {
        let mut rig = Rig::new(1, SETTINGS);
        let waiters = [(); 3].map(|()| rig.reserve(1).unwrap());
        one_turn(&mut rig);
        let [first, second, third] = waiters;
        drop(second);
        if hear_first {
            assert!(is_held(first));
        } else {
            drop(first);
        }
        drop(third);
        rig.turns();
        assert_eq!(rig.row().counters.held, u64::from(hear_first));
    }
}

#[test]
fn a_claimed_hold_is_not_cancelled() {
    let mut rig = Rig::new(1, SETTINGS);
    let waiter = rig.reserve(1).unwrap();
    one_turn(&mut rig);
    let claim = rig.settle(Command::Claim { id: id(1) });
    one_turn(&mut rig);
    assert!(matches!(outcome(claim), Ok(Outcome::Settled(hold)) if hold.claim == Claim::Claimed));
    drop(waiter);
    rig.turns();
    assert_eq!(rig.row().counters.held, 1);
}

#[tokio::test]
async fn a_ticket_that_nobody_comes_back_for_lapses() {
    let settings = super::LaneSettings { unclaimed_ms: HOLD_MS / 2, ..STALLED };
    for is_claimed in [false, true] {
        let mut rig = Rig::new(2, settings);
        let [first, second] = [1, 2].map(|n| rig.reserve(n).unwrap());
        rig.turns();
        assert!(is_held(first));
        assert_eq!(ticket(&mut rig, second).await, Ok(Answer::Ticket));
        let mut rig = rig.crash(LONG);
        rig.turns();
        assert!(matches!(rig.reservation(2).unwrap().claim, Claim::Unclaimed { .. }));
        let claim = is_claimed.then(|| rig.settle(Command::Claim { id: id(2) }));
        rig.turns();
        assert!(claim.is_none_or(|claim| outcome(claim).is_ok()));
        rig.set_time(1_000 + HOLD_MS / 2);
        rig.turns();
        let held = u64::from(is_claimed);
        assert_eq!(rig.row().counters.held, 1 + held);
        let second = rig.reservation(2).unwrap();
        assert_eq!(second.is_forgone(), !is_claimed);
    }
}

/// Whoever asks for a ticket and hangs up has not heard of the hold.
#[tokio::test]
async fn a_claim_that_was_hung_up_on_claims_nothing() {
    let mut rig = Rig::new(2, STALLED);
    let [first, second] = [1, 2].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    assert!(is_held(first));
    assert_eq!(ticket(&mut rig, second).await, Ok(Answer::Ticket));
    let mut rig = rig.crash(LONG);
    rig.turns();
    drop(rig.settle(Command::Claim { id: id(2) }));
    rig.turns();
    assert!(matches!(rig.reservation(2).unwrap().claim, Claim::Unclaimed { .. }));
    rig.set_time(1_000 + HOLD_MS / 2);
    rig.turns();
    assert!(rig.reservation(2).unwrap().is_forgone());
}

/// Whoever repeats the command of a ticket hears of the hold, but it is not yet claimed.
#[tokio::test]
async fn a_ticketed_hold_is_claimed_by_its_holder_and_not_by_being_decided() {
    let mut rig = Rig::new(2, STALLED);
    let [first, second] = [1, 2].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    assert!(is_held(first));
    assert_eq!(ticket(&mut rig, second).await, Ok(Answer::Ticket));
    let mut rig = rig.crash(SETTINGS);
    let repeat = rig.reserve(2).unwrap();
    rig.turns();
    let Ok(Outcome::Held(hold)) = outcome(repeat) else { panic!("there is a unit") };
    assert!(matches!(hold.claim, Claim::Unclaimed { .. }));
}

#[test]
fn a_tentative_hold_lapses_unless_it_is_claimed() {
    let mut rig = Rig::new(1, LONG);
    let Command::Reserve(mut line) = reserve(1) else { unreachable!() };
    line.is_tentative = true;
    let waiter = rig.settle(Command::Reserve(line.clone()));
    rig.turns();
    assert!(is_held(waiter));
    assert_eq!(rig.owner.turn().unwrap(), Next::Sleep(Duration::from_millis(HOLD_MS / 2)));
    rig.set_time(1_000 + HOLD_MS / 2);
    rig.turns();
    assert_eq!(rig.row().counters.available, 1);
    let again = rig.settle(Command::Reserve(line));
    rig.turns();
    assert!(is_held(again));
    let confirmed = rig.settle(confirm(1));
    rig.turns();
    assert!(matches!(outcome(confirmed), Ok(Outcome::Settled(_))));
    assert_eq!(rig.row().counters.confirmed, 1);
}
