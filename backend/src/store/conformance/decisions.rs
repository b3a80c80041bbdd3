//! What became of commands: kept, ended, forgotten, taken anew.

use std::num::NonZeroU32;

use cartgate_ledger::{
    Adjustment, Claim, Counters, Fingerprint, Reservation, ReservationState, UnixMs,
};

use super::{all_ended, check, confirmed, entries, held, id, nudge, sale, sku};
use crate::store::{Commit, Ended, EndedKind, StockRow};

#[test]
fn an_ended_hold_is_not_loaded_and_can_be_forgotten() {
    let ended_state = ReservationState::Expired { expires_at: UnixMs(1_000) };
    let ended = |at, number| Ended { kind: EndedKind::Hold, at: UnixMs(at), id: id(number) };
    let mut end = sale("A");
    for (_, reservation) in &mut end.reservations {
        reservation.state = ended_state;
    }
    end.skus[0].entries = entries(5, 1);
    end.skus[0].row =
        StockRow { counters: end.skus[0].entries[0].after, version: 1, now: UnixMs(9) };
    // Later in time but earlier in id, and the other way round.
    end.ended = vec![ended(300, 2), ended(20, 3)];
    check(&[end.clone()], |store| {
        assert_eq!(store.load().unwrap().holds, []);
        let holds = |from, until, limit| {
            store.ended(EndedKind::Hold, UnixMs(from), UnixMs(until), limit).unwrap()
        };
        assert_eq!(holds(0, 300, 9), [ended(20, 3), ended(300, 2)]);
        assert_eq!(holds(0, 300, 1), [ended(20, 3)]);
        assert_eq!(holds(21, 300, 9), [ended(300, 2)]);
        assert_eq!(holds(20, 299, 9), [ended(20, 3)]);
        assert_eq!(holds(301, 300, 9), []);
        let all = UnixMs(u64::MAX);
        assert_eq!(store.ended(EndedKind::Refusal, UnixMs(0), all, 9).unwrap(), []);
    });
    let forget = Commit { forgotten: vec![ended(20, 3)], ..Commit::default() };
    check(&[end, forget], |store| {
        assert_eq!(store.reservation(id(3)).unwrap(), None);
        assert!(store.reservation(id(2)).unwrap().is_some());
        let all = UnixMs(u64::MAX);
        assert_eq!(store.ended(EndedKind::Hold, UnixMs(0), all, 9).unwrap(), [ended(300, 2)]);
    });
}

#[test]
fn every_state_comes_back_as_it_was() {
    let expires_at = UnixMs(1_000);
    let states = [
        ReservationState::Held { expires_at },
        ReservationState::Confirmed { expires_at, quantity: u32::MAX },
        ReservationState::Released { expires_at: UnixMs(u64::MAX) },
        ReservationState::Expired { expires_at: UnixMs(0) },
        ReservationState::SoldOut { available: u64::MAX },
        ReservationState::OverCap { cap: NonZeroU32::MAX, committed: 7 },
        ReservationState::UnknownSku,
        ReservationState::NotOpenYet { opens_at: UnixMs(u64::MAX) },
        ReservationState::Closed { closed_at: UnixMs(0) },
        ReservationState::CustomerRequired,
    ];
    let claims =
        [Claim::Awaited, Claim::Unclaimed { until: UnixMs(3) }, Claim::Claimed, Claim::Forgone];
    let customers = [None, Some("".into()), Some("c".into()), Some("\u{e4} b".repeat(63).into())];
    let mut all = Vec::new();
    for (state, (claim, customer)) in states
        .into_iter()
        .flat_map(|state| claims.into_iter().zip(&customers).map(move |c| (state, c)))
    {
        let number = u8::try_from(all.len()).unwrap();
        let customer = customer.clone();
        let (decided_at, since) = (UnixMs(u64::from(number) << 50), UnixMs(5));
        let (quantity, attempt) = (u32::MAX, u32::from(number) << 20);
        let reservation = Reservation {
            customer,
            quantity,
            decided_at,
            since,
            attempt,
            claim,
            state,
            ..held(number)
        };
        all.push((sku("A-1"), reservation));
    }
    let commit = Commit { reservations: all.clone(), ..Commit::default() };
    check(&[commit, nudge()], |store| {
        for (sku, reservation) in &all {
            let id = reservation.id;
            let (found_sku, found) = store.reservation(id).unwrap().unwrap();
            assert_eq!((&found_sku, &found), (sku, reservation));
            let ended = (!reservation.is_held()).then_some(found);
            assert_eq!(store.ended_reservation(id).unwrap(), ended);
        }
        assert_eq!(store.ended_reservation(id(99)).unwrap(), None);
    });
}

#[test]
fn an_adjustment_is_kept_until_it_is_forgotten() {
    let counters = Counters { available: 3, held: 2, confirmed: 1 };
    let adjustment = |number: u8| Adjustment {
        id: id(number),
        fingerprint: Fingerprint([number; 16]),
        decided_at: UnixMs(number.into()),
        version: 9,
        counters,
    };
    let ended = |number: u8| {
        let (kind, at) = (EndedKind::Adjustment, UnixMs(number.into()));
        Ended { kind, at, id: id(number) }
    };
    let adjust = Commit {
        adjustments: vec![(sku("A"), adjustment(1)), (sku("B"), adjustment(2))],
        ended: vec![ended(1), ended(2)],
        ..Commit::default()
    };
    let forget = Commit { forgotten: vec![ended(1)], ..Commit::default() };
    check(&[adjust, sale("A"), forget, nudge()], |store| {
        assert_eq!(store.adjustment(id(1)).unwrap(), None);
        assert_eq!(store.adjustment(id(2)).unwrap(), Some(adjustment(2)));
        assert_eq!(store.reservation(id(2)).unwrap(), Some((sku("A"), held(2))), "ids are apart");
        assert_eq!(all_ended(store, EndedKind::Adjustment), [ended(2)]);
        assert_eq!(all_ended(store, EndedKind::Hold), []);
    });
}

/// A hold that nobody claimed is taken anew under its id, and ends again.
#[test]
fn a_forgone_hold_can_be_held_again() {
    let end = |at| Ended { kind: EndedKind::Hold, at: UnixMs(at), id: id(2) };
    let state = ReservationState::Expired { expires_at: UnixMs(1_000) };
    let forgone = |at| Reservation { state, claim: Claim::Forgone, since: UnixMs(at), ..held(2) };
    let step = |reservation: Reservation, superseded: &[u64], ended: &[u64]| Commit {
        reservations: vec![(sku("A"), reservation)],
        superseded: superseded.iter().copied().map(end).collect(),
        ended: ended.iter().copied().map(end).collect(),
        ..Commit::default()
    };
    let first = step(forgone(500), &[], &[500]);
    let again = step(held(2), &[500], &[]);
    check(std::slice::from_ref(&first), |store| {
        assert_eq!(store.ended_reservation(id(2)).unwrap(), Some(forgone(500)));
        assert_eq!(all_ended(store, EndedKind::Hold), [end(500)]);
    });
    check(&[first.clone(), again.clone(), nudge()], |store| {
        assert_eq!(store.reservation(id(2)).unwrap(), Some((sku("A"), held(2))));
        assert_eq!(store.ended_reservation(id(2)).unwrap(), None);
        assert_eq!(all_ended(store, EndedKind::Hold), []);
    });
    // Judged anew, taken and gone within the millisecond in which it ended before.
    let at_once = step(forgone(500), &[500], &[500]);
    check(&[first.clone(), at_once], |store| {
        assert_eq!(all_ended(store, EndedKind::Hold), [end(500)]);
    });
    let ended_again = step(forgone(700), &[], &[700]);
    let forget = Commit { forgotten: vec![end(700)], ..Commit::default() };
    check(&[first.clone(), again.clone(), ended_again.clone()], |store| {
        assert_eq!(store.reservation(id(2)).unwrap(), Some((sku("A"), forgone(700))));
        assert_eq!(all_ended(store, EndedKind::Hold), [end(700)]);
        assert_eq!(store.load().unwrap().holds, []);
    });
    check(&[first, again, ended_again, forget, nudge()], |store| {
        assert_eq!(store.reservation(id(2)).unwrap(), None);
        assert_eq!(store.ended_reservation(id(2)).unwrap(), None);
        assert_eq!(all_ended(store, EndedKind::Hold), []);
    });
}

/// A hold that is forgotten in the commit in which it is taken anew is held.
#[test]
fn what_is_held_again_is_not_forgotten() {
    let end = Ended { kind: EndedKind::Hold, at: UnixMs(900), id: id(2) };
    let first = Commit {
        reservations: vec![(sku("A"), confirmed(2))],
        ended: vec![end],
        ..Commit::default()
    };
    let again = Commit {
        reservations: vec![(sku("A"), held(2))],
        superseded: vec![end],
        forgotten: vec![end],
        ..Commit::default()
    };
    check(&[first, again], |store| {
        assert_eq!(store.reservation(id(2)).unwrap(), Some((sku("A"), held(2))));
    });
}
