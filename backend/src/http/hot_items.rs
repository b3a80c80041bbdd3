//! The registry of hot items, for those who run the sale. Envoy does not expose these routes.

pub(super) mod request;
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
use utoipa::{IntoParams, ToSchema};

use self::request::HotItemRequest;
use self::view::{ChangeView, HistoryView, HotItemView, LaneView};
use super::App;
use super::answer::{json, set_etag, set_location};
use super::call::Call;
use super::extract::{DocumentBody, IfMatch, SkuPath, StrictQuery, check_limit, from_json};
use super::openapi::schemas::HotItemPatch;
use super::refused::Refused;
use crate::hot_items::{ChangeKind, Changed, Note, Reason};
use crate::lanes::EnqueueError;

/// How often a patch is applied to an entry that others keep changing, before its caller hears of it.
const AMENDED_AT_MOST: usize = 5;

/// Make a product a hot item, or give it other terms.
///
/// It gets a lane of its own, so that a flood on it leaves other products as they were, and the terms of its
/// sale. What is left out has no bound: a `PUT` replaces all terms, and `{}` gives the lane alone. May be
/// repeated.
#[utoipa::path(
    put, path = "/v1/hot-items/{sku}", tag = "hot items", security(("token" = ["hot-items"])),
    operation_id = "register_hot_item",
    params(SkuPath, IfMatch),
    request_body(content((HotItemRequest = "application/json"))),
    responses(
        (status = 200, description = "It was one, and has these terms.",
            body = HotItemView, headers(("etag"))),
        (status = 201, description = "It is one now.",
            body = HotItemView, headers(("etag"), ("location"))),
    ),
    extensions(("x-problems" = json!(["hot-item-changed", "too-many-hot-items"]))),
)]
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

/// Change some terms of a hot item.
///
/// A JSON merge patch (RFC 7396): what it does not name stays, and `null` takes a term off. `{"paused": true}`
/// stops the sale, and `false` goes on with it.
#[utoipa::path(
    patch, path = "/v1/hot-items/{sku}", tag = "hot items", security(("token" = ["hot-items"])),
    operation_id = "amend_hot_item",
    params(SkuPath, IfMatch),
    request_body(content(
        (HotItemPatch = "application/merge-patch+json"),
        (HotItemPatch = "application/json"),
    )),
    responses((status = 200, description = "It has these terms.",
        body = HotItemView, headers(("etag")))),
    extensions(("x-problems" = json!(["unknown-hot-item", "hot-item-changed"]))),
)]
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

/// A hot item: its terms, its lane, what is asked of it.
#[utoipa::path(
    get, path = "/v1/hot-items/{sku}", tag = "hot items",
    security(("token" = ["hot-items"]), ("token" = ["read"])), operation_id = "show_hot_item",
    params(SkuPath),
    responses((status = 200, description = "The hot item.", body = HotItemView, headers(("etag")))),
    extensions(("x-problems" = json!(["unknown-hot-item"]))),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
) -> Result<Response, Refused> {
    let item = app.engine.hot_item(&sku).await?.ok_or_else(|| unknown_hot_item(&sku))?;
    let lane = app.engine.hot_lane(&sku).await?.map(LaneView::from);
    let rates = app.engine.rates(&sku, &app.metrics.tally, (app.clock)()).await?;
    let edges = app.control.item(&sku).await;
    let view = HotItemView::new(sku, item).with_demand(lane, rates, edges);
    let mut response = json(StatusCode::OK, &view);
    set_etag(&mut response, item.version);
    Ok(response)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
    /// Why, for its history.
    #[param(value_type = Option<String>, nullable = false, min_length = 1, max_length = 200)]
    reason: Option<Reason>,
}

/// Make it a product like any other.
///
/// Its lane is worked off first: the order stays, and what is held stays held. May be repeated.
#[utoipa::path(
    delete, path = "/v1/hot-items/{sku}", tag = "hot items", security(("token" = ["hot-items"])),
    operation_id = "remove_hot_item",
    params(SkuPath, IfMatch, RemoveQuery),
    responses((status = 204, description = "It is no hot item.")),
    extensions(("x-problems" = json!(["hot-item-changed"]))),
)]
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// The most changes to be told.
    #[param(nullable = false, minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

/// What was changed of a hot item, by whom and why.
///
/// The latest change first, 100 at most. It is there for some time after the product was removed, too.
#[utoipa::path(
    get, path = "/v1/hot-items/{sku}/history", tag = "hot items",
    security(("token" = ["hot-items"]), ("token" = ["read"])), operation_id = "show_hot_item_history",
    params(SkuPath, HistoryQuery),
    responses((status = 200, description = "Its changes.", body = HistoryView)),
    extensions(("x-problems" = json!(["unknown-hot-item"]))),
)]
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The product after which to begin: `next` of the page before.
    #[param(value_type = Sku, required = false)]
    after: Option<Sku>,
    /// The most hot items of a page.
    #[param(nullable = false, minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
}

/// A page of the registry, sorted by SKU.
#[derive(Serialize, ToSchema)]
#[schema(as = HotItems)]
pub(super) struct ListView {
    hot_items: Vec<HotItemView>,
    /// What to give as `after` for the next page; `null`: there is no more.
    #[schema(required)]
    next: Option<Sku>,
}

/// All hot items.
///
/// Page by page: as long as `next` is not `null`, give it as `after`.
#[utoipa::path(
    get, path = "/v1/hot-items", tag = "hot items",
    security(("token" = ["hot-items"]), ("token" = ["read"])), operation_id = "list_hot_items",
    params(ListQuery),
    responses((status = 200, description = "A page of the registry.", body = ListView)),
)]
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
