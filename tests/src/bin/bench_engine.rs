//! Benchmarks of the engine, beside the conventional way; `make bench-engine` runs them.

use std::path::PathBuf;

use cartgate_tests::bench::arguments::Arguments;
use cartgate_tests::bench::engine::Lanes;
use cartgate_tests::bench::{durability, engine, flood, http, latency, memory, recovery};
use clap::{Parser, ValueEnum};

/// Benchmarks of the engine, beside the conventional way. Ends in a panic if a figure cannot be
/// trusted; figures that miss their targets are told, and are no failure.
#[derive(Debug, Parser)]
#[command(name = "bench_engine", max_term_width = 100)]
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
    Durability,
    Http,
    Latency,
    Memory,
    Flood,
    Engine,
    Recovery,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Options { only, lanes, arguments } = Options::parse();
    let (mut run, lanes) = (arguments.begin(), Lanes(lanes));
    let wants = |what| only.is_empty() || only.contains(&what);
    // Latency is compared with a write of as many bytes as the trace has seen.
    if wants(What::Durability) || wants(What::Latency) {
        durability::measure(&mut run).await;
    }
    if wants(What::Latency) {
        latency::measure(&mut run).await;
    }
    if wants(What::Http) {
        http::measure(&mut run).await;
    }
    if wants(What::Flood) {
        flood::measure(&mut run).await;
    }
    if wants(What::Memory) {
        memory::measure(&mut run).await;
    }
    if wants(What::Engine) {
        engine::measure(&mut run, &lanes).await;
    }
    if wants(What::Recovery) {
        recovery::measure(&mut run, &lanes).await;
    }
    arguments.finish(&run, "engine", !only.is_empty())
}
