//! Adjustments of stock, for those who run the sale.

use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::{Adjust, Command, Outcome, UNITS_MAX};
use serde::Deserialize;
use utoipa::ToSchema;

use super::answer::json;
use super::call::Call;
use super::extract::{DocumentBody, IdempotencyKey, SkuPath, from_json};
use super::openapi::schemas;
use super::refused::Refused;
use super::skus::StockView;
use crate::command_id::adjustment_fingerprint;

/// A change of how many units of a product there are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"by": 5})))]
pub(super) struct AdjustmentRequest {
    /// Units to add; fewer than none to take off.
    #[schema(schema_with = schemas::units_but_none)]
    by: i64,
}

/// Put more units up for sale, or take some off.
///
/// Unlike `PUT .../stock` it does not depend on what there is, and what others do at the same time. With an
/// `Idempotency-Key` it may be repeated, and counts once.
#[utoipa::path(
    post, path = "/v1/skus/{sku}/adjustments", tag = "stock", security(("token" = ["stock"])),
    operation_id = "adjust_stock",
    params(SkuPath, IdempotencyKey),
    request_body(content((AdjustmentRequest = "application/json"))),
    responses((status = 201, description = "So the stock is now.", body = StockView)),
    extensions(("x-problems" = json!([
        "unknown-sku", "stock-below-committed", "too-many-units", "idempotency-key-reused", "lane-full",
    ]))),
)]
pub(super) async fn create(
    call: Call,
    SkuPath(sku): SkuPath,
    key: IdempotencyKey,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let AdjustmentRequest { by } = from_json(document)?;
    if by == 0 || by.unsigned_abs() > UNITS_MAX {
        return Err(Refused::invalid(format_args!("by is 1 to {UNITS_MAX}, or minus that")));
    }
    call.check_in_stock(&sku).await?;
    let adjust = Adjust {
        id: match key.as_deref() {
            Some(key) => call.app.ids.adjustment(&sku, key),
            None => call.app.ids.fresh(&sku),
        },
        fingerprint: adjustment_fingerprint(&sku, by),
        repeatable: key.as_deref().is_some(),
        by,
    };
    match call.outcome(&sku, Command::Adjust(adjust)).await? {
        Outcome::Adjusted(done) => {
            let (counters, version) = (done.counters, done.version);
            Ok(json(StatusCode::CREATED, &StockView { sku, counters, version }))
        }
        Outcome::Refused(refusal) => Err(Refused::by_ledger(refusal, &sku)),
        _ => Err(Refused::unavailable()),
    }
}
