//! The filter's counters: a fixed list, one per outcome, never one per SKU.
//!
//! In Envoy's Prometheus output (`/stats/prometheus` at the admin port) they have the names given
//! here, such as `cartgate_requests_admitted`; in `/stats` they start with `wasmcustom.`.

use std::cell::Cell;

use crate::fleet::Contact;
use crate::host::{self, MetricKind};

/// What became of a request on a configured route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Went on to the service.
    Admitted,
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
    /// 400: names no SKU.
    NoSku,
    /// 400: could not be understood.
    Invalid,
    /// 413: its body is larger than is read.
    BodyTooLarge,
    /// 415: a kind of body, or an encoding, that is not read.
    UnsupportedMediaType,
    /// 429: the other threads kept changing the SKU's state.
    Contended,
    /// 503: Envoy refused a call that the decision needs.
    Failed,
}

impl Outcome {
    const ALL: [(Self, &str); 14] = [
        (Self::Admitted, "admitted"),
        (Self::Denied, "denied"),
        (Self::ClientDenied, "client_denied"),
        (Self::SoldOut, "sold_out"),
        (Self::NotOpenYet, "not_open_yet"),
        (Self::Closed, "closed"),
        (Self::Paused, "paused"),
        (Self::OverBurst, "over_burst"),
        (Self::NoSku, "no_sku"),
        (Self::Invalid, "invalid"),
        (Self::BodyTooLarge, "body_too_large"),
        (Self::UnsupportedMediaType, "unsupported_media_type"),
        (Self::Contended, "contended"),
        (Self::Failed, "failed"),
    ];

    /// The outcome's name, in counters and in the log.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(outcome, _)| *outcome == self).map_or("", |(_, name)| name)
    }
}

/// The counters, defined. What is counted is told to Envoy now and then, since each telling costs as
/// much as a look at a SKU's state: what a crash of the filter loses is what was counted since.
pub(crate) struct Metrics {
    requests: Vec<(Outcome, Counted)>,
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
        let requests = Outcome::ALL.iter().map(|(outcome, name)| (*outcome, counted(name)));
        Self {
            requests: requests.collect(),
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

    /// Counts a request by what became of it.
    pub(crate) fn count(&self, outcome: Outcome) {
        if let Some((_, counted)) = self.requests.iter().find(|(o, _)| *o == outcome) {
            counted.add_one();
        }
    }

    /// Counts a request that was charged to the overflow of a full set of slots: a sign that more
    /// SKUs are asked for than `slots.sets_count` has room for. It counts as an outcome, too.
    pub(crate) fn count_overflow(&self) {
        self.overflow.add_one();
    }

    /// Tells Envoy what was counted since the last time.
    pub(crate) fn tell(&self) {
        self.requests.iter().for_each(|(_, counted)| counted.tell());
        [&self.overflow, &self.reports, &self.reports_failed].into_iter().for_each(Counted::tell);
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
