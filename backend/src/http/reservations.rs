//! Reservations, for shoppers' frontends.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::Response;
use cartgate_ledger::{Command, CommandId, Outcome, Reserve};
use cartgate_policy::document::{Document, Form};
use cartgate_policy::{Quantity, Sku};
use serde::Deserialize;

use super::answer::{Refused, reservation, unknown_reservation};
use super::extract::{DocumentBody, IdPath, from_json, single};
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

/// What a reservation is asked for with. JSON must have these fields and no others; a form may
/// have more, since legacy pages post whatever is on them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReservationRequest {
    sku: Sku,
    #[serde(default = "one")]
    quantity: Quantity,
    customer_id: Option<Box<str>>,
}

fn one() -> Quantity {
    Quantity::ONE
}

impl ReservationRequest {
    fn read(document: Document) -> Result<Self, Refused> {
        let request = match document {
            Document::Form(form) => Self::read_form(&form)?,
            json @ Document::Json(_) => from_json(json)?,
        };
        if let Some(customer) = &request.customer_id {
            check_name("customer_id", customer)?;
        }
        Ok(request)
    }

    fn read_form(form: &Form) -> Result<Self, Refused> {
        let sku = form.single("sku")?.ok_or_else(|| Refused::invalid("missing field `sku`"))?;
        let quantity = form.single("quantity")?.map(Quantity::parse).transpose();
        // An input that was left empty is posted all the same.
        let customer_id = form.single("customer_id")?.filter(|customer| !customer.is_empty());
        Ok(Self {
            sku: Sku::parse(sku).map_err(Refused::invalid)?,
            quantity: quantity.map_err(Refused::invalid)?.unwrap_or(Quantity::ONE),
            customer_id: customer_id.map(Into::into),
        })
    }
}

/// `POST /v1/reservations`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    headers: HeaderMap,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let request = ReservationRequest::read(document)?;
    let key = idempotency_key(&headers)?;
    let sku = request.sku.clone();
    // What is not in stock never gets a place in a lane.
    app.store.stock(&sku)?.ok_or_else(|| skus::unknown_sku(&sku))?;
    let reserve = command(&app, request, key);
    let id = reserve.id;
    let waiter = app.lanes.reserve(sku.clone(), reserve, request_id.as_str())?;
    match waiter.outcome_or_ticket(app.wait).await? {
        Answer::Ticket => Ok(tickets::queued(id)),
        Answer::Outcome(outcome) => answer(StatusCode::CREATED, sku, outcome),
    }
}

fn command(app: &App, request: ReservationRequest, key: Option<&str>) -> Reserve {
    let ReservationRequest { sku, quantity, customer_id: customer } = request;
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
    let key = std::str::from_utf8(key)
        .map_err(|_| Refused::invalid("Idempotency-Key must be visible ASCII"))?;
    check_name("Idempotency-Key", key)?;
    Ok(Some(key))
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
    let waiter = app.lanes.settle(sku.clone(), command(id), request_id.as_str())?;
    answer(StatusCode::OK, sku, waiter.outcome().await?)
}

fn answer(status: StatusCode, sku: Sku, outcome: Outcome) -> Result<Response, Refused> {
    match outcome {
        Outcome::Held(found) | Outcome::Settled(found) => reservation(status, sku, found),
        Outcome::Refused(refusal) => Err(Refused::by_ledger(refusal, &sku)),
        Outcome::Stock(_) => Err(unknown_reservation()),
    }
}
