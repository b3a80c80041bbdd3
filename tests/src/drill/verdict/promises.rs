//! Check *promises*: no unit was promised twice.
//!
//! Proves: a reservation id was told to one order only; its units were taken once, as many as were
//! asked for, from the SKU that was asked for (that they were not taken twice is part of
//! *journal*); and, from what clients were told alone, units in holds that were certainly alive at
//! one moment were never more than the stock was ever set to.
//!
//! Sound: a hold counts as alive only from when its 201 was complete. It counts as alive for ever
//! if its client was told that it is confirmed, or the service said when all was over that it is
//! still held or confirmed, since a hold ends once. It counts up to the first release that was sent
//! if the client was told that it is released: until then it must have been held. A hold that
//! expired does not count at all: when it did is known by the service's clock only. The stock is
//! the largest that the journal has ever seen, so that setting it anew raises no alarm.
//!
//! Cannot see: two promises of one unit to holds of which one expired, beyond what the journal
//! says; a stock that was lowered in between.

use std::collections::HashMap;

use super::super::record::{Answer, Call, Record, Settlement};
use super::book::{Book, Books};
use super::calls::{Calls, Held, OneOrder, told_id};
use super::{Case, Check, Verdict, Violation};

pub(super) fn check(case: &Case<'_>, calls: &Calls<'_>, books: &Books<'_>, verdict: &mut Verdict) {
    check_owners(calls, verdict);
    let mut lives: HashMap<&str, Vec<Life<'_>>> = HashMap::new();
    for (order, held) in calls.held() {
        let Some(book) = books.of(&order.wish.sku) else { continue };
        verdict.count(Check::Promises, 1);
        check_taken(case, order, held, book, verdict);
        if let Some(until_us) = alive_until(case, calls, held.id) {
            let (from_us, units) = (held.by.ended_us, order.wish.quantity.into());
            let life = Life { from_us, until_us, units, by: held.by };
            lives.entry(book.sku()).or_default().push(life);
        }
    }
    for (sku, lives) in lives {
        if let Some(book) = books.of(sku) {
            check_stock(book, &lives, verdict);
        }
    }
}

/// Nobody is told an id that another order was told.
fn check_owners(calls: &Calls<'_>, verdict: &mut Verdict) {
    for (place, order) in calls.orders.iter().enumerate() {
        let stolen = order.calls.iter().find_map(|call| {
            let id = told_id(&call.answer)?;
            let (owner, first) = calls.owner(id)?;
            (owner != place).then_some((id, first, *call))
        });
        if let Some((id, first, second)) = stolen {
            let what = format!("{}: two orders were told of {id}", order.wish.sku);
            verdict.add(Violation::new(Check::Promises, what).records([first, second]));
        }
    }
}

/// The journal takes the units that were asked for. An id that neither the journal nor the service
/// knows is gone altogether: that is reported by `outcomes`.
fn check_taken(
    case: &Case<'_>,
    order: &OneOrder<'_>,
    held: Held<'_>,
    book: &Book<'_>,
    verdict: &mut Verdict,
) {
    let (sku, id, asked) = (book.sku(), held.id, u64::from(order.wish.quantity));
    match book.taken(id) {
        None if case.reservations.contains_key(id) => {
            let what = format!("{sku}: the journal never took the units promised as {id}");
            verdict.add(Violation::new(Check::Promises, what).records([held.by]));
        }
        Some(taken) if taken.quantity != asked => {
            let (version, took) = (taken.version, taken.quantity);
            let what =
                format!("{sku}: {asked} units were promised, but entry {version} took {took}");
            let violation = Violation::new(Check::Promises, what).records([held.by]);
            verdict.add(violation.entries(sku, [version]));
        }
        _ => {}
    }
}

/// A hold, for as long as it was certainly alive.
struct Life<'a> {
    from_us: u64,
    until_us: u64,
    units: u64,
    by: &'a Record,
}

/// Until when a hold was certainly alive, if that can be told; `u64::MAX`: to the end.
fn alive_until(case: &Case<'_>, calls: &Calls<'_>, id: &str) -> Option<u64> {
    let settlements = calls.settlements(id);
    let is_told = |how: Settlement| {
        let is_such = |r: &&Record| matches!(r.call, Call::Settle { how: h, .. } if h == how);
        settlements.iter().any(|r| is_such(r) && r.answer == Answer::Settled)
    };
    let state = case.reservations.get(id).map(|reservation| reservation.state.as_str());
    let is_release = |r: &&&Record| matches!(r.call, Call::Settle { how: Settlement::Release, .. });
    if is_told(Settlement::Confirm) || matches!(state, Some("held" | "confirmed")) {
        Some(u64::MAX)
    } else if is_told(Settlement::Release) {
        settlements.iter().filter(is_release).map(|r| r.sent_us).min()
    } else {
        None
    }
}

/// Goes through the moments at which holds begin and end, and counts. A hold that ends when another
/// begins has ended before.
fn check_stock(book: &Book<'_>, lives: &[Life<'_>], verdict: &mut Verdict) {
    let Some(stock) = largest_stock(book) else { return };
    let lives: Vec<_> = lives.iter().filter(|life| life.from_us < life.until_us).collect();
    let begins = lives.iter().map(|life| (life.from_us, true, life.units));
    let ends = lives.iter().map(|life| (life.until_us, false, life.units));
    let mut moments: Vec<_> = begins.chain(ends).collect();
    moments.sort_unstable();
    let mut alive = 0_u64;
    for (at_us, is_begin, units) in moments {
        if !is_begin {
            alive = alive.saturating_sub(units);
            continue;
        }
        alive = alive.saturating_add(units);
        if alive > stock {
            let sku = book.sku();
            let what = format!("{sku}: {alive} units promised at one time, of a stock of {stock}");
            let at_that_time =
                lives.iter().filter(|life| life.from_us <= at_us && at_us < life.until_us);
            let records = at_that_time.map(|life| life.by);
            verdict.add(Violation::new(Check::Promises, what).records(records));
            return;
        }
    }
}

/// The most units that there ever were, by the journal: what was there before it, and what it sets.
fn largest_stock(book: &Book<'_>) -> Option<u64> {
    let first = book.journal().first()?.before;
    let before = first.available.saturating_add(first.held).saturating_add(first.confirmed);
    let sets = book.journal().iter().filter(|entry| entry.cause == "set");
    Some(sets.map(|entry| entry.quantity).fold(before, u64::max))
}
