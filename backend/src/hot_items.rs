//! Hot items: SKUs with a lane and terms of their own, and the history of what was changed of them.

use std::num::NonZeroU32;

use cartgate_ledger::{Terms, UnixMs};
use cartgate_policy::gcra::Limit;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// How many changes of a SKU's entry are kept.
pub const HISTORY_MAX: usize = 100;

/// How many SKUs that are hot items no more have a history, of a whole store; when there is one more,
/// the one goes that was changed longest ago. At 300 bytes a change, long reasons included, all of them
/// are at most 30 MB.
const FORMER_MAX: usize = 1_000;

/// How many of these there are at least in each part of a store with an owner of its own: SKUs are not
/// spread evenly.
const FORMER_OF_PART_MIN: usize = 16;

/// What is asked for a hot item, by the names that clients know, and goes on until it is asked for otherwise;
/// but for when it ends. Who has asked and why is told anew with each change.
pub const TERMS: [&str; 8] = [
    "reserves_per_s",
    "customer_cap",
    "opens_at",
    "closes_at",
    "limit",
    "client_limit",
    "wait_target_ms",
    "paused",
];

/// A SKU in the registry of hot items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotItem {
    /// Reserve commands that its lane applies per second; `None`: as many as it can.
    pub reserves_per_s: Option<NonZeroU32>,
    /// The rules of its sale.
    pub terms: Terms,
    /// What the edges make of it.
    pub edge: EdgeTerms,
    /// Who put it in, or changed it last.
    pub origin: Origin,
    /// When it is to be taken out of the registry; `None`: never.
    pub expires_at: Option<UnixMs>,
    /// Counts the changes of the SKU's entry, removals among them, for as long as its history is kept.
    /// What a failover of a shared store has lost may be given again.
    pub version: u64,
    /// Since when it is a hot item.
    pub since: UnixMs,
    /// When it was last changed.
    pub changed_at: UnixMs,
}

impl HotItem {
    /// Whether the same was asked for. What the registry itself keeps (version and times) does not
    /// count.
    pub fn is_as_asked(&self, other: &Self) -> bool {
        let Self { version, since, changed_at, .. } = *self;
        *self == Self { version, since, changed_at, ..*other }
    }
}

/// What the edges make of a hot item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeTerms {
    /// The limit of the whole fleet of edges together.
    pub limit: Option<Limit>,
    /// The limit of each client, in place of the limit in each of the edge's `client_limits`.
    pub client_limit: Option<Limit>,
    /// If there is one, the fleet's limit follows what the lane drains, so that nobody waits longer than
    /// about so many milliseconds. `limit` is the most that it may come to then.
    pub wait_target_ms: Option<NonZeroU32>,
    /// Whether the sale is paused: an operator's switch.
    pub is_paused: bool,
}

/// Who put a SKU into the registry, or took it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An operator.
    #[default]
    Manual,
    /// Whatever noticed that it is hot.
    Detected,
    /// A plan of sales.
    Scheduled,
}

/// Why a change was made: a text for the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "Box<str>")]
pub struct Reason(Box<str>);

impl Reason {
    /// The longest, in bytes.
    pub const LEN_MAX: usize = 200;

    /// Accepts 1 to [`Reason::LEN_MAX`] bytes without control characters.
    ///
    /// # Errors
    /// It is too long, empty, or cannot be printed.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, ReasonError> {
        let text = text.into();
        let is_printable = !text.chars().any(char::is_control);
        if (1..=Self::LEN_MAX).contains(&text.len()) && is_printable {
            Ok(Self(text))
        } else {
            Err(ReasonError { len: text.len() })
        }
    }
}

impl TryFrom<Box<str>> for Reason {
    type Error = ReasonError;

    fn try_from(text: Box<str>) -> Result<Self, ReasonError> {
        Self::new(text)
    }
}

impl From<Reason> for Box<str> {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

/// A text that is no [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a reason is 1 to {} bytes without control characters, not {len}", Reason::LEN_MAX)]
pub struct ReasonError {
    len: usize,
}

/// Who asks for a change of the registry, why, and on what condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Who asks for it. An entry has this for its own [`HotItem::origin`] from then on.
    pub origin: Origin,
    /// Why.
    pub reason: Option<Reason>,
    /// The version that the entry has to have, 0 if there is to be none; `None`: whatever there is, or is
    /// not.
    pub expected_version: Option<u64>,
    /// Whether an entry is taken out because [`HotItem::expires_at`] has come.
    pub has_expired: bool,
}

/// What became of a change of the registry that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What was done; `None`: nothing, since all was so already.
    pub kind: Option<ChangeKind>,
    /// The SKU's entry from then on; `None`: it has none.
    pub item: Option<HotItem>,
}

/// What was done to a SKU's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The SKU became a hot item.
    Registered,
    /// It is one on other terms.
    Changed,
    /// It is one no more.
    Removed,
    /// It is one no more, since its time was over.
    Expired,
}

/// A change of a SKU's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its number among the SKU's changes: what it left has it for [`HotItem::version`].
    pub version: u64,
    /// When it was made.
    pub at: UnixMs,
    /// What was done.
    pub kind: ChangeKind,
    /// Who did it.
    pub origin: Origin,
    /// Why.
    pub reason: Option<Reason>,
    /// The entry after it.
    pub item: Option<HotItem>,
}

/// The last changes of a SKU's entry, [`HISTORY_MAX`] at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotItemHistory(Vec<HistoryEntry>);

impl HotItemHistory {
    /// The latest; `None`: nothing was changed, or that is forgotten.
    pub fn last(&self) -> Option<&HistoryEntry> {
        self.0.last()
    }

    /// All of them, the latest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &HistoryEntry> {
        self.0.iter().rev()
    }

    /// Adds one, and drops the first if that is one too many.
    pub fn push(&mut self, entry: HistoryEntry) {
        let excess = (self.0.len() + 1).saturating_sub(HISTORY_MAX);
        self.0.drain(..excess);
        self.0.push(entry);
    }
}

/// How many SKUs that are hot items no more have a history, of each of the parts that a store is
/// divided into.
pub fn former_max(parts: u16) -> usize {
    (FORMER_MAX / usize::from(parts.max(1))).max(FORMER_OF_PART_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_can_be_printed() {
        let check = |text: &str, is_one: bool| assert_eq!(Reason::new(text).is_ok(), is_one);
        check("access log: 1,840/s \u{2014} m\u{fc}de", true);
        check(&"x".repeat(200), true);
        check(&"x".repeat(201), false);
        check(&"\u{fc}".repeat(101), false);
        check("", false);
        check("one\ntwo", false);
        check("\u{1b}[31m", false);
        let read = serde_json::from_str::<Reason>("\"a\\u0000\"").unwrap_err().to_string();
        assert!(read.contains("1 to 200 bytes"), "{read}");
    }

    #[test]
    fn a_history_keeps_the_last_changes() {
        let entry = |version| HistoryEntry {
            version,
            at: UnixMs(version),
            kind: ChangeKind::Changed,
            origin: Origin::Manual,
            reason: None,
            item: None,
        };
        let mut history = HotItemHistory::default();
        (1..=250).for_each(|version| history.push(entry(version)));
        let versions: Vec<_> = history.newest_first().map(|entry| entry.version).collect();
        assert_eq!(versions, (151..=250).rev().collect::<Vec<_>>());
        assert_eq!(history.last(), Some(&entry(250)));
    }

    #[test]
    fn histories_are_divided_among_the_parts_of_a_store() {
        assert_eq!([1, 4, 64, 0].map(former_max), [1_000, 250, 16, 1_000]);
    }
}
