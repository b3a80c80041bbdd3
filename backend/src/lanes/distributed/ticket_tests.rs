//! Tickets on a shared store, and who hangs up: what is posted about a command that may be decided, or
//! not even read.

use std::num::NonZeroU32;

use cartgate_ledger::{Claim, Outcome, Refusal, ReservationState, Terms};

use super::rig::{SharedRig, WAIT_MS, held, pass_a_second};
use crate::hot_items::HotItem;
use crate::lanes::LaneSettings;
use crate::lanes::rig::{SETTINGS, id, sku};
use crate::store::Store as _;
use crate::store::shared_memory::{Fault, LEASE_MS};
use crate::store::tenure::Stream;

#[test]
fn a_ticket_outlives_its_owner_and_its_callers_patience() {
    let settings = LaneSettings { reserves_per_s: NonZeroU32::new(1), ..SETTINGS };
    let mut rig = SharedRig::new(5, settings);
    let mut owner = rig.owner(1);
    let came_at = rig.store.now();
    let callers: Vec<_> = (1..=3).map(|number| rig.reserve(number)).collect();
    owner.turn().unwrap();
    assert!(rig.ticket(id(2), callers[1], came_at));
    assert!(!rig.is_ticketed(callers[1]), "its owner has not said so");
    owner.turn().unwrap();
    assert!(rig.is_ticketed(callers[1]));
    assert_eq!(rig.store.tickets(0).len(), 1);
    rig.advance(WAIT_MS + 1);
    assert!(!rig.ticket(id(3), callers[2], came_at), "it is too late for one");
    let mut owner = rig.owner(2);
    for _ in 0..3 {
        pass_a_second();
        owner.turn().unwrap();
    }
    assert!(rig.is_held(callers[1]));
    assert_eq!(rig.outcome(callers[2]), Some(Outcome::Refused(Refusal::Abandoned)));
    assert!(rig.store.tickets(0).is_empty());
}

/// However short its time is, and if its command is not read before that is over: whoever went with a
/// ticket is not waited for.
#[test]
fn a_ticket_is_good_for_longer_than_its_command() {
    let settings = LaneSettings {
        batch_max: 1,
        ticket_ttl_ms: 1,
        reserves_per_s: NonZeroU32::new(1),
        ..SETTINGS
    };
    let mut rig = SharedRig::new(5, settings);
    let mut owner = rig.owner(1);
    let came_at = rig.store.now();
    rig.reserve_all(1..=3);
    owner.turn().unwrap();
    let last = rig.reserve(4);
    assert!(rig.ticket(id(4), last, came_at));
    owner.turn().unwrap();
    assert!(rig.is_ticketed(last));
    assert_eq!(owner.waiting(), 2, "its command is not read");
    rig.advance(settings.ticket_ttl_ms + 1);
    for _ in 0..4 {
        pass_a_second();
        owner.turn().unwrap();
    }
    let (_, hold) = rig.store.data(0).reservation(id(4)).unwrap().unwrap();
    assert!(matches!(hold.claim, Claim::Unclaimed { .. }), "{hold:?}");
}

/// It crosses the outcome on its way. Whoever wants it hears that one.
#[test]
fn there_is_no_ticket_for_what_is_decided() {
    let settings = LaneSettings { reserves_per_s: NonZeroU32::new(1), ..SETTINGS };
    let mut rig = SharedRig::new(5, settings);
    let mut owner = rig.owner(1);
    let came_at = rig.store.now();
    let gone = rig.reserve(1);
    // These come at once, and are not decided at once.
    let callers = rig.reserve_all(2..=3);
    for _ in 0..2 {
        pass_a_second();
        owner.turn().unwrap();
    }
    assert!(!rig.ticket(id(1), gone, came_at), "it is not in the stream any more");
    assert!(rig.ticket(id(2), callers[0], came_at) && rig.ticket(id(3), callers[1], came_at));
    owner.turn().unwrap();
    assert!(rig.is_held(callers[0]) && !rig.is_ticketed(callers[0]));
    assert!(rig.is_ticketed(callers[1]) && rig.outcome(callers[1]).is_none());
    let (_, hold) = rig.store.data(0).reservation(id(2)).unwrap().unwrap();
    assert_eq!(hold.claim, Claim::Awaited);
    assert_eq!(rig.store.tickets(0).into_keys().collect::<Vec<_>>(), [id(3)]);
    assert_eq!(rig.store.depth(0, &Stream::Settle), 0);
}

/// The window is full: who wants a ticket has it all the same, and nothing but the outcome ends it.
#[test]
fn a_ticket_may_come_long_before_its_command() {
    let settings = LaneSettings { batch_max: 2, reserves_per_s: NonZeroU32::new(1), ..SETTINGS };
    let mut rig = SharedRig::new(2, settings);
    let mut owner = rig.owner(1);
    let came_at = rig.store.now();
    rig.reserve_all(1..=6);
    owner.turn().unwrap();
    let last = rig.reserve(7);
    owner.turn().unwrap();
    assert_eq!(owner.waiting(), 5, "the last one is not read");
    assert!(rig.ticket(id(7), last, came_at));
    owner.turn().unwrap();
    assert!(rig.is_ticketed(last));
    rig.advance(LEASE_MS);
    let mut owner = rig.owner(2);
    for waiting in (0..6).rev() {
        assert_eq!(rig.store.tickets(0).len(), 1, "{waiting} wait before it");
        pass_a_second();
        owner.turn().unwrap();
    }
    // Whoever has the ticket finds out.
    let (_, refused) = rig.store.data(0).reservation(id(7)).unwrap().unwrap();
    assert!(matches!(refused.state, ReservationState::SoldOut { .. }));
    assert!(rig.store.tickets(0).is_empty());
}

/// Both come in the same moment. The first is not the first in its stream; the repeat is, in the one
/// that its SKU has got meanwhile. What the first is told is not what the ticket is for.
#[test]
fn a_ticket_in_a_new_lane_outlasts_the_command_in_the_old_one() {
    let mut rig = SharedRig::new(5, LaneSettings { batch_max: 1, ..SETTINGS });
    let mut owner = rig.owner(1);
    owner.decider.limits.quantum_min = 1;
    let came_at = rig.store.now();
    rig.reserve(1);
    let first = rig.reserve(2);
    let terms = Terms { opens_at: Some(came_at.plus_ms(9)), ..Terms::default() };
    let item = HotItem { terms, ..HotItem::default() };
    rig.change_hot_item(&sku(), Some(item));
    owner.turn().unwrap();
    let repeat = rig.reserve(2);
    assert!(rig.ticket(id(2), repeat, came_at));
    owner.turn().unwrap();
    assert!(matches!(rig.outcome(first), Some(Outcome::Refused(Refusal::NotOpenYet { .. }))));
    assert!(rig.is_ticketed(repeat));
    rig.advance(LEASE_MS);
    let mut owner = rig.owner(2);
    for _ in 0..3 {
        owner.turn().unwrap();
    }
    let (_, hold) = rig.store.data(0).reservation(id(2)).unwrap().unwrap();
    assert!(matches!(hold.claim, Claim::Unclaimed { .. }), "{hold:?}");
    assert!(rig.store.tickets(0).is_empty());
}

/// Its command has lapsed, and is repeated while the turn that says so is on its way.
#[test]
fn a_ticket_for_a_repeat_outlasts_a_late_turn_that_ends_the_first() {
    let mut rig =
        SharedRig::new(5, LaneSettings { reserves_per_s: NonZeroU32::new(1), ..SETTINGS });
    let mut owner = rig.owner(1);
    rig.reserve(1);
    owner.turn().unwrap();
    let came_at = rig.store.now();
    let first = rig.reserve(2);
    assert!(rig.ticket(id(2), first, came_at));
    owner.turn().unwrap();
    assert!(rig.is_ticketed(first));
    rig.advance(WAIT_MS + SETTINGS.ticket_ttl_ms + 1);
    pass_a_second();
    rig.store.set_fault(Some(Fault::Late));
    owner.turn().unwrap_err();
    let came_at = rig.store.now();
    rig.reserve(3);
    let repeat = rig.reserve(2);
    assert!(rig.ticket(id(2), repeat, came_at));
    assert_eq!(rig.store.deliver(), (true, false));
    let mut owner = rig.owner(1);
    owner.turn().unwrap();
    assert!(rig.is_ticketed(repeat));
    assert_eq!(rig.store.tickets(0).len(), 1, "whoever asks for it finds it");
    pass_a_second();
    owner.turn().unwrap();
    assert!(rig.is_held(repeat));
    assert!(rig.store.tickets(0).is_empty());
}

/// There is no room for another hold, but a repeat is none. Both want tickets before anybody reads of it.
#[test]
fn a_repeat_of_what_waits_is_not_turned_away() {
    let settings = LaneSettings { holds_max: 1, reserves_per_s: NonZeroU32::new(1), ..SETTINGS };
    let mut rig = SharedRig::new(5, settings);
    let mut owner = rig.owner(1);
    let came_at = rig.store.now();
    let held = rig.reserve(1);
    let first = rig.reserve(2);
    owner.turn().unwrap();
    assert!(rig.is_held(held));
    let repeat = rig.reserve(2);
    assert!(rig.ticket(id(2), first, came_at) && rig.ticket(id(2), repeat, came_at));
    owner.turn().unwrap();
    assert!(rig.is_ticketed(first) && rig.is_ticketed(repeat));
    assert_eq!(rig.store.tickets(0).len(), 1);
    for _ in 0..2 {
        pass_a_second();
        owner.turn().unwrap();
    }
    assert!(rig.is_held(first) && rig.is_held(repeat));
    assert!(rig.store.tickets(0).is_empty());
}

#[test]
fn whoever_hangs_up_takes_nothing_unless_there_is_a_ticket() {
    let mut rig =
        SharedRig::new(5, LaneSettings { reserves_per_s: NonZeroU32::new(1), ..SETTINGS });
    let mut owner = rig.owner(1);
    let came_at = rig.store.now();
    let callers: Vec<_> = (1..=4).map(|number| rig.reserve(number)).collect();
    owner.turn().unwrap();
    rig.ticket(id(2), callers[1], came_at);
    rig.hang_up(id(2), callers[1]);
    rig.hang_up(id(3), callers[2]);
    rig.hang_up(id(4), callers[2]);
    for _ in 0..3 {
        pass_a_second();
        owner.turn().unwrap();
    }
    assert!(rig.is_held(callers[3]));
    assert_eq!((rig.outcome(callers[1]), rig.outcome(callers[2])), (None, None));
    let data = rig.store.data(0);
    assert!(data.reservation(id(2)).unwrap().is_some_and(|(_, hold)| hold.is_held()));
    assert_eq!((held(&rig), rig.store.depth(0, &Stream::Normal)), (3, 0));
}
