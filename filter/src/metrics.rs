//! The filter's counters: a fixed list, one per outcome, never one per SKU.
//!
//! In Envoy's Prometheus output (`/stats/prometheus` at the admin port) they have the names given
//! here, such as `cartgate_requests_admitted`; in `/stats` they start with `wasmcustom.`.

use crate::host;

/// What became of a request on a configured route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Went on to the service.
    Admitted,
    /// 429: above its SKU's limit.
    Denied,
    /// 422: asks for more than the burst.
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
    const ALL: [(Self, &str); 9] = [
        (Self::Admitted, "admitted"),
        (Self::Denied, "denied"),
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

/// The counters, defined.
pub(crate) struct Metrics {
    requests: Vec<(Outcome, u32)>,
    overflow: Option<u32>,
}

impl Metrics {
    /// Makes all counters known to Envoy, so that they show as 0 from the start.
    pub(crate) fn define() -> Self {
        let counter = |(outcome, name): (Outcome, &str)| {
            Some((outcome, host::define_counter(&format!("cartgate_requests_{name}"))?))
        };
        Self {
            requests: Outcome::ALL.into_iter().filter_map(counter).collect(),
            overflow: host::define_counter("cartgate_requests_overflow"),
        }
    }

    /// Counts a request by what became of it.
    pub(crate) fn count(&self, outcome: Outcome) {
        if let Some((_, counter)) = self.requests.iter().find(|(o, _)| *o == outcome) {
            host::increment(*counter);
        }
    }

    /// Counts a request that was charged to the overflow of a full set of slots: a sign that more
    /// SKUs are asked for than `slots.sets_count` has room for. It counts as an outcome, too.
    pub(crate) fn count_overflow(&self) {
        if let Some(counter) = self.overflow {
            host::increment(counter);
        }
    }
}
