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
//! One process is the leader of the fleet: with a store of its own, the one that there is; of many on a
//! shared store, the one that has the lease. What it knows it knows in memory alone. Its successor is another
//! incarnation, and learns from the edges what they have before it grants anything: see
//! [`cartgate_policy::fleet`]. The others ask it by way of the store.
//!
//! - `detector` and `follow` decide, `states` says what edges are to know of an item: pure;
//! - `leader` puts them together with the fleet, still without a clock;
//! - `seat` says whether this process leads, `look` is the loop around the leader;
//! - `post` and `together` are what many processes need.

pub mod config;
pub mod detector;
pub mod follow;
mod leader;
mod look;
mod own_form;
mod post;
mod seat;
mod states;
mod together;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cartgate_policy::Sku;
use cartgate_policy::fleet::{NotTaken, Reply, Report};
use cartgate_policy::heavy::Sketch;
use thiserror::Error;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::random;
use crate::store::redis::control::LEAD_MS;

pub use leader::{FleetView, ItemView};
pub use look::Looking;

use detector::Source;
use leader::{Leader, Rules};
use own_form::OwnForm;
use post::{Counts, Post, Told, What};
use seat::Seat;

/// The service's side of hot items at the edges.
pub struct Control {
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// What monotonic time is counted from.
    started: Instant,
    rules: Rules,
    own_form: OwnForm,
    seat: Mutex<Seat>,
    /// The way to the leader, if that may be another process.
    post: Option<Arc<Post>>,
    /// Whether this process may lead.
    may_lead: bool,
    /// What this process was asked for since that was looked at.
    asked: Mutex<AskedFor>,
    /// Told when the registry was changed here.
    changed: Notify,
}

/// What a process was asked for.
#[derive(Default)]
struct AskedFor {
    /// Units, of any SKU.
    units: Sketch,
    /// Reserve commands for hot items, on a shared store: an engine of its own counts what it decides itself.
    reserves: HashMap<Sku, u64>,
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
    pub fn new(
        config: &Config,
        engine: &Arc<Engine>,
        metrics: &Arc<Metrics>,
        clock: &Clock,
    ) -> Self {
        let mut seat = Seat::default();
        let post = engine.shared_api().map(|api| Arc::new(Post::new(api)));
        if post.is_none() {
            seat.take(u64::from_ne_bytes(random::bytes()), None);
        }
        Self {
            engine: Arc::clone(engine),
            metrics: Arc::clone(metrics),
            clock: Arc::clone(clock),
            started: Instant::now(),
            rules: Rules::new(config),
            own_form: OwnForm::new(&config.sku),
            seat: Mutex::new(seat),
            post,
            may_lead: config.roles.contains(&Role::Api),
            asked: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Answers an edge's report.
    ///
    /// # Errors
    /// It is outdated, or there are too many edges, or nobody can answer now.
    pub async fn report(&self, edge: u64, report: Report) -> Result<Reply, ReportError> {
        if self.own_form.is_another(edge, &report, self.now_ms()) {
            self.metrics.other_sku_form.inc();
        }
        let answer = match self.ask(What::Report { edge, report }).await {
            Some(Told::Reply(reply)) => Ok(*reply),
            Some(Told::NotTaken(error)) => Err(ReportError::NotTaken(error)),
            _ => Err(ReportError::NoLeader),
        };
        self.metrics.count_report(answer.as_ref().map_or_else(|e| e.name(), |_| "answered"));
        answer
    }

    /// Counts units that this process is asked to reserve.
    pub fn count(&self, sku: &Sku, units: u64, is_hot: bool) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.units.add(sku, units);
        if is_hot && self.post.is_some() {
            *asked.reserves.entry(sku.clone()).or_default() += 1;
        }
    }

    /// The registry was changed here: edges are to hear of it at once.
    pub async fn changed(&self) {
        match &self.post {
            Some(post) if !self.leads() => {
                // Otherwise it is found at the next look.
                let _ = post.tell(What::Changed).await;
            }
            _ => self.changed.notify_one(),
        }
    }

    /// How the fleet of edges stands; `None`: nobody can tell now.
    pub async fn fleet(&self) -> Option<FleetView> {
        match self.ask(What::Fleet).await {
            Some(Told::Fleet(view)) => Some(view),
            _ => None,
        }
    }

    /// How an item stands at the edges; `None`: they have not been told of it, or nobody can tell now.
    pub async fn item(&self, sku: &Sku) -> Option<ItemView> {
        match self.ask(What::Item(sku.clone())).await {
            Some(Told::Item(view)) => view,
            _ => None,
        }
    }

    /// Lets another process lead at once, if this one does.
    pub async fn stop(&self) {
        if let Some(post) = &self.post {
            self.give_lead_back(post).await;
        }
    }

    /// Asks the leader, wherever it is. `None`: there is no answer.
    async fn ask(&self, what: What) -> Option<Told> {
        let Some(post) = self.post.as_ref().filter(|_| !self.leads()) else {
            return self.lead(|leader| self.tell(leader, what));
        };
        post.ask(what).await
    }

    /// What the leader says to something.
    fn tell(&self, leader: &mut Leader, what: What) -> Told {
        let now_ms = self.now_ms();
        match what {
            What::Report { edge, report } => {
                let unix_ms = (self.clock)().0;
                match leader.report(edge, &report, now_ms, unix_ms) {
                    Ok(reply) => Told::Reply(Box::new(reply)),
                    Err(error) => Told::NotTaken(error),
                }
            }
            What::Fleet => Told::Fleet(leader.view()),
            What::Item(sku) => Told::Item(leader.item_view(&sku)),
            What::Counts(Counts { over_ms, heavy, reserves }) => {
                leader.note(Source::Api, &heavy, over_ms, now_ms);
                leader.note_reserves(&reserves);
                Told::Nothing
            }
            What::Changed => {
                self.changed.notify_one();
                Told::Nothing
            }
            What::Echo => Told::Nothing,
        }
    }

    /// What this process was asked for since this was asked last.
    fn take_counts(&self, over: Duration) -> Counts {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let AskedFor { units, reserves } = &mut *asked;
        Counts {
            over_ms: u64::try_from(over.as_millis()).unwrap_or(u64::MAX),
            heavy: units.take(),
            reserves: reserves.drain().collect(),
        }
    }

    /// Whether this process leads.
    fn leads(&self) -> bool {
        self.seat().incarnation(Instant::now()).is_some()
    }

    /// Has the leader do something, if this process is it, and may answer.
    fn lead<T>(&self, what: impl FnOnce(&mut Leader) -> T) -> Option<T> {
        self.seat().leader(Instant::now()).map(what)
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        // Nothing in here can panic half way through a change.
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A leader that has just got the seat. It learns for as long as a session that was granted before may
    /// last. On a shared store the one before may grant for as long as its lease lasts: a failover of the
    /// store may have given the lead away twice.
    fn new_leader(&self, incarnation: u64) -> Leader {
        let begins_ms = self.now_ms() + if self.post.is_some() { LEAD_MS } else { 0 };
        Leader::new(incarnation, &self.rules, begins_ms)
    }
}
