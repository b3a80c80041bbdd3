//! The verdict: do the service's books agree with what its clients were told?
//!
//! [`judge`] is pure. It gets the clients' records and the evidence that was read when the drill
//! was over, and compares them; it never panics, whatever is in them. Each check has a module,
//! whose documentation says what the check proves, why it raises no false alarm, and what it cannot
//! see.
//!
//! Three rules keep all of them sound:
//!
//! - **Only what is certain counts.** A call that got no answer may have happened or not; one that
//!   got one happened at some moment between its being sent and its answer being complete.
//! - **Clocks are never compared.** The clients' times order calls among themselves; the service's
//!   times are held against the service's times. Nothing assumes that the two agree.
//! - **A journal that does not hold is no evidence.** What rests on a SKU's journal is checked if
//!   the journal itself is sound; otherwise one fault would be reported many times over.
//!
//! The SKUs must be the clients' alone while the drill runs: a stranger's hold looks stolen.

mod accounts;
mod book;
mod calls;
mod finding;
mod known;
mod limit;
mod lost;
mod order;
mod outcomes;
mod promises;
mod repeats;
mod sold_out;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use self::book::Books;
use self::calls::Calls;
pub(super) use self::calls::{is_decision, is_unknown};
pub use self::finding::{Check, Checked, Verdict, Violation};
pub use self::lost::Lost;
use super::record::{Record, ReservationEvidence, SkuEvidence};

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    records: &'a [Record],
    evidence: &'a [SkuEvidence],
    reservations: &'a HashMap<String, ReservationEvidence>,
    limits: Option<&'a Limits>,
    starts: Option<&'a HashMap<String, u64>>,
}

impl<'a> Case<'a> {
    /// The records of all calls that clients made, and then the evidence. It must have been read in
    /// this order: first `reservations`, of all ids that clients were told, then the journals.
    pub fn new(
        records: &'a [Record],
        reservations: &'a HashMap<String, ReservationEvidence>,
        evidence: &'a [SkuEvidence],
    ) -> Self {
        Self { records, evidence, reservations, limits: None, starts: None }
    }

    /// What the edge was configured with. Without it there was no edge, and nothing to check.
    pub fn limits(self, limits: &'a Limits) -> Self {
        Self { limits: Some(limits), ..self }
    }

    /// The versions of SKUs before the first call: what is in the journal up to there is others'
    /// business. A SKU that is not mentioned starts at 0.
    pub fn starts(self, starts: &'a HashMap<String, u64>) -> Self {
        Self { starts: Some(starts), ..self }
    }

    fn start_of(&self, sku: &str) -> u64 {
        self.starts.and_then(|starts| starts.get(sku)).copied().unwrap_or_default()
    }
}

/// What one edge admits of a SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Units per second, in the long run.
    pub per_second: u32,
    /// Units at once, after a pause.
    pub burst: u32,
}

/// What the edge admits of each SKU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of those that are not in `by_sku`.
    pub default: Limit,
    /// Of single SKUs.
    pub by_sku: HashMap<String, Limit>,
    /// When those of some SKUs count; the others do all the time.
    pub spans: HashMap<String, Span>,
}

/// A part of the drill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its beginning, in microseconds since the drill began.
    pub from_us: u64,
    /// Its end.
    pub until_us: u64,
}

impl Span {
    /// Whether all of a call lies in it, from its being sent to its answer.
    fn has(self, record: &Record) -> bool {
        self.from_us <= record.sent_us && record.ended_us <= self.until_us
    }
}

impl Limits {
    /// The same for every SKU, all the time.
    pub fn all(default: Limit) -> Self {
        Self { default, by_sku: HashMap::new(), spans: HashMap::new() }
    }

    /// The limit of a SKU.
    pub fn of(&self, sku: &str) -> Limit {
        self.by_sku.get(sku).copied().unwrap_or(self.default)
    }
}

/// Judges a case.
pub fn judge(case: &Case<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let calls = Calls::sort(case.records);
    let books = Books::open(case, &calls, &mut verdict);
    promises::check(case, &calls, &books, &mut verdict);
    outcomes::check(case, &calls, &books, &mut verdict);
    repeats::check(&calls, &mut verdict);
    order::check(&calls, &books, &mut verdict);
    sold_out::check(case, &calls, &books, &mut verdict);
    limit::check(case, &mut verdict);
    accounts::check(case, &calls, &books, &mut verdict);
    verdict
}
