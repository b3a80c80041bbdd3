//! What the filter costs at the edge: Envoy with it, beside Envoy without it and Envoy with what limits
//! elsewhere, in one run (`make bench-edge`).
//!
//! Every Envoy has the configuration that we ship, without its access log, and one worker thread on a
//! core of its own; the load generator and the upstream have the other core. With two workers all share
//! both cores: there the CPU time of a request says more than the requests per second.
//!
//! Each round has Envoys of its own. One and the same Envoy is up to a tenth quicker or slower for its
//! whole life than the next one with the same configuration: it depends on which pages of memory it was
//! given, since what a request touches is several times as large as the core's cache.

mod ask;
mod memory;
mod setup;
pub(super) mod upstream;

pub use memory::measure as measure_memory;

use std::net::SocketAddr;

use super::closed::{self, Caller};
use super::cores::Cores;
use super::cpu;
use super::figures::Figure;
use super::open;
use super::request::Skus;
use super::run::{Run, progress};
use super::statistics::Series;
use super::watch::envoy_pid;
use crate::ratelimit::{REDIS_SETTINGS, RatelimitService};
use crate::redis::{Redis, RedisOptions};
use crate::{Envoy, paths};
use ask::Place;
use setup::Setup;

/// Connections of the closed loop.
const CONNECTIONS: usize = 32;

/// A product in a shop's catalogue is one of so many.
const CATALOGUE: Skus = Skus::Zipf(10_000);

/// How many pairs are compared at least.
const ROUNDS: usize = 5;

/// What is asked for per second when latency is measured: such a part of what a worker without a filter
/// has just done.
const CALM: f64 = 0.3;

/// More than the burst has left: denied for 1,000 s after the first.
const ALL_OF_A_BURST: u32 = 1_000;

/// One traffic through one Envoy.
struct Row {
    name: &'static str,
    setup: Setup,
    place: Place,
    skus: Skus,
    status: u16,
}

const fn row(name: &'static str, setup: Setup, place: Place, skus: Skus) -> Row {
    Row { name, setup, place, skus, status: 200 }
}

/// What is compared follows each other.
const ROWS: [Row; 18] = [
    row("none", Setup::None, Place::Header, CATALOGUE),
    row("idle", Setup::Idle, Place::Header, CATALOGUE),
    row("reading", Setup::Reading, Place::Header, CATALOGUE),
    row("header", Setup::Ours, Place::Header, CATALOGUE),
    row("local", Setup::Local, Place::Header, CATALOGUE),
    row("global", Setup::Global, Place::Header, CATALOGUE),
    row("none_one_sku", Setup::None, Place::Header, Skus::Hot),
    row("header_one_sku", Setup::Ours, Place::Header, Skus::Hot),
    row("none_distinct", Setup::None, Place::Header, Skus::Distinct),
    row("header_distinct", Setup::Ours, Place::Header, Skus::Distinct),
    row("none_path", Setup::None, Place::Path, CATALOGUE),
    row("path", Setup::Ours, Place::Path, CATALOGUE),
    row("none_json", Setup::None, Place::Json, CATALOGUE),
    row("json", Setup::Ours, Place::Json, CATALOGUE),
    row("none_form", Setup::None, Place::Form, CATALOGUE),
    row("form", Setup::Ours, Place::Form, CATALOGUE),
    Row { status: 429, ..row("denied", Setup::OursDenies, Place::Header, Skus::Hot) },
    Row { status: 429, ..row("direct_response", Setup::DirectResponse, Place::Header, Skus::Hot) },
];

const ROWS_OF_TWO: [Row; 4] = [
    row("none_two_workers", Setup::None, Place::Header, CATALOGUE),
    row("header_two_workers", Setup::Ours, Place::Header, CATALOGUE),
    row("none_one_sku_two_workers", Setup::None, Place::Header, Skus::Hot),
    row("header_one_sku_two_workers", Setup::Ours, Place::Header, Skus::Hot),
];

/// A ratio of two rows: key, measured, over, and what it should be at least.
const RATIOS: [(&str, &str, &str, f64); 14] = [
    ("header_vs_none", "header", "none", 0.92),
    ("header_one_sku_vs_none", "header_one_sku", "none_one_sku", 0.93),
    ("header_distinct_vs_none", "header_distinct", "none_distinct", 0.88),
    ("idle_wasm_vs_none", "idle", "none", 0.0),
    ("reading_wasm_vs_none", "reading", "none", 0.0),
    ("header_vs_reading_wasm", "header", "reading", 0.0),
    ("path_vs_none", "path", "none_path", 0.0),
    ("json_vs_none", "json", "none_json", 0.85),
    ("form_vs_none", "form", "none_form", 0.85),
    ("header_vs_local", "header", "local", 0.95),
    ("header_vs_global", "header", "global", 1.3),
    ("denied_vs_direct_response", "denied", "direct_response", 0.85),
    ("header_two_workers_vs_none", "header_two_workers", "none_two_workers", 0.0),
    (
        "header_one_sku_two_workers_vs_none",
        "header_one_sku_two_workers",
        "none_one_sku_two_workers",
        0.0,
    ),
];

/// Measures every row with one worker, and some with two.
///
/// # Panics
/// Envoy or the filter is not built, or something is answered otherwise than it should be.
pub async fn measure(run: &mut Run) {
    let upstream = upstream::start().await;
    let global = Global::start(run).await;
    let ratelimit = global.as_ref().map(|global| &global.ratelimit);
    let mut series = Series::default();
    let rounds = run.extent.rounds.max(if run.extent.is_smoke { 1 } else { ROUNDS });
    for round in 1..=rounds {
        progress(&format!("the edge, round {round} of {rounds}"));
        let one = Envoys::start(run, &run.cores.apart(), 1, upstream, ratelimit).await;
        let two = Envoys::start(run, &run.cores, 2, upstream, None).await;
        for row in &ROWS {
            load(run, row, one.of(row.setup), &mut series).await;
        }
        for row in &ROWS_OF_TWO {
            load(run, row, two.of(row.setup), &mut series).await;
        }
        for row in ROWS.iter().filter(|row| ["none", "header"].contains(&row.name)) {
            calm(run, row, one.of(row.setup), &mut series).await;
        }
        // What they used is ours only once they have ended.
        one.stop().await;
        two.stop().await;
    }
    if let Some(global) = global {
        global.stop().await;
    }
    report(run, &series);
}

/// What is usual for limits of a fleet, if it is built.
struct Global {
    redis: Redis,
    ratelimit: RatelimitService,
}

impl Global {
    async fn start(run: &Run) -> Option<Self> {
        if let Err(missing) = paths::ratelimit() {
            progress(&format!("without a fleet's limits: {missing}"));
            return None;
        }
        let dir = run.dir().join("global");
        let options = RedisOptions::new(&dir.join("redis")).settings(REDIS_SETTINGS);
        let redis = run.cores.for_server(Redis::start(&options)).await.expect("Redis");
        let ratelimit = run.cores.for_server(RatelimitService::start(&dir, &redis)).await;
        Some(Self { redis, ratelimit: ratelimit.expect("envoyproxy/ratelimit") })
    }

    async fn stop(mut self) {
        self.ratelimit.process.kill().await.expect("it ends");
        self.redis.kill().await.expect("it ends");
    }
}

/// One Envoy of each setup.
struct Envoys(Vec<(Setup, Envoy)>);

impl Envoys {
    async fn start(
        run: &Run,
        cores: &Cores,
        workers: u32,
        upstream: SocketAddr,
        ratelimit: Option<&RatelimitService>,
    ) -> Self {
        let mut envoys = Vec::new();
        for setup in Setup::ALL {
            let config = setup
                .config(upstream, ratelimit, run.dir())
                .expect("the configuration that we ship");
            if let Some(config) = config {
                let dir = run.dir().join(format!("{setup:?}-{workers}"));
                let envoy = cores.for_server(Envoy::start(&dir, config, workers)).await;
                envoys.push((setup, envoy.expect("Envoy")));
            }
        }
        Self(envoys)
    }

    fn of(&self, setup: Setup) -> Option<&Envoy> {
        self.0.iter().find(|(one, _)| *one == setup).map(|(_, envoy)| envoy)
    }

    async fn stop(self) {
        for (_, mut envoy) in self.0 {
            envoy.process.kill().await.expect("it ends");
        }
    }
}

/// One phase: callers in a closed loop, and Envoy's CPU time.
async fn load(run: &Run, row: &Row, envoy: Option<&Envoy>, series: &mut Series) {
    let Some(envoy) = envoy else { return };
    let units = if row.status == 429 { ALL_OF_A_BURST } else { 1 };
    let template = row.place.request(envoy.address(), row.skus, units);
    // The first takes the burst, where one is to be taken.
    let callers = Caller::connect_asking(envoy.address(), &template, CONNECTIONS).await;
    let before = cpu::of_process(envoy_pid(envoy));
    let tally = closed::run(callers, &template, &run.numbers, run.extent.phase).await;
    let used = cpu::of_process(envoy_pid(envoy)).saturating_sub(before);
    series.note((row.name, "per_s"), tally.per_s(row.status));
    series.note((row.name, "envoy_us"), used.as_secs_f64() * 1e6 / tally.total() as f64);
}

/// One phase: a load that leaves Envoy idle for most of the time.
async fn calm(run: &Run, row: &Row, envoy: Option<&Envoy>, series: &mut Series) {
    let Some(envoy) = envoy else { return };
    let template = row.place.request(envoy.address(), row.skus, 1);
    let (address, lasts) = (envoy.address(), run.extent.phase);
    let per_s = CALM * series.median(("none", "per_s"));
    let tally = open::run(address, template, &run.numbers, per_s, lasts).await;
    assert_eq!(tally.count(200), tally.total(), "{:?}", tally.statuses);
    series.note((row.name, "p99_us"), tally.p99_us());
}

fn report(run: &mut Run, series: &Series) {
    for (key, of, over, least) in RATIOS {
        if !series.has((over, "per_s")) {
            run.add(Figure::missing(key, "it needs Go, to build what is compared"));
            continue;
        }
        let [per_s, envoy_us] =
            ["per_s", "envoy_us"].map(|what| [of, over].map(|name| series.median((name, what))));
        let note = format!(
            "{:.0}/s beside {:.0}/s; Envoy used {:.1} us a request beside {:.1} us",
            per_s[0], per_s[1], envoy_us[0], envoy_us[1],
        );
        let ratio = Figure::new(key, series.ratio((of, "per_s"), (over, "per_s")), "x");
        let ratio = if least > 0.0 { ratio.at_least(least) } else { ratio };
        run.add(ratio.note(note));
    }
    let [header, none] = ["header", "none"].map(|name| (name, "p99_us"));
    let note = format!(
        "{:.0} us beside {:.0} us, at {:.0} requests a second",
        series.median(header),
        series.median(none),
        CALM * series.median(("none", "per_s")),
    );
    let ratio = Figure::new("p99_header_vs_none", series.ratio(header, none), "x");
    run.add(ratio.at_most(1.1).note(note));
    let rows = ROWS.iter().chain(&ROWS_OF_TWO);
    for row in rows.filter(|row| series.has((row.name, "envoy_us"))) {
        let used = series.median((row.name, "envoy_us"));
        run.add(Figure::new(format!("{}_envoy_us", row.name), used, "us"));
    }
}
