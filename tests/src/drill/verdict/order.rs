//! Check *order*: who asked later came later.
//!
//! Proves, per SKU: if one change was certain to a client before another was asked for, the first
//! one's place in the journal is before the other's (holds, confirmations and releases); an order
//! that certainly had its place in the queue (it was decided, or had a ticket) before another was
//! sent came before that one; and each sold-out was true: somewhere between what had certainly
//! happened before it was asked for and what certainly happened after it was answered, exactly as
//! many units were available as it says, and fewer than were asked for.
//!
//! Sound: an order reached the service at the earliest when its first attempt was sent, and is
//! certain at the latest when its first answer that says so was complete. Settlements overtake
//! orders that wait, so tickets order orders only. All times are the clients'.
//!
//! Cannot see: the order of calls that overlapped in time. Any order of these is right.

use std::collections::HashSet;

use super::super::record::Record;
use super::book::{Book, Books};
use super::calls::{Calls, OneOrder};
use super::known::{Change, Known, Shelf, decided, holds};
use super::{Check, Verdict, Violation};

pub(super) fn check(calls: &Calls<'_>, books: &Books<'_>, verdict: &mut Verdict) {
    let orders = calls.by_sku();
    for book in books.iter() {
        let orders = orders.get(book.sku()).map_or(&[][..], Vec::as_slice);
        let placed = holds(book, orders, OneOrder::placed_by_us);
        let changes = decided(book, orders, calls);
        verdict.count(Check::Order, changes.len());
        let mut seen = HashSet::new();
        check_places(book, placed.clone(), &mut seen, verdict);
        check_places(book, changes.clone(), &mut seen, verdict);
        check_sold_out(book, orders, &Known::new(&placed, &changes), verdict);
    }
}

/// Goes through the journal backwards: nothing that comes later may have been certain before this
/// was asked for. Pairs that were seen already are not reported again.
fn check_places(
    book: &Book<'_>,
    mut changes: Vec<Change<'_>>,
    seen: &mut HashSet<[u64; 2]>,
    verdict: &mut Verdict,
) {
    // Two orders that were told of one hold are reported by `promises`.
    changes.sort_unstable_by_key(|change| (change.version, change.from_us));
    changes.dedup_by_key(|change| change.version);
    let mut later: Option<Change<'_>> = None;
    for change in changes.into_iter().rev() {
        if let Some(later) = later.filter(|later| later.by_us < change.from_us)
            && seen.insert([change.version, later.version])
        {
            let (sku, first, second) = (book.sku(), change.version, later.version);
            let what = format!(
                "{sku}: entry {second} was certain before entry {first} was asked for, yet comes \
                 after it"
            );
            let violation = Violation::new(Check::Order, what).records([later.call, change.call]);
            verdict.add(violation.entries(sku, [first, second]));
        }
        later = Some(later.filter(|later| later.by_us <= change.by_us).unwrap_or(change));
    }
}

/// Each sold-out is true of some state in its window.
fn check_sold_out(book: &Book<'_>, orders: &[&OneOrder<'_>], known: &Known, verdict: &mut Verdict) {
    let shelf = Shelf::read(book);
    for order in orders {
        // Who was told both is reported by `repeats`.
        let Some((available, call)) = order.sold_out().filter(|_| order.held().is_none()) else {
            continue;
        };
        verdict.count(Check::Order, 1);
        let (from, until) = window(order, call, known);
        let is_short = available < u64::from(order.wish.quantity);
        if is_short && shelf.had(available, from, until) {
            continue;
        }
        let (sku, last) = (book.sku(), until.saturating_sub(1));
        let what = match until {
            _ if !is_short => format!("{available} units were available, and no more asked for"),
            u64::MAX => format!("there were never so many from entry {from} on"),
            _ => format!("there were never so many from entry {from} to entry {last}"),
        };
        let what = format!("{sku}: sold-out with {available} units available, but {what}");
        verdict.add(Violation::new(Check::Order, what).records([call]).entries(sku, [from]));
    }
}

/// The versions between which an order was refused: from the first, up to and without the second.
fn window(order: &OneOrder<'_>, refused: &Record, known: &Known) -> (u64, u64) {
    let placed_by_us = order.placed_by_us().unwrap_or(refused.ended_us);
    let orders = Known::lowest_after(&known.orders_after, placed_by_us);
    let changes = Known::lowest_after(&known.changes_after, refused.ended_us);
    (known.before(order.asked_us()), orders.min(changes))
}
