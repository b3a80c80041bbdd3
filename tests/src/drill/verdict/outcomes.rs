//! Check *outcomes*: every 201 is kept, and its hold ended only as its client asked, or in time.
//!
//! Proves: each id that a client was told as held is a reservation still, of the SKU and quantity
//! that were ordered; its state is one that the answers to its settlements allow; a hold expired
//! not before its `expires_at`, was not confirmed or released after it, and was never still held
//! when the service did something else with that SKU at a later time.
//!
//! Sound: a settlement without an answer may have happened or not, so both are allowed. Expiry is
//! judged by the service's own clock on both sides: `expires_at` against `at` in the journal.
//! Whatever a SKU's journal says happened at a time t came after all expiries due by t, by the
//! service's own rule that holds that are due go back before anything else is judged.
//!
//! Cannot see: whether the service's clock is right.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use super::super::record::{Answer, Call, Record, ReservationEvidence, Settlement};
use super::book::{Book, Books, at_ms};
use super::calls::{Calls, Held, OneOrder, may_have_ended};
use super::{Case, Check, Verdict, Violation};

pub(super) fn check(case: &Case<'_>, calls: &Calls<'_>, books: &Books<'_>, verdict: &mut Verdict) {
    let mut due: HashMap<&str, Vec<Held<'_>>> = HashMap::new();
    for (order, held) in calls.held() {
        verdict.count(Check::Outcomes, 1);
        let book = books.of(&order.wish.sku);
        let settlements = calls.settlements(held.id);
        match case.reservations.get(held.id) {
            None => gone(held, book, verdict),
            Some(now) => {
                check_same(order, held, now, verdict);
                check_state(held, settlements, &now.state, verdict);
            }
        }
        if let Some(book) = book {
            check_end_time(held, book, verdict);
            due.entry(book.sku()).or_default().push(held);
        }
    }
    for (sku, held) in due {
        if let Some(book) = books.of(sku) {
            check_overdue(case, book, &held, verdict);
        }
    }
}

fn gone(held: Held<'_>, book: Option<&Book<'_>>, verdict: &mut Verdict) {
    let id = held.id;
    let taken = book.and_then(|book| book.taken(id).map(|taken| (book.sku(), taken.version)));
    let what = match taken {
        Some(_) => {
            format!("{id} was promised and is in the journal, but is no reservation any more")
        }
        None => format!("{id} was promised, but the service knows nothing of it any more"),
    };
    let mut violation = Violation::new(Check::Outcomes, what).records([held.by]);
    if let Some((sku, version)) = taken {
        violation = violation.entries(sku, [version]);
    }
    verdict.add(violation);
}

/// It is the reservation that was ordered.
fn check_same(
    order: &OneOrder<'_>,
    held: Held<'_>,
    now: &ReservationEvidence,
    verdict: &mut Verdict,
) {
    let wish = order.wish;
    if now.sku != wish.sku || now.quantity != u64::from(wish.quantity) {
        let what = format!("{} is a reservation of {} x {}", held.id, now.quantity, now.sku);
        verdict.add(Violation::new(Check::Outcomes, what).records([held.by]));
    }
}

/// Its state is one that its client's settlements allow.
fn check_state(held: Held<'_>, settlements: &[&Record], state: &str, verdict: &mut Verdict) {
    let told: BTreeSet<&str> = settlements.iter().filter_map(|call| told_state(call)).collect();
    let may_be = |how| may_have_ended(settlements, how);
    let is_allowed = match state {
        _ if told.len() > 1 => false,
        state if told.contains(state) => true,
        "held" | "expired" => told.is_empty(),
        "confirmed" => told.is_empty() && may_be(Settlement::Confirm),
        "released" => told.is_empty() && may_be(Settlement::Release),
        _ => false,
    };
    if is_allowed {
        return;
    }
    let told = told.into_iter().collect::<Vec<_>>().join(" and ");
    let what = match told.as_str() {
        "" => format!("{} is {state}, which nobody asked for", held.id),
        told => format!("{} is {state}, but its client was told that it is {told}", held.id),
    };
    let records = [held.by].into_iter().chain(settlements.iter().copied());
    verdict.add(Violation::new(Check::Outcomes, what).records(records));
}

/// What state the answer to a settlement tells.
fn told_state(call: &Record) -> Option<&'static str> {
    let Call::Settle { how, .. } = call.call else { return None };
    match (&call.answer, how) {
        (Answer::Settled, Settlement::Confirm) => Some("confirmed"),
        (Answer::Settled, Settlement::Release) => Some("released"),
        (Answer::Refused { problem, .. }, _) => match problem.as_str() {
            "hold-confirmed" => Some("confirmed"),
            "hold-released" => Some("released"),
            "hold-expired" => Some("expired"),
            "unknown-reservation" => Some("unknown"),
            _ => None,
        },
        _ => None,
    }
}

/// A hold expires at its time, and is not settled after it.
fn check_end_time(held: Held<'_>, book: &Book<'_>, verdict: &mut Verdict) {
    let Some(ended) = book.ended(held.id) else { return };
    let is_due = at_ms(ended).is_some_and(|at| i128::from(at) >= i128::from(held.expires_at_ms));
    let what = match (ended.cause.as_str(), is_due) {
        ("expire", false) => "expired before its time",
        ("confirm" | "release", true) => "was settled when its time was up",
        _ => return,
    };
    let (sku, version, at) = (book.sku(), ended.version, &ended.at);
    let what = format!("{sku}: {} {what}, at {at}, in entry {version}", held.id);
    let violation = Violation::new(Check::Outcomes, what).records([held.by]);
    verdict.add(violation.entries(sku, [version]));
}

/// Whatever happens to a SKU happens after the holds that are due have gone back. Reports the first
/// hold that had not. One that has ended, but not in the journal, is reported by `accounts`.
fn check_overdue(case: &Case<'_>, book: &Book<'_>, held: &[Held<'_>], verdict: &mut Verdict) {
    let is_in_books = |held: &&Held<'_>| {
        let is_held = case.reservations.get(held.id).is_some_and(|now| now.state == "held");
        is_held || book.ended(held.id).is_some()
    };
    let held = held.iter().filter(is_in_books);
    let held: HashMap<&str, &Held<'_>> = held.map(|held| (held.id, held)).collect();
    let mut due = BinaryHeap::new();
    for entry in book.journal() {
        let id = entry.reservation_id.as_deref().unwrap_or_default();
        let Some(now_ms) = at_ms(entry).filter(|_| entry.cause != "expire") else { continue };
        while let Some(Reverse((expires_at_ms, id))) = due.peek().copied()
            && i128::from(expires_at_ms) <= i128::from(now_ms)
        {
            due.pop();
            let has_ended = book.ended(id).is_some_and(|ended| ended.version <= entry.version);
            if let Some(held) = held.get(id).filter(|_| !has_ended) {
                let (sku, version, at) = (book.sku(), entry.version, &entry.at);
                let what = format!(
                    "{sku}: {id} was still held in entry {version}, at {at}, though its time was up"
                );
                let violation = Violation::new(Check::Outcomes, what).records([held.by]);
                return verdict.add(violation.entries(sku, [version]));
            }
        }
        if let ("reserve", Some(held)) = (entry.cause.as_str(), held.get(id)) {
            due.push(Reverse((held.expires_at_ms, held.id)));
        }
    }
}
