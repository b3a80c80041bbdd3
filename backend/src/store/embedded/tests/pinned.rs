//! What is pinned is what there was after one commit, whatever is committed meanwhile; and a store
//! that is made of it goes on from there.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::super::examine::{Obstacle, examine};
use super::super::restore::Restoring;
use super::super::{Embedded, FORMAT, Pinned, tables};
use super::projector::{check_all, commits, open};
use crate::store::conformance::{BUCKETS, sale};
use crate::store::encoding::encode;
use crate::store::{Commit, Durability, StockRow, Store as _, StoreError};

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

/// What is pinned stays as it was, however much is merged meanwhile.
#[test]
fn what_is_pinned_stays() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let commits = commits();
    for commit in &commits[..50] {
        store.commit(commit).unwrap();
    }
    let pinned = pin(&store);
    for commit in &commits[50..] {
        store.commit(commit).unwrap();
    }
    assert_eq!(pin(&store).commit(), 200);
    assert_eq!(pinned.commit(), 50);
    check_all(&open(restored(&pinned).path()), &commits[..50]);
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
