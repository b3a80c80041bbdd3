//! Reading while commits are written.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use cartgate_ledger::{JournalEntry, Purchase, UnixMs};
use tempfile::TempDir;

use super::{KINDS, confirmed, held, id, long_journal, sku};
use crate::store::{Commit, Ended, EndedKind, SkuCommit, StockRow};

/// Whoever asks while a hold ends finds it before or after, never in between.
#[test]
fn a_reservation_is_there_while_it_ends() {
    const COUNT: u8 = 60;
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

/// A commit is seen as a whole, wherever it is by then.
#[test]
fn readers_see_whole_commits() {
    const COUNT: u64 = 60;
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
                    let purchases =
                        vec![(sku("A"), Purchase { customer, version: number.into(), units: 1 })];
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
