//! A deterministic simulation of the engine.
//!
//! The real lanes, the real owner and the real waiters, on a store in memory, in one thread: the
//! owner takes a turn when the history says so, customers are polled by hand, and time is what the
//! history sets it to. A seed decides a history of a few hundred things that happen (`op`) to an
//! engine with small bounds (`history`); after each of them what customers were told, what the store
//! was given and what waits in the lanes is judged by a second set of rules (`oracle`, `book`,
//! `told`, `line`, `registry`), which knows nothing of how the engine works. In the end everything
//! comes to rest, and nothing may be left.
//!
//! **Failures simulated.** A request or an answer that the network loses; a customer that hangs up
//! before its turn, between the commit and the answer, or while it is given a ticket; repeats of
//! what waits, is held, has ended or is forgotten, also under another fingerprint; full queues; time
//! that leaps, and a wall clock that is set back; the death of the process between any two things,
//! before any commit and after it; a write that fails, after which the engine stops itself; an
//! orderly stop with customers waiting. All of it in any order, also while a SKU is promoted,
//! demoted, or both.
//!
//! **Not failures here.** A commit that is torn: a store writes all of it or nothing, which its own
//! suite shows on the files of a disk. A store that reads wrongly. Threads: the owner and its
//! callers take turns here, and what they share is behind one lock for each bucket. HTTP. A hold
//! that was decided just before the process died: nobody knows whether its customer was told, so it
//! stays until it expires, or its command is repeated. Two who hang up, of whom the second had
//! repeated what the first had been granted: a repeat counts as a claim. One who hangs up between a
//! claim's commit and its answer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// What should never be, and is.
#[derive(Debug)]
struct Violation(String);

/// Whether all is as it should be.
type Checked = Result<(), Violation>;

macro_rules! ensure {
    ($holds:expr, $($found:tt)+) => {
        if !$holds {
            return Err($crate::lanes::simulation::Violation(format!($($found)+)));
        }
    };
}

mod book;
mod coverage;
mod engine;
mod found;
mod history;
mod line;
mod op;
mod oracle;
mod registry;
mod request;
mod shared;
mod shrink;
mod told;
mod wish;
mod world;

use coverage::Coverage;
use history::History;
use shared::SharedHistory;

/// What `make test` runs.
const HISTORIES: u64 = 3_000;

/// Everything that a seed decides: how an engine is set up, and what happens to it.
trait Story: Clone + fmt::Display {
    /// A thing that happens.
    type Event: Copy;

    fn new(seed: u64) -> Self;

    fn seed(&self) -> u64;

    fn events(&self) -> &[Self::Event];

    /// The same with other things happening.
    fn with(&self, events: Vec<Self::Event>) -> Self;

    /// Lets it happen, from its beginning until all has come to rest. Says what is wrong, and after
    /// how many things it was.
    fn happen(&self, coverage: &mut Coverage) -> Result<(), (usize, Violation)>;
}

/// Runs one history. Says what is wrong with it, and after how many things it was.
fn run<S: Story>(history: &S, coverage: &mut Coverage) -> Result<(), (usize, String)> {
    match catch_unwind(AssertUnwindSafe(|| history.happen(coverage))) {
        Ok(result) => result.map_err(|(index, Violation(found))| (index, found)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err((history.events().len(), format!("panicked: {text:?}")))
        }
    }
}

/// Runs the histories of `count` seeds, each in one thread, but as many at a time as there are
/// cores. Panics if one fails, with the shortest history that does.
fn run_all<S: Story + Send>(first_seed: u64, count: u64) -> Coverage {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let coverages = std::thread::scope(|scope| {
        let run_some = || run_some::<S>(first_seed, count, &next, &failed);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut sum = Coverage::default();
    for result in coverages {
        result.map_or_else(|history| explain(&*history), |coverage| sum.add(coverage));
    }
    sum
}

/// Runs histories until there are no more to run, or one has failed: returns it.
fn run_some<S: Story>(
    first_seed: u64,
    count: u64,
    next: &AtomicU64,
    failed: &AtomicBool,
) -> Result<Coverage, Box<S>> {
    let (started, mut coverage) = (Instant::now(), Coverage::default());
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count || failed.load(Ordering::Relaxed) {
            return Ok(coverage);
        }
        let history = S::new(first_seed + number);
        if run(&history, &mut coverage).is_err() {
            failed.store(true, Ordering::Relaxed);
            return Err(Box::new(history));
        }
        if (number + 1).is_multiple_of(10_000) {
            println!("{} of {count} histories, {} s", number + 1, started.elapsed().as_secs());
        }
    }
}

fn explain<S: Story>(history: &S) -> ! {
    let mut unseen = Coverage::default();
    let fails = |events: &[S::Event]| run(&history.with(events.to_vec()), &mut unseen).is_err();
    let short = history.with(shrink::shrink(history.events().to_vec(), fails));
    let (index, found) = run(&short, &mut Coverage::default()).expect_err("it fails each time");
    panic!(
        "seed {seed}: {found}\nafter number {index} of the shortest history that fails:\n{short}\n\
         again: make test-simulation SEED={seed} HISTORIES=1",
        seed = history.seed(),
    );
}

fn check_coverage(coverage: &Coverage, expected: &[(&'static str, &'static str)]) {
    let missing = coverage.missing(expected);
    assert!(missing.is_empty(), "never happened: {missing:?}\n{coverage}");
}

fn from_env(name: &str) -> u64 {
    let number = std::env::var(name).ok().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is no number: use make test-simulation"))
}

#[test]
fn thousands_of_histories() {
    check_coverage(&run_all::<History>(1, HISTORIES), &coverage::EXPECTED);
}

#[test]
fn thousands_of_histories_on_a_shared_store() {
    check_coverage(&run_all::<SharedHistory>(1, HISTORIES), &shared::EXPECTED);
}

#[test]
#[ignore = "minutes: make test-simulation"]
fn many_histories() {
    let (seed, count) = (from_env("CARTGATE_SEED"), from_env("CARTGATE_HISTORIES"));
    let coverage = run_all::<History>(seed, count);
    println!("{coverage}");
    let shared = run_all::<SharedHistory>(seed, count);
    println!("on a shared store\n{shared}");
    if count >= HISTORIES {
        check_coverage(&coverage, &coverage::EXPECTED);
        check_coverage(&shared, &shared::EXPECTED);
    }
}
