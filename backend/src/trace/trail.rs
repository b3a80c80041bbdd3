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
pub struct Trail {
    id: Arc<str>,
    /// All zero: of no trace.
    trace_id: [u8; 16],
    sampled: Option<Arc<Sampled>>,
}

#[derive(Debug)]
pub(crate) struct Sampled {
    pub(crate) parent: SpanContext,
    /// Since when the command has waited.
    pub(crate) since: SystemTime,
}

impl From<&str> for Trail {
    /// Of no trace.
    fn from(id: &str) -> Self {
        Self { id: id.into(), trace_id: TraceId::INVALID.to_bytes(), sampled: None }
    }
}

impl Trail {
    /// Of a trace. `span` is the request's own, if it is sampled.
    pub(crate) fn new(id: Arc<str>, trace_id: TraceId, span: Option<&SpanContext>) -> Self {
        let sampled = span.map(|span| since(span.clone(), SystemTime::now()));
        Self { id, trace_id: trace_id.to_bytes(), sampled }
    }

    /// The request's id: it names it in logs, from Envoy's access log to the commit.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The trace's id; `None`: it is of no trace, or its trace is not sampled and known to another process.
    pub fn trace_id(&self) -> Option<TraceId> {
        let trace_id = TraceId::from_bytes(self.trace_id);
        (trace_id != TraceId::INVALID).then_some(trace_id)
    }

    pub(crate) fn sampled(&self) -> Option<&Sampled> {
        self.sampled.as_deref()
    }

    /// For a command that begins to wait.
    pub(crate) fn from_now_on(&self) -> Self {
        let again = |sampled: &Sampled| since(sampled.parent.clone(), SystemTime::now());
        Self { sampled: self.sampled().map(again), ..self.clone() }
    }

    /// For commands of which there are too many for each to have spans.
    pub(crate) fn without_spans(self) -> Self {
        Self { sampled: None, ..self }
    }

    pub(crate) fn to_text(&self) -> Arc<str> {
        let Some(Sampled { parent, .. }) = self.sampled() else { return Arc::clone(&self.id) };
        let mut text = format!("{}\n{}", self.id, traceparent(parent));
        let state = parent.trace_state().header();
        if !state.is_empty() {
            text.push('\n');
            text.push_str(&state);
        }
        text.into()
    }

    /// Reads back what [`Trail::to_text`] has written, of a command that has waited since `waits_since`.
    pub(crate) fn read(text: &str, waits_since: UnixMs) -> Self {
        let mut lines = text.splitn(3, '\n');
        let id = lines.next().unwrap_or_default();
        let parent = lines.next().and_then(|line| Parent::parse(line.as_bytes()));
        let Some(Parent { trace_id, span_id, .. }) = parent else { return id.into() };
        let state = lines.next().map(parse_state).unwrap_or_default();
        let span = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, state);
        let waits_since = UNIX_EPOCH + Duration::from_millis(waits_since.0);
        let sampled = Some(since(span, waits_since));
        Self { id: id.into(), trace_id: trace_id.to_bytes(), sampled }
    }
}

fn since(parent: SpanContext, since: SystemTime) -> Arc<Sampled> {
    Arc::new(Sampled { parent, since })
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
            let trail = Trail::new("order 7".into(), TRACE, Some(&span(state)));
            let read = Trail::read(&trail.to_text(), UnixMs(1_500));
            assert_eq!((&**read.id(), read.trace_id()), ("order 7", Some(TRACE)));
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
        let trail = Trail::new("order 7".into(), TRACE, None);
        assert_eq!(trail.trace_id(), Some(TRACE));
        assert_eq!(&*trail.to_text(), "order 7");
    }

    #[test]
    fn what_cannot_be_read_is_of_no_trace() {
        for text in ["order 7", "order 7\n", "order 7\n00-x", "order 7\n\na=1"] {
            let read = Trail::read(text, UnixMs(0));
            assert_eq!((&**read.id(), read.trace_id()), ("order 7", None));
            assert!(read.sampled().is_none());
        }
        assert_eq!(parse_state("no state"), TraceState::NONE);
    }

    #[test]
    fn without_spans_its_trace_is_still_told() {
        let trail = Trail::new("import".into(), TRACE, Some(&span(""))).without_spans();
        assert!(trail.sampled().is_none());
        assert_eq!(trail.trace_id(), Some(TRACE));
    }
}
