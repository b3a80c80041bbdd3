//! What every store must do. Each case runs on a store of its own, and looks at it twice: as it
//! is, and as it is after it was closed and opened again. Another kind of store passes by being
//! opened in [`open`] as well.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, Ordering};

use cartgate_ledger::{
    Cause, CommandId, Counters, Fingerprint, JournalEntry, Reservation, ReservationState, Reserve,
    UnixMs,
};
use cartgate_policy::Sku;
use tempfile::TempDir;

use super::{Commit, Embedded, Ended, EndedKind, SkuCommit, StockRow, Store, StoreError, Ticketed};

const BUCKETS: u16 = 4;

fn open(directory: &TempDir) -> Box<dyn Store> {
    Box::new(Embedded::open(directory.path(), BUCKETS).unwrap())
}

/// Writes `commits`, then looks, closes, opens, looks again.
fn check(commits: &[Commit], look: impl Fn(&dyn Store)) {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    for commit in commits {
        store.commit(commit).unwrap();
    }
    look(&*store);
    drop(store);
    look(&*open(&directory));
}

fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

fn id(number: u8) -> CommandId {
    CommandId([number; 16])
}

/// The journal of `units` set, then one reserved at each version after the first.
fn entries(units: u64, up_to_version: u64) -> Vec<JournalEntry> {
    let mut counters = Counters::default();
    let mut entry = |version| {
        let (cause, quantity) =
            if version == 1 { (Cause::Set, units) } else { (Cause::Reserve, 1) };
        let before = counters;
        counters = cause.move_units(before, quantity).unwrap();
        let id = (version > 1).then_some(id(u8::try_from(version).unwrap()));
        JournalEntry { version, at: UnixMs(version), cause, id, quantity, before, after: counters }
    };
    (1..=up_to_version).map(&mut entry).collect()
}

fn held(number: u8) -> Reservation {
    Reservation {
        id: id(number),
        fingerprint: Fingerprint([number; 16]),
        customer: Some("c".into()),
        quantity: 1,
        decided_at: UnixMs(number.into()),
        state: ReservationState::Held { expires_at: UnixMs(1_000) },
    }
}

/// Five units of `text` set, two of them held by 2 and 3.
fn sale(text: &str) -> Commit {
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
    let directories = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let secret = |directory: &TempDir| open(directory).secret();
    assert_eq!(secret(&directories[0]), secret(&directories[0]));
    assert_ne!(secret(&directories[0]), secret(&directories[1]));
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
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let end = |number| {
        let state = ReservationState::Confirmed { expires_at: UnixMs(1_000) };
        let reservation = Reservation { state, ..held(number) };
        Commit { reservations: vec![(sku("A"), reservation)], ..Commit::default() }
    };
    for number in 1..=200 {
        let hold = Commit { reservations: vec![(sku("A"), held(number))], ..Commit::default() };
        store.commit(&hold).unwrap();
    }
    let current = AtomicU8::new(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=200 {
                current.store(number, Ordering::SeqCst);
                store.commit(&end(number)).unwrap();
            }
            current.store(0, Ordering::SeqCst);
        });
        loop {
            let number = current.load(Ordering::SeqCst);
            if number == 0 {
                break;
            }
            assert!(store.reservation(id(number)).unwrap().is_some(), "{number}");
        }
    });
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
    drop(open(&directory));
    let error = Embedded::open(directory.path(), 8).err().unwrap();
    assert!(matches!(error, StoreError::BucketsDiffer { stored: 4, configured: 8 }), "{error}");
}

/// A store that contradicts itself is not served from.
#[test]
fn loading_finds_what_does_not_agree() {
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
    let no_agreement = "does not agree with its journal";
    check_broken(no_agreement, |commit| commit.skus[0].entries.truncate(2));
    check_broken(no_agreement, |commit| commit.skus[0].row.version = 2);
    check_broken(no_agreement, |commit| commit.skus[0].row.counters.available += 1);
    check_broken(no_agreement, |commit| commit.skus[0].entries[2].before.available += 1);
}
