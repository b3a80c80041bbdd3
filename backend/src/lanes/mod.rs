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
#[cfg(test)]
mod end_tests;
mod lane;
mod owner;
mod pacer;
mod reserve_queue;
mod retention;
#[cfg(test)]
mod rig;
mod stocks;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ticket_tests;
mod turn;
mod waiter;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};

use cartgate_ledger::{Command, UnixMs};
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
use waiter::Reply;

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
    /// While there are as many holds, reserve commands are refused. Those that wait by then still
    /// take theirs: there are at most so many more as the lanes have room for.
    pub holds_max: usize,
    /// How long a ticketed command waits for its turn before it is abandoned, in milliseconds.
    pub ticket_ttl_ms: u64,
    /// What is remembered of reservations that have ended, and for how long.
    pub retention: Retention,
}

/// The engine. [`Lanes::stop`] ends it in order; dropping it does so without waiting for callers.
pub struct Lanes {
    shared: Arc<Shared>,
    owner: Option<JoinHandle<()>>,
    state: watch::Receiver<State>,
}

/// Where the engine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes commands.
    Running,
    /// It was told to stop, and has decided what somebody waited for.
    Drained,
    /// Its store failed, or its owner panicked: what it had in memory is gone.
    Failed,
}

/// What callers and the owner share.
struct Shared {
    lanes: Box<[Lane]>,
    buckets: Buckets,
    clock: Clock,
    holds_max: usize,
    /// Holds that have not ended, as of the last commit.
    hold_count: AtomicUsize,
    /// Whether something has come since the owner last began to look.
    has_work: AtomicBool,
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
        let (sender, state) = watch::channel(State::Running);
        let mut end = End { shared: Arc::clone(&shared), sender, state: State::Failed };
        let run = move || {
            if owner.run().is_ok() {
                end.state = State::Drained;
            }
            drop(end);
        };
        let thread = std::thread::Builder::new().name("owner".into());
        let owner = thread.spawn(run).map_err(StartError::Spawn)?;
        shared.owner.get_or_init(|| owner.thread().clone());
        // For what came before there was anybody to wake.
        shared.wake_owner();
        Ok(Self { shared, owner: Some(owner), state })
    }

    /// Puts a command in the lane of its SKU, for the caller to wait on.
    ///
    /// # Errors
    /// There is no room for it, it waits already and asks for something else, or the engine has
    /// stopped.
    pub fn submit(
        &self,
        sku: Sku,
        command: Command,
        request_id: &str,
    ) -> Result<Waiter, EnqueueError> {
        self.shared.submit(sku, command, request_id)
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

    /// Where the engine stands.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Waits until it has stopped, told to or by itself. Says how.
    pub async fn stopped(&self) -> State {
        let mut state = self.state.clone();
        let stopped = state.wait_for(|state| *state != State::Running).await;
        // An error would mean that the owner's thread has gone without a word.
        stopped.map_or(State::Failed, |state| *state)
    }

    /// Refuses new commands, lets the owner decide those that somebody waits for, and returns when
    /// it has, or has failed.
    pub async fn stop(&self) -> State {
        self.close();
        self.stopped().await
    }

    fn close(&self) {
        self.shared.lanes.iter().for_each(Lane::close);
        self.shared.wake_owner();
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.close();
        if let Some(owner) = self.owner.take() {
            // A panic in there has been reported by the panic hook.
            let _ = owner.join();
        }
    }
}

/// Tells everyone when the owner's thread ends, in whatever way: callers must not wait for ever.
struct End {
    shared: Arc<Shared>,
    sender: watch::Sender<State>,
    state: State,
}

impl Drop for End {
    fn drop(&mut self) {
        for lane in &self.shared.lanes {
            lane.close();
            lane.discard();
        }
        self.sender.send_replace(self.state);
    }
}

impl Shared {
    fn submit(
        self: &Arc<Self>,
        sku: Sku,
        command: Command,
        request_id: &str,
    ) -> Result<Waiter, EnqueueError> {
        let may_hold = self.hold_count.load(Ordering::Relaxed) < self.holds_max;
        let bucket = self.buckets.of_sku(&sku);
        let enqueued = self.lane(bucket).push(sku, command, request_id, &self.clock, may_hold)?;
        self.wake_owner();
        Ok(Waiter::new(enqueued, Arc::clone(self), bucket))
    }

    fn lane(&self, bucket: u16) -> &Lane {
        &self.lanes[usize::from(bucket)]
    }

    fn wake_owner(&self) {
        self.has_work.store(true, Ordering::SeqCst);
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
    /// There are as many holds as there may be.
    #[error("there are as many holds as there may be")]
    TooManyHolds,
    /// A command of this id waits, with another fingerprint.
    #[error("the id belongs to another command")]
    KeyReused,
    /// The engine has stopped, or is stopping.
    #[error("the engine has stopped")]
    Stopped,
}

/// A command in a lane.
struct Queued {
    seq: u64,
    sku: Sku,
    command: Command,
    request_id: Box<str>,
    enqueued_at: UnixMs,
    /// Whether it is written in the store, so that it is applied though nobody waits.
    is_ticketed: bool,
    /// Everyone who waits for the outcome: the caller, and those who repeat it.
    replies: Vec<Reply>,
}

impl Queued {
    fn has_caller(&self) -> bool {
        self.replies.iter().any(|reply| !reply.is_closed())
    }

    /// Whether it is too late for it to take anything.
    fn is_lapsed(&self, now: UnixMs) -> bool {
        matches!(&self.command, Command::Reserve(reserve) if reserve.claim_by < now)
    }

    /// Whether nobody would hear of the outcome.
    fn is_abandoned(&self) -> bool {
        !self.is_ticketed && !self.has_caller()
    }
}
