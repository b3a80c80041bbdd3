//! Promotion, demotion, and lanes that leave each other alone.

use std::num::NonZeroU32;

use cartgate_ledger::{Outcome, Refusal, ReservationState, Terms, UnixMs};
use cartgate_policy::Sku;

use super::rig::{HOLD_MS, Rig, SETTINGS, confirm, id, is_held, outcome, sku};
use super::{EnqueueError, LaneSettings, Waiter};
use crate::hot_items::HotItem;
use crate::store::Store;

/// One reserve command of each lane, then none: time stands still for pacing in tests.
const STALLED: LaneSettings = LaneSettings { reserves_per_s: NonZeroU32::new(1), ..SETTINGS };

fn item(reserves_per_s: Option<u32>) -> HotItem {
    HotItem { reserves_per_s: reserves_per_s.and_then(NonZeroU32::new), ..HotItem::default() }
}

/// A SKU of the same bucket as `A`, and its stock.
fn neighbour(rig: &mut Rig) -> Sku {
    neighbours(rig, 1).remove(0)
}

fn neighbours(rig: &mut Rig, count: usize) -> Vec<Sku> {
    let bucket = |sku: &Sku| rig.shared.buckets.of_sku(sku);
    let names = (0..).map(|n| Sku::parse(&format!("N{n}")).unwrap());
    let neighbours = names.filter(|name| bucket(name) == bucket(&sku()));
    let neighbours: Vec<_> = neighbours.take(count).collect();
    for neighbour in &neighbours {
        let set = rig.submit(neighbour, super::rig::set(100)).unwrap();
        rig.turns();
        assert!(outcome(set).is_ok());
    }
    neighbours
}

fn waiters(rig: &Rig, numbers: std::ops::RangeInclusive<u8>) -> Vec<Waiter> {
    numbers.map(|n| rig.reserve(n).unwrap()).collect()
}

/// The ids of `A`'s reservations in the order in which they were decided.
fn order(rig: &Rig) -> Vec<u8> {
    let journal = rig.store.journal(&sku(), 1, 99).unwrap();
    journal.into_iter().filter_map(|entry| Some(entry.id?.0[0])).collect()
}

#[test]
fn promotion_keeps_the_order_and_moves_no_stock() {
    let mut rig = Rig::new(50, STALLED);
    let early = waiters(&rig, 1..=4);
    rig.turns();
    assert_eq!(order(&rig), [1]);
    let before = rig.row();
    rig.change_hot_item(&sku(), Some(item(Some(1_000_000))));
    assert_eq!(rig.row(), before);
    let late = waiters(&rig, 5..=8);
    rig.turns();
    // The hot lane is quick, but waits for what came before.
    assert_eq!(order(&rig), [1]);
    // A repeat of one in the old lane joins it there.
    let repeat = rig.reserve(3).unwrap();
    let mut rig = unpaced(rig);
    assert_eq!(order(&rig), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(early.into_iter().chain(late).chain([repeat]).all(is_held));
    assert_eq!(rig.row().counters.held, 8);
    let confirm = rig.settle(confirm(8));
    rig.turns();
    assert!(matches!(outcome(confirm), Ok(Outcome::Settled(_))));
}

/// Whoever asks where it stands is told of all that comes before it, also while its SKU changes lanes.
#[test]
fn the_place_in_line_counts_what_waits_in_the_other_lane() {
    let mut rig = Rig::new(50, STALLED);
    let _early = waiters(&rig, 1..=4);
    rig.turns();
    let position = |rig: &Rig, n| rig.shared.in_line(&sku(), id(n)).map(|line| line.position);
    assert_eq!([1, 2, 4].map(|n| position(&rig, n)), [None, Some(1), Some(3)]);
    rig.change_hot_item(&sku(), Some(item(Some(1_000_000))));
    let _late = waiters(&rig, 5..=6);
    assert_eq!([4, 5, 6].map(|n| position(&rig, n)), [Some(3), Some(4), Some(5)]);
    rig.change_hot_item(&sku(), None);
    let mut rig = unpaced(rig);
    assert_eq!([4, 5, 6].map(|n| position(&rig, n)), [None; 3]);
    // The mark itself is in line, too, while the lane is left.
    rig.change_hot_item(&sku(), Some(item(Some(1))));
    let _slow = waiters(&rig, 7..=9);
    rig.turns();
    rig.change_hot_item(&sku(), None);
    let _parked = waiters(&rig, 10..=10);
    assert_eq!([8, 9, 10].map(|n| position(&rig, n)), [Some(1), Some(2), Some(3)]);
}

/// Lets the normal lane go on at full speed.
fn unpaced(mut rig: Rig) -> Rig {
    for mut lanes in rig.shared.each_lanes() {
        lanes.set_normal_pace(None);
    }
    rig.turns();
    rig
}

#[test]
fn demotion_keeps_the_order_too() {
    let mut rig = Rig::new(50, SETTINGS);
    rig.change_hot_item(&sku(), Some(item(Some(1))));
    let early = waiters(&rig, 1..=4);
    rig.turns();
    assert_eq!(order(&rig), [1]);
    // What it was paced by goes with it.
    rig.change_hot_item(&sku(), None);
    let late = waiters(&rig, 5..=8);
    rig.turns();
    assert_eq!(order(&rig), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(early.into_iter().chain(late).all(is_held));
    assert!(rig.shared.hot_lane(&sku()).is_none());
}

#[test]
fn what_comes_while_a_lane_is_left_is_parked_and_found() {
    let mut rig = Rig::new(50, STALLED);
    rig.change_hot_item(&sku(), Some(item(None)));
    let early = waiters(&rig, 1..=4);
    rig.turns();
    rig.change_hot_item(&sku(), None);
    let late = waiters(&rig, 5..=8);
    let repeats = [3, 7].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    assert_eq!(order(&rig), [1], "the lane keeps its pace to the end");
    let depth = rig.shared.hot_lane(&sku()).unwrap().depth;
    assert_eq!(depth.reserve, 7);
    // Wanted again before it was gone: nothing is lost, nothing overtakes.
    rig.change_hot_item(&sku(), Some(item(Some(1_000_000))));
    rig.turns();
    assert_eq!(order(&rig), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(early.into_iter().chain(late).chain(repeats).all(is_held));
    assert!(rig.shared.hot_lane(&sku()).unwrap().is_open);
}

/// However many come: what the lane has is less from turn to turn, for nothing enters it any more.
#[test]
fn a_lane_is_left_also_under_a_standing_flood() {
    let mut rig = Rig::new(250, LaneSettings { batch_max: 4, ..SETTINGS });
    rig.owner.decider.limits.quantum_min = 1;
    rig.change_hot_item(&sku(), Some(item(None)));
    let mut flood = waiters(&rig, 1..=20);
    drop(rig.ask_hot_item(&sku(), None));
    let mut last = 20;
    while rig.shared.hot_lane(&sku()).is_some() {
        // As many come as a turn decides, and one more.
        flood.extend(waiters(&rig, last + 1..=last + 5));
        last += 5;
        rig.owner.turn().unwrap();
        assert!(last < 60, "a lane of 20 is left in five turns or so");
    }
    flood.extend(waiters(&rig, last + 1..=last + 5));
    rig.turns();
    assert_eq!(order(&rig), (1..=last + 5).collect::<Vec<_>>());
    assert!(flood.into_iter().all(is_held));
}

#[test]
fn a_lane_that_is_being_left_is_still_one() {
    let mut rig = Rig::new(50, LaneSettings { hot_items_max: 1, ..STALLED });
    rig.change_hot_item(&sku(), Some(item(None)));
    let waiting = waiters(&rig, 1..=4);
    rig.change_hot_item(&sku(), None);
    assert!(!rig.shared.hot_lane(&sku()).unwrap().is_open);
    let other = Sku::parse("B").unwrap();
    let mut refused = rig.ask_hot_item(&other, Some(item(None)));
    rig.turns();
    assert_eq!(refused.try_recv().unwrap(), Err(EnqueueError::TooManyHotItems { max: 1 }));
    // Back it may come at any time: it has a lane.
    rig.change_hot_item(&sku(), Some(item(None)));
    rig.change_hot_item(&sku(), None);
    while rig.shared.hot_lane(&sku()).is_some() {
        rig.advance(1_000);
        rig.turns();
    }
    rig.change_hot_item(&other, Some(item(None)));
    assert!(waiting.into_iter().all(is_held));
}

/// A lane that is left before it was ever open: what waits in it goes behind the mark that it waited
/// for.
#[test]
fn demotion_before_promotion_is_done_keeps_the_order() {
    let mut rig = Rig::new(50, STALLED);
    let early = waiters(&rig, 1..=3);
    rig.change_hot_item(&sku(), Some(item(None)));
    let late = waiters(&rig, 4..=6);
    rig.change_hot_item(&sku(), None);
    let last = waiters(&rig, 7..=8);
    let rig = unpaced(rig);
    assert_eq!(order(&rig), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(early.into_iter().chain(late).chain(last).all(is_held));
    assert!(rig.shared.hot_lane(&sku()).is_none());
}

#[test]
fn a_full_hot_lane_leaves_its_neighbours_room() {
    let mut rig = Rig::new(99, LaneSettings { reserve_queue_max: 3, ..SETTINGS });
    let neighbour = neighbour(&mut rig);
    rig.change_hot_item(&sku(), Some(item(Some(1))));
    let first = rig.reserve(1).unwrap();
    rig.turns();
    assert!(is_held(first));
    let _waiting = waiters(&rig, 2..=4);
    assert_eq!(rig.reserve(5).err(), Some(EnqueueError::Full { depth: 3 }));
    let others: Vec<_> = (11..=13).map(|n| rig.reserve_of(&neighbour, n).unwrap()).collect();
    rig.turns();
    assert!(others.into_iter().all(is_held));
    assert_eq!(order(&rig), [1]);
}

#[test]
fn lanes_share_a_turn() {
    let mut rig = Rig::new(999, LaneSettings { batch_max: 128, ..SETTINGS });
    let neighbour = neighbour(&mut rig);
    rig.change_hot_item(&sku(), Some(item(None)));
    let flood = waiters(&rig, 1..=200);
    let others: Vec<_> = (201..=203).map(|n| rig.reserve_of(&neighbour, n).unwrap()).collect();
    rig.owner.turn().unwrap();
    assert!(others.into_iter().all(is_held), "the flood has not filled the turn");
    rig.turns();
    assert!(flood.into_iter().all(is_held));
}

#[test]
fn hot_items_survive_a_crash_in_the_lanes_and_terms_that_they_had() {
    let mut rig = Rig::new(50, SETTINGS);
    let terms = Terms { customer_cap: NonZeroU32::new(1), ..Terms::default() };
    rig.change_hot_item(&sku(), Some(HotItem { terms, ..item(Some(1)) }));
    let mut rig = rig.crash(SETTINGS);
    assert!(rig.shared.hot_lane(&sku()).unwrap().is_open);
    assert_eq!(rig.shared.registry().len(), 1);
    let refused = rig.reserve(1).unwrap();
    rig.turns();
    assert_eq!(outcome(refused), Ok(Outcome::Refused(Refusal::CustomerRequired)));
    rig.change_hot_item(&sku(), None);
    let mut rig = rig.crash(SETTINGS);
    assert!(rig.shared.hot_lane(&sku()).is_none());
    let waiter = rig.reserve(1).unwrap();
    rig.turns();
    assert!(is_held(waiter));
}

#[test]
fn there_are_no_more_hot_items_than_there_may_be() {
    let mut rig = Rig::new(1, SETTINGS);
    for name in ["A", "B", "C"] {
        rig.change_hot_item(&Sku::parse(name).unwrap(), Some(item(None)));
    }
    let promote = |name: &str| rig.ask_hot_item(&Sku::parse(name).unwrap(), Some(item(None)));
    let mut refused = [promote("D"), promote("E")];
    drop(rig.ask_hot_item(&sku(), None));
    rig.turns();
    let too_many = Err(EnqueueError::TooManyHotItems { max: 3 });
    let answers = refused.each_mut().map(|reply| reply.try_recv().unwrap());
    assert!(answers.contains(&too_many), "one goes, and at most one may come for it");
    assert!(rig.shared.registry().len() <= 3);
}

/// More holds are due than may expire in a turn: what counts units waits, and nothing overtakes it.
#[test]
fn a_thousand_holds_that_are_due_together_keep_the_order() {
    let settings = LaneSettings { holds_max: 99_999, reserve_queue_max: 99_999, ..SETTINGS };
    let mut rig = Rig::new(20_000, LaneSettings { batch_max: 99_999, ..settings });
    let many: Vec<_> = (0..20_000u32).map(|n| rig.settle(numbered(n))).collect();
    rig.turns();
    assert!(many.into_iter().all(is_held));
    assert_eq!(rig.row().counters.available, 0);
    rig.set_time(1_000 + HOLD_MS);
    let early = waiters(&rig, 1..=3);
    // The mark waits for what is put back.
    drop(rig.ask_hot_item(&sku(), Some(item(None))));
    rig.owner.turn().unwrap();
    assert!(rig.row().counters.held > 0, "a turn is short");
    let late = waiters(&rig, 4..=6);
    let set = rig.settle(super::rig::set(6));
    rig.turns();
    assert!(early.into_iter().chain(late).all(is_held));
    assert!(matches!(outcome(set), Ok(Outcome::Stock { .. })));
    assert_eq!(rig.row().counters.held, 6);
    let last = rig.store.journal(&sku(), rig.row().version - 6, 6).unwrap();
    let ids: Vec<_> = last.into_iter().filter_map(|entry| entry.id).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(matches!(rig.state(6), Some(ReservationState::Held { .. })));
    assert_eq!(id(6), *ids.last().unwrap());
}

fn numbered(number: u32) -> cartgate_ledger::Command {
    let cartgate_ledger::Command::Reserve(mut reserve) = super::rig::reserve(0) else {
        unreachable!()
    };
    reserve.id.0[..12].copy_from_slice(&[0xff; 12]);
    reserve.id.0[12..].copy_from_slice(&number.to_be_bytes());
    cartgate_ledger::Command::Reserve(reserve)
}

/// Its terms may change as often as they like, and nobody comes sooner.
#[test]
fn a_change_that_leaves_the_pace_lets_nothing_through() {
    let mut rig = Rig::new(9, SETTINGS);
    rig.change_hot_item(&sku(), Some(item(Some(1))));
    let _waiters = waiters(&rig, 1..=2);
    rig.turns();
    let terms = Terms { closes_at: Some(UnixMs(99_000)), ..Terms::default() };
    rig.change_hot_item(&sku(), Some(HotItem { terms, ..item(Some(1)) }));
    rig.turns();
    assert_eq!(order(&rig), [1]);
}

/// Also of one bucket's, in the first turn after one in which a single lane was busy.
#[test]
fn lanes_that_open_together_share_a_turn() {
    let mut rig = Rig::new(250, LaneSettings { batch_max: 8, hot_items_max: 9, ..SETTINGS });
    rig.owner.decider.limits.quantum_min = 1;
    let neighbours = neighbours(&mut rig, 4);
    for sku in &neighbours {
        rig.change_hot_item(sku, Some(item(None)));
    }
    let _alone = rig.reserve(1).unwrap();
    rig.turns();
    let mut waiters = Vec::new();
    for (place, sku) in neighbours.iter().enumerate() {
        let number = |n: u8| 10 * (1 + place as u8) + n;
        waiters.extend((0..8).map(|n| rig.reserve_of(sku, number(n)).unwrap()));
    }
    rig.owner.turn().unwrap();
    let held = |sku: &Sku| rig.store.stock(sku).unwrap().unwrap().counters.held;
    let mut held: Vec<_> = neighbours.iter().map(held).collect();
    held.sort_unstable();
    assert_eq!(held, [1, 1, 1, 8]);
}
