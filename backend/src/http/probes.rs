//! For operators: is it alive, is it ready, what does it count.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;
use super::refused::Refused;

/// Whether the process answers.
#[utoipa::path(
    get, path = "/live", tag = "operation", security(()), operation_id = "live",
    responses((status = 200, description = "It does.", body = String, example = "ok\n")),
)]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Whether it takes reservations.
#[utoipa::path(
    get, path = "/ready", tag = "operation", security(()), operation_id = "ready",
    responses((status = 200, description = "It does.", body = String, example = "ok\n")),
    extensions(("x-problems" = json!(["unavailable"]))),
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Refused> {
    if app.engine.is_ready().await { Ok("ok\n") } else { Err(Refused::unavailable()) }
}

/// What it counts, in the OpenMetrics text format.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", security(("token" = ["read"])), operation_id = "metrics",
    responses((status = 200, description = "The metrics.",
        body = String, content_type = "application/openmetrics-text")),
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], app.metrics.render(app.engine.depths().await))
        .into_response()
}
