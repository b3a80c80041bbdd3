//! The reservation engine: every change to a SKU's stock goes through a lane.
//!
//! A SKU lives in one bucket for ever. Each bucket has a normal lane, and one more for each hot item
//! in it. A lane has two queues: *reserve* commands, first in first out and paced, and *settle*
//! commands (confirm, release, set, ..), unpaced and taken first, so that a paid order never waits
//! behind bots. The owner takes turns: each turn takes a fair share of what every lane has, applies
//! it in order to the stock in memory, writes everything in one durable commit, and only then
//! answers. Whatever queued while a commit was being written makes up the next turn: the batch grows
//! with the load by itself. The owner has a thread; in quiet times a lone caller takes the turn in its
//! own.
//!
//! ```text
//!            bucket
//! callers ─> ┌ normal lane   ┐ reserve (bounded, paced)  ┌─> Stocks (ledger::apply)
//!            │ hot item's    ├ settle  (bounded) ─> Owner ┤
//!            └ hot item's    ┘                       ^    └─> Store::commit, then answers
//!                                                    └── one turn after the other
//! ```
//!
//! On a store that many processes share, commands come from its streams instead: see `distributed`.
//!
//! `bucket_lanes` has the routes and HANDOFF, `turn` what one turn decides, `idle` who takes it,
//! `waiter` the callers' side.

mod board;
mod bucket;
mod bucket_lanes;
mod decider;
mod distributed;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod ghost_tests;
#[cfg(test)]
mod hot_item_tests;
mod hot_lane;
mod idle;
#[cfg(test)]
mod idle_tests;
mod in_line;
mod lane;
mod level;
mod owner;
mod pacer;
mod queued;
mod registry;
mod reserve_queue;
mod retention;
#[cfg(test)]
mod rig;
mod seen;
mod shared;
#[cfg(test)]
mod simulation;
mod stocks;
mod taken;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ticket_tests;
mod turn;
mod waiter;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::JoinHandle;

use cartgate_ledger::{Command, CommandId, UnixMs};
use cartgate_policy::Sku;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::hot_items::{Changed, HotItem, Note};
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};
use crate::trace::Trail;

pub use board::{HotStock, Standing};
pub use bucket::Buckets;
pub use distributed::{Front, FrontSettings, Later, PostBox, Worker};
pub use in_line::InLine;
pub use level::Level;
pub use retention::Retention;
pub use waiter::{Answer, Waiter};

use idle::take_turns;
use owner::Owner;
use registry::Wanted;
use shared::Shared;

/// How lanes behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// The most reserve commands in one commit, shared by the lanes that have any; but each gives
    /// [`QUANTUM_MIN`] if it has them.
    pub batch_max: usize,
    /// The most reserve commands that wait in one lane; one more is refused.
    pub reserve_queue_max: usize,
    /// The most settle commands that wait in one lane; one more is refused.
    pub settle_queue_max: usize,
    /// Reserve commands that one lane applies per second, unless it is a hot item's with a pace of
    /// its own; `None`: as many as it can.
    pub reserves_per_s: Option<NonZeroU32>,
    /// While there are as many holds, reserve commands are refused. Those that wait by then still
    /// take theirs: there are at most so many more as the lanes have room for. On a shared store these
    /// are the holds of the buckets that a process owns: what it has in memory.
    pub holds_max: usize,
    /// How long a ticketed command waits for its turn before it is abandoned, in milliseconds.
    pub ticket_ttl_ms: u64,
    /// How long a hold that nobody knows of stays off the shelf, in milliseconds.
    pub unclaimed_ms: u64,
    /// The most hot items; a lane that is being left counts until it is gone.
    pub hot_items_max: usize,
    /// What is remembered of reservations that have ended, and for how long.
    pub retention: Retention,
}

impl LaneSettings {
    /// Until when a ticket on a shared store is good whose command is good without it until `claim_by`:
    /// longer. What nobody waits for any more would else be good when its ticket is not, and be held
    /// for whoever has gone with that.
    pub(crate) fn ticket_until(&self, claim_by: UnixMs) -> UnixMs {
        claim_by.plus_ms(self.ticket_ttl_ms)
    }
}

/// What every lane may give for a turn, however many there are.
pub const QUANTUM_MIN: usize = 64;

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
        let mut owner =
            Owner::restore(store, &settings, clock, metrics).map_err(StartError::Load)?;
        owner.callers = Handle::try_current().ok();
        let shared = Arc::clone(&owner.shared);
        let (sender, state) = watch::channel(State::Running);
        let mut end = End { shared: Arc::clone(&shared), sender, state: State::Failed };
        let run = move || {
            if take_turns(owner).is_ok() {
                end.state = State::Drained;
            }
            drop(end);
        };
        let thread = std::thread::Builder::new().name("owner".into());
        let owner = thread.spawn(run).map_err(StartError::Spawn)?;
        Ok(Self { shared, owner: Some(owner), state })
    }

    /// Puts a command in the lane of its SKU, for the caller to wait on.
    ///
    /// # Errors
    /// There is no room for it, it waits already and asks for something else, or the engine has
    /// stopped.
    pub fn submit(&self, sku: Sku, command: Command, trail: Trail) -> Result<Waiter, EnqueueError> {
        self.shared.submit(Submission { sku, command, trail })
    }

    /// Makes a SKU a hot item, or one no more (`None`), and says what came of it, once that is durable;
    /// its commands change lanes without losing their order. Of `item`, origin, version and times do
    /// not count: the origin is the note's, the others follow from when it is decided.
    ///
    /// # Errors
    /// The entry is not the one that the note expects, there are too many hot items or changes, or the
    /// engine has stopped. In the last case the change may or may not have been made.
    pub async fn change_hot_item(
        &self,
        sku: Sku,
        item: Option<HotItem>,
        note: Note,
    ) -> Result<Changed, EnqueueError> {
        let written = self.shared.change_hot_item(Wanted { sku, item, note })?;
        written.await.unwrap_or(Err(EnqueueError::Stopped))
    }

    /// The registry of hot items.
    pub fn hot_items(&self) -> BTreeMap<Sku, HotItem> {
        self.shared.registry().clone()
    }

    /// A SKU's entry in the registry of hot items.
    pub fn hot_item(&self, sku: &Sku) -> Option<HotItem> {
        self.shared.registry().get(sku).copied()
    }

    /// How the hot items stand, as of the last commit.
    pub fn standings(&self) -> BTreeMap<Sku, Standing> {
        self.shared.board.all()
    }

    /// Where SKUs and ids belong.
    pub fn buckets(&self) -> &Buckets {
        &self.shared.buckets
    }

    /// How much waits in every lane.
    pub fn depths(&self) -> Vec<BucketDepths> {
        self.shared.depths()
    }

    /// How much waits in a SKU's lane of its own, and whether it comes from there by now; `None`: it
    /// has none.
    pub fn hot_lane(&self, sku: &Sku) -> Option<HotLaneState> {
        self.shared.hot_lane(sku)
    }

    /// Where a reserve command stands in its lane; `None`: it does not wait.
    pub fn in_line(&self, sku: &Sku, id: CommandId) -> Option<InLine> {
        self.shared.in_line(sku, id)
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
        self.shared.close();
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
        self.shared.discard();
        self.sender.send_replace(self.state);
    }
}

/// A command on its way into a lane.
struct Submission {
    sku: Sku,
    command: Command,
    trail: Trail,
}

/// How much waits in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneDepth {
    /// Reserve commands.
    pub reserve: usize,
    /// Settle commands.
    pub settle: usize,
    /// Milliseconds since the oldest of them came; 0: none waits.
    pub oldest_age_ms: u64,
}

impl LaneDepth {
    /// As if both were one lane.
    pub fn and(self, other: Self) -> Self {
        Self {
            reserve: self.reserve + other.reserve,
            settle: self.settle + other.settle,
            oldest_age_ms: self.oldest_age_ms.max(other.oldest_age_ms),
        }
    }
}

/// How much waits in the lanes of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketDepths {
    /// The bucket.
    pub bucket: u16,
    /// In its normal lane.
    pub normal: LaneDepth,
    /// In the lanes of its hot items.
    pub hot: Vec<(Sku, LaneDepth)>,
}

/// A hot item's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotLaneState {
    /// How much waits in it.
    pub depth: LaneDepth,
    /// Whether all that came before in another lane has been decided.
    pub is_open: bool,
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

/// Why a command was not put in a lane, or has no outcome.
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
    /// There are as many hot items as there may be.
    #[error("there are as many hot items as there may be: {max}")]
    TooManyHotItems {
        /// The number.
        max: usize,
    },
    /// A hot item is not the one that was to be changed.
    #[error("the hot item has another version than expected")]
    HotItemChanged {
        /// Its version; `None`: the SKU is no hot item.
        version: Option<u64>,
    },
    /// A command of this id waits, with another fingerprint.
    #[error("the id belongs to another command")]
    KeyReused,
    /// The engine has stopped, or is stopping, or cannot be reached. A command that was on its way may
    /// or may not have been applied: its caller repeats it with the same key.
    #[error("the engine has stopped")]
    Stopped,
}
