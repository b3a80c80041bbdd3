//! Check *accounts*: what the clients took and gave back is what the journals say, and nothing else
//! is in them.
//!
//! Proves: a reservation that has ended is ended in the journal, in the same way (with *outcomes*:
//! every 200 to a settlement is in the journal); nothing was confirmed or released in the journal
//! that nobody asked for; holds in the journal that no client was told of are at most as many as
//! orders of that quantity that got no answer; every ticket led to an outcome.
//!
//! Sound: an order counts as unanswered if any of its attempts may have taken effect and none was
//! told a decision or an id; with a key it counts once however often it was sent, since it is one
//! order. The reservations were read before the journals, so that what had ended then is in them.
//!
//! Cannot see: which of the unanswered orders a hold belongs to.

use std::collections::BTreeMap;

use super::super::record::{Answer, Call, Entry, Settlement};
use super::book::{Book, Books};
use super::calls::{Calls, OneOrder, is_decision, is_unknown, may_have_ended, told_id};
use super::{Case, Check, Verdict, Violation};

pub(super) fn check(case: &Case<'_>, calls: &Calls<'_>, books: &Books<'_>, verdict: &mut Verdict) {
    let mut unanswered: BTreeMap<(&str, u64), usize> = BTreeMap::new();
    for order in calls.orders.iter().filter(|order| is_unanswered(order)) {
        let kind = (order.wish.sku.as_str(), u64::from(order.wish.quantity));
        *unanswered.entry(kind).or_default() += 1;
    }
    for book in books.iter() {
        check_ends(case, calls, book, verdict);
        check_strays(calls, book, &unanswered, verdict);
    }
    for (order, held) in calls.held() {
        if let Some(book) = books.of(&order.wish.sku) {
            check_ended(case, held.id, book, verdict);
        }
    }
    calls.orders.iter().for_each(|order| check_ticket(order, verdict));
}

/// Whether an order may have taken units without anybody being told.
fn is_unanswered(order: &OneOrder<'_>) -> bool {
    let is_told = |answer: &Answer| is_decision(answer) || told_id(answer).is_some();
    order.calls.iter().any(|call| is_unknown(&call.answer))
        && !order.calls.iter().any(|call| is_told(&call.answer))
}

/// What the journal confirms or releases, somebody asked for. If the reservation agrees with the
/// journal and not with its client, that is reported by `outcomes`.
fn check_ends(case: &Case<'_>, calls: &Calls<'_>, book: &Book<'_>, verdict: &mut Verdict) {
    for entry in of_this_drill(book) {
        let (how, state) = match entry.cause.as_str() {
            "confirm" => (Settlement::Confirm, "confirmed"),
            "release" => (Settlement::Release, "released"),
            _ => continue,
        };
        verdict.count(Check::Accounts, 1);
        let id = entry.reservation_id.as_deref().unwrap_or_default();
        let is_reported = case.reservations.get(id).is_some_and(|now| now.state == state);
        // Who took it before the drill may end it while it goes on.
        let is_others = book.taken(id).is_none_or(|taken| taken.version <= book.start);
        if !is_reported && !is_others && !may_have_ended(calls.settlements(id), how) {
            let (sku, version) = (book.sku(), entry.version);
            let what = format!("{sku}: entry {version} has {id} {state}, which nobody asked for");
            let told = calls.owner(id).map(|(_, call)| call);
            let violation = Violation::new(Check::Accounts, what).records(told);
            verdict.add(violation.entries(sku, [version]));
        }
    }
}

/// Holds that no client was told of are the work of orders that got no answer.
fn check_strays(
    calls: &Calls<'_>,
    book: &Book<'_>,
    unanswered: &BTreeMap<(&str, u64), usize>,
    verdict: &mut Verdict,
) {
    let mut strays: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let taken = of_this_drill(book).filter(|entry| entry.cause == "reserve");
    for entry in taken.filter(|entry| !book.is_gone(entry.version)) {
        verdict.count(Check::Accounts, 1);
        let is_told = entry.reservation_id.as_deref().is_some_and(|id| calls.owner(id).is_some());
        if !is_told {
            strays.entry(entry.quantity).or_default().push(entry.version);
        }
    }
    let sku = book.sku();
    for (quantity, versions) in strays {
        let orders = unanswered.get(&(sku, quantity)).copied().unwrap_or_default();
        if versions.len() > orders {
            let what = format!(
                "{sku}: no client was told of {} holds of {quantity} (the first in entry {}), but \
                 only {orders} orders of {quantity} got no answer",
                versions.len(),
                versions.first().copied().unwrap_or_default(),
            );
            verdict.add(Violation::new(Check::Accounts, what).entries(sku, versions));
        }
    }
}

/// A reservation that has ended did so in the journal, in the same way.
fn check_ended(case: &Case<'_>, id: &str, book: &Book<'_>, verdict: &mut Verdict) {
    let state = case.reservations.get(id).map(|now| now.state.as_str());
    let cause = match state {
        Some("confirmed") => "confirm",
        Some("released") => "release",
        Some("expired") => "expire",
        _ => return,
    };
    let ended = book.ended(id);
    // A hold that is not even taken there is reported by `promises`.
    if book.taken(id).is_none() || ended.is_some_and(|ended| ended.cause == cause) {
        return;
    }
    let (sku, state) = (book.sku(), state.unwrap_or_default());
    let what = match ended {
        Some(ended) => format!("ends it by {} in entry {}", ended.cause, ended.version),
        None => "does not end it".to_owned(),
    };
    let what = format!("{sku}: {id} is {state}, but the journal {what}");
    let violation = Violation::new(Check::Accounts, what);
    verdict.add(violation.entries(sku, ended.map(|ended| ended.version)));
}

/// A ticket leads to an outcome.
fn check_ticket(order: &OneOrder<'_>, verdict: &mut Verdict) {
    let queued = order.calls.iter().find(|call| matches!(call.answer, Answer::Queued { .. }));
    let Some(queued) = queued else { return };
    verdict.count(Check::Accounts, 1);
    if order.calls.iter().any(|call| is_decision(&call.answer)) {
        return;
    }
    let asked = order.calls.iter().filter(|call| matches!(call.call, Call::Ticket { .. }));
    let last = asked.max_by_key(|call| call.ended_us).copied();
    let what = format!("{}: a ticket led to no outcome", order.wish.sku);
    let records = [*queued].into_iter().chain(last.filter(|last| last.serial != queued.serial));
    verdict.add(Violation::new(Check::Accounts, what).records(records));
}

/// The entries since the drill began.
fn of_this_drill<'a>(book: &Book<'a>) -> impl Iterator<Item = &'a Entry> {
    let start = book.start;
    book.journal().iter().filter(move |entry| entry.version > start)
}
