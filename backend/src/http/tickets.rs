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

use super::answer::{json, reservation, set_location, text};
use super::call::Call;
use super::extract::IdPath;
use super::prefer::Prefer;
use super::refused::Refused;

/// A command that still waits, as clients see it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
struct TicketView {
    #[serde(serialize_with = "text")]
    ticket: CommandId,
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

/// `GET /v1/tickets/{id}`
#[utoipa::path(get, path = "/v1/tickets/{id}", tag = "reservations", security(("token" = ["reserve"]), ("token" = ["read"])))]
pub(super) async fn show(
    call: Call,
    prefer: Prefer,
    headers: HeaderMap,
    IdPath(id): IdPath,
) -> Result<Response, Refused> {
    if events::are_wanted(&headers) {
        let first = look(&call, id).await?;
        return Ok(events::of(call, id, first));
    }
    // Who does not say that it waits is answered at once, as ever.
    let until = Instant::now() + prefer.wait_if_asked(call.app.wait);
    loop {
        let found = look(&call, id).await?;
        let rest = until.saturating_duration_since(Instant::now());
        if matches!(found, Found::Decided(..)) || rest.is_zero() {
            return Ok(prefer.applied(found.answer()?));
        }
        tokio::select! {
            () = sleep(LOOK_EVERY.min(rest)) => {}
            () = call.app.stopping() => return found.answer(),
        }
    }
}

/// How often a ticket that somebody waits for is looked at. An outcome is told a quarter of a second late
/// then, and ten thousand who wait cost what a few thousand orders do.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What there is to say of a ticket.
enum Found {
    /// The command waits.
    Queued(TicketView),
    /// It has been decided.
    Decided(Sku, Reservation),
}

impl Found {
    fn answer(&self) -> Result<Response, Refused> {
        match self {
            Self::Queued(view) => Ok(accepted(view)),
            Self::Decided(sku, decided) => reservation(StatusCode::OK, sku, decided),
        }
    }
}

async fn look(call: &Call, id: Option<CommandId>) -> Result<Found, Refused> {
    let unknown = || Refused(Problem::new(ProblemType::UnknownTicket));
    let id = id.ok_or_else(unknown)?;
    // In this order: a command leaves the queue in the same commit that decides it.
    let is_queued = call.app.engine.is_ticketed(id).await?;
    match call.read(id).await? {
        // What went back unclaimed, or was refused for the sale's terms, and waits again.
        Some((_, before)) if is_queued && before.is_forgone() => {
            Ok(Found::Queued(view(call, id).await))
        }
        Some((sku, decided)) => match decided.state.refusal((call.app.clock)()) {
            Some(refusal) => Err(Refused::by_ledger(refusal, &sku)),
            None => Ok(Found::Decided(sku, decided)),
        },
        None if is_queued => Ok(Found::Queued(view(call, id).await)),
        None => Err(unknown()),
    }
}

/// 202: the command still waits, and this is the ticket to its outcome.
pub(super) async fn queued(call: &Call, id: CommandId) -> Response {
    accepted(&view(call, id).await)
}

async fn view(call: &Call, id: CommandId) -> TicketView {
    // Nobody's ticket is worth less because its place cannot be read.
    let in_line = call.app.engine.in_line(id).await.ok().flatten();
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
