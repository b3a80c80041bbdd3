//! The service behind the edge.

use std::fmt;

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
    /// What opens the service for reports, of scope `edge`: sent as `authorization: Bearer`. Left out: the
    /// service knows its edges by the mesh, or lets everybody in.
    #[serde(default)]
    token: Option<Token>,
}

impl Service {
    /// The name of its cluster in Envoy's configuration.
    pub fn cluster(&self) -> &str {
        &self.cluster.0
    }

    /// What opens the service for reports.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| &*token.0)
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

/// A secret: not for logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("minLength" = 1, "maxLength" = Token::LEN_MAX, "pattern" = "^[!-~]+$")))]
#[serde(try_from = "String")]
struct Token(Box<str>);

impl Token {
    /// The longest, in bytes.
    const LEN_MAX: usize = 4_096;
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(token: String) -> Result<Self, Self::Error> {
        let is_sent_as_it_is = token.bytes().all(|byte| byte.is_ascii_graphic());
        match token.len() {
            1..=Self::LEN_MAX if is_sent_as_it_is => Ok(Self(token.into())),
            _ => Err("must be a token, 1 to 4096 signs of ASCII without spaces"),
        }
    }
}
