//! The journal: every change of a SKU's stock.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use cartgate_ledger::{Cause, CommandId, Counters, JournalEntry};
use serde::{Deserialize, Serialize, Serializer};

use super::App;
use super::answer::{Rfc3339, text};
use super::extract::{SkuPath, StrictQuery, check_limit};
use super::refused::{Refused, unknown_sku};
use crate::store::StockRow;

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
    at: Rfc3339,
    cause: Cause,
    /// The reservation concerned; an adjustment has an id, but is none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_text")]
    reservation_id: Option<CommandId>,
    quantity: i64,
    before: Counters,
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

/// `GET /v1/skus/{sku}/journal?after=VERSION&limit=N`
#[utoipa::path(get, path = "/v1/skus/{sku}/journal", tag = "stock", security(("token" = ["stock"]), ("token" = ["read"])))]
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
