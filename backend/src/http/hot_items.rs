//! The registry of hot items, for those who run the sale. Envoy does not expose these routes.

mod request;
mod view;

use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cartgate_policy::Sku;
use cartgate_policy::problem::{Problem, ProblemType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::request::HotItemRequest;
use self::view::{ChangeView, HistoryView, HotItemView, LaneView};
use super::App;
use super::answer::{json, set_etag, set_location};
use super::call::Call;
use super::extract::{DocumentBody, IfMatch, SkuPath, StrictQuery, check_limit, from_json};
use super::refused::Refused;
use crate::hot_items::{ChangeKind, Changed, Note, Reason};
use crate::lanes::EnqueueError;

/// How often a patch is applied to an entry that others keep changing, before its caller hears of it.
const AMENDED_AT_MOST: usize = 5;

/// `PUT /v1/hot-items/{sku}`
#[utoipa::path(put, path = "/v1/hot-items/{sku}", tag = "hot items", security(("token" = ["hot-items"])))]
pub(super) async fn register(
    call: Call,
    SkuPath(sku): SkuPath,
    IfMatch(expected_version): IfMatch,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let request: HotItemRequest = from_json(document)?;
    let (item, note) = request.read(expected_version, (call.app.clock)())?;
    let changed = call.change_hot_item(sku.clone(), Some(item), note).await?;
    answer(sku, changed)
}

/// `PATCH /v1/hot-items/{sku}`: a JSON merge patch (RFC 7396) of its terms.
#[utoipa::path(patch, path = "/v1/hot-items/{sku}", tag = "hot items", security(("token" = ["hot-items"])))]
pub(super) async fn amend(
    call: Call,
    SkuPath(sku): SkuPath,
    IfMatch(expected_version): IfMatch,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let patch: Value = from_json(document)?;
    let mut more = 1..AMENDED_AT_MOST;
    loop {
        let item = call.app.engine.hot_item(&sku).await?.ok_or_else(|| unknown_hot_item(&sku))?;
        let amended = HotItemView::new(sku.clone(), item).amended(&patch)?;
        let version = expected_version.unwrap_or(item.version);
        let (item, note) = amended.read(Some(version), (call.app.clock)())?;
        match call.change_hot_item(sku.clone(), Some(item), note).await {
            // Somebody has changed it since it was read, and nobody said what it was to be like.
            Err(EnqueueError::HotItemChanged { .. })
                if expected_version.is_none() && more.next().is_some() => {}
            changed => return answer(sku, changed?),
        }
    }
}

fn answer(sku: Sku, Changed { kind, item }: Changed) -> Result<Response, Refused> {
    let item = item.ok_or_else(Refused::unavailable)?;
    let is_new = kind == Some(ChangeKind::Registered);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/v1/hot-items/{sku}");
    let mut response = json(status, &HotItemView::new(sku, item));
    set_etag(&mut response, item.version);
    if is_new {
        set_location(&mut response, location);
    }
    Ok(response)
}

/// `GET /v1/hot-items/{sku}`
#[utoipa::path(get, path = "/v1/hot-items/{sku}", tag = "hot items", security(("token" = ["hot-items"]), ("token" = ["read"])))]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
) -> Result<Response, Refused> {
    let item = app.engine.hot_item(&sku).await?.ok_or_else(|| unknown_hot_item(&sku))?;
    let lane = app.engine.hot_lane(&sku).await?.map(LaneView::from);
    let rates = Some(app.engine.rates(&sku, &app.metrics.tally, (app.clock)()).await?);
    let edges = app.control.item(&sku).await;
    let mut view = HotItemView::new(sku, item);
    (view.lane, view.rates, view.edges) = (lane, rates, edges);
    let mut response = json(StatusCode::OK, &view);
    set_etag(&mut response, item.version);
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveQuery {
    reason: Option<Reason>,
}

/// `DELETE /v1/hot-items/{sku}?reason=TEXT`
#[utoipa::path(delete, path = "/v1/hot-items/{sku}", tag = "hot items", security(("token" = ["hot-items"])))]
pub(super) async fn remove(
    call: Call,
    SkuPath(sku): SkuPath,
    IfMatch(expected_version): IfMatch,
    StrictQuery(RemoveQuery { reason }): StrictQuery<RemoveQuery>,
) -> Result<StatusCode, Refused> {
    let note = Note { reason, expected_version, ..Note::default() };
    call.change_hot_item(sku, None, note).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    limit: Option<usize>,
}

/// `GET /v1/hot-items/{sku}/history?limit=N`
#[utoipa::path(get, path = "/v1/hot-items/{sku}/history", tag = "hot items", security(("token" = ["hot-items"]), ("token" = ["read"])))]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
    StrictQuery(query): StrictQuery<HistoryQuery>,
) -> Result<Response, Refused> {
    let limit = check_limit(query.limit)?;
    let history = app.engine.hot_item_history(&sku).await?;
    let newest_first = history.newest_first().take(limit);
    let changes: Vec<_> = newest_first.map(|entry| ChangeView::new(&sku, entry)).collect();
    if changes.is_empty() {
        return Err(unknown_hot_item(&sku));
    }
    Ok(json(StatusCode::OK, &HistoryView { changes }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<Sku>,
    limit: Option<usize>,
}

/// A page of the registry, sorted by SKU.
#[derive(Serialize)]
pub(super) struct ListView {
    hot_items: Vec<HotItemView>,
    /// What to give as `after` for the next page; `None`: there is no more.
    next: Option<Sku>,
}

/// `GET /v1/hot-items?after=SKU&limit=N`
#[utoipa::path(get, path = "/v1/hot-items", tag = "hot items", security(("token" = ["hot-items"]), ("token" = ["read"])))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    StrictQuery(query): StrictQuery<ListQuery>,
) -> Result<Json<ListView>, Refused> {
    let limit = check_limit(query.limit)?;
    let registry = app.engine.hot_items().await?;
    let after = query.after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest =
        registry.range((after, Bound::Unbounded)).map(|(sku, item)| (sku.clone(), *item));
    let page = rest.by_ref().take(limit);
    let hot_items: Vec<_> = page.map(|(sku, item)| HotItemView::new(sku, item)).collect();
    let last = hot_items.last().map(|last| last.sku.clone());
    Ok(Json(ListView { hot_items, next: last.filter(|_| rest.next().is_some()) }))
}

fn unknown_hot_item(sku: &Sku) -> Refused {
    Refused(Problem::new(ProblemType::UnknownHotItem)).with("sku", sku.as_str())
}
