//! What the verdict says: how much was checked, and what did not hold.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::record::{Answer, Call, Record, Settlement};

/// The most violations of one check that are shown.
const SHOWN_MAX: usize = 10;

/// The most requests that one violation quotes.
const QUOTED_MAX: usize = 4;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Each journal is whole, adds up, and leads to the counters.
    Journal,
    /// No unit was promised twice.
    Promises,
    /// Every 201 is kept, and stands where its client's settlements and its time allow.
    Outcomes,
    /// A repeat got the answer that the first got.
    Repeats,
    /// Who asked later came later.
    Order,
    /// What the edge calls sold out was, not long before.
    SoldOut,
    /// The edge let through no more than its limit.
    Limit,
    /// What the clients took and gave back is what the journal says, and nothing else is in it.
    Accounts,
}

impl Check {
    /// All checks, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Journal,
        Self::Promises,
        Self::Outcomes,
        Self::Repeats,
        Self::Order,
        Self::SoldOut,
        Self::Limit,
        Self::Accounts,
    ];

    /// Its name: one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Promises => "promises",
            Self::Outcomes => "outcomes",
            Self::Repeats => "repeats",
            Self::Order => "order",
            Self::SoldOut => "sold-out",
            Self::Limit => "limit",
            Self::Accounts => "accounts",
        }
    }

    /// Whether it is about what an edge says: where there is none, there is nothing to check.
    pub fn is_of_edge(self) -> bool {
        matches!(self, Self::SoldOut | Self::Limit)
    }

    /// What it claims, as a sentence without its end.
    pub fn claim(self) -> &'static str {
        match self {
            Self::Journal => "every journal is whole and leads to its counters",
            Self::Promises => "no unit was promised twice",
            Self::Outcomes => "every 201 is kept, and ended only as asked or in time",
            Self::Repeats => "every repeat got the first answer",
            Self::Order => "who asked later came later",
            Self::SoldOut => "what the edge called sold out had been so a moment before",
            Self::Limit => "no window admitted more than limit x window + burst",
            Self::Accounts => "the clients' accounts and the journals' agree",
        }
    }

    /// What it counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Journal => "entries",
            Self::Promises | Self::Outcomes => "holds",
            Self::Repeats => "repeats",
            Self::Order => "decisions",
            Self::SoldOut => "answers of the edge",
            Self::Limit => "admitted requests",
            Self::Accounts => "holds, ends and tickets",
        }
    }
}

/// One thing that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// What was checked.
    pub check: Check,
    /// What is wrong, as a sentence that quotes the requests involved.
    pub what: String,
    /// The serial numbers of all records involved.
    pub records: Vec<u64>,
    /// The journal entries involved, by SKU and version.
    pub entries: Vec<(String, u64)>,
}

impl Violation {
    pub(super) fn new(check: Check, what: String) -> Self {
        Self { check, what, records: Vec::new(), entries: Vec::new() }
    }

    /// Names the requests involved, and quotes the first of them.
    pub(super) fn records<'a>(mut self, records: impl IntoIterator<Item = &'a Record>) -> Self {
        for record in records {
            let separator = match self.records.len() {
                0 => ": ",
                n if n < QUOTED_MAX => "; ",
                _ => "",
            };
            if !separator.is_empty() {
                self.what.push_str(separator);
                self.what.push_str(&quote(record));
            }
            self.records.push(record.serial);
        }
        if let Some(more @ 1..) = self.records.len().checked_sub(QUOTED_MAX) {
            self.what.push_str(&format!("; and {more} more"));
        }
        self
    }

    /// Names journal entries involved.
    pub(super) fn entries(mut self, sku: &str, versions: impl IntoIterator<Item = u64>) -> Self {
        self.entries.extend(versions.into_iter().map(|version| (sku.to_owned(), version)));
        self
    }
}

/// How much was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked(BTreeMap<Check, usize>);

impl Checked {
    /// How many of its [units](Check::unit) a check looked at.
    pub fn count(&self, check: Check) -> usize {
        self.0.get(&check).copied().unwrap_or_default()
    }
}

/// What came of judging a case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Everything that did not hold.
    pub violations: Vec<Violation>,
    /// How much was checked.
    pub checked: Checked,
}

impl Verdict {
    /// Whether everything held.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// What did not hold of one check.
    pub fn of(&self, check: Check) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(move |violation| violation.check == check)
    }

    pub(super) fn add(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    pub(super) fn count(&mut self, check: Check, checked: usize) {
        *self.checked.0.entry(check).or_default() += checked;
    }
}

/// A line per check, and below it what did not hold.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in Check::ALL {
            let (count, violations) = (self.checked.count(check), self.of(check).count());
            let (name, claim, unit) = (check.name(), check.claim(), check.unit());
            let said = match violations {
                0 if count == 0 => "nothing to check".to_owned(),
                0 => "held".to_owned(),
                1 => "1 VIOLATION".to_owned(),
                n => format!("{n} VIOLATIONS"),
            };
            writeln!(f, "{name:<9} {said}: {claim} ({count} {unit})")?;
            for violation in self.of(check).take(SHOWN_MAX) {
                writeln!(f, "  - {}", violation.what)?;
            }
            if let Some(more @ 1..) = violations.checked_sub(SHOWN_MAX) {
                writeln!(f, "  - and {more} more")?;
            }
        }
        let said = if self.holds() { "the verdict holds" } else { "THE VERDICT DOES NOT HOLD" };
        write!(f, "{said}")
    }
}

/// One request in one line: who, when, what, and what came back.
fn quote(record: &Record) -> String {
    let Record { serial, role, call, sent_us, ended_us, answer, .. } = record;
    let role = format!("{role:?}").to_lowercase();
    let (sent, ended) = (seconds(*sent_us), seconds(*ended_us));
    let call = match call {
        Call::Reserve(order) => {
            let key = order.key.as_ref().map(|key| format!(" key {key}")).unwrap_or_default();
            format!("{} x {} for {}{key}", order.quantity, order.sku, order.customer)
        }
        Call::Settle { id, how: Settlement::Confirm } => format!("confirm {id}"),
        Call::Settle { id, how: Settlement::Release } => format!("release {id}"),
        Call::Ticket { id } => format!("ticket {id}"),
    };
    format!("#{serial} {role} {sent}..{ended} s {call} -> {}", said(answer))
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Held { id, .. } => format!("held {id}"),
        Answer::Queued { ticket } => format!("202 ticket {ticket}"),
        Answer::SoldOut { available } => format!("sold-out ({available} available)"),
        Answer::SoldOutAtEdge { recheck_in_ms } => {
            format!("sold-out at the edge (for {recheck_in_ms} ms)")
        }
        Answer::OverLimit => "429".to_owned(),
        Answer::Settled => "200".to_owned(),
        Answer::Refused { status, problem } => format!("{status} {problem}"),
        Answer::HungUp => "hung up".to_owned(),
        Answer::Lost => "no answer".to_owned(),
    }
}

/// Microseconds, as seconds with three decimals.
fn seconds(us: u64) -> String {
    format!("{}.{:03}", us / 1_000_000, us / 1_000 % 1_000)
}
