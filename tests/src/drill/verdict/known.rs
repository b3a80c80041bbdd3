//! What is known of a journal at any of the clients' times, by what they were told.

use std::collections::HashMap;

use super::super::record::{Answer, Call, Entry, Record, Settlement};
use super::book::Book;
use super::calls::{Calls, OneOrder};

/// A journal entry with the clients' times around it.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) version: u64,
    /// It cannot have happened before this.
    pub(super) from_us: u64,
    /// By this time it had certainly happened, or had its place in the queue.
    pub(super) by_us: u64,
    pub(super) call: &'a Record,
}

/// All that was decided: holds that were told of, and what ended holds.
pub(super) fn decided<'a>(
    book: &Book<'a>,
    orders: &[&OneOrder<'a>],
    calls: &Calls<'a>,
) -> Vec<Change<'a>> {
    let mut changes = holds(book, orders, OneOrder::decided_by_us);
    changes.extend(settlements(book, calls));
    changes
}

/// The holds that were told of; by when they were certain, `by` says.
pub(super) fn holds<'a>(
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

/// What is known of the journal at any of the clients' times.
pub(super) struct Known {
    /// By time, the highest version that is certain by then.
    certain: Vec<(u64, u64)>,
    /// By time, the lowest version of orders asked for from then on.
    pub(super) orders_after: Vec<(u64, u64)>,
    /// By time, the lowest version of all that was asked for from then on.
    pub(super) changes_after: Vec<(u64, u64)>,
}

impl Known {
    pub(super) fn new(placed: &[Change<'_>], changes: &[Change<'_>]) -> Self {
        // What had its place in the queue before an order was sent is decided when that order is.
        let certain = placed.iter().chain(changes).map(|change| (change.by_us, change.version));
        Self {
            certain: running(certain.collect(), u64::max),
            orders_after: after(placed),
            changes_after: after(changes),
        }
    }

    /// The highest version that is certain before `time_us`.
    pub(super) fn before(&self, time_us: u64) -> u64 {
        let end = self.certain.partition_point(|(by_us, _)| *by_us < time_us);
        end.checked_sub(1).and_then(|last| self.certain.get(last)).map_or(0, |(_, v)| *v)
    }

    /// The lowest version of what was asked for after `time_us`.
    pub(super) fn lowest_after(changes: &[(u64, u64)], time_us: u64) -> u64 {
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

/// After which versions how many units were available, in order.
pub(super) struct Shelf(HashMap<u64, Vec<u64>>);

impl Shelf {
    pub(super) fn read(book: &Book<'_>) -> Self {
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
    pub(super) fn had(&self, available: u64, from: u64, until: u64) -> bool {
        let Some(versions) = self.0.get(&available) else { return false };
        let first = versions.partition_point(|version| *version < from);
        versions.get(first).is_some_and(|version| *version < until)
    }
}
