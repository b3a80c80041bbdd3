//! What is pinned is what there was after one commit, whatever is committed meanwhile; and a store
//! that is made of it goes on from there.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use cartgate_ledger::{Cause, Counters, JournalEntry, Reservation, ReservationState, UnixMs};
use tempfile::TempDir;

use super::super::examine::{Obstacle, examine};
use super::super::restore::Restoring;
use super::super::tables::{self, RUNS_MERGED, Tables};
use super::super::{Embedded, FORMAT, Pinned};
use super::projector::{check_all, commits, open, wait_until};
use crate::store::conformance::{BUCKETS, held, id, sale, sku};
use crate::store::encoding::encode;
use crate::store::{
    Commit, Durability, Ended, EndedKind, SkuCommit, StockRow, Store as _, StoreError,
};

/// Makes a store of what is pinned.
fn restored(pinned: &Pinned) -> TempDir {
    let directory = TempDir::new().unwrap();
    let restoring = Restoring::begin(directory.path(), pinned.format()).unwrap();
    for (name, rows) in pinned.tables() {
        let rows = rows.map(|row| row.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec()));
        assert!(restoring.write(name, rows).unwrap(), "{name}");
    }
    restoring.finish().unwrap();
    directory
}

fn pin(store: &Embedded) -> Pinned {
    store.pin().unwrap().unwrap()
}

#[test]
fn no_table_is_left_out() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    assert_eq!(store.shared.tables.all().len(), store.shared.tables.count());
}

#[test]
fn a_store_without_commits_is_pinned_as_it_is() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let pinned = pin(&store);
    assert_eq!(pinned.commit(), 0);
    let other = restored(&pinned);
    let other = Embedded::open(other.path(), BUCKETS, Durability::Disk).unwrap();
    assert_eq!(other.secret(), store.secret());
    assert_eq!(other.load().unwrap().stocks, []);
}

#[test]
fn what_is_pinned_is_a_beginning_of_what_is_committed() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let commits = commits();
    let committed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for commit in &commits {
                store.commit(commit).unwrap();
                committed.fetch_add(1, Ordering::Release);
            }
        });
        let mut last = 0;
        while last < commits.len() {
            let before = committed.load(Ordering::Acquire);
            let pinned = pin(&store);
            let count = usize::try_from(pinned.commit()).unwrap();
            // One that is durable may not be counted yet.
            let after = committed.load(Ordering::Acquire) + 1;
            assert!((before..=after).contains(&count), "{before} <= {count} <= {after}");
            go_on(restored(&pinned).path(), &commits, count);
            last = before;
        }
    });
    check_all(&store, &commits);
}

/// A store with the first of these commits takes the others.
fn go_on(directory: &Path, commits: &[Commit], count: usize) {
    let store = open(directory);
    check_all(&store, &commits[..count]);
    for commit in &commits[count..] {
        store.commit(commit).unwrap();
    }
    check_all(&store, commits);
    drop(store);
    check_all(&open(directory), commits);
}

/// What is pinned stays as it was, although all of it is written over, taken away and merged meanwhile.
#[test]
fn what_is_pinned_stays() {
    let directory = TempDir::new().unwrap();
    let store = Embedded::open_projecting(directory.path(), BUCKETS).unwrap();
    for number in 0..32 {
        store.commit(&turn(number)).unwrap();
    }
    let pinned = pin(&store);
    let expected = look(&store);
    for number in 32..232 {
        store.commit(&turn(number)).unwrap();
    }
    // They are all in the tables then, each in a run of its own.
    assert_eq!(pin(&store).commit(), 232);
    let Tables { stock, journal, held, ended, ended_at, .. } = &store.shared.tables;
    for table in [stock, journal, held, ended, ended_at] {
        let is_merged = || table.l0_table_count() < usize::from(RUNS_MERGED);
        wait_until("runs to be merged", is_merged);
    }
    assert_eq!(pinned.commit(), 32);
    let restored = restored(&pinned);
    assert_eq!(look(&Embedded::open_projecting(restored.path(), BUCKETS).unwrap()), expected);
    assert_ne!(look(&store), expected);
}

const TURNING: [&str; 3] = ["A", "B", "C"];

/// SKU after SKU, again and again: its units are set; then one is held and goes back, and the same hold is
/// taken anew.
fn turn(number: usize) -> Commit {
    let (item, step) = (number % TURNING.len(), (number / TURNING.len()) as u64);
    let (sku, at) = (sku(TURNING[item]), UnixMs(step));
    let counters = |held| Counters { available: 5 - held, held, confirmed: 0 };
    let (cause, quantity, before, after) = match (step, step % 2) {
        (0, _) => (Cause::Set, 5, Counters::default(), counters(0)),
        (_, 1) => (Cause::Reserve, 1, counters(0), counters(1)),
        _ => (Cause::Release, 1, counters(1), counters(0)),
    };
    let mut hold = Reservation { since: at, ..held(u8::try_from(item).unwrap()) };
    let id = (step > 0).then_some(hold.id);
    let end = |at| Ended { kind: EndedKind::Hold, at, id: hold.id };
    let (ended, superseded) = match cause {
        Cause::Release => (vec![end(at)], vec![]),
        Cause::Reserve if step > 1 => (vec![], vec![end(UnixMs(step - 1))]),
        _ => (vec![], vec![]),
    };
    if cause == Cause::Release {
        hold.state = ReservationState::Released { expires_at: UnixMs(1_000) };
    }
    let version = step + 1;
    let entry = JournalEntry { version, at, cause, id, quantity, before, after };
    let row = StockRow { counters: after, version, now: at };
    Commit {
        skus: vec![SkuCommit { sku: sku.clone(), row, entries: vec![entry] }],
        reservations: id.map(|_| (sku, hold)).into_iter().collect(),
        ended,
        superseded,
        ..Commit::default()
    }
}

/// All that a store has after such turns.
fn look(store: &Embedded) -> String {
    let mut loaded = store.load().unwrap();
    loaded.stocks.sort_by(|one, other| one.0.cmp(&other.0));
    loaded.holds.sort_by_key(|(_, hold)| hold.id);
    let journals = TURNING.map(|text| store.journal(&sku(text), 0, 1_000).unwrap());
    let decided = [0, 1, 2].map(|item| store.reservation(id(item)).unwrap());
    let ended = store.ended(EndedKind::Hold, UnixMs(0), UnixMs(u64::MAX), 1_000).unwrap();
    format!("{loaded:#?}\n{journals:#?}\n{decided:#?}\n{ended:#?}")
}

#[test]
fn nothing_is_pinned_of_a_store_that_has_failed() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    store.shared.fail();
    assert!(matches!(store.pin(), Err(StoreError::Database { .. })));
}

#[test]
fn tables_of_another_format_are_not_taken() {
    let directory = TempDir::new().unwrap();
    let error = Restoring::begin(directory.path(), FORMAT + 1).err().unwrap();
    assert!(matches!(error, StoreError::Format { stored, .. } if stored == FORMAT + 1), "{error}");
}

#[test]
fn a_store_is_examined_without_a_change() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    store.commit(&sale("A")).unwrap();
    let error = examine(directory.path()).unwrap_err();
    assert_eq!(Obstacle::of(&error), Obstacle::InUse, "{error}");
    drop(store);
    for _ in 0..2 {
        let found = examine(directory.path()).unwrap();
        assert_eq!((found.commit, found.unprojected, found.skus), (1, 1, 1));
        assert_eq!((found.holds, found.is_torn), (2, false));
        assert!(found.wrong_journals.is_none() && found.wrong_holds.is_none(), "{found:?}");
    }
}

#[test]
fn a_torn_commit_is_told_apart_from_none() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    store.commit(&sale("A")).unwrap();
    drop(store);
    let path = directory.path().join("log/0");
    let first = std::fs::read(&path).unwrap();
    let store = open(directory.path());
    store.commit(&sale("B")).unwrap();
    drop(store);
    let mut torn = std::fs::read(&path).unwrap();
    let at = (0..torn.len()).rfind(|at| torn[*at] != first[*at]).unwrap();
    torn[at] ^= 1;
    std::fs::write(&path, torn).unwrap();
    let found = examine(directory.path()).unwrap();
    assert_eq!((found.commit, found.is_torn, found.skus), (1, true, 1));
}

/// What the tables have is changed behind the store's back.
#[test]
fn contradictions_are_found() {
    let directory = TempDir::new().unwrap();
    let store = Embedded::open_projecting(directory.path(), BUCKETS).unwrap();
    let sold = sale("A");
    store.commit(&sold).unwrap();
    store.commit(&sale("B")).unwrap();
    drop(pin(&store));
    let tables = &store.shared.tables;
    let hold = &sold.reservations[0].1;
    tables::write(&tables.held, [(hold.id.0, None::<Vec<u8>>)]).unwrap();
    drop(store);
    let found = examine(directory.path()).unwrap();
    assert!(matches!(found.wrong_holds, Some(StoreError::Holds { .. })), "{found:?}");
    assert!(found.wrong_journals.is_none(), "{found:?}");

    let store = Embedded::open_projecting(directory.path(), BUCKETS).unwrap();
    let row = StockRow { version: 2, ..sold.skus[0].row };
    tables::write(&store.shared.tables.stock, [("A", Some(encode(&row).unwrap()))]).unwrap();
    drop(store);
    let found = examine(directory.path()).unwrap();
    assert!(matches!(found.wrong_journals, Some((1, StoreError::Journal { .. }))), "{found:?}");
    // A part that is missing is not made.
    std::fs::remove_dir_all(directory.path().join("log")).unwrap();
    assert!(matches!(examine(directory.path()), Err(StoreError::NoStore)));
    assert!(!directory.path().join("log").exists());
}
