//! Benchmarks of the filter in Envoy; `make bench-edge` and `make bench-edge-memory` run them.

use cartgate_tests::bench::arguments::Arguments;
use cartgate_tests::bench::edge;
use clap::Parser;

/// Benchmarks of the filter in Envoy, beside Envoy without it and with what limits elsewhere. Ends in a
/// panic if a figure cannot be trusted; figures that miss their targets are told, and are no failure.
#[derive(Debug, Parser)]
#[command(name = "bench_edge", max_term_width = 100)]
struct Options {
    #[command(flatten)]
    arguments: Arguments,

    /// Measure what a flood of invented SKUs does to Envoy's memory, instead of what requests cost
    #[arg(long)]
    memory: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Options { arguments, memory } = Options::parse();
    let mut run = arguments.begin();
    if memory {
        edge::measure_memory(&mut run).await;
        arguments.finish(&run, "edge-memory", false)
    } else {
        edge::measure(&mut run).await;
        arguments.finish(&run, "edge", false)
    }
}
