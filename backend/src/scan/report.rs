//! What was found, for people and for machines.

use std::fmt;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use serde::Serialize;

use super::logs::Lines;
use super::peaks::Found;
use super::register::Registration;
use crate::grouped::Grouped;
use crate::http::Rfc3339;

/// How many SKUs below the threshold are shown, for whoever looks for a better one.
const BELOW_MAX: usize = 5;

/// What is asked of a scan.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Asked {
    /// Over how long a peak is counted.
    pub(super) window_ms: u64,
    /// From which peak on a SKU is hot.
    pub(super) threshold_per_s: u32,
    /// How long after a later one a line may come.
    pub(super) late_ms: u64,
    /// How many are proposed at most.
    #[serde(skip)]
    pub(super) items_max: usize,
}

impl Asked {
    /// How many requests in a window make a SKU hot.
    pub(super) fn hot(&self) -> u64 {
        (u64::from(self.threshold_per_s) * self.window_ms).div_ceil(1_000)
    }

    fn per_s(&self, requests: u64) -> f64 {
        requests as f64 * 1_000.0 / self.window_ms as f64
    }
}

/// What was found in access logs. `Display` is for people.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    asked: Asked,
    /// The lines that were read.
    lines: Lines,
    /// When the first and the last counted request began.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_at: Option<Rfc3339>,
    /// Those that are proposed, the highest peak first.
    pub(super) hot_items: Vec<HotSku>,
    /// How many are hot, too, and not proposed. With `missed`, there may have been more.
    hot_items_more: usize,
    /// The highest of the others.
    below: Vec<HotSku>,
    /// There were more SKUs than are kept apart: what those may have had that are not told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<Missed>,
    /// What became of each proposal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registrations: Option<Vec<Registration>>,
}

/// The most that a SKU may have had that is not told of.
#[derive(Clone, Copy, Debug, Serialize)]
struct Missed {
    peak_per_s_max: f64,
    requests_max: u64,
}

/// How hot a SKU was.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HotSku {
    pub(super) sku: Sku,
    /// The most in a window, as requests per second.
    pub(super) peak_per_s: f64,
    /// By how much that may be too low.
    #[serde(skip_serializing_if = "is_zero")]
    peak_per_s_missed_max: f64,
    /// When that window began.
    pub(super) peak_at: Rfc3339,
    /// All of its requests, and those that were answered 429.
    requests: u64,
    denied: u64,
    /// By how many these may be too low.
    #[serde(skip_serializing_if = "is_none")]
    requests_missed_max: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Report {
    /// Proposes those that are hot. `found` has the highest peaks first; `lost_max` is the highest peak and
    /// the most requests of whoever is not in it.
    pub(super) fn new(
        asked: Asked,
        lines: Lines,
        span: Option<(UnixMs, UnixMs)>,
        found: &[Found],
        (peak_lost, requests_max): (u64, u64),
    ) -> Self {
        let (hot, rest) = found.split_at(found.partition_point(|found| found.peak >= asked.hot()));
        let shown = |all: &[Found], max: usize| {
            all.iter().take(max).map(|found| HotSku::new(found, &asked)).collect()
        };
        Self {
            asked,
            lines,
            first_at: span.map(|(first, _)| Rfc3339(first)),
            last_at: span.map(|(_, last)| Rfc3339(last)),
            hot_items: shown(hot, asked.items_max),
            hot_items_more: hot.len().saturating_sub(asked.items_max),
            below: shown(rest, BELOW_MAX),
            missed: (requests_max > 0)
                .then(|| Missed { peak_per_s_max: asked.per_s(peak_lost), requests_max }),
            registrations: None,
        }
    }

    /// Why this SKU is registered.
    pub(super) fn reason(&self, item: &HotSku) -> String {
        format!(
            "access log: {}/s over {} s at {}, threshold {}/s",
            rate(item.peak_per_s),
            self.asked.window_ms as f64 / 1_000.0,
            item.peak_at,
            count(self.asked.threshold_per_s.into()),
        )
    }
}

impl HotSku {
    fn new(found: &Found, asked: &Asked) -> Self {
        let ended = found.peak_at.0;
        Self {
            sku: found.sku.clone(),
            peak_per_s: asked.per_s(found.peak),
            peak_per_s_missed_max: asked.per_s(found.peak_missed_max),
            peak_at: Rfc3339(UnixMs((ended + 1).saturating_sub(asked.window_ms))),
            requests: found.requests,
            denied: found.denied,
            requests_missed_max: found.requests_missed_max,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_lines(f)?;
        let seconds = self.asked.window_ms as f64 / 1_000.0;
        let threshold = count(self.asked.threshold_per_s.into());
        writeln!(f, "\nhot, {threshold}/s or more over {seconds} s:")?;
        write_table(f, &self.hot_items)?;
        if self.hot_items_more > 0 {
            writeln!(f, "  and {} more", count(self.hot_items_more as u64))?;
        }
        if !self.below.is_empty() {
            writeln!(f, "\nbelow that:")?;
            write_table(f, &self.below)?;
        }
        if let Some(Missed { peak_per_s_max, requests_max }) = self.missed {
            let (peak, requests) = (rate(peak_per_s_max), count(requests_max));
            writeln!(
                f,
                "\nThere were more SKUs than are kept apart: one of which nothing is kept may have had a \
                 peak of {peak}/s, and {requests} requests."
            )?;
        }
        let Some(registrations) = &self.registrations else { return Ok(()) };
        writeln!(f, "\nregistration:")?;
        registrations.iter().try_for_each(|registration| writeln!(f, "  {registration}"))
    }
}

impl Report {
    fn write_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lines { read, counted, other, no_sku, old, unreadable, late } = self.lines;
        write!(f, "{} lines: {} requests for a SKU", count(read), count(counted))?;
        if let (Some(first), Some(last)) = (self.first_at, self.last_at) {
            write!(f, " ({first} to {last})")?;
        }
        write!(f, ", {} other", count(other))?;
        let rest = [(no_sku, "without a SKU"), (old, "too old"), (unreadable, "unreadable")];
        for (lines, what) in rest.into_iter().filter(|(lines, _)| *lines > 0) {
            write!(f, ", {} {what}", count(lines))?;
        }
        writeln!(f)?;
        if late > 0 {
            let (late, late_ms) = (count(late), count(self.asked.late_ms));
            writeln!(
                f,
                "{late} came more than {late_ms} ms late: they are in no peak (--late-ms)"
            )?;
        }
        Ok(())
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, items: &[HotSku]) -> fmt::Result {
    if items.is_empty() {
        return writeln!(f, "  none");
    }
    let width = items.iter().map(|item| item.sku.as_str().len()).max().unwrap_or(0).max(3);
    writeln!(
        f,
        "  {:<width$}  {:>12}  {:<24}  {:>14}  {:>12}",
        "SKU", "peak/s", "from", "requests", "denied"
    )?;
    for item in items {
        let peak = at_least(rate(item.peak_per_s), item.peak_per_s_missed_max > 0.0);
        let requests = at_least(count(item.requests), item.requests_missed_max > 0);
        let (sku, at, denied) = (item.sku.as_str(), item.peak_at.to_string(), count(item.denied));
        writeln!(f, "  {sku:<width$}  {peak:>12}  {at:<24}  {requests:>14}  {denied:>12}")?;
        if item.requests_missed_max > 0 {
            let missed = (rate(item.peak_per_s_missed_max), count(item.requests_missed_max));
            writeln!(f, "  {:width$}  at most {}/s and {} requests more", "", missed.0, missed.1)?;
        }
    }
    Ok(())
}

fn at_least(figure: String, is_least: bool) -> String {
    if is_least { format!(">= {figure}") } else { figure }
}

/// `1,840`; with a digit more where that says something.
fn rate(per_s: f64) -> String {
    let tenths = (per_s * 10.0).round() as u64;
    match tenths % 10 {
        0 => count(tenths / 10),
        tenth => format!("{}.{tenth}", count(tenths / 10)),
    }
}

/// Fills columns, which what has a `Display` of its own does not.
fn count(number: u64) -> String {
    Grouped(number).to_string()
}
