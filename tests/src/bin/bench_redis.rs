//! Benchmarks of the engine on Redis; `make bench-redis` runs them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cartgate_tests::bench::cores::Cores;
use cartgate_tests::bench::redis::lua::{self, PIPELINED, UNPIPELINED};
use cartgate_tests::bench::run::{Extent, Run};
use cartgate_tests::bench::statistics::Series;
use cartgate_tests::bench::{machine, table};
use cartgate_tests::paths::repo_root;
use clap::Parser;
use jiff::Zoned;

/// Benchmarks of the engine on Redis, beside one script a reservation. Ends in a panic if a figure
/// cannot be trusted; figures that miss their targets are told, and are no failure.
#[derive(Debug, Parser)]
#[command(name = "bench_redis", max_term_width = 100)]
struct Arguments {
    /// Seconds that each phase lasts [default: 5, or 1 with --smoke]
    #[arg(long)]
    seconds: Option<f64>,

    /// Only show that everything works: short and small, and no target is judged
    #[arg(long)]
    smoke: bool,

    /// Keep servers off the load generator's core
    #[arg(long)]
    apart: bool,

    /// Where servers keep their data while it runs: on a disk
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,

    /// Where to write the figures as JSON [default: target/bench/redis.json, unless --smoke]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What others may use of the CPU, in per cent, before they are felt.
const OTHERS_MAX: f64 = 5.0;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let mut run = Run::new(arguments.extent(), Cores::divide(!arguments.apart), &arguments.dir);
    let mut series = Series::default();
    for round in 1..=run.extent.rounds {
        for way in [UNPIPELINED, PIPELINED] {
            lua::round(&run, &mut series, way, round).await;
        }
    }
    for way in [UNPIPELINED, PIPELINED] {
        lua::report(&mut run, &series, way);
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
    fn extent(&self) -> Extent {
        let seconds = self.seconds.unwrap_or(if self.smoke { 1.0 } else { 5.0 });
        Extent {
            phase: Duration::from_secs_f64(seconds),
            rounds: if self.smoke { 1 } else { 3 },
            is_smoke: self.smoke,
        }
    }

    /// A smoke test does not replace the figures of a whole run.
    fn out(&self) -> Option<PathBuf> {
        let default = || (!self.smoke).then(|| repo_root().join("target/bench/redis.json"));
        self.out.clone().or_else(default)
    }
}
