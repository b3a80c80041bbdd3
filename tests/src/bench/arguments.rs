//! What each benchmark is told on its command line, and how it ends.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Zoned;

use super::cores::Cores;
use super::run::{Extent, Run};
use super::{machine, table};
use crate::paths::repo_root;

/// What others may use of the CPU, in per cent, before they are felt.
const OTHERS_MAX: f64 = 5.0;

/// What a benchmark is told, but for which measurements.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Seconds that each phase lasts [default: 5, or 1 with --smoke]
    #[arg(long)]
    seconds: Option<f64>,

    /// Only show that everything works: short and small, and no target is judged
    #[arg(long)]
    smoke: bool,

    /// Keep servers off the load generator's core
    #[arg(long)]
    apart: bool,

    /// Where servers and stores keep their data while it runs: on a disk
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,

    /// Where to write the figures as JSON [default: in target/bench, of a whole run]
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Arguments {
    /// Begins a run. Pins this thread.
    ///
    /// # Panics
    /// As [`Run::new`].
    pub fn begin(&self) -> Run {
        let seconds = self.seconds.unwrap_or(if self.smoke { 1.0 } else { 5.0 });
        let extent = Extent {
            phase: Duration::from_secs_f64(seconds),
            rounds: if self.smoke { 1 } else { 3 },
            is_smoke: self.smoke,
        };
        Run::new(extent, Cores::divide(!self.apart), &self.dir)
    }

    /// Says what has come of a run, and writes it to `target/bench/<name>.json`, unless it was told
    /// another place. Part of a run, or a short one, does not replace the figures of a whole one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&self, run: &Run, name: &str, is_part: bool) -> io::Result<()> {
        println!("{}", machine::describe());
        println!("{}; {}", run.cores.describe(), Zoned::now().date());
        let others = 100.0 * run.others_cpu();
        let doubt = if others > OTHERS_MAX { ": TOO MUCH to trust these figures" } else { "" };
        println!("others used {others:.0} % of the CPU meanwhile{doubt}");
        println!("{}", table::render(&run.figures, !self.smoke));
        println!("{:.0} s in all", run.lasted().as_secs_f64());
        let is_whole = !is_part && !self.smoke;
        let whole = || is_whole.then(|| repo_root().join(format!("target/bench/{name}.json")));
        self.out.clone().or_else(whole).map_or(Ok(()), |path| run.figures.write(&path))
    }
}
