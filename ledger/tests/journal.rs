//! A journal that does not tell the truth is found out.

mod common;

use cartgate_ledger::{Cause, Counters, JournalEntry, JournalError, UnixMs, verify_next};
use common::id;

const BEFORE: Counters = Counters { available: 5, held: 3, confirmed: 2 };

fn entry(cause: Cause, quantity: i64, after: [u64; 3]) -> JournalEntry {
    let [available, held, confirmed] = after;
    let after = Counters { available, held, confirmed };
    JournalEntry {
        version: 8,
        at: UnixMs(1),
        cause,
        id: Some(id(1)),
        quantity,
        before: BEFORE,
        after,
    }
}

#[track_caller]
fn check(entry: &JournalEntry, expected: Result<(), JournalError>) {
    assert_eq!(verify_next(7, BEFORE, entry), expected);
}

#[test]
fn units_move_as_the_cause_says() {
    check(&entry(Cause::Set, 9, [4, 3, 2]), Ok(()));
    check(&entry(Cause::Adjust, 4, [9, 3, 2]), Ok(()));
    check(&entry(Cause::Adjust, -5, [0, 3, 2]), Ok(()));
    check(&entry(Cause::Reserve, 5, [0, 8, 2]), Ok(()));
    check(&entry(Cause::Confirm, 3, [5, 0, 5]), Ok(()));
    for cause in [Cause::Release, Cause::Expire, Cause::Cancel] {
        check(&entry(cause, 3, [8, 0, 2]), Ok(()));
    }
}

#[test]
fn units_that_are_not_there_cannot_move() {
    let sum = Err(JournalError::Sum { version: 8 });
    let causes = [Cause::Set, Cause::Reserve, Cause::Confirm, Cause::Release, Cause::Expire];
    for cause in causes {
        check(&entry(cause, -1, [6, 2, 2]), sum);
    }
    check(&entry(Cause::Set, 4, [0, 3, 2]), sum);
    check(&entry(Cause::Adjust, -6, [0, 3, 2]), sum);
    check(&entry(Cause::Adjust, i64::MIN, [0, 3, 2]), sum);
    check(&entry(Cause::Reserve, 6, [0, 9, 2]), sum);
    check(&entry(Cause::Confirm, 4, [5, 0, 6]), sum);
    check(&entry(Cause::Cancel, 4, [9, 0, 2]), sum);
    check(&entry(Cause::Reserve, 1, [5, 4, 2]), sum);
}

#[test]
fn entries_follow_one_another() {
    let good = entry(Cause::Adjust, 0, [5, 3, 2]);
    for next in [0, 7, 9, u64::MAX] {
        let gap = Err(JournalError::Gap { version: 7, next });
        check(&JournalEntry { version: next, ..good.clone() }, gap);
    }
    let before = Counters { available: 6, ..BEFORE };
    let jump = Err(JournalError::Jump { version: 8 });
    check(&JournalEntry { before, ..good }, jump);
}
