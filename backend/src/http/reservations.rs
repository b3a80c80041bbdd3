//! Reservations, for shoppers' frontends.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::{Claim, Command, CommandId, Outcome, Reservation, Reserve};
use cartgate_policy::Sku;
use cartgate_policy::document::Document;
use cartgate_policy::extract::{Line, line_of};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{ReservationView, outcome, reservation};
use super::call::{Call, is_unclaimed};
use super::extract::{DocumentBody, IdPath, IdempotencyKey, check_members, check_name};
use super::openapi::schemas::{ReservationForm, ReservationJson};
use super::prefer::Prefer;
use super::refused::{Refused, unknown_reservation};
use super::tickets::TicketView;
use super::{App, tickets};
use crate::command_id::reservation_fingerprint;
use crate::lanes::{Answer, EnqueueError};

/// How often a command is judged before its caller is told to try again: each time, the hold that
/// it took went back before it could be claimed.
const ROUNDS_MAX: usize = 3;

/// What a reservation is asked for with. SKU and quantity are read by the edge's own reader.
struct ReservationRequest {
    line: Line,
    /// As the store is to know it.
    customer: Option<Arc<str>>,
}

impl ReservationRequest {
    fn read(document: &Document, app: &App) -> Result<Self, Refused> {
        let line = line_of(document, &app.sku_form)?;
        let customer_id = match document {
            Document::Json(body) => {
                check_members(body, &["sku", "quantity", "customer_id"])?;
                match &body["customer_id"] {
                    Value::Null => None,
                    Value::String(customer) => Some(customer.as_str()),
                    _ => return Err(Refused::invalid("customer_id must be a string")),
                }
            }
            // A form may have more fields, since legacy pages post whatever is on them; and an
            // input that was left empty is posted all the same.
            Document::Form(form) => {
                form.single("customer_id")?.filter(|customer| !customer.is_empty())
            }
        };
        customer_id.map(|customer| check_name("customer_id", customer)).transpose()?;
        Ok(Self { line, customer: customer_id.map(|id| app.customers.stored(id)) })
    }

    fn command(self, app: &App, key: Option<&str>) -> (Sku, Reserve) {
        let Self { line: Line { sku, quantity }, customer } = self;
        let reserve = Reserve {
            id: match key {
                Some(key) => app.ids.reservation(&sku, customer.as_deref(), key),
                None => app.ids.fresh(&sku),
            },
            fingerprint: reservation_fingerprint(&sku, quantity, customer.as_deref()),
            repeatable: key.is_some(),
            customer,
            quantity: quantity.into(),
            hold_ms: app.hold_ms,
            claim_by: app.claim_by(),
            attempt: 1,
            is_tentative: false,
        };
        (sku, reserve)
    }
}

/// Reserve a product.
///
/// Takes units off the shelf and holds them for a customer. The call waits until this is decided, and
/// answers 201, or says what is in the way. If that takes longer than `Prefer: wait=N` says, or than the
/// service's `wait_ms`, the answer is 202, with a ticket by which to ask for the outcome.
///
/// A hold lasts until `expires_at`; then its units go back by themselves, unless it was confirmed. A
/// caller that hangs up without having heard takes nothing.
///
/// With an `Idempotency-Key` the request may be sent again, as often as need be: the same customer,
/// product, quantity and key get the first answer, and take nothing more.
///
/// Through Envoy a request may also get 429 or 422 from the product's limit.
#[utoipa::path(
    post, path = "/v1/reservations", tag = "reservations", security(("token" = ["reserve"])),
    operation_id = "reserve",
    params(IdempotencyKey, Prefer),
    request_body(content(
        (ReservationJson = "application/json"),
        (ReservationForm = "application/x-www-form-urlencoded"),
        (ReservationForm = "multipart/form-data"),
    )),
    responses(
        (status = 201, description = "The units are held.",
            body = ReservationView, headers(("location"), ("preference-applied"))),
        (status = 202, description = "It still waits for its turn: this is the ticket.",
            body = TicketView, headers(("location"), ("preference-applied"))),
    ),
    extensions(("x-problems" = json!([
        "no-sku", "unknown-sku", "sold-out", "over-cap", "customer-required", "not-open-yet",
        "sale-closed", "paused", "lane-full", "idempotency-key-reused", "in-flight",
        "over-limit", "client-over-limit", "over-burst",
    ]))),
)]
pub(super) async fn create(
    call: Call,
    key: IdempotencyKey,
    prefer: Prefer,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let request = ReservationRequest::read(&document, &call.app)?;
    // Thousands may wait from here on: each with what it needs, and no more.
    drop(document);
    call.check_in_stock(&request.line.sku).await?;
    let (sku, reserve) = request.command(&call.app, key.as_deref());
    let (id, wait) = (reserve.id, prefer.wait(call.app.wait));
    let in_flight = &call.app.in_flight;
    let _caller = match reserve.repeatable {
        true if wait.is_zero() => {
            in_flight.check(&reserve)?;
            None
        }
        true => Some(in_flight.enter(&reserve)),
        false => None,
    };
    let response = match decide(&call, &sku, reserve, wait).await? {
        Answer::Ticket => tickets::queued(&call, id).await,
        Answer::Outcome(decided) => outcome(StatusCode::CREATED, &sku, decided)?,
    };
    Ok(prefer.applied(call.app.wait, response))
}

/// What became of the command: now, or when it first came.
async fn decide(
    call: &Call,
    sku: &Sku,
    reserve: Reserve,
    wait: Duration,
) -> Result<Answer, Refused> {
    let until = Instant::now() + wait;
    for _ in 0..ROUNDS_MAX {
        if reserve.repeatable
            && let Some((_, first)) = call.app.engine.known_reservation(reserve.id)?
            && let Some(first) = repeat(call, sku, &reserve, &first).await?
        {
            return Ok(Answer::Outcome(first));
        }
        if let Err(paused) = call.check_not_paused(sku) {
            return decided_before(call, sku, &reserve, paused).await;
        }
        let waiter = call.submit(sku, Command::Reserve(reserve.clone()))?;
        let wait = until.saturating_duration_since(Instant::now());
        let answer = match waiter.outcome_or_ticket(wait).await {
            // What was decided before needs no room.
            Err(error @ (EnqueueError::Full { .. } | EnqueueError::TooManyHolds)) => {
                return decided_before(call, sku, &reserve, error.into()).await;
            }
            answer => answer?,
        };
        match answer {
            // Taken for somebody with a ticket, who has asked before: it has to be claimed.
            Answer::Outcome(Outcome::Held(hold)) if is_unclaimed(&hold) => {
                if let Some(claimed) = claim(call, sku, &reserve, hold.id).await? {
                    return Ok(Answer::Outcome(claimed));
                }
            }
            answer => return Ok(answer),
        }
    }
    Err(Refused::unavailable())
}

/// The first answer to a command that is not taken now, if it was decided before.
async fn decided_before(
    call: &Call,
    sku: &Sku,
    reserve: &Reserve,
    refused: Refused,
) -> Result<Answer, Refused> {
    if !reserve.repeatable {
        return Err(refused);
    }
    let Some((_, first)) = call.app.engine.reservation(reserve.id).await? else {
        return Err(refused);
    };
    let first = repeat(call, sku, reserve, &first).await?;
    first.map(Answer::Outcome).ok_or(refused)
}

/// The first answer to a command that was decided before; that takes no place in a lane that may be
/// full of others. `None` if it is to be judged now.
async fn repeat(
    call: &Call,
    sku: &Sku,
    reserve: &Reserve,
    first: &Reservation,
) -> Result<Option<Outcome>, Refused> {
    if first.is_forgone() {
        return Ok(None);
    }
    match reserve.repeat(first) {
        // Whoever asked before may have hung up: from now on that takes nothing back.
        Outcome::Held(_) if first.is_held() && first.claim != Claim::Claimed => {
            claim(call, sku, reserve, first.id).await
        }
        outcome => Ok(Some(outcome)),
    }
}

/// The first answer to a command whose hold is claimed for whoever repeats it. `None` if the hold
/// went back before that.
async fn claim(
    call: &Call,
    sku: &Sku,
    reserve: &Reserve,
    id: CommandId,
) -> Result<Option<Outcome>, Refused> {
    let claimed = call.claim(sku, id).await?.filter(|claimed| !claimed.is_forgone());
    Ok(claimed.map(|claimed| reserve.repeat(&claimed)))
}

/// Where a reservation stands.
///
/// To read it is to know of it: a hold that nobody had heard of is claimed by that.
#[utoipa::path(
    get, path = "/v1/reservations/{id}", tag = "reservations",
    security(("token" = ["reserve"]), ("token" = ["read"])), operation_id = "show_reservation",
    params(IdPath),
    responses((status = 200, description = "The reservation.", body = ReservationView)),
    extensions(("x-problems" = json!(["unknown-reservation"]))),
)]
pub(super) async fn show(call: Call, IdPath(id): IdPath) -> Result<Response, Refused> {
    let id = id.ok_or_else(unknown_reservation)?;
    let (sku, found) = call.read(id).await?.ok_or_else(unknown_reservation)?;
    reservation(StatusCode::OK, &sku, &found)
}
