//! What it costs an Envoy to know a thousand hot items and to report, and the service to be reported to.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use futures_util::future::join;
use serde_json::json;
use tokio::task::JoinSet;

use super::super::closed::{self, Caller};
use super::super::cpu;
use super::super::figures::Figure;
use super::super::request::{Skus, Template, sku_name};
use super::super::run::Run;
use super::super::statistics::Series;
use super::super::tally::Tally;
use super::super::watch::{envoy_pid, pid};
use super::edges::{EDGES, Fleet, config};
use crate::Envoy;
use crate::edges::Edge;
use crate::random::Random;

const ITEMS: u32 = 1_000;

/// What nobody comes up to.
const NEVER: (u32, u32) = (1_000_000, 1_000_000);

const CONNECTIONS: usize = 32;

/// A product in a shop's catalogue is one of so many. The first thousand of them are hot.
const CATALOGUE: Skus = Skus::Zipf(10_000);

const ROUNDS: usize = 12;

/// Until an edge that is new knows the items and has shares: others have to give up some for it.
const UNTIL_SHARES: Duration = Duration::from_secs(2);

/// Until threads have leases, and demand shows.
const WARM_UP: Duration = Duration::from_millis(500);

/// How many edges report, to see what that costs the service.
const REPORTERS: u64 = 64;

pub(super) async fn measure(run: &mut Run) {
    let settings = "hot_items_max = 2_000\n[detection]\nenabled = false\n";
    let fleet = Fleet::start(run, "cost", settings, NEVER).await;
    let items = if run.extent.is_smoke { 10 } else { ITEMS };
    for item in 1..=items {
        let (per_second, burst) = NEVER;
        fleet
            .register(&sku_name(item), json!({"limit": {"per_second": per_second, "burst": burst}}))
            .await;
    }
    fleet.until_known(&sku_name(items)).await;
    let idle = of_the_service(run, &fleet, items).await;
    of_requests(run, &fleet, items).await;
    reports(run, &fleet, idle).await;
    fleet.stop().await;
}

/// The service's CPU while edges report and nobody asks for anything: the part of a core that it takes.
async fn of_the_service(run: &mut Run, fleet: &Fleet, items: u32) -> f64 {
    let (service, began) = (pid(&fleet.service), Instant::now());
    let before = cpu::of_process(service);
    tokio::time::sleep(run.extent.phase).await;
    let used = cpu::of_process(service).saturating_sub(before);
    let ms = used.as_secs_f64() * 1e3 / began.elapsed().as_secs_f64();
    let note =
        format!("a second: {items} hot items looked after, {EDGES} edges that report, nobody asks");
    run.add(Figure::new("service_cpu_ms_per_s", ms, "ms").note(note));
    ms / 1e3
}

/// The CPU of a request at an edge that knows hot items and reports, beside one that does neither. They are
/// asked at the same time and share a core: what slows the machine slows both.
async fn of_requests(run: &mut Run, fleet: &Fleet, items: u32) {
    let (cores, phase) = (run.cores.apart(), run.extent.phase);
    let start = async |name, reports| {
        let config = config(fleet.service.address(), NEVER, reports);
        let dir = run.dir().join(name);
        cores.for_server(Envoy::start(&dir, config, 1)).await.expect("Envoy")
    };
    let without = start("cost-without", false).await;
    let with = start("cost-with", true).await;
    ask(&with, UNTIL_SHARES).await;
    let mut series = Series::default();
    let rounds = if run.extent.is_smoke { 1 } else { ROUNDS };
    for _ in 0..rounds {
        let costs = join(of_a_request(&without, phase), of_a_request(&with, phase)).await;
        for (name, cost) in [("without", costs.0), ("with", costs.1)] {
            series.note((name, "us"), cost.us);
            series.note((name, "per_s"), cost.per_s);
        }
    }
    stop(without).await;
    stop(with).await;
    let (with, without) = (("with", "us"), ("without", "us"));
    let note = format!(
        "{:.1} us of Envoy's CPU a request with {items} hot items, {:.1} without a service, at {:.0} a second",
        series.median(with),
        series.median(without),
        series.median(("with", "per_s")),
    );
    let delta = series.difference(with, without);
    run.add(Figure::new("edge_cpu_us_delta", delta, "us").at_most(1.0).note(note));
}

/// What requests cost an Envoy.
struct Cost {
    /// CPU of one, in microseconds.
    us: f64,
    /// How many there were in a second.
    per_s: f64,
}

async fn of_a_request(envoy: &Envoy, phase: Duration) -> Cost {
    ask(envoy, WARM_UP).await;
    let before = cpu::of_process(envoy_pid(envoy));
    let tally = ask(envoy, phase).await;
    let used = cpu::of_process(envoy_pid(envoy)).saturating_sub(before);
    assert_eq!(tally.count(200), tally.total(), "{:?}", tally.statuses);
    let requests = tally.total() as f64;
    Cost { us: used.as_secs_f64() * 1e6 / requests, per_s: requests / phase.as_secs_f64() }
}

async fn ask(envoy: &Envoy, lasts: Duration) -> Tally {
    let text = format!(
        "POST /by-header HTTP/1.1\r\nhost: {}\r\nx-sku: SKU-$$$$$\r\ncontent-length: 0\r\n\r\n",
        envoy.address()
    );
    let template = Template::new(&text, CATALOGUE);
    let numbers = Arc::new(AtomicU64::new(0));
    let callers = Caller::connect_all(envoy.address(), CONNECTIONS).await;
    closed::run(callers, &template, &numbers, lasts).await
}

async fn stop(mut envoy: Envoy) {
    envoy.process.kill().await.expect("it ends");
}

/// What a report costs the service: edges that report as they are told to, each asked for ten items, somewhat
/// more or less each time.
async fn reports(run: &mut Run, fleet: &Fleet, idle: f64) {
    let end = Instant::now() + run.extent.phase.max(Duration::from_secs(5));
    let (address, service, began) = (fleet.service.address(), pid(&fleet.service), Instant::now());
    let before = cpu::of_process(service);
    let mut reporting = JoinSet::new();
    for id in 1..=REPORTERS {
        reporting.spawn(async move {
            let (mut edge, mut random, mut count) = (Edge::new(id), Random::new(id), 0_u64);
            while Instant::now() < end {
                for item in 1..=10 {
                    edge.ask(&sku_name(item), 80 + random.below(40));
                }
                match edge.report(address).await {
                    Some(status) => {
                        assert_eq!(status, 200);
                        count += 1;
                    }
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
            count
        });
    }
    let count = reporting.join_all().await.into_iter().sum::<u64>() as f64;
    let lasted = began.elapsed().as_secs_f64();
    let used = cpu::of_process(service).saturating_sub(before).as_secs_f64() - idle * lasted;
    let us = used * 1e6 / count;
    let note = format!(
        "{REPORTERS} edges asked for ten items each, {:.1} reports a second of each",
        count / lasted / REPORTERS as f64
    );
    run.add(Figure::new("service_cpu_us_per_report", us, "us").note(note));
    let per_edge = used * 1e6 / lasted / REPORTERS as f64;
    let note = "a second, without what items cost";
    run.add(Figure::new("service_cpu_us_per_edge_s", per_edge, "us").note(note));
    let note = "one core, reports alone";
    run.add(Figure::new("reports_per_s_and_core", 1e6 / us, "/s").note(note));
}
