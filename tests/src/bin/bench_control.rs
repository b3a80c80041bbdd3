//! Benchmarks of the loop between the service and its edges; `make bench-control` runs them.

use cartgate_tests::bench::arguments::Arguments;
use cartgate_tests::bench::control;
use clap::Parser;

/// How soon edges hear what the service knows, and the service what edges are asked for, with four real
/// Envoys. Ends in a panic if a figure cannot be trusted; figures that miss their targets are told, and are
/// no failure.
#[derive(Debug, Parser)]
#[command(name = "bench_control", max_term_width = 100)]
struct Options {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Options { arguments } = Options::parse();
    let mut run = arguments.begin();
    control::measure(&mut run).await;
    arguments.finish(&run, "control", false)
}
