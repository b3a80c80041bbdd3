//! What the service counts. Every name and every label value is known here, so that no client can
//! make a metric: labels never carry a SKU, a customer or an id. (Exemplars do carry a trace's.)
//!
//! `docs/metrics.md` says of each what to look at; a test holds it to what is here.

#[cfg(test)]
mod documented;
mod labels;
mod names;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use cartgate_policy::problem::ProblemType;
use opentelemetry::trace::TraceId;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::control::FleetView;
use crate::lanes::{BucketDepths, LaneDepth};
use crate::store::tenure::Reached;
use crate::trace::Spans;
use crate::window::{Counts, Tally};

use labels::{
    CommandLabels, ExemplarLabels, LaneLabels, LevelLabels, OutcomeLabels, QueueLabels,
    RequestLabels, RouteLabels, TenureLabels,
};
pub use names::{command_name, outcome_name};

/// The service's metrics.
pub struct Metrics {
    registry: Registry,
    /// Spans of those requests that are sampled: who counts what is done for a request tells of it, too.
    pub spans: Arc<Spans>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, HistogramWithExemplars<ExemplarLabels>, NewHistogram>,
    commands: Family<CommandLabels, Counter>,
    /// Reserve commands dropped because their callers had gone.
    pub hung_up: Counter,
    /// Commands decided per turn that decided any.
    pub batch_size: Histogram,
    commit_seconds: Histogram,
    commits: Family<LevelLabels, Counter>,
    journal_entries: Counter,
    /// Buckets that this process became owner of.
    pub tenures_begun: Counter,
    /// Those of them that another worker had, and lost without giving them back.
    pub takeovers: Counter,
    tenures_ended: Family<TenureLabels, Counter>,
    /// SKUs of which the store has lost what this process had committed.
    pub lost: Counter,
    holds: Gauge,
    hot_items: Gauge,
    hot_demand: Counter,
    hot_admitted: Counter,
    /// The same by hot item, for those who ask for one.
    pub tally: Tally,
    telling: Mutex<()>,
    lane_depth: Family<QueueLabels, Gauge>,
    lane_age_ms: Family<LaneLabels, Gauge>,
    fleet_leader: Gauge,
    edges: Gauge,
    edges_behind: Gauge,
    registry_revision: Gauge,
    import_lines: Family<OutcomeLabels, Counter>,
    reports: Family<OutcomeLabels, Counter>,
    /// Reports of edges that give SKUs another form than this process.
    pub other_sku_form: Counter,
    /// SKUs that were noticed, and made hot items.
    pub detected: Counter,
    /// Those that were let go, since they were calm again.
    pub let_go: Counter,
    /// Hot items whose time was over.
    pub expired: Counter,
}

type NewHistogram = fn() -> HistogramWithExemplars<ExemplarLabels>;

/// 100 us to 26 s: from a commit on a fast disk to a caller that waits to the end.
fn seconds() -> impl Iterator<Item = f64> {
    exponential_buckets(0.000_1, 2.0, 19)
}

impl Default for Metrics {
    /// Nobody takes spans.
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Metrics {
    /// Nothing yet.
    pub fn new(spans: Arc<Spans>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("cartgate"),
            spans,
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(
                || HistogramWithExemplars::new(seconds()),
            ),
            commands: Family::default(),
            hung_up: Counter::default(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            commit_seconds: Histogram::new(seconds()),
            commits: Family::default(),
            journal_entries: Counter::default(),
            tenures_begun: Counter::default(),
            takeovers: Counter::default(),
            tenures_ended: Family::default(),
            lost: Counter::default(),
            holds: Gauge::default(),
            hot_items: Gauge::default(),
            hot_demand: Counter::default(),
            hot_admitted: Counter::default(),
            tally: Tally::default(),
            telling: Mutex::default(),
            lane_depth: Family::default(),
            lane_age_ms: Family::default(),
            fleet_leader: Gauge::default(),
            edges: Gauge::default(),
            edges_behind: Gauge::default(),
            registry_revision: Gauge::default(),
            import_lines: Family::default(),
            reports: Family::default(),
            other_sku_form: Counter::default(),
            detected: Counter::default(),
            let_go: Counter::default(),
            expired: Counter::default(),
        };
        metrics.register();
        metrics.register_fleet();
        metrics.spans.register(&mut metrics.registry);
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "http_requests",
            "Requests by their answer; 499: the client had gone",
            self.requests.clone(),
        );
        r.register_with_unit(
            "http_request",
            "Time from a request's head to its answer",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        r.register("commands", "Commands decided and committed", self.commands.clone());
        r.register("hung_up", "Reserve commands whose callers had gone", self.hung_up.clone());
        r.register("batch_size", "Commands decided in one turn", self.batch_size.clone());
        r.register_with_unit(
            "commit",
            "Time of one durable commit",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        r.register("commits", "Commits, by the level that they have reached", self.commits.clone());
        r.register(
            "journal_entries",
            "Changes of stock that this process has committed, as the journal has them",
            self.journal_entries.clone(),
        );
        r.register(
            "tenures_begun",
            "Buckets that this process became owner of",
            self.tenures_begun.clone(),
        );
        r.register(
            "takeovers",
            "Buckets that this process became owner of after another had not given them back",
            self.takeovers.clone(),
        );
        r.register(
            "tenures_ended",
            "Buckets that this process is owner of no more, by why",
            self.tenures_ended.clone(),
        );
        r.register(
            "holds",
            "Holds that have not ended, in this process's buckets",
            self.holds.clone(),
        );
        r.register("hot_items", "Hot items, in this process's buckets", self.hot_items.clone());
        r.register(
            "hot_demand",
            "Reserve commands for hot items that this process was asked for",
            self.hot_demand.clone(),
        );
        r.register(
            "hot_admitted",
            "Reserve commands for hot items that this process has decided, and that were held",
            self.hot_admitted.clone(),
        );
        r.register(
            "stock_import_lines",
            "Lines of stock imports, by what became of them",
            self.import_lines.clone(),
        );
        r.register(
            "skus_lost",
            "SKUs of which the store has lost what this process had committed",
            self.lost.clone(),
        );
        r.register(
            "lane_depth",
            "Commands waiting in a bucket's normal lane, or in all lanes of its hot items",
            self.lane_depth.clone(),
        );
        r.register(
            "lane_oldest_age_ms",
            "Milliseconds since the oldest command came that waits there",
            self.lane_age_ms.clone(),
        );
    }

    fn register_fleet(&mut self) {
        let r = &mut self.registry;
        r.register(
            "fleet_leader",
            "Whether this process leads the fleet of edges, 1, and has its numbers, or another, 0",
            self.fleet_leader.clone(),
        );
        r.register("edges", "Edges that report", self.edges.clone());
        r.register(
            "edges_behind",
            "Edges that do not have the registry of hot items as it is",
            self.edges_behind.clone(),
        );
        r.register(
            "registry_revision",
            "Counted up with each change of what edges are told of hot items, from when they were told first",
            self.registry_revision.clone(),
        );
        r.register("edge_reports", "Reports of edges, by what came of them", self.reports.clone());
        r.register(
            "edge_reports_other_sku_form",
            "Reports of edges whose `sku` is not the service's `[sku]`: they limit other SKUs than it sells",
            self.other_sku_form.clone(),
        );
        r.register(
            "hot_items_detected",
            "Hot items that nobody had registered, but that were noticed",
            self.detected.clone(),
        );
        r.register(
            "hot_items_let_go",
            "Hot items of these that are none any more, since they were calm",
            self.let_go.clone(),
        );
        r.register(
            "hot_items_expired",
            "Hot items that are none any more, since their time was over",
            self.expired.clone(),
        );
    }

    /// Says how the fleet of edges stands, if this process leads it.
    pub fn set_fleet(&self, fleet: Option<FleetView>) {
        self.fleet_leader.set(fleet.is_some().into());
        self.edges.set(gauge_value(fleet.map_or(0, |fleet| fleet.edges)));
        self.edges_behind.set(gauge_value(fleet.map_or(0, |fleet| fleet.behind)));
        let revision = fleet.map_or(0, |fleet| fleet.version.revision);
        self.registry_revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
    }

    /// Counts lines of a stock import: `set`, `unchanged`, `refused`.
    pub fn count_import_lines(&self, outcome: &'static str, lines: u64) {
        self.import_lines.get_or_create(&OutcomeLabels { outcome }).inc_by(lines);
    }

    /// Counts a report of an edge: `answered`, `outdated`, `too-many-edges`, `unavailable`.
    pub fn count_report(&self, outcome: &'static str) {
        self.reports.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Counts an answered request. `route` is the pattern, not the path; `sampled` is its trace, if that can be
    /// looked at.
    pub fn count_request(
        &self,
        method: &'static str,
        route: &str,
        (status, problem): (u16, Option<ProblemType>),
        seconds: f64,
        sampled: Option<TraceId>,
    ) {
        let problem = problem.map_or("", ProblemType::slug);
        let labels = RequestLabels { method, route: route.to_owned(), status, problem };
        self.requests.get_or_create(&labels).inc();
        let labels = RouteLabels { route: route.to_owned() };
        let exemplar = sampled.map(|trace_id| ExemplarLabels { trace_id: trace_id.to_string() });
        self.request_seconds.get_or_create(&labels).observe(seconds, exemplar, None);
    }

    /// Counts committed commands, named by [`command_name`] and [`outcome_name`].
    pub fn count_commands(&self, command: &'static str, outcome: &'static str, count: u64) {
        self.commands.get_or_create(&CommandLabels { command, outcome }).inc_by(count);
    }

    /// Counts a reserve command for a hot item that somebody asks for.
    pub fn count_demand(&self, sku: &Sku, now: UnixMs) {
        self.hot_demand.inc();
        self.tally.add(sku, second(now), Counts { demand: 1, admitted: 0 });
    }

    /// Counts reserve commands for a hot item that were held.
    pub fn count_admitted(&self, sku: &Sku, admitted: u64, now: UnixMs) {
        self.hot_admitted.inc_by(admitted);
        self.tally.add(sku, second(now), Counts { demand: 0, admitted });
    }

    /// Counts a commit with so many journal entries, and how long it took to become as durable as it is.
    pub fn count_commit(&self, took: Duration, reached: Reached, journal_entries: usize) {
        self.journal_entries.inc_by(journal_entries as u64);
        self.commit_seconds.observe(took.as_secs_f64());
        let Reached { durability, replicas } = reached;
        let labels = LevelLabels { durability: durability.name(), replicas };
        self.commits.get_or_create(&labels).inc();
    }

    /// Counts a bucket that this process is owner of no more: `given-back`, `lease-lost`, `failed`,
    /// or what the store found when a commit was refused.
    pub fn count_tenure_end(&self, reason: &'static str) {
        self.tenures_ended.get_or_create(&TenureLabels { reason }).inc();
    }

    /// Says how many holds have not ended.
    pub fn set_holds(&self, count: usize) {
        self.holds.set(gauge_value(count));
    }

    /// How many holds have not ended.
    pub fn holds(&self) -> usize {
        usize::try_from(self.holds.get()).unwrap_or_default()
    }

    /// Says that somebody who had so many holds has as many now; others have theirs.
    pub fn change_holds(&self, before: usize, now: usize) {
        self.holds.inc_by(gauge_value(now) - gauge_value(before));
    }

    /// The same of hot items.
    pub fn change_hot_items(&self, before: usize, now: usize) {
        self.hot_items.inc_by(gauge_value(now) - gauge_value(before));
    }

    /// Says how many hot items there are.
    pub fn set_hot_items(&self, count: usize) {
        self.hot_items.set(gauge_value(count));
    }

    /// Everything, in the OpenMetrics text format, with the lanes as they stand.
    pub fn render(&self, lanes: Vec<BucketDepths>) -> String {
        // One at a time: who comes meanwhile must not find them half told.
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a bucket that cannot be asked nothing is told.
        self.lane_depth.clear();
        self.lane_age_ms.clear();
        for BucketDepths { bucket, normal, hot } in lanes {
            let hot = hot.into_iter().fold(LaneDepth::default(), |all, (_, lane)| all.and(lane));
            for (lane, depth) in [("normal", normal), ("hot", hot)] {
                for (queue, depth) in [("reserve", depth.reserve), ("settle", depth.settle)] {
                    let labels = QueueLabels { bucket, lane, queue };
                    self.lane_depth.get_or_create(&labels).set(gauge_value(depth));
                }
                let age_ms = i64::try_from(depth.oldest_age_ms).unwrap_or(i64::MAX);
                self.lane_age_ms.get_or_create(&LaneLabels { bucket, lane }).set(age_ms);
            }
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn second(now: UnixMs) -> u64 {
    now.0 / 1_000
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
