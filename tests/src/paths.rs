//! Where the built parts are.

use std::env;
use std::path::{Path, PathBuf};

use crate::process::StartError;

/// The repository's root. Envoy runs here, since its configuration names the filter relative to it.
pub fn repo_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Envoy: `$ENVOY`, else what `envoy/fetch.sh` fetched.
///
/// # Errors
/// There is none.
pub fn envoy() -> Result<PathBuf, StartError> {
    built("Envoy", env_or("ENVOY", || repo_root().join(".tools/envoy")))
}

/// The filter module: `$CARTGATE_FILTER`, else what `filter/build.sh` built.
///
/// # Errors
/// There is none.
pub fn filter_module() -> Result<PathBuf, StartError> {
    let path = env_or("CARTGATE_FILTER", || repo_root().join("target/cartgate_filter.wasm"));
    built("filter module", path)
}

/// The filter's module that crashes on a request with the header `x-cartgate-crash`.
///
/// # Errors
/// There is none.
pub fn crashing_filter_module() -> Result<PathBuf, StartError> {
    built("crashing filter module", repo_root().join("target/cartgate_filter_crash.wasm"))
}

/// The service: `$CARTGATE`, else the binary built along with this one.
///
/// # Errors
/// There is none.
pub fn service() -> Result<PathBuf, StartError> {
    built("cartgate binary", env_or("CARTGATE", || profile_dir().join("cartgate")))
}

/// Redis: `$REDIS_SERVER`, which may be another version or Valkey, else what the system has.
///
/// # Errors
/// There is none.
pub fn redis_server() -> Result<PathBuf, StartError> {
    let on_path = || {
        let dirs = env::var_os("PATH").unwrap_or_default();
        let mut programs = env::split_paths(&dirs).map(|dir| dir.join("redis-server"));
        programs.find(|program| program.is_file()).unwrap_or_else(|| "redis-server".into())
    };
    built("Redis (apt-get install redis-server)", env_or("REDIS_SERVER", on_path))
}

/// envoyproxy/ratelimit: `$RATELIMIT`, else what `tests/go/build.sh` built.
///
/// # Errors
/// There is none.
pub fn ratelimit() -> Result<PathBuf, StartError> {
    let path = env_or("RATELIMIT", || repo_root().join(".tools/ratelimit/service_cmd"));
    built("envoyproxy/ratelimit (make ratelimit)", path)
}

/// A part of Istio: `$ISTIO/NAME`, else of the newest that `make test-istio` builds.
///
/// # Errors
/// There is none.
pub fn istio(name: &str) -> Result<PathBuf, StartError> {
    let dir = env_or("ISTIO", || repo_root().join(".tools/istio-1.31"));
    built("part of Istio (make test-istio)", dir.join(name))
}

/// The configuration of Redis that we ship.
pub fn redis_config() -> PathBuf {
    repo_root().join("redis/redis.conf")
}

/// The conventional way, which the benchmarks compare with.
///
/// # Errors
/// There is none.
pub fn conventional() -> Result<PathBuf, StartError> {
    built("conventional server", profile_dir().join("conventional"))
}

/// The program that keeps the engine busy without HTTP, and kills itself.
///
/// # Errors
/// There is none.
pub fn lanes() -> Result<PathBuf, StartError> {
    built("lanes", profile_dir().join("lanes"))
}

/// `target/<profile>`: binaries live in it, test executables in `deps/` below it.
fn profile_dir() -> PathBuf {
    let executable = env::current_exe().unwrap_or_default();
    let dir = executable.parent().unwrap_or(Path::new("."));
    let above = dir.parent().filter(|_| dir.ends_with("deps"));
    above.unwrap_or(dir).to_path_buf()
}

fn env_or(variable: &str, default: impl FnOnce() -> PathBuf) -> PathBuf {
    env::var_os(variable).filter(|v| !v.is_empty()).map_or_else(default, PathBuf::from)
}

fn built(what: &'static str, path: PathBuf) -> Result<PathBuf, StartError> {
    if path.is_file() { Ok(path) } else { Err(StartError::NotBuilt { what, path }) }
}
