//! Holds expire at their moment, a few at a time, on a clock that may step back.

mod common;

use cartgate_ledger::{
    Cause, Circumstances, Command, OnExpired, Outcome, Refusal, ReservationState, Reserve, Terms,
    UnixMs,
};
use common::{
    Owner, adjust, at, cancel, claim, confirm, confirm_some, extend, id, release, reserve, set,
    wish,
};

fn is_held(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Held(_))
}

#[test]
fn a_hold_expires_at_its_moment_and_not_before() {
    let mut owner = Owner::of(1);
    assert!(is_held(&owner.apply(&reserve(1, 1), at(10))));
    let sold_out = Outcome::Refused(Refusal::SoldOut { available: 0 });
    assert_eq!(owner.apply(&reserve(2, 1), at(49)), sold_out);
    assert!(is_held(&owner.apply(&reserve(3, 1), at(50))));
}

/// Found by the properties: a command about a hold that its own arrival makes expire.
#[test]
fn a_command_finds_the_hold_that_expires_as_it_comes() {
    let expired = Outcome::Refused(Refusal::AlreadyExpired);
    for command in [confirm(1), release(1), extend(1, 99, 99)] {
        let mut owner = Owner::of(1);
        owner.apply(&reserve(1, 1), at(0));
        assert_eq!(owner.apply(&command, at(40)), expired, "{command:?}");
    }
    for command in [claim(1), cancel(1, 1)] {
        let mut owner = Owner::of(1);
        owner.apply(&reserve(1, 1), at(0));
        let outcome = owner.apply(&command, at(40));
        let is_expired = matches!(&outcome, Outcome::Settled(reservation)
            if matches!(reservation.state, ReservationState::Expired { .. }));
        assert!(is_expired, "{outcome:?}");
    }
    let mut owner = Owner::of(1);
    let first = owner.apply(&reserve(1, 1), at(0));
    let repeat = owner.apply(&reserve(1, 1), at(40));
    assert!(is_held(&first) && is_held(&repeat), "the first answer");
    assert_eq!(owner.stock.counters().available, 1, "and no second hold");
}

/// What is asked of one hold does not wait for others that are due.
#[test]
fn a_hold_is_settled_whatever_else_is_due() {
    let few = |now| Circumstances { expire_max: 1, ..at(now) };
    for command in [confirm(9), release(9), extend(9, 99, 99), claim(9), cancel(9, 1)] {
        let mut owner = Owner::of(9);
        (1..=5).for_each(|number| {
            owner.apply(&reserve(number, 1), at(0));
        });
        owner.apply(&reserve(9, 1), at(1));
        let outcome = owner.try_once(&command, few(40));
        assert!(matches!(outcome, Outcome::Settled(_)), "{command:?}: {outcome:?}");
        assert!(!owner.journal.iter().any(|entry| entry.cause == Cause::Expire));
    }
}

/// Each try expires as many as it may, and the last one answers. None at all would never end:
/// then it is one.
#[test]
fn what_is_deferred_comes_to_an_end() {
    let again = confirm_some(5, None, OnExpired::Reacquire);
    for command in [set(9), adjust(8, 1), reserve(7, 1), Command::Expire, again] {
        for (expire_max, tries) in [(0, 5), (1, 5), (2, 3), (4, 2), (5, 1), (usize::MAX, 1)] {
            let mut owner = Owner::of(5);
            (1..=5).for_each(|number| {
                owner.apply(&reserve(number, 1), at(0));
            });
            // The hold that a command is about expires by itself: one more to make up for it.
            if command.id() == Some(id(5)) {
                owner.apply(&set(6), at(0));
                owner.apply(&reserve(6, 1), at(0));
            }
            let given = Circumstances { expire_max, ..at(40) };
            for _ in 1..tries {
                assert_eq!(owner.try_once(&command, given), Outcome::Deferred, "{command:?}");
            }
            let last = owner.try_once(&command, given);
            let is_answer = !matches!(last, Outcome::Deferred | Outcome::Refused(_));
            assert!(is_answer, "{command:?} with {expire_max}: {last:?}");
        }
    }
}

/// A deferred command took nothing yet: its caller may have gone when it is tried again.
#[test]
fn a_deferred_command_may_come_too_late() {
    let mut owner = Owner::of(2);
    owner.apply(&reserve(1, 1), at(0));
    owner.apply(&reserve(2, 1), at(0));
    let command = Command::Reserve(Reserve { claim_by: UnixMs(40), ..wish(3, 1) });
    let few = |now| Circumstances { expire_max: 1, ..at(now) };
    assert_eq!(owner.try_once(&command, few(40)), Outcome::Deferred);
    assert_eq!(owner.try_once(&command, few(41)), Outcome::Refused(Refusal::Abandoned));
}

#[test]
fn the_first_to_expire_is_the_first_that_is_due() {
    let mut owner = Owner::of(3);
    owner.apply(&reserve(1, 1), at(0));
    owner.apply(&Command::Reserve(Reserve { hold_ms: 20, ..wish(2, 1) }), at(0));
    owner.apply(&reserve(3, 1), common::unawaited(5));
    owner.apply(&extend(1, 50, 50), at(5));
    owner.apply(&Command::Expire, Circumstances { expire_max: 1, ..at(99) });
    let expired = owner.journal.iter().filter(|entry| entry.cause == Cause::Expire);
    let order: Vec<_> = expired.map(|entry| entry.id).collect();
    assert_eq!(order, [Some(id(3)), Some(id(2)), Some(id(1))]);
}

/// The SKU has seen a later time than the clock shows now, and still takes orders.
#[test]
fn a_clock_set_back_closes_no_sale() {
    let mut owner = Owner::default();
    owner.apply(&set(2), at(5_000));
    let wish_until = |number, claim_by| {
        Command::Reserve(Reserve { claim_by: UnixMs(claim_by), ..wish(number, 1) })
    };
    let outcome = owner.apply(&wish_until(1, 1_010), at(1_000));
    assert!(is_held(&outcome));
    assert_eq!(owner.stock.next_due(), Some(UnixMs(5_040)));
    let too_late = owner.apply(&wish_until(2, 1_010), at(1_011));
    assert_eq!(too_late, Outcome::Refused(Refusal::Abandoned));
}

/// A sale that has begun does not stop because the clock is set back.
#[test]
fn a_clock_set_back_does_not_close_an_open_sale() {
    let mut owner = Owner::of(2);
    owner.set_terms(Terms { opens_at: Some(UnixMs(100)), ..Terms::default() });
    assert!(is_held(&owner.apply(&reserve(1, 1), at(100))));
    assert!(is_held(&owner.apply(&reserve(2, 1), at(90))));
}

/// Times near the end of time are capped, not wrapped.
#[test]
fn a_hold_may_last_for_ever() {
    let mut owner = Owner::of(1);
    let for_ever = Command::Reserve(Reserve { hold_ms: u64::MAX, ..wish(1, 1) });
    owner.apply(&for_ever, Circumstances { unclaimed_ms: u64::MAX, ..common::unawaited(7) });
    assert_eq!(owner.stock.next_due(), Some(UnixMs(u64::MAX)));
    owner.apply(&Command::Expire, at(u64::MAX - 1));
    assert_eq!(owner.stock.hold_count(), 1);
}
