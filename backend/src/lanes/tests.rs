//! The engine, one turn at a time.

use std::num::NonZeroU32;
use std::time::Duration;

use cartgate_ledger::{Command, Outcome, Refusal, ReservationState, UnixMs};

use super::owner::Next;
use super::pacer::PACE_CLOCK;
use super::rig::{self, HOLD_MS, Rig, SETTINGS, STALLED, id, is_held, outcome, reserve, sku};
use super::{EnqueueError, LaneSettings};
use crate::store::{EndedKind, Store};

#[test]
fn first_in_first_out() {
    let mut rig = Rig::new(3, SETTINGS);
    let waiters: Vec<_> = (1..=6).map(|n| rig.reserve(n).unwrap()).collect();
    rig.turns();
    let held: Vec<_> = waiters.into_iter().map(is_held).collect();
    assert_eq!(held, [true, true, true, false, false, false]);
    let journal = rig.store.journal(&sku(), 1, 9).unwrap();
    assert_eq!(journal.iter().map(|e| e.id).collect::<Vec<_>>(), [1, 2, 3].map(|n| Some(id(n))));
}

#[test]
fn a_turn_is_one_commit() {
    let mut rig = Rig::new(5, SETTINGS);
    let commits = rig.store.commits();
    for number in 1..=8 {
        drop(rig.settle(Command::Release { id: id(number) }));
    }
    let waiters: Vec<_> = (1..=8).map(|n| rig.reserve(n).unwrap()).collect();
    rig.turns();
    assert_eq!(waiters.into_iter().filter_map(|w| is_held(w).then_some(())).count(), 5);
    assert_eq!(rig.store.commits(), commits + 1);
}

#[test]
fn a_full_lane_refuses_and_still_settles() {
    let mut rig = Rig::new(9, STALLED);
    let first = rig.reserve(1).unwrap();
    rig.turns();
    assert!(is_held(first));
    let _waiting: Vec<_> = (2..=4).map(|n| rig.reserve(n).unwrap()).collect();
    rig.turns();
    assert_eq!(rig.reserve(5).err(), Some(EnqueueError::Full { depth: 3 }));
    // A paid order does not wait behind them.
    let confirm = rig.settle(rig::confirm(1));
    rig.turns();
    assert!(matches!(outcome(confirm), Ok(Outcome::Settled(_))));
    let confirms: Vec<_> = (0..10).map(|_| rig.settle(rig::confirm(1))).collect();
    let one_more = rig.submit(&sku(), rig::confirm(1));
    assert_eq!(one_more.err(), Some(EnqueueError::Full { depth: 10 }));
    rig.turns();
    assert!(confirms.into_iter().all(|w| matches!(outcome(w), Ok(Outcome::Settled(_)))));
}

#[test]
fn whoever_hung_up_takes_nothing_and_costs_no_pace() {
    let mut rig = Rig::new(9, STALLED);
    drop(rig.reserve(1).unwrap());
    drop(rig.reserve(2).unwrap());
    let third = rig.reserve(3).unwrap();
    rig.turns();
    assert!(is_held(third));
    assert_eq!((rig.state(1), rig.state(2)), (None, None));
    assert_eq!(rig.row().counters.held, 1);
}

/// No empty turn has to find out when the next one comes, and no caller takes the turn: the owner's
/// thread has to come in any case.
#[test]
fn a_turn_that_leaves_what_is_paced_says_when_it_is_time() {
    let settings = LaneSettings { reserves_per_s: NonZeroU32::new(20), ..SETTINGS };
    let mut rig = Rig::new(9, settings);
    let waiters: Vec<_> = (1..=2).map(|n| rig.reserve(n).unwrap()).collect();
    assert_eq!(rig.owner.turn().unwrap(), Next::Sleep(Duration::from_millis(50)));
    assert!(!rig.owner.was_light);
    rig.advance(50);
    assert_eq!(rig.owner.turn().unwrap(), Next::Sleep(Duration::from_millis(HOLD_MS - 50)));
    assert!(rig.owner.was_light);
    assert!(waiters.into_iter().all(is_held));
}

#[test]
fn holds_return_at_their_moment_without_a_request() {
    let mut rig = Rig::new(1, SETTINGS);
    let waiter = rig.reserve(1).unwrap();
    rig.turns();
    assert!(is_held(waiter));
    rig.set_time(1_000 + HOLD_MS - 1);
    assert_eq!(rig.owner.turn().unwrap(), Next::Sleep(Duration::from_millis(1)));
    assert_eq!(rig.row().counters.available, 0);
    rig.set_time(1_000 + HOLD_MS);
    rig.turns();
    assert_eq!(rig.row().counters.available, 1);
    assert!(matches!(rig.state(1), Some(ReservationState::Expired { .. })));
}

/// The owner comes late, but the customer did not.
#[test]
fn what_is_settled_in_time_is_judged_by_its_own_time() {
    let mut rig = Rig::new(2, SETTINGS);
    let waiters = [rig.reserve(1).unwrap(), rig.reserve(2).unwrap()];
    rig.turns();
    assert!(waiters.into_iter().all(is_held));
    rig.set_time(1_000 + HOLD_MS - 1);
    let in_time = rig.settle(rig::confirm(1));
    rig.set_time(1_000 + HOLD_MS);
    let too_late = rig.settle(rig::confirm(2));
    rig.set_time(99_000);
    rig.turns();
    assert!(matches!(outcome(in_time), Ok(Outcome::Settled(_))));
    assert_eq!(outcome(too_late), Ok(Outcome::Refused(Refusal::AlreadyExpired)));
}

#[test]
fn a_repeat_gets_the_first_answer_also_after_a_crash() {
    let mut rig = Rig::new(1, SETTINGS);
    let waiters = [1, 2, 1, 2].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    let [held, refused, held_again, refused_again] = waiters.map(outcome);
    let expires_at = UnixMs(1_000 + HOLD_MS);
    let is_first = |outcome: &Result<Outcome, _>| {
        let state = ReservationState::Held { expires_at };
        matches!(outcome, Ok(Outcome::Held(hold)) if hold.id == id(1) && hold.state == state)
    };
    assert!(is_first(&held) && is_first(&held_again));
    assert_eq!(refused, Ok(Outcome::Refused(Refusal::SoldOut { available: 0 })));
    assert_eq!(refused, refused_again);
    let confirm = rig.settle(rig::confirm(1));
    rig.turns();
    assert!(outcome(confirm).is_ok());

    let mut rig = rig.crash(SETTINGS);
    let waiters = [1, 2].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    let [held, refused_again] = waiters.map(outcome);
    assert!(is_first(&held));
    assert_eq!(refused, refused_again);
    assert_eq!(rig.row().counters.confirmed, 1);
}

#[test]
fn those_who_hung_up_make_room() {
    let mut rig = Rig::new(9, STALLED);
    let [first, second] = [1, 2].map(|n| rig.reserve(n).unwrap());
    drop([3, 4].map(|n| rig.reserve(n).ok()));
    assert_eq!(rig.shared.lanes_of(&sku()).depths(UnixMs(1_000)).0.reserve, 3);
    let fifth = rig.reserve(5);
    assert!(fifth.is_ok(), "the third had gone");
    assert_eq!(rig.reserve(6).err(), Some(EnqueueError::Full { depth: 3 }));
    rig.turns();
    assert!(is_held(first));
    drop((second, fifth));
}

#[test]
fn there_are_no_more_holds_than_there_may_be() {
    let mut rig = Rig::new(9, LaneSettings { holds_max: 2, ..SETTINGS });
    let waiters = [1, 2].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    assert!(waiters.into_iter().all(is_held));
    assert_eq!(rig.reserve(3).err(), Some(EnqueueError::TooManyHolds));
    let release = rig.settle(Command::Release { id: id(1) });
    rig.turns();
    assert!(outcome(release).is_ok());
    let third = rig.reserve(3).unwrap();
    rig.turns();
    assert!(is_held(third));
}

#[test]
fn refusals_are_forgotten_by_number_and_by_time() {
    let mut rig = Rig::new(0, SETTINGS);
    for number in 1..=5 {
        let waiter = rig.reserve(number).unwrap();
        rig.turns();
        assert!(!is_held(waiter));
    }
    rig.turns();
    let kept = |rig: &Rig| (1..=5).filter(|n| rig.state(*n).is_some()).collect::<Vec<_>>();
    assert_eq!(kept(&rig), [3, 4, 5], "at most three");
    rig.set_time(1_000 + SETTINGS.retention.refusals_ms - 1);
    let mut rig = rig.crash(SETTINGS);
    rig.turns();
    assert_eq!(kept(&rig), [3, 4, 5]);
    rig.set_time(1_000 + SETTINGS.retention.refusals_ms);
    rig.turns();
    assert_eq!(kept(&rig), [0; 0]);
    assert_eq!(rig.store.ended(EndedKind::Refusal, UnixMs(0), UnixMs(u64::MAX), 9).unwrap(), []);
}

#[test]
fn settled_reservations_are_forgotten_by_time() {
    let mut rig = Rig::new(2, SETTINGS);
    for (number, at) in [(1, 1_000), (2, 2_000)] {
        rig.set_time(at);
        let waiter = rig.reserve(number).unwrap();
        rig.turns();
        assert!(is_held(waiter));
        let confirm = rig.settle(rig::confirm(number));
        rig.turns();
        assert!(outcome(confirm).is_ok());
    }
    let kept = |rig: &Rig| [1, 2].map(|n| rig.state(n).is_some());
    rig.set_time(1_000 + SETTINGS.retention.holds_ms);
    rig.turns();
    assert_eq!(kept(&rig), [false, true]);
    rig.set_time(2_000 + SETTINGS.retention.holds_ms);
    rig.turns();
    assert_eq!(kept(&rig), [false, false]);
    assert_eq!(rig.row().counters.confirmed, 2, "what was sold stays sold");
}

#[test]
fn a_clock_set_back_stops_a_skus_time_and_no_sale() {
    let mut rig = Rig::new(2, SETTINGS);
    rig.set_time(5_000);
    let first = rig.reserve(1).unwrap();
    rig.turns();
    assert!(is_held(first));
    let mut rig = rig.crash(SETTINGS);
    rig.set_time(1_000);
    let Command::Reserve(mut reserve) = reserve(2) else { unreachable!() };
    reserve.claim_by = UnixMs(1_001);
    let second = rig.submit(&sku(), Command::Reserve(reserve)).unwrap();
    rig.turns();
    assert!(is_held(second), "somebody waits, by the clock that there is");
    let expires_at = UnixMs(5_000 + HOLD_MS);
    assert_eq!(rig.state(2), Some(ReservationState::Held { expires_at }));
}

/// A command that has to wait for another turn, because too much was due before it, is not made to
/// wait for its lane's pace again.
#[test]
fn what_is_put_back_for_another_turn_costs_no_pace_again() {
    let mut rig = Rig::new(9, STALLED);
    let early: Vec<_> = (1..=3).map(|n| rig.reserve(n).unwrap()).collect();
    for _ in &early {
        rig.turns();
        PACE_CLOCK.with(|clock| clock.advance(Duration::from_secs(1)));
    }
    assert!(early.into_iter().all(is_held));
    rig.set_time(1_000 + HOLD_MS);
    rig.owner.decider.limits.sweep_max = 0;
    rig.owner.decider.limits.expire_max = 1;
    let [next, paced] = [4, 5].map(|n| rig.reserve(n).unwrap());
    rig.owner.turn().unwrap();
    assert_eq!(rig.row().counters.held, 2, "one of three has expired: the command waits");
    rig.turns();
    assert!(is_held(next));
    assert_eq!(rig.row().counters.held, 1);
    rig.advance(1_000);
    rig.turns();
    assert!(is_held(paced), "the pace has gone on");
}
