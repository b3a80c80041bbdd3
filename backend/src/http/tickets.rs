//! Tickets: what a call that was answered 202 would have answered by now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cartgate_ledger::{CommandId, Refusal, ReservationState};
use cartgate_policy::problem::{Problem, ProblemType};
use serde_json::json;

use super::App;
use super::answer::{Refused, reservation, set_location};
use super::extract::IdPath;

/// `GET /v1/tickets/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    IdPath(id): IdPath,
) -> Result<Response, Refused> {
    let unknown = || Refused(Problem::new(ProblemType::UnknownTicket));
    let id = id.ok_or_else(unknown)?;
    // In this order: a command leaves the queue in the same commit that decides it.
    let is_queued = app.store.ticketed(id)?.is_some();
    match app.store.reservation(id)? {
        Some((sku, decided)) => match decided.state {
            ReservationState::SoldOut { available } => {
                Err(Refused::by_ledger(Refusal::SoldOut { available }, &sku))
            }
            _ => reservation(StatusCode::OK, sku, decided),
        },
        None if is_queued => Ok(queued(id)),
        None => Err(unknown()),
    }
}

/// 202: the command still waits, and this is the ticket to its outcome.
pub(super) fn queued(id: CommandId) -> Response {
    let body = json!({ "ticket": id.to_string(), "state": "queued" });
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    set_location(&mut response, &format!("/v1/tickets/{id}"));
    response
}
