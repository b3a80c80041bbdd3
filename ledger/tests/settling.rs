//! What becomes of holds: by command, by repeat, and when nobody knows of them.

#![expect(clippy::panic, reason = "a panic is how a test fails")]

mod common;

use cartgate_ledger::{
    Cause, Claim, Command, Counters, OnExpired, Outcome, Refusal, Reservation, ReservationState,
    Reserve, UnixMs,
};
use common::{
    Owner, adjust, at, cancel, cancel_claimed, claim, confirm, confirm_some, extend, id, release,
    reserve, set, unawaited, units, wish,
};

const HELD: ReservationState = ReservationState::Held { expires_at: UnixMs(40) };
const RELEASED: ReservationState = ReservationState::Released { expires_at: UnixMs(40) };
const EXPIRED: ReservationState = ReservationState::Expired { expires_at: UnixMs(40) };

/// How many were sold of a hold that lasts until 40.
fn sold(quantity: u32) -> ReservationState {
    ReservationState::Confirmed { expires_at: UnixMs(40), quantity }
}

/// The reservation that an outcome is about.
#[track_caller]
fn about(outcome: Outcome) -> Reservation {
    match outcome {
        Outcome::Held(reservation) | Outcome::Settled(reservation) => reservation,
        other => panic!("{other:?} is about no reservation"),
    }
}

/// Ten units, three of them held by number 1 until 40.
fn shop() -> Owner {
    let mut owner = Owner::of(10);
    assert_eq!(about(owner.apply(&reserve(1, 3), at(0))).state, HELD);
    owner
}

/// Checks where a hold of 3 out of 10 stands after `command` at 5, what the journal says of it,
/// where the units are, and that the command changes nothing when it comes again.
#[track_caller]
fn check(command: &Command, state: ReservationState, causes: &[Cause], counters: [u64; 3]) {
    let mut owner = shop();
    let outcome = owner.apply(command, at(5));
    let Outcome::Settled(reservation) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(reservation.state, state);
    assert_eq!(causes_of(&owner), [&[Cause::Set, Cause::Reserve], causes].concat());
    let [available, held, confirmed] = counters;
    assert_eq!(owner.stock.counters(), Counters { available, held, confirmed });
    let again = owner.apply(command, at(5));
    assert_eq!(about(again).state, state);
    assert_eq!(owner.journal.len(), 2 + causes.len(), "a repeat writes nothing");
}

fn causes_of(owner: &Owner) -> Vec<Cause> {
    owner.journal.iter().map(|entry| entry.cause).collect()
}

#[test]
fn each_command_does_what_it_says_once() {
    let some = |quantity| confirm_some(1, Some(quantity), OnExpired::Refuse);
    let extended = ReservationState::Held { expires_at: UnixMs(55) };
    check(&confirm(1), sold(3), &[Cause::Confirm], [7, 0, 3]);
    check(&some(3), sold(3), &[Cause::Confirm], [7, 0, 3]);
    check(&some(1), sold(1), &[Cause::Confirm, Cause::Release], [9, 0, 1]);
    check(&release(1), RELEASED, &[Cause::Release], [10, 0, 0]);
    check(&cancel(1, 1), RELEASED, &[Cause::Cancel], [10, 0, 0]);
    check(&cancel(1, 2), HELD, &[], [7, 3, 0]);
    check(&claim(1), HELD, &[], [7, 3, 0]);
    check(&extend(1, 50, 99), extended, &[], [7, 3, 0]);
}

#[test]
fn a_set_or_an_adjustment_comes_once() {
    let mut owner = shop();
    let first = owner.apply(&set(12), at(5));
    assert_eq!(owner.apply(&set(12), at(6)), first);
    let added = owner.apply(&adjust(9, -2), at(6));
    owner.apply(&reserve(2, 1), at(7));
    assert_eq!(owner.apply(&adjust(9, -2), at(8)), added, "how it stood then");
    let causes = [Cause::Set, Cause::Reserve, Cause::Set, Cause::Adjust, Cause::Reserve];
    assert_eq!(causes_of(&owner), causes);
    assert_eq!(owner.stock.counters().total(), 10);
}

#[test]
fn the_first_answer_outlives_the_hold() {
    for end in [confirm(1), confirm_some(1, Some(2), OnExpired::Refuse), release(1)] {
        let mut owner = shop();
        owner.apply(&end, at(5));
        let entries = owner.journal.len();
        let repeat = about(owner.apply(&reserve(1, 3), at(99)));
        assert_eq!((repeat.state, repeat.quantity), (HELD, 3), "after {end:?}");
        assert_eq!(owner.journal.len(), entries);
    }
}

#[test]
fn a_hold_is_extended_up_to_the_longest_and_never_shortened() {
    let cases = [
        // Milliseconds from 30 on, the most from 0 on, and where that leads.
        (20, 60, 50),
        (30, 60, 60),
        (31, 60, 60),
        (5, 60, 40),
        (20, 35, 40),
        (u64::MAX, u64::MAX, u64::MAX),
    ];
    for (hold_ms, hold_ms_max, expected) in cases {
        let mut owner = shop();
        let hold = about(owner.apply(&extend(1, hold_ms, hold_ms_max), at(30)));
        assert_eq!(hold.state, ReservationState::Held { expires_at: UnixMs(expected) });
        assert_eq!(owner.stock.next_due(), Some(UnixMs(expected)));
    }
}

/// Who cancels must be the last who asked, and nobody may have claimed the hold.
#[test]
fn a_cancel_ends_only_what_nobody_else_wants() {
    let (repeat, wanted, extended) = (&reserve(1, 3), &claim(1), &extend(1, 40, 40));
    let cases = [
        (vec![], cancel(1, 1), true),
        (vec![], cancel(1, 2), false),
        (vec![(repeat, at(1))], cancel(1, 1), false),
        (vec![(repeat, at(1))], cancel(1, 2), false),
        // Nobody waits for the repeat; but the first caller was answered.
        (vec![(repeat, unawaited(1))], cancel(1, 2), false),
        (vec![(wanted, at(1))], cancel(1, 2), false),
        (vec![(wanted, at(1))], cancel_claimed(1, 2), true),
        (vec![(wanted, at(1)), (wanted, at(1))], cancel_claimed(1, 2), false),
        (vec![(extended, at(1))], cancel(1, 1), false),
    ];
    for (before, cancel, is_ended) in cases {
        let mut owner = shop();
        for (command, given) in &before {
            owner.apply(command, *given);
        }
        let reservation = about(owner.apply(&cancel, at(2)));
        assert_eq!(reservation.is_held(), !is_ended, "{before:?}, {cancel:?}");
        assert_eq!(reservation.is_forgone(), is_ended);
    }
}

#[test]
fn a_cancel_ends_nothing_that_has_ended() {
    for end in [confirm(1), release(1)] {
        let mut owner = shop();
        let ended = about(owner.apply(&end, at(1)));
        assert_eq!(about(owner.apply(&cancel_claimed(1, 1), at(2))), ended);
    }
}

/// Attempts that came while the command waited count as well.
#[test]
fn attempts_add_up() {
    let mut owner = Owner::of(3);
    let attempts = |attempt| Command::Reserve(Reserve { attempt, ..wish(1, 1) });
    assert_eq!(about(owner.apply(&attempts(2), at(0))).attempt, 2);
    assert_eq!(about(owner.apply(&attempts(3), at(0))).attempt, 5);
    assert_eq!(about(owner.apply(&claim(1), at(0))).attempt, 6);
    owner.apply(&cancel_claimed(1, 6), at(0));
    assert_eq!(about(owner.apply(&reserve(1, 1), at(0))).attempt, 7, "after it was forgone");
    for command in [attempts(u32::MAX), attempts(u32::MAX), claim(1)] {
        assert_eq!(about(owner.apply(&command, at(0))).attempt, u32::MAX, "as far as it goes");
    }
}

#[test]
fn a_hold_that_nobody_knows_of_goes_back_soon() {
    let tentative = Command::Reserve(Reserve { is_tentative: true, ..wish(1, 3) });
    for (command, given) in [(&reserve(1, 3), unawaited(0)), (&tentative, at(0))] {
        let mut owner = Owner::of(3);
        let hold = about(owner.apply(command, given));
        assert_eq!(hold.claim, Claim::Unclaimed { until: UnixMs(10) });
        owner.apply(&Command::Expire, at(9));
        assert_eq!(owner.stock.hold_count(), 1);
        owner.apply(&Command::Expire, at(10));
        assert_eq!(owner.stock.counters().available, 3);
        assert!(owner.kept(id(1)).is_some_and(Reservation::is_forgone));
    }
}

#[test]
fn a_hold_that_somebody_wants_stays_to_its_end() {
    let tentative = Command::Reserve(Reserve { is_tentative: true, ..wish(1, 3) });
    let cases = [
        (reserve(1, 3), at(9), HELD, true),
        (claim(1), at(9), HELD, true),
        (extend(1, 1, 40), at(9), HELD, true),
        // Asked for again, but still nobody who takes it.
        (reserve(1, 3), unawaited(9), HELD, false),
        (tentative, at(9), HELD, false),
        (confirm(1), at(9), sold(3), true),
    ];
    for (command, given, state, is_claimed) in cases {
        let mut owner = Owner::of(3);
        owner.apply(&reserve(1, 3), unawaited(0));
        let hold = about(owner.apply(&command, given));
        let claim =
            if is_claimed { Claim::Claimed } else { Claim::Unclaimed { until: UnixMs(19) } };
        assert_eq!((hold.state, hold.claim), (state, claim), "{command:?}");
        owner.apply(&Command::Expire, at(18));
        assert_eq!(owner.kept(id(1)).map(|kept| kept.state), Some(state));
    }
}

/// Whoever was to hear of the hold has gone before it was claimed.
#[test]
fn a_claim_that_nobody_waits_for_claims_nothing() {
    let mut owner = Owner::of(3);
    let taken = about(owner.apply(&reserve(1, 3), unawaited(0)));
    assert_eq!(about(owner.apply(&claim(1), unawaited(9))), taken);
    owner.apply(&Command::Expire, at(10));
    assert!(owner.kept(id(1)).is_some_and(Reservation::is_forgone));
}

#[test]
fn what_was_forgone_is_judged_anew() {
    let mut owner = Owner::of(3);
    owner.apply(&reserve(1, 3), unawaited(0));
    owner.apply(&cancel(1, 1), at(1));
    // Another wish under this id is still another wish.
    let other = Reserve { fingerprint: cartgate_ledger::Fingerprint([99; 16]), ..wish(1, 3) };
    let reused = Outcome::Refused(Refusal::KeyReused);
    assert_eq!(owner.apply(&Command::Reserve(other), at(1)), reused);
    let anew = about(owner.apply(&reserve(1, 3), at(2)));
    assert_eq!(anew.state, ReservationState::Held { expires_at: UnixMs(42) });
    assert_eq!((anew.decided_at, anew.claim, anew.attempt), (UnixMs(2), Claim::Awaited, 2));
    // A late cancel of the first attempt does not reach the second.
    assert!(about(owner.apply(&cancel(1, 1), at(3))).is_held());
    owner.apply(&cancel(1, 2), at(3));
    owner.apply(&set(2), at(3));
    let sold_out = Outcome::Refused(Refusal::SoldOut { available: 2 });
    assert_eq!(owner.apply(&reserve(1, 3), at(4)), sold_out);
    owner.apply(&set(3), at(4));
    assert_eq!(owner.apply(&reserve(1, 3), at(5)), sold_out, "this time somebody was told");
}

#[test]
fn what_expired_may_be_taken_again_and_sold() {
    let again = |quantity| confirm_some(1, quantity, OnExpired::Reacquire);
    for (quantity, units) in [(None, 3), (Some(2), 2)] {
        let mut owner = shop();
        assert_eq!(about(owner.apply(&again(quantity), at(40))).state, sold(units));
        let causes = [Cause::Set, Cause::Reserve, Cause::Expire, Cause::Reserve, Cause::Confirm];
        assert_eq!(causes_of(&owner), causes);
        assert_eq!(owner.stock.counters().confirmed, u64::from(units));
        assert_eq!(about(owner.apply(&again(quantity), at(41))).state, sold(units));
        assert_eq!(owner.journal.len(), causes.len(), "a repeat sells nothing more");
        let bought: u32 = owner.purchases.iter().map(|purchase| purchase.units).sum();
        assert_eq!(bought, units);
    }
}

/// Reacquiring is for holds that ran out of time only.
#[test]
fn in_time_a_confirmation_takes_nothing_anew() {
    let mut owner = shop();
    owner.apply(&confirm_some(1, None, OnExpired::Reacquire), at(39));
    assert_eq!(causes_of(&owner), [Cause::Set, Cause::Reserve, Cause::Confirm]);
}

#[test]
fn a_part_that_is_not_bought_can_be_had_by_another() {
    let mut owner = Owner::of(3);
    let capped = cartgate_ledger::Terms { customer_cap: Some(units(3)), ..Default::default() };
    owner.set_terms(capped);
    owner.apply(&reserve(1, 3), at(0));
    owner.apply(&confirm_some(1, Some(1), OnExpired::Refuse), at(0));
    assert_eq!(
        about(owner.apply(&reserve(2, 2), at(0))).state,
        HELD,
        "it counts for the cap no more"
    );
    assert_eq!(owner.stock.counters(), Counters { available: 0, held: 2, confirmed: 1 });
    assert_eq!(about(owner.apply(&claim(1), at(50))).state, sold(1));
}

#[test]
fn a_claim_finds_what_has_become_of_it() {
    let mut owner = shop();
    assert_eq!(about(owner.apply(&claim(1), at(40))).state, EXPIRED);
    assert_eq!(about(owner.apply(&cancel(1, 2), at(40))).state, EXPIRED);
}
