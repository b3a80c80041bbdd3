//! Stock, for those who run the sale. Envoy does not expose these routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cartgate_ledger::{Command, Counters, Outcome, UNITS_MAX};
use cartgate_policy::Sku;
use serde::{Deserialize, Serialize};

use super::App;
use super::call::Call;
use super::extract::{DocumentBody, SkuPath, from_json};
use super::refused::{Refused, unknown_sku};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StockRequest {
    quantity: u64,
    expected_version: Option<u64>,
}

/// Where a SKU's units are.
#[derive(Serialize)]
pub(super) struct StockView {
    pub(super) sku: Sku,
    #[serde(flatten)]
    pub(super) counters: Counters,
    pub(super) version: u64,
}

/// `PUT /v1/skus/{sku}/stock`
#[utoipa::path(put, path = "/v1/skus/{sku}/stock", tag = "stock", security(("token" = ["stock"])))]
pub(super) async fn set_stock(
    call: Call,
    SkuPath(sku): SkuPath,
    DocumentBody(document): DocumentBody,
) -> Result<Json<StockView>, Refused> {
    let StockRequest { quantity: units, expected_version } = from_json(document)?;
    if units > UNITS_MAX {
        return Err(Refused::invalid(format_args!("quantity is at most {UNITS_MAX}")));
    }
    match call.outcome(&sku, Command::Set { units, expected_version }).await? {
        Outcome::Stock { counters, version } => Ok(Json(StockView { sku, counters, version })),
        Outcome::Refused(refusal) => Err(Refused::by_ledger(refusal, &sku)),
        _ => Err(Refused::unavailable()),
    }
}

/// `GET /v1/skus/{sku}`
#[utoipa::path(get, path = "/v1/skus/{sku}", tag = "stock", security(("token" = ["stock"]), ("token" = ["read"])))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
) -> Result<Json<StockView>, Refused> {
    let row = app.engine.stock(&sku).await?.ok_or_else(|| unknown_sku(&sku))?;
    Ok(Json(StockView { sku, counters: row.counters, version: row.version }))
}
