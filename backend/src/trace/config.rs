//! What an operator can set of traces.

use std::fmt;
use std::str::FromStr;

use axum::http::uri::{Scheme, Uri};
use serde::Deserialize;
use thiserror::Error;

use crate::config::ConfigError;

/// Where traces go, and which.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracingConfig {
    /// The URL of a collector that takes OTLP over HTTP, such as `http://collector:4318`; `https://` for TLS.
    /// Left out: no spans are recorded. What it wants to see as headers, a token for example, is in
    /// `OTEL_EXPORTER_OTLP_HEADERS`, and what is to be told of this process in `OTEL_RESOURCE_ATTRIBUTES`,
    /// as OpenTelemetry has these.
    pub otlp: Option<OtlpUrl>,
    /// The fraction of requests that are sampled, of those whose callers have not decided that. 0 to 1.
    pub sample: f64,
    /// Whether what a caller has decided counts. If not, requests of callers that have one are sampled as
    /// all others are, in the callers' traces.
    pub trust_parent: bool,
    /// What spans are told to come from. 1 to 255 characters.
    pub service_name: String,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self { otlp: None, sample: 0.01, trust_parent: true, service_name: "cartgate".into() }
    }
}

impl TracingConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(ConfigError::Sample { value: self.sample });
        }
        if !(1..=255).contains(&self.service_name.chars().count()) {
            return Err(ConfigError::ServiceName);
        }
        Ok(())
    }
}

/// Where spans are sent to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OtlpUrl {
    url: String,
    is_tls: bool,
}

impl OtlpUrl {
    /// Whether they are sent by TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The collector's endpoint for spans.
    pub(crate) fn traces(&self) -> String {
        format!("{}/v1/traces", self.url)
    }
}

impl fmt::Display for OtlpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl TryFrom<String> for OtlpUrl {
    type Error = OtlpUrlError;

    fn try_from(raw: String) -> Result<Self, OtlpUrlError> {
        raw.parse()
    }
}

impl FromStr for OtlpUrl {
    type Err = OtlpUrlError;

    fn from_str(raw: &str) -> Result<Self, OtlpUrlError> {
        let url: Uri = raw.parse().map_err(|_| OtlpUrlError)?;
        let authority = url.authority().ok_or(OtlpUrlError)?;
        let is_tls = url.scheme() == Some(&Scheme::HTTPS);
        let is_http = is_tls || url.scheme() == Some(&Scheme::HTTP);
        let has_more = url.query().is_some() || authority.as_str().contains('@');
        if !is_http || has_more || authority.host().is_empty() {
            return Err(OtlpUrlError);
        }
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1/traces").unwrap_or(path);
        let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
        Ok(Self { url: format!("{scheme}://{authority}{path}"), is_tls })
    }
}

/// A text is no URL of a collector. It is not shown: it may have a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "no URL of a collector: give http://host:4318 or https://host:4318, where OTLP over HTTP is \
     taken, without user, password and query; headers go into OTEL_EXPORTER_OTLP_HEADERS"
)]
pub struct OtlpUrlError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_by_its_url() {
        for (raw, traces) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
            ("https://[::1]/otlp", "https://[::1]/otlp/v1/traces"),
        ] {
            let url: OtlpUrl = raw.parse().unwrap();
            assert_eq!((url.traces(), url.is_tls()), (traces.to_owned(), raw.contains("https")));
        }
        for wrong in [
            "",
            "collector:4318",
            "/v1",
            "grpc://collector:4317",
            "http://a:b@c",
            "http://c/?key=x",
        ] {
            assert_eq!(wrong.parse::<OtlpUrl>(), Err(OtlpUrlError), "{wrong}");
        }
    }
}
