//! Stock, for those who run the sale. Envoy does not expose these routes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::{Command, Counters, Outcome, Refusal, UNITS_MAX};
use cartgate_policy::Sku;
use cartgate_policy::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use super::App;
use super::answer::{json, set_etag};
use super::call::Call;
use super::extract::{DocumentBody, IfMatch, SkuPath, from_json};
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

impl StockView {
    /// With its version as `ETag` (RFC 9110, section 8.8.3), which `If-Match` takes.
    fn answer(&self) -> Response {
        let mut response = json(StatusCode::OK, self);
        set_etag(&mut response, self.version);
        response
    }
}

/// `PUT /v1/skus/{sku}/stock`
#[utoipa::path(put, path = "/v1/skus/{sku}/stock", tag = "stock", security(("token" = ["stock"])))]
pub(super) async fn set_stock(
    call: Call,
    SkuPath(sku): SkuPath,
    IfMatch(if_match): IfMatch,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let StockRequest { quantity: units, expected_version } = from_json(document)?;
    if if_match.is_some() && expected_version.is_some() {
        return Err(Refused::invalid("expected_version and If-Match say the same: send one"));
    }
    let expected_version = expected_version.or(if_match);
    if units > UNITS_MAX {
        return Err(Refused::invalid(format_args!("quantity is at most {UNITS_MAX}")));
    }
    match call.outcome(&sku, Command::Set { units, expected_version }).await? {
        Outcome::Stock { counters, version } => Ok(StockView { sku, counters, version }.answer()),
        Outcome::Refused(Refusal::VersionDiffers { version }) if if_match.is_some() => {
            let changed = Problem::new(ProblemType::StockChanged).with("version", version);
            Err(Refused(changed).with("sku", sku.as_str()))
        }
        Outcome::Refused(refusal) => Err(Refused::by_ledger(refusal, &sku)),
        _ => Err(Refused::unavailable()),
    }
}

/// `GET /v1/skus/{sku}`
#[utoipa::path(get, path = "/v1/skus/{sku}", tag = "stock", security(("token" = ["stock"]), ("token" = ["read"])))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
) -> Result<Response, Refused> {
    let row = app.engine.stock(&sku).await?.ok_or_else(|| unknown_sku(&sku))?;
    Ok(StockView { sku, counters: row.counters, version: row.version }.answer())
}
