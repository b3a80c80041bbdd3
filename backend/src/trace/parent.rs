//! Where a request comes from, as its caller says: W3C Trace Context, <https://www.w3.org/TR/trace-context/>.

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The least that whoever passes a `tracestate` on has to take. More is as good as none.
const TRACESTATE_BYTES_MAX: usize = 512;

/// The span that a request is a child of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) is_sampled: bool,
}

impl Parent {
    /// What the headers say; `None`: nothing, or nothing that can be understood, or more than one thing.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        match (given.next(), given.next()) {
            (Some(one), None) => Self::parse(one.as_bytes()),
            _ => None,
        }
    }

    /// Reads a `traceparent`: `00-`, the trace's id, `-`, the span's id, `-`, flags, all in small hex digits.
    /// A version that we do not know has these in front.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_first_chunk::<55>()?;
        let [version] = hex(&known[..2])?;
        let is_whole = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.first().is_none_or(|next| *next == b'-'),
        };
        if !is_whole || [known[2], known[35], known[52]] != *b"---" {
            return None;
        }
        let trace_id = TraceId::from_bytes(hex(&known[3..35])?);
        let span_id = SpanId::from_bytes(hex(&known[36..52])?);
        let [flags] = hex(&known[53..])?;
        let is_valid = trace_id != TraceId::INVALID && span_id != SpanId::INVALID;
        let is_sampled = TraceFlags::new(flags).is_sampled();
        is_valid.then_some(Self { trace_id, span_id, is_sampled })
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// What vendors on the way have to say of it, which goes with whatever is told of the trace.
pub(super) fn state(headers: &HeaderMap) -> TraceState {
    let given: Option<Vec<_>> =
        headers.get_all(TRACESTATE).iter().map(|one| one.to_str().ok()).collect();
    let text = given.unwrap_or_default().join(",");
    parse_state(&text)
}

pub(super) fn parse_state(text: &str) -> TraceState {
    if text.len() > TRACESTATE_BYTES_MAX {
        return TraceState::NONE;
    }
    text.parse().unwrap_or_default()
}

/// A sampled span as a `traceparent`.
pub(super) fn traceparent(span: &SpanContext) -> String {
    format!("00-{}-{}-01", span.trace_id(), span.span_id())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn check(text: &str, expected: Option<bool>) {
        let parsed = Parent::parse(text.as_bytes());
        assert_eq!(parsed.map(|parent| parent.is_sampled), expected, "{text}");
        if let Some(Parent { trace_id, span_id, .. }) = parsed {
            assert_eq!((&*trace_id.to_string(), &*span_id.to_string()), (TRACE, SPAN), "{text}");
        }
    }

    #[test]
    fn a_parent_is_read_as_the_specification_says() {
        for (flags, is_sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            check(&format!("00-{TRACE}-{SPAN}-{flags}"), Some(is_sampled));
        }
        // A later version may have more.
        for more in ["", "-", "-what the future will be like"] {
            check(&format!("cc-{TRACE}-{SPAN}-01{more}"), Some(true));
        }
    }

    #[test]
    fn what_is_malformed_is_no_parent() {
        for wrong in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("cc-{TRACE}-{SPAN}-01x"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0G"),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", "é".repeat(16)),
        ] {
            check(&wrong, None);
        }
    }

    #[test]
    fn of_two_parents_nobody_knows_which() {
        let value = HeaderValue::try_from(format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let mut headers = HeaderMap::from_iter([(TRACEPARENT, value.clone())]);
        assert!(Parent::of(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert_eq!(Parent::of(&headers), None);
    }

    #[test]
    fn states_of_several_headers_are_one() {
        let mut headers = HeaderMap::new();
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(state(&headers).header(), "a=1,b=2");
        headers.append(TRACESTATE, HeaderValue::from_static("no state"));
        assert_eq!(state(&headers), TraceState::NONE);
        assert_eq!(parse_state(&format!("a={}", "x".repeat(511))), TraceState::NONE);
    }
}
