//! Benchmarks of the engine, beside the conventional way; `make bench-engine` runs them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cartgate_tests::bench::cores::Cores;
use cartgate_tests::bench::engine::Lanes;
use cartgate_tests::bench::run::{Extent, Run};
use cartgate_tests::bench::{
    durability, engine, flood, http, latency, machine, memory, recovery, table,
};
use cartgate_tests::paths::repo_root;
use clap::{Parser, ValueEnum};
use jiff::Zoned;

/// Benchmarks of the engine, beside the conventional way. Ends in a panic if a figure cannot be
/// trusted; figures that miss their targets are told, and are no failure.
#[derive(Debug, Parser)]
#[command(name = "bench_engine", max_term_width = 100)]
struct Arguments {
    /// Seconds that each phase lasts [default: 5, or 1 with --smoke]
    #[arg(long)]
    seconds: Option<f64>,

    /// Only this measurement; may be given more than once
    #[arg(long, value_enum)]
    only: Vec<What>,

    /// Only show that everything works: short and small, and no target is judged
    #[arg(long)]
    smoke: bool,

    /// The program that cargo makes of backend/benches/lanes.rs
    #[arg(long)]
    lanes: PathBuf,

    /// Keep servers off the load generator's core
    #[arg(long)]
    apart: bool,

    /// Where stores and databases are put while it runs: on a disk
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,

    /// Where to write the figures as JSON [default: target/bench/engine.json, of a whole run]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What others may use of the CPU, in per cent, before they are felt.
const OTHERS_MAX: f64 = 5.0;

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
    let arguments = Arguments::parse();
    let began = Instant::now();
    let lanes = Lanes(arguments.lanes.clone());
    let cores = Cores::divide(!arguments.apart);
    let mut run = Run::new(arguments.extent(), cores, &arguments.dir);
    let wants = |what| arguments.wants(what);
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
    println!("{}", machine::describe());
    println!("{}; {}", run.cores.describe(), Zoned::now().date());
    let others = 100.0 * run.others_cpu();
    let doubt = if others > OTHERS_MAX { ": TOO MUCH to trust these figures" } else { "" };
    println!("others used {others:.0} % of the CPU meanwhile{doubt}");
    println!("{}", table::render(&run.figures, !arguments.smoke));
    println!("{:.0} s in all", began.elapsed().as_secs_f64());
    arguments.out().map_or(Ok(()), |path| run.figures.write(&path))
}

impl Arguments {
    fn wants(&self, what: What) -> bool {
        self.only.is_empty() || self.only.contains(&what)
    }

    fn extent(&self) -> Extent {
        let seconds = self.seconds.unwrap_or(if self.smoke { 1.0 } else { 5.0 });
        Extent {
            phase: Duration::from_secs_f64(seconds),
            rounds: if self.smoke { 1 } else { 3 },
            is_smoke: self.smoke,
        }
    }

    /// Part of a run, or a short one, does not replace the figures of a whole one.
    fn out(&self) -> Option<PathBuf> {
        let is_whole = self.only.is_empty() && !self.smoke;
        let default = || is_whole.then(|| repo_root().join("target/bench/engine.json"));
        self.out.clone().or_else(default)
    }
}
