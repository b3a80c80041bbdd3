//! What every store must do. Each case runs on stores of its own, one of each of [`KINDS`], and looks
//! at each twice: as it is, and as it is after it was closed and opened again. Another kind of store
//! passes by being one of them.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use cartgate_ledger::{
    Adjustment, Cause, Claim, CommandId, Counters, Fingerprint, JournalEntry, Purchase, Reservation,
    ReservationState, Reserve, Terms, UnixMs,
};
use cartgate_policy::Sku;
use tempfile::TempDir;

use super::{Commit, Durability, Embedded, Ended, EndedKind, SkuCommit, StockRow, Store, StoreError, Ticketed};

use crate::hot_items::HotItem;

pub(super) const BUCKETS: u16 = 4;

type Open = fn(&TempDir) -> Box<dyn Store>;

/// The embedded store, and the same with all but the last commit in its tables.
const KINDS: [Open; 2] = [
    |directory| Box::new(Embedded::open(directory.path(), BUCKETS, Durability::Process).unwrap()),
    |directory| Box::new(Embedded::open_projecting(directory.path(), BUCKETS).unwrap()),
];

/// Writes `commits`, then looks, closes, opens, looks again.
fn check(commits: &[Commit], look: impl Fn(&dyn Store)) {
    for open in KINDS {
        let directory = TempDir::new().unwrap();
        let store = open(&directory);
        for commit in commits {
            store.commit(commit).unwrap();
        }
        look(&*store);
        drop(store);
        look(&*open(&directory));
    }
}

pub(super) fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

pub(super) fn id(number: u8) -> CommandId {
    CommandId([number; 16])
}

/// The journal of `units` set, then one reserved at each version after the first.
pub(super) fn entries(units: u64, up_to_version: u64) -> Vec<JournalEntry> {
    let mut counters = Counters::default();
    let mut entry = |version| {
        let (cause, quantity) =
            if version == 1 { (Cause::Set, units as i64) } else { (Cause::Reserve, 1) };
        let before = counters;
        counters = cause.move_units(before, quantity).unwrap();
        let id = (version > 1).then_some(id(u8::try_from(version).unwrap()));
        JournalEntry { version, at: UnixMs(version), cause, id, quantity, before, after: counters }
    };
    (1..=up_to_version).map(&mut entry).collect()
}

pub(super) fn held(number: u8) -> Reservation {
    Reservation {
        id: id(number),
        fingerprint: Fingerprint([number; 16]),
        customer: Some("c".into()),
        quantity: 1,
        decided_at: UnixMs(number.into()),
        since: UnixMs(number.into()),
        attempt: 1,
        claim: Claim::Awaited,
        state: ReservationState::Held { expires_at: UnixMs(1_000) },
    }
}

/// Changes nothing, and makes a store that puts off its work get on with it.
fn nudge() -> Commit {
    Commit { unticketed: vec![id(99)], ..Commit::default() }
}

/// Five units of `text` set, two of them held by 2 and 3.
pub(super) fn sale(text: &str) -> Commit {
    let entries = entries(5, 3);
    let counters = entries[2].after;
    let row = StockRow { counters, version: 3, now: UnixMs(3) };
    Commit {
        skus: vec![SkuCommit { sku: sku(text), row, entries }],
        reservations: vec![(sku(text), held(2)), (sku(text), held(3))],
        ..Commit::default()
    }
}

#[test]
fn an_empty_store_has_nothing() {
    check(&[], |store| {
        assert_eq!(store.buckets(), BUCKETS);
        let loaded = store.load().unwrap();
        assert_eq!((loaded.stocks.len(), loaded.holds.len()), (0, 0));
        assert_eq!(store.stock(&sku("A")).unwrap(), None);
        assert_eq!(store.reservation(id(1)).unwrap(), None);
        assert_eq!(store.ticketed(id(1)).unwrap(), None);
        assert_eq!(store.journal(&sku("A"), 0, 9).unwrap(), []);
    });
}

#[test]
fn what_was_committed_is_there() {
    check(&[sale("A")], |store| {
        let expected = sale("A");
        assert_eq!(store.stock(&sku("A")).unwrap(), Some(expected.skus[0].row));
        assert_eq!(store.journal(&sku("A"), 0, 9).unwrap(), expected.skus[0].entries);
        assert_eq!(store.reservation(id(2)).unwrap(), Some((sku("A"), held(2))));
        let loaded = store.load().unwrap();
        assert_eq!(loaded.stocks, [(sku("A"), expected.skus[0].row)]);
        assert_eq!(loaded.holds, expected.reservations);
    });
}

#[test]
fn the_secret_stays_and_is_not_another_stores() {
    for open in KINDS {
        let directories = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let secret = |directory: &TempDir| open(directory).secret();
        assert_eq!(secret(&directories[0]), secret(&directories[0]));
        assert_ne!(secret(&directories[0]), secret(&directories[1]));
    }
}

#[test]
fn a_journal_is_read_in_pages_and_apart_from_others() {
    // "A-" sorts between "A" and all of its entries, were it not for the 0 byte between.
    check(&[sale("A"), sale("A-"), sale("AB")], |store| {
        let versions = |after, limit| {
            let entries = store.journal(&sku("A"), after, limit).unwrap();
            entries.iter().map(|entry| entry.version).collect::<Vec<_>>()
        };
        assert_eq!(versions(0, 2), [1, 2]);
        assert_eq!(versions(2, 2), [3]);
        assert_eq!(versions(3, 2), [0; 0]);
        assert_eq!(versions(u64::MAX, 2), [0; 0]);
    });
}

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

/// Whoever asks while a hold ends finds it before or after, never in between.
#[test]
fn a_reservation_is_there_while_it_ends() {
    const COUNT: u8 = 100;
    for open in KINDS {
        let directory = TempDir::new().unwrap();
        let store = open(&directory);
        let holds = (1..=COUNT).map(|number| (sku("A"), held(number))).collect();
        store.commit(&Commit { reservations: holds, ..Commit::default() }).unwrap();
        let current = AtomicU8::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=COUNT {
                    current.store(number, Ordering::SeqCst);
                    let end = (sku("A"), confirmed(number));
                    store.commit(&Commit { reservations: vec![end], ..Commit::default() }).unwrap();
                }
                current.store(0, Ordering::SeqCst);
            });
            loop {
                let number = current.load(Ordering::SeqCst);
                if number == 0 {
                    break;
                }
                // The one that ends now, and those that are brought into tables meanwhile.
                for number in [number, number.saturating_sub(1).max(1), number / 2 + 1] {
                    assert!(store.reservation(id(number)).unwrap().is_some(), "{number}");
                }
            }
        });
    }
}

#[test]
fn tickets_come_back_in_order() {
    let ticketed = |seq, number| Ticketed {
        seq,
        sku: sku("A"),
        reserve: Reserve {
            id: id(number),
            fingerprint: Fingerprint([number; 16]),
            repeatable: true,
            customer: None,
            quantity: NonZeroU32::MIN,
            hold_ms: 1,
            claim_by: UnixMs(7),
            attempt: 1,
            is_tentative: false,
        },
        request_id: "r".into(),
        enqueued_at: UnixMs(5),
    };
    let give = Commit {
        ticketed: vec![ticketed(300, 1), ticketed(20, 2), ticketed(21, 3)],
        ..Commit::default()
    };
    let decide = Commit { unticketed: vec![id(2)], ..Commit::default() };
    check(&[give, decide], |store| {
        assert_eq!(store.load().unwrap().ticketed, [ticketed(21, 3), ticketed(300, 1)]);
        assert_eq!(store.ticketed(id(3)).unwrap(), Some(ticketed(21, 3)));
        assert_eq!(store.ticketed(id(2)).unwrap(), None);
    });
}

#[test]
fn another_number_of_buckets_is_refused() {
    let directory = TempDir::new().unwrap();
    drop(KINDS[0](&directory));
    let error = Embedded::open(directory.path(), 8, Durability::Process).err().unwrap();
    assert!(matches!(error, StoreError::BucketsDiffer { stored: 4, configured: 8 }), "{error}");
}

/// A store that contradicts itself is not served from.
#[test]
fn loading_finds_holds_that_do_not_agree() {
    fn check_broken(expected: &str, break_it: impl Fn(&mut Commit)) {
        let mut broken = sale("A");
        break_it(&mut broken);
        check(&[broken], |store| {
            let message = store.load().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        });
    }
    check_broken("its holds have 1", |commit| commit.reservations.truncate(1));
    check_broken("its holds have 1", |commit| commit.reservations.push((sku("B"), held(4))));
}

/// What would be missing, or would not add up, in a journal is not written.
#[test]
fn a_commit_that_does_not_go_on_where_the_journal_ends_is_refused() {
    fn check_refused(first: &[Commit], break_it: impl Fn(&mut SkuCommit)) {
        for open in KINDS {
            let directory = TempDir::new().unwrap();
            let store = open(&directory);
            first.iter().for_each(|commit| store.commit(commit).unwrap());
            let mut broken = sale("A");
            break_it(&mut broken.skus[0]);
            let error = store.commit(&broken).unwrap_err();
            assert!(matches!(error, StoreError::Journal { .. }), "{error}");
            let error = store.commit(&sale("B")).unwrap_err();
            assert!(matches!(error, StoreError::Database { .. }), "failed is failed: {error}");
            drop(store);
            let stock = open(&directory).stock(&sku("A")).unwrap();
            assert_eq!(stock, first.first().map(|commit| commit.skus[0].row));
        }
    }
    check_refused(&[], |commit| commit.entries.truncate(2));
    check_refused(&[], |commit| commit.entries.clear());
    check_refused(&[], |commit| _ = commit.entries.remove(1));
    check_refused(&[], |commit| commit.row.version = 2);
    check_refused(&[], |commit| commit.row.counters.available += 1);
    check_refused(&[], |commit| commit.entries[2].before.available += 1);
    check_refused(&[], |commit| commit.entries[2].quantity = 2);
    check_refused(&[sale("A")], |_| {});
}

fn confirmed(number: u8) -> Reservation {
    let state = ReservationState::Confirmed { expires_at: UnixMs(1_000), quantity: 1 };
    Reservation { state, claim: Claim::Claimed, since: UnixMs(900), ..held(number) }
}

fn all_ended(store: &dyn Store, kind: EndedKind) -> Vec<Ended> {
    store.ended(kind, UnixMs(0), UnixMs(u64::MAX), 99).unwrap()
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
    ];
    let claims =
        [Claim::Awaited, Claim::Unclaimed { until: UnixMs(3) }, Claim::Claimed, Claim::Forgone];
    let customers = [None, Some("".into()), Some("c".into()), Some("\u{e4} b".repeat(63).into())];
    let mut all = Vec::new();
    for (state, (claim, customer)) in
        states.into_iter().flat_map(|state| claims.into_iter().zip(&customers).map(move |c| (state, c)))
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

#[test]
fn purchases_are_summed_by_customer() {
    let purchase = |text, customer: &str, version, units| {
        (sku(text), Purchase { customer: customer.into(), version, units })
    };
    let long = "\u{e4}".repeat(127);
    let first = Commit {
        purchases: vec![
            purchase("A", "ann", 1, 2),
            purchase("A", "ann b", 2, u32::MAX),
            purchase("A", "", 3, 1),
            purchase("A", &long, 4, 1),
            // Sorts among those of A, but for the 0 byte between.
            purchase("A-", "ann", 5, 1),
        ],
        ..Commit::default()
    };
    let second = Commit {
        purchases: vec![purchase("A", "ann", 6, 3), purchase("A", "an", 7, 1)],
        ..Commit::default()
    };
    check(&[first, second, nudge()], |store| {
        let mut of_a = store.purchases(&sku("A")).unwrap();
        of_a.sort();
        let of_a: Vec<(&str, u64)> = of_a.iter().map(|(name, units)| (&**name, *units)).collect();
        let ann_b = u64::from(u32::MAX);
        assert_eq!(of_a, [("", 1), ("an", 1), ("ann", 5), ("ann b", ann_b), (&*long, 1)]);
        assert_eq!(store.purchases(&sku("A-")).unwrap(), [("ann".into(), 1)]);
        assert_eq!(store.purchases(&sku("B")).unwrap(), []);
    });
}

#[test]
fn hot_items_come_back_until_they_are_removed() {
    let hot_item = |number: u32| HotItem {
        reserves_per_s: NonZeroU32::new(number),
        terms: Terms {
            customer_cap: NonZeroU32::new(2),
            opens_at: Some(UnixMs(5)),
            closes_at: None,
        },
        since: UnixMs(1),
        changed_at: UnixMs(number.into()),
    };
    let register = |items: &[(&str, Option<u32>)]| {
        let item = |(text, number): &(&str, Option<u32>)| (sku(text), number.map(hot_item));
        Commit { hot_items: items.iter().map(item).collect(), ..Commit::default() }
    };
    let commits = [
        register(&[("A", Some(0)), ("B", Some(1)), ("C", Some(2))]),
        register(&[("B", None), ("C", Some(3))]),
        register(&[("D", Some(4)), ("E", None)]),
    ];
    check(&commits, |store| {
        let expected =
            [("A", 0), ("C", 3), ("D", 4)].map(|(text, number)| (sku(text), hot_item(number)));
        assert_eq!(store.load().unwrap().hot_items, expected);
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
    check(&[first.clone()], |store| {
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

#[test]
fn a_journal_is_paged_across_commits_of_any_size() {
    let all = long_journal(1_700);
    let mut from = 0;
    let commits: Vec<Commit> = [1, 1, 600, 3, 1_024, 71]
        .map(|len| {
            let entries = all[from..from + len].to_vec();
            from += len;
            let last = entries.last().unwrap();
            let row = StockRow { counters: last.after, version: last.version, now: last.at };
            let skus = vec![SkuCommit { sku: sku("A"), row, entries }];
            Commit { skus, ..Commit::default() }
        })
        .into();
    check(&commits, |store| {
        for limit in [1, 7, 511, 512, 513, 5_000] {
            for after in [0, 1, 2, 3, 511, 512, 513, 602, 1_113, 1_114, 1_628, 1_699, 1_700, 1_701] {
                let page = store.journal(&sku("A"), after, limit).unwrap();
                let expected = all.iter().filter(|entry| entry.version > after).take(limit);
                assert!(page.iter().eq(expected), "{limit} after {after}");
            }
        }
        assert_eq!(store.journal(&sku("A"), 0, 0).unwrap(), []);
    });
}

/// Every cause, times that stand still and leap.
fn long_journal(len: u64) -> Vec<JournalEntry> {
    let mut before = Counters::default();
    let entry = |version: u64| {
        let (cause, quantity) = match version % 10 {
            1 => (Cause::Set, 5_000 + i64::try_from(version).unwrap()),
            2 | 4 | 6 | 9 => (Cause::Reserve, 2),
            3 => (Cause::Confirm, 2),
            5 => (Cause::Release, 2),
            7 => (Cause::Expire, 1),
            8 => (Cause::Cancel, 1),
            _ => (Cause::Adjust, -3),
        };
        let after = cause.move_units(before, quantity).unwrap();
        let id = (cause != Cause::Set).then_some(CommandId(u128::from(version).to_be_bytes()));
        let at = UnixMs(version / 7 * 1_000_000);
        let entry = JournalEntry { version, at, cause, id, quantity, before, after };
        before = after;
        entry
    };
    (1..=len).map(entry).collect()
}

/// A commit is seen as a whole, wherever it is by then.
#[test]
fn readers_see_whole_commits() {
    const COUNT: u64 = 150;
    let all = long_journal(2 * COUNT);
    for open in KINDS {
        let directory = TempDir::new().unwrap();
        let store = open(&directory);
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for entries in all.chunks(2) {
                    let (row, number) = (row_after(&entries[1]), entries[1].version / 2);
                    let skus = vec![SkuCommit { sku: sku("A"), row, entries: entries.to_vec() }];
                    let number = u8::try_from(number).unwrap();
                    let (customer, id) = ("c".into(), id(number));
                    let purchases = vec![(sku("A"), Purchase { customer, version: number.into(), units: 1 })];
                    let at = UnixMs(number.into());
                    let ended = vec![Ended { kind: EndedKind::Hold, at, id }];
                    let commit = Commit { skus, purchases, ended, ..Commit::default() };
                    store.commit(&commit).unwrap();
                }
                is_done.store(true, Ordering::SeqCst);
            });
            while !is_done.load(Ordering::SeqCst) {
                let Some(row) = store.stock(&sku("A")).unwrap() else { continue };
                let journal = store.journal(&sku("A"), 0, usize::MAX).unwrap();
                let seen = journal.len();
                assert!(journal == all[..seen] && seen as u64 >= row.version && seen % 2 == 0);
                let bought = store.purchases(&sku("A")).unwrap()[0].1;
                assert!(bought >= row.version / 2);
                let until = UnixMs(u64::MAX);
                let ended = store.ended(EndedKind::Hold, UnixMs(0), until, 999).unwrap();
                assert!(ended.len() as u64 >= bought);
            }
        });
    }
}

fn row_after(last: &JournalEntry) -> StockRow {
    StockRow { counters: last.after, version: last.version, now: last.at }
}
