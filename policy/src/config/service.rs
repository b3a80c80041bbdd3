//! The service behind the edge.

use serde::Deserialize;

use super::numbers::TimeoutMs;

/// The service that an edge reports to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("minLength" = 1, "maxLength" = ClusterName::LEN_MAX)))]
#[serde(try_from = "String")]
struct ClusterName(Box<str>);

impl ClusterName {
    /// The longest name, in bytes.
    const LEN_MAX: usize = 255;
}

impl TryFrom<String> for ClusterName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        match name.len() {
            1..=Self::LEN_MAX => Ok(Self(name.into())),
            _ => Err("must be the name of a cluster, 1 to 255 bytes"),
        }
    }
}
