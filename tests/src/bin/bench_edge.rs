//! Benchmarks of the filter in Envoy; `make bench-edge` runs them.

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
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Options { arguments } = Options::parse();
    let mut run = arguments.begin();
    edge::measure(&mut run).await;
    arguments.finish(&run, "edge", false)
}
