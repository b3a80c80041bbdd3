//! The filter's counters: a fixed list, one per outcome, never one per SKU.
//!
//! In Envoy's Prometheus output (`/stats/prometheus` at the admin port) they have the names given
//! here, such as `cartgate_requests_admitted`; in `/stats` they start with `wasmcustom.`.

use std::cell::Cell;

use crate::host;

/// What became of a request on a configured route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Went on to the service.
    Admitted,
    /// 429: above its SKU's limit.
    Denied,
    /// 429: above a limit per client.
    ClientDenied,
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
    const ALL: [(Self, &str); 10] = [
        (Self::Admitted, "admitted"),
        (Self::Denied, "denied"),
        (Self::ClientDenied, "client_denied"),
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
}

impl Metrics {
    /// Makes all counters known to Envoy, so that they show as 0 from the start.
    pub(crate) fn define() -> Self {
        let counted = |name: &str| Counted::define(&format!("cartgate_requests_{name}"));
        let requests = Outcome::ALL.iter().map(|(outcome, name)| (*outcome, counted(name)));
        Self { requests: requests.collect(), overflow: counted("overflow") }
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
        self.overflow.tell();
    }
}

struct Counted {
    /// `None` if Envoy does not know it.
    id: Option<u32>,
    untold: Cell<u32>,
}

impl Counted {
    fn define(name: &str) -> Self {
        Self { id: host::define_counter(name), untold: Cell::new(0) }
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
