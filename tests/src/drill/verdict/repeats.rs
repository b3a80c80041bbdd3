//! Check *repeats*: an order that came again with its key got the answer it got before.
//!
//! Proves: all answers to one order (same key, customer, SKU and quantity, and what its ticket led
//! to) name one reservation with one `expires_at`, or say sold-out with the same number of units
//! available; a ticket becomes the reservation of the same id; a key is not taken twice for one
//! customer and SKU with different quantities, and is refused as reused only if it was.
//!
//! Sound: a 202 goes with either outcome, and answers that decide nothing (429, 503, none) go with
//! all. Outcomes are kept for a day and refusals for minutes; a drill is shorter, if the service's
//! memory of refusals (`refusals_max`) is not smaller than the number of orders.
//!
//! Cannot see: repeats that no client made. The witness repeats only what got no answer.

use std::collections::HashMap;

use super::super::record::{Answer, Record};
use super::calls::{Calls, OneOrder, is_decision, told_id};
use super::{Check, Verdict, Violation};

pub(super) fn check(calls: &Calls<'_>, verdict: &mut Verdict) {
    let mut keys: HashMap<_, Vec<&OneOrder<'_>>> = HashMap::new();
    for order in &calls.orders {
        let answers = order.calls.iter().filter(|call| is_telling(call)).count();
        verdict.count(Check::Repeats, answers.saturating_sub(1));
        if let Some((first, second, what)) = difference(order) {
            let what = format!("{}: one order was told {what}", order.wish.sku);
            verdict.add(Violation::new(Check::Repeats, what).records([first, second]));
        }
        if let Some(key) = &order.wish.key {
            let name = (key, &order.wish.customer, &order.wish.sku);
            keys.entry(name).or_default().push(order);
        }
    }
    for ((key, _, sku), orders) in keys {
        check_key(key, sku, &orders, verdict);
    }
}

/// Whether a call's answer must agree with those to the same order.
fn is_telling(call: &Record) -> bool {
    is_decision(&call.answer) || told_id(&call.answer).is_some()
}

/// The first answer, and the first one after it that does not agree with it.
fn difference<'a>(order: &OneOrder<'a>) -> Option<(&'a Record, &'a Record, &'static str)> {
    let told: Vec<&Record> = order.calls.iter().copied().filter(|call| is_telling(call)).collect();
    // A ticket says less than what it led to: whatever else was said is compared with that.
    let decided = told.iter().find(|call| is_decision(&call.answer));
    let first = *decided.or(told.first())?;
    told.into_iter()
        .find_map(|call| disagree(&first.answer, &call.answer).map(|what| (first, call, what)))
}

/// How two answers to one order contradict each other.
fn disagree(first: &Answer, second: &Answer) -> Option<&'static str> {
    use Answer::{Held, Queued, SoldOut};
    match (first, second) {
        (Held { .. }, SoldOut { .. }) | (SoldOut { .. }, Held { .. }) => {
            Some("both held and sold-out")
        }
        (SoldOut { available }, SoldOut { available: other }) if available != other => {
            Some("sold-out twice, with different units available")
        }
        (Held { expires_at_ms, id }, Held { expires_at_ms: other, id: other_id })
            if id == other_id && expires_at_ms != other =>
        {
            Some("two times at which its hold expires")
        }
        (
            Held { id, .. } | Queued { ticket: id },
            Held { id: other, .. } | Queued { ticket: other },
        ) if id != other => Some("of two reservations"),
        _ => None,
    }
}

/// Of the orders under one key, which differ in quantity only, one was taken; the others are
/// refused.
fn check_key(key: &str, sku: &str, orders: &[&OneOrder<'_>], verdict: &mut Verdict) {
    let first_told = |order: &&OneOrder<'_>| {
        order.calls.iter().copied().find(|call| is_telling(call)).map(|call| call.serial)
    };
    let taken: Vec<_> = orders.iter().filter(|order| first_told(order).is_some()).collect();
    if taken.len() > 1 {
        let what = format!("{sku}: the key {key} was taken for different quantities");
        let records = taken.iter().filter_map(|o| o.calls.iter().copied().find(|c| is_telling(c)));
        verdict.add(Violation::new(Check::Repeats, what).records(records));
    }
    let is_reused = |call: &&Record| match &call.answer {
        Answer::Refused { problem, .. } => problem == "idempotency-key-reused",
        _ => false,
    };
    if let [order] = orders
        && let Some(refused) = order.calls.iter().copied().find(is_reused)
    {
        let what = format!("{sku}: a repeat was refused as another order under its key");
        verdict.add(Violation::new(Check::Repeats, what).records([refused]));
    }
}
