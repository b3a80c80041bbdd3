//! Stock, for those who run the sale. Envoy does not expose these routes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::{Command, Counters, Outcome, Refusal, UNITS_MAX};
use cartgate_policy::Sku;
use cartgate_policy::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::answer::{json, set_etag};
use super::call::Call;
use super::extract::{DocumentBody, IfMatch, SkuPath, from_json};
use super::refused::{Refused, unknown_sku};

/// How many units of a product there are to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"quantity": 100})))]
pub(super) struct StockRequest {
    /// All of them: available, held and sold.
    #[schema(maximum = 1_000_000_000_000_u64)]
    quantity: u64,
    /// The version that the stock has to have; as `If-Match`, which is not to be sent with it.
    expected_version: Option<u64>,
}

/// Where a product's units are.
#[derive(Serialize, ToSchema)]
#[schema(as = Stock, examples(json!({
    "sku": "EXAMPLE-TEE-M", "available": 99, "held": 1, "confirmed": 0, "version": 2,
})))]
pub(super) struct StockView {
    /// The product.
    pub(super) sku: Sku,
    #[serde(flatten)]
    pub(super) counters: Counters,
    /// Counts the changes of its stock.
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

/// Put units up for sale.
///
/// `quantity` is the total: available, held and sold. So it may be repeated. With `expected_version`, or its
/// `ETag` as `If-Match`, the stock is set only if nobody has changed it since.
#[utoipa::path(
    put, path = "/v1/skus/{sku}/stock", tag = "stock", security(("token" = ["stock"])),
    operation_id = "set_stock",
    params(SkuPath, IfMatch),
    request_body(content((StockRequest = "application/json"))),
    responses((status = 200, description = "So it is.", body = StockView, headers(("etag")))),
    extensions(("x-problems" = json!([
        "stock-below-committed", "version-differs", "stock-changed", "too-many-units", "lane-full",
    ]))),
)]
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

/// Where a product's units are.
#[utoipa::path(
    get, path = "/v1/skus/{sku}", tag = "stock", security(("token" = ["stock"]), ("token" = ["read"])),
    operation_id = "show_stock",
    params(SkuPath),
    responses((status = 200, description = "The stock.", body = StockView, headers(("etag")))),
    extensions(("x-problems" = json!(["unknown-sku"]))),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
) -> Result<Response, Refused> {
    let row = app.engine.stock(&sku).await?.ok_or_else(|| unknown_sku(&sku))?;
    Ok(StockView { sku, counters: row.counters, version: row.version }.answer())
}
