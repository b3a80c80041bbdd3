//! The registry of hot items, for those who run the sale. Envoy does not expose these routes.

use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::{Terms, UnixMs};
use cartgate_policy::Sku;
use cartgate_policy::problem::{Problem, ProblemType};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::App;
use super::answer::{Rfc3339, json, set_location};
use super::call::Call;
use super::extract::{DocumentBody, SkuPath, StrictQuery, check_limit, from_json};
use super::refused::Refused;
use crate::hot_items::HotItem;
use crate::lanes::HotLaneState;
use crate::window::Rates;

/// All that is asked for a hot item; what is left out is without a bound.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HotItemRequest {
    reserves_per_s: Option<NonZeroU32>,
    customer_cap: Option<NonZeroU32>,
    #[serde(default, deserialize_with = "rfc_3339")]
    opens_at: Option<UnixMs>,
    #[serde(default, deserialize_with = "rfc_3339")]
    closes_at: Option<UnixMs>,
}

impl HotItemRequest {
    fn check(&self) -> Result<(), Refused> {
        match (self.opens_at, self.closes_at) {
            (Some(opens_at), Some(closes_at)) if closes_at <= opens_at => {
                Err(Refused::invalid("closes_at must be after opens_at"))
            }
            _ => Ok(()),
        }
    }

    /// The entry that the registry is to have at `now`. One that asks for nothing new stays as it is.
    fn entry(self, before: Option<HotItem>, now: UnixMs) -> HotItem {
        let Self { reserves_per_s, customer_cap, opens_at, closes_at } = self;
        let terms = Terms { customer_cap, opens_at, closes_at };
        let since = before.map_or(now, |before| before.since);
        let is_same = |b: &HotItem| b.reserves_per_s == reserves_per_s && b.terms == terms;
        let changed_at = before.filter(is_same).map_or(now, |before| before.changed_at);
        HotItem { reserves_per_s, terms, since, changed_at }
    }
}

/// A hot item as clients see it.
#[derive(Serialize)]
struct HotItemView {
    sku: Sku,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserves_per_s: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_cap: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_at: Option<Rfc3339>,
    since: Rfc3339,
    changed_at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<LaneView>,
    #[serde(flatten)]
    rates: Option<Rates>,
}

impl HotItemView {
    fn new(sku: Sku, item: HotItem) -> Self {
        let HotItem { reserves_per_s, terms, since, changed_at } = item;
        Self {
            sku,
            reserves_per_s,
            customer_cap: terms.customer_cap,
            opens_at: terms.opens_at.map(Rfc3339),
            closes_at: terms.closes_at.map(Rfc3339),
            since: Rfc3339(since),
            changed_at: Rfc3339(changed_at),
            lane: None,
            rates: None,
        }
    }
}

/// How much waits in a hot item's lane, and whether it comes from there by now.
#[derive(Serialize)]
struct LaneView {
    reserve: usize,
    settle: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_age_ms: Option<u64>,
    is_open: bool,
}

impl From<HotLaneState> for LaneView {
    fn from(HotLaneState { depth, is_open }: HotLaneState) -> Self {
        let (reserve, settle, oldest_age_ms) = (depth.reserve, depth.settle, depth.oldest_age_ms);
        Self { reserve, settle, oldest_age_ms, is_open }
    }
}

/// `PUT /v1/hot-items/{sku}`
pub(super) async fn register(
    call: Call,
    SkuPath(sku): SkuPath,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let request: HotItemRequest = from_json(document)?;
    request.check()?;
    let before = call.app.engine.hot_item(&sku).await?;
    let item = request.entry(before, (call.app.clock)());
    if before != Some(item) {
        call.change_hot_item(sku.clone(), Some(item)).await?;
    }
    let status = if before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/v1/hot-items/{sku}");
    let mut response = json(status, &HotItemView::new(sku, item));
    if before.is_none() {
        set_location(&mut response, location);
    }
    Ok(response)
}

/// `GET /v1/hot-items/{sku}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    SkuPath(sku): SkuPath,
) -> Result<Response, Refused> {
    let Some(item) = app.engine.hot_item(&sku).await? else {
        return Err(Refused(Problem::new(ProblemType::UnknownHotItem)).with("sku", sku.as_str()));
    };
    let lane = app.engine.hot_lane(&sku).await?.map(LaneView::from);
    let rates = Some(app.engine.rates(&sku, &app.metrics.tally, (app.clock)()).await?);
    Ok(json(StatusCode::OK, &HotItemView { lane, rates, ..HotItemView::new(sku, item) }))
}

/// `DELETE /v1/hot-items/{sku}`
pub(super) async fn remove(call: Call, SkuPath(sku): SkuPath) -> Result<StatusCode, Refused> {
    if call.app.engine.hot_item(&sku).await?.is_some() {
        call.change_hot_item(sku, None).await?;
    }
    Ok(StatusCode::NO_CONTENT)
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

/// Reads a time as RFC 3339 writes it, if there is one.
fn rfc_3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMs>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let not_a_time =
        || D::Error::custom(format_args!("{text:?} is no time such as 2030-01-31T10:00:00Z"));
    let at: jiff::Timestamp = text.parse().map_err(|_| not_a_time())?;
    let ms = u64::try_from(at.as_millisecond()).map_err(|_| not_a_time())?;
    Ok(Some(UnixMs(ms)))
}
