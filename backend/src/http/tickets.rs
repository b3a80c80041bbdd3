//! Tickets: what a call that was answered 202 would have answered by now.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::CommandId;
use cartgate_policy::problem::{Problem, ProblemType};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::App;
use super::answer::{ReservationView, json, reservation, set_location, text};
use super::call::Call;
use super::extract::IdPath;
use super::openapi::schemas;
use super::prefer::Prefer;
use super::refused::Refused;

/// A request that still waits.
#[derive(Serialize, ToSchema)]
#[schema(as = Ticket, examples(json!({
    "ticket": schemas::ID_EXAMPLE, "state": "queued", "claim_within_ms": 15_000,
})))]
pub(super) struct TicketView {
    /// Names it, and the reservation that comes of it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    ticket: CommandId,
    #[schema(schema_with = schemas::queued)]
    state: &'static str,
    /// How soon after the decision it is to be asked for, in milliseconds: later than that, a hold
    /// that nobody has asked for is back on the shelf.
    claim_within_ms: u64,
}

/// What became of a request that was answered 202.
///
/// Answers what the first call would have answered by now: 200 with the reservation, a problem, or 202
/// again. With `Prefer: wait=N` it waits for up to so many seconds. Ask at least every `claim_within_ms`: a
/// hold that nobody asks for goes back.
#[utoipa::path(
    get, path = "/v1/tickets/{id}", tag = "reservations",
    security(("token" = ["reserve"]), ("token" = ["read"])), operation_id = "show_ticket",
    params(IdPath, Prefer),
    responses(
        (status = 200, description = "It was decided: this is the reservation.",
            body = ReservationView, headers(("preference-applied"))),
        (status = 202, description = "It still waits.",
            body = TicketView, headers(("location"), ("preference-applied"))),
    ),
    extensions(("x-problems" = json!([
        "unknown-ticket", "sold-out", "over-cap", "customer-required", "not-open-yet", "sale-closed",
        "unknown-sku",
    ]))),
)]
pub(super) async fn show(
    call: Call,
    prefer: Prefer,
    IdPath(id): IdPath,
) -> Result<Response, Refused> {
    // Who does not say that it waits is answered at once, as ever.
    let until = Instant::now() + prefer.wait_if_asked(call.app.wait);
    loop {
        let response = look(&call, id).await?;
        let rest = until.saturating_duration_since(Instant::now());
        if response.status() != StatusCode::ACCEPTED || rest.is_zero() {
            return Ok(prefer.applied(response));
        }
        sleep(LOOK_EVERY.min(rest)).await;
    }
}

/// How often a ticket that somebody waits for is looked at. An outcome is told a quarter of a second late
/// then, and ten thousand who wait cost what a few thousand orders do.
const LOOK_EVERY: Duration = Duration::from_millis(500);

async fn look(call: &Call, id: Option<CommandId>) -> Result<Response, Refused> {
    let unknown = || Refused(Problem::new(ProblemType::UnknownTicket));
    let id = id.ok_or_else(unknown)?;
    // In this order: a command leaves the queue in the same commit that decides it.
    let is_queued = call.app.engine.is_ticketed(id).await?;
    match call.read(id).await? {
        // What went back unclaimed, or was refused for the sale's terms, and waits again.
        Some((_, before)) if is_queued && before.is_forgone() => Ok(queued(&call.app, id)),
        Some((sku, decided)) => match decided.state.refusal((call.app.clock)()) {
            Some(refusal) => Err(Refused::by_ledger(refusal, &sku)),
            None => reservation(StatusCode::OK, &sku, &decided),
        },
        None if is_queued => Ok(queued(&call.app, id)),
        None => Err(unknown()),
    }
}

/// 202: the command still waits, and this is the ticket to its outcome.
pub(super) fn queued(app: &App, id: CommandId) -> Response {
    let view = TicketView { ticket: id, state: "queued", claim_within_ms: app.unclaimed_ms };
    let mut response = json(StatusCode::ACCEPTED, &view);
    set_location(&mut response, format!("/v1/tickets/{id}"));
    response
}
