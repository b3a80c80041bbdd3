//! Durable commands per second into the lanes, without HTTP. `make bench-engine` and `make
//! bench-redis` run it.
//!
//! `run` keeps thousands of reserve commands in flight, each with an id, a fingerprint and a
//! customer of its own, on a store on a real disk; prints what it did as one line of JSON, and
//! kills itself. `count` opens the store again and counts what is left.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use cartgate_backend::clock;
use cartgate_backend::config::Config;
use cartgate_backend::engine::{Engine, Shared};
use cartgate_backend::lanes::{Buckets, FrontSettings, LaneSettings, Lanes, Waiter, Worker};
use cartgate_backend::metrics::Metrics;
use cartgate_backend::store::redis::{Address, RedisStore};
use cartgate_backend::store::tenure::SharedStore;
use cartgate_backend::store::{Embedded, Store};
use cartgate_backend::trace::Trail;
use cartgate_ledger::{Command, CommandId, Fingerprint, Outcome, Reserve, UnixMs};
use cartgate_policy::Sku;
use clap::{Args, Parser, Subcommand};
use futures_util::{StreamExt as _, stream};
use rustix::process::{Signal, getpid, kill_process};

/// The service's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Tasks that submit, and how many commands each keeps in flight.
const SUBMITTERS: usize = 16;
const IN_FLIGHT: usize = 1_024;

/// Holds outlive every run.
const HOLD_MS: u64 = 24 * 60 * 60 * 1_000;

/// How many outcomes are asked for at a time, and how many entries of a journal.
const ASKED_MAX: usize = 1_024;
const PAGE_MAX: usize = 50_000;

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
        #[command(flatten)]
        place: Place,
        #[arg(long)]
        skus: u32,
        #[arg(long, default_value_t = f64::MAX)]
        seconds: f64,
        #[arg(long, default_value_t = u64::MAX)]
        commands: u64,
    },
    /// Count what a run has left.
    Count {
        #[command(flatten)]
        place: Place,
        #[arg(long)]
        skus: u32,
        /// So many were answered.
        #[arg(long)]
        commands: u64,
    },
}

/// Where the store is.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The directory of an embedded one.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The URL of a Redis.
    #[arg(long)]
    store: Option<Address>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match Arguments::parse().action {
        Action::Run { place, skus, seconds, commands } => {
            println!("{}", runtime.block_on(run(place, skus, seconds, commands)));
            // No orderly end: what was answered must be there without one.
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        Action::Count { place, skus, commands } => {
            println!("{}", runtime.block_on(count(place, skus, commands)));
        }
    }
}

async fn run(place: Place, skus: u32, seconds: f64, commands: u64) -> serde_json::Value {
    let (engine, skus) = (Arc::new(start(place, true)), names(skus));
    for sku in &skus {
        let set = Command::Set { units: 1_000_000_000, expected_version: None };
        let outcome = submit(&engine, sku, set).outcome().await;
        assert!(matches!(outcome, Ok(Outcome::Stock { .. })), "{outcome:?}");
    }
    let lasts = Duration::from_secs_f64(seconds.min(3_600.0));
    let began = Instant::now();
    let submitter = Submitter { engine, skus: skus.into(), next: Arc::default(), commands };
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
    engine: Arc<Engine>,
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
            let command = Command::Reserve(reserve(self.engine.buckets(), sku, number));
            in_flight.push_back(submit(&self.engine, sku, command));
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

/// The engine's own way in: what changes with it is here. Where others own buckets on a shared
/// store, this process need not be a worker.
fn start(place: Place, is_worker: bool) -> Engine {
    let (config, metrics) = (Config::default(), Arc::new(Metrics::default()));
    let mut settings = config.lane_settings();
    settings.reserve_queue_max = SUBMITTERS * IN_FLIGHT;
    settings.holds_max = usize::MAX;
    match place.store {
        Some(address) => start_shared(address, settings, is_worker, metrics),
        None => {
            let dir = place.dir.unwrap();
            let store: Arc<dyn Store> =
                Arc::new(Embedded::open(&dir, config.buckets, config.durability).unwrap());
            settings.batch_max = SUBMITTERS * IN_FLIGHT;
            let lanes = Lanes::start(Arc::clone(&store), settings, clock::wall(), metrics);
            Engine::local(lanes.unwrap(), store)
        }
    }
}

/// Posts and owns all buckets, with the batches of the service: while Redis writes one, the next is
/// decided.
fn start_shared(
    address: Address,
    lanes: LaneSettings,
    is_worker: bool,
    metrics: Arc<Metrics>,
) -> Engine {
    let config = Config::default();
    // All of the journal is counted afterwards.
    let settings = cartgate_backend::store::redis::Settings {
        journal_max: u64::MAX,
        ..config.redis_settings()
    };
    let open = || RedisStore::open(address, settings).unwrap();
    let store = Arc::new(tokio::task::block_in_place(open));
    let worker = is_worker.then(|| {
        let store = Arc::clone(&store) as Arc<dyn SharedStore>;
        Worker::start(store, lanes, Arc::clone(&metrics)).unwrap()
    });
    let settings = FrontSettings { lanes, ..config.front_settings() };
    Engine::Shared(Shared::start(store, settings, worker, metrics))
}

fn submit(engine: &Engine, sku: &Sku, command: Command) -> Waiter {
    static TRAIL: LazyLock<Trail> = LazyLock::new(|| "bench".into());
    engine.submit(sku.clone(), command, TRAIL.clone(), &Arc::default()).unwrap()
}

/// Reads everything back.
async fn count(place: Place, skus: u32, commands: u64) -> serde_json::Value {
    let (engine, skus) = (start(place, false), names(skus));
    let outcome = |number| {
        let id = id(engine.buckets(), sku_of(number, &skus), number);
        let outcome = engine.reservation(id);
        async { outcome.await.unwrap().is_some_and(|(_, reservation)| reservation.is_held()) }
    };
    let asked = stream::iter(0..commands).map(outcome).buffer_unordered(ASKED_MAX);
    let outcomes = asked.filter(|is_held| std::future::ready(*is_held)).count().await;
    let (mut holds, mut entries) = (0, 0);
    for sku in &skus {
        entries += journal_entries(&engine, sku).await;
        holds += engine.stock(sku).await.unwrap().unwrap().counters.held;
    }
    serde_json::json!({ "holds": holds, "outcomes": outcomes, "journal_entries": entries })
}

/// How many entries there are in a SKU's journal, from the first on.
async fn journal_entries(engine: &Engine, sku: &Sku) -> u64 {
    let mut last = 0;
    loop {
        let (entries, _) = engine.journal(sku.clone(), last, PAGE_MAX).await.unwrap();
        let Some(entry) = entries.last() else { return last };
        assert_eq!(entry.version, last + entries.len() as u64, "no gap");
        last = entry.version;
    }
}
