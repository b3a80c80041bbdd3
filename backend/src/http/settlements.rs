//! What becomes of a hold: sold, given back, or held for longer.

use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::{Command, CommandId, OnExpired};
use cartgate_policy::Quantity;
use cartgate_policy::document::{Document, Form};
use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error;
use utoipa::ToSchema;

use super::answer::{ReservationView, outcome};
use super::call::Call;
use super::extract::{IdPath, OptionalBody, from_json};
use super::openapi::schemas::ConfirmForm;
use super::refused::{Refused, unknown_reservation};

/// How a hold is to be confirmed. Without a body: all of it, if it has not expired.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"quantity": 1, "on_expired": "reacquire"})))]
pub(super) struct ConfirmRequest {
    /// Units that are sold; the others go back. Left out: all.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    quantity: Option<Quantity>,
    /// What becomes of a confirmation that comes too late.
    #[serde(default)]
    on_expired: OnExpired,
}

impl ConfirmRequest {
    fn read(document: Option<Document>) -> Result<Self, Refused> {
        match document {
            None => Ok(Self::default()),
            Some(Document::Form(form)) => Self::read_form(&form),
            Some(document) => from_json(document),
        }
    }

    /// A form may have more fields, since legacy pages post whatever is on them.
    fn read_form(form: &Form) -> Result<Self, Refused> {
        let quantity = form.single("quantity")?.map(Quantity::parse).transpose();
        let on_expired = form.single("on_expired")?.map(|text| {
            let text: serde::de::value::StrDeserializer<'_, Error> = text.into_deserializer();
            OnExpired::deserialize(text)
        });
        Ok(Self {
            quantity: quantity.map_err(Refused::invalid)?,
            on_expired: on_expired.transpose().map_err(Refused::invalid)?.unwrap_or_default(),
        })
    }
}

/// Sell what is held.
///
/// All of it, or `quantity` of it: then the rest goes back. May be repeated: the same confirmation gets
/// the same answer. With `on_expired` = `reacquire` one that comes too late takes the units again, if they
/// are still there.
#[utoipa::path(
    post, path = "/v1/reservations/{id}/confirm", tag = "reservations", security(("token" = ["reserve"])),
    operation_id = "confirm",
    params(IdPath),
    request_body(content(
        (ConfirmRequest = "application/json"),
        (ConfirmForm = "application/x-www-form-urlencoded"),
        (ConfirmForm = "multipart/form-data"),
    )),
    responses((status = 200, description = "It is sold.", body = ReservationView)),
    extensions(("x-problems" = json!([
        "unknown-reservation", "hold-expired", "hold-released", "hold-confirmed", "more-than-held",
        "sold-out", "over-cap", "lane-full",
    ])), ("x-body-optional" = json!(true))),
)]
pub(super) async fn confirm(
    call: Call,
    IdPath(id): IdPath,
    OptionalBody(document): OptionalBody,
) -> Result<Response, Refused> {
    let ConfirmRequest { quantity, on_expired } = ConfirmRequest::read(document)?;
    let quantity = quantity.map(Into::into);
    settle(&call, id, |id| Command::Confirm { id, quantity, on_expired }).await
}

/// Give back what is held.
///
/// The units are on the shelf again. May be repeated. It needs no body, and reads none.
#[utoipa::path(
    post, path = "/v1/reservations/{id}/release", tag = "reservations", security(("token" = ["reserve"])),
    operation_id = "release",
    params(IdPath),
    responses((status = 200, description = "It is given back.", body = ReservationView)),
    extensions(("x-problems" = json!([
        "unknown-reservation", "hold-expired", "hold-confirmed", "lane-full",
    ]))),
)]
pub(super) async fn release(call: Call, IdPath(id): IdPath) -> Result<Response, Refused> {
    settle(&call, id, |id| Command::Release { id }).await
}

/// How long a hold is to last.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"hold_ms": 1_800_000})))]
pub(super) struct ExtendRequest {
    /// From now, in milliseconds; at most the service's `hold_ms_max`. Left out: as long as a new one.
    #[schema(minimum = 1)]
    hold_ms: Option<u64>,
}

/// Hold it for longer.
///
/// Never shortens a hold. An expired one cannot be extended.
#[utoipa::path(
    post, path = "/v1/reservations/{id}/extend", tag = "reservations", security(("token" = ["reserve"])),
    operation_id = "extend",
    params(IdPath),
    request_body(content((ExtendRequest = "application/json"))),
    responses((status = 200, description = "It is held until `expires_at`.", body = ReservationView)),
    extensions(("x-problems" = json!([
        "unknown-reservation", "hold-expired", "hold-released", "hold-confirmed", "lane-full",
    ])), ("x-body-optional" = json!(true))),
)]
pub(super) async fn extend(
    call: Call,
    IdPath(id): IdPath,
    OptionalBody(document): OptionalBody,
) -> Result<Response, Refused> {
    let request: ExtendRequest = document.map(from_json).transpose()?.unwrap_or_default();
    let (hold_ms, hold_ms_max) =
        (request.hold_ms.unwrap_or(call.app.hold_ms), call.app.hold_ms_max);
    if !(1..=hold_ms_max).contains(&hold_ms) {
        return Err(Refused::invalid(format_args!("hold_ms is 1 to {hold_ms_max}")));
    }
    settle(&call, id, |id| Command::Extend { id, hold_ms, hold_ms_max }).await
}

async fn settle(
    call: &Call,
    id: Option<CommandId>,
    command: impl FnOnce(CommandId) -> Command,
) -> Result<Response, Refused> {
    let id = id.ok_or_else(unknown_reservation)?;
    // Whoever knows the id was told it after the commit: it is there to be read.
    let (sku, _) = call.app.engine.reservation(id).await?.ok_or_else(unknown_reservation)?;
    outcome(StatusCode::OK, &sku, call.outcome(&sku, command(id)).await?)
}
