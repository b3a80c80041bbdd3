//! The filter's counters: a fixed list, one per outcome, never one per SKU.
//!
//! In Envoy's Prometheus output (`/stats/prometheus` at the admin port) they have the names given
//! here, such as `cartgate_requests_admitted`; in `/stats` they start with `wasmcustom.`.

use std::cell::Cell;

use cartgate_policy::extract::Failure;

use crate::fleet::Contact;
use crate::host::{self, MetricKind};

/// What became of a request on a configured route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Went on to the service, by the verdict or because nothing is refused here (shadow).
    Admitted,
    /// Went on to the service by a failure mode: no limit was charged.
    Allowed,
    /// 429: above its SKU's limit.
    Denied,
    /// 429: above a limit per client.
    ClientDenied,
    /// 409: nothing of its SKU is left.
    SoldOut,
    /// 403: the sale of its SKU has not begun.
    NotOpenYet,
    /// 403: the sale of its SKU is over.
    Closed,
    /// 503: an operator has paused the sale of its SKU.
    Paused,
    /// 422: asks for more than the burst, of the SKU or of a client.
    OverBurst,
    /// 429: the worker threads got in each other's way [`crate::count::ATTEMPTS_MAX`] times.
    Contended,
    /// 400, 413, 415 or 503: it could not be read or counted.
    Failed(Failure),
}

impl Outcome {
    /// What has a name of its own: all but the failures.
    const NAMED: [(Self, &'static str); 10] = [
        (Self::Admitted, "admitted"),
        (Self::Allowed, "allowed"),
        (Self::Denied, "denied"),
        (Self::ClientDenied, "client_denied"),
        (Self::SoldOut, "sold_out"),
        (Self::NotOpenYet, "not_open_yet"),
        (Self::Closed, "closed"),
        (Self::Paused, "paused"),
        (Self::OverBurst, "over_burst"),
        (Self::Contended, "contended"),
    ];

    fn all() -> impl Iterator<Item = (Self, &'static str)> {
        let failures =
            Failure::ALL.into_iter().map(|(failure, name)| (Self::Failed(failure), name));
        Self::NAMED.into_iter().chain(failures)
    }

    /// The outcome's name, in counters and in the log.
    pub(crate) fn name(self) -> &'static str {
        Self::all().find(|(outcome, _)| *outcome == self).map_or("", |(_, name)| name)
    }
}

/// The counters, defined. What is counted is told to Envoy now and then, since each telling costs as
/// much as a look at a SKU's state: what a crash of the filter loses is what was counted since.
pub(crate) struct Metrics {
    requests: Vec<(Outcome, Counted)>,
    would_be: Vec<(Outcome, Counted)>,
    allowed: Vec<(Failure, Counted)>,
    bodies_missed: Counted,
    config_version: Gauge,
    overflow: Counted,
    reports: Counted,
    reports_failed: Counted,
    contact: Gauge,
    hot_items: Gauge,
}

impl Metrics {
    /// Makes all counters known to Envoy, so that they show as 0 from the start.
    pub(crate) fn define() -> Self {
        let counted = |name: &str| Counted::define(&format!("cartgate_requests_{name}"));
        let requests = Outcome::all().map(|(outcome, name)| (outcome, counted(name)));
        let is_refusal =
            |(outcome, _): &(Outcome, _)| !matches!(outcome, Outcome::Admitted | Outcome::Allowed);
        let would_be = Outcome::all().filter(is_refusal);
        let would_be = would_be.map(|(outcome, name)| {
            (outcome, Counted::define(&format!("cartgate_would_be_{name}")))
        });
        let allowed = Failure::ALL.into_iter();
        let allowed = allowed
            .map(|(failure, name)| (failure, Counted::define(&format!("cartgate_allowed_{name}"))));
        Self {
            requests: requests.collect(),
            would_be: would_be.collect(),
            allowed: allowed.collect(),
            bodies_missed: Counted::define("cartgate_bodies_missed"),
            config_version: Gauge::define("cartgate_config_version"),
            overflow: counted("overflow"),
            reports: Counted::define("cartgate_reports"),
            reports_failed: Counted::define("cartgate_reports_failed"),
            contact: Gauge::define("cartgate_contact"),
            hot_items: Gauge::define("cartgate_hot_items"),
        }
    }

    /// Counts a report to the service that was sent.
    pub(crate) fn count_report(&self) {
        self.reports.add_one();
    }

    /// Counts a report that could not be sent, or was not answered as it should be.
    pub(crate) fn count_failed_report(&self) {
        self.reports_failed.add_one();
    }

    /// Says how the edge stands with its service: 1, it answers; 2, it does not, and what it has said before
    /// is still good; 3, that has lapsed, and safe shares count; 0, there is none. And how many hot items
    /// the edge knows.
    pub(crate) fn show_fleet(&self, contact: Contact, hot_items: usize) {
        self.contact.show(contact as u64);
        self.hot_items.show(hot_items as u64);
    }

    /// Says which configuration is in force.
    pub(crate) fn show_config(&self, version: u64) {
        self.config_version.show(version);
    }

    /// Counts a request by what became of it.
    pub(crate) fn count(&self, outcome: Outcome) {
        add_one(&self.requests, outcome);
    }

    /// Counts a request that passes only because nothing is refused here (shadow), by what would have become
    /// of it.
    pub(crate) fn count_would_be(&self, outcome: Outcome) {
        add_one(&self.would_be, outcome);
    }

    /// Counts a request that passes by a failure mode.
    pub(crate) fn count_allowed(&self, failure: Failure) {
        add_one(&self.allowed, failure);
    }

    /// Counts a request that ended while it waited for a body, of which nothing had come.
    pub(crate) fn count_missed_body(&self) {
        self.bodies_missed.add_one();
    }

    /// Counts a request that was charged to the overflow of a full set of slots: a sign that more
    /// SKUs are asked for than `slots.sets_count` has room for. It counts as an outcome, too.
    pub(crate) fn count_overflow(&self) {
        self.overflow.add_one();
    }

    /// Tells Envoy what was counted since the last time.
    pub(crate) fn tell(&self) {
        self.requests.iter().chain(&self.would_be).for_each(|(_, counted)| counted.tell());
        self.allowed.iter().for_each(|(_, counted)| counted.tell());
        let others = [&self.overflow, &self.reports, &self.reports_failed, &self.bodies_missed];
        others.into_iter().for_each(Counted::tell);
    }
}

fn add_one<K: PartialEq>(counters: &[(K, Counted)], of: K) {
    if let Some((_, counted)) = counters.iter().find(|(key, _)| *key == of) {
        counted.add_one();
    }
}

struct Counted {
    /// `None` if Envoy does not know it.
    id: Option<u32>,
    untold: Cell<u32>,
}

impl Counted {
    fn define(name: &str) -> Self {
        Self { id: host::define_metric(MetricKind::Counter, name), untold: Cell::new(0) }
    }

    fn add_one(&self) {
        self.untold.set(self.untold.get().saturating_add(1));
    }

    fn tell(&self) {
        let untold = self.untold.take();
        if let Some(id) = self.id.filter(|_| untold > 0) {
            host::increment(id, untold);
        }
    }
}

/// A value that the threads share. Envoy is told when it is another one.
struct Gauge {
    /// `None` if Envoy does not know it.
    id: Option<u32>,
    told: Cell<u64>,
}

impl Gauge {
    fn define(name: &str) -> Self {
        Self { id: host::define_metric(MetricKind::Gauge, name), told: Cell::new(0) }
    }

    fn show(&self, value: u64) {
        if let Some(id) = self.id
            && self.told.replace(value) != value
        {
            host::record(id, value);
        }
    }
}
