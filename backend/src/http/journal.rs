//! The journal: every change of a SKU's stock.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cartgate_ledger::{Cause, CommandId, Counters, JournalEntry};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::answer::{Rfc3339, text};
use super::extract::{SkuPath, StrictQuery, check_limit};
use super::refused::{Refused, unknown_sku};
use crate::store::StockRow;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JournalQuery {
    /// The version after which to begin: `next` of the page before.
    #[serde(default)]
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    after: u64,
    /// The most entries of a page.
    #[param(nullable = false, minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

/// A page of a product's journal, the oldest change first.
#[derive(Serialize, ToSchema)]
#[schema(as = Journal, examples(json!({"next": null, "entries": [{
    "version": 1, "at": "2026-12-01T10:00:00.000Z", "cause": "set", "quantity": 100,
    "before": {"available": 0, "held": 0, "confirmed": 0},
    "after": {"available": 100, "held": 0, "confirmed": 0},
}]})))]
pub(super) struct JournalView {
    entries: Vec<EntryView>,
    /// What to give as `after` for the next page; `null`: there is no more.
    #[schema(required)]
    next: Option<u64>,
}

/// A change of a product's stock.
#[derive(Serialize, ToSchema)]
#[schema(as = JournalEntry)]
struct EntryView {
    /// Its number among the product's changes.
    version: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    /// What made it.
    cause: Cause,
    /// The reservation concerned, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_text")]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{32}$", nullable = false)]
    // An adjustment has an id, but is none.
    reservation_id: Option<CommandId>,
    /// Units that moved.
    quantity: i64,
    /// Where the units were.
    before: Counters,
    /// Where they are then.
    after: Counters,
}

impl From<JournalEntry> for EntryView {
    fn from(entry: JournalEntry) -> Self {
        let JournalEntry { version, at, cause, id, quantity, before, after } = entry;
        let reservation_id = id.filter(|_| cause != Cause::Adjust);
        Self { version, at: Rfc3339(at), cause, reservation_id, quantity, before, after }
    }
}

fn some_text<S: Serializer>(id: &Option<CommandId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => text(id, serializer),
        None => serializer.serialize_none(),
    }
}

/// Every change of a product's stock.
///
/// In order, with before and after, page by page: as long as `next` is not `null`, give it as `after`.
#[utoipa::path(
    get, path = "/v1/skus/{sku}/journal", tag = "stock", security(("token" = ["stock"]), ("token" = ["read"])),
    operation_id = "show_journal",
    params(SkuPath, JournalQuery),
    responses((status = 200, description = "A page of the journal.", body = JournalView)),
    extensions(("x-problems" = json!(["unknown-sku"]))),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
    StrictQuery(query): StrictQuery<JournalQuery>,
) -> Result<Json<JournalView>, Refused> {
    let (after, limit) = (query.after, check_limit(query.limit)?);
    let (entries, row) = app.engine.journal(sku.clone(), after, limit).await?;
    // After the entries: whatever has come between is on the next page.
    let StockRow { version, .. } = row.ok_or_else(|| unknown_sku(&sku))?;
    let last = entries.last().map_or(after, |last| last.version);
    let next = (last < version).then_some(last);
    Ok(Json(JournalView { entries: entries.into_iter().map(EntryView::from).collect(), next }))
}
