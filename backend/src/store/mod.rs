//! Where stock, journal, reservations and tickets are kept.
//!
//! A store knows how to write a [`Commit`] atomically and durably, and how to read it back. It
//! knows no rules: those are in `cartgate-ledger`, applied by the owner of a bucket before it
//! commits. Every store passes the same conformance suite (`conformance.rs`).

pub(crate) mod backup;
pub(crate) mod embedded;
mod encoding;
pub mod imports;
mod journal;
pub mod post;
pub mod redis;
pub mod tenure;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod shared_memory;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cartgate_ledger::{
    Adjustment, CommandId, Counters, JournalEntry, JournalError, Purchase, Reservation, Reserve,
    UnixMs,
};
use cartgate_policy::Sku;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hot_items::{HotItem, HotItemHistory};

pub use embedded::{Embedded, Pinned};

/// A durable home for buckets.
pub trait Store: Send + Sync {
    /// How many buckets there are; fixed for the life of the store.
    fn buckets(&self) -> u16;

    /// A random secret made with the store, under which ids are derived from idempotency keys, so
    /// that nobody can work out an id without asking the service.
    fn secret(&self) -> [u8; 32];

    /// What a commit survives once [`Store::commit`] has returned.
    fn durability(&self) -> Durability;

    /// Reads back all that its owner needs in memory, and checks it.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// Writes everything in `commit`, or nothing; returns once it is durable.
    ///
    /// # Errors
    /// It is unknown whether the commit was written. The owner must discard its memory.
    fn commit(&self, commit: &Commit) -> Result<(), StoreError>;

    /// Pins all that there is as it stands after one commit, for a backup: at least all that was
    /// committed before. `None`: such a store is not backed up by us.
    ///
    /// # Errors
    /// The store cannot be read.
    fn pin(&self) -> Result<Option<Pinned>, StoreError> {
        Ok(None)
    }

    /// A SKU's stock; `None` if it was never set.
    ///
    /// # Errors
    /// The store cannot be read.
    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError>;

    /// The stock of at most `limit` SKUs, in their order, from the one after `after`. A store that is
    /// asked for page after page knows how to give one without reading all.
    ///
    /// # Errors
    /// The store cannot be read.
    fn stocks_after(
        &self,
        after: Option<&Sku>,
        limit: usize,
    ) -> Result<Vec<(Sku, StockRow)>, StoreError> {
        let mut stocks = self.load()?.stocks;
        stocks.retain(|(sku, _)| after.is_none_or(|after| sku > after));
        stocks.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        stocks.truncate(limit);
        Ok(stocks)
    }

    /// What became of a command, and of which SKU's stock it was.
    ///
    /// # Errors
    /// The store cannot be read.
    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError>;

    /// What became of a reserve command, if it does not hold units: those that do are in the
    /// owner's memory.
    ///
    /// # Errors
    /// The store cannot be read.
    fn ended_reservation(&self, id: CommandId) -> Result<Option<Reservation>, StoreError>;

    /// What became of an adjustment.
    ///
    /// # Errors
    /// The store cannot be read.
    fn adjustment(&self, id: CommandId) -> Result<Option<Adjustment>, StoreError>;

    /// The units of a SKU that each customer has bought.
    ///
    /// # Errors
    /// The store cannot be read.
    fn purchases(&self, sku: &Sku) -> Result<Vec<(Arc<str>, u64)>, StoreError>;

    /// The command that a ticket was given for, while it waits.
    ///
    /// # Errors
    /// The store cannot be read.
    fn ticketed(&self, id: CommandId) -> Result<Option<Ticketed>, StoreError>;

    /// At most `limit` entries of a SKU's journal, in order, from the one after version `after`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn journal(&self, sku: &Sku, after: u64, limit: usize)
    -> Result<Vec<JournalEntry>, StoreError>;

    /// The history of a SKU's entry in the registry of hot items: empty, if nothing is kept of it.
    ///
    /// # Errors
    /// The store cannot be read.
    fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError>;

    /// At most `limit` decisions that ended in that way, earliest first, of those that ended at
    /// `from` or later and at `until` or earlier.
    ///
    /// # Errors
    /// The store cannot be read.
    fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError>;
}

/// Everything that one turn of an owner changes: written as a whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// SKUs whose stock changed.
    pub skus: Vec<SkuCommit>,
    /// Reservations that are new or stand elsewhere, each once.
    pub reservations: Vec<(Sku, Reservation)>,
    /// Adjustments that may be repeated, each once.
    pub adjustments: Vec<(Sku, Adjustment)>,
    /// What customers have bought, each hold once.
    pub purchases: Vec<(Sku, Purchase)>,
    /// Commands that a ticket is being given for: from now on they survive a crash.
    pub ticketed: Vec<Ticketed>,
    /// Ticketed commands that are decided, or abandoned.
    pub unticketed: Vec<CommandId>,
    /// Decisions that can no longer change: they are kept for a while, so that a repeat gets its
    /// answer.
    pub ended: Vec<Ended>,
    /// Ends that do not count any more, since their commands were judged anew. What is stored of
    /// the reservations themselves is overwritten, now or when they end again.
    pub superseded: Vec<Ended>,
    /// Decisions that have been kept for long enough.
    pub forgotten: Vec<Ended>,
    /// Hot items that are new or changed; `None`: the SKU is one no more.
    pub hot_items: Vec<(Sku, Option<HotItem>)>,
    /// Histories of hot items, with what this commit adds to them; `None`: one is forgotten.
    pub hot_item_histories: Vec<(Sku, Option<HotItemHistory>)>,
}

impl Commit {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many entries it adds to the journal.
    pub fn journal_entries(&self) -> usize {
        self.skus.iter().map(|changed| changed.entries.len()).sum()
    }
}

/// What changed for one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkuCommit {
    /// The SKU.
    pub sku: Sku,
    /// Its stock from now on.
    pub row: StockRow,
    /// Its new journal entries, in order.
    pub entries: Vec<JournalEntry>,
}

/// A SKU's stock as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRow {
    /// Where the units are.
    pub counters: Counters,
    /// The version of the last journal entry.
    pub version: u64,
    /// The latest time the SKU has seen.
    pub now: UnixMs,
}

/// A reserve command that waits in a lane after its caller was given a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticketed {
    /// Its place in the lane: commands of one SKU are applied in this order.
    pub seq: u64,
    /// The SKU whose stock it is about.
    pub sku: Sku,
    /// The command, with the ticket's own `claim_by`.
    pub reserve: Reserve,
    /// The request that brought it: its [`Trail`](crate::trace::Trail), as a text.
    pub request_id: Box<str>,
    /// When it was put in the lane.
    pub enqueued_at: UnixMs,
}

/// A decision that can no longer change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ended {
    /// What kind of end it was: kinds are kept for different times.
    pub kind: EndedKind,
    /// When it ended: [`Reservation::since`], [`Adjustment::decided_at`].
    pub at: UnixMs,
    /// The command.
    pub id: CommandId,
}

/// How a decision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EndedKind {
    /// A reservation was refused, and never held anything.
    Refusal = 0,
    /// A hold was confirmed, released, or expired.
    Hold = 1,
    /// Stock was adjusted.
    Adjustment = 2,
}

/// What [`Store::load`] reads back.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every SKU's stock.
    pub stocks: Vec<(Sku, StockRow)>,
    /// Every hold that has not ended.
    pub holds: Vec<(Sku, Reservation)>,
    /// Every ticketed command, in the order of `seq`.
    pub ticketed: Vec<Ticketed>,
    /// Every refusal that is kept, earliest first.
    pub refusals: Vec<Ended>,
    /// Every hot item.
    pub hot_items: Vec<(Sku, HotItem)>,
    /// Every SKU with a history in the registry of hot items, and when the last change was.
    pub hot_item_histories: Vec<(Sku, UnixMs)>,
}

impl Loaded {
    /// Notes a SKU's history, of which its owner needs to know no more than its end.
    fn add_history(&mut self, sku: Sku, history: &HotItemHistory) {
        self.hot_item_histories.extend(history.last().map(|last| (sku, last.at)));
    }

    /// Checks that each SKU's counter says what its holds have, and that every hold has its SKU.
    fn verify_holds(&self) -> Result<(), StoreError> {
        let mut held = HashMap::<&Sku, u64>::new();
        for (sku, hold) in &self.holds {
            *held.entry(sku).or_default() += u64::from(hold.quantity);
        }
        let differs =
            |sku: &Sku, counted, held| StoreError::Holds { sku: sku.clone(), counted, held };
        for (sku, row) in &self.stocks {
            let (held, counted) = (held.remove(sku).unwrap_or_default(), row.counters.held);
            if counted != held {
                return Err(differs(sku, counted, held));
            }
        }
        match held.into_iter().next() {
            Some((sku, held)) => Err(differs(sku, 0, held)),
            None => Ok(()),
        }
    }
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The death of the process: it is with the operating system. A power cut may take the last
    /// moments.
    Process,
    /// The death of the machine: it is on its disk (`fdatasync`).
    Disk,
}

impl Durability {
    /// Its name in configuration and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Disk => "disk",
        }
    }
}

/// What can go wrong with a store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The underlying database failed.
    #[error("the store cannot {action}")]
    Database {
        /// What was being done.
        action: &'static str,
        /// Its error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored value cannot be decoded, or one cannot be encoded to be stored.
    #[error("a {what} cannot be {action}")]
    Encoding {
        /// What it is, or should have been.
        what: &'static str,
        /// `read` or `written`.
        action: &'static str,
        /// Why not.
        #[source]
        source: postcard::Error,
    },
    /// There is something, but not what every store begins with.
    #[error("data: this is no store of cartgate, or a part of it is missing")]
    NoStore,
    /// The number of buckets was set when the store was made.
    #[error(
        "buckets: the store was made with {stored}, the configuration says {configured}: \
         set `buckets = {stored}`, or start with an empty data directory"
    )]
    BucketsDiffer {
        /// The number it was made with.
        stored: u16,
        /// The number asked for.
        configured: u16,
    },
    /// The store was written by another version of cartgate.
    #[error("data: the store has format {stored}, this cartgate reads format {supported}")]
    Format {
        /// The store's format.
        stored: u16,
        /// The format that can be read.
        supported: u16,
    },
    /// A SKU's stock does not agree with its journal.
    #[error("the stock of {sku} does not agree with its journal")]
    Journal {
        /// The SKU.
        sku: Sku,
        /// What is wrong.
        #[source]
        source: JournalError,
    },
    /// A SKU's stock does not agree with its holds.
    #[error("the stock of {sku} says that {counted} units are held, its holds have {held}")]
    Holds {
        /// The SKU.
        sku: Sku,
        /// Units by the counter.
        counted: u64,
        /// Units by the holds.
        held: u64,
    },
    /// It does not answer, and was not asked.
    #[error("the store is out of reach, try again in {} ms", retry_after.as_millis())]
    OutOfReach {
        /// When it may be asked again.
        retry_after: Duration,
    },
    /// Entries that were asked for are not kept any more.
    #[error("the journal of {sku} begins with version {first}")]
    JournalTrimmed {
        /// The SKU.
        sku: Sku,
        /// The first version that is there.
        first: u64,
    },
    /// The bucket has another owner, or its store is not the one that its owner read: nothing was
    /// written.
    #[error("bucket {bucket}: this worker owns it no more ({reason})")]
    TenureOver {
        /// The bucket.
        bucket: u16,
        /// What the store found: `fenced`, `history`, `entry`.
        reason: &'static str,
    },
    /// A commit that was synced to disk is not there any more, although later ones are.
    #[error("data: the log is damaged, commit {number} cannot be read")]
    CommitLost {
        /// The commit's number.
        number: u64,
    },
}
