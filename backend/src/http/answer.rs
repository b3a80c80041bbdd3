//! Answers: what the engine says, as HTTP.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cartgate_ledger::{Refusal, Reservation, ReservationState, UnixMs};
use cartgate_policy::Sku;
use cartgate_policy::document::DocumentError;
use cartgate_policy::extract::ExtractError;
use cartgate_policy::problem::{CONTENT_TYPE, Problem, ProblemType};
use serde::{Serialize, Serializer};

use crate::lanes::{EnqueueError, Stopped};
use crate::random;
use crate::store::StoreError;

/// A request that does not get what it asks for: a problem, as a response.
pub(super) struct Refused(pub(super) Problem);

impl Refused {
    /// The request cannot be understood, for this reason.
    pub(super) fn invalid(detail: impl ToString) -> Self {
        Self(Problem::new(ProblemType::InvalidRequest).detail(detail.to_string()))
    }

    /// The service cannot take this now, and may soon.
    pub(super) fn unavailable() -> Self {
        Self(try_later(ProblemType::Unavailable))
    }

    /// The ledger's refusal of a command for this SKU.
    pub(super) fn by_ledger(refusal: Refusal, sku: &Sku) -> Self {
        let problem = match refusal {
            Refusal::UnknownSku => Problem::new(ProblemType::UnknownSku),
            Refusal::SoldOut { available } => {
                Problem::new(ProblemType::SoldOut).with("available", available)
            }
            Refusal::Abandoned => try_later(ProblemType::Unavailable),
            Refusal::KeyReused => Problem::new(ProblemType::IdempotencyKeyReused),
            Refusal::BelowCommitted { committed } => {
                Problem::new(ProblemType::StockBelowCommitted).with("committed", committed)
            }
            Refusal::UnknownHold => Problem::new(ProblemType::UnknownReservation),
            Refusal::AlreadyConfirmed => Problem::new(ProblemType::HoldConfirmed),
            Refusal::AlreadyReleased => Problem::new(ProblemType::HoldReleased),
            Refusal::AlreadyExpired => Problem::new(ProblemType::HoldExpired),
        };
        Self(problem.with("sku", sku.as_str()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.problem_type.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.0.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<EnqueueError> for Refused {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Full { .. } => Self(try_later(ProblemType::LaneFull)),
            EnqueueError::KeyReused => Self(Problem::new(ProblemType::IdempotencyKeyReused)),
            EnqueueError::TooManyHolds | EnqueueError::Stopped => Self::unavailable(),
        }
    }
}

impl From<Stopped> for Refused {
    fn from(_: Stopped) -> Self {
        Self::unavailable()
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let error: &dyn std::error::Error = &error;
        tracing::error!(error, "the store cannot be read");
        Self::unavailable()
    }
}

impl From<DocumentError> for Refused {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::NoContentType | DocumentError::UnsupportedMediaType => {
                let problem = Problem::new(ProblemType::UnsupportedMediaType);
                Self(problem.detail(error.to_string()))
            }
            DocumentError::Json(source) => Self::invalid(source),
            DocumentError::Duplicate { .. } => Self::invalid(error),
        }
    }
}

impl From<ExtractError> for Refused {
    fn from(error: ExtractError) -> Self {
        Self(Problem::new(error.problem_type()).detail(error.to_string()))
    }
}

/// A problem that passes: again in 1 to 4 seconds, not all at once.
fn try_later(problem_type: ProblemType) -> Problem {
    let [byte] = random::bytes();
    Problem::new(problem_type).retry_after_s(1 + u32::from(byte % 4))
}

/// A reservation as clients see it.
#[derive(Serialize)]
pub(super) struct ReservationView {
    reservation_id: String,
    state: &'static str,
    sku: Sku,
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<Box<str>>,
    #[serde(serialize_with = "rfc_3339")]
    expires_at: UnixMs,
}

impl ReservationView {
    /// The view of a reservation that holds or held something; `None` of one that never did.
    pub(super) fn new(sku: Sku, reservation: Reservation) -> Option<Self> {
        let state = match reservation.state {
            ReservationState::Held { .. } => "held",
            ReservationState::Confirmed { .. } => "confirmed",
            ReservationState::Released { .. } => "released",
            ReservationState::Expired { .. } => "expired",
            ReservationState::SoldOut { .. } => return None,
        };
        Some(Self {
            reservation_id: reservation.id.to_string(),
            state,
            sku,
            quantity: reservation.quantity,
            customer_id: reservation.customer,
            expires_at: reservation.state.expires_at()?,
        })
    }
}

/// Answers with a reservation, or that there is none.
pub(super) fn reservation(
    status: StatusCode,
    sku: Sku,
    reservation: Reservation,
) -> Result<Response, Refused> {
    let location = format!("/v1/reservations/{}", reservation.id);
    let view = ReservationView::new(sku, reservation).ok_or_else(unknown_reservation)?;
    let mut response = (status, Json(view)).into_response();
    if status == StatusCode::CREATED {
        set_location(&mut response, &location);
    }
    Ok(response)
}

/// Says where the thing that a response speaks of can be found.
pub(super) fn set_location(response: &mut Response, location: &str) {
    // Ids are hexadecimal: always a valid header.
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
}

/// There is no such reservation, or it is forgotten.
pub(super) fn unknown_reservation() -> Refused {
    Refused(Problem::new(ProblemType::UnknownReservation))
}

/// A time as RFC 3339 writes it, in UTC.
pub(super) fn rfc_3339<S: Serializer>(at: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    let timestamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    serializer.collect_str(&format_args!("{timestamp:.3}"))
}
