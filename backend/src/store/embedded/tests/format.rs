//! What is stored keeps its layout: a change of these bytes is another [`FORMAT`], since stores that
//! exist would be misread.

use std::num::NonZeroU32;

use cartgate_ledger::{
    Adjustment, Cause, Claim, CommandId, Counters, Fingerprint, JournalEntry, Purchase,
    Reservation, ReservationState, Reserve, Terms, UnixMs,
};
use cartgate_policy::Sku;
use cartgate_policy::gcra::Limit;

use super::super::keys::{chunk_key, purchase_key};
use super::super::log::Log;
use super::super::{Embedded, FORMAT, record, tables};
use crate::hot_items::{
    ChangeKind, EdgeTerms, HistoryEntry, HotItem, HotItemHistory, Origin, Reason,
};
use crate::store::encoding::{EndedKey, encode, put_reservation};
use crate::store::{
    Commit, Durability, Ended, EndedKind, SkuCommit, StockRow, StoreError, Ticketed, journal,
};

fn check(bytes: &[u8], expected: &str) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected);
}

fn sku() -> Sku {
    Sku::parse("A").unwrap()
}

const ID: CommandId = CommandId([1; 16]);

#[test]
fn reservations_are_laid_out_as_they_were() {
    let (claim, state) = (Claim::Awaited, ReservationState::Held { expires_at: UnixMs(300) });
    let first = Reservation {
        id: ID,
        fingerprint: Fingerprint([2; 16]),
        customer: Some("c".into()),
        quantity: 3,
        decided_at: UnixMs(4),
        since: UnixMs(5),
        attempt: 6,
        claim,
        state,
    };
    let check = |reservation: &Reservation, tags: &str, rest: &str| {
        let mut bytes = Vec::new();
        put_reservation(&mut bytes, &sku(), reservation);
        check(&bytes, &format!("{tags}0141{}{rest}", "02".repeat(16)));
    };
    check(&first, "00", "026303040206d004");
    let unclaimed = Claim::Unclaimed { until: UnixMs(3) };
    check(
        &Reservation { customer: None, claim: unclaimed, ..first.clone() },
        "10",
        "000304020601d004",
    );
    let expires_at = UnixMs(4);
    let states = [
        (ReservationState::Confirmed { expires_at, quantity: 7 }, "21", "0007"),
        (ReservationState::Released { expires_at }, "22", "00"),
        (ReservationState::Expired { expires_at }, "23", "00"),
        (ReservationState::SoldOut { available: 8 }, "24", "08"),
        (ReservationState::OverCap { cap: NonZeroU32::MIN, committed: 9 }, "25", "0109"),
        (ReservationState::UnknownSku, "26", ""),
        (ReservationState::NotOpenYet { opens_at: UnixMs(9) }, "27", "0a"),
        (ReservationState::Closed { closed_at: UnixMs(1) }, "28", "05"),
        (ReservationState::CustomerRequired, "29", ""),
    ];
    for (state, tags, rest) in states {
        let reservation = Reservation { claim: Claim::Claimed, state, ..first.clone() };
        check(&reservation, tags, &format!("026303040206{rest}"));
    }
    check(&Reservation { claim: Claim::Forgone, ..first }, "30", "026303040206d004");
}

#[test]
fn journals_are_laid_out_as_they_were() {
    let causes = [
        (Cause::Set, 300),
        (Cause::Reserve, 2),
        (Cause::Confirm, 1),
        (Cause::Release, 1),
        (Cause::Adjust, -3),
        (Cause::Reserve, 2),
        (Cause::Expire, 1),
        (Cause::Cancel, 1),
    ];
    let mut before = Counters { available: 1, held: 2, confirmed: 3 };
    let entries = (7_u64..).zip(causes).map(|(version, (cause, quantity))| {
        let after = cause.move_units(before, quantity).unwrap();
        let (at, id) = (UnixMs(2 * version), (cause != Cause::Set).then_some(ID));
        let entry = JournalEntry { version, at, cause, id, quantity, before, after };
        before = after;
        entry
    });
    let mut bytes = Vec::new();
    journal::put_chunk(&mut bytes, &entries.collect::<Vec<_>>());
    let id = "01".repeat(16);
    let entry = |start: &str| format!("{start}{id}");
    let others = ["110404", "120402", "130402", "150405", "110404", "140402", "160402"].map(entry);
    check(&bytes, &format!("07080102030e0000d804{}", others.concat()));
}

#[test]
fn small_values_and_keys_are_laid_out_as_they_were() {
    let counters = Counters { available: 0, held: 2, confirmed: 0 };
    let check_value = |value: Vec<u8>, expected: &str| check(&value, expected);
    let row = StockRow { counters, version: 300, now: UnixMs(5) };
    check_value(encode(&row).unwrap(), "000200ac0205");
    let (fingerprint, ids) = (Fingerprint([2; 16]), ("01".repeat(16), "02".repeat(16)));
    let adjustment =
        Adjustment { id: ID, fingerprint, decided_at: UnixMs(3), version: 4, counters };
    check_value(encode(&adjustment).unwrap(), &format!("{}{}0304000200", ids.0, ids.1));
    let reserve = Reserve {
        id: ID,
        fingerprint,
        repeatable: true,
        customer: None,
        quantity: NonZeroU32::MIN,
        hold_ms: 5,
        claim_by: UnixMs(6),
        attempt: 7,
        is_tentative: true,
    };
    let (request_id, enqueued_at) = ("r".into(), UnixMs(8));
    let ticketed = Ticketed { seq: 7, sku: sku(), reserve, request_id, enqueued_at };
    check_value(
        encode(&ticketed).unwrap(),
        &format!("070141{}{}010001050607010172{}", ids.0, ids.1, "08"),
    );
    let terms =
        Terms { customer_cap: NonZeroU32::new(2), opens_at: Some(UnixMs(3)), closes_at: None };
    let (since, changed_at) = (UnixMs(4), UnixMs(5));
    let edge = EdgeTerms {
        limit: Limit::new(300, 6).ok(),
        client_limit: Limit::new(2, 1).ok(),
        wait_target_ms: NonZeroU32::new(7),
        is_paused: true,
    };
    let (origin, expires_at, version) = (Origin::Detected, Some(UnixMs(8)), 9);
    let reserves_per_s = None;
    let hot_item =
        HotItem { reserves_per_s, terms, edge, origin, expires_at, version, since, changed_at };
    let item = "00010201030001ac0206010201010701010108090405";
    check_value(encode(&hot_item).unwrap(), item);
    let mut history = HotItemHistory::default();
    check_value(encode(&history).unwrap(), "00");
    let (at, reason) = (UnixMs(5), Reason::new("why").ok());
    let kind = ChangeKind::Registered;
    history.push(HistoryEntry { version, at, kind, origin, reason, item: Some(hot_item) });
    let (kind, reason) = (ChangeKind::Expired, None);
    history.push(HistoryEntry { version: 10, at, kind, origin, reason, item: None });
    let entries = format!("020905000101{}01{item}0a0503010000", "03776879");
    check_value(encode(&history).unwrap(), &entries);
    let ended = Ended { kind: EndedKind::Hold, at: UnixMs(0x0102), id: ID };
    check(&EndedKey::from(&ended).0, &format!("010000000000000102{}", ids.0));
    check(&chunk_key(&sku(), 0x0304), "41000000000000000304");
    check(&purchase_key(&sku(), b"c", 258), "410063000000000000000102");
}

#[test]
fn commits_are_laid_out_as_they_were() {
    let (counters, before) = (Counters { available: 1, ..<_>::default() }, Counters::default());
    let (version, at) = (1, UnixMs(2));
    let entry = JournalEntry {
        version,
        at,
        cause: Cause::Set,
        id: None,
        quantity: 1,
        before,
        after: counters,
    };
    let row = StockRow { counters, version, now: at };
    let ended = |kind| vec![Ended { kind, at: UnixMs(3), id: ID }];
    let purchase = Purchase { customer: "c".into(), version: 258, units: 300 };
    let state = ReservationState::SoldOut { available: 0 };
    let reservation = Reservation {
        id: ID,
        fingerprint: Fingerprint([2; 16]),
        customer: None,
        quantity: 1,
        decided_at: at,
        since: at,
        attempt: 1,
        claim: Claim::Awaited,
        state,
    };
    let commit = Commit {
        skus: vec![SkuCommit { sku: sku(), row, entries: vec![entry] }],
        reservations: vec![(sku(), reservation)],
        purchases: vec![(sku(), purchase)],
        unticketed: vec![ID],
        superseded: ended(EndedKind::Hold),
        ended: ended(EndedKind::Refusal),
        forgotten: ended(EndedKind::Adjustment),
        hot_items: vec![(sku(), None)],
        hot_item_histories: vec![(sku(), Some(HotItemHistory::default())), (sku(), None)],
        ..Commit::default()
    };
    let mut bytes = Vec::new();
    record::put(&mut bytes, &commit).unwrap();
    let (id, fingerprint) = ("01".repeat(16), "02".repeat(16));
    let end = |kind: u8| format!("01{kind:02x}0000000000000003{id}");
    let parts = [
        "0101410501000001020109010100000002000002",
        &format!("01{id}19040141{fingerprint}000102000100"),
        "00",
        "01014101638202ac02",
        "00",
        &format!("01{id}"),
        &[1, 0, 2].map(end).concat(),
        "01014100",
        "0201410100014100",
    ];
    check(&bytes, &parts.concat());
}

#[test]
fn the_logs_records_are_laid_out_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = Log::open(directory.path(), true, 0x0102, Durability::Disk).unwrap();
    let mut append = |content: &[u8]| {
        let put = |to: &mut Vec<u8>| {
            to.extend_from_slice(content);
            Ok(())
        };
        log.append(put).unwrap().to_vec()
    };
    let (first, second) = (append(b"one"), append(b"12345678"));
    let expected = "19cc86cfb2e2d520030000000100000003010000000000000000000000000000\
                    6f6e650000000000";
    check(&first, expected);
    check(&second[8..24], "08000000010000000401000000000000");
    assert_eq!(second[24..32], first[..8]);
}

#[test]
fn another_format_and_a_store_without_its_beginning_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Embedded::open(directory.path(), 4, Durability::Disk);
    let store = open().unwrap();
    let row = StockRow { counters: Counters::default(), version: 1, now: UnixMs(1) };
    tables::write(&store.shared.tables.stock, [("A", Some(encode(&row).unwrap()))]).unwrap();
    let set_format = |store: &Embedded, format: Option<u16>| {
        let value = format.map(|format| encode(&format).unwrap());
        tables::write(&store.shared.tables.meta, [("format", value)]).unwrap();
    };
    set_format(&store, Some(FORMAT - 1));
    drop(store);
    let refused = open().err().unwrap();
    assert!(matches!(refused, StoreError::Format { stored: 2, supported: FORMAT }), "{refused}");
    // The tables themselves open, to take the beginning away.
    let tables = tables::Tables::open(directory.path()).unwrap();
    tables::write(&tables.meta, [("format", None::<Vec<u8>>)]).unwrap();
    drop(tables);
    let refused = open().err().unwrap();
    assert!(matches!(refused, StoreError::NoStore), "{refused}");
}
