//! What the projector does beside the commits: wait, fail, and do the same twice.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cartgate_ledger::UnixMs;
use tempfile::TempDir;

use super::super::{Embedded, tables};
use crate::store::conformance::{BUCKETS, entries, held, id, sale, sku};
use crate::store::encoding::encode;
use crate::store::{Commit, Durability, Ended, EndedKind, SkuCommit, StockRow, Store, StoreError};

const WINDOW_LEN: usize = 2_000;

pub(super) fn open(directory: &Path) -> Embedded {
    Embedded::open_with(directory, BUCKETS, Durability::Disk, WINDOW_LEN).unwrap()
}

fn hold_up(store: &Embedded, is_held_up: bool) {
    store.shared.progress().is_held_up = is_held_up;
    store.shared.changed.notify_all();
}

fn is_projecting(store: &Embedded) -> bool {
    store.shared.progress().is_projecting
}

fn active_len(store: &Embedded) -> usize {
    store.shared.windows().active.len()
}

pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// 200 commits: five units of a SKU each, of which two are held.
pub(super) fn commits() -> Vec<Commit> {
    let commit = |number: usize| {
        let mut commit = sale(&format!("SKU-{number}"));
        let number = u8::try_from(number).unwrap();
        commit
            .reservations
            .iter_mut()
            .for_each(|(_, hold)| hold.id.0[..2].copy_from_slice(&[255, number]));
        commit
    };
    (0..200).map(commit).collect()
}

pub(super) fn check_all(store: &dyn Store, commits: &[Commit]) {
    let mut loaded = store.load().unwrap();
    loaded.stocks.sort_by(|one, other| one.0.cmp(&other.0));
    let mut stocks: Vec<_> =
        commits.iter().map(|c| (c.skus[0].sku.clone(), c.skus[0].row)).collect();
    stocks.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(loaded.stocks, stocks);
    assert_eq!(loaded.holds.len(), 2 * commits.len());
    for commit in commits {
        let SkuCommit { sku, entries, .. } = &commit.skus[0];
        assert_eq!(store.journal(sku, 0, 9).unwrap(), *entries);
        for (sku, hold) in &commit.reservations {
            assert_eq!(store.reservation(hold.id).unwrap(), Some((sku.clone(), hold.clone())));
        }
    }
}

#[test]
fn a_commit_waits_for_the_projector_when_memory_is_full() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    hold_up(&store, true);
    let commits = commits();
    let record_len_max = 500;
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| {
            for commit in &commits {
                store.commit(commit).unwrap();
                assert!(active_len(&store) < 2 * WINDOW_LEN + record_len_max);
            }
        });
        wait_until("memory is full", || active_len(&store) >= 2 * WINDOW_LEN);
        assert!(is_projecting(&store) && !committing.is_finished());
        hold_up(&store, false);
    });
    check_all(&store, &commits);
    drop(store);
    check_all(&open(directory.path()), &commits);
}

#[test]
fn what_is_not_in_the_tables_is_read_from_both_files() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    hold_up(&store, true);
    let commits = &commits()[..20];
    for commit in commits {
        store.commit(commit).unwrap();
    }
    assert!(is_projecting(&store) && active_len(&store) > 0, "both files are in use");
    check_all(&store, commits);
    drop(store);
    let store = open(directory.path());
    check_all(&store, commits);
    wait_until("the first file is in the tables", || !is_projecting(&store));
    check_all(&store, commits);
}

/// A crash after a window is in the tables, and before that is noted.
#[test]
fn projecting_twice_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let log = |name: &str| directory.path().join("log").join(name);
    let store = open(directory.path());
    hold_up(&store, true);
    let mut commits = commits()[..20].to_vec();
    let (end, first) =
        (Ended { kind: EndedKind::Hold, at: UnixMs(9), id: id(9) }, commits[0].clone());
    // Versions 4 and 5 of the first SKU come in chunks of their own.
    for version in [4, 5] {
        let all = entries(5, version);
        let last = all.last().unwrap();
        let row = StockRow { counters: last.after, version, now: last.at };
        let number = u8::try_from(version).unwrap();
        let sku = first.skus[0].sku.clone();
        let reservations = vec![(sku.clone(), held(number))];
        let skus = vec![SkuCommit { sku, row, entries: all[version as usize - 1..].to_vec() }];
        commits.push(Commit { skus, reservations, ended: vec![end], ..Commit::default() });
    }
    for commit in &commits {
        store.commit(commit).unwrap();
    }
    drop(store);
    let saved = ["0", "1"].map(|name| (log(name), fs::read(log(name)).unwrap()));
    let look = |store: &Embedded| {
        let mut loaded = store.load().unwrap();
        loaded.stocks.sort_by(|one, other| one.0.cmp(&other.0));
        loaded.holds.sort_by_key(|(_, hold)| hold.id);
        let journal = store.journal(&first.skus[0].sku, 0, 9).unwrap();
        assert_eq!(journal, entries(5, 5));
        let ended = store.ended(EndedKind::Hold, UnixMs(0), UnixMs(99), 9).unwrap();
        assert_eq!(ended, [end]);
        format!("{loaded:?}")
    };
    let project = |store: &Embedded| {
        wait_until("the first window is in the tables", || !is_projecting(store));
        store.commit(&sale("B")).unwrap();
        wait_until("the second one is", || !is_projecting(store));
    };
    let store = Embedded::open_projecting(directory.path(), BUCKETS).unwrap();
    let expected = look(&store);
    project(&store);
    tables::write(&store.shared.tables.meta, [("projected", Some(encode(&0_u64).unwrap()))])
        .unwrap();
    drop(store);
    for (path, bytes) in saved {
        fs::write(path, bytes).unwrap();
    }
    // What was committed after that is in the tables as well, where it cannot have got before.
    let store = Embedded::open_projecting(directory.path(), BUCKETS).unwrap();
    assert_eq!(look(&store), expected);
    project(&store);
    assert_eq!(look(&store).matches("Sku(\"B\")").count(), 3);
}

#[test]
fn a_store_whose_projector_fails_takes_no_more_commits() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    fs::remove_dir_all(directory.path().join("keyspaces")).unwrap();
    let failed = commits().iter().find_map(|commit| store.commit(commit).err());
    assert!(matches!(failed, Some(StoreError::Database { .. })), "{failed:?}");
    let error = store.commit(&sale("B")).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
    assert_eq!(store.stock(&sku("B")).unwrap(), None);
}

/// What is in the tables is checked as what is in memory is.
#[test]
fn a_row_that_is_not_where_the_journal_ends_is_found() {
    let directory = TempDir::new().unwrap();
    let store = Embedded::open_projecting(directory.path(), BUCKETS).unwrap();
    let sold = sale("A");
    store.commit(&sold).unwrap();
    store.commit(&sale("B")).unwrap();
    wait_until("it is in the tables", || !is_projecting(&store));
    let row = StockRow { version: 2, ..sold.skus[0].row };
    tables::write(&store.shared.tables.stock, [("A", Some(encode(&row).unwrap()))]).unwrap();
    drop(store);
    let error = open(directory.path()).load().unwrap_err();
    assert!(matches!(&error, StoreError::Journal { sku, .. } if sku.as_str() == "A"), "{error}");
}
