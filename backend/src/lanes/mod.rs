//! The reservation engine: every change to a SKU's stock goes through a lane.
//!
//! A SKU lives in one bucket for ever; each bucket has a lane. A lane has two queues: *reserve*
//! commands, first in first out and paced, and *settle* commands (confirm, release, set), unpaced
//! and taken first, so that a paid order never waits behind bots. The owner, a thread, takes turns:
//! each turn takes what the lanes have to give, applies it in order to the stock in memory, writes
//! everything in one durable commit, and only then answers. Whatever queued while a commit was
//! being written makes up the next turn: the batch grows with the load by itself.
//!
//! ```text
//! callers ──> Lane ┐  reserve queue (bounded, paced)   ┌─> Stocks (ledger::apply)
//!             Lane ├─ settle queue (bounded)  ──> Owner ┤
//!             Lane ┘                             ^      └─> Store::commit, then answers
//!                                                └── one turn after the other
//! ```

mod bucket;
mod lane;
mod owner;
mod pacer;
mod retention;
#[cfg(test)]
mod rig;
mod stocks;
#[cfg(test)]
mod tests;
mod turn;
mod waiter;

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};

use cartgate_ledger::{Command, CommandId, Reserve, UnixMs};
use cartgate_policy::Sku;
use thiserror::Error;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

pub use bucket::Buckets;
pub use retention::Retention;
pub use waiter::{Answer, Stopped, Waiter};

use lane::Lane;
use owner::Owner;

/// How lanes behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// The most reserve commands of one lane in one commit.
    pub batch_max: usize,
    /// The most reserve commands that wait in one lane; one more is refused.
    pub reserve_queue_max: usize,
    /// The most settle commands that wait in one lane; one more is refused.
    pub settle_queue_max: usize,
    /// Reserve commands that one lane applies per second; `None`: as many as it can.
    pub reserves_per_s: Option<NonZeroU32>,
    /// How long a ticketed command waits for its turn before it is abandoned, in milliseconds.
    pub ticket_ttl_ms: u64,
    /// What is remembered of reservations that have ended, and for how long.
    pub retention: Retention,
}

/// The engine. Dropping it stops the owner after what is queued has been answered.
pub struct Lanes {
    shared: Arc<Shared>,
    owner: Option<JoinHandle<()>>,
    stopped: watch::Receiver<bool>,
}

/// What callers and the owner share.
struct Shared {
    lanes: Box<[Lane]>,
    buckets: Buckets,
    clock: Clock,
    owner: OnceLock<Thread>,
}

impl Lanes {
    /// Reads the store back, and starts the owner.
    ///
    /// # Errors
    /// The store cannot be read or contradicts itself, or the system gives no thread.
    pub fn start(
        store: Arc<dyn Store>,
        settings: LaneSettings,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let owner = Owner::restore(store, &settings, clock, metrics).map_err(StartError::Load)?;
        let shared = Arc::clone(&owner.shared);
        let (stop, stopped) = watch::channel(false);
        let run = move || {
            owner.run();
            // Whoever still waits is told by its dropped sender; this tells everyone else.
            let _ = stop.send(true);
        };
        let thread = std::thread::Builder::new().name("owner".into());
        let owner = thread.spawn(run).map_err(StartError::Spawn)?;
        shared.owner.get_or_init(|| owner.thread().clone());
        // For what came before there was anybody to wake.
        shared.wake_owner();
        Ok(Self { shared, owner: Some(owner), stopped })
    }

    /// Puts a reserve command in its lane, for the caller to wait on.
    ///
    /// # Errors
    /// The lane is full, or the engine has stopped.
    pub fn reserve(
        &self,
        sku: Sku,
        reserve: Reserve,
        request_id: &str,
    ) -> Result<Waiter, EnqueueError> {
        self.shared.enqueue(sku, Command::Reserve(reserve), request_id)
    }

    /// Puts a settle command in its lane, for the caller to wait on.
    ///
    /// # Errors
    /// The lane is full, or the engine has stopped.
    pub fn settle(
        &self,
        sku: Sku,
        command: Command,
        request_id: &str,
    ) -> Result<Waiter, EnqueueError> {
        self.shared.enqueue(sku, command, request_id)
    }

    /// Where SKUs and ids belong.
    pub fn buckets(&self) -> &Buckets {
        &self.shared.buckets
    }

    /// Commands waiting, and the time since the oldest came, per lane.
    pub fn depths(&self) -> impl Iterator<Item = (u16, LaneDepth)> {
        let now = (self.shared.clock)();
        self.shared.buckets.all().zip(self.shared.lanes.iter().map(move |lane| lane.depth(now)))
    }

    /// Turns true when the owner has stopped, by itself (its store failed) or because it was told.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for lane in &self.shared.lanes {
            lane.close();
        }
        self.shared.wake_owner();
        if let Some(owner) = self.owner.take() {
            // A panic in there has been reported by the panic hook.
            let _ = owner.join();
        }
    }
}

impl Shared {
    fn enqueue(
        self: &Arc<Self>,
        sku: Sku,
        command: Command,
        request_id: &str,
    ) -> Result<Waiter, EnqueueError> {
        let bucket = self.buckets.of_sku(&sku);
        let enqueued = self.lane(bucket).push(sku, command, request_id, &self.clock)?;
        self.wake_owner();
        Ok(Waiter::new(enqueued, Arc::clone(self), bucket))
    }

    fn lane(&self, bucket: u16) -> &Lane {
        &self.lanes[usize::from(bucket)]
    }

    fn wake_owner(&self) {
        if let Some(owner) = self.owner.get() {
            owner.unpark();
        }
    }
}

/// How much waits in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneDepth {
    /// Reserve commands.
    pub reserve: usize,
    /// Settle commands.
    pub settle: usize,
    /// Milliseconds since the oldest of them came.
    pub oldest_age_ms: u64,
}

/// Why the engine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store could not be read back.
    #[error("the engine cannot start from its store")]
    Load(#[source] StoreError),
    /// There was no thread to be had.
    #[error("the engine cannot start its owner thread")]
    Spawn(#[source] std::io::Error),
}

/// Why a command was not put in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EnqueueError {
    /// The queue holds as many commands as it may.
    #[error("the lane is full: {depth} commands are waiting")]
    Full {
        /// The number waiting.
        depth: usize,
    },
    /// The engine has stopped, or is stopping.
    #[error("the engine has stopped")]
    Stopped,
}

/// What the owner is told of a command: what it says in its log, and whom it answers.
struct Queued {
    seq: u64,
    sku: Sku,
    command: Command,
    request_id: Box<str>,
    enqueued_at: UnixMs,
    /// Whether it is written in the store, so that it is applied though nobody waits.
    is_ticketed: bool,
    reply: Option<waiter::Reply>,
}

impl Queued {
    /// Whether nobody would hear of the outcome.
    fn is_abandoned(&self) -> bool {
        !self.is_ticketed && self.reply.as_ref().is_none_or(|reply| reply.is_closed())
    }

    fn id(&self) -> Option<CommandId> {
        self.command.id()
    }
}
