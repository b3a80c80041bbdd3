//! Journals: read in pages, and never written with a gap.

use tempfile::TempDir;

use super::{KINDS, check, long_journal, sale, sku};
use crate::store::{Commit, SkuCommit, StockRow, StoreError};

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
            for after in [0, 1, 2, 3, 511, 512, 513, 602, 1_113, 1_114, 1_628, 1_699, 1_700, 1_701]
            {
                let page = store.journal(&sku("A"), after, limit).unwrap();
                let expected = all.iter().filter(|entry| entry.version > after).take(limit);
                assert!(page.iter().eq(expected), "{limit} after {after}");
            }
        }
        assert_eq!(store.journal(&sku("A"), 0, 0).unwrap(), []);
    });
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
