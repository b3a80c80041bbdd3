//! What the leader of the fleet knows, and what it makes of the registry. It reads no clock and no store.

use std::collections::BTreeMap;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use cartgate_policy::fleet::{Fleet, Heavy, NotTaken, Reply, Report, Settings, Version};
use cartgate_policy::gcra::Limit;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::config::DetectionConfig;
use super::detector::{Calmed, Detector, Noticed, Source};
use super::follow::{Follower, Seen};
use super::states::item_of;
use crate::config::Config;
use crate::engine::HotState;
use crate::hot_items::{HotItem, Origin};

/// By which rules a leader goes.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    fleet: Settings,
    pub(super) detection: DetectionConfig,
    /// How many hot items there may be.
    hot_items_max: usize,
}

impl Rules {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            fleet: config.edges.fleet_settings(),
            detection: config.detection,
            hot_items_max: config.hot_items_max,
        }
    }

    /// How many more may be registered by themselves: half of all places are people's.
    fn room(&self, registry: &BTreeMap<Sku, HotState>) -> usize {
        let is_detected = |state: &&HotState| state.item.origin == Origin::Detected;
        let detected = registry.values().filter(is_detected).count();
        let free = self.hot_items_max.saturating_sub(registry.len());
        (self.hot_items_max / 2).saturating_sub(detected).min(free)
    }
}

/// How the fleet of edges stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetView {
    /// Edges that report.
    pub edges: usize,
    /// Those of them that do not have the registry as it is.
    pub behind: usize,
    /// Hot items, as edges are told.
    pub hot_items: usize,
    /// The registry, as edges are told.
    pub version: Version,
}

/// How a hot item stands at the edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HotItemAtEdges)]
pub struct ItemView {
    /// Edges that report.
    pub reporting: usize,
    /// Those of them that have the item as it is.
    pub acknowledged: usize,
    /// Units per second that they are asked for.
    pub demand_per_s: u64,
    /// The limit in force, of all of them together, in units per second, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limit_per_s: Option<u32>,
}

/// The leader of the fleet.
pub(super) struct Leader {
    rules: Rules,
    fleet: Fleet,
    detector: Option<Detector>,
    followed: BTreeMap<Sku, Followed>,
    /// Reserve commands for hot items that came, as far as that was told.
    came: BTreeMap<Sku, u64>,
}

/// A limit that follows the engine.
struct Followed {
    follower: Follower,
    limit: Limit,
    /// How many reserve commands had been decided, and when that was.
    decided: u64,
    at_ms: u64,
}

/// How often limits follow the engine, in milliseconds.
const FOLLOW_EVERY_MS: u64 = 200;

impl Leader {
    /// A leader without any memory, whose `incarnation` no other ever had.
    pub(super) fn new(incarnation: u64, rules: &Rules, now_ms: u64) -> Self {
        let detection = rules.detection;
        Self {
            rules: rules.clone(),
            fleet: Fleet::new(incarnation, rules.fleet, now_ms),
            detector: detection.enabled.then(|| Detector::new(detection, now_ms)),
            followed: BTreeMap::new(),
            came: BTreeMap::new(),
        }
    }

    /// As [`Fleet::report`]; and what else the edge is often asked for is noted.
    pub(super) fn report(
        &mut self,
        edge: u64,
        report: &Report,
        now_ms: u64,
        unix_ms: u64,
    ) -> Result<Reply, NotTaken> {
        let reply = self.fleet.report(edge, report, now_ms, unix_ms)?;
        self.note(Source::Edges, &report.heavy, report.over_ms, now_ms);
        Ok(reply)
    }

    /// Notes what was asked for.
    pub(super) fn note(&mut self, source: Source, heavy: &[Heavy], over_ms: u64, now_ms: u64) {
        if let Some(detector) = &mut self.detector {
            detector.note(source, heavy, over_ms, now_ms);
        }
    }

    /// Notes reserve commands for hot items that came.
    pub(super) fn note_reserves(&mut self, reserves: &[(Sku, u64)]) {
        for (sku, count) in reserves {
            if let Some(came) = self.came.get_mut(sku) {
                *came += count;
            }
        }
    }

    /// As [`Fleet::plan`].
    pub(super) fn plan(&mut self, now_ms: u64) {
        self.fleet.plan(now_ms);
    }

    /// Takes up the registry, and how its items stand.
    pub(super) fn take_up(&mut self, registry: &BTreeMap<Sku, HotState>, now: UnixMs, now_ms: u64) {
        let items = self.fleet.items().map(|item| &item.sku);
        let gone: Vec<_> = items.filter(|sku| !registry.contains_key(*sku)).cloned().collect();
        gone.iter().for_each(|sku| self.fleet.remove(sku));
        self.followed.retain(|sku, _| registry.contains_key(sku));
        self.came.retain(|sku, _| registry.contains_key(sku));
        for (sku, state) in registry {
            let limit = self.limit(sku, state, now_ms);
            let item = item_of(sku, state, limit, self.fleet.item(sku), now);
            self.fleet.set(item);
        }
    }

    /// The limit in force.
    fn limit(&mut self, sku: &Sku, state: &HotState, now_ms: u64) -> Option<Limit> {
        let HotItem { edge, reserves_per_s, .. } = state.item;
        let (limit, Some(wait_target_ms), Some(lane)) =
            (edge.limit?, edge.wait_target_ms, state.lane)
        else {
            self.followed.remove(sku);
            return edge.limit;
        };
        // What came and waits no more was decided.
        let came = *self.came.entry(sku.clone()).or_default();
        let decided = lane.decided.unwrap_or(came.saturating_sub(lane.waiting));
        let demand_per_s = self.fleet.demand(sku).unwrap_or_default();
        let followed = self.followed.entry(sku.clone()).or_insert_with(|| {
            let follower = Follower::new(limit, reserves_per_s);
            let told = follower.limit(limit);
            Followed { follower, limit: told, decided, at_ms: now_ms }
        });
        let over_ms = now_ms.saturating_sub(followed.at_ms);
        if over_ms >= FOLLOW_EVERY_MS {
            let seen = Seen {
                over_ms,
                decided: decided.saturating_sub(followed.decided),
                waiting: lane.waiting,
                demand_per_s,
                available: state.stock.map_or(0, |stock| stock.available),
            };
            followed.limit = followed.follower.step(limit, wait_target_ms, seen);
            // It may seem to be less than before: what waits is known before what came is.
            (followed.decided, followed.at_ms) = (decided.max(followed.decided), now_ms);
        }
        Some(followed.limit)
    }

    /// As [`Detector::to_ask`].
    pub(super) fn to_ask(&self, registry: &BTreeMap<Sku, HotState>, now_ms: u64) -> Vec<Sku> {
        let detector = self.detector.as_ref();
        detector.map_or_else(Vec::new, |d| d.to_ask(now_ms, |sku| registry.contains_key(sku)))
    }

    /// As [`Detector::learn`].
    pub(super) fn learn(&mut self, sku: &Sku, is_in_stock: bool, now_ms: u64) {
        if let Some(detector) = &mut self.detector {
            detector.learn(sku, is_in_stock, now_ms);
        }
    }

    /// SKUs that are to be registered.
    pub(super) fn noticed(
        &mut self,
        registry: &BTreeMap<Sku, HotState>,
        now_ms: u64,
    ) -> Vec<Noticed> {
        let room = self.rules.room(registry);
        let Some(detector) = &mut self.detector else { return Vec::new() };
        detector.noticed(now_ms, room, |sku| registry.contains_key(sku))
    }

    /// Of those that were noticed, the ones that are to be let go.
    pub(super) fn calmed(
        &mut self,
        registry: &BTreeMap<Sku, HotState>,
        now_ms: u64,
    ) -> Vec<Calmed> {
        let Some(detector) = &mut self.detector else { return Vec::new() };
        let detected = registry.iter().filter(|(_, state)| state.item.origin == Origin::Detected);
        let fleet = &self.fleet;
        let asked = detected.map(|(sku, _)| (sku, fleet.demand(sku).unwrap_or_default()));
        detector.calmed(now_ms, asked)
    }

    /// How the fleet stands.
    pub(super) fn view(&self) -> FleetView {
        FleetView {
            edges: self.fleet.edges(),
            behind: self.fleet.behind(),
            hot_items: self.fleet.items().count(),
            version: self.fleet.version(),
        }
    }

    /// How an item stands.
    pub(super) fn item_view(&self, sku: &Sku) -> Option<ItemView> {
        Some(ItemView {
            reporting: self.fleet.edges(),
            acknowledged: self.fleet.acknowledged(sku)?,
            demand_per_s: self.fleet.demand(sku)?,
            limit_per_s: self.fleet.item(sku)?.limit.map(Limit::per_second),
        })
    }
}
