//! What an operator can set, checked before a port is bound.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cartgate_policy::SkuForm;
use clap::ValueEnum;
use serde::Deserialize;
use thiserror::Error;

use crate::access::AccessConfig;
use crate::control::config::{DetectionConfig, EdgesConfig};
use crate::customers::CustomersConfig;
use crate::lanes::{FrontSettings, LaneSettings, Retention};
use crate::store::redis::{self, Address};
use crate::store::{Durability, StoreError};
use crate::trace::TracingConfig;

/// The service's configuration. Every field has a default; a field that is not here is an error.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Another address, on which nobody is asked who they are, and there is nothing but `/metrics`, `/live`
    /// and `/ready`; left out: none.
    pub metrics_listen: Option<SocketAddr>,
    /// The URL of a store that many processes share: `redis://[user:password@]host[:port][,..]`,
    /// `rediss://` for TLS; of a cluster, any of its servers. Left out: the embedded store in `data`.
    pub store: Option<StoreUrl>,
    /// What this process does on a shared store: `api` answers callers, `worker` owns buckets. With
    /// the embedded store a process does everything.
    pub roles: BTreeSet<Role>,
    /// How a store on Redis is used.
    pub redis: RedisConfig,
    /// The directory of the embedded store; made if it is not there.
    pub data: PathBuf,
    /// How many buckets SKUs are spread over. Fixed when the store is made. 1 to 4096.
    pub buckets: u16,
    /// What an answer's commit survives: `disk`, the death of the machine; `process`, only that of
    /// the process, for writes that are faster. Named in each answer.
    pub durability: Durability,
    /// How long a hold lasts, in milliseconds. At most 30 days.
    pub hold_ms: u64,
    /// The longest that a hold may be made to last, from when it was taken, in milliseconds. At
    /// least `hold_ms`, at most 30 days and `retention.holds_ms`; left out: four times `hold_ms`, if
    /// that is within these bounds.
    pub hold_ms_max: Option<u64>,
    /// How long a hold that nobody knows of stays off the shelf, in milliseconds: one that a ticket
    /// was given for and that was not asked for yet, or a line of a cart that is not complete. 1,000
    /// to 3,600,000, and more than `wait_ms`: a cart waits that long for its last line, and only then
    /// claims the first.
    pub unclaimed_ms: u64,
    /// How long a caller waits for its outcome before it gets a ticket, in milliseconds. At most
    /// 60,000.
    pub wait_ms: u64,
    /// How long a ticketed command may wait for its turn, in milliseconds. At most a day.
    pub ticket_ttl_ms: u64,
    /// While there are as many holds, new reservations are answered 503; what waits in lanes by then
    /// still takes its holds. Each takes about half a KiB of memory. On a shared store, those count
    /// that a worker has in memory. 1 to 100,000,000.
    pub holds_max: usize,
    /// The most hot items: SKUs with a lane of their own. At most 10,000.
    pub hot_items_max: usize,
    /// The most connections at a time; one more waits to be accepted. 1 to 1,000,000. Each takes
    /// one of the files that the process may open.
    pub connections_max: usize,
    /// Who may ask for what.
    pub access: AccessConfig,
    /// How customers are kept.
    pub customers: CustomersConfig,
    /// The lanes.
    pub lanes: LanesConfig,
    /// What is remembered of reservations that have ended: `holds_ms`, `refusals_ms`,
    /// `refusals_max`, which on a shared store is each bucket's.
    pub retention: Retention,
    /// How edges are kept in step.
    pub edges: EdgesConfig,
    /// When SKUs are hot without anybody having said so.
    pub detection: DetectionConfig,
    /// Where traces of requests go, and of which: `otlp`, `sample`, `trust_parent`, `service_name`.
    pub tracing: TracingConfig,
    /// How the shop spells its SKUs, in paths and bodies alike: `trim`, `case` (`keep`, `upper`, `lower`),
    /// `unicode` (`keep`, `nfkc`), `len_max`, `pattern`. The filter's configuration must have the same. With
    /// another, SKUs that are there already may not be found any more.
    pub sku: SkuForm,
}

/// Bounds and pace of each lane.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LanesConfig {
    /// The most reserve commands in one commit. All lanes that have any share them, but each gives
    /// up to 64. 1 to 65,536.
    pub batch_max: usize,
    /// The most reserve commands waiting in one lane: one more is answered 503. 1 to 1,000,000.
    pub reserve_queue_max: usize,
    /// The most settle commands waiting in one lane: one more is answered 503. 1 to 1,000,000.
    pub settle_queue_max: usize,
    /// Reserve commands that one lane applies per second, unless it is a hot item's with a pace of
    /// its own; left out: as many as it can.
    pub reserves_per_s: Option<NonZeroU32>,
}

/// How a store on Redis is used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// What all keys begin with. 1 to 32 letters, digits, `-` and `_`.
    pub prefix: String,
    /// How many replicas are to have a commit before it is answered. At most 16.
    pub replicas: u32,
    /// How long they are waited for, in milliseconds. An answer says how many there were. 1 to
    /// 10,000.
    pub replicas_wait_ms: u64,
    /// The longest that a server may take to answer, in milliseconds. 50 to 60,000.
    pub timeout_ms: u64,
    /// How many versions back a SKU's journal is kept. 1,000 to 1,000,000,000.
    pub journal_max: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            prefix: "cg".into(),
            replicas: 0,
            replicas_wait_ms: 500,
            timeout_ms: 1_000,
            journal_max: 100_000,
        }
    }
}

/// What a process does on a shared store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It answers callers.
    Api,
    /// It owns buckets.
    Worker,
}

/// Where a shared store is. Shown without its password.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct StoreUrl {
    url: Box<str>,
    /// What the URL says.
    pub address: Address,
}

impl TryFrom<String> for StoreUrl {
    type Error = StoreError;

    fn try_from(url: String) -> Result<Self, StoreError> {
        Ok(Self { address: url.parse()?, url: url.into() })
    }
}

impl PartialEq for StoreUrl {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for StoreUrl {}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_listen: None,
            store: None,
            roles: BTreeSet::from([Role::Api, Role::Worker]),
            redis: RedisConfig::default(),
            data: PathBuf::from("data"),
            buckets: 64,
            durability: Durability::Disk,
            hold_ms: 15 * 60 * 1_000,
            hold_ms_max: None,
            unclaimed_ms: 15_000,
            wait_ms: 8_000,
            ticket_ttl_ms: 10 * 60 * 1_000,
            holds_max: 5_000_000,
            hot_items_max: 1_000,
            connections_max: 10_000,
            access: AccessConfig::default(),
            lanes: LanesConfig::default(),
            customers: CustomersConfig::default(),
            retention: Retention::default(),
            edges: EdgesConfig::default(),
            detection: DetectionConfig::default(),
            tracing: TracingConfig::default(),
            sku: SkuForm::default(),
        }
    }
}

impl Default for LanesConfig {
    fn default() -> Self {
        Self {
            batch_max: 4_096,
            reserve_queue_max: 10_000,
            settle_queue_max: 10_000,
            reserves_per_s: None,
        }
    }
}

/// How much longer than its caller waits a command stays good, in milliseconds: the ticket that
/// ends the wait takes a commit of its own.
pub(crate) const CLAIM_GRACE_MS: u64 = 2_000;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

impl Config {
    /// Reads and checks a TOML file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let in_file = |source| ConfigError::In { path: path.to_owned(), source: Box::new(source) };
        Self::parse(&text).map_err(in_file)
    }

    /// Reads and checks TOML.
    ///
    /// # Errors
    /// Names the field that is wrong, and the remedy.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(ConfigError::Parse)?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types alone cannot.
    ///
    /// # Errors
    /// Names the field that is wrong, and the remedy.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_roles()?;
        self.redis.check()?;
        check("buckets", self.buckets.into(), 1..=4_096)?;
        check("hold_ms", self.hold_ms, 1..=30 * DAY_MS)?;
        check("hold_ms_max", self.hold_ms_max(), self.hold_ms..=30 * DAY_MS)?;
        check("hot_items_max", count(self.hot_items_max), 0..=10_000)?;
        check("wait_ms", self.wait_ms, 1..=60_000)?;
        // A cart's first line must not go back while the cart waits for the last one.
        let unclaimed_min = (self.wait_ms + 1).max(1_000);
        check("unclaimed_ms", self.unclaimed_ms, unclaimed_min..=60 * 60 * 1_000)?;
        check("ticket_ttl_ms", self.ticket_ttl_ms, 1..=DAY_MS)?;
        check("holds_max", count(self.holds_max), 1..=100_000_000)?;
        check("connections_max", count(self.connections_max), 1..=1_000_000)?;
        check("lanes.batch_max", count(self.lanes.batch_max), 1..=65_536)?;
        check("lanes.reserve_queue_max", count(self.lanes.reserve_queue_max), 1..=1_000_000)?;
        check("lanes.settle_queue_max", count(self.lanes.settle_queue_max), 1..=1_000_000)?;
        // A repeat must get its answer for as long as somebody may believe in the hold.
        let holds_min = self.hold_ms_max();
        check("retention.holds_ms", self.retention.holds_ms, holds_min..=366 * DAY_MS)?;
        check("retention.refusals_ms", self.retention.refusals_ms, 1..=DAY_MS)?;
        check("retention.refusals_max", count(self.retention.refusals_max), 1..=10_000_000)?;
        self.edges.check(self.store.is_some())?;
        self.detection.check()?;
        self.tracing.check()
    }

    fn check_roles(&self) -> Result<(), ConfigError> {
        let is_all = self.roles.len() == 2;
        if self.roles.is_empty() || (self.store.is_none() && !is_all) {
            return Err(ConfigError::Roles);
        }
        Ok(())
    }

    /// How an API process on a shared store treats its callers.
    pub fn front_settings(&self) -> FrontSettings {
        let good_for_ms = self.wait_ms + CLAIM_GRACE_MS;
        let patience = Duration::from_millis(2 * good_for_ms);
        FrontSettings { lanes: self.lane_settings(), good_for_ms, patience }
    }

    /// How a store on Redis is used.
    pub fn redis_settings(&self) -> redis::Settings {
        let RedisConfig { prefix, replicas, replicas_wait_ms, timeout_ms, journal_max } =
            &self.redis;
        redis::Settings {
            prefix: prefix.as_str().into(),
            buckets: self.buckets,
            durability: self.durability,
            replicas: *replicas,
            wait: Duration::from_millis(*replicas_wait_ms),
            timeout: Duration::from_millis(*timeout_ms),
            journal_max: *journal_max,
        }
    }

    /// The longest that a hold may be made to last.
    pub fn hold_ms_max(&self) -> u64 {
        let longest = self.hold_ms.saturating_mul(4).min(self.retention.holds_ms);
        self.hold_ms_max.unwrap_or_else(|| longest.max(self.hold_ms))
    }

    /// The lanes' part of it.
    pub fn lane_settings(&self) -> LaneSettings {
        LaneSettings {
            batch_max: self.lanes.batch_max,
            reserve_queue_max: self.lanes.reserve_queue_max,
            settle_queue_max: self.lanes.settle_queue_max,
            reserves_per_s: self.lanes.reserves_per_s,
            holds_max: self.holds_max,
            ticket_ttl_ms: self.ticket_ttl_ms,
            unclaimed_ms: self.unclaimed_ms,
            hot_items_max: self.hot_items_max,
            retention: self.retention,
        }
    }
}

impl RedisConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !(1..=32).contains(&self.prefix.len()) || !self.prefix.chars().all(is_plain) {
            return Err(ConfigError::Prefix);
        }
        check("redis.replicas", self.replicas.into(), 0..=16)?;
        check("redis.replicas_wait_ms", self.replicas_wait_ms, 1..=10_000)?;
        check("redis.timeout_ms", self.timeout_ms, 50..=60_000)?;
        check("redis.journal_max", self.journal_max, 1_000..=1_000_000_000)
    }
}

pub(crate) fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

pub(crate) fn check(
    field: &'static str,
    value: u64,
    range: RangeInclusive<u64>,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { field, value, min: *range.start(), max: *range.end() })
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file says something wrong.
    #[error("{}", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<ConfigError>,
    },
    /// No TOML, or a field that is unknown or of the wrong type: the source says which, and where.
    #[error("the configuration is wrong")]
    Parse(#[source] toml::de::Error),
    /// The store's URL is wrong.
    #[error("store")]
    Store(#[source] StoreError),
    /// The roles are not those of any process.
    #[error(
        "roles: set one or both of \"api\" and \"worker\"; a process without `store` does everything"
    )]
    Roles,
    /// What keys begin with is no plain word.
    #[error("redis.prefix: set it to 1 to 32 letters, digits, `-` and `_`")]
    Prefix,
    /// The part of a threshold that is calm is none.
    #[error("detection.calm_ratio = {value} is out of range: set it above 0, up to 1")]
    CalmRatio {
        /// What it was set to.
        value: f64,
    },
    /// No fraction of requests can be sampled like that.
    #[error("tracing.sample = {value} is out of range: set it to 0 up to 1, as in 0.01")]
    Sample {
        /// What it was set to.
        value: f64,
    },
    /// Spans would come from nobody.
    #[error("tracing.service_name: set it to 1 to 255 characters")]
    ServiceName,
    /// A number is out of its range.
    #[error("{field} = {value} is out of range: set it to {min} up to {max}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it was set to.
        value: u64,
        /// The least it can be.
        min: u64,
        /// The most it can be.
        max: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Config, &str>) {
        let parsed = Config::parse(text).map_err(|error| match error {
            ConfigError::Parse(source) => source.to_string(),
            other => other.to_string(),
        });
        match (parsed, expected) {
            (Ok(config), Ok(expected)) => assert_eq!(config, expected),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (parsed, expected) => panic!("{parsed:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn every_field_has_a_default_and_a_check() {
        check("", Ok(Config::default()));
        check("wait_ms = 100", Ok(Config { wait_ms: 100, ..Config::default() }));
        check("wait_ms = 0", Err("wait_ms = 0 is out of range: set it to 1 up to 60000"));
        check("wait = 9", Err("unknown field `wait`, expected one of `listen`"));
        check("[lanes]\nbatch_max = \"x\"", Err("batch_max = \"x\""));
        check("[lanes]\nreserves_per_s = 0", Err("reserves_per_s"));
        check("[lanes]\nbatch_max = 0", Err("lanes.batch_max = 0 is out of range"));
        check(
            "wait_ms = 8_000\nunclaimed_ms = 8_001",
            Ok(Config { unclaimed_ms: 8_001, ..Config::default() }),
        );
        check(
            "unclaimed_ms = 8_000",
            Err("unclaimed_ms = 8000 is out of range: set it to 8001 up to"),
        );
        check(
            "wait_ms = 9\nunclaimed_ms = 999",
            Err("unclaimed_ms = 999 is out of range: set it to 1000 up to"),
        );
        check("listen = \"localhost\"", Err("invalid socket address syntax"));
        check("roles = [\"api\"]", Err("a process without `store` does everything"));
        check("store = \"localhost\"", Err("store = \"localhost\""));
        check("[redis]\nprefix = \"{x}\"", Err("redis.prefix: set it to 1 to 32 letters"));
        check("[redis]\ntimeout_ms = 1", Err("redis.timeout_ms = 1 is out of range"));
        check("buckets = 5000", Err("buckets = 5000 is out of range: set it to 1 up to 4096"));
        check(
            "[tracing]\nsample = 2",
            Err("tracing.sample = 2 is out of range: set it to 0 up to 1"),
        );
        check("[tracing]\nsample = nan", Err("tracing.sample = NaN is out of range"));
        check("[tracing]\nservice_name = \"\"", Err("tracing.service_name: set it to 1 to 255"));
        check("[tracing]\notlp = \"c:4317\"", Err("no URL of a collector: give http://host:4318"));
        check("[retention]\nholds_ms = 5", Err("retention.holds_ms = 5 is out of range"));
    }
}
