//! What every store must do. Each case runs on stores of its own, one of each of [`KINDS`], and looks
//! at each twice: as it is, and as it is after it was closed and opened again. Another kind of store
//! passes by being one of them.

mod concurrent;
mod decisions;
mod journal;
mod shared;

use std::num::NonZeroU32;

use cartgate_ledger::{
    Cause, Claim, CommandId, Counters, Fingerprint, JournalEntry, Purchase, Reservation,
    ReservationState, Reserve, Terms, UnixMs,
};
use cartgate_policy::Sku;
use cartgate_policy::gcra::Limit;
use tempfile::TempDir;

use crate::hot_items::{
    ChangeKind, EdgeTerms, HistoryEntry, HotItem, HotItemHistory, Origin, Reason,
};
use crate::store::{
    Commit, Durability, Embedded, Ended, EndedKind, SkuCommit, StockRow, Store, StoreError,
    Ticketed,
};

pub(in crate::store) const BUCKETS: u16 = 4;

type Open = fn(&TempDir) -> Box<dyn Store>;

/// The embedded store, the same with all but the last commit in its tables, and a bucket on Redis.
const KINDS: [Open; 3] = [
    |directory| Box::new(Embedded::open(directory.path(), BUCKETS, Durability::Process).unwrap()),
    |directory| Box::new(Embedded::open_projecting(directory.path(), BUCKETS).unwrap()),
    |directory| Box::new(shared::OnRedis::open(directory.path())),
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

pub(in crate::store) fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

pub(in crate::store) fn id(number: u8) -> CommandId {
    CommandId([number; 16])
}

/// The journal of `units` set, then one reserved at each version after the first.
pub(in crate::store) fn entries(units: u64, up_to_version: u64) -> Vec<JournalEntry> {
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

pub(in crate::store) fn held(number: u8) -> Reservation {
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
pub(in crate::store) fn sale(text: &str) -> Commit {
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
fn stock_is_read_page_by_page_in_the_order_of_skus() {
    let skus = ["B", "A", "D", "C"];
    let commits: Vec<_> = skus.map(sale_without_holds).into();
    check(&commits, |store| {
        let page = |after: Option<&str>, limit| {
            let page = store.stocks_after(after.map(sku).as_ref(), limit).unwrap();
            page.iter().map(|(sku, row)| (sku.to_string(), row.version)).collect::<Vec<_>>()
        };
        let rows = |skus: &[&str]| skus.iter().map(|sku| (sku.to_string(), 1)).collect::<Vec<_>>();
        assert_eq!(page(None, 3), rows(&["A", "B", "C"]));
        assert_eq!(page(Some("C"), 3), rows(&["D"]));
        assert_eq!(page(Some("BB"), 1), rows(&["C"]));
        assert_eq!(page(Some("D"), 3), []);
    });
}

/// Five units of `text` set.
fn sale_without_holds(text: &str) -> Commit {
    let entries = entries(5, 1);
    let row = StockRow { counters: entries[0].after, version: 1, now: UnixMs(1) };
    Commit { skus: vec![SkuCommit { sku: sku(text), row, entries }], ..Commit::default() }
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

fn confirmed(number: u8) -> Reservation {
    let state = ReservationState::Confirmed { expires_at: UnixMs(1_000), quantity: 1 };
    Reservation { state, claim: Claim::Claimed, since: UnixMs(900), ..held(number) }
}

fn all_ended(store: &dyn Store, kind: EndedKind) -> Vec<Ended> {
    store.ended(kind, UnixMs(0), UnixMs(u64::MAX), 99).unwrap()
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
        edge: EdgeTerms {
            limit: Limit::new(500, 700).ok(),
            client_limit: Limit::new(2, 1).ok(),
            wait_target_ms: NonZeroU32::new(3_000),
            is_paused: number.is_multiple_of(2),
        },
        origin: Origin::Detected,
        expires_at: Some(UnixMs(9)),
        version: 300,
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

/// Changes of a SKU's entry, the last of which has this version.
fn history(last: u64, reason: &str) -> HotItemHistory {
    let mut history = HotItemHistory::default();
    for version in 1..=last {
        let is_one = version % 3 > 0;
        history.push(HistoryEntry {
            version,
            at: UnixMs(10 * version),
            kind: if is_one { ChangeKind::Changed } else { ChangeKind::Expired },
            origin: Origin::Scheduled,
            reason: Reason::new(reason).ok(),
            item: is_one.then(|| HotItem { version, ..HotItem::default() }),
        });
    }
    history
}

#[test]
fn histories_of_hot_items_are_kept_until_they_are_forgotten() {
    let commit = |histories: &[(&str, Option<HotItemHistory>)]| {
        let histories = histories.iter().map(|(text, history)| (sku(text), history.clone()));
        Commit { hot_item_histories: histories.collect(), ..Commit::default() }
    };
    let long = "\u{fc}".repeat(Reason::LEN_MAX / 2);
    let commits = [
        commit(&[("A", Some(history(1, "one"))), ("B", Some(history(2, ""))), ("C", None)]),
        commit(&[("A", Some(history(2, "two")))]),
        commit(&[("B", None), ("D", Some(history(250, &long)))]),
    ];
    check(&commits, |store| {
        let mut loaded = store.load().unwrap().hot_item_histories;
        loaded.sort();
        assert_eq!(loaded, [(sku("A"), UnixMs(20)), (sku("D"), UnixMs(2_500))]);
        let history_of = |text| store.hot_item_history(&sku(text)).unwrap();
        assert_eq!(history_of("A"), history(2, "two"));
        assert_eq!(history_of("D"), history(250, &long));
        for none in ["B", "C", "E"] {
            assert_eq!(history_of(none), HotItemHistory::default());
        }
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
