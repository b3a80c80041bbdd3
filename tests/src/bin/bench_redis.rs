//! Benchmarks of the engine on Redis; `make bench-redis` runs them.

use cartgate_tests::bench::arguments::Arguments;
use cartgate_tests::bench::redis::lua::{self, PIPELINED, UNPIPELINED};
use cartgate_tests::bench::statistics::Series;
use clap::Parser;

/// Benchmarks of the engine on Redis, beside one script a reservation. Ends in a panic if a figure
/// cannot be trusted; figures that miss their targets are told, and are no failure.
#[derive(Debug, Parser)]
#[command(name = "bench_redis", max_term_width = 100)]
struct Options {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Options { arguments } = Options::parse();
    let (mut run, mut series) = (arguments.begin(), Series::default());
    for round in 1..=run.extent.rounds {
        for way in [UNPIPELINED, PIPELINED] {
            lua::round(&run, &mut series, way, round).await;
        }
    }
    for way in [UNPIPELINED, PIPELINED] {
        lua::report(&mut run, &series, way);
    }
    arguments.finish(&run, "redis", false)
}
