//! Check *limit*: the edge let through no more than `limit x window + burst`.
//!
//! Proves, per SKU and for windows of 0.1 to 30 s and the whole drill, wherever they begin: the units
//! of orders that the edge admitted within the window are at most `limit * window + burst`.
//!
//! Sound: an order counts only if its answer can come from behind the edge alone, and only in
//! windows that contain all of it, from its being sent to its answer. Wherever in between it was
//! admitted, it was in the window. Times are whole microseconds, cut off, so a window may be one
//! longer than it looks at either end. The witness asks the service itself, and does not count. The
//! clients' seconds are held against the edge's, as long as both count them by a steady clock.
//!
//! A limit that came and went with the sale, as that of a product which was noticed, is judged from when
//! every edge had acknowledged it until the product was still registered, both as the drill saw it by its
//! own clock: from when the first answer was complete that said so, to when the last question was asked that
//! found it. Only orders count that lie in this time with all of theirs: whatever edges admitted by limits of
//! their own, before and after, is not among them. (An edge acknowledges with its next report, which is long
//! after its threads have looked. If one has not, what it admits meanwhile fits into the burst that shares
//! begin without.)
//!
//! Cannot see: orders that were admitted and got no answer, and those whose answer took longer than
//! the window. Hence the longer windows; and where most answers took longer than a second, the
//! verdict does not hold: what cannot be judged has not been shown. A service that lets callers wait
//! for less (`wait_ms`) tells sooner.

use std::collections::{BinaryHeap, HashMap};

use super::super::record::{Call, Record, Role};
use super::{Case, Check, Limit, Limits, Span, Verdict, Violation};

/// The windows, in microseconds; the whole drill comes on top.
const WINDOWS_US: [u64; 5] = [100_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000];

/// The window in which most orders must have found room.
const JUDGED_US: u64 = 1_000_000;

/// How many admitted orders in a hundred must have been answered within that time, of a SKU with so
/// many orders that it matters.
const JUDGED_PERCENT_MIN: usize = 80;
const JUDGED_MIN: usize = 100;

pub(super) fn check(case: &Case<'_>, verdict: &mut Verdict) {
    let Some(limits) = case.limits else { return };
    let mut admitted: HashMap<&str, Vec<Admitted<'_>>> = HashMap::new();
    for record in case.records {
        if let Call::Reserve(order) = &record.call
            && record.role != Role::Witness
            && record.answer.is_from_service()
            && limits.spans.get(&order.sku).is_none_or(|span| span.has(record))
        {
            let units = order.quantity.into();
            admitted.entry(&order.sku).or_default().push(Admitted { units, record });
            verdict.count(Check::Limit, 1);
        }
    }
    for (sku, mut admitted) in admitted {
        check_blindness(sku, &admitted, verdict);
        admitted.sort_unstable_by_key(|a| a.record.sent_us);
        let first = admitted.first().map_or(0, |a| a.record.sent_us);
        let last = admitted.iter().map(|a| a.record.ended_us).max().unwrap_or_default();
        let whole_us = last.saturating_sub(first);
        let shorter = WINDOWS_US.into_iter().filter(|window| *window < whole_us);
        for window_us in shorter.chain([whole_us]) {
            check_windows(sku, limits, &admitted, window_us, verdict);
        }
    }
}

/// An order that the edge let through.
struct Admitted<'a> {
    units: u64,
    record: &'a Record,
}

/// Says so where most orders took too long to tell when they were admitted.
fn check_blindness(sku: &str, admitted: &[Admitted<'_>], verdict: &mut Verdict) {
    let span_us = |a: &Admitted<'_>| a.record.ended_us.saturating_sub(a.record.sent_us);
    let soon = admitted.iter().filter(|a| span_us(a) <= JUDGED_US).count();
    let all = admitted.len();
    if all < JUDGED_MIN || soon * 100 >= all * JUDGED_PERCENT_MIN {
        return;
    }
    let what = format!(
        "{sku}: its limit cannot be judged, since only {soon} of {all} admitted orders were answered \
         within a second: let callers wait for less (wait_ms)"
    );
    verdict.add(Violation::new(Check::Limit, what));
}

/// Checks all windows of one length; reports the one in which most was admitted.
fn check_windows(
    sku: &str,
    limits: &Limits,
    admitted: &[Admitted<'_>],
    window_us: u64,
    verdict: &mut Verdict,
) {
    let limit = limits.of(sku);
    let allowed = allowed(limit, window_us);
    let (most, from_us) = fullest(admitted, window_us);
    if most <= allowed {
        return;
    }
    let until_us = from_us.saturating_add(window_us);
    let records = admitted.iter().map(|a| a.record);
    let within = records.filter(|r| from_us <= r.sent_us && r.ended_us <= until_us);
    let Limit { per_second, burst } = limit;
    let mut what = format!(
        "{sku}: {most} units admitted within {:.3} s from {:.3} s on, where {per_second}/s with a \
         burst of {burst} allow {allowed}",
        seconds(window_us),
        seconds(from_us),
    );
    if let Some(Span { from_us, until_us }) = limits.spans.get(sku).copied() {
        let (from_s, until_s) = (seconds(from_us), seconds(until_us));
        what += &format!(", and all edges knew that from {from_s:.3} to {until_s:.3} s");
    }
    verdict.add(Violation::new(Check::Limit, what).records(within));
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// The units that may be admitted in a window, which may be longer than it looks.
fn allowed(limit: Limit, window_us: u64) -> u64 {
    let window_us = u128::from(window_us) + 2;
    let units = u128::from(limit.per_second) * window_us / 1_000_000 + u128::from(limit.burst);
    u64::try_from(units).unwrap_or(u64::MAX)
}

/// The most units within any window of this length, and where it begins. Some fullest window begins
/// where an order was sent; as it moves to earlier ones, orders that end after it leave for good.
fn fullest(by_sent: &[Admitted<'_>], window_us: u64) -> (u64, u64) {
    let (mut most, mut most_from_us) = (0, 0);
    let (mut units, mut by_ended) = (0_u64, BinaryHeap::new());
    for admitted in by_sent.iter().rev() {
        let from_us = admitted.record.sent_us;
        units = units.saturating_add(admitted.units);
        by_ended.push((admitted.record.ended_us, admitted.units));
        let until_us = from_us.saturating_add(window_us);
        while let Some((ended_us, left)) = by_ended.peek().copied()
            && ended_us > until_us
        {
            by_ended.pop();
            units = units.saturating_sub(left);
        }
        if units > most {
            (most, most_from_us) = (units, from_us);
        }
    }
    (most, most_from_us)
}
