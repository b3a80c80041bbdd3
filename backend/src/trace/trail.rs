//! What goes with a command to whoever decides it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cartgate_ledger::UnixMs;
use opentelemetry::trace::{SpanContext, TraceFlags, TraceId};

use super::parent::{Parent, parse_state, traceparent};

/// What a request is followed by: its id, its trace, and, if that is sampled, the span of which others are
/// children.
///
/// As a text it is its id, and behind that, if the trace is sampled, `traceparent` and `tracestate` as
/// headers have them, each in a line of its own. So what was written before there were traces is read as
/// ever: no header has a line break in it.
#[derive(Clone, Debug)]
pub struct Trail(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    id: Arc<str>,
    /// Invalid: it is of none, or nobody here knows.
    trace_id: TraceId,
    sampled: Option<Sampled>,
}

#[derive(Clone, Debug)]
pub(crate) struct Sampled {
    pub(crate) parent: SpanContext,
    /// Since when the command has waited.
    pub(crate) since: SystemTime,
}

impl From<&str> for Trail {
    /// Of no trace.
    fn from(id: &str) -> Self {
        Self::of(id.into(), TraceId::INVALID, None)
    }
}

impl Trail {
    /// Of a trace. `span` is the request's own, if it is sampled.
    pub(crate) fn new(id: &str, trace_id: TraceId, span: Option<&SpanContext>) -> Self {
        let now = |span: &SpanContext| Sampled { parent: span.clone(), since: SystemTime::now() };
        Self::of(id.into(), trace_id, span.map(now))
    }

    fn of(id: Arc<str>, trace_id: TraceId, sampled: Option<Sampled>) -> Self {
        Self(Arc::new(Inner { id, trace_id, sampled }))
    }

    /// The request's id: it names it in logs, from Envoy's access log to the commit.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The trace's id; `None`: it is of no trace, or is not sampled and comes from another process.
    pub fn trace_id(&self) -> Option<TraceId> {
        Some(self.0.trace_id).filter(|trace_id| *trace_id != TraceId::INVALID)
    }

    pub(crate) fn sampled(&self) -> Option<&Sampled> {
        self.0.sampled.as_ref()
    }

    /// For a command that begins to wait.
    pub(crate) fn enqueued(&self) -> Self {
        match self.sampled() {
            Some(Sampled { parent, .. }) => Self::new(self.id(), self.0.trace_id, Some(parent)),
            None => self.clone(),
        }
    }

    /// For commands of which there are too many for each to have spans.
    pub(crate) fn without_spans(&self) -> Self {
        Self::new(self.id(), self.0.trace_id, None)
    }

    pub(crate) fn to_text(&self) -> Arc<str> {
        let Some(Sampled { parent, .. }) = self.sampled() else { return Arc::clone(&self.0.id) };
        let mut text = format!("{}\n{}", self.id(), traceparent(parent));
        let state = parent.trace_state().header();
        if !state.is_empty() {
            text.push('\n');
            text.push_str(&state);
        }
        text.into()
    }

    /// Reads back what [`Trail::to_text`] has written, of a command that has waited since `waits_since`.
    pub(crate) fn read(text: Arc<str>, waits_since: UnixMs) -> Self {
        let Some((id, parent)) = text.split_once('\n') else {
            return Self::of(text, TraceId::INVALID, None);
        };
        let (parent, state) = parent.split_once('\n').unwrap_or((parent, ""));
        let Some(Parent { trace_id, span_id, .. }) = Parent::parse(parent.as_bytes()) else {
            return id.into();
        };
        let state = parse_state(state);
        let span = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, state);
        let since = UNIX_EPOCH + Duration::from_millis(waits_since.0);
        Self::of(id.into(), trace_id, Some(Sampled { parent: span, since }))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceState};

    use super::*;

    const TRACE: TraceId = TraceId::from_bytes([7; 16]);

    fn span(state: &str) -> SpanContext {
        let (span_id, state) = (SpanId::from_bytes([9; 8]), parse_state(state));
        SpanContext::new(TRACE, span_id, TraceFlags::SAMPLED, false, state)
    }

    #[test]
    fn a_sampled_trail_is_read_as_it_is_written() {
        for state in ["", "vendor=value,other=thing"] {
            let trail = Trail::new("order 7", TRACE, Some(&span(state)));
            let read = Trail::read(trail.to_text(), UnixMs(1_500));
            assert_eq!((read.id(), read.trace_id()), ("order 7", Some(TRACE)));
            let Sampled { parent, since } = read.sampled().unwrap();
            assert_eq!(parent.span_id(), SpanId::from_bytes([9; 8]));
            assert_eq!((parent.is_sampled(), parent.is_remote()), (true, true));
            assert_eq!(parent.trace_state().header(), state);
            assert_eq!(since.duration_since(UNIX_EPOCH).unwrap(), Duration::from_millis(1_500));
        }
    }

    /// It costs nothing on the way to another process.
    #[test]
    fn one_that_is_not_sampled_is_its_id() {
        let trail = Trail::new("order 7", TRACE, None);
        assert_eq!(trail.trace_id(), Some(TRACE));
        assert_eq!(&*trail.to_text(), "order 7");
    }

    #[test]
    fn what_cannot_be_read_is_of_no_trace() {
        for text in ["order 7", "order 7\n", "order 7\n00-x", "order 7\n\na=1"] {
            let read = Trail::read(text.into(), UnixMs(0));
            assert_eq!((read.id(), read.trace_id()), ("order 7", None));
            assert!(read.sampled().is_none());
        }
        assert_eq!(parse_state("no state"), TraceState::NONE);
    }

    #[test]
    fn without_spans_its_trace_is_still_told() {
        let trail = Trail::new("import", TRACE, Some(&span(""))).without_spans();
        assert!(trail.sampled().is_none());
        assert_eq!(trail.trace_id(), Some(TRACE));
    }
}
