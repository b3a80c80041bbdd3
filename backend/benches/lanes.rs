//! Durable commands per second into the lanes, without HTTP. `make bench-engine` runs it.
//!
//! `run` keeps thousands of reserve commands in flight, each with an id, a fingerprint and a
//! customer of its own, on a store on a real disk; prints what it did as one line of JSON, and
//! kills itself. `count` reopens the store and counts what is left.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cartgate_backend::clock;
use cartgate_backend::config::Config;
use cartgate_backend::lanes::{Buckets, Lanes, Waiter};
use cartgate_backend::metrics::Metrics;
use cartgate_backend::store::{Durability, Embedded, Store};
use cartgate_ledger::{Command, CommandId, Fingerprint, Outcome, Reserve, UnixMs};
use cartgate_policy::Sku;
use clap::{Parser, Subcommand};
use rustix::process::{Signal, getpid, kill_process};

/// The service's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Tasks that submit, and how many commands each keeps in flight.
const SUBMITTERS: usize = 16;
const IN_FLIGHT: usize = 1_024;

/// Holds outlive every run.
const HOLD_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Cargo says so to every benchmark.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Submit for so long, or so many; then die.
    Run {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        skus: u32,
        #[arg(long, default_value_t = f64::MAX)]
        seconds: f64,
        #[arg(long, default_value_t = u64::MAX)]
        commands: u64,
    },
    /// Count what a run has left.
    Count {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        skus: u32,
        /// So many were answered.
        #[arg(long)]
        commands: u64,
    },
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match Arguments::parse().action {
        Action::Run { dir, skus, seconds, commands } => {
            println!("{}", runtime.block_on(run(&dir, skus, seconds, commands)));
            // No orderly end: what was answered must be there without one.
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        Action::Count { dir, skus, commands } => println!("{}", count(&dir, skus, commands)),
    }
}

async fn run(dir: &Path, skus: u32, seconds: f64, commands: u64) -> serde_json::Value {
    let (lanes, skus) = (Arc::new(start(dir)), names(skus));
    for sku in &skus {
        let set = Command::Set { units: 1_000_000_000, expected_version: None };
        let outcome = submit(&lanes, sku, set).outcome().await;
        assert!(matches!(outcome, Ok(Outcome::Stock { .. })), "{outcome:?}");
    }
    let lasts = Duration::from_secs_f64(seconds.min(3_600.0));
    let began = Instant::now();
    let submitter = Submitter { lanes, skus: skus.into(), next: Arc::default(), commands };
    let submitters = (0..SUBMITTERS).map(|_| submitter.clone().submit_until(began + lasts));
    let submitters: Vec<_> = submitters.map(tokio::spawn).collect();
    let mut held = 0;
    for submitter in submitters {
        held += submitter.await.unwrap();
    }
    serde_json::json!({ "commands": held, "seconds": began.elapsed().as_secs_f64() })
}

/// Keeps commands in flight.
#[derive(Clone)]
struct Submitter {
    lanes: Arc<Lanes>,
    skus: Arc<[Sku]>,
    /// The number of the next command, for all submitters together.
    next: Arc<AtomicU64>,
    commands: u64,
}

impl Submitter {
    /// Returns how many commands were answered that they hold.
    async fn submit_until(self, end: Instant) -> u64 {
        let (mut held, mut in_flight) = (0, VecDeque::with_capacity(IN_FLIGHT));
        while Instant::now() < end {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.commands {
                break;
            }
            if in_flight.len() == IN_FLIGHT {
                // In order: most of them have come with the first.
                held += hold(in_flight.pop_front().unwrap()).await;
            }
            let sku = sku_of(number, &self.skus);
            let command = Command::Reserve(reserve(*self.lanes.buckets(), sku, number));
            in_flight.push_back(submit(&self.lanes, sku, command));
        }
        for waiter in in_flight {
            held += hold(waiter).await;
        }
        held
    }
}

/// One hold.
async fn hold(waiter: Waiter) -> u64 {
    let outcome = waiter.outcome().await;
    assert!(matches!(outcome, Ok(Outcome::Held(_))), "{outcome:?}");
    1
}

/// A reserve command as HTTP makes it: everything in it is its own.
fn reserve(buckets: Buckets, sku: &Sku, number: u64) -> Reserve {
    let mut fingerprint = [0; 16];
    fingerprint[..8].copy_from_slice(&number.to_be_bytes());
    Reserve {
        id: id(buckets, sku, number),
        fingerprint: Fingerprint(fingerprint),
        repeatable: true,
        customer: Some(format!("c-{number:010}").into()),
        quantity: NonZeroU32::MIN,
        hold_ms: HOLD_MS,
        claim_by: UnixMs(u64::MAX),
        attempt: 1,
        is_tentative: false,
    }
}

/// As random as those that are derived from keys.
fn id(buckets: Buckets, sku: &Sku, number: u64) -> CommandId {
    let mut unique = [0; 14];
    unique[..8].copy_from_slice(&mix(!number).to_be_bytes());
    unique[6..].copy_from_slice(&mix(number).to_be_bytes());
    buckets.id(sku, unique)
}

/// A one-to-one mapping that leaves nothing of the order (the end of SplitMix64).
fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn names(skus: u32) -> Vec<Sku> {
    (0..skus).map(|sku| Sku::parse(&format!("SKU-{sku:05}")).unwrap()).collect()
}

fn sku_of(number: u64, skus: &[Sku]) -> &Sku {
    &skus[(mix(!number) % skus.len() as u64) as usize]
}

/// The engine's own way in: what changes with it is here.
fn start(dir: &Path) -> Lanes {
    let store = Embedded::open(dir, Config::default().buckets, Durability::Disk).unwrap();
    let mut settings = Config::default().lane_settings();
    settings.reserve_queue_max = SUBMITTERS * IN_FLIGHT;
    settings.holds_max = usize::MAX;
    settings.batch_max = SUBMITTERS * IN_FLIGHT;
    Lanes::start(Arc::new(store), settings, clock::wall(), Arc::new(Metrics::default())).unwrap()
}

fn submit(lanes: &Lanes, sku: &Sku, command: Command) -> Waiter {
    static REQUEST_ID: LazyLock<Arc<str>> = LazyLock::new(|| "bench".into());
    lanes.submit(sku.clone(), command, &REQUEST_ID).unwrap()
}

/// Reads everything back.
fn count(dir: &Path, skus: u32, commands: u64) -> serde_json::Value {
    let store = Embedded::open(dir, Config::default().buckets, Durability::Disk).unwrap();
    let (buckets, skus) = (Buckets::new(store.buckets()), names(skus));
    let is_there = |number: &u64| {
        let id = id(buckets, sku_of(*number, &skus), *number);
        store.reservation(id).unwrap().is_some()
    };
    let outcomes = (0..commands).filter(is_there).count();
    let entries = skus.iter().map(|sku| store.journal(sku, 0, usize::MAX).unwrap().len());
    let entries: usize = entries.sum();
    let holds = store.load().unwrap().holds.len();
    serde_json::json!({ "holds": holds, "outcomes": outcomes, "journal_entries": entries })
}
