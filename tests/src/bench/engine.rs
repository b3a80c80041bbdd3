//! Durable commands per second into the lanes, without HTTP: `bin/lanes.rs`, which is
//! killed when it is done, and counts in a second process what is left.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cpu;
use super::figures::Figure;
use super::run::{Run, progress};
use super::statistics::Series;

/// SKUs of a spread load.
const SPREAD: usize = 10_000;

/// What `lanes run` says before it is killed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Ran {
    /// Commands whose outcomes came.
    pub commands: u64,
    /// How long that took.
    pub seconds: f64,
}

/// What `lanes count` says.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Left {
    holds: u64,
    outcomes: u64,
    journal_entries: u64,
}

/// Where a run keeps its store.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// In a directory.
    Dir(&'a Path),
    /// On a Redis, by its URL.
    Redis(&'a str),
}

/// The benchmark's program.
#[derive(Debug)]
pub struct Lanes(PathBuf);

impl Lanes {
    /// As cargo has built it.
    ///
    /// # Panics
    /// It has not.
    pub fn built() -> Self {
        Self(crate::paths::lanes().expect("build it first"))
    }

    /// Runs it with a store at a place, until it is done and killed.
    ///
    /// # Panics
    /// It fails.
    pub async fn run(&self, run: &Run, place: Place<'_>, skus: usize, length: &str) -> Ran {
        self.ask(run, "run", place, skus, length).await
    }

    /// What it says, as one line of JSON.
    async fn ask<T: DeserializeOwned>(
        &self,
        run: &Run,
        action: &str,
        place: Place<'_>,
        skus: usize,
        length: &str,
    ) -> T {
        let mut command = Command::new(&self.0);
        command.arg(action).arg(format!("--skus={skus}")).arg(length);
        match place {
            Place::Dir(dir) => command.arg("--dir").arg(dir),
            Place::Redis(url) => command.arg("--store").arg(url),
        };
        let output = run.cores.for_server(async { command.output() }).await.expect("run it");
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{command:?}: {said}{complaint}"))
    }

    /// Counts what a run has left at its place.
    ///
    /// # Panics
    /// Something is missing.
    pub async fn count(&self, run: &Run, place: Place<'_>, skus: usize, ran: Ran) {
        let commands = format!("--commands={}", ran.commands);
        let left: Left = self.ask(run, "count", place, skus, &commands).await;
        // One entry more for each SKU: the stock that was set.
        let entries = left.journal_entries - skus as u64;
        assert_eq!(
            (left.holds, left.outcomes, entries),
            (ran.commands, ran.commands, ran.commands)
        );
    }
}

/// Measures.
///
/// # Panics
/// Something fails, or is lost.
pub async fn measure(run: &mut Run) {
    let lanes = Lanes::built();
    let mut series = Series::default();
    let spread = run.extent.many(SPREAD);
    for round in 1..=run.extent.rounds {
        progress(&format!("the engine without HTTP, round {round} of {}", run.extent.rounds));
        for (name, skus) in [("hot", 1), ("spread", spread)] {
            let dir = run.dir().join(format!("engine-{name}-{round}"));
            let length = format!("--seconds={}", run.extent.phase.as_secs_f64());
            let before = cpu::of_ended_children();
            let place = Place::Dir(&dir);
            let ran = lanes.run(run, place, skus, &length).await;
            let cpu = (cpu::of_ended_children() - before).as_secs_f64();
            series.note((name, "per_s"), ran.commands as f64 / ran.seconds);
            series.note((name, "cpu_us"), cpu * 1e6 / ran.commands as f64);
            lanes.count(run, place, skus, ran).await;
            std::fs::remove_dir_all(&dir).expect("remove the store");
        }
    }
    let [hot, spread] = ["hot", "spread"].map(|name| (name, "per_s"));
    let note = format!(
        "all cores; {:.2} us CPU a command, submitters included; killed, reopened, all counted: \
         holds, outcomes, journal entries",
        series.median(("hot", "cpu_us"))
    );
    let figure = Figure::new("engine_per_s", series.median(hot), "/s");
    run.add(figure.at_least(400_000.0).note(note));
    run.add(Figure::new("engine_cpu_us", series.median(("hot", "cpu_us")), "us"));
    run.add(Figure::new("engine_spread_per_s", series.median(spread), "/s"));
    run.add(Figure::new("engine_hot_vs_spread", series.ratio(hot, spread), "x").at_least(0.9));
}
