//! Stock, for those who run the sale. Envoy does not expose these routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cartgate_ledger::{Cause, Command, Counters, JournalEntry, Outcome, UnixMs};
use cartgate_policy::Sku;
use cartgate_policy::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};

use super::App;
use super::answer::{Refused, rfc_3339};
use super::extract::{DocumentBody, SkuPath, StrictQuery, from_json};
use super::observe::RequestId;
use crate::store::StockRow;

/// The most units of one SKU.
const UNITS_MAX: u64 = 1_000_000_000_000;

/// The most journal entries in one answer, and how many if nobody says.
const JOURNAL_LIMIT_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StockRequest {
    quantity: u64,
}

/// Where a SKU's units are.
#[derive(Serialize)]
pub(super) struct StockView {
    sku: Sku,
    #[serde(flatten)]
    counters: Counters,
    version: u64,
}

impl StockView {
    fn new(sku: Sku, row: StockRow) -> Self {
        Self { sku, counters: row.counters, version: row.version }
    }
}

/// `PUT /v1/skus/{sku}/stock`
pub(super) async fn set_stock(
    State(app): State<Arc<App>>,
    request_id: RequestId,
    SkuPath(sku): SkuPath,
    DocumentBody(document): DocumentBody,
) -> Result<Json<StockView>, Refused> {
    let units = from_json::<StockRequest>(document)?.quantity;
    if units > UNITS_MAX {
        return Err(Refused::invalid(format_args!("quantity is at most {UNITS_MAX}")));
    }
    let waiter = app.lanes.submit(sku.clone(), Command::Set { units }, request_id.as_str())?;
    match waiter.outcome().await? {
        Outcome::Refused(refusal) => Err(Refused::by_ledger(refusal, &sku)),
        Outcome::Stock(_) | Outcome::Held(_) | Outcome::Settled(_) => stock(&app, sku),
    }
}

/// `GET /v1/skus/{sku}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
) -> Result<Json<StockView>, Refused> {
    stock(&app, sku)
}

fn stock(app: &App, sku: Sku) -> Result<Json<StockView>, Refused> {
    let row = app.store.stock(&sku)?.ok_or_else(|| unknown_sku(&sku))?;
    Ok(Json(StockView::new(sku, row)))
}

/// The answer to whoever asks for a SKU that was never in stock.
pub(super) fn unknown_sku(sku: &Sku) -> Refused {
    Refused(Problem::new(ProblemType::UnknownSku).with("sku", sku.as_str()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// A page of a SKU's journal.
#[derive(Serialize)]
pub(super) struct JournalView {
    entries: Vec<EntryView>,
    /// What to give as `after` for the next page; `None`: there is no more.
    next: Option<u64>,
}

#[derive(Serialize)]
struct EntryView {
    version: u64,
    #[serde(serialize_with = "rfc_3339")]
    at: UnixMs,
    cause: Cause,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<String>,
    quantity: u64,
    before: Counters,
    after: Counters,
}

impl From<JournalEntry> for EntryView {
    fn from(entry: JournalEntry) -> Self {
        let JournalEntry { version, at, cause, id, quantity, before, after } = entry;
        let reservation_id = id.map(|id| id.to_string());
        Self { version, at, cause, reservation_id, quantity, before, after }
    }
}

/// `GET /v1/skus/{sku}/journal?after=VERSION&limit=N`
pub(super) async fn journal(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
    StrictQuery(query): StrictQuery<JournalQuery>,
) -> Result<Json<JournalView>, Refused> {
    let limit = query.limit.unwrap_or(JOURNAL_LIMIT_MAX);
    if !(1..=JOURNAL_LIMIT_MAX).contains(&limit) {
        return Err(Refused::invalid(format_args!("limit is 1 to {JOURNAL_LIMIT_MAX}")));
    }
    let after = query.after;
    let read = move || {
        let entries = app.store.journal(&sku, after, limit)?;
        // After the entries: whatever has come between is on the next page.
        let row = app.store.stock(&sku)?.ok_or_else(|| unknown_sku(&sku))?;
        Ok((entries, row.version))
    };
    // A page is many reads, perhaps from disk: not on a thread that answers shoppers.
    let read = tokio::task::spawn_blocking(read).await;
    let (entries, version) = read.unwrap_or_else(|_| Err(Refused::unavailable()))?;
    let last = entries.last().map_or(after, |last| last.version);
    let next = (last < version).then_some(last);
    Ok(Json(JournalView { entries: entries.into_iter().map(EntryView::from).collect(), next }))
}
