//! Benchmarks of the engine on Redis; `make bench-redis` runs them.

use std::path::PathBuf;

use cartgate_tests::bench::arguments::Arguments;
use cartgate_tests::bench::engine::Lanes;
use cartgate_tests::bench::redis::{engine, http, takeover};
use clap::{Parser, ValueEnum};

/// Benchmarks of the engine on Redis, beside one script a reservation and the embedded store. Ends in
/// a panic if a figure cannot be trusted; figures that miss their targets are told, and are no failure.
#[derive(Debug, Parser)]
#[command(name = "bench_redis", max_term_width = 100)]
struct Options {
    /// Only this measurement; may be given more than once
    #[arg(long, value_enum)]
    only: Vec<What>,

    /// The program that cargo makes of backend/benches/lanes.rs
    #[arg(long)]
    lanes: PathBuf,

    #[command(flatten)]
    arguments: Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Engine,
    Http,
    Takeover,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Options { only, lanes, arguments } = Options::parse();
    let (mut run, lanes) = (arguments.begin(), Lanes(lanes));
    let wants = |what| only.is_empty() || only.contains(&what);
    if wants(What::Engine) {
        engine::measure(&mut run, &lanes).await;
    }
    if wants(What::Http) {
        http::measure(&mut run).await;
    }
    if wants(What::Takeover) {
        takeover::measure(&mut run).await;
    }
    arguments.finish(&run, "redis", !only.is_empty())
}
