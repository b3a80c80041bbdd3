//! A sale as it is to be rehearsed, out of a small TOML file.
//!
//! The file is strict: a field that is unknown, missing or out of range is an error that names it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::settings::{Detection, ServiceSettings};
use super::verdict::Limit;

/// A span of time to draw from, in milliseconds: the least, and the most.
pub type SpanMs = (u64, u64);

/// The sale.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called: the file's name without its ending.
    #[serde(skip)]
    pub name: String,
    /// What it is about, in a sentence or two, for the report.
    pub description: String,
    /// The same seed gives the same schedule, to the microsecond.
    pub seed: u64,
    /// How long customers arrive, in seconds.
    pub duration_s: u32,
    /// How long the last of them have to finish, in seconds; then the drill stops listening.
    pub drain_s: u32,
    /// The most connections of customers who are not bots. They are opened one by one, for
    /// the first that many arrivals, and then taken in turns.
    pub connections_max: usize,
    /// What ordinary shoppers want.
    pub catalogue: Catalogue,
    /// What everybody wants.
    pub hot: HotProduct,
    /// The edge's limit of every product that has none of its own.
    pub default_limit: Limit,
    /// Who wants it most.
    pub bots: Bots,
    /// How customers behave.
    pub cast: Shares,
    /// What becomes of holds.
    pub holders: Holders,
    /// Settings of the service that the drill starts for itself.
    #[serde(default)]
    pub service: ServiceSettings,
    /// Nobody has registered the hot product: it is to be noticed. Left out: nothing is noticed.
    pub detection: Option<Detection>,
}

/// Many products; a few are asked for often, most seldom.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// How many products.
    pub skus: u32,
    /// The n-th product is asked for in proportion to `1 / n^zipf_exponent`.
    pub zipf_exponent: f64,
    /// Units of each.
    pub stock_each: u64,
    /// Arrivals per second.
    pub requests_per_s: f64,
}

/// The product that the sale is about.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotProduct {
    /// Its SKU.
    pub sku: String,
    /// Units.
    pub stock: u64,
    /// Arrivals per second before the jump.
    pub requests_per_s: f64,
    /// The second at which demand jumps.
    pub jump_at_s: u32,
    /// How many times as many arrive from then on.
    pub jump_factor: f64,
    /// The second at which demand is again what it was, and bots go home; left out: never.
    pub falls_at_s: Option<u32>,
    /// The edge's limit. Left out if the product is to be noticed: then it is `detection.limit`.
    pub limit: Option<Limit>,
}

/// Resellers' programs, all after the hot product.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bots {
    /// How many addresses they come from. At most 64.
    pub addresses: u8,
    /// The most connections of each address.
    pub connections_each: usize,
    /// Arrivals per second of all of them, from the jump on.
    pub requests_per_s: f64,
}

/// Parts of the customers that are no bots, from 0 to 1. The rest are patient.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// Legacy frontends: they post forms, without keys.
    pub legacy: f64,
    /// The impatient, always with a key.
    pub impatient: f64,
    /// Of the patient: those who send a key.
    pub keyed: f64,
    /// How long the impatient wait for an answer.
    pub hang_up_ms: SpanMs,
    /// When they come again, after an answer as well: a button is easily pressed twice.
    pub again_ms: SpanMs,
}

/// What becomes of holds; the parts that are neither confirmed nor released lapse.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holders {
    /// The part that is confirmed, from 0 to 1.
    pub confirm: f64,
    /// The part that is released.
    pub release: f64,
    /// How long after the answer.
    pub after_ms: SpanMs,
}

/// What differs from the file, by the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// Another seed.
    pub seed: Option<u64>,
    /// Another duration.
    pub duration_s: Option<u32>,
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it.
    pub fn read(path: &Path, overrides: Overrides) -> Result<Self, ScenarioError> {
        let in_file = |what| ScenarioError::In { path: path.to_owned(), what: Box::new(what) };
        let text = fs::read_to_string(path).map_err(|e| in_file(ScenarioError::Read(e)))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text, overrides).map_err(in_file)
    }

    /// Parses and checks TOML.
    ///
    /// # Errors
    /// Names the field that is wrong, and the remedy.
    pub fn parse(name: &str, text: &str, overrides: Overrides) -> Result<Self, ScenarioError> {
        let mut scenario: Self = toml::from_str(text).map_err(ScenarioError::Parse)?;
        name.clone_into(&mut scenario.name);
        scenario.seed = overrides.seed.unwrap_or(scenario.seed);
        scenario.duration_s = overrides.duration_s.unwrap_or(scenario.duration_s);
        scenario.check()?;
        Ok(scenario)
    }

    /// The limit of the hot product.
    pub fn hot_limit(&self) -> Limit {
        let detected = self.detection.as_ref().map(|detection| detection.limit);
        self.hot.limit.or(detected).unwrap_or(self.default_limit)
    }

    /// How long customers are listened to.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs(u64::from(self.duration_s) + u64::from(self.drain_s))
    }

    /// What the drill's own service is told.
    pub fn service_toml(&self) -> String {
        // Other drills are to be about what they were written for.
        let off = || "[detection]\nenabled = false\n".to_owned();
        self.service.to_toml() + &self.detection.as_ref().map_or_else(off, Detection::to_toml)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        between("duration_s", self.duration_s.into(), 1.0, 3_600.0)?;
        between("drain_s", self.drain_s.into(), 1.0, 600.0)?;
        between("connections_max", self.connections_max as f64, 1.0, 15_000.0)?;
        between("catalogue.skus", self.catalogue.skus.into(), 1.0, 100_000.0)?;
        between("catalogue.zipf_exponent", self.catalogue.zipf_exponent, 0.0, 10.0)?;
        rate("catalogue.requests_per_s", self.catalogue.requests_per_s)?;
        self.check_hot()?;
        self.check_limit("default_limit", self.default_limit)?;
        between("bots.addresses", self.bots.addresses.into(), 1.0, 64.0)?;
        between("bots.connections_each", self.bots.connections_each as f64, 1.0, 1_000.0)?;
        rate("bots.requests_per_s", self.bots.requests_per_s)?;
        let Shares { legacy, impatient, keyed, hang_up_ms, again_ms } = self.cast;
        parts(&[("cast.legacy", legacy), ("cast.impatient", impatient)])?;
        parts(&[("cast.keyed", keyed)])?;
        span("cast.hang_up_ms", hang_up_ms)?;
        span("cast.again_ms", again_ms)?;
        // The service forgets refusals after minutes: later a repeat may honestly get another answer.
        between("cast.again_ms (the longer)", again_ms.1 as f64, 0.0, 60_000.0)?;
        self.check_arrivals()?;
        let Holders { confirm, release, after_ms } = self.holders;
        parts(&[("holders.confirm", confirm), ("holders.release", release)])?;
        span("holders.after_ms", after_ms)
    }

    /// Every call is kept until the verdict, and takes about half a KiB until then.
    fn check_arrivals(&self) -> Result<(), ScenarioError> {
        let hot = self.hot.requests_per_s * self.hot.jump_factor;
        let per_s = self.catalogue.requests_per_s + hot + self.bots.requests_per_s;
        let arrivals = per_s * f64::from(self.duration_s);
        between("requests_per_s, all together, * duration_s", arrivals, 0.0, 1e6)
    }

    fn check_hot(&self) -> Result<(), ScenarioError> {
        let hot = &self.hot;
        if hot.sku.is_empty() || hot.sku.len() > SKU_LEN_MAX || !hot.sku.chars().all(is_plain) {
            return Err(ScenarioError::Sku { sku: hot.sku.clone() });
        }
        rate("hot.requests_per_s", hot.requests_per_s)?;
        between("hot.jump_at_s", hot.jump_at_s.into(), 0.0, self.duration_s.into())?;
        between("hot.jump_factor", hot.jump_factor, 1.0, 10_000.0)?;
        rate("hot.requests_per_s * hot.jump_factor", hot.requests_per_s * hot.jump_factor)?;
        if let Some(falls_at_s) = hot.falls_at_s {
            let (least, most) = (hot.jump_at_s.into(), self.duration_s.into());
            between("hot.falls_at_s", falls_at_s.into(), least, most)?;
        }
        match (hot.limit, &self.detection) {
            (Some(limit), None) => self.check_limit("hot.limit", limit),
            (None, Some(detection)) => {
                detection.check()?;
                self.check_limit("detection.limit", detection.limit)
            }
            (Some(_), Some(_)) | (None, None) => Err(ScenarioError::HotLimit),
        }
    }

    /// A wish of the largest quantity must be admissible.
    fn check_limit(&self, field: &'static str, limit: Limit) -> Result<(), ScenarioError> {
        between(field, limit.per_second.into(), 1.0, 1e6)?;
        between(field, limit.burst.into(), QUANTITY_MAX.into(), 1e6)
    }
}

/// The most units that anybody asks for at once.
pub const QUANTITY_MAX: u32 = 3;

/// Short enough for a suffix that tells one run from another.
const SKU_LEN_MAX: usize = 40;

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The most arrivals per second of each kind: more than one machine's generator can do honestly.
fn rate(field: &'static str, per_s: f64) -> Result<(), ScenarioError> {
    between(field, per_s, 0.0, 50_000.0)
}

pub(super) fn between(
    field: &'static str,
    value: f64,
    least: f64,
    most: f64,
) -> Result<(), ScenarioError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ScenarioError::Range { field, value, least, most })
}

/// Parts of one whole: none below 0, all together not above 1.
fn parts(parts: &[(&'static str, f64)]) -> Result<(), ScenarioError> {
    let mut left = 1.0;
    for &(field, part) in parts {
        between(field, part, 0.0, left)?;
        left -= part;
    }
    Ok(())
}

fn span(field: &'static str, (least, most): SpanMs) -> Result<(), ScenarioError> {
    if least <= most && most <= 600_000 {
        return Ok(());
    }
    Err(ScenarioError::Span { field, least, most })
}

/// Why a scenario cannot be rehearsed.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// Something about a file.
    #[error("{}: {what}", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// What about it.
        what: Box<Self>,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is no TOML, a field is missing, unknown, or of another type.
    #[error("{0}")]
    Parse(#[source] toml::de::Error),
    /// A number is out of range.
    #[error("{field} is {value}: set it to something from {least} to {most}")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The least it may be.
        least: f64,
        /// The most it may be.
        most: f64,
    },
    /// A span is none.
    #[error("{field} is [{least}, {most}]: set it to [least, most], in ms, of at most 600000")]
    Span {
        /// The field.
        field: &'static str,
        /// Its first value.
        least: u64,
        /// Its second value.
        most: u64,
    },
    /// It is not clear which limit the hot product has.
    #[error(
        "set either hot.limit, or detection.limit for a product that is to be noticed, and not both"
    )]
    HotLimit,
    /// The hot product's name does not do.
    #[error("hot.sku is {sku:?}: name it with 1 to {SKU_LEN_MAX} letters, digits, `-` or `_`")]
    Sku {
        /// The name.
        sku: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::repo_root;

    fn shipped(name: &str) -> Scenario {
        let path = repo_root().join(format!("tests/scenarios/{name}.toml"));
        Scenario::read(&path, Overrides::default()).unwrap()
    }

    #[test]
    fn what_is_shipped_is_valid() {
        for name in ["sale", "short", "demo", "siege", "storm", "unannounced", "unannounced-short"]
        {
            assert_eq!(shipped(name).name, name);
        }
        assert_eq!((shipped("sale").duration_s, shipped("sale").hot.jump_factor), (60, 100.0));
    }

    fn check(from: &str, to: &str, expected: &str) {
        check_in("short", from, to, expected);
    }

    fn check_in(name: &str, from: &str, to: &str, expected: &str) {
        let path = repo_root().join("tests/scenarios").join(name).with_extension("toml");
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "{from}");
        let error = Scenario::parse("x", &text.replacen(from, to, 1), Overrides::default());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }

    #[test]
    fn errors_name_the_field_and_the_remedy() {
        check("seed =", "sede =", "unknown field `sede`");
        check("duration_s = 10", "", "missing field `duration_s`");
        check("duration_s = 10", "duration_s = 0", "duration_s is 0: set it to something from 1");
        check("jump_at_s = 3", "jump_at_s = 11", "hot.jump_at_s is 11");
        check("keyed = 0.5", "keyed = 1.5", "cast.keyed is 1.5");
        check("confirm = 0.5", "confirm = 0.9", "holders.release");
        check("again_ms = [50, 500]", "again_ms = [9, 1]", "cast.again_ms is [9, 1]");
        check("again_ms = [50, 500]", "again_ms = [9, 90000]", "cast.again_ms (the longer)");
        let all = "requests_per_s, all together, * duration_s";
        check_in("sale", "duration_s = 60", "duration_s = 3600", all);
        check("sku = \"SNEAKER\"", "sku = \"S N\"", "hot.sku is \"S N\"");
        check(
            "jump_factor",
            "falls_at_s = 2\njump_factor",
            "hot.falls_at_s is 2: set it to something from 3",
        );
        check(
            "limit = { per_second = 40, burst = 10 }",
            "",
            "set either hot.limit, or detection.limit",
        );
    }

    #[test]
    fn errors_of_what_is_to_be_noticed_name_the_field_too() {
        let check =
            |from: &str, to: &str, expected| check_in("unannounced-short", from, to, expected);
        check("[hot]", "[hot]\nlimit = { per_second = 9, burst = 9 }", "set either hot.limit");
        check("\nper_s = ", "\nper_s = 0 #", "detection.per_s is 0");
        check("calm_ms = ", "calm_ms = 90_000 #", "detection.calm_ms is 90000");
        check("[detection]", "[detection]\ncalm_ratio = 2", "detection.calm_ratio is 2");
        check("[detection]", "[detection]\ncalm = 2", "unknown field `calm`");
        let small = "limit = { per_second = 40, burst = 9 }\n#";
        check("limit = ", small, "detection.limit.burst is 9: set it to something from 40");
    }

    #[test]
    fn nothing_is_noticed_unless_it_is_to_be() {
        let short = shipped("short").service_toml();
        assert!(short.ends_with("[lanes]\nreserves_per_s = 32\n[detection]\nenabled = false\n"));
        assert!(shipped("unannounced").service_toml().contains("[detection]\nper_s = "));
    }
}
