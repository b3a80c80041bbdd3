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

use std::collections::{HashMap, HashSet};

use super::super::record::{Answer, Call, Entry, Record, Settlement};
use super::book::{Book, Books};
use super::calls::{Calls, OneOrder};
use super::{Check, Verdict, Violation};

pub(super) fn check(calls: &Calls<'_>, books: &Books<'_>, verdict: &mut Verdict) {
    let mut orders: HashMap<&str, Vec<&OneOrder<'_>>> = HashMap::new();
    for order in &calls.orders {
        orders.entry(order.wish.sku.as_str()).or_default().push(order);
    }
    for book in books.iter() {
        let orders = orders.get(book.sku()).map_or(&[][..], Vec::as_slice);
        let placed = holds(book, orders, OneOrder::placed_by_us);
        let mut changes = holds(book, orders, OneOrder::decided_by_us);
        changes.extend(settlements(book, calls));
        verdict.count(Check::Order, changes.len());
        let mut seen = HashSet::new();
        check_places(book, placed.clone(), &mut seen, verdict);
        check_places(book, changes.clone(), &mut seen, verdict);
        check_sold_out(book, orders, &Known::new(&placed, &changes), verdict);
    }
}

/// A journal entry with the clients' times around it.
#[derive(Clone, Copy)]
struct Change<'a> {
    version: u64,
    /// It cannot have happened before this.
    from_us: u64,
    /// By this time it had certainly happened, or had its place in the queue.
    by_us: u64,
    call: &'a Record,
}

/// The holds that were told of; by when they were certain, `by` says.
fn holds<'a>(
    book: &Book<'a>,
    orders: &[&OneOrder<'a>],
    by: impl Fn(&OneOrder<'a>) -> Option<u64>,
) -> Vec<Change<'a>> {
    let change = |order: &&OneOrder<'a>| {
        let held = order.held()?;
        let version = book.taken(held.id)?.version;
        Some(Change { version, from_us: order.asked_us(), by_us: by(order)?, call: held.by })
    };
    orders.iter().filter_map(change).collect()
}

/// The settlements that are in the journal and that a client asked for.
fn settlements<'a>(book: &Book<'a>, calls: &Calls<'a>) -> Vec<Change<'a>> {
    let change = |entry: &Entry| {
        let how = match entry.cause.as_str() {
            "confirm" => Settlement::Confirm,
            "release" => Settlement::Release,
            _ => return None,
        };
        let all = calls.settlements(entry.reservation_id.as_deref()?).iter().copied();
        let such: Vec<&Record> =
            all.filter(|r| matches!(r.call, Call::Settle { how: h, .. } if h == how)).collect();
        let told = such.iter().copied().filter(|r| r.answer == Answer::Settled);
        let call = told.min_by_key(|r| r.ended_us)?;
        let from_us = such.iter().map(|r| r.sent_us).min()?;
        Some(Change { version: entry.version, from_us, by_us: call.ended_us, call })
    };
    book.journal().iter().filter_map(change).collect()
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

/// What is known of the journal at any of the clients' times.
struct Known {
    /// By time, the highest version that is certain by then.
    certain: Vec<(u64, u64)>,
    /// By time, the lowest version of orders asked for from then on.
    orders_after: Vec<(u64, u64)>,
    /// By time, the lowest version of all that was asked for from then on.
    changes_after: Vec<(u64, u64)>,
}

impl Known {
    fn new(placed: &[Change<'_>], changes: &[Change<'_>]) -> Self {
        // What had its place in the queue before an order was sent is decided when that order is.
        let certain = placed.iter().chain(changes).map(|change| (change.by_us, change.version));
        Self {
            certain: running(certain.collect(), u64::max),
            orders_after: after(placed),
            changes_after: after(changes),
        }
    }

    /// The highest version that is certain before `time_us`.
    fn before(&self, time_us: u64) -> u64 {
        let end = self.certain.partition_point(|(by_us, _)| *by_us < time_us);
        end.checked_sub(1).and_then(|last| self.certain.get(last)).map_or(0, |(_, v)| *v)
    }

    /// The lowest version of what was asked for after `time_us`.
    fn lowest_after(changes: &[(u64, u64)], time_us: u64) -> u64 {
        // The latest come first.
        let end = changes.partition_point(|(from_us, _)| *from_us > time_us);
        end.checked_sub(1).and_then(|last| changes.get(last)).map_or(u64::MAX, |(_, v)| *v)
    }
}

/// Latest first, with the lowest version so far.
fn after(changes: &[Change<'_>]) -> Vec<(u64, u64)> {
    // Sorted by the time backwards, which complementing the time does.
    let by_time = changes.iter().map(|change| (!change.from_us, change.version)).collect();
    running(by_time, u64::min).into_iter().map(|(time, version)| (!time, version)).collect()
}

/// Sorted by time, each with what `of` makes of all versions so far.
fn running(mut versions: Vec<(u64, u64)>, of: fn(u64, u64) -> u64) -> Vec<(u64, u64)> {
    versions.sort_unstable();
    let mut so_far = None;
    for (_, version) in &mut versions {
        *version = so_far.map_or(*version, |so_far| of(so_far, *version));
        so_far = Some(*version);
    }
    versions
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

/// After which versions how many units were available, in order.
struct Shelf(HashMap<u64, Vec<u64>>);

impl Shelf {
    fn read(book: &Book<'_>) -> Self {
        let mut versions: HashMap<u64, Vec<u64>> = HashMap::new();
        if let Some(first) = book.journal().first() {
            let before = first.version.saturating_sub(1);
            versions.entry(first.before.available).or_default().push(before);
        }
        for entry in book.journal() {
            versions.entry(entry.after.available).or_default().push(entry.version);
        }
        Self(versions)
    }

    /// Whether so many units were available after some version in `from..until`.
    fn had(&self, available: u64, from: u64, until: u64) -> bool {
        let Some(versions) = self.0.get(&available) else { return false };
        let first = versions.partition_point(|version| *version < from);
        versions.get(first).is_some_and(|version| *version < until)
    }
}
