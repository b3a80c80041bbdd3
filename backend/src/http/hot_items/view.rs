//! Hot items and their history, as clients see them.

use std::num::NonZeroU32;

use cartgate_policy::Sku;
use cartgate_policy::gcra::Limit;
use serde::Serialize;
use serde_json::Value;

use super::request::HotItemRequest;
use crate::control::ItemView;
use crate::hot_items::{ChangeKind, HistoryEntry, HotItem, Origin, Reason, TERMS};
use crate::http::answer::Rfc3339;
use crate::http::refused::Refused;
use crate::lanes::HotLaneState;
use crate::window::Rates;

/// A hot item as clients see it.
#[derive(Serialize)]
pub(super) struct HotItemView {
    pub(super) sku: Sku,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserves_per_s: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_cap: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_limit: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_target_ms: Option<NonZeroU32>,
    paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Rfc3339>,
    origin: Origin,
    version: u64,
    since: Rfc3339,
    changed_at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lane: Option<LaneView>,
    #[serde(flatten)]
    pub(super) rates: Option<Rates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) edges: Option<ItemView>,
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
            rates: None,
            edges: None,
        }
    }

    /// What would be asked for it as it is, but for what a JSON merge patch (RFC 7396) says of it.
    pub(super) fn amended(&self, patch: &Value) -> Result<HotItemRequest, Refused> {
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
#[derive(Serialize)]
pub(super) struct LaneView {
    reserve: usize,
    settle: usize,
    oldest_age_ms: u64,
    is_open: bool,
}

impl From<HotLaneState> for LaneView {
    fn from(HotLaneState { depth, is_open }: HotLaneState) -> Self {
        let (reserve, settle, oldest_age_ms) = (depth.reserve, depth.settle, depth.oldest_age_ms);
        Self { reserve, settle, oldest_age_ms, is_open }
    }
}

/// What was changed of a SKU's entry, the latest first.
#[derive(Serialize)]
pub(super) struct HistoryView {
    pub(super) changes: Vec<ChangeView>,
}

/// A change of a SKU's entry.
#[derive(Serialize)]
pub(super) struct ChangeView {
    version: u64,
    at: Rfc3339,
    change: ChangeKind,
    origin: Origin,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The entry after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<HotItemView>,
}

impl ChangeView {
    pub(super) fn new(sku: &Sku, entry: &HistoryEntry) -> Self {
        let HistoryEntry { version, at, kind, origin, ref reason, item } = *entry;
        let (reason, item) = (reason.clone(), item.map(|item| HotItemView::new(sku.clone(), item)));
        Self { version, at: Rfc3339(at), change: kind, origin, reason, item }
    }
}
