//! Adjustments of stock, for those who run the sale.

use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::{Adjust, Command, Outcome, UNITS_MAX};
use serde::Deserialize;

use super::answer::json;
use super::call::Call;
use super::extract::{DocumentBody, IdempotencyKey, SkuPath, from_json};
use super::refused::Refused;
use super::skus::StockView;
use crate::command_id::adjustment_fingerprint;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdjustmentRequest {
    /// Units to add; fewer than none to take off.
    by: i64,
}

/// `POST /v1/skus/{sku}/adjustments`
#[utoipa::path(post, path = "/v1/skus/{sku}/adjustments", tag = "stock", security(("token" = ["stock"])))]
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
