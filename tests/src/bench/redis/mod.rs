//! Benchmarks of the engine on Redis, beside what one would write without it (`make bench-redis`).
//!
//! Every server is one of its own, with the configuration that we ship (`appendfsync always`), and
//! starts empty. Whatever is compared takes turns: a round of each, then the next.

pub mod engine;
pub mod http;
pub mod lua;
pub mod takeover;
pub mod work;

use std::path::Path;

use crate::redis::{Redis, RedisOptions};

use super::run::Run;

/// The log is not rewritten meanwhile: whoever that hits would be slower for no fault of its own.
const SETTINGS: &str = "auto-aof-rewrite-percentage 0";

/// Starts an empty server on the servers' cores.
///
/// # Panics
/// It does not start.
pub async fn server(run: &Run, dir: &Path) -> Redis {
    let options = RedisOptions::new(dir).settings(SETTINGS);
    run.cores.for_server(Redis::start(&options)).await.expect("a Redis")
}
