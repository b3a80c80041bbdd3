//! Requests that do not get what they ask for: problems, as responses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cartgate_ledger::Refusal;
use cartgate_policy::Sku;
use cartgate_policy::document::DocumentError;
use cartgate_policy::extract::ExtractError;
use cartgate_policy::problem::{CONTENT_TYPE, Problem, ProblemType};

use super::answer::Rfc3339;
use crate::lanes::EnqueueError;
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
        Self(problem(refusal).with("sku", sku.as_str()))
    }

    /// Adds an extension member to the problem.
    pub(super) fn with(self, member: &'static str, value: impl Into<serde_json::Value>) -> Self {
        Self(self.0.with(member, value))
    }
}

fn problem(refusal: Refusal) -> Problem {
    use ProblemType as Type;
    match refusal {
        Refusal::UnknownSku => Problem::new(Type::UnknownSku),
        Refusal::SoldOut { available } => Problem::new(Type::SoldOut).with("available", available),
        Refusal::OverCap { cap, committed } => {
            Problem::new(Type::OverCap).with("cap", cap.get()).with("committed", committed)
        }
        Refusal::CustomerRequired => {
            Problem::new(Type::CustomerRequired).detail("this product needs a customer_id")
        }
        Refusal::NotOpenYet { opens_at, opens_in_ms } => Problem::new(Type::NotOpenYet)
            .with("opens_at", Rfc3339(opens_at).to_string())
            .with("opens_in_ms", opens_in_ms),
        Refusal::Closed { closed_at } => {
            Problem::new(Type::SaleClosed).with("closed_at", Rfc3339(closed_at).to_string())
        }
        Refusal::Abandoned => try_later(Type::Unavailable),
        Refusal::KeyReused => Problem::new(Type::IdempotencyKeyReused),
        Refusal::TooManyUnits { units_max } => {
            Problem::new(Type::TooManyUnits).with("units_max", units_max)
        }
        Refusal::BelowCommitted { committed } => {
            Problem::new(Type::StockBelowCommitted).with("committed", committed)
        }
        Refusal::VersionDiffers { version } => {
            Problem::new(Type::VersionDiffers).with("version", version)
        }
        Refusal::UnknownHold => Problem::new(Type::UnknownReservation),
        Refusal::MoreThanHeld { quantity } => {
            Problem::new(Type::MoreThanHeld).with("quantity", quantity)
        }
        Refusal::AlreadyConfirmed { quantity } => {
            Problem::new(Type::HoldConfirmed).with("confirmed_quantity", quantity)
        }
        Refusal::AlreadyReleased => Problem::new(Type::HoldReleased),
        Refusal::AlreadyExpired => Problem::new(Type::HoldExpired),
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.problem_type.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.0.body()).into_response();
        response.extensions_mut().insert(self.0.problem_type);
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
            EnqueueError::TooManyHotItems { max } => {
                Self(Problem::new(ProblemType::TooManyHotItems)).with("max", max)
            }
            EnqueueError::HotItemChanged { version } => {
                let problem = Problem::new(ProblemType::HotItemChanged);
                // One that is none any more has no version.
                Self(match version {
                    Some(version) => problem.with("version", version),
                    None => problem,
                })
            }
            EnqueueError::TooManyHolds | EnqueueError::Stopped => Self::unavailable(),
        }
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
            // Where it stands.
            DocumentError::Json(source) | DocumentError::DuplicateKey(source) => {
                Self::invalid(source)
            }
            error => ExtractError::from(error).into(),
        }
    }
}

impl From<ExtractError> for Refused {
    fn from(error: ExtractError) -> Self {
        Self(Problem::new(error.problem_type()).detail(error.to_string()))
    }
}

/// There is no such reservation, or it is forgotten.
pub(super) fn unknown_reservation() -> Refused {
    Refused(Problem::new(ProblemType::UnknownReservation))
}

/// The SKU was never in stock.
pub(super) fn unknown_sku(sku: &Sku) -> Refused {
    Refused::by_ledger(Refusal::UnknownSku, sku)
}

/// The sale of this product is paused.
pub(super) fn paused(sku: &Sku) -> Refused {
    Refused(try_later(ProblemType::Paused)).with("sku", sku.as_str())
}

/// A problem that passes: again in 1 to 4 seconds, not all at once.
pub(super) fn try_later(problem_type: ProblemType) -> Problem {
    let [byte] = random::bytes();
    Problem::new(problem_type).retry_after_s(1 + u32::from(byte % 4))
}
