//! Spans, from when they have ended until they are exported.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::http::HeaderMap;
use cartgate_policy::problem::ProblemType;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::TracingConfig;
use super::parent::{Parent, state};

/// The most spans that wait to be exported; one more is dropped. Each has about a KiB.
const WAITING_MAX: usize = 8_192;

/// Which requests are sampled, and the spans of those that wait to be exported.
pub struct Spans {
    /// `None`: nobody takes spans.
    sampling: Option<Sampling>,
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    waiting: Mutex<VecDeque<SpanData>>,
    exported: Counter,
    dropped: Family<DroppedLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    reason: &'static str,
}

impl Default for Spans {
    /// Nobody takes spans.
    fn default() -> Self {
        Self::new(&TracingConfig::default())
    }
}

impl Spans {
    /// None yet.
    pub fn new(config: &TracingConfig) -> Self {
        let scope = InstrumentationScope::builder("cartgate");
        Self {
            sampling: config.otlp.is_some().then(|| Sampling::new(config)),
            ids: RandomIdGenerator::default(),
            scope: scope.with_version(env!("CARGO_PKG_VERSION")).build(),
            waiting: Mutex::default(),
            exported: Counter::default(),
            dropped: Family::default(),
        }
    }

    /// Has its counters shown.
    pub(crate) fn register(&self, r: &mut Registry) {
        r.register("spans_exported", "Spans that the collector has taken", self.exported.clone());
        r.register(
            "spans_dropped",
            "Spans that nobody has: too many waited (full), or the collector did not take them (not-taken)",
            self.dropped.clone(),
        );
    }

    /// A request comes in with these headers: its trace goes on, or begins.
    pub(crate) fn begin(&self, headers: &HeaderMap) -> Begun {
        let parent = Parent::of(headers);
        let trace_id = match parent {
            Some(parent) => parent.trace_id,
            None => self.ids.new_trace_id(),
        };
        let is_sampled = |sampling: &Sampling| match parent {
            Some(parent) if sampling.trusts_parent => parent.is_sampled,
            // Whoever is not trusted has made the trace's id as well.
            Some(_) => sampling.takes(self.ids.new_trace_id()),
            None => sampling.takes(trace_id),
        };
        let span = self.sampling.as_ref().is_some_and(is_sampled).then(|| {
            let state = parent.map(|_| state(headers)).unwrap_or_default();
            RequestSpan {
                context: self.context(trace_id, state),
                parent: parent.map_or(SpanId::INVALID, |parent| parent.span_id),
                started: SystemTime::now(),
            }
        });
        Begun { trace_id, is_new: parent.is_none(), span }
    }

    /// A request has ended.
    pub(crate) fn end(&self, span: &RequestSpan, ended: &Ended<'_>) {
        let Ended { method, route, status, problem, request_id } = *ended;
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.response.status_code", i64::from(status)),
            // Whoever speaks TLS is in front of the service.
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("cartgate.request_id", request_id.to_owned()),
        ];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        let slug = problem.map(ProblemType::slug);
        attributes.extend(slug.map(|slug| KeyValue::new("error.type", slug)));
        self.record(SpanData {
            span_kind: SpanKind::Server,
            name: route.map_or(method.into(), |route| format!("{method} {route}").into()),
            parent_span_id: span.parent,
            parent_span_is_remote: span.parent != SpanId::INVALID,
            // That a product is sold out is no error of the service's.
            status: if status >= 500 { Status::error("") } else { Status::Unset },
            attributes,
            ..self.span(span.context.clone(), span.started, SystemTime::now())
        });
    }

    /// Something has been done for a request.
    pub(crate) fn child(
        &self,
        parent: &SpanContext,
        name: &'static str,
        (since, until): (SystemTime, SystemTime),
        attributes: Vec<KeyValue>,
    ) {
        if self.sampling.is_none() {
            return;
        }
        let context = self.context(parent.trace_id(), parent.trace_state().clone());
        self.record(SpanData {
            name: name.into(),
            parent_span_id: parent.span_id(),
            parent_span_is_remote: parent.is_remote(),
            attributes,
            // Times may be of two clocks: what has ended began no later than that.
            ..self.span(context, since.min(until), until)
        });
    }

    /// The spans that have waited longest, at most so many.
    pub(super) fn take(&self, max: usize) -> Vec<SpanData> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(max);
        waiting.drain(..count).collect()
    }

    pub(super) fn count_exported(&self, count: usize) {
        self.exported.inc_by(count as u64);
    }

    pub(crate) fn count_dropped(&self, reason: &'static str, count: usize) {
        self.dropped.get_or_create(&DroppedLabels { reason }).inc_by(count as u64);
    }

    fn record(&self, span: SpanData) {
        let mut waiting = self.waiting();
        if waiting.len() < WAITING_MAX {
            return waiting.push_back(span);
        }
        drop(waiting);
        self.count_dropped("full", 1);
    }

    /// A new span of a sampled trace.
    fn context(&self, trace_id: TraceId, state: TraceState) -> SpanContext {
        SpanContext::new(trace_id, self.ids.new_span_id(), TraceFlags::SAMPLED, false, state)
    }

    /// A span that says nothing yet.
    fn span(
        &self,
        span_context: SpanContext,
        start_time: SystemTime,
        end_time: SystemTime,
    ) -> SpanData {
        SpanData {
            span_context,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time,
            end_time,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<SpanData>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose trace goes on, or begins.
pub(crate) struct Begun {
    pub(crate) trace_id: TraceId,
    /// Whether the trace begins with it.
    pub(crate) is_new: bool,
    /// Its own, if it is sampled.
    pub(crate) span: Option<RequestSpan>,
}

/// A request's span, as long as it has not ended.
pub(crate) struct RequestSpan {
    pub(crate) context: SpanContext,
    /// Its caller's; invalid: there is none.
    parent: SpanId,
    started: SystemTime,
}

/// What became of a request.
pub(crate) struct Ended<'a> {
    pub(crate) method: &'static str,
    /// The pattern of its path, not the path itself.
    pub(crate) route: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) problem: Option<ProblemType>,
    pub(crate) request_id: &'a str,
}

/// Which requests are sampled.
struct Sampling {
    /// Out of 2^63.
    bound: u64,
    trusts_parent: bool,
}

impl Sampling {
    fn new(config: &TracingConfig) -> Self {
        // 2^63 is a float, and a product that is below it fits.
        let bound = (config.sample * (1_u64 << 63) as f64) as u64;
        Self { bound, trusts_parent: config.trust_parent }
    }

    /// By a trace's id, as other services of the trace decide: with the same fraction, the same.
    fn takes(&self, trace_id: TraceId) -> bool {
        (u128::from_be_bytes(trace_id.to_bytes()) as u64) >> 1 < self.bound
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn spans(sample: f64, trust_parent: bool) -> Spans {
        let otlp = Some("http://collector:4318".parse().unwrap());
        Spans::new(&TracingConfig { otlp, sample, trust_parent, ..TracingConfig::default() })
    }

    fn from(flags: &str) -> HeaderMap {
        let parent = format!("00-{}-{}-{flags}", "5".repeat(32), "7".repeat(16));
        let parent = HeaderValue::try_from(parent).unwrap();
        HeaderMap::from_iter([("traceparent".parse().unwrap(), parent)])
    }

    #[test]
    fn a_caller_decides_unless_it_is_not_trusted() {
        for (sample, trust_parent, flags, expected) in [
            (0.0, true, "01", true),
            (1.0, true, "00", false),
            (0.0, false, "01", false),
            (1.0, false, "00", true),
        ] {
            let begun = spans(sample, trust_parent).begin(&from(flags));
            assert_eq!(begun.trace_id.to_string(), "5".repeat(32));
            assert_eq!((begun.is_new, begun.span.is_some()), (false, expected));
        }
        assert!(Spans::default().begin(&from("01")).span.is_none(), "nobody takes it");
    }

    /// Nor does it by the id that it makes up.
    #[test]
    fn who_is_not_trusted_decides_nothing() {
        for digit in ["0", "f"] {
            let parent = format!("00-1{}-{}-00", digit.repeat(31), "7".repeat(16));
            let parent = HeaderValue::try_from(parent).unwrap();
            let headers = HeaderMap::from_iter([("traceparent".parse().unwrap(), parent)]);
            let spans = spans(0.5, false);
            let sampled = (0..1_000).filter(|_| spans.begin(&headers).span.is_some()).count();
            assert!((400..600).contains(&sampled), "{sampled} of {digit}");
        }
    }

    #[test]
    fn of_the_others_a_fraction_is_sampled() {
        for (sample, expected) in [(0.0, 0..=0), (0.1, 800..=1_200), (1.0, 10_000..=10_000)] {
            let spans = spans(sample, true);
            let begun = (0..10_000).map(|_| spans.begin(&HeaderMap::new()));
            let sampled = begun.filter(|begun| begun.is_new && begun.span.is_some()).count();
            assert!(expected.contains(&sampled), "{sampled} of {sample}");
        }
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let spans = spans(1.0, true);
        let parent = spans.begin(&HeaderMap::new()).span.unwrap().context;
        let now = SystemTime::now();
        for _ in 0..WAITING_MAX + 3 {
            spans.child(&parent, "lane", (now, now), Vec::new());
        }
        assert_eq!(spans.dropped.get_or_create(&DroppedLabels { reason: "full" }).get(), 3);
        assert_eq!(spans.take(100).len(), 100);
        assert_eq!(spans.take(WAITING_MAX).len(), WAITING_MAX - 100);
    }
}
