//! What a flood of invented SKUs does to Envoy's memory (`make bench-edge-memory`), while a product with a
//! limit is asked for all the time, and gets its limit.

use std::fs;
use std::time::{Duration, Instant};

use super::ask::Place;
use super::setup::Setup;
use super::upstream;
use crate::bench::closed::{self, Caller};
use crate::bench::figures::Figure;
use crate::bench::request::Skus;
use crate::bench::run::{Run, progress};
use crate::bench::statistics::median;
use crate::bench::watch::{envoy_pid, resident_bytes};
use crate::filter::{self, Limit};
use crate::flood::{check_never_above, check_used, flood};
use crate::{Envoy, EnvoyConfig, paths};

/// How many SKUs are invented.
const SKUS: usize = 5_000_000;

/// Who invents them, and who asks for the product.
const INVENTORS: usize = 28;
const ASKERS: u64 = 4;

/// The product's limit; everybody else's lets each invented SKU pass once.
const HOT: Limit = (200, 50);
const OTHERS: Limit = (1, 2);

/// How often a start is timed.
const STARTS: usize = 5;

const MIB: f64 = (1 << 20) as f64;

/// Measures.
///
/// # Panics
/// The product gets more or less than its limit, or something fails.
pub async fn measure(run: &mut Run) {
    module(run);
    start(run).await;
    growth(run).await;
}

fn module(run: &mut Run) {
    let path = paths::filter_module().expect("the filter");
    let bytes = fs::metadata(path).expect("the filter").len();
    run.add(Figure::new("wasm_kib", bytes as f64 / 1_024.0, "KiB").at_most(600.0));
}

/// How much longer Envoy takes to start with the filter.
async fn start(run: &mut Run) {
    let [mut without, mut with] = [Vec::new(), Vec::new()];
    let starts = if run.extent.is_smoke { 1 } else { STARTS };
    for n in 0..starts {
        progress(&format!("a start, {} of {starts}", n + 1));
        for (setup, took) in [(Setup::None, &mut without), (Setup::Ours, &mut with)] {
            let upstream = ([127, 0, 0, 1], 9).into();
            let config = setup.config(upstream, None, run.dir()).expect("a configuration");
            let dir = run.dir().join(format!("start-{setup:?}-{n}"));
            let began = Instant::now();
            let envoy = Envoy::start(&dir, config.expect("it needs nothing else"), 1).await;
            took.push(began.elapsed().as_secs_f64() * 1e3);
            envoy.expect("Envoy").process.kill().await.expect("it ends");
        }
    }
    let (without, with) = (median(&without), median(&with));
    let note =
        format!("until Envoy is ready, {with:.0} ms beside {without:.0} ms without the filter");
    run.add(Figure::new("vm_start_ms", with - without, "ms").note(note));
}

async fn growth(run: &mut Run) {
    let upstream = upstream::start().await;
    let config = EnvoyConfig::shipped().expect("ours").route_everything().upstream(upstream);
    let config = config.set("access_log", &serde_json::json!([]));
    let config = config.filter_configuration(&filter::configuration(OTHERS, &[("HOT", HOT)]));
    let dir = run.dir().join("memory");
    let mut envoy = run.cores.for_server(Envoy::start(&dir, config, 1)).await.expect("Envoy");
    let address = envoy.address();
    // What connections cost, and one request after another, is there before.
    invent(run, &envoy, Duration::from_secs(1)).await;
    let (before, began) = (resident_bytes(envoy_pid(&envoy)), Instant::now());
    let all = run.extent.many(SKUS) as u64;
    let (mut invented, mut grown, mut hot_count) = (0, 0, 0);
    while invented < all {
        progress(&format!("{invented} of {all} SKUs, and {} bytes more", grown));
        let lasts = if run.extent.is_smoke { Duration::from_secs(1) } else { CHAPTER };
        let since = Instant::now();
        let asked = flood(address, |_| "HOT".to_owned(), ASKERS, lasts);
        let (count, mut hot) = tokio::join!(invent(run, &envoy, lasts), asked);
        check_never_above(HOT, &mut hot);
        // Its burst is owed from one chapter to the next.
        check_used(0.99, (HOT.0, 0), lasts.min(since.elapsed()), &hot);
        invented += count;
        hot_count += hot.len();
        grown = resident_bytes(envoy_pid(&envoy)).saturating_sub(before);
    }
    let overflowed = envoy.stat(|name| name == "wasmcustom.cartgate_requests_overflow").await;
    let note = format!(
        "{invented} SKUs, each asked for once, in {:.0} s; {overflowed} of them met full sets. A product \
         limited to {}/s got {hot_count}",
        began.elapsed().as_secs_f64(),
        HOT.0
    );
    run.add(Figure::new("before_mib", before as f64 / MIB, "MiB"));
    run.add(Figure::new("growth_mib", grown as f64 / MIB, "MiB").at_most(32.0).note(note));
    envoy.process.kill().await.expect("it ends");
}

/// For how long the product is asked for, before what it got is looked at.
const CHAPTER: Duration = Duration::from_secs(20);

/// Asks for ever new SKUs. Returns how many.
async fn invent(run: &Run, envoy: &Envoy, lasts: Duration) -> u64 {
    let template = Place::Header.request(envoy.address(), Skus::Distinct, 1);
    let mut callers = Vec::new();
    for _ in 0..INVENTORS {
        callers.push(Caller::connect(envoy.address()).await.expect("a connection"));
    }
    closed::run(callers, &template, &run.numbers, lasts).await.total()
}
