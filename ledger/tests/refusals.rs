//! Each refusal, and that it changes nothing.

mod common;

use cartgate_ledger::{
    Adjust, Circumstances, Command, Fingerprint, OnExpired, Outcome, Refusal, ReservationState,
    Reserve, Terms, UNITS_MAX, UnixMs,
};
use common::{
    Owner, adjust, adjust_by, at, cancel, claim, confirm, confirm_some, extend, release, reserve,
    set, unawaited, units, wish,
};

/// A SKU of 10 units, of which number 1 holds 2, number 2 bought 1 of 2, number 3 gave 1 back,
/// number 4 of 1 expired, number 5 wanted 100, and 1 was added by number 6: at 50.
fn shop() -> Owner {
    let mut owner = Owner::of(9);
    owner.apply(&reserve(4, 1), at(0));
    owner.apply(&Command::Reserve(Reserve { hold_ms: 100, ..wish(1, 2) }), at(10));
    owner.apply(&reserve(2, 2), at(10));
    owner.apply(&confirm_some(2, Some(1), OnExpired::Refuse), at(10));
    owner.apply(&reserve(3, 1), at(10));
    owner.apply(&release(3), at(10));
    owner.apply(&reserve(5, 100), at(10));
    owner.apply(&adjust(6, 1), at(10));
    owner.apply(&Command::Expire, at(50));
    owner
}

/// Checks that a command at 50 is refused and leaves no trace.
#[track_caller]
fn check(owner: &mut Owner, command: &Command, expected: Refusal) {
    check_at(owner, command, at(50), expected);
}

#[track_caller]
fn check_at(owner: &mut Owner, command: &Command, given: Circumstances<'_>, expected: Refusal) {
    // A command that is refused lets the SKU's time run on, as this one does.
    owner.apply(&Command::Expire, given);
    let (before, entries) = (owner.stock.clone(), owner.journal.len());
    assert_eq!(owner.apply(command, given), Outcome::Refused(expected));
    assert_eq!((&owner.stock, owner.journal.len()), (&before, entries));
    assert_eq!(owner.apply(command, given), Outcome::Refused(expected), "a repeat");
}

#[test]
fn a_sku_that_was_never_set_has_nothing() {
    let owner = &mut Owner::default();
    check(owner, &reserve(1, 1), Refusal::UnknownSku);
    check(owner, &adjust(1, 1), Refusal::UnknownSku);
    for command in [confirm(1), release(1), extend(1, 9, 9), claim(1), cancel(1, 1)] {
        check(owner, &command, Refusal::UnknownHold);
    }
}

#[test]
fn set_is_refused() {
    let owner = &mut shop();
    check(owner, &set(2), Refusal::BelowCommitted { committed: 3 });
    check(owner, &set(UNITS_MAX + 1), Refusal::TooManyUnits { units_max: UNITS_MAX });
    check(owner, &set(u64::MAX), Refusal::TooManyUnits { units_max: UNITS_MAX });
    let version = owner.stock.version();
    for expected in [0, version - 1, version + 1, u64::MAX] {
        let command = Command::Set { units: 10, expected_version: Some(expected) };
        check(owner, &command, Refusal::VersionDiffers { version });
    }
    let command = Command::Set { units: 3, expected_version: Some(version) };
    assert!(matches!(owner.apply(&command, at(50)), Outcome::Stock { .. }));
}

#[test]
fn adjust_is_refused() {
    let owner = &mut shop();
    check(owner, &adjust(9, -8), Refusal::BelowCommitted { committed: 3 });
    check(owner, &adjust(9, i64::MIN), Refusal::BelowCommitted { committed: 3 });
    let too_many = Refusal::TooManyUnits { units_max: UNITS_MAX };
    check(owner, &adjust(9, i64::MAX), too_many);
    check(owner, &adjust(9, UNITS_MAX.cast_signed() - 9), too_many);
    for number in 1..=5 {
        check(owner, &adjust(number, 1), Refusal::KeyReused);
    }
    let other = Adjust { fingerprint: Fingerprint([99; 16]), ..adjust_by(6, 1) };
    check(owner, &Command::Adjust(other), Refusal::KeyReused);
    // What was refused was not kept: the same id may be tried again.
    assert!(matches!(owner.apply(&adjust(9, -7), at(50)), Outcome::Adjusted(_)));
    assert_eq!(owner.stock.counters().available, 0);
}

#[test]
fn a_sku_can_be_filled_to_the_last_unit() {
    let mut owner = Owner::of(UNITS_MAX - 1);
    assert!(matches!(owner.apply(&adjust(1, 1), at(0)), Outcome::Adjusted(_)));
    assert_eq!(owner.stock.counters().total(), UNITS_MAX);
    owner.apply(&set(0), at(0));
    assert!(matches!(owner.apply(&set(UNITS_MAX), at(0)), Outcome::Stock { .. }));
}

#[test]
fn reserve_is_refused() {
    let owner = &mut shop();
    let late = Command::Reserve(Reserve { claim_by: UnixMs(49), ..wish(7, 1) });
    check(owner, &late, Refusal::Abandoned);
    check(owner, &reserve(7, 8), Refusal::SoldOut { available: 7 });
    // The first answer stays, although there are enough units by now.
    owner.apply(&set(100), at(50));
    check(owner, &reserve(7, 8), Refusal::SoldOut { available: 7 });
    for number in 1..=5 {
        let other = Reserve { fingerprint: Fingerprint([99; 16]), ..wish(number, 1) };
        check(owner, &Command::Reserve(other), Refusal::KeyReused);
    }
    check(owner, &reserve(6, 1), Refusal::KeyReused);
}

/// Nobody can repeat it, so each is a wish of its own.
#[test]
fn the_refusal_of_what_cannot_be_repeated_is_not_kept() {
    let mut owner = Owner::of(0);
    let once = Command::Reserve(Reserve { repeatable: false, ..wish(1, 1) });
    check(&mut owner, &once, Refusal::SoldOut { available: 0 });
    assert_eq!(owner.kept(common::id(1)), None);
}

#[test]
fn the_window_of_a_sale_is_exact() {
    let mut owner = Owner::of(9);
    let terms =
        Terms { opens_at: Some(UnixMs(20)), closes_at: Some(UnixMs(30)), ..Terms::default() };
    owner.set_terms(terms);
    let not_open_yet = |opens_in_ms| Refusal::NotOpenYet { opens_at: UnixMs(20), opens_in_ms };
    check_at(&mut owner, &reserve(1, 1), at(1), not_open_yet(19));
    check_at(&mut owner, &reserve(1, 1), at(19), not_open_yet(1));
    assert!(matches!(owner.apply(&reserve(1, 1), at(20)), Outcome::Held(_)));
    assert!(matches!(owner.apply(&reserve(2, 1), at(29)), Outcome::Held(_)));
    let closed = Refusal::Closed { closed_at: UnixMs(30) };
    check_at(&mut owner, &reserve(3, 1), at(30), closed);
    // Who has a hold may repeat, extend and buy it.
    assert!(matches!(owner.apply(&reserve(1, 1), at(31)), Outcome::Held(_)));
    for command in [extend(1, 40, 60), confirm(1), release(2)] {
        assert!(matches!(owner.apply(&command, at(31)), Outcome::Settled(_)), "{command:?}");
    }
}

/// Whoever waits is told, and may ask again at any time. If nobody waits, it is kept for whoever asks
/// later what became of the command; a repeat of that is judged anew all the same.
#[test]
fn what_the_terms_refuse_is_kept_for_those_who_do_not_wait() {
    let mut owner = Owner::default();
    let nameless = |number| Command::Reserve(Reserve { customer: None, ..wish(number, 1) });
    let check = |owner: &mut Owner, command: &Command, now, expected: ReservationState| {
        let id = command.id().unwrap();
        let refused = Outcome::Refused(expected.refusal(UnixMs(now)).unwrap());
        assert_eq!(owner.apply(command, at(now)), refused);
        assert_eq!(owner.kept(id), None, "whoever waited was told");
        assert_eq!(owner.apply(command, unawaited(now)), refused);
        assert_eq!(owner.kept(id).unwrap().state, expected);
        assert!(owner.kept(id).unwrap().is_forgone());
    };
    check(&mut owner, &reserve(1, 1), 1, ReservationState::UnknownSku);
    owner.apply(&set(9), at(1));
    let (opens_at, closes_at) = (UnixMs(20), UnixMs(30));
    let window = Terms { opens_at: Some(opens_at), closes_at: Some(closes_at), ..Terms::default() };
    owner.set_terms(window);
    check(&mut owner, &reserve(2, 1), 19, ReservationState::NotOpenYet { opens_at });
    let held = owner.apply(&reserve(2, 1), at(20));
    assert!(matches!(held, Outcome::Held(hold) if hold.attempt == 2), "judged anew");
    capped(&mut owner, 2);
    check(&mut owner, &nameless(3), 21, ReservationState::CustomerRequired);
    owner.set_terms(window);
    check(&mut owner, &reserve(4, 1), 30, ReservationState::Closed { closed_at: closes_at });
    let once = Command::Reserve(Reserve { repeatable: false, ..wish(5, 1) });
    owner.apply(&once, unawaited(31));
    assert_eq!(owner.kept(common::id(5)), None, "nobody can ask for it");
}

fn capped(owner: &mut Owner, cap: u32) {
    owner.set_terms(Terms { customer_cap: Some(units(cap)), ..Terms::default() });
}

#[test]
fn a_cap_counts_what_is_held_and_sold() {
    let owner = &mut shop();
    let over_cap = |cap, committed| Refusal::OverCap { cap: units(cap), committed };
    let nameless = Command::Reserve(Reserve { customer: None, ..wish(7, 1) });
    capped(owner, 4);
    check(owner, &nameless, Refusal::CustomerRequired);
    check(owner, &reserve(7, 2), over_cap(4, 3));
    let other = Command::Reserve(Reserve { customer: Some("d".into()), ..wish(8, 4) });
    assert!(matches!(owner.apply(&other, at(50)), Outcome::Held(_)), "each has a cap of its own");
    assert!(matches!(owner.apply(&reserve(9, 1), at(50)), Outcome::Held(_)));
    check(owner, &reserve(10, 1), over_cap(4, 4));
    // Lowered below what the customer has, it takes nothing away, and gives nothing more.
    capped(owner, 1);
    check(owner, &reserve(11, 1), over_cap(1, 4));
    owner.apply(&release(1), at(50));
    check(owner, &reserve(12, 1), over_cap(1, 2));
    assert!(matches!(owner.apply(&confirm(9), at(50)), Outcome::Settled(_)));
    // Unset, everybody may take; set again, it counts what was bought meanwhile.
    owner.set_terms(Terms::default());
    owner.apply(&reserve(13, 1), at(50));
    owner.apply(&confirm(13), at(50));
    capped(owner, 3);
    check(owner, &reserve(14, 1), over_cap(3, 3));
}

#[test]
fn an_ended_hold_is_not_ended_otherwise() {
    let owner = &mut shop();
    let confirmed = Refusal::AlreadyConfirmed { quantity: 1 };
    let some = |number, quantity| confirm_some(number, Some(quantity), OnExpired::Reacquire);
    for command in [release(2), extend(2, 9, 9), confirm(2), some(2, 2), some(2, 3)] {
        check(owner, &command, confirmed);
    }
    for command in [confirm(3), extend(3, 9, 9), some(3, 1), some(3, 2)] {
        check(owner, &command, Refusal::AlreadyReleased);
    }
    let too_many = confirm_some(4, Some(2), OnExpired::Refuse);
    for command in [confirm(4), release(4), extend(4, 9, 9), too_many] {
        check(owner, &command, Refusal::AlreadyExpired);
    }
    // There never was a hold, however many are asked for; an adjustment is none.
    for command in [confirm(5), some(5, 200), release(5), extend(5, 9, 9), confirm(6), release(6)] {
        check(owner, &command, Refusal::UnknownHold);
    }
    for command in [extend(6, 9, 9), claim(6), cancel(6, 1)] {
        check(owner, &command, Refusal::UnknownHold);
    }
}

#[test]
fn no_more_is_sold_than_was_held() {
    let owner = &mut shop();
    let three = confirm_some(1, Some(3), OnExpired::Refuse);
    check(owner, &three, Refusal::MoreThanHeld { quantity: 2 });
    let again = confirm_some(4, Some(2), OnExpired::Reacquire);
    check(owner, &again, Refusal::MoreThanHeld { quantity: 1 });
}

#[test]
fn what_expired_is_sold_only_if_it_is_there_and_within_the_cap() {
    let owner = &mut shop();
    let again = confirm_some(4, None, OnExpired::Reacquire);
    capped(owner, 3);
    check(owner, &again, Refusal::OverCap { cap: units(3), committed: 3 });
    capped(owner, 4);
    owner.apply(&set(3), at(50));
    check(owner, &again, Refusal::SoldOut { available: 0 });
    // A refusal of this kind is not the last word.
    owner.apply(&set(4), at(50));
    assert!(matches!(owner.apply(&again, at(50)), Outcome::Settled(_)));
    assert_eq!(owner.stock.counters().available, 0);
}
