//! The invariants of the design under random histories: `common::Owner` checks most of them after
//! each step, and here is what concerns more than one.

mod common;

use std::collections::{BTreeSet, HashMap};

use cartgate_ledger::{
    Cause, Circumstances, Command, CommandId, Outcome, Refusal, ReservationState, Terms, UnixMs,
};
use common::Owner;
use common::history::{Step, any_history};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// What a repeat has in common with the first answer. How long the hold lasts may have been
/// extended, and how often it was asked for is counted.
fn without_what_may_change(outcome: Outcome) -> Outcome {
    let Outcome::Held(mut hold) = outcome else { return outcome };
    hold.state = ReservationState::Held { expires_at: UnixMs(0) };
    without_claim(Outcome::Held(hold))
}

fn without_claim(mut outcome: Outcome) -> Outcome {
    if let Outcome::Held(hold) | Outcome::Settled(hold) = &mut outcome {
        hold.attempt = 0;
        hold.claim = cartgate_ledger::Claim::Claimed;
        hold.since = UnixMs(0);
    }
    outcome
}

/// Refusals that say nothing of the command itself, and are not kept.
fn is_passing(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Refused(
            Refusal::Abandoned
                | Refusal::UnknownSku
                | Refusal::NotOpenYet { .. }
                | Refusal::Closed { .. }
                | Refusal::CustomerRequired
                | Refusal::KeyReused
        )
    )
}

/// Whether a repeat of this command at the same moment must change nothing.
fn changes_once(command: &Command) -> bool {
    match command {
        // Such a set asks for the version before it.
        Command::Set { expected_version, .. } => expected_version.is_none(),
        Command::Reserve(reserve) => reserve.repeatable,
        Command::Adjust(adjust) => adjust.repeatable,
        _ => true,
    }
}

/// Runs a history, and calls `after` with each command and its outcome.
fn run(
    history: Vec<Step>,
    mut after: impl FnMut(&mut Owner, &Command, Circumstances<'_>, Outcome),
) -> Owner {
    let mut owner = Owner::default();
    for step in history {
        match step {
            Step::Terms(terms) => owner.set_terms(terms),
            Step::Ask(command, circumstances) => {
                let outcome = owner.apply(&command, circumstances);
                after(&mut owner, &command, circumstances, outcome);
            }
        }
    }
    owner
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn invariants_hold_and_all_holds_end(history in any_history()) {
        let mut owner = run(history, |_, _, _, _| {});
        let end = Circumstances { expire_max: 1, ..common::at(10_000) };
        owner.apply(&Command::Expire, end);
        let counters = owner.stock.counters();
        prop_assert_eq!((counters.held, owner.stock.next_due()), (0, None));
    }

    #[test]
    fn a_repeat_at_once_changes_nothing(history in any_history()) {
        run(history, |owner, command, circumstances, outcome| {
            if !changes_once(command) {
                return;
            }
            let entries = owner.journal.len();
            let repeat = owner.apply(command, circumstances);
            assert_eq!(without_claim(repeat), without_claim(outcome));
            assert_eq!(owner.journal.len(), entries, "{command:?}");
        });
    }

    #[test]
    fn a_repeat_gets_the_first_answer(history in any_history()) {
        let mut first: HashMap<CommandId, Outcome> = HashMap::new();
        let mut entries = 0;
        run(history, |owner, command, _, outcome| {
            let new = &owner.journal[entries..];
            entries = owner.journal.len();
            let Command::Reserve(reserve) = command else { return };
            if is_passing(&outcome) {
                return;
            }
            if !reserve.repeatable {
                first.remove(&reserve.id);
                return;
            }
            let taken = new.iter().any(|e| e.cause == Cause::Reserve);
            let outcome = without_what_may_change(outcome);
            let before = first.insert(reserve.id, outcome.clone());
            // It is judged anew if it was forgone: then it was decided just now.
            let now = owner.stock.now();
            let is_anew = owner.kept(reserve.id).is_some_and(|kept| kept.decided_at == now);
            if let Some(before) = before && !is_anew {
                assert_eq!((outcome, taken), (before, false));
            }
        });
    }

    #[test]
    fn no_customer_is_ever_above_a_cap_that_never_changes(
        history in any_history(),
        cap in 1u32..6,
    ) {
        let capped = Terms { customer_cap: Some(common::units(cap)), ..Terms::default() };
        let mut history: Vec<_> =
            history.into_iter().filter(|step| matches!(step, Step::Ask(..))).collect();
        history.insert(0, Step::Terms(capped));
        let owner = run(history, |_, _, _, _| {});
        let mut bought: HashMap<_, u32> = HashMap::new();
        for purchase in &owner.purchases {
            *bought.entry(&purchase.customer).or_default() += purchase.units;
        }
        prop_assert!(bought.values().all(|units| *units <= cap), "{bought:?} above {cap}");
    }
}

/// Properties that no history touches would hold for nothing.
#[test]
fn histories_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    for _ in 0..100 {
        let history = any_history().new_tree(&mut runner).unwrap().current();
        let mut owner = Owner::default();
        for step in history {
            match step {
                Step::Terms(terms) => owner.set_terms(terms),
                Step::Ask(command, circumstances) => {
                    let outcome = owner.try_once(&command, circumstances);
                    reached.insert(name_of(&outcome));
                    owner.apply(&command, circumstances);
                }
            }
        }
        reached.extend(owner.journal.iter().map(|entry| format!("{:?}", entry.cause)));
        // A hold that was sold without having been held at that moment.
        let is_reacquired = owner.journal.windows(2).any(|pair| {
            let [taken, sold] = pair else { return false };
            (taken.cause, sold.cause, taken.id) == (Cause::Reserve, Cause::Confirm, sold.id)
                && owner.journal.iter().any(|e| (e.cause, e.id) == (Cause::Expire, sold.id))
        });
        reached.extend(is_reacquired.then(|| "Reacquired".to_owned()));
    }
    let expected = [
        "Abandoned",
        "Adjust",
        "Adjusted",
        "AlreadyConfirmed",
        "AlreadyExpired",
        "AlreadyReleased",
        "BelowCommitted",
        "Cancel",
        "Closed",
        "Confirm",
        "CustomerRequired",
        "Deferred",
        "Expire",
        "Held",
        "KeyReused",
        "MoreThanHeld",
        "NotOpenYet",
        "OverCap",
        "Reacquired",
        "Release",
        "Reserve",
        "Set",
        "Settled",
        "SoldOut",
        "Stock",
        "UnknownHold",
        "UnknownSku",
        "VersionDiffers",
    ];
    assert_eq!(reached.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

fn name_of(outcome: &Outcome) -> String {
    let text = match outcome {
        Outcome::Refused(refusal) => format!("{refusal:?}"),
        other => format!("{other:?}"),
    };
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
