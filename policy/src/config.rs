//! The filter's configuration.
//!
//! It is JSON, and strict: an unknown or misspelt field, a value out of range or two parts that
//! contradict each other make the whole configuration invalid, with a message that names the field.
//! An edge must never run on less than what was written down.

mod object;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::error::Error as _;
use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Sku;
use crate::client::ClientSource;
use crate::document;
use crate::extract::{Head, Route, Source};
use crate::gcra::Limit;

use object::{Object, object, objects, optional_object};

/// What the filter is told when it starts. `envoy/envoy.yaml` shows one in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How requests wait for the verdict on their body.
    #[serde(default)]
    body_mode: BodyMode,
    /// The largest body that is read, in bytes: 1 to 1 MiB. Larger ones are refused, on routes that
    /// need the body. Envoy's own buffer limit must be above it.
    #[serde(default)]
    body_bytes_max: BodyBytes,
    /// The limit of each SKU that is not listed in `limits`.
    #[serde(deserialize_with = "object")]
    default_limit: Limit,
    /// Limits of single SKUs, by SKU. A SKU may be listed, and a limit changed, at any time: what
    /// the SKU owes by then stays owed. Taking a SKU off the list forgets what it owes, and so does
    /// listing it a second time: its burst may be admitted once more.
    #[serde(default, deserialize_with = "limits")]
    limits: BTreeMap<Sku, Limit>,
    /// The table for SKUs that are not listed in `limits`.
    #[serde(default, deserialize_with = "object")]
    slots: Slots,
    /// What one client may take of a SKU: at most [`Config::CLIENT_LIMITS_MAX`] such limits, each by
    /// another source. Each must admit a request, and so must its SKU's.
    #[serde(default, deserialize_with = "objects")]
    client_limits: Vec<ClientLimit>,
    /// The service that the edge reports to, and hears of hot items from. Left out: the edge knows of none.
    #[serde(default, deserialize_with = "optional_object")]
    service: Option<Service>,
    /// The requests that are limited. Of several that match, the first counts; what none matches
    /// passes.
    #[serde(deserialize_with = "objects")]
    routes: Vec<Rc<Route>>,
}

impl Config {
    /// The largest number of `client_limits`: each is one more state to look at for every request.
    pub const CLIENT_LIMITS_MAX: usize = 4;

    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Names the first field that is wrong, and what would be right.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let json = document::parse_json(json).map_err(|error| {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            ConfigError::at(
                "",
                format!("not a JSON object in a google.protobuf.StringValue: {reason}"),
            )
        })?;
        let Object(config) =
            serde_path_to_error::deserialize::<_, Object<Self>>(json).map_err(|error| {
                ConfigError::at(error.path().to_string(), error.inner().to_string())
            })?;
        config.check_client_limits()?;
        config.check_routes()?;
        Ok(config)
    }

    /// The route that is for this request, `None` if the request is not limited.
    pub fn route(&self, head: &Head<'_>) -> Option<&Rc<Route>> {
        self.routes.iter().find(|route| route.matches(head))
    }

    /// All routes.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(Rc::as_ref)
    }

    /// The limit that the configuration gives this very SKU.
    pub fn limit_of(&self, sku: &Sku) -> Option<Limit> {
        self.limits.get(sku).copied()
    }

    /// The limit of each other SKU.
    pub fn default_limit(&self) -> Limit {
        self.default_limit
    }

    /// The largest body that is read, in bytes.
    pub fn body_bytes_max(&self) -> usize {
        self.body_bytes_max.0
    }

    /// How many sets of slots the other SKUs share.
    pub fn slot_sets_count(&self) -> u32 {
        self.slots.sets_count.0
    }

    /// What one client may take of a SKU.
    pub fn client_limits(&self) -> &[ClientLimit] {
        &self.client_limits
    }

    /// The service that the edge reports to.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    fn check_client_limits(&self) -> Result<(), ConfigError> {
        if self.client_limits.len() > Self::CLIENT_LIMITS_MAX {
            let reason = format!("at most {} limits per client", Self::CLIENT_LIMITS_MAX);
            return Err(ConfigError::at("client_limits", reason));
        }
        for (n, limit) in self.client_limits.iter().enumerate() {
            let mut before = self.client_limits.iter().take(n);
            if before.any(|other| other.client == limit.client) {
                let field = format!("client_limits[{n}].client");
                return Err(ConfigError::at(field, "listed before: leave one out"));
            }
        }
        Ok(())
    }

    fn check_routes(&self) -> Result<(), ConfigError> {
        if self.routes.is_empty() {
            return Err(ConfigError::at("routes", "nothing is limited: give at least one route"));
        }
        for (n, route) in self.routes.iter().enumerate() {
            if route.sku.is_empty() {
                let reason = "no source: say where the SKU is, such as {\"json\": \"/sku\"}";
                return Err(ConfigError::at(format!("routes[{n}].sku"), reason));
            }
            check_sources(route, &route.sku, &format!("routes[{n}].sku"))?;
            check_sources(route, &route.quantity, &format!("routes[{n}].quantity"))?;
            if let Some(before) = self.routes.iter().take(n).position(|other| other.covers(route)) {
                let reason = format!(
                    "routes[{before}] comes first and takes each of its requests: swap or merge them"
                );
                return Err(ConfigError::at(format!("routes[{n}]"), reason));
            }
        }
        Ok(())
    }
}

fn check_sources(route: &Route, sources: &[Source], field: &str) -> Result<(), ConfigError> {
    for (n, source) in sources.iter().enumerate() {
        if let Source::Path(name) = source
            && !route.path.has(name.as_str())
        {
            let name = name.as_str();
            let reason =
                format!("the path {} has no {{{name}}}: name one of its segments", route.path);
            return Err(ConfigError::at(format!("{field}[{n}].path"), reason));
        }
        if sources.iter().take(n).any(|other| other == source) {
            return Err(ConfigError::at(format!("{field}[{n}]"), "listed before: leave it out"));
        }
    }
    Ok(())
}

impl Route {
    /// Whether each request of `other` is one of this route, too.
    fn covers(&self, other: &Self) -> bool {
        self.method == other.method && self.path.covers(&other.path)
    }
}

/// What each client may take of each SKU, as far as one source can tell clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientLimit {
    /// What tells one client from another.
    client: ClientSource,
    /// What each of them may take of each SKU.
    #[serde(deserialize_with = "object")]
    limit: Limit,
    /// The table for what they owe.
    #[serde(default, deserialize_with = "object")]
    slots: Slots,
}

impl ClientLimit {
    /// What tells one client from another.
    pub fn client(&self) -> &ClientSource {
        &self.client
    }

    /// What each of them may take of each SKU.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// How many sets of slots they share.
    pub fn slot_sets_count(&self) -> u32 {
        self.slots.sets_count.0
    }
}

/// The service that an edge reports to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The name of its cluster in Envoy's configuration. Several filters of one process that name the same
    /// cluster are one edge.
    cluster: ClusterName,
    /// How long a report may take, in milliseconds: 50 to 10000.
    #[serde(default)]
    timeout_ms: TimeoutMs,
}

impl Service {
    /// The name of its cluster in Envoy's configuration.
    pub fn cluster(&self) -> &str {
        &self.cluster.0
    }

    /// How long a report may take, in milliseconds.
    pub fn timeout_ms(&self) -> u32 {
        self.timeout_ms.0
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct ClusterName(Box<str>);

impl TryFrom<String> for ClusterName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.len() {
            1..=255 => Ok(Self(name.into())),
            _ => Err("must be the name of a cluster, 1 to 255 bytes"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
struct TimeoutMs(u32);

impl Default for TimeoutMs {
    fn default() -> Self {
        Self(1_000)
    }
}

impl TryFrom<u64> for TimeoutMs {
    type Error = RangeError;

    fn try_from(ms: u64) -> Result<Self, RangeError> {
        in_range(ms, 50..=10_000).map(Self)
    }
}

/// How requests wait for the verdict on their body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyMode {
    /// Nothing of a request reaches the service before the verdict. Needs
    /// `allow_on_headers_stop_iteration: true` in the Envoy configuration of the filter (Envoy 1.35
    /// or later): without it such requests hang.
    #[default]
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
struct BodyBytes(usize);

impl BodyBytes {
    /// The parsed form of a body can be sixty times as large (measured: 61 MiB for 1 MiB of
    /// `[{"":0},..]`), and is held for one verdict. A wasm module's memory never shrinks, so that
    /// each worker thread may keep that much for good.
    const MAX: usize = 1 << 20;
}

impl Default for BodyBytes {
    fn default() -> Self {
        Self(64 << 10)
    }
}

impl TryFrom<u64> for BodyBytes {
    type Error = RangeError;

    fn try_from(bytes: u64) -> Result<Self, RangeError> {
        in_range(bytes, 1..=Self::MAX).map(Self)
    }
}

/// The size of a slot table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slots {
    /// The number of sets, each for eight who owe something at the same time: 1 to 65536. A
    /// set takes up to 172 bytes, with its key and place about 280, in Envoy's memory and for good.
    /// Changing the number makes most of them start afresh.
    #[serde(default)]
    sets_count: SetsCount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
struct SetsCount(u32);

impl Default for SetsCount {
    /// 32768 SKUs at a time.
    fn default() -> Self {
        Self(4096)
    }
}

impl TryFrom<u64> for SetsCount {
    type Error = RangeError;

    fn try_from(count: u64) -> Result<Self, RangeError> {
        in_range(count, 1..=65_536).map(Self)
    }
}

fn in_range<T: TryFrom<u64> + PartialOrd + fmt::Display>(
    value: u64,
    range: RangeInclusive<T>,
) -> Result<T, RangeError> {
    match T::try_from(value) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let (min, max) = (range.start().to_string(), range.end().to_string());
            Err(RangeError { value, min, max })
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be a whole number from {min} to {max}, not {value}")]
struct RangeError {
    value: u64,
    min: String,
    max: String,
}

/// Reads `limits`, in which a SKU must not be listed twice in two spellings: the maps of serde
/// would keep the last.
fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Sku, Limit>, D::Error> {
    struct Limits;

    impl<'de> Visitor<'de> for Limits {
        type Value = BTreeMap<Sku, Limit>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map from SKU to limit")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut limits = BTreeMap::new();
            while let Some((raw, Object(limit))) = entries.next_entry::<String, Object<Limit>>()? {
                let sku = Sku::parse(&raw).map_err(|error| {
                    <A::Error as de::Error>::custom(format_args!("{raw:?}: {error}"))
                })?;
                match limits.entry(sku) {
                    Entry::Vacant(place) => place.insert(limit),
                    Entry::Occupied(place) => {
                        let sku = place.key();
                        let reason = format_args!("{sku} is there twice: leave one out");
                        return Err(<A::Error as de::Error>::custom(reason));
                    }
                };
            }
            Ok(limits)
        }
    }

    deserializer.deserialize_map(Limits)
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("configuration{}: {reason}", place(.field))]
pub struct ConfigError {
    /// Where: `routes[0].sku[1].json`; empty for the whole.
    field: String,
    reason: String,
}

impl ConfigError {
    fn at(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

fn place(field: &str) -> String {
    match field {
        // `serde_path_to_error` has a dot for the whole.
        "" | "." => String::new(),
        field => format!(" field {field}"),
    }
}

#[cfg(test)]
mod tests;
