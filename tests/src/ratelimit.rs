//! What is usual for limits of a fleet: Envoy's `ratelimit` filter, which asks envoyproxy/ratelimit
//! about every request, which counts in Redis. Benchmarks compare with it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::envoy::{self, EnvoyConfig};
use crate::process::{Process, StartError};
use crate::redis::Redis;
use crate::{client, paths, ports};

/// The settings of a Redis that counts for it: counts of a second need not outlive their server, and
/// to sync them would only make it slower.
pub const REDIS_SETTINGS: &str = "appendonly no\nsave \"\"";

/// Units per second of each SKU that nobody reaches.
const NEVER: u32 = 1_000_000;

const DOMAIN: &str = "cartgate";

/// The name of the cluster that is it.
const CLUSTER: &str = "ratelimit";

/// A running envoyproxy/ratelimit, which limits by the header `x-sku`, with a count for each value.
#[derive(Debug)]
pub struct RatelimitService {
    /// The process, to measure or stop.
    pub process: Process,
    grpc: SocketAddr,
}

impl RatelimitService {
    /// Starts it, with its files below `dir`, and waits until it takes calls. It counts in `redis`,
    /// which [`REDIS_SETTINGS`] are fair for.
    ///
    /// # Errors
    /// It is not built (`make ratelimit`), or does not become ready.
    pub async fn start(dir: &Path, redis: &Redis) -> Result<Self, StartError> {
        Self::start_with(dir, redis, NEVER).await
    }

    /// The same, with so many requests per second of each SKU.
    ///
    /// # Errors
    /// As [`RatelimitService::start`].
    pub async fn start_with(
        dir: &Path,
        redis: &Redis,
        per_second: u32,
    ) -> Result<Self, StartError> {
        let [grpc, http, debug] = [(); 3].map(|()| ports::free_address());
        let limits = dir.join("runtime/config/cartgate.yaml");
        fs::create_dir_all(dir.join("runtime/config"))
            .and_then(|()| fs::write(&limits, configuration(per_second).to_string()))
            .map_err(|e| StartError::Config { path: limits.clone(), reason: e.to_string() })?;

        let mut command = Command::new(paths::ratelimit()?);
        // What else is in the environment (HOST, PORT, REDIS_AUTH, ...) would be its settings, too.
        command.env_clear().envs([
            ("RUNTIME_ROOT", dir.join("runtime").display().to_string()),
            ("RUNTIME_WATCH_ROOT", "false".to_owned()),
            ("BACKEND_TYPE", "redis".to_owned()),
            ("REDIS_TYPE", "single".to_owned()),
            ("REDIS_SOCKET_TYPE", "tcp".to_owned()),
            // Its other settings of Redis stay as they are: more or fewer connections than its ten made
            // no difference, and REDIS_PIPELINE_WINDOW has none without a cluster.
            ("REDIS_URL", redis.address().to_string()),
            // It logs no request, and tells nobody its statistics.
            ("LOG_LEVEL", "error".to_owned()),
            ("USE_STATSD", "false".to_owned()),
            ("DISABLE_STATS", "true".to_owned()),
        ]);
        for (prefix, address) in [("GRPC_", grpc), ("", http), ("DEBUG_", debug)] {
            command.env(format!("{prefix}HOST"), address.ip().to_string());
            command.env(format!("{prefix}PORT"), address.port().to_string());
        }
        let log = dir.join("log/ratelimit.log");
        let mut process = Process::spawn("envoyproxy/ratelimit", command, &log, None)?;
        let client = client::http();
        let ready = || async {
            // It has read its limits before it listens, and listens for calls by itself.
            let health = client.get(format!("http://{http}/healthcheck")).send().await.ok()?;
            TcpStream::connect(grpc).await.ok()?;
            health.status().is_success().then_some(())
        };
        process.until_ready(ready).await?;
        Ok(Self { process, grpc })
    }

    /// Where it takes calls.
    pub fn address(&self) -> SocketAddr {
        self.grpc
    }

    /// Has Envoy ask it about every request, in place of our filter.
    pub fn asked_by(&self, config: EnvoyConfig) -> EnvoyConfig {
        config.without_filter().insert_before_router(&filter()).add_cluster(&self.cluster())
    }

    fn cluster(&self) -> Value {
        let endpoint = json!({ "address": { "socket_address": envoy::socket_address(self.grpc) } });
        json!({
            "name": CLUSTER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": endpoint }] }],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/\
                        envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            },
        })
    }
}

/// Which limits there are. It reads YAML, and so JSON.
fn configuration(per_second: u32) -> Value {
    json!({
        "domain": DOMAIN,
        // A key without a value: any SKU, each with a count of its own.
        "descriptors": [{
            "key": "sku",
            "rate_limit": { "unit": "second", "requests_per_unit": per_second },
        }],
    })
}

fn filter() -> Value {
    json!({
        "name": "envoy.filters.http.ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            "domain": DOMAIN,
            "rate_limits": [{ "actions": [
                { "request_headers": { "header_name": "x-sku", "descriptor_key": "sku" } },
            ] }],
            "rate_limit_service": {
                "grpc_service": { "envoy_grpc": { "cluster_name": CLUSTER } },
                "transport_api_version": "V3",
            },
            // A request that was not counted is an error that one sees, not a quick success. Envoy's
            // own 20 ms would give up on many on a busy machine.
            "failure_mode_deny": true,
            "timeout": "1s",
        },
    })
}
