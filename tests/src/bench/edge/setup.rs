//! What Envoy runs in each measurement: our filter, others' filters, or none.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::EnvoyConfig;
use crate::filter::{self, SLOW};
use crate::process::StartError;
use crate::ratelimit::RatelimitService;

/// A limit that no benchmark reaches.
const NEVER: u32 = 1_000_000;

/// What limits requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// Nothing.
    None,
    /// Nothing, by a filter in wasm that does nothing.
    Idle,
    /// Nothing, by a filter in wasm that has the headers copied to it.
    Reading,
    /// Our filter, and no limit is reached.
    Ours,
    /// Our filter, and the limit is always reached.
    OursDenies,
    /// Envoy's own filter that counts in the process, by header.
    Local,
    /// Envoy's filter that asks envoyproxy/ratelimit, which counts in Redis.
    Global,
    /// Envoy answers 429 by itself, without a filter: nothing that denies can be quicker.
    DirectResponse,
}

impl Setup {
    /// All of them.
    pub(super) const ALL: [Self; 8] = [
        Self::None,
        Self::Idle,
        Self::Reading,
        Self::Ours,
        Self::OursDenies,
        Self::Local,
        Self::Global,
        Self::DirectResponse,
    ];

    /// Envoy's configuration: the one that we ship, but that every path is passed on, and that no
    /// access log is written. `None` where `ratelimit` is needed and not there. What stands in for
    /// our filter is put into `dir`.
    ///
    /// # Errors
    /// The shipped one cannot be read, or nothing can be put there.
    pub(super) fn config(
        self,
        upstream: SocketAddr,
        ratelimit: Option<&RatelimitService>,
        dir: &Path,
    ) -> Result<Option<EnvoyConfig>, StartError> {
        let shipped = EnvoyConfig::shipped()?.route_everything().upstream(upstream);
        let shipped = shipped.set("access_log", &json!([]));
        Ok(Some(match self {
            Self::None => shipped.without_filter(),
            Self::Idle => shipped.stand_in(&module(dir, "idle", include_str!("idle.wat"))?),
            Self::Reading => {
                shipped.stand_in(&module(dir, "reading", include_str!("reading.wat"))?)
            }
            Self::Ours => shipped.filter_configuration(&filter::configuration((NEVER, NEVER), &[])),
            Self::OursDenies => shipped.filter_configuration(&filter::configuration(SLOW, &[])),
            Self::Local => shipped.without_filter().insert_before_router(&local()),
            Self::Global => return Ok(ratelimit.map(|service| service.asked_by(shipped))),
            Self::DirectResponse => shipped.without_filter().answer_everything(429),
        }))
    }
}

/// Assembles a module, and says where it is.
fn module(dir: &Path, name: &str, text: &str) -> Result<PathBuf, StartError> {
    let path = dir.join(name).with_extension("wasm");
    let written = wat::parse_str(text)
        .map_err(|error| error.to_string())
        .and_then(|module| fs::write(&path, module).map_err(|error| error.to_string()));
    match written {
        Ok(()) => Ok(path),
        Err(reason) => Err(StartError::Config { path, reason }),
    }
}

fn by_header() -> Value {
    json!([{ "actions": [
        { "request_headers": { "header_name": "x-sku", "descriptor_key": "sku" } },
    ] }])
}

fn local() -> Value {
    let bucket = json!({ "max_tokens": NEVER, "tokens_per_fill": NEVER, "fill_interval": "1s" });
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/\
                envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "local",
            "token_bucket": bucket,
            "filter_enabled": always,
            "filter_enforced": always,
            "rate_limits": by_header(),
            // An entry without a value: any SKU, each with a bucket of its own.
            "descriptors": [{ "entries": [{ "key": "sku" }], "token_bucket": bucket }],
            "max_dynamic_descriptors": 20_000,
        },
    })
}
