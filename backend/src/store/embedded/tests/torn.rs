//! What a crash can leave of the log: the last commit whole, or nothing of it, and all before it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::super::log::{HEADER, Log, Run};
use crate::store::conformance::{BUCKETS, id, sale, sku};
use crate::store::{Commit, Durability, Embedded, Store as _, StoreError};

/// Contents of different lengths, none a multiple of 8.
const CONTENTS: [&[u8]; 4] =
    [b"one", b"the second", b"the third has some more", b"fourth and last"];

/// Where each record ends.
fn ends() -> [usize; 4] {
    let mut end = 0;
    CONTENTS.map(|content| {
        end += HEADER + content.len().next_multiple_of(8);
        end
    })
}

fn open(directory: &Path, is_new: bool) -> Result<(Log, Vec<Run>), StoreError> {
    Log::open(directory, is_new, 0, Durability::Disk)
}

fn append(log: &mut Log, content: &[u8]) {
    let put = |to: &mut Vec<u8>| {
        to.extend_from_slice(content);
        Ok(())
    };
    log.append(put).unwrap();
}

fn contents(runs: &[Run]) -> Vec<Vec<u8>> {
    let of_run = |run: &Run| {
        let ranges: Vec<_> = Run::contents(&run.bytes).collect();
        ranges.into_iter().map(|range| run.bytes[range].to_vec()).collect::<Vec<_>>()
    };
    runs.iter().flat_map(of_run).collect()
}

/// A log of these commits, and the bytes of its file.
fn log_of(contents: &[&[u8]], durability: Durability) -> (TempDir, Vec<u8>) {
    let directory = TempDir::new().unwrap();
    let (mut log, runs) = Log::open(directory.path(), true, 0, durability).unwrap();
    assert!(runs.is_empty());
    contents.iter().for_each(|content| append(&mut log, content));
    let bytes = fs::read(directory.path().join("0")).unwrap();
    (directory, bytes)
}

#[test]
fn a_last_commit_that_is_torn_anywhere_is_gone_and_no_other() {
    let (directory, whole) = log_of(&CONTENTS, Durability::Disk);
    let path = directory.path().join("0");
    let check = |bytes: &[u8], count: usize, how: &str| {
        fs::write(&path, bytes).unwrap();
        let (mut log, runs) = open(directory.path(), false).unwrap();
        assert_eq!(contents(&runs), CONTENTS[..count], "{how}");
        // What is written next follows what is left.
        append(&mut log, b"next");
        let (_, runs) = open(directory.path(), false).unwrap();
        assert_eq!(contents(&runs).len(), count + 1, "{how}");
    };
    let [_, _, start, end] = ends();
    for at in start..end {
        check(&whole[..at], 3, &format!("cut at {at}"));
        let mut zeros = whole.clone();
        zeros[at..end].fill(0);
        // Zeros pad a record: cut there, it is whole.
        let count = if whole[at..end].iter().all(|byte| *byte == 0) { 4 } else { 3 };
        check(&zeros, count, &format!("zeros from {at}"));
        let mut out_of_order = whole.clone();
        out_of_order[start..=at].fill(0);
        check(&out_of_order, 3, &format!("zeros up to {at}"));
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        check(&flipped, 3, &format!("another byte at {at}"));
    }
    check(&whole[..end], 4, "whole");
}

#[test]
fn a_commit_that_was_synced_is_missed() {
    let (directory, whole) = log_of(&CONTENTS, Durability::Disk);
    let [_, start, end, _] = ends();
    for at in start..end {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(directory.path().join("0"), &damaged).unwrap();
        let error = open(directory.path(), false).err().unwrap();
        assert!(matches!(error, StoreError::CommitLost { number: 3 }), "{at}: {error}");
    }
    fs::remove_file(directory.path().join("1")).unwrap();
    let error = open(directory.path(), false).err().unwrap();
    assert!(matches!(error, StoreError::NoStore), "{error}");
}

#[test]
fn both_files_are_read_in_order() {
    let (directory, _) = log_of(&[], Durability::Disk);
    let (mut log, _) = open(directory.path(), false).unwrap();
    append(&mut log, b"one");
    append(&mut log, b"two");
    log.switch().unwrap();
    append(&mut log, b"three");
    let (mut log, runs) = open(directory.path(), false).unwrap();
    assert_eq!(contents(&runs), [&b"one"[..], b"two", b"three"]);
    // Only what is not in the tables is read; and what follows goes over it.
    log.switch().unwrap();
    append(&mut log, b"four");
    let (_, runs) = Log::open(directory.path(), false, 2, Durability::Disk).unwrap();
    assert_eq!(contents(&runs), [&b"three"[..], b"four"]);
    let (mut log, runs) = Log::open(directory.path(), false, 4, Durability::Disk).unwrap();
    assert!(runs.is_empty());
    append(&mut log, b"five");
    assert_eq!(log.last_number(), 5);
    let (_, runs) = Log::open(directory.path(), false, 4, Durability::Disk).unwrap();
    assert_eq!(contents(&runs), [b"five"]);
    // The tables are behind what is there.
    let error = Log::open(directory.path(), false, 3, Durability::Disk).err().unwrap();
    assert!(matches!(error, StoreError::CommitLost { number: 4 }), "{error}");
}

/// Without syncing, a power cut may leave later commits and take earlier ones: these are not the
/// continuation of others that come in their place.
#[test]
fn what_was_not_synced_ends_where_it_is_torn() {
    let (directory, mut bytes) = log_of(&CONTENTS, Durability::Process);
    let [_, torn, ..] = ends();
    bytes[torn - 8] ^= 1;
    fs::write(directory.path().join("0"), &bytes).unwrap();
    let (mut log, runs) = Log::open(directory.path(), false, 0, Durability::Process).unwrap();
    assert_eq!(contents(&runs), [CONTENTS[0]]);
    append(&mut log, b"THE SECOND");
    let (_, runs) = open(directory.path(), false).unwrap();
    assert_eq!(contents(&runs), [CONTENTS[0], b"THE SECOND"]);
}

#[test]
fn a_store_opens_after_a_torn_commit() {
    let directory = TempDir::new().unwrap();
    let open = || Embedded::open(directory.path(), BUCKETS, Durability::Disk).unwrap();
    let path = directory.path().join("log/0");
    let store = open();
    store.commit(&sale("A")).unwrap();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    let store = open();
    let mut last = sale("B");
    last.reservations.iter_mut().for_each(|(_, hold)| hold.id.0[0] = 0);
    store.commit(&last).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let start = (0..whole.len()).find(|at| whole[*at] != bytes[*at]).unwrap();
    for (keep, expected) in [(0, None), (HEADER, None), (100, None), (whole.len() - start, Some(3))]
    {
        fs::write(&path, &whole[..start + keep]).unwrap();
        let store = open();
        let version = |text| store.stock(&sku(text)).unwrap().map(|row| row.version);
        assert_eq!((version("A"), version("B")), (Some(3), expected));
        let holds = store.load().unwrap().holds.len();
        assert_eq!(holds, if expected.is_some() { 4 } else { 2 });
    }
}

/// All that fjall is given goes past its journal: there is nothing in it that could be torn, which
/// it would not open after.
#[test]
fn the_databases_own_journal_stays_empty() {
    let directory = TempDir::new().unwrap();
    let store = Embedded::open_projecting(directory.path(), BUCKETS).unwrap();
    for text in ["A", "B", "C"] {
        store.commit(&sale(text)).unwrap();
    }
    store.commit(&Commit { unticketed: vec![id(1)], ..Commit::default() }).unwrap();
    drop(store);
    let mut journals = 0;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            journals += 1;
            assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0), "{path:?}");
        }
    }
    assert_eq!(journals, 1);
}
