//! What an operator can set of edges and of detection.

use std::num::NonZeroU32;

use cartgate_policy::fleet;
use cartgate_policy::gcra::Limit;
use serde::Deserialize;

use crate::config::{ConfigError, check, count};
use crate::hot_items::{EdgeTerms, HotItem};

/// How edges are kept in step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgesConfig {
    /// How long an edge uses its shares of limits without hearing of the service, in milliseconds: so long
    /// lasts the share of one that is gone, and so long a service that was started again grants nothing
    /// new. 1,000 to 60,000; on a shared store at least 3,000, twice as long as a leader that hangs is
    /// waited for.
    pub ttl_ms: u64,
    /// How often an edge reports, in milliseconds. 100 up to a quarter of `ttl_ms`, so that no session ends
    /// because two reports were lost. An edge reports with a tick, of which it has one every 100 ms.
    pub report_every_ms: u64,
    /// The most edges; one more is answered 503, and has the limits of its own configuration. 1 to 100,000.
    pub edges_max: usize,
}

/// When SKUs are hot without anybody having said so, and what they get then.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionConfig {
    /// Whether they are noticed.
    pub enabled: bool,
    /// Units per second that are asked for, over 400 ms, from which a SKU is registered. 1 to 1,000,000.
    pub per_s: u32,
    /// It is as well when as many times its own past is asked for (an average over a minute), .. 2 to 1,000.
    pub surge_ratio: u32,
    /// .. and at least so many units per second. 1 up to `per_s`.
    pub surge_per_s: u32,
    /// When less than this part of what it has passed is asked for .. Above 0, up to 1.
    pub calm_ratio: f64,
    /// .. for so long, in milliseconds, it is let go. At most a day.
    pub calm_ms: u64,
    /// How many are registered per second at most. Half of `hot_items_max` is left for people. 1 to 100.
    pub registrations_per_s: u32,
    /// The limit of the whole fleet of edges that it gets; left out: each edge has the limit that its
    /// configuration says. The burst is at least as much as comes in a second.
    pub limit: Option<Limit>,
    /// The limit of each client that it gets, in place of the edges' own.
    pub client_limit: Option<Limit>,
    /// Reserve commands that its lane applies per second; left out: as many as it can.
    pub reserves_per_s: Option<NonZeroU32>,
}

impl Default for EdgesConfig {
    fn default() -> Self {
        Self { ttl_ms: 3_000, report_every_ms: 200, edges_max: 10_000 }
    }
}

impl Default for DetectionConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            per_s: 500,
            surge_ratio: 10,
            surge_per_s: 100,
            calm_ratio: 0.5,
            calm_ms: 30_000,
            registrations_per_s: 5,
            limit: None,
            client_limit: None,
            reserves_per_s: None,
        }
    }
}

/// How long a session is at least on a store that many processes share, in milliseconds: twice as long as a
/// leader's lease. When a leader is killed, nobody answers until its lease has ended. An edge that was
/// answered just before has the other half of its session left then to find the next leader, and keeps its
/// shares all the while.
const SHARED_TTL_MS_MIN: u64 = 3_000;

impl EdgesConfig {
    /// Checks what can be set. `is_shared`: whether many processes share the store.
    ///
    /// # Errors
    /// Names the field that is wrong, and the remedy.
    pub fn check(&self, is_shared: bool) -> Result<(), ConfigError> {
        let ttl_ms_min = if is_shared { SHARED_TTL_MS_MIN } else { 1_000 };
        check("edges.ttl_ms", self.ttl_ms, ttl_ms_min..=60_000)?;
        check("edges.report_every_ms", self.report_every_ms, 100..=self.ttl_ms / 4)?;
        check("edges.edges_max", count(self.edges_max), 1..=100_000)
    }

    /// The fleet's part of it.
    pub fn fleet_settings(&self) -> fleet::Settings {
        let Self { ttl_ms, report_every_ms, edges_max } = *self;
        // Twice what clocks make of it that differ by 500 parts in a million.
        let margin_ms = 1 + ttl_ms / 1_000;
        fleet::Settings { ttl_ms, margin_ms, report_every_ms, edges_max }
    }
}

impl DetectionConfig {
    /// Checks what can be set.
    ///
    /// # Errors
    /// Names the field that is wrong, and the remedy.
    pub fn check(&self) -> Result<(), ConfigError> {
        check("detection.per_s", self.per_s.into(), 1..=1_000_000)?;
        check("detection.surge_ratio", self.surge_ratio.into(), 2..=1_000)?;
        check("detection.surge_per_s", self.surge_per_s.into(), 1..=self.per_s.into())?;
        if !(self.calm_ratio > 0.0 && self.calm_ratio <= 1.0) {
            return Err(ConfigError::CalmRatio { value: self.calm_ratio });
        }
        check("detection.calm_ms", self.calm_ms, 0..=24 * 60 * 60 * 1_000)?;
        check("detection.registrations_per_s", self.registrations_per_s.into(), 1..=100)?;
        let limit = self.limit.map_or((0, 0), |limit| (limit.per_second(), limit.burst()));
        let burst_max = u64::from(Limit::UNITS_MAX);
        check("detection.limit.burst", limit.1.into(), limit.0.into()..=burst_max)
    }

    /// What a SKU gets that is noticed.
    pub fn entry(&self) -> HotItem {
        let Self { limit, client_limit, reserves_per_s, .. } = *self;
        let edge = EdgeTerms { limit, client_limit, ..EdgeTerms::default() };
        HotItem { reserves_per_s, edge, ..HotItem::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn check(text: &str, expected: Option<&str>) {
        let message = Config::parse(text).err().map(|error| match error {
            ConfigError::Parse(source) => source.to_string(),
            other => other.to_string(),
        });
        match (&message, expected) {
            (None, None) => {}
            (Some(message), Some(part)) if message.contains(part) => {}
            _ => panic!("{text}: {message:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn every_field_has_a_default_and_a_check() {
        check("[edges]\nttl_ms = 1_000\nreport_every_ms = 250\nedges_max = 5", None);
        check("[edges]\nttl = 5", Some("unknown field `ttl`, expected one of `ttl_ms`"));
        check("[edges]\nttl_ms = 999", Some("edges.ttl_ms = 999 is out of range"));
        check("[edges]\nttl_ms = 1_000\nreport_every_ms = 251", Some("set it to 100 up to 250"));
        check("[edges]\nedges_max = 0", Some("edges.edges_max = 0 is out of range"));
        check("[detection]\nper_s = 0", Some("detection.per_s = 0 is out of range"));
        check(
            "[detection]\nper_s = 50",
            Some("surge_per_s = 100 is out of range: set it to 1 up to 50"),
        );
        check("[detection]\ncalm_ratio = 1.5", Some("calm_ratio = 1.5 is out of range"));
        check("[detection]\ncalm_ratio = nan", Some("calm_ratio = NaN is out of range"));
        check("[detection]\nsurge_ratio = 1", Some("detection.surge_ratio = 1 is out of range"));
        check("[detection]\nregistrations_per_s = 0", Some("registrations_per_s = 0"));
        check("[detection]\nlimit = { per_second = 9, burst = 9 }", None);
        check(
            "[detection]\nlimit = { per_second = 9, burst = 8 }",
            Some("detection.limit.burst = 8 is out of range: set it to 9 up to"),
        );
        check("[detection]\nlimit = { per_second = 0, burst = 8 }", Some("whole number from 1"));
        check("[detection]\nreserves_per_s = 0", Some("reserves_per_s"));
    }

    /// Two processes share it: a leader that hangs must not cost edges what they have.
    #[test]
    fn a_session_is_longer_than_a_leader_is_waited_for() {
        let edges = EdgesConfig { ttl_ms: 2_999, ..EdgesConfig::default() };
        assert!(edges.check(false).is_ok());
        assert!(edges.check(true).is_err());
        assert!(EdgesConfig::default().check(true).is_ok());
    }
}
