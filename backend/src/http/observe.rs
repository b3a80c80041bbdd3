//! What is seen of every request: its id, a log event, and the metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument as _, Span};

use super::App;
use crate::random;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Says what an answer survives.
const DURABILITY: HeaderName = HeaderName::from_static("cartgate-durability");

/// Names a request in logs, from Envoy's access log to the commit.
#[derive(Clone)]
pub(super) struct RequestId {
    text: Arc<str>,
    header: HeaderValue,
}

impl RequestId {
    /// The id that the request came with, or a new one.
    fn of(request: &Request) -> Self {
        let given = request.headers().get(X_REQUEST_ID);
        let text = given.and_then(|value| value.to_str().ok());
        match given.zip(text).filter(|(_, id)| (1..=128).contains(&id.len())) {
            Some((value, id)) => Self { text: id.into(), header: value.clone() },
            None => Self::new(&format!("{:032x}", u128::from_be_bytes(random::bytes()))),
        }
    }

    pub(super) fn new(id: &str) -> Self {
        let header = HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("-"));
        Self { text: id.into(), header }
    }

    /// The id that [`observe`] has given to a request.
    pub(super) fn given_to(parts: &Parts) -> Self {
        parts.extensions.get().cloned().unwrap_or_else(|| Self::new("-"))
    }

    pub(super) fn text(&self) -> &Arc<str> {
        &self.text
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
    let route = request.extensions().get::<MatchedPath>().cloned();
    let durability = request.uri().path().starts_with("/v1/").then(|| app.engine.durability());
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!("request", request_id = &*id.text);
    let mut seen = Seen { app, started: Instant::now(), span, method, route, status: HUNG_UP };

    let mut response = next.run(request).instrument(seen.span.clone()).await;

    seen.status = response.status().as_u16();
    response.headers_mut().insert(X_REQUEST_ID, id.header);
    if let Some(durability) = durability {
        response.headers_mut().insert(DURABILITY, HeaderValue::from_static(durability));
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
    route: Option<MatchedPath>,
    status: u16,
}

impl Seen {
    /// The pattern of its path, not the path itself.
    fn route(&self) -> &str {
        self.route.as_ref().map_or("unmatched", MatchedPath::as_str)
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let (elapsed, status) = (self.started.elapsed(), self.status);
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let (method, route) = (self.method, self.route());
        tracing::debug!(parent: &self.span, method, route, status, ms, "request ended");
        self.app.metrics.count_request(method, route, status, elapsed.as_secs_f64());
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
