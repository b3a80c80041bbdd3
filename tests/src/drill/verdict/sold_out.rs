//! Check *sold-out*: what the edge called sold out had been so a moment before.
//!
//! Proves, per SKU: when the edge said sold-out by itself, no unit was available at some moment up to its
//! answer, and not long before: at most as long as a hold lasts, less what the edge said was left of that
//! time (`recheck_in_ms`).
//!
//! Sound: how long the service's word is on its way to an edge nobody can promise, and an edge that hears
//! of it no more goes on with what it has heard. But that word has an end: the service says it when no unit
//! is available, until the first of the holds expires, and the edge tells how long that is from now. So when
//! it was said that end was no further away than the longest hold of the SKU that clients were told of. (For
//! a SKU whose units are all sold the end is further away; but then nothing comes back at all.) All of these
//! are lengths of time: a hold's begins and ends by the service's clock, and no two clocks are compared. What
//! an edge makes of the service's time may be wrong by half a report's way, and what the service shows itself
//! is a turn old: a second is allowed for both. What was on the shelf then is known as in *order*, but that
//! orders in a queue do not count: the edge waits for none.
//!
//! Cannot see: a word that is kept too long, as long as it is not kept for longer than a hold; of a SKU of
//! which no client was told of a hold, anything but that there was such a moment.

use std::collections::HashMap;

use super::super::record::{Answer, Call, Record};
use super::book::{Book, Books, at_ms};
use super::calls::Calls;
use super::known::{Known, Shelf, decided};
use super::{Case, Check, Verdict, Violation};

/// How far the edge and the service may be off together.
const SLACK_US: u64 = 1_000_000;

/// What the service says of a SKU counts at least for so long, if it does not know its holds.
const SAID_FOR_US_MIN: u64 = 2_000_000;

pub(super) fn check(case: &Case<'_>, calls: &Calls<'_>, books: &Books<'_>, verdict: &mut Verdict) {
    let (orders, said) = (calls.by_sku(), said_by_sku(case.records));
    for book in books.iter() {
        let Some(said) = said.get(book.sku()) else { continue };
        let orders = orders.get(book.sku()).map_or(&[][..], Vec::as_slice);
        let known = Known::new(&[], &decided(book, orders, calls));
        let (shelf, said_for_us) = (Shelf::read(book), said_for_us(book, calls));
        for &(call, recheck_in_us) in said {
            verdict.count(Check::SoldOut, 1);
            let ends_us = call.sent_us.saturating_add(recheck_in_us);
            let since_us = ends_us.saturating_sub(said_for_us).min(call.sent_us);
            let from = known.before(since_us);
            let until = Known::lowest_after(&known.changes_after, call.ended_us);
            if !shelf.had(0, from, until) {
                let what = format!(
                    "{}: the edge said sold-out, but there were units at any time from entry {from} on, \
                     which is the last that was certain by {:.3} s",
                    book.sku(),
                    since_us as f64 / 1e6,
                );
                let violation = Violation::new(Check::SoldOut, what).records([call]);
                verdict.add(violation.entries(book.sku(), [from]));
            }
        }
    }
}

/// Of each SKU, the calls that the edge answered by sold-out, and for how long it said so, in microseconds.
fn said_by_sku(records: &[Record]) -> HashMap<&str, Vec<(&Record, u64)>> {
    let mut said: HashMap<_, Vec<_>> = HashMap::new();
    for record in records {
        if let (Call::Reserve(order), Answer::SoldOutAtEdge { recheck_in_ms }) =
            (&record.call, &record.answer)
        {
            let recheck_in_us = recheck_in_ms.saturating_mul(1_000);
            said.entry(order.sku.as_str()).or_default().push((record, recheck_in_us));
        }
    }
    said
}

/// The longest for which the service says so, in microseconds; for ever, if no hold is known.
fn said_for_us(book: &Book<'_>, calls: &Calls<'_>) -> u64 {
    let lasts_us = calls.held().filter_map(|(_, held)| {
        let taken_ms = at_ms(book.taken(held.id)?)?;
        let expires_ms = i64::try_from(held.expires_at_ms).unwrap_or(i64::MAX);
        let lasts_ms = u64::try_from(expires_ms.saturating_sub(taken_ms)).ok()?;
        Some(lasts_ms.saturating_mul(1_000))
    });
    let longest_us = lasts_us.max().map_or(u64::MAX, |longest_us| longest_us.max(SAID_FOR_US_MIN));
    longest_us.saturating_add(SLACK_US)
}
