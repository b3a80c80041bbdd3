//! What is seen of every request: its id, a log event, and the metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument as _, Span};

use super::App;
use crate::random;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names a request in logs, from Envoy's access log to the commit.
#[derive(Clone)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    /// The id that the request came with, or a new one.
    fn of(request: &Request) -> Self {
        let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
        match given.filter(|id| (1..=128).contains(&id.len())) {
            Some(id) => Self(id.into()),
            None => Self(format!("{:032x}", u128::from_be_bytes(random::bytes())).into()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // `observe` has put it there.
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self("-".into())))
    }
}

/// Gives the request its id, and sees it through to its end.
pub(super) async fn observe(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(&request);
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "unmatched".into());
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!("request", request_id = id.as_str(), method, route);
    let status = HUNG_UP;
    let mut seen = Seen { app, started: Instant::now(), span, method, route, status };

    let mut response = next.run(request).instrument(seen.span.clone()).await;

    seen.status = response.status().as_u16();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// The status of a request whose client had gone before the answer, as nginx counts it.
const HUNG_UP: u16 = 499;

/// A request until its end, which is its answer, or that nobody waits for one any more: then it is
/// dropped where it waits.
struct Seen {
    app: Arc<App>,
    started: Instant,
    span: Span,
    method: &'static str,
    route: String,
    status: u16,
}

impl Drop for Seen {
    fn drop(&mut self) {
        let (elapsed, status) = (self.started.elapsed(), self.status);
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.span.in_scope(|| tracing::debug!(status, ms, "request ended"));
        let seconds = elapsed.as_secs_f64();
        self.app.metrics.count_request(self.method, &self.route, status, seconds);
    }
}

/// The method, from a bounded set: it becomes a metric's label.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
