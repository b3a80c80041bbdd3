//! What a drill sets of the service that it starts for itself.

use serde::Deserialize;

use super::scenario::{ScenarioError, between};
use super::verdict::Limit;

/// The longest that a product may have to be calm: the drill waits for it.
const CALM_MS_MAX: u64 = 20_000;

/// What the drill sets of its own service; what is left out is as the service has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// How long a hold lasts.
    pub hold_ms: Option<u64>,
    /// How long a caller waits before it gets a ticket.
    pub wait_ms: Option<u64>,
    /// The pace of each lane.
    pub reserves_per_s: Option<u32>,
}

impl ServiceSettings {
    /// The same, as the service reads it.
    pub fn to_toml(&self) -> String {
        let line = |name: &str, value: Option<u64>| {
            value.map(|value| format!("{name} = {value}\n")).unwrap_or_default()
        };
        let pace = line("reserves_per_s", self.reserves_per_s.map(u64::from));
        let lanes = if pace.is_empty() { pace } else { format!("[lanes]\n{pace}") };
        line("hold_ms", self.hold_ms) + &line("wait_ms", self.wait_ms) + &lanes
    }
}

/// The service's `[detection]`, as far as a drill sets it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// The units per second, asked for, with which a product is noticed. More than any of the catalogue
    /// has, since what is noticed is limited.
    pub per_s: u32,
    /// The limit of all edges together that it gets then. The burst is at least what comes in a second.
    pub limit: Limit,
    /// The pace that its lane gets; left out: none.
    pub reserves_per_s: Option<u32>,
    /// When less than this part of `per_s` is asked for ..; left out: as the service has it.
    pub calm_ratio: Option<f64>,
    /// .. for so long, in milliseconds, it is let go.
    pub calm_ms: u64,
}

impl Detection {
    /// Sees that the service will take it.
    ///
    /// # Errors
    /// Names the field that is wrong, and the remedy.
    pub fn check(&self) -> Result<(), ScenarioError> {
        between("detection.per_s", self.per_s.into(), 1.0, 1e6)?;
        between("detection.calm_ratio", self.calm_ratio.unwrap_or(1.0), 0.01, 1.0)?;
        between("detection.calm_ms", self.calm_ms as f64, 0.0, CALM_MS_MAX as f64)?;
        let Limit { per_second, burst } = self.limit;
        between("detection.limit.burst", burst.into(), per_second.into(), 1e6)
    }

    /// The same, as the service reads it.
    pub fn to_toml(&self) -> String {
        let Self { per_s, limit: Limit { per_second, burst }, calm_ms, .. } = *self;
        // A product is compared with its own past when that is known for a minute: a drill is about `per_s`.
        let mut table = format!(
            "[detection]\nper_s = {per_s}\nsurge_per_s = {per_s}\ncalm_ms = {calm_ms}\n\
             limit = {{ per_second = {per_second}, burst = {burst} }}\n"
        );
        if let Some(reserves_per_s) = self.reserves_per_s {
            table += &format!("reserves_per_s = {reserves_per_s}\n");
        }
        if let Some(calm_ratio) = self.calm_ratio {
            // With a point: TOML tells numbers with one from those without.
            table += &format!("calm_ratio = {calm_ratio:?}\n");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_what_the_service_reads() {
        let set = ServiceSettings { hold_ms: Some(9), wait_ms: None, reserves_per_s: Some(7) };
        assert_eq!(set.to_toml(), "hold_ms = 9\n[lanes]\nreserves_per_s = 7\n");
        assert_eq!(ServiceSettings::default().to_toml(), "");
    }

    #[test]
    fn detection_is_what_the_service_reads() {
        let limit = Limit { per_second: 5, burst: 6 };
        let (reserves_per_s, calm_ratio) = (Some(7), Some(1.0));
        let all = Detection { per_s: 9, limit, reserves_per_s, calm_ratio, calm_ms: 8 };
        let table = "[detection]\nper_s = 9\nsurge_per_s = 9\ncalm_ms = 8\n\
                     limit = { per_second = 5, burst = 6 }\n";
        assert_eq!(all.to_toml(), format!("{table}reserves_per_s = 7\ncalm_ratio = 1.0\n"));
        let some = Detection { reserves_per_s: None, calm_ratio: None, ..all };
        assert_eq!(some.to_toml(), table);
    }
}
