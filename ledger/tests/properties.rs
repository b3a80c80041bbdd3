//! Invariants 1, 2 and 5 of the design, under random commands at random times.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

use std::collections::HashMap;
use std::num::NonZeroU32;

use cartgate_ledger::{
    Changes, Command, CommandId, Counters, Fingerprint, JournalEntry, Outcome, Refusal,
    Reservation, ReservationState, Reserve, Stock, UnixMs, apply, verify_next,
};
use proptest::prelude::*;

/// A stock with all that its owner would keep beside it.
#[derive(Default)]
struct Owner {
    stock: Stock,
    kept: HashMap<CommandId, Reservation>,
    journal: Vec<JournalEntry>,
    total: u64,
}

impl Owner {
    fn apply(&mut self, command: &Command, now: UnixMs) -> Outcome {
        let recalled = command.id().and_then(|id| self.kept.get(&id)).cloned();
        // The owner hands over what has ended; what is held, the stock knows itself.
        let ended = recalled.filter(|r| !matches!(r.state, ReservationState::Held { .. }));
        let mut changes = Changes::default();
        let outcome = apply(&mut self.stock, command, ended.as_ref(), now, &mut changes);
        if let (Command::Set { units }, Outcome::Stock(_)) = (command, &outcome) {
            self.total = *units;
        }
        for reservation in changes.reservations {
            self.keep(reservation);
        }
        self.journal.extend(changes.entries);
        outcome
    }

    fn keep(&mut self, reservation: Reservation) {
        let before = self.kept.insert(reservation.id, reservation.clone());
        if let Some(before) = before {
            assert!(
                matches!(before.state, ReservationState::Held { .. }),
                "{before:?} had ended, and became {reservation:?}"
            );
        }
    }

    /// Units in kept reservations that stand as `is_counted` says.
    fn units(&self, is_counted: impl Fn(ReservationState) -> bool) -> u64 {
        let counted = self.kept.values().filter(|r| is_counted(r.state));
        counted.map(|r| u64::from(r.quantity)).sum()
    }

    fn check(&self) {
        let counters = self.stock.counters();
        assert_eq!(counters.total(), self.total, "invariant 1: units add up");
        let held = self.units(|s| matches!(s, ReservationState::Held { .. }));
        let confirmed = self.units(|s| matches!(s, ReservationState::Confirmed { .. }));
        assert_eq!((counters.held, counters.confirmed), (held, confirmed), "holds add up");
        let overdue = self.stock.next_due().is_some_and(|due| due <= self.stock.now());
        assert!(!overdue, "expiry is exact");
        self.check_journal();
        assert_eq!(self.restored(), self.stock, "what is kept restores the stock");
    }

    fn check_journal(&self) {
        let mut counters = Counters::default();
        let mut at = UnixMs(0);
        for (version, entry) in self.journal.iter().enumerate() {
            verify_next(version as u64, counters, entry).expect("invariant 5: no gap");
            assert!(entry.at >= at, "time in the journal runs backwards");
            (counters, at) = (entry.after, entry.at);
        }
        assert_eq!(counters, self.stock.counters(), "invariant 5: folding gives the state");
    }

    fn restored(&self) -> Stock {
        let (counters, version) = (self.stock.counters(), self.stock.version());
        let mut stock = Stock::restore(counters, version, self.stock.now());
        self.kept.values().cloned().for_each(|r| stock.restore_hold(r));
        stock
    }
}

fn id(number: u8) -> CommandId {
    CommandId([number; 16])
}

/// A reserve command that is the same each time it comes with the same id.
fn reserve(number: u8, claim_by: u64) -> Command {
    Command::Reserve(Reserve {
        id: id(number),
        fingerprint: Fingerprint([number; 16]),
        repeatable: true,
        customer: Some("c".into()),
        quantity: NonZeroU32::new(u32::from(number) % 3 + 1).unwrap(),
        hold_ms: 40 + u64::from(number) % 5,
        claim_by: UnixMs(claim_by),
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => (0u64..20).prop_map(|units| Command::Set { units }),
        6 => (0u8..24, 0u64..2_000).prop_map(|(n, by)| reserve(n, by)),
        3 => (0u8..24).prop_map(|n| Command::Confirm { id: id(n) }),
        2 => (0u8..24).prop_map(|n| Command::Release { id: id(n) }),
        1 => Just(Command::Expire),
    ]
}

/// Commands with the owner's clock at each: mostly a little later than the last, sometimes
/// earlier (a clock that was set back).
fn any_history() -> impl Strategy<Value = Vec<(Command, UnixMs)>> {
    prop::collection::vec((any_command(), -10i64..30), 1..120).prop_map(|steps| {
        let mut clock = 100i64;
        let at = |step: i64| {
            clock += step;
            UnixMs(clock.max(0).unsigned_abs())
        };
        let (commands, steps): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        commands.into_iter().zip(steps.into_iter().map(at).collect::<Vec<_>>()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn units_add_up_and_the_journal_tells_all(history in any_history()) {
        let mut owner = Owner::default();
        for (command, now) in &history {
            owner.apply(command, *now);
            owner.check();
        }
    }

    #[test]
    fn a_repeat_changes_nothing_and_gets_the_same_outcome(history in any_history()) {
        let mut owner = Owner::default();
        let mut first: HashMap<CommandId, Outcome> = HashMap::new();
        for (command, now) in &history {
            let outcome = owner.apply(command, *now);
            let Command::Reserve(reserve) = command else { continue };
            // These two are not about the command itself, and are not kept.
            let passing = [Refusal::Abandoned, Refusal::UnknownSku].map(Outcome::Refused);
            if passing.contains(&outcome) {
                continue;
            }
            let expected = first.entry(reserve.id).or_insert_with(|| outcome.clone()).clone();
            prop_assert_eq!(&outcome, &expected);
            let entries = owner.journal.len();
            prop_assert_eq!(owner.apply(command, *now), expected);
            prop_assert_eq!(owner.journal.len(), entries);
        }
    }

    #[test]
    fn another_command_under_the_same_id_is_refused(number in 0u8..24, units in 0u64..4) {
        let mut owner = Owner::default();
        owner.apply(&Command::Set { units }, UnixMs(1));
        owner.apply(&reserve(number, 9), UnixMs(1));
        let Command::Reserve(mut other) = reserve(number, 9) else { unreachable!() };
        other.fingerprint = Fingerprint([99; 16]);
        let outcome = owner.apply(&Command::Reserve(other), UnixMs(1));
        prop_assert_eq!(outcome, Outcome::Refused(Refusal::KeyReused));
        owner.check();
    }
}

#[test]
fn a_hold_expires_at_its_moment_and_not_before() {
    let mut owner = Owner::default();
    owner.apply(&Command::Set { units: 1 }, UnixMs(0));
    let Outcome::Held(hold) = owner.apply(&reserve(3, 1_000), UnixMs(10)) else {
        panic!("there is one unit");
    };
    assert_eq!(hold.state, ReservationState::Held { expires_at: UnixMs(53) });
    let sold_out = Outcome::Refused(Refusal::SoldOut { available: 0 });
    assert_eq!(owner.apply(&reserve(6, 1_000), UnixMs(52)), sold_out);
    assert!(matches!(owner.apply(&reserve(9, 1_000), UnixMs(53)), Outcome::Held(_)));
    let expired = Outcome::Refused(Refusal::AlreadyExpired);
    assert_eq!(owner.apply(&Command::Confirm { id: id(3) }, UnixMs(53)), expired);
    owner.check();
}

#[test]
fn a_hold_ends_once() {
    let confirm = Command::Confirm { id: id(3) };
    let release = Command::Release { id: id(3) };
    let cases = [
        (&confirm, &release, Refusal::AlreadyConfirmed),
        (&release, &confirm, Refusal::AlreadyReleased),
    ];
    for (first, second, refusal) in cases {
        let mut owner = Owner::default();
        owner.apply(&Command::Set { units: 1 }, UnixMs(0));
        owner.apply(&reserve(3, 9), UnixMs(0));
        let outcome = owner.apply(first, UnixMs(1));
        assert!(matches!(outcome, Outcome::Settled(_)));
        assert_eq!(owner.apply(first, UnixMs(2)), outcome, "a repeat");
        assert_eq!(owner.apply(second, UnixMs(2)), Outcome::Refused(refusal));
        assert_eq!(owner.journal.len(), 3);
        owner.check();
    }
}

#[test]
fn nothing_is_taken_below_what_is_promised() {
    let mut owner = Owner::default();
    owner.apply(&Command::Set { units: 5 }, UnixMs(0));
    owner.apply(&reserve(5, 9), UnixMs(0));
    let refused = Outcome::Refused(Refusal::BelowCommitted { committed: 3 });
    assert_eq!(owner.apply(&Command::Set { units: 2 }, UnixMs(1)), refused);
    let left = Counters { available: 0, held: 3, confirmed: 0 };
    assert_eq!(owner.apply(&Command::Set { units: 3 }, UnixMs(1)), Outcome::Stock(left));
    owner.check();
}

/// The SKU has seen a later time than the clock shows now, and still takes orders.
#[test]
fn a_clock_set_back_closes_no_sale() {
    let mut owner = Owner::default();
    owner.apply(&Command::Set { units: 2 }, UnixMs(5_000));
    let Outcome::Held(hold) = owner.apply(&reserve(3, 1_010), UnixMs(1_000)) else {
        panic!("there is a unit, and somebody waits");
    };
    assert_eq!(hold.state, ReservationState::Held { expires_at: UnixMs(5_043) });
    let too_late = owner.apply(&reserve(6, 1_010), UnixMs(1_011));
    assert_eq!(too_late, Outcome::Refused(Refusal::Abandoned));
    owner.check();
}

/// Found by the properties: a command about a hold that its own arrival makes expire.
#[test]
fn a_command_finds_the_hold_that_expires_as_it_comes() {
    let confirm = Command::Confirm { id: id(3) };
    let expired = Outcome::Refused(Refusal::AlreadyExpired);
    for (command, expected) in [(&reserve(3, 999), None), (&confirm, Some(expired))] {
        let mut owner = Owner::default();
        owner.apply(&Command::Set { units: 1 }, UnixMs(0));
        let first = owner.apply(&reserve(3, 999), UnixMs(0));
        assert_eq!(owner.apply(command, UnixMs(43)), expected.unwrap_or(first));
        owner.check();
    }
}
