//! For operators: is it alive, is it ready, what does it count.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;
use super::refused::Refused;

/// The process answers.
#[utoipa::path(get, path = "/live", tag = "operation", security(()))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// It takes reservations.
#[utoipa::path(get, path = "/ready", tag = "operation", security(()))]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Refused> {
    if app.engine.is_ready().await { Ok("ok\n") } else { Err(Refused::unavailable()) }
}

/// The metrics, in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", security(("token" = ["read"])))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], app.metrics.render(app.engine.depths().await))
        .into_response()
}
