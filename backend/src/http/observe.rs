//! What is seen of every request: its id and its trace, a log event, and the metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use cartgate_policy::problem::ProblemType;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::App;
use crate::lanes::Level;
use crate::random;
use crate::store::Durability;
use crate::store::tenure::Reached;
use crate::trace::{Begun, Ended, RequestSpan, Trail};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Says what an answer survives.
const DURABILITY: HeaderName = HeaderName::from_static("cartgate-durability");

/// A request as it is seen.
#[derive(Clone)]
pub(super) struct Observed {
    /// Names it, from Envoy's access log to the commit.
    trail: Trail,
    header: HeaderValue,
    level: Arc<Level>,
}

impl Observed {
    /// Under the id that the request came with, or a new one.
    fn of(headers: &HeaderMap, begun: &Begun) -> Self {
        let given = headers.get(X_REQUEST_ID);
        let text = given.and_then(|value| value.to_str().ok());
        let under = |id: &str, header: HeaderValue| {
            let span = begun.span.as_ref().map(|span| &span.context);
            let trail = Trail::new(id, begun.trace_id, span);
            Self { trail, header, level: Arc::default() }
        };
        match given.zip(text).filter(|(_, id)| (1..=128).contains(&id.len())) {
            Some((value, id)) => under(id, value.clone()),
            None => {
                let id = new_id(begun);
                under(&id, header(&id))
            }
        }
    }

    /// Of no trace.
    pub(super) fn new(id: &str) -> Self {
        Self { trail: id.into(), header: header(id), level: Arc::default() }
    }

    /// What [`observe`] has made of a request.
    pub(super) fn from_parts(parts: &Parts) -> Self {
        parts.extensions.get().cloned().unwrap_or_else(|| Self::new("-"))
    }

    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    pub(super) fn without_spans(self) -> Self {
        Self { trail: self.trail.without_spans(), ..self }
    }

    /// The level of its answer.
    pub(super) fn level(&self) -> &Arc<Level> {
        &self.level
    }

    /// What its answer survives, if it rests on more or less than every commit does.
    fn durability(&self, every_commit: Durability) -> HeaderValue {
        match self.level.reached() {
            Some(Reached { durability, replicas: None }) => {
                HeaderValue::from_static(durability.name())
            }
            Some(reached) => {
                let text = reached.to_string();
                // It is ASCII, and always a valid header.
                HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("process"))
            }
            None => HeaderValue::from_static(every_commit.name()),
        }
    }
}

/// A trace that begins with a request names that as well. Of others there may be more requests.
fn new_id(begun: &Begun) -> String {
    if begun.is_new {
        return begun.trace_id.to_string();
    }
    format!("{:032x}", u128::from_be_bytes(random::bytes()))
}

fn header(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("-"))
}

/// Gives the request its id, and sees it through to its end.
pub(super) async fn observe(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = app.metrics.spans.begin(request.headers());
    let observed = Observed::of(request.headers(), &begun);
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let every_commit = request.uri().path().starts_with("/v1/").then(|| app.engine.durability());
    request.extensions_mut().insert(observed.clone());
    let Begun { trace_id, span: traced, .. } = begun;
    let trail = observed.trail.clone();
    let span = tracing::info_span!("request", request_id = trail.id(), %trace_id, client = Empty);
    let (started, status) = (Instant::now(), (HUNG_UP, None));
    let change = is_change(method, route.as_ref()).then(|| request.uri().path().into());
    let mut seen = Seen { app, started, span, trail, traced, method, route, change, status };

    let mut response = next.run(request).instrument(seen.span.clone()).await;

    seen.status = (response.status().as_u16(), response.extensions().get().copied());
    if let Some(every_commit) = every_commit {
        response.headers_mut().insert(DURABILITY, observed.durability(every_commit));
    }
    response.headers_mut().insert(X_REQUEST_ID, observed.header);
    response
}

/// Whether a request sets stock or terms of a sale. Imports tell of themselves.
fn is_change(method: &str, route: Option<&MatchedPath>) -> bool {
    let Some(route) = route else { return false };
    ["PUT", "PATCH", "DELETE"].contains(&method) || route.as_str().ends_with("/adjustments")
}

/// The status of a request whose client had gone before the answer, as nginx counts it.
const HUNG_UP: u16 = 499;

/// A request until its end, which is its answer, or that nobody waits for one any more: then it is
/// dropped where it waits.
struct Seen {
    app: Arc<App>,
    started: Instant,
    span: Span,
    trail: Trail,
    /// What traces tell of it, if it is sampled.
    traced: Option<RequestSpan>,
    method: &'static str,
    route: Option<MatchedPath>,
    /// Its path, if it changes what the shop has set: such a path names a product, and nobody's order.
    change: Option<Box<str>>,
    /// With what problem it is, if it is one.
    status: (u16, Option<ProblemType>),
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
        let problem = status.1.map(ProblemType::slug);
        match self.change.as_deref().filter(|_| ![401, 429].contains(&status.0)) {
            // Who has changed what: that is asked for on the day after.
            Some(path) => {
                tracing::info!(parent: &self.span, method, path, status = status.0, problem, ms, "request ended");
            }
            None => {
                tracing::debug!(parent: &self.span, method, route, status = status.0, problem, ms, "request ended");
            }
        }
        let (metrics, request_id) = (&self.app.metrics, self.trail.id());
        let trace_id = self.traced.as_ref().map(|span| span.context.trace_id());
        metrics.count_request(method, route, status, elapsed.as_secs_f64(), trace_id);
        if let Some(span) = &self.traced {
            let route = self.route.as_ref().map(MatchedPath::as_str);
            let (status, problem) = status;
            metrics.spans.end(span, &Ended { method, route, status, problem, request_id });
        }
    }
}

/// The method, from a bounded set: it becomes a metric's label.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
