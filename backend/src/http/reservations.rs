//! Reservations, for shoppers' frontends.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use cartgate_ledger::{Command, CommandId, Outcome, Reserve};
use cartgate_policy::Sku;
use cartgate_policy::document::Document;
use cartgate_policy::extract::{Line, line_of};
use serde_json::Value;

use super::answer::{Refused, reservation, unknown_reservation};
use super::extract::{DocumentBody, IdPath, single};
use super::observe::RequestId;
use super::{App, skus, tickets};
use crate::command_id::fingerprint;
use crate::lanes::Answer;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest customer id and idempotency key, in bytes.
const NAME_LEN_MAX: usize = 255;

/// How much longer than its caller waits a command stays good, in milliseconds: the ticket that
/// ends the wait takes a commit of its own.
const CLAIM_GRACE_MS: u64 = 2_000;

/// The members that a JSON request may have. A form may have more, since legacy pages post whatever
/// is on them.
const MEMBERS: [&str; 3] = ["sku", "quantity", "customer_id"];

/// What a reservation is asked for with. SKU and quantity are read by the edge's own reader.
struct ReservationRequest {
    line: Line,
    customer_id: Option<Box<str>>,
}

impl ReservationRequest {
    fn read(document: &Document) -> Result<Self, Refused> {
        let line = line_of(document)?;
        let customer_id = match document {
            Document::Json(body) => {
                check_members(body)?;
                match &body["customer_id"] {
                    Value::Null => None,
                    Value::String(customer) => Some(customer.as_str()),
                    _ => return Err(Refused::invalid("customer_id must be a string")),
                }
            }
            // An input that was left empty is posted all the same.
            Document::Form(form) => {
                form.single("customer_id")?.filter(|customer| !customer.is_empty())
            }
        };
        customer_id.map(|customer| check_name("customer_id", customer)).transpose()?;
        Ok(Self { line, customer_id: customer_id.map(Into::into) })
    }
}

fn check_members(body: &Value) -> Result<(), Refused> {
    let mut members = body.as_object().into_iter().flatten().map(|(name, _)| name);
    match members.find(|name| !MEMBERS.contains(&name.as_str())) {
        Some(name) => {
            let known = MEMBERS.join(", ");
            Err(Refused::invalid(format_args!("unknown member {name:?}: there are {known}")))
        }
        None => Ok(()),
    }
}

/// `POST /v1/reservations`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    headers: HeaderMap,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let request = ReservationRequest::read(&document)?;
    let key = idempotency_key(&headers)?;
    let sku = request.line.sku.clone();
    // What is not in stock never gets a place in a lane.
    app.store.stock(&sku)?.ok_or_else(|| skus::unknown_sku(&sku))?;
    let reserve = command(&app, request, key);
    let id = reserve.id;
    if reserve.repeatable
        && let Some((_, first)) = app.store.reservation(id)?
    {
        // Decided before: that takes no place in a lane that may be full of others.
        return answer(StatusCode::CREATED, sku, reserve.repeat(&first));
    }
    let command = Command::Reserve(reserve);
    let waiter = app.lanes.submit(sku.clone(), command, request_id.as_str())?;
    match waiter.outcome_or_ticket(app.wait).await? {
        Answer::Ticket => Ok(tickets::queued(id)),
        Answer::Outcome(outcome) => answer(StatusCode::CREATED, sku, outcome),
    }
}

fn command(app: &App, request: ReservationRequest, key: Option<&str>) -> Reserve {
    let ReservationRequest { line: Line { sku, quantity }, customer_id: customer } = request;
    let ids = app.command_ids();
    Reserve {
        id: match key {
            Some(key) => ids.keyed(&sku, customer.as_deref(), key),
            None => ids.fresh(&sku),
        },
        fingerprint: fingerprint(&sku, quantity, customer.as_deref()),
        repeatable: key.is_some(),
        customer,
        quantity: quantity.into(),
        hold_ms: app.hold_ms,
        claim_by: (app.clock)().plus_ms(
            u64::try_from(app.wait.as_millis()).unwrap_or(u64::MAX).saturating_add(CLAIM_GRACE_MS),
        ),
    }
}

/// The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header), taken as it is.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    match std::str::from_utf8(key) {
        Ok(key) if key.is_ascii() => check_name("Idempotency-Key", key).map(|()| Some(key)),
        _ => Err(Refused::invalid("Idempotency-Key must be ASCII")),
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Refused> {
    if (1..=NAME_LEN_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("{field} must be 1 to {NAME_LEN_MAX} bytes without control characters");
    Err(Refused::invalid(message))
}

/// `GET /v1/reservations/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    IdPath(id): IdPath,
) -> Result<Response, Refused> {
    let id = id.ok_or_else(unknown_reservation)?;
    let (sku, found) = app.store.reservation(id)?.ok_or_else(unknown_reservation)?;
    reservation(StatusCode::OK, sku, found)
}

/// `POST /v1/reservations/{id}/confirm`
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    IdPath(id): IdPath,
) -> Result<Response, Refused> {
    settle(&app, &request_id, id, |id| Command::Confirm { id }).await
}

/// `POST /v1/reservations/{id}/release`
pub(super) async fn release(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    IdPath(id): IdPath,
) -> Result<Response, Refused> {
    settle(&app, &request_id, id, |id| Command::Release { id }).await
}

async fn settle(
    app: &App,
    request_id: &RequestId,
    id: Option<CommandId>,
    command: fn(CommandId) -> Command,
) -> Result<Response, Refused> {
    let id = id.ok_or_else(unknown_reservation)?;
    // Whoever knows the id was told it after the commit: it is there to be read.
    let (sku, _) = app.store.reservation(id)?.ok_or_else(unknown_reservation)?;
    let waiter = app.lanes.submit(sku.clone(), command(id), request_id.as_str())?;
    answer(StatusCode::OK, sku, waiter.outcome().await?)
}

fn answer(status: StatusCode, sku: Sku, outcome: Outcome) -> Result<Response, Refused> {
    match outcome {
        Outcome::Held(found) | Outcome::Settled(found) => reservation(status, sku, found),
        Outcome::Refused(refusal) => Err(Refused::by_ledger(refusal, &sku)),
        Outcome::Stock(_) => Err(unknown_reservation()),
    }
}
