//! Answers: what the engine says, as HTTP.

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cartgate_ledger::{CommandId, Outcome, Reservation, ReservationState, UnixMs};
use cartgate_policy::Sku;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::openapi::schemas;
use super::refused::{Refused, unknown_reservation};

/// Room for a reservation's JSON, so that writing it need not grow it.
const JSON_CAPACITY: usize = 320;

/// A response with a JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(JSON_CAPACITY);
    if let Err(error) = serde_json::to_writer(&mut text, body) {
        // Nothing that we serialise can fail to be JSON.
        tracing::error!(%error, "an answer cannot be written");
        return Refused::unavailable().into_response();
    }
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// A reservation.
#[derive(Serialize, ToSchema)]
#[schema(as = Reservation, examples(json!({
    "reservation_id": schemas::ID_EXAMPLE, "state": "held", "sku": "EXAMPLE-TEE-M", "quantity": 1,
    "customer_id": "ann", "expires_at": "2026-12-01T10:15:00.000Z",
})))]
pub(super) struct ReservationView<'a> {
    /// Names it, and the ticket to it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    reservation_id: CommandId,
    #[schema(schema_with = schemas::reservation_state)]
    state: &'static str,
    /// The product.
    #[schema(value_type = Sku)]
    sku: &'a str,
    /// Units that were reserved.
    quantity: u32,
    /// Units that were sold, once it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    confirmed_quantity: Option<u32>,
    /// Who reserved them, if that was said: a pseudonym, where the service keeps these.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    customer_id: Option<&'a str>,
    /// Until when they are held, or were.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Rfc3339,
}

impl<'a> ReservationView<'a> {
    /// The view of a reservation that holds or held something; `None` of one that never did.
    pub(super) fn new(sku: &'a Sku, reservation: &'a Reservation) -> Option<Self> {
        let (state, confirmed_quantity) = match reservation.state {
            ReservationState::Held { .. } => ("held", None),
            ReservationState::Confirmed { quantity, .. } => ("confirmed", Some(quantity)),
            ReservationState::Released { .. } => ("released", None),
            ReservationState::Expired { .. } => ("expired", None),
            _ => return None,
        };
        Some(Self {
            reservation_id: reservation.id,
            state,
            sku: sku.as_str(),
            quantity: reservation.quantity,
            confirmed_quantity,
            customer_id: reservation.customer.as_deref(),
            expires_at: Rfc3339(reservation.state.expires_at()?),
        })
    }
}

/// Answers with a reservation, or that there is none.
pub(super) fn reservation(
    status: StatusCode,
    sku: &Sku,
    reservation: &Reservation,
) -> Result<Response, Refused> {
    let view = ReservationView::new(sku, reservation).ok_or_else(unknown_reservation)?;
    let mut response = json(status, &view);
    if status == StatusCode::CREATED {
        set_location(&mut response, format!("/v1/reservations/{}", reservation.id));
    }
    Ok(response)
}

/// Answers with what became of a reservation.
pub(super) fn outcome(
    status: StatusCode,
    sku: &Sku,
    outcome: Outcome,
) -> Result<Response, Refused> {
    match outcome {
        Outcome::Held(found) | Outcome::Settled(found) => reservation(status, sku, &found),
        Outcome::Refused(refusal) => Err(Refused::by_ledger(refusal, sku)),
        Outcome::Stock { .. } | Outcome::Adjusted(_) | Outcome::Deferred => {
            Err(Refused::unavailable())
        }
    }
}

/// Says where the thing that a response speaks of can be found.
pub(super) fn set_location(response: &mut Response, location: String) {
    // Ids are hexadecimal, and SKUs need no escaping: always a valid header.
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
}

/// Says which version of a thing a response shows.
pub(super) fn set_etag(response: &mut Response, version: u64) {
    // Digits between quotation marks: always a valid header.
    if let Ok(etag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
}

/// A time as RFC 3339 writes it, in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rfc3339(pub(crate) UnixMs);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0.0).unwrap_or(i64::MAX);
        let timestamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{timestamp:.3}")
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text(self, serializer)
    }
}

/// Writes a value as text.
pub(super) fn text<S: Serializer>(
    value: &impl fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
