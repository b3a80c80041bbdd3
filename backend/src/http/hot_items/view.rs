//! Hot items and their history, as clients see them.

use std::num::NonZeroU32;

use cartgate_policy::Sku;
use cartgate_policy::gcra::Limit;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::request::{HotItemRequest, check_patch};
use crate::control::ItemView;
use crate::hot_items::{ChangeKind, HistoryEntry, HotItem, Origin, Reason, TERMS};
use crate::http::answer::Rfc3339;
use crate::http::refused::Refused;
use crate::lanes::HotLaneState;
use crate::window::Rates;

/// A hot item.
#[derive(Serialize, ToSchema)]
#[schema(as = HotItem, examples(json!({
    "sku": "EXAMPLE-TEE-M", "reserves_per_s": 500, "limit": {"per_second": 500, "burst": 1_000}, "paused": false,
    "origin": "manual", "version": 1, "since": "2026-12-01T09:00:00.000Z",
    "changed_at": "2026-12-01T09:00:00.000Z",
})))]
pub(super) struct HotItemView {
    /// The product.
    pub(super) sku: Sku,
    /// Orders that are decided per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, nullable = false)]
    reserves_per_s: Option<NonZeroU32>,
    /// Units that one customer may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, nullable = false)]
    customer_cap: Option<NonZeroU32>,
    /// When the sale begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    opens_at: Option<Rfc3339>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    closes_at: Option<Rfc3339>,
    /// What all edges together admit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<Limit>,
    /// What one client may take at an edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    client_limit: Option<Limit>,
    /// How long anybody is to wait, about, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, nullable = false)]
    wait_target_ms: Option<NonZeroU32>,
    /// Whether new orders are refused.
    paused: bool,
    /// When it is a product like any other again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    expires_at: Option<Rfc3339>,
    /// Who changed it last.
    origin: Origin,
    /// Counts its changes: its `ETag`.
    version: u64,
    /// Since when it is a hot item.
    #[schema(value_type = String, format = DateTime)]
    since: Rfc3339,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    changed_at: Rfc3339,
    /// Its lane. This and what follows only where one hot item is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lane: Option<LaneView>,
    /// Orders per second that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    demand_per_s: Option<f64>,
    /// Those of them that were held.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    admitted_per_s: Option<f64>,
    /// How it stands at the edges.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    edges: Option<ItemView>,
}

impl HotItemView {
    pub(super) fn new(sku: Sku, item: HotItem) -> Self {
        let HotItem { reserves_per_s, terms, edge, origin, expires_at, version, .. } = item;
        Self {
            sku,
            reserves_per_s,
            customer_cap: terms.customer_cap,
            opens_at: terms.opens_at.map(Rfc3339),
            closes_at: terms.closes_at.map(Rfc3339),
            limit: edge.limit,
            client_limit: edge.client_limit,
            wait_target_ms: edge.wait_target_ms,
            paused: edge.is_paused,
            expires_at: expires_at.map(Rfc3339),
            origin,
            version,
            since: Rfc3339(item.since),
            changed_at: Rfc3339(item.changed_at),
            lane: None,
            demand_per_s: None,
            admitted_per_s: None,
            edges: None,
        }
    }

    /// With what waits for it, and what is asked of it.
    pub(super) fn with_demand(
        self,
        lane: Option<LaneView>,
        Rates { demand_per_s, admitted_per_s }: Rates,
        edges: Option<ItemView>,
    ) -> Self {
        let (demand_per_s, admitted_per_s) = (Some(demand_per_s), Some(admitted_per_s));
        Self { lane, demand_per_s, admitted_per_s, edges, ..self }
    }

    /// What would be asked for it as it is, but for what a JSON merge patch (RFC 7396) says of it.
    pub(super) fn amended(&self, patch: &Value) -> Result<HotItemRequest, Refused> {
        check_patch(patch)?;
        let mut terms = serde_json::to_value(self).map_err(Refused::invalid)?;
        if let Some(members) = terms.as_object_mut() {
            let goes_on = |name: &str| TERMS.contains(&name) || name == "expires_at";
            members.retain(|name, _| goes_on(name));
        }
        json_patch::merge(&mut terms, patch);
        serde_json::from_value(terms).map_err(Refused::invalid)
    }
}

/// How much waits in a hot item's lane, and whether it comes from there by now.
#[derive(Serialize, ToSchema)]
#[schema(as = Lane)]
pub(super) struct LaneView {
    /// Orders that wait.
    reserve: usize,
    /// Confirmations and the like that wait.
    settle: usize,
    /// How long the first one has waited, in milliseconds.
    oldest_age_ms: u64,
    /// Whether orders go to this lane by now, whether the sale is open or not.
    is_open: bool,
}

impl From<HotLaneState> for LaneView {
    fn from(HotLaneState { depth, is_open }: HotLaneState) -> Self {
        let (reserve, settle, oldest_age_ms) = (depth.reserve, depth.settle, depth.oldest_age_ms);
        Self { reserve, settle, oldest_age_ms, is_open }
    }
}

/// What was changed of a hot item, the latest first.
#[derive(Serialize, ToSchema)]
#[schema(as = HotItemHistory)]
pub(super) struct HistoryView {
    pub(super) changes: Vec<ChangeView>,
}

/// A change of a hot item.
#[derive(Serialize, ToSchema)]
#[schema(as = HotItemChange)]
pub(super) struct ChangeView {
    /// Its number: the hot item's version after it.
    version: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    /// What was done.
    change: ChangeKind,
    /// Who did it.
    origin: Origin,
    /// Why, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    reason: Option<Reason>,
    /// The hot item after it, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    item: Option<HotItemView>,
}

impl ChangeView {
    pub(super) fn new(sku: &Sku, entry: &HistoryEntry) -> Self {
        let HistoryEntry { version, at, kind, origin, ref reason, item } = *entry;
        let (reason, item) = (reason.clone(), item.map(|item| HotItemView::new(sku.clone(), item)));
        Self { version, at: Rfc3339(at), change: kind, origin, reason, item }
    }
}
