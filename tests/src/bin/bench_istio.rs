//! Benchmark of a mesh's gateway; `make bench-istio` runs it.

use cartgate_tests::bench::arguments::Arguments;
use cartgate_tests::bench::istio;
use clap::Parser;

/// What a limit per product costs at a gateway that a real istiod has configured: by our filter, and by Envoy's
/// global rate limit. Ends in a panic if a figure cannot be trusted.
#[derive(Debug, Parser)]
#[command(name = "bench_istio", max_term_width = 100)]
struct Options {
    #[command(flatten)]
    arguments: Arguments,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Options { arguments } = Options::parse();
    let mut run = arguments.begin();
    istio::measure(&mut run).await;
    arguments.finish(&run, "istio", false)
}
