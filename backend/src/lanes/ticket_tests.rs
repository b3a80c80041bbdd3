//! Tickets and repeats: nobody loses a place, nobody gets two.

use cartgate_ledger::{Command, Fingerprint, Outcome, ReservationState, Terms, UnixMs};

use super::owner::Next;
use super::rig::{Rig, SETTINGS, STALLED, confirm, id, is_held, outcome, reserve, sku, ticket};
use super::{Answer, EnqueueError};
use crate::hot_items::HotItem;
use crate::store::Store;

/// An engine with two units, of which 1 holds one, and 2 waits with a ticket.
async fn with_a_ticket() -> Rig {
    let mut rig = Rig::new(2, STALLED);
    let [first, second] = [1, 2].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    assert!(is_held(first));
    assert_eq!(ticket(&mut rig, second).await, Ok(Answer::Ticket));
    rig
}

#[tokio::test]
async fn a_wait_that_ends_gives_a_ticket_that_survives() {
    let mut rig = Rig::new(2, STALLED);
    let first = rig.reserve(1).unwrap();
    let second = rig.reserve(2).unwrap();
    let third = rig.reserve(3).unwrap();
    let gone = rig.reserve(4).err();
    assert!(gone.is_some(), "the lane is full");
    rig.turns();
    assert!(is_held(first));
    // In the other order than they came: the lane's order counts.
    assert_eq!(ticket(&mut rig, third).await, Ok(Answer::Ticket));
    assert_eq!(ticket(&mut rig, second).await, Ok(Answer::Ticket));
    assert!(rig.store.ticketed(id(2)).unwrap().is_some());

    let mut rig = rig.crash(SETTINGS);
    rig.turns();
    assert!(matches!(rig.state(2), Some(ReservationState::Held { .. })));
    assert_eq!(rig.state(3), Some(ReservationState::SoldOut { available: 0 }));
    assert_eq!(rig.store.ticketed(id(2)).unwrap(), None, "decided in the same commit");
    assert_eq!(rig.store.ticketed(id(3)).unwrap(), None);
}

/// A client that repeats its order while it waits neither loses its place nor gets another.
#[tokio::test]
async fn a_repeat_joins_the_command_that_waits() {
    let mut rig = Rig::new(2, STALLED);
    let [first, second, third] = [1, 2, 3].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    assert!(is_held(first));
    assert_eq!(ticket(&mut rig, second).await, Ok(Answer::Ticket));
    assert_eq!(ticket(&mut rig, third).await, Ok(Answer::Ticket));
    let again = [rig.reserve(2).unwrap(), rig.reserve(2).unwrap()];
    let Command::Reserve(mut other) = reserve(2) else { unreachable!() };
    other.fingerprint = Fingerprint([99; 16]);
    let refused = rig.submit(&sku(), Command::Reserve(other)).err();
    assert_eq!(refused, Some(EnqueueError::KeyReused));
    for repeat in again {
        assert_eq!(ticket(&mut rig, repeat).await, Ok(Answer::Ticket));
    }
    let mut rig = rig.crash(SETTINGS);
    let waits_again = rig.reserve(2).unwrap();
    rig.turns();
    assert!(is_held(waits_again), "it came before the third");
    assert_eq!(rig.state(3), Some(ReservationState::SoldOut { available: 0 }));
    let journal = rig.store.journal(&sku(), 1, 9).unwrap();
    assert_eq!(journal.iter().map(|e| e.id).collect::<Vec<_>>(), [1, 2].map(|n| Some(id(n))));
}

#[tokio::test]
async fn a_ticket_given_anew_outlives_the_one_that_lapsed() {
    let rig = with_a_ticket().await;
    rig.set_time(1_000 + STALLED.ticket_ttl_ms + 1);
    let mut rig = rig.crash(SETTINGS);
    // The lapsed one is decided in the turn in which the repeat, just too late to join, comes.
    let repeat = rig.reserve(2).unwrap();
    let answer = ticket(&mut rig, repeat).await;
    assert!(matches!(answer, Ok(Answer::Outcome(Outcome::Held(_)))), "{answer:?}");
    assert!(matches!(rig.state(2), Some(ReservationState::Held { .. })));
}

#[tokio::test]
async fn a_ticket_asked_for_too_late_is_the_outcome() {
    let mut rig = Rig::new(1, SETTINGS);
    let waiter = rig.reserve(1).unwrap();
    let answer = ticket(&mut rig, waiter).await;
    assert!(matches!(answer, Ok(Answer::Outcome(Outcome::Held(_)))), "{answer:?}");
    assert_eq!(rig.store.ticketed(id(1)).unwrap(), None);
}

#[tokio::test]
async fn a_ticket_that_lapsed_takes_nothing() {
    let rig = with_a_ticket().await;
    rig.set_time(1_000 + STALLED.ticket_ttl_ms + 1);
    let mut rig = rig.crash(SETTINGS);
    rig.turns();
    assert_eq!(rig.state(2), None);
    assert_eq!(rig.store.ticketed(id(2)).unwrap(), None);
}

/// An engine in which 2 had a ticket, and was refused at 1,000: the sale begins at 1,500 by then.
async fn with_a_ticket_refused() -> Rig {
    let mut rig = with_a_ticket().await;
    let terms = Terms { opens_at: Some(UnixMs(1_500)), ..Terms::default() };
    let item = HotItem { terms, ..HotItem::default() };
    rig.change_hot_item(&sku(), Some(item));
    let mut rig = rig.crash(SETTINGS);
    rig.turns();
    let refused = ReservationState::NotOpenYet { opens_at: UnixMs(1_500) };
    assert_eq!(rig.state(2), Some(refused), "its holder can find out what became of it");
    assert_eq!(rig.store.ticketed(id(2)).unwrap(), None);
    rig
}

#[tokio::test]
async fn what_became_of_a_refused_ticket_is_kept_as_long_as_any_refusal() {
    let rig = with_a_ticket_refused().await;
    let mut rig = rig.crash(SETTINGS);
    rig.set_time(1_000 + SETTINGS.retention.refusals_ms - 1);
    rig.turns();
    assert!(rig.state(2).is_some());
    rig.set_time(1_000 + SETTINGS.retention.refusals_ms);
    rig.turns();
    assert_eq!(rig.state(2), None);
}

#[tokio::test]
async fn a_ticket_that_the_terms_refused_is_judged_anew() {
    let mut rig = with_a_ticket_refused().await;
    rig.set_time(1_500);
    let repeat = rig.reserve(2).unwrap();
    rig.turns();
    assert!(is_held(repeat));
    let sold = rig.settle(confirm(2));
    rig.turns();
    assert!(matches!(outcome(sold), Ok(Outcome::Settled(_))));
    // By then the refusal would have been forgotten: the sale is not forgotten with it.
    rig.set_time(1_000 + SETTINGS.retention.refusals_ms);
    rig.turns();
    assert!(matches!(rig.state(2), Some(ReservationState::Confirmed { .. })));
}

/// Whoever is told 202 last has all the time that a ticket gives, also after a crash.
#[tokio::test]
async fn a_repeat_that_gets_a_ticket_gets_all_of_its_time() {
    let mut rig = with_a_ticket().await;
    rig.set_time(1_000 + STALLED.ticket_ttl_ms - 1);
    let repeat = rig.reserve(2).unwrap();
    assert_eq!(ticket(&mut rig, repeat).await, Ok(Answer::Ticket));
    rig.set_time(1_000 + 2 * STALLED.ticket_ttl_ms - 1);
    let mut rig = rig.crash(SETTINGS);
    rig.turns();
    assert!(matches!(rig.state(2), Some(ReservationState::Held { .. })));
}

/// Else a lane under a flood would be busy with nothing but the past.
#[tokio::test]
async fn what_has_lapsed_costs_no_pace() {
    let rig = with_a_ticket().await;
    rig.set_time(1_000 + STALLED.ticket_ttl_ms + 1);
    let mut rig = rig.crash(STALLED);
    let third = rig.reserve(3).unwrap();
    rig.turns();
    assert!(is_held(third));
    assert_eq!(rig.state(2), None);
}

#[tokio::test]
async fn when_the_lanes_close_nothing_overtakes_a_ticket() {
    let mut rig = Rig::new(2, STALLED);
    let [first, second, third] = [1, 2, 3].map(|n| rig.reserve(n).unwrap());
    rig.turns();
    assert!(is_held(first));
    assert_eq!(ticket(&mut rig, second).await, Ok(Answer::Ticket));
    rig.shared.close();
    assert_eq!(rig.owner.turn().unwrap(), Next::Stop);
    assert_eq!(outcome(third), Err(EnqueueError::Stopped));
    let mut rig = rig.crash(SETTINGS);
    rig.turns();
    assert!(matches!(rig.state(2), Some(ReservationState::Held { .. })));
}
