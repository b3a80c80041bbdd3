//! What a client would rather have (RFC 7240): how long it waits, or that it does not.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a request's `Prefer` says of waiting. What is not understood is not there, as the RFC wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefer {
    wait_s: Option<u64>,
    is_async: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::read(&parts.headers))
    }
}

impl Prefer {
    /// Of a preference that is there twice the first counts.
    fn read(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
        for preference in lines.flat_map(|line| line.split(',')) {
            // Parameters behind it are for others.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.is_async = true;
            } else if name.eq_ignore_ascii_case("wait") && prefer.wait_s.is_none() {
                prefer.wait_s = value.parse().ok();
            }
        }
        prefer
    }

    /// How long to wait, at most as long as anybody may. Who wants an answer at once need not wait at all.
    pub(super) fn wait(self, longest: Duration) -> Duration {
        let asked = self.wait_s.map(Duration::from_secs);
        let asked = asked.or(self.is_async.then_some(Duration::ZERO));
        asked.map_or(longest, |asked| asked.min(longest))
    }

    /// How long to wait where nobody waits unless he says so.
    pub(super) fn wait_if_asked(self, longest: Duration) -> Duration {
        if self.wait_s.is_some() { self.wait(longest) } else { Duration::ZERO }
    }

    /// Says which of them was heeded, and how far.
    pub(super) fn applied(self, longest: Duration, mut response: Response) -> Response {
        let granted = |seconds: u64| seconds.min(longest.as_secs());
        let wait = self.wait_s.map(|seconds| format!("wait={}", granted(seconds)));
        let is_async = self.is_async.then(|| "respond-async".to_owned());
        let applied: Vec<_> = is_async.into_iter().chain(wait).collect();
        if !applied.is_empty() {
            // Names and digits are always a valid header.
            if let Ok(value) = HeaderValue::try_from(applied.join(", ")) {
                response.headers_mut().insert(APPLIED, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(8);

    #[test]
    fn a_client_waits_as_long_as_it_prefers() {
        let wait_ms = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(PREFER, line.parse().unwrap());
            }
            Prefer::read(&headers).wait(LONGEST).as_millis()
        };
        assert_eq!(wait_ms(&[]), 8_000);
        assert_eq!(wait_ms(&["wait=2"]), 2_000);
        assert_eq!(wait_ms(&["respond-async"]), 0);
        assert_eq!(wait_ms(&["Respond-Async, WAIT = \"3\""]), 3_000);
        assert_eq!(wait_ms(&["return=minimal; foo=\"x\"", "wait=1;x, wait=5"]), 1_000);
        assert_eq!(wait_ms(&["wait=100"]), 8_000);
        for unknown in ["wait", "wait=-1", "wait=soon", "waits=1", ""] {
            assert_eq!(wait_ms(&[unknown]), 8_000, "{unknown}");
        }
    }
}
