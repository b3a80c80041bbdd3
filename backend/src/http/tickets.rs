//! Tickets: what a call that was answered 202 would have answered by now.

mod events;

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cartgate_ledger::{CommandId, Reservation};
use cartgate_policy::Sku;
use cartgate_policy::problem::{Problem, ProblemType};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;

use super::answer::{ReservationView, json, reservation, set_location, text};
use super::call::Call;
use super::extract::IdPath;
use super::openapi::schemas;
use super::prefer::Prefer;
use super::refused::Refused;
use crate::engine::Waits;

/// A request that still waits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Ticket, examples(json!({
    "ticket": schemas::ID_EXAMPLE, "state": "queued", "claim_within_ms": 15_000, "position": 512,
    "estimated_wait_ms": 10_240,
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
    /// About where it stands in its lane, 1 being the next, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// About how long it is until its turn, in milliseconds, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_wait_ms: Option<u64>,
}

/// What became of a request that was answered 202.
///
/// Answers what the first call would have answered by now: 200 with the reservation, whose `state` says whether
/// it is held (`expired`: nobody asked in time, and it went back), a problem, or 202
/// again. With `Prefer: wait=N` it waits for up to so many seconds. With `Accept: text/event-stream` its
/// course comes as server-sent events: `queued` at the beginning and whenever something has changed, and
/// `outcome` at the end, whose data are what would have been answered. Ask at least every `claim_within_ms`:
/// a hold that nobody asks for goes back.
#[utoipa::path(
    get, path = "/v1/tickets/{id}", tag = "reservations",
    security(("token" = ["reserve"]), ("token" = ["read"])), operation_id = "show_ticket",
    params(IdPath, Prefer),
    responses(
        (status = 200, description = "It was decided: this is the reservation. Or the ticket's course, \
            to who wants events.",
            content(
                (ReservationView = "application/json"),
                (String = "text/event-stream", example = json!(schemas::EVENTS_EXAMPLE)),
            ),
            headers(("preference-applied"))),
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
    headers: HeaderMap,
    IdPath(id): IdPath,
) -> Result<Response, Refused> {
    if events::are_wanted(&headers) {
        return match look(&call, id).await {
            // Whoever follows a ticket that there is not would ask again for ever.
            Err(refused) if refused.0.problem_type == ProblemType::UnknownTicket => Err(refused),
            first => Ok(events::of(call, id, first)),
        };
    }
    // Who does not say that it waits is answered at once, as ever.
    let until = Instant::now() + prefer.wait_if_asked(call.app.wait);
    loop {
        let found = look(&call, id).await?;
        let rest = until.saturating_duration_since(Instant::now());
        if matches!(found, Found::Decided(..)) || rest.is_zero() {
            return Ok(prefer.applied(call.app.wait, found.answer(&call).await?));
        }
        tokio::select! {
            () = sleep(LOOK_EVERY.min(rest)) => {}
            () = call.app.stopping() => return found.answer(&call).await,
        }
    }
}

/// How often a ticket that somebody waits for is looked at. An outcome is told a quarter of a second late
/// then, and ten thousand who wait cost what a few thousand orders do.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What there is to say of a ticket.
enum Found {
    /// The command waits.
    Queued(Waits),
    /// It has been decided.
    Decided(Sku, Reservation),
}

impl Found {
    async fn answer(&self, call: &Call) -> Result<Response, Refused> {
        match self {
            Self::Queued(waits) => Ok(accepted(&view(call, waits.id, Some(waits)).await)),
            Self::Decided(sku, decided) => reservation(StatusCode::OK, sku, decided),
        }
    }
}

async fn look(call: &Call, id: Option<CommandId>) -> Result<Found, Refused> {
    let unknown = || Refused(Problem::new(ProblemType::UnknownTicket));
    let id = id.ok_or_else(unknown)?;
    // In this order: a command leaves the queue in the same commit that decides it.
    let waits = call.app.engine.ticketed(id).await?;
    match (call.read(id).await?, waits) {
        // What went back unclaimed, or was refused for the sale's terms, and waits again.
        (Some((_, before)), Some(waits)) if before.is_forgone() => Ok(Found::Queued(waits)),
        (Some((sku, decided)), _) => match decided.state.refusal((call.app.clock)()) {
            Some(refusal) => Err(Refused::by_ledger(refusal, &sku)),
            None => Ok(Found::Decided(sku, decided)),
        },
        (None, Some(waits)) => Ok(Found::Queued(waits)),
        (None, None) => Err(unknown()),
    }
}

/// 202: the command still waits, and this is the ticket to its outcome.
pub(super) async fn queued(call: &Call, id: CommandId) -> Response {
    let waits = call.app.engine.ticketed(id).await.ok().flatten();
    accepted(&view(call, id, waits.as_ref()).await)
}

async fn view(call: &Call, id: CommandId, waits: Option<&Waits>) -> TicketView {
    let in_line = match waits {
        // Nobody's ticket is worth less because its place cannot be read.
        Some(waits) => call.app.engine.in_line(waits).await.ok().flatten(),
        None => None,
    };
    TicketView {
        ticket: id,
        state: "queued",
        claim_within_ms: call.app.unclaimed_ms,
        position: in_line.map(|line| line.position),
        estimated_wait_ms: in_line.map(|line| line.wait_ms),
    }
}

fn accepted(view: &TicketView) -> Response {
    let mut response = json(StatusCode::ACCEPTED, view);
    set_location(&mut response, format!("/v1/tickets/{}", view.ticket));
    response
}
