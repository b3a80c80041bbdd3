//! An owner on a shared store: turns, takeovers, and what a fenced commit keeps out.

use std::num::NonZeroU32;
use std::sync::Arc;

use cartgate_ledger::{Command, Outcome, Refusal};
use cartgate_policy::Sku;

use super::owner::Owner;
use super::rig::{SharedRig, end_of, held, pass_a_second, row};
use crate::hot_items::HotItem;
use crate::lanes::LaneSettings;
use crate::lanes::rig::{self, SETTINGS, confirm, id, set};
use crate::metrics::Metrics;
use crate::store::Store as _;
use crate::store::shared_memory::{Fault, LEASE_MS};
use crate::store::tenure::{Place, Route, SharedStore as _, Stream, Told, WorkerId};

#[test]
fn what_is_posted_is_decided_once_and_told() {
    let mut rig = SharedRig::new(2, SETTINGS);
    let mut owner = rig.owner(1);
    let callers: Vec<_> = (1..=3).map(|number| rig.reserve(number)).collect();
    assert_eq!(owner.turn().unwrap(), 3);
    assert_eq!(owner.turn().unwrap(), 0);
    assert!(rig.is_held(callers[0]) && rig.is_held(callers[1]));
    let sold_out = Outcome::Refused(Refusal::SoldOut { available: 0 });
    assert_eq!(rig.outcome(callers[2]), Some(sold_out));
    let paid = rig.settle(confirm(1));
    owner.turn().unwrap();
    assert!(matches!(rig.outcome(paid), Some(Outcome::Settled(_))));
    assert_eq!(row(&rig).counters.confirmed, 1);
    for stream in [Stream::Normal, Stream::Settle] {
        assert_eq!(rig.store.depth(0, &stream), 0);
        assert_eq!(rig.store.waiting(0, &stream), 0);
    }
}

#[test]
fn a_repeat_gets_the_outcome_of_the_first() {
    let mut rig = SharedRig::new(1, SETTINGS);
    let mut owner = rig.owner(1);
    let callers = [rig.reserve(1), rig.reserve(2), rig.reserve(1)];
    owner.turn().unwrap();
    assert!(rig.is_held(callers[0]) && !rig.is_held(callers[1]) && rig.is_held(callers[2]));
    assert_eq!(held(&rig), 1);
}

#[test]
fn an_answer_that_was_lost_is_given_again_by_the_next_owner() {
    let mut rig = SharedRig::new(1, SETTINGS);
    let mut owner = rig.owner(1);
    let caller = rig.reserve(1);
    rig.store.set_fault(Some(Fault::After));
    assert_eq!(end_of(&mut owner), "lost");
    assert_eq!((rig.outcome(caller), held(&rig)), (None, 1));
    // The worker itself may have it again at once. What was written is not decided again.
    let mut owner = rig.owner(1);
    assert!(rig.is_held(caller));
    assert_eq!(owner.turn().unwrap(), 0);
    assert_eq!(held(&rig), 1);
}

#[test]
fn what_was_not_written_is_decided_by_the_next_owner() {
    let mut rig = SharedRig::new(1, SETTINGS);
    let mut owner = rig.owner(1);
    let caller = rig.reserve(1);
    rig.store.set_fault(Some(Fault::Before));
    assert_eq!(end_of(&mut owner), "lost");
    assert_eq!(held(&rig), 0);
    assert!(rig.store.acquire(0, WorkerId(2)).unwrap().is_none());
    rig.advance(LEASE_MS);
    rig.owner(2).turn().unwrap();
    assert!(rig.is_held(caller));
}

/// The lease alone decides, before its next owner has written anything.
#[test]
fn a_zombie_changes_nothing() {
    let mut rig = SharedRig::new(2, SETTINGS);
    let mut zombie = rig.owner(1);
    rig.advance(LEASE_MS);
    let mut owner = rig.owner(2);
    let caller = rig.reserve(1);
    assert_eq!(end_of(&mut zombie), "fenced");
    assert_eq!((rig.outcome(caller), held(&rig)), (None, 0));
    owner.turn().unwrap();
    assert!(rig.is_held(caller));
}

/// A failover forgets that the lease was given, and gives it to another.
#[test]
fn a_lease_that_a_failover_has_forgotten_is_over() {
    let mut rig = SharedRig::new(2, SETTINGS);
    let caller = rig.reserve(1);
    rig.store.replicate();
    let mut forgotten = rig.owner(1);
    rig.store.set_fault(Some(Fault::Late));
    assert_eq!(end_of(&mut forgotten), "lost");
    rig.store.fail_over();
    let mut owner = rig.owner(2);
    assert_eq!(rig.store.deliver(), (false, true));
    assert_eq!((rig.outcome(caller), held(&rig)), (None, 0));
    owner.turn().unwrap();
    assert!(rig.is_held(caller));
}

/// The failover comes between what a turn has read and what it writes.
fn commit_after_failover(rig: &SharedRig, owner: &mut Owner) -> &'static str {
    rig.store.set_fault(Some(Fault::FailOver));
    end_of(owner)
}

/// The replica has neither the first command's end nor the second command.
#[test]
fn a_turn_that_a_failover_has_lost_ends_the_tenure() {
    let mut rig = SharedRig::new(2, SETTINGS);
    let mut owner = rig.owner(1);
    let first = rig.reserve(1);
    rig.store.replicate();
    owner.turn().unwrap();
    assert!(rig.is_held(first));
    let second = rig.reserve(2);
    assert_eq!(commit_after_failover(&rig, &mut owner), "history");
    assert_eq!((held(&rig), rig.outcome(second)), (0, None));
    // The first one's answer was given in vain. It is decided once more, with what there is now.
    rig.owner(1).turn().unwrap();
    assert!(rig.is_held(first));
    assert_eq!(held(&rig), 1);
}

/// The owner between has taken one of two commands out of the stream, and the failover knows nothing of
/// it: whoever read what was left would pass the other.
#[test]
fn what_another_owner_has_left_is_not_read() {
    let mut rig = SharedRig::new(5, LaneSettings { batch_max: 1, ..SETTINGS });
    let mut zombie = rig.owner(1);
    let callers = [rig.reserve(1), rig.reserve(2)];
    rig.store.replicate();
    rig.advance(LEASE_MS);
    let mut owner = rig.owner(2);
    owner.decider.limits.quantum_min = 1;
    assert_eq!(owner.turn().unwrap(), 1);
    assert_eq!(commit_after_failover(&rig, &mut zombie), "fenced");
    rig.store.set_fault(None);
    rig.store.fail_over();
    rig.owner(1).turn().unwrap();
    assert!(callers.into_iter().all(|caller| rig.is_held(caller)));
    assert_eq!((held(&rig), rig.store.depth(0, &Stream::Normal)), (2, 0));
}

/// No turn is lost, but what was read is lost. Only the entry itself tells.
#[test]
fn a_cursor_does_not_pass_what_a_failover_has_lost() {
    let mut rig = SharedRig::new(2, SETTINGS);
    let mut owner = rig.owner(1);
    rig.store.replicate();
    let lost = rig.reserve(1);
    assert_eq!(commit_after_failover(&rig, &mut owner), "entry");
    assert_eq!((held(&rig), rig.outcome(lost)), (0, None));
    // In its place in the stream comes another.
    let other = rig.reserve(2);
    rig.owner(1).turn().unwrap();
    assert!(rig.is_held(other));
    assert_eq!(rig.outcome(lost), None);
}

/// The same, with another in its place by the time that the commit arrives.
#[test]
fn an_entry_that_replaced_another_is_not_taken_for_it() {
    let mut rig = SharedRig::new(2, SETTINGS);
    let mut owner = rig.owner(1);
    rig.store.replicate();
    rig.reserve(1);
    rig.store.set_fault(Some(Fault::Late));
    assert_eq!(end_of(&mut owner), "lost");
    rig.store.fail_over();
    let other = rig.reserve(2);
    assert_eq!(rig.store.deliver(), (false, true));
    rig.owner(1).turn().unwrap();
    assert!(rig.is_held(other));
    assert_eq!(held(&rig), 1);
}

/// Also if nothing has been read since.
#[test]
fn what_a_failover_has_lost_is_not_built_upon() {
    let mut rig = SharedRig::new(5, SETTINGS);
    let mut owner = rig.owner(1);
    rig.store.replicate();
    rig.reserve(1);
    owner.turn().unwrap();
    // No stream moves: what is due goes back.
    rig.advance(rig::HOLD_MS);
    assert_eq!(commit_after_failover(&rig, &mut owner), "history");
    assert_eq!(row(&rig).version, 1);
}

/// The replica has two commands in the normal lane, and a mark that nobody has come up to; the third
/// is behind it, in a stream without a cursor, and changes no row.
#[test]
fn a_refusal_from_a_lane_whose_opening_was_lost_overtakes_nobody() {
    let mut rig = SharedRig::new(1, LaneSettings { batch_max: 1, ..SETTINGS });
    let mut owner = rig.owner(1);
    owner.decider.limits.quantum_min = 1;
    let [first, second] = [1, 2].map(|number| rig.reserve(number));
    rig.change_hot_item(&rig::sku(), Some(HotItem::default()));
    owner.turn().unwrap();
    let third = rig.reserve(3);
    rig.store.replicate();
    for _ in 0..3 {
        owner.turn().unwrap();
        if rig.store.route(0, &rig::sku()) == Some(Route::Open) {
            break;
        }
    }
    assert_eq!(rig.store.route(0, &rig::sku()), Some(Route::Open));
    assert_eq!(commit_after_failover(&rig, &mut owner), "history");
    assert!(rig.is_held(first) && rig.outcome(second).is_some());
    assert_eq!(rig.outcome(third), None);
}

#[test]
fn whoever_reads_after_a_failover_begins_anew() {
    let mut rig = SharedRig::new(5, SETTINGS);
    let mut owner = rig.owner(1);
    rig.store.replicate();
    rig.reserve(1);
    owner.turn().unwrap();
    rig.store.fail_over();
    let caller = rig.reserve(2);
    assert_eq!(end_of(&mut owner), "lost");
    rig.owner(1).turn().unwrap();
    assert!(rig.is_held(caller));
    assert_eq!(held(&rig), 1);
}

/// It takes nothing: else whoever asks again faster than the lane goes would never hear.
#[test]
fn a_repeat_of_what_is_held_costs_no_pace() {
    let settings = LaneSettings { reserves_per_s: NonZeroU32::new(1), ..SETTINGS };
    let mut rig = SharedRig::new(5, settings);
    let mut owner = rig.owner(1);
    let first = rig.reserve(1);
    owner.turn().unwrap();
    let repeats: Vec<_> = (0..3).map(|_| rig.reserve(1)).collect();
    let other = rig.reserve(2);
    owner.turn().unwrap();
    assert!([first].into_iter().chain(repeats).all(|caller| rig.is_held(caller)));
    assert_eq!(rig.outcome(other), None);
}

#[test]
fn a_sku_is_promoted_and_demoted_without_losing_its_order() {
    let mut rig = SharedRig::new(5, LaneSettings { batch_max: 1, ..SETTINGS });
    let (a, b) = (rig::sku(), Sku::parse("B").unwrap());
    let mut owner = rig.owner(1);
    owner.decider.limits.quantum_min = 1;
    let mut callers = vec![rig.reserve(1), rig.reserve(2)];
    let promoted = rig.change_hot_item(&a, Some(HotItem::default()));
    owner.turn().unwrap();
    assert_eq!(rig.store.routes(0).1.get(&a), Some(&Route::Joining));
    callers.push(rig.reserve(3));
    rig.reserve_of(&b, 200);
    let order = |rig: &SharedRig| {
        let entries = rig.store.data(0).journal(&a, 1, 100).unwrap();
        entries.iter().filter_map(|entry| entry.id).collect::<Vec<_>>()
    };
    // A takeover in the middle of it, at each step.
    for worker in 2..12 {
        rig.advance(LEASE_MS / 50);
        owner.turn().unwrap();
        drop(owner);
        rig.advance(LEASE_MS);
        owner = rig.owner(worker);
        owner.decider.limits.quantum_min = 1;
    }
    assert_eq!(rig.store.routes(0).1.get(&a), Some(&Route::Open));
    rig.hear();
    assert_eq!(rig.told[&promoted].len(), 1);
    callers.extend([rig.reserve(4)]);
    rig.change_hot_item(&a, None);
    owner.turn().unwrap();
    assert_eq!(rig.store.routes(0).1.get(&a), Some(&Route::Leaving));
    callers.push(rig.reserve(5));
    for _ in 0..4 {
        owner.turn().unwrap();
    }
    assert!(rig.store.routes(0).1.is_empty());
    assert_eq!(rig.store.cursor(0, &Stream::Hot(a.clone())), None);
    let expected: Vec<_> = (1..=5).map(id).collect();
    let taken: Vec<_> = order(&rig).into_iter().fold(Vec::new(), |mut ids, id| {
        if !ids.contains(&id) {
            ids.push(id);
        }
        ids
    });
    assert_eq!(taken, expected);
    assert!(callers.into_iter().all(|caller| rig.is_held(caller)));
}

/// What is parked meanwhile keeps the normal lane from being read on. The next owner goes on with it.
#[test]
fn a_lane_that_is_being_left_is_not_paced() {
    let settings = LaneSettings { batch_max: 16, reserves_per_s: NonZeroU32::new(1), ..SETTINGS };
    for takeover in [false, true] {
        let mut rig = SharedRig::new(20, settings);
        let a = rig::sku();
        let mut owner = rig.owner(1);
        rig.change_hot_item(
            &a,
            Some(HotItem { reserves_per_s: NonZeroU32::new(1_000), ..HotItem::default() }),
        );
        (0..3).for_each(|_| _ = owner.turn().unwrap());
        assert_eq!(rig.store.route(0, &a), Some(Route::Open));
        rig.change_hot_item(&a, None);
        let own = rig.reserve_all(1..=10);
        owner.turn().unwrap();
        assert_eq!(rig.store.route(0, &a), Some(Route::Leaving));
        if takeover {
            rig.advance(LEASE_MS);
            owner = rig.owner(2);
        }
        (0..2).for_each(|_| _ = owner.turn().unwrap());
        assert!(own.into_iter().all(|caller| rig.is_held(caller)));
        assert_eq!(rig.store.route(0, &a), None);
    }
}

/// The window of a full lane takes no more, and settling goes on.
#[test]
fn a_flood_fills_no_memory_and_stops_no_order() {
    let settings = LaneSettings { batch_max: 4, reserves_per_s: NonZeroU32::new(1), ..SETTINGS };
    let mut rig = SharedRig::new(5, settings);
    let mut owner = rig.owner(1);
    let caller = rig.reserve(1);
    for number in 2..=60 {
        rig.reserve(number);
        owner.turn().unwrap();
        assert!(owner.waiting() <= 9, "{} wait in the window", owner.waiting());
    }
    assert!(rig.is_held(caller));
    let paid = rig.settle(confirm(1));
    owner.turn().unwrap();
    assert!(matches!(rig.outcome(paid), Some(Outcome::Settled(_))));
    assert!(rig.store.cursor(0, &Stream::Normal).unwrap().next > Place::default());
    let again = rig.settle(set(9));
    owner.turn().unwrap();
    assert!(matches!(rig.outcome(again), Some(Outcome::Stock { .. })));
}

/// The bound is one on memory: what a process has of all its buckets counts.
#[test]
fn there_are_no_more_holds_than_a_process_may_have() {
    let settings = LaneSettings { holds_max: 3, reserves_per_s: NonZeroU32::new(1), ..SETTINGS };
    let mut rig = SharedRig::new(9, settings);
    let metrics = Arc::new(Metrics::default());
    let came_at = rig.store.now();
    let mut owner = rig.owner_with(1, &metrics);
    let callers = [rig.reserve(1), rig.reserve(2)];
    owner.turn().unwrap();
    pass_a_second();
    owner.turn().unwrap();
    assert!(callers.into_iter().all(|caller| rig.is_held(caller)));

    let ticketed = rig.reserve(3);
    assert!(rig.ticket(id(3), ticketed, came_at));
    owner.turn().unwrap();
    assert!(rig.is_ticketed(ticketed) && metrics.holds() == 2);
    // Of the process's other buckets.
    metrics.change_holds(0, 1);
    drop(owner);
    assert_eq!(metrics.holds(), 1, "it has lost its bucket");
    let mut owner = rig.owner_with(1, &metrics);
    assert_eq!(metrics.holds(), 3);
    let turned_away = rig.reserve(4);
    owner.turn().unwrap();
    rig.hear();
    assert_eq!(rig.told[&turned_away], [Told::TooManyHolds]);
    assert!(rig.is_held(ticketed), "it was promised an outcome");
    assert_eq!((held(&rig), rig.store.depth(0, &Stream::Normal)), (3, 0));

    rig.settle(Command::Release { id: id(1) });
    rig.settle(Command::Release { id: id(2) });
    owner.turn().unwrap();
    let again = rig.reserve(4);
    pass_a_second();
    owner.turn().unwrap();
    assert!(rig.is_held(again));
}

#[test]
fn what_a_process_has_of_its_buckets_is_in_its_metrics() {
    let mut rig = SharedRig::new(9, SETTINGS);
    let metrics = Arc::new(Metrics::default());
    let mut owner = rig.owner_with(1, &metrics);
    rig.reserve(1);
    rig.change_hot_item(&rig::sku(), Some(HotItem::default()));
    owner.turn().unwrap();
    let gauges = |metrics: &Metrics| {
        let text = metrics.render(Vec::new());
        ["cartgate_holds 1\n", "cartgate_hot_items 1\n"].map(|line| text.contains(line))
    };
    assert_eq!(gauges(&metrics), [true, true]);
    drop(owner);
    assert_eq!(gauges(&metrics), [false, false]);
    let next = rig.owner_with(1, &metrics);
    assert_eq!(gauges(&metrics), [true, true]);
    drop(next);
}
