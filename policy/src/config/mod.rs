//! The filter's configuration.
//!
//! It is JSON, and strict: an unknown or misspelt field, a value out of range or two parts that
//! contradict each other make the whole configuration invalid, with a message that names the field.
//! An edge must never run on less than what was written down. `filter/CONFIGURATION.md` explains each
//! field; the comments here are what its JSON Schema says.

mod check;
mod error;
mod limits;
mod numbers;
#[cfg(feature = "schema")]
mod schema;
mod service;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::answer::Answers;
use crate::document;
use crate::extract::{Head, Route};
use crate::object::{Object, object, objects, optional_object};
use crate::{Sku, SkuForm};

pub use error::ConfigError;
pub use limits::{ClientLimit, Rule};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use service::Service;

use limits::{Slots, limits};
use numbers::BodyBytes;

/// What the filter is told when it starts. `envoy/envoy.yaml` shows one in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A number that tells this configuration from others, shown as `cartgate_config_version`.
    #[serde(default)]
    version: u64,
    /// How requests wait for the verdict on their body.
    #[serde(default)]
    body_mode: BodyMode,
    /// The largest body that is read, in bytes: 1 to 1 MiB. Larger ones have the failure mode `oversize`, on
    /// routes that need the body. Envoy's own buffer limit must be above it.
    #[serde(default)]
    body_bytes_max: BodyBytes,
    /// The limit of each SKU that is not listed in `limits`.
    #[serde(deserialize_with = "object")]
    default_limit: Rule,
    /// Limits of single SKUs, by SKU. A SKU may be listed, and a limit changed, at any time: what
    /// the SKU owes by then stays owed. Taking a SKU off the list forgets what it owes, and so does
    /// listing it a second time: its burst may be admitted once more.
    #[serde(default, deserialize_with = "limits")]
    limits: BTreeMap<Sku, Rule>,
    /// The table for SKUs that are not listed in `limits`.
    #[serde(default, deserialize_with = "object")]
    slots: Slots,
    /// What one client may take of a SKU: at most four such limits, each by another
    /// source. Each must admit a request, and so must its SKU's.
    #[serde(default, deserialize_with = "objects")]
    #[cfg_attr(feature = "schema", schemars(length(max = Config::CLIENT_LIMITS_MAX)))]
    client_limits: Vec<ClientLimit>,
    /// The service that the edge reports to, and hears of hot items from. Left out: the edge knows of none.
    #[serde(default, deserialize_with = "optional_object")]
    #[cfg_attr(feature = "schema", schemars(with = "Service"))]
    service: Option<Service>,
    /// How the shop spells its SKUs. The service must be given the same.
    #[serde(default, deserialize_with = "object")]
    sku: SkuForm,
    /// What is said to whom is refused.
    #[serde(default, deserialize_with = "object")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::answer::RawAnswers"))]
    answers: Answers,
    /// Whether verdict and lines of each limited request are left for Envoy's access log, as the filter states
    /// `wasm.cartgate_verdict` and `wasm.cartgate_lines`.
    #[serde(default)]
    access_log: bool,
    /// Whether the service is told them, in the headers `x-cartgate-verdict` and `x-cartgate-lines`. From
    /// clients these are taken away in any case, on every route.
    #[serde(default)]
    upstream_headers: bool,
    /// The requests that are limited. Of several that match, the first counts; what none matches
    /// passes.
    #[serde(deserialize_with = "objects")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
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
        config.check()?;
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

    /// A number that tells this configuration from others.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How requests wait for the verdict on their body.
    pub fn body_mode(&self) -> BodyMode {
        self.body_mode
    }

    /// How the shop spells its SKUs.
    pub fn sku(&self) -> &SkuForm {
        &self.sku
    }

    /// What is said to whom is refused.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Whether Envoy's access log is given verdicts and lines.
    pub fn access_log(&self) -> bool {
        self.access_log
    }

    /// Whether the service is told verdicts and lines.
    pub fn upstream_headers(&self) -> bool {
        self.upstream_headers
    }

    /// The limit that the configuration gives this very SKU.
    pub fn limit_of(&self, sku: &Sku) -> Option<Rule> {
        self.limits.get(sku).copied()
    }

    /// The limit of each other SKU.
    pub fn default_limit(&self) -> Rule {
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
}

/// How requests wait for the verdict on their body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BodyMode {
    /// Nothing of a request reaches the service before the verdict. Needs
    /// `allow_on_headers_stop_iteration: true` in the Envoy configuration of the filter (Envoy 1.35
    /// or later): without it such requests hang.
    #[default]
    Strict,
    /// A request's head reaches the service at once, its body when it is admitted. Of a request that is refused
    /// the service sees a head, and then that the connection, or the stream, was cut. For where Envoy's flag
    /// cannot be set, as with Istio's WasmPlugin and TrafficExtension.
    Compat,
}

#[cfg(test)]
mod tests;
