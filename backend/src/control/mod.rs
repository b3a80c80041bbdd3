//! The service's side of hot items at the edges: what edges report and are told, which SKUs turn hot, and
//! what the registry makes of both.
//!
//! ```text
//! edges ── reports ──> Control::report ──> Leader: Fleet, Detector, Followers        pure
//!                                             ^  every 50 ms: who is to have how much
//! API ──── asked for ─> Control::count ───────┤
//!                                             │  every 100 ms, and at once when the registry was changed:
//! engine ── registry, stock, lanes ── look ───┘  what edges are to know
//!    ^                                │
//!    └── registered, let go, expired ─┘
//! ```
//!
//! One process is the leader of the fleet: with a store of its own, the one that there is. What it knows it
//! knows in memory alone. Its successor is another incarnation, and learns from the edges what they have
//! before it grants anything: see [`cartgate_policy::fleet`].
//!
//! - `detector` and `follow` decide, `states` says what edges are to know of an item: pure;
//! - `leader` puts them together with the fleet, still without a clock;
//! - `look` is the loop around it.

pub mod config;
pub mod detector;
pub mod follow;
mod leader;
mod look;
mod states;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cartgate_policy::Sku;
use cartgate_policy::fleet::{NotTaken, Reply, Report};
use cartgate_policy::heavy::Sketch;
use thiserror::Error;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::random;

pub use leader::{FleetView, ItemView};
pub use look::Looking;

use leader::{Leader, Rules};

/// The service's side of hot items at the edges.
pub struct Control {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// What monotonic time is counted from.
    started: Instant,
    rules: Rules,
    /// `None`: the registry was not read yet. Whoever reported then would be told that there is none.
    leader: Mutex<Option<Leader>>,
    /// What this process was asked for since that was looked at.
    asked: Mutex<Sketch>,
    /// Told when the registry was changed here.
    changed: Notify,
}

/// Why a report has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReportError {
    /// The leader does not take it.
    #[error("the report is not taken")]
    NotTaken(#[source] NotTaken),
    /// There is no leader now.
    #[error("there is no leader that could take the report")]
    NoLeader,
}

impl ReportError {
    /// As metrics name it.
    fn name(self) -> &'static str {
        match self {
            Self::NotTaken(NotTaken::Outdated { .. }) => "outdated",
            Self::NotTaken(NotTaken::TooManyEdges { .. }) => "too-many-edges",
            Self::NoLeader => "unavailable",
        }
    }
}

impl Control {
    /// What a process needs to know of edges. It answers none until [`Control::start`].
    pub fn new(config: &Config, engine: Arc<Engine>, metrics: Arc<Metrics>, clock: Clock) -> Self {
        Self {
            engine,
            metrics,
            clock,
            started: Instant::now(),
            rules: Rules::new(config),
            leader: Mutex::default(),
            asked: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Answers an edge's report.
    ///
    /// # Errors
    /// It is outdated, or there are too many edges, or nobody can answer now.
    pub async fn report(&self, edge: u64, report: &Report) -> Result<Reply, ReportError> {
        let (now_ms, unix_ms) = (self.now_ms(), (self.clock)().0);
        let answer = match &mut *self.leader() {
            Some(leader) => {
                leader.report(edge, report, now_ms, unix_ms).map_err(ReportError::NotTaken)
            }
            None => Err(ReportError::NoLeader),
        };
        self.metrics.count_report(answer.as_ref().map_or_else(|e| e.name(), |_| "answered"));
        answer
    }

    /// Counts units that this process is asked to reserve.
    pub fn count(&self, sku: &Sku, units: u64) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).add(sku, units);
    }

    /// The registry was changed here: edges are to hear of it at once.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// How the fleet of edges stands; `None`: nobody can tell now.
    pub async fn fleet(&self) -> Option<FleetView> {
        self.leader().as_ref().map(Leader::view)
    }

    /// How an item stands at the edges; `None`: they have not been told of it, or nobody can tell now.
    pub async fn item(&self, sku: &Sku) -> Option<ItemView> {
        self.leader().as_ref()?.item_view(sku)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn leader(&self) -> MutexGuard<'_, Option<Leader>> {
        // Nothing in here can panic half way through a change.
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_leader(&self) -> Leader {
        Leader::new(u64::from_ne_bytes(random::bytes()), &self.rules, self.now_ms())
    }
}
