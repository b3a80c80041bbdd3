//! A bucket that lives in a store which many processes share.
//!
//! API processes *post* commands into the bucket's streams; the worker that holds its lease reads
//! them, decides them as any owner does, and commits. What one owner has of a bucket, from getting
//! the lease to losing it, is a [`Tenure`]: each of its writes is fenced, so that whoever was owner
//! before changes nothing any more, whatever it believes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cartgate_ledger::{Command, CommandId, Outcome, UnixMs};
use cartgate_policy::Sku;
use serde::{Deserialize, Serialize};

use super::{Commit, Durability, StockRow, Store, StoreError};
use crate::hot_items::{Changed, HotItem, Note};

/// A store that many processes share.
pub trait SharedStore: Send + Sync {
    /// How many buckets there are; fixed for the life of the store.
    fn buckets(&self) -> u16;

    /// As [`Store::secret`].
    fn secret(&self) -> [u8; 32];

    /// Takes a bucket's lease, if nobody has it, or had it for too long without renewing it.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn acquire(&self, bucket: u16, worker: WorkerId)
    -> Result<Option<Arc<dyn Tenure>>, StoreError>;

    /// Compares what this process has committed in tenures that are over with what the store has, and
    /// announces what is lost. Returns how many SKUs have lost something, as far as the store could be
    /// reached; the rest is compared when it is asked for again.
    fn compare_past(&self) -> (usize, Result<(), StoreError>);

    /// Says that a worker is there and how busy its buckets are, and asks who else is.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn report(&self, report: &WorkerReport) -> Result<Vec<WorkerReport>, StoreError>;

    /// Takes a worker off the list, for the others to divide its buckets at once.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn retire(&self, worker: WorkerId) -> Result<(), StoreError>;
}

/// A worker process: a random number that it makes when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u64);

/// What workers know of each other. Whoever has not reported for as long as a lease lasts is left
/// out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// The worker.
    pub worker: WorkerId,
    /// Its buckets, each with the commands that it decides per second.
    pub buckets: Vec<(u16, u32)>,
}

/// An owner's time with a bucket.
///
/// As a [`Store`] it reads this bucket alone, and [`Store::load`] reads what its owner needs in
/// memory; its commits go through [`Tenure::commit_turn`]. Any error, and [`StoreError::TenureOver`]
/// above all, ends it: the owner throws away what it has in memory.
pub trait Tenure: Store {
    /// The bucket.
    fn bucket(&self) -> u16;

    /// Whether another worker's lease had run out before, without having been given back.
    fn is_takeover(&self) -> bool;

    /// What of the streams has been decided, and which lanes there are: read once, at the beginning.
    ///
    /// # Errors
    /// The store cannot be read.
    fn progress(&self) -> Result<Progress, StoreError>;

    /// What has come into the streams since `from`, oldest first, at most `entries_max` entries of
    /// each. If nothing has, waits for it, but no longer than `wait`.
    ///
    /// # Errors
    /// The store cannot be read, or the lease is another's: that one takes out what it decides.
    fn read(
        &self,
        from: &[(Stream, EntryId)],
        entries_max: usize,
        wait: Duration,
    ) -> Result<Arrived, StoreError>;

    /// Says that [`Store::ended_reservation`] is about to be asked about some ids, and
    /// [`Store::adjustment`] about others, so that they can be fetched at once. What was fetched is
    /// good until the next commit.
    ///
    /// # Errors
    /// The store cannot be read.
    fn expect(
        &self,
        reservations: &[CommandId],
        adjustments: &[CommandId],
    ) -> Result<(), StoreError>;

    /// Writes all of a turn, or nothing; returns once that is as durable as was asked for, or can be
    /// had.
    ///
    /// # Errors
    /// [`StoreError::TenureOver`]: nothing was written. Any other: nobody knows.
    fn commit_turn(&self, turn: &TurnCommit) -> Result<Reached, StoreError>;

    /// Tells the processes whose callers wait, and what the commit has reached that answers them.
    /// Nothing is lost if they do not hear it: they read answers from the store as well.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn publish(&self, answers: &[Answer], reached: Reached) -> Result<(), StoreError>;

    /// The answers of the last turn that had any: a new owner publishes them again.
    ///
    /// # Errors
    /// The store cannot be read.
    fn last_answers(&self) -> Result<Vec<Answer>, StoreError>;

    /// Keeps the lease. `false`: it is lost.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn renew(&self) -> Result<bool, StoreError>;

    /// Gives the lease back, for another to take at once.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn release(&self) -> Result<(), StoreError>;
}

/// One of a bucket's streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Settle commands of all SKUs, tickets, changes of hot items.
    Settle,
    /// Reserve commands of ordinary SKUs.
    Normal,
    /// Reserve commands of a SKU with a lane of its own.
    Hot(Sku),
}

/// An entry of a stream: the server's clock when it came, in milliseconds, and a number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EntryId {
    /// Milliseconds.
    pub ms: u64,
    /// Among those of the same millisecond.
    pub number: u64,
}

/// What one post has put into a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub id: EntryId,
    /// A random number: after a failover another entry may have the same id.
    pub nonce: u64,
    /// When it came, by the server's clock.
    pub at: UnixMs,
    /// What was posted, in order.
    pub posted: Vec<Posted>,
}

/// Something in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Posted {
    /// A command.
    Command(PostedCommand),
    /// HANDOFF: what comes later of this SKU is in another stream, or comes from another.
    Handoff(Sku),
    /// A reserve command that waits is good for longer: a ticket was given for it.
    Ticket(PostedTicket),
    /// Who has sent this reserve command waits no more.
    HangUp {
        /// The SKU it is about.
        sku: Sku,
        /// The command.
        id: CommandId,
        /// Who waited.
        reply: ReplyTo,
    },
    /// A SKU is to be a hot item with these terms, or one no more (`None`).
    HotItem {
        /// The SKU.
        sku: Sku,
        /// Its entry in the registry.
        item: Option<HotItem>,
        /// Who asks for it, why, and on what condition.
        note: Note,
        /// Who waits until that is written.
        reply: ReplyTo,
    },
}

/// A command in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedCommand {
    /// The SKU whose stock it is about.
    pub sku: Sku,
    /// The command. A reserve command's `claim_by` counts from when it came: `good_for_ms` later.
    pub command: Command,
    /// The request that brought it: its [`Trail`](crate::trace::Trail), as a text.
    pub request_id: Arc<str>,
    /// Who waits for the outcome; `None`: nobody.
    pub reply: Option<ReplyTo>,
    /// How long a reserve command is good without a ticket, in milliseconds.
    pub good_for_ms: u64,
}

/// A ticket in a stream.
///
/// It may cross the outcome on its way. So whoever asked for it has it when the bucket's owner says
/// so, and the owner does if the command waits still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedTicket {
    /// The SKU it is about.
    pub sku: Sku,
    /// The command.
    pub id: CommandId,
    /// Until when it is good: longer than the command is without it.
    pub until: UnixMs,
    /// The stream that the command was posted into.
    pub stream: Stream,
    /// Its place there.
    pub place: Place,
    /// Who waits for the command, and for the ticket now.
    pub reply: ReplyTo,
}

/// Somebody who waits, in some API process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplyTo {
    /// The process: a random number that it makes when it starts.
    pub process: u64,
    /// The caller, among those of the process.
    pub number: u64,
}

/// What became of something that was posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Who waits for it.
    pub reply: ReplyTo,
    /// What it is told.
    pub told: Told,
}

/// What one commit has answered, and where in the bucket's stream of answers that is.
pub type AnswersEntry = (EntryId, Vec<Answer>);

/// What a caller in another process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A command's outcome.
    Outcome(Outcome),
    /// The command waits, and has a ticket: whoever waited for it need not wait any more.
    Ticketed,
    /// There is no room for another hold: the command takes none.
    TooManyHolds,
    /// The registry is as asked.
    HotItemWritten(Changed),
    /// There is no room for another hot item.
    TooManyHotItems,
    /// A hot item is not the one that was to be changed: it has this version, or there is none.
    HotItemChanged(Option<u64>),
}

/// What has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// The time that a turn on these is judged at: each settle command, each ticket that came before
    /// it has been read.
    pub now: UnixMs,
    /// New entries of each stream, in order.
    pub entries: Vec<(Stream, Vec<Entry>)>,
}

/// A command's place in a stream: its entry, and its index in there. Of one SKU the later has the later
/// place, also if they are in different streams.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place {
    /// The entry.
    pub entry: EntryId,
    /// Where in it.
    pub index: u32,
}

/// What of a stream has been decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Everything before this is decided.
    pub next: Place,
    /// Decided as well, in order.
    pub beyond: Vec<Place>,
}

/// How a SKU's own lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// Its commands go there, and wait for the mark in the normal lane.
    Joining,
    /// They are taken from there.
    Open,
    /// They go to the normal lane, and wait there for the mark in their own.
    Leaving,
}

/// Where a bucket stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What of each stream has been decided. A stream that is not here has no cursor yet.
    pub cursors: Vec<(Stream, Cursor)>,
    /// SKUs with lanes of their own.
    pub routes: Vec<(Sku, Route)>,
    /// Tickets of commands that wait.
    pub tickets: Vec<(CommandId, Ticket)>,
}

/// A ticket as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Until when its command is good.
    pub until: UnixMs,
    /// Where the command waits: the ticket ends when it is decided there. Requests for the same may
    /// wait elsewhere.
    pub place: Place,
}

impl Ticket {
    /// What is kept of two for the same command: the longer time, and the place that comes later.
    pub fn or(self, other: Self) -> Self {
        Self { until: self.until.max(other.until), place: self.place.max(other.place) }
    }
}

/// All that a turn writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnCommit {
    /// What it has decided.
    pub commit: Commit,
    /// The rows that its SKUs were decided on, each as it was last committed; `None`: never set.
    pub rows_before: Vec<(Sku, Option<StockRow>)>,
    /// What of the streams it has decided.
    pub steps: Vec<Step>,
    /// Lanes that were opened, are being left, or are gone (`None`), with the mark that is to be
    /// put into a stream.
    pub routes: Vec<RouteChange>,
    /// Tickets that are good from now on, or for longer. Only the owner writes them: it alone knows
    /// which commands wait. What is posted while a turn is on its way is no part of it.
    pub tickets: Vec<(CommandId, Sku, Ticket)>,
    /// Who is to be told what.
    pub answers: Vec<Answer>,
}

/// How a turn moves on in one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The stream.
    pub stream: Stream,
    /// The cursor from now on.
    pub to: Cursor,
    /// The newest entry of the stream that was read, with its nonce: it has to be there still, since
    /// what is decided with this turn is trimmed no earlier.
    pub newest: (EntryId, u64),
    /// How many commands it has decided.
    pub decided: u64,
}

/// A change of a SKU's lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// The SKU.
    pub sku: Sku,
    /// How its lane stands from now on; `None`: it has none, its stream goes.
    pub route: Option<Route>,
    /// Where a HANDOFF mark is put. What comes behind it is posted elsewhere, and has a later place.
    pub mark_in: Option<Stream>,
}

impl RouteChange {
    /// Where what comes behind the mark is posted.
    pub fn goes_on_in(&self) -> Option<Stream> {
        self.mark_in.as_ref().map(|marked| match marked {
            Stream::Hot(_) => Stream::Normal,
            Stream::Settle | Stream::Normal => Stream::Hot(self.sku.clone()),
        })
    }
}

/// How durable a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// On the server that took it.
    pub durability: Durability,
    /// Replicas that have it as well; `None`: nobody has asked, or knows any more.
    pub replicas: Option<u32>,
}

impl Reached {
    /// What every commit has reached that was replied to.
    pub fn at_least(durability: Durability) -> Self {
        Self { durability, replicas: None }
    }

    /// What this and another commit have both reached.
    pub fn and(self, other: Self) -> Self {
        let durability = match (self.durability, other.durability) {
            (Durability::Disk, Durability::Disk) => Durability::Disk,
            _ => Durability::Process,
        };
        let replicas = self.replicas.zip(other.replicas).map(|(one, other)| one.min(other));
        Self { durability, replicas }
    }
}

/// As an item of a structured field (RFC 8941): `disk`, or `disk;replicas=1`.
impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.durability.name())?;
        self.replicas.map_or(Ok(()), |replicas| write!(f, ";replicas={replicas}"))
    }
}
