//! What it costs an Envoy to know a thousand hot items and to report, and the service to be reported to.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::closed::{self, Caller};
use super::super::cpu;
use super::super::figures::Figure;
use super::super::request::{Skus, Template, sku_name};
use super::super::run::Run;
use super::super::statistics::Series;
use super::super::watch::{envoy_pid, pid};
use super::edges::{EDGES, Fleet, config};
use crate::{Envoy, client};

const ITEMS: u32 = 1_000;

/// What nobody comes up to.
const NEVER: (u32, u32) = (1_000_000, 1_000_000);

const CONNECTIONS: usize = 32;

/// A product in a shop's catalogue is one of so many. The first thousand of them are hot.
const CATALOGUE: Skus = Skus::Zipf(10_000);

const ROUNDS: usize = 5;

/// How many edges report as fast as they can, to see how much one process bears.
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
    of_the_service(run, &fleet).await;
    of_requests(run, &fleet).await;
    reports(run, &fleet).await;
    fleet.stop().await;
}

/// The service's CPU while edges report and nobody asks for anything.
async fn of_the_service(run: &mut Run, fleet: &Fleet) {
    let (service, began) = (pid(&fleet.service), Instant::now());
    let before = cpu::of_process(service);
    tokio::time::sleep(run.extent.phase).await;
    let used = cpu::of_process(service).saturating_sub(before);
    let per_edge = used.as_secs_f64() * 1e6 / EDGES as f64 / began.elapsed().as_secs_f64();
    let note =
        format!("four edges that report five times a second, {ITEMS} hot items, nobody asks");
    run.add(Figure::new("service_cpu_us_per_edge_s", per_edge, "us").note(note));
}

/// The CPU of a request at an edge that knows hot items and reports, beside one that does neither.
async fn of_requests(run: &mut Run, fleet: &Fleet) {
    let mut series = Series::default();
    let rounds = if run.extent.is_smoke { 1 } else { ROUNDS };
    for round in 0..rounds {
        for (name, reports) in [("without", false), ("with", true)] {
            let dir = run.dir().join(format!("cost-{round}-{name}"));
            let config = config(fleet.service.address(), NEVER, reports);
            let envoy = run.cores.for_server(Envoy::start(&dir, config, 1)).await.expect("Envoy");
            let us = us_per_request(run, &envoy).await;
            series.note((name, "us"), us);
            stop(envoy).await;
        }
    }
    let [with, without] = ["with", "without"].map(|name| series.median((name, "us")));
    let note = format!(
        "{with:.1} us of Envoy's CPU a request with {ITEMS} hot items, {without:.1} without a service"
    );
    run.add(Figure::new("edge_cpu_us_delta", with - without, "us").at_most(1.0).note(note));
}

async fn us_per_request(run: &Run, envoy: &Envoy) -> f64 {
    let text = format!(
        "POST /by-header HTTP/1.1\r\nhost: {}\r\nx-sku: SKU-$$$$$\r\ncontent-length: 0\r\n\r\n",
        envoy.address()
    );
    let template = Template::new(&text, CATALOGUE);
    let callers = Caller::connect_all(envoy.address(), CONNECTIONS).await;
    // Until it knows the items and what its threads lease.
    let numbers = Arc::new(AtomicU64::new(0));
    closed::run(callers, &template, &numbers, Duration::from_secs(2)).await;
    let callers = Caller::connect_all(envoy.address(), CONNECTIONS).await;
    let before = cpu::of_process(envoy_pid(envoy));
    let tally = closed::run(callers, &template, &numbers, run.extent.phase).await;
    let used = cpu::of_process(envoy_pid(envoy)).saturating_sub(before);
    assert_eq!(tally.count(200), tally.total(), "{:?}", tally.statuses);
    used.as_secs_f64() * 1e6 / tally.total() as f64
}

async fn stop(mut envoy: Envoy) {
    envoy.process.kill().await.expect("it ends");
}

/// How many reports one process answers per second: edges in a closed loop, each asked for ten items.
async fn reports(run: &mut Run, fleet: &Fleet) {
    let counted = Arc::new(Mutex::new(0_u64));
    let began = Instant::now();
    let end = began + run.extent.phase;
    let service = pid(&fleet.service);
    let before = cpu::of_process(service);
    let mut asking = JoinSet::new();
    for edge in 1..=REPORTERS {
        let (url, counted) =
            (fleet.service.url(&format!("/v1/edges/{edge:016x}/reports")), counted.clone());
        asking.spawn(async move {
            let (client, mut known, mut holds) = (client::http(), Value::Null, Value::Null);
            for number in 1_u64.. {
                if Instant::now() >= end {
                    break;
                }
                let items: Vec<_> = (1..=10)
                    .map(|item| json!({"sku": sku_name(item), "demand": 10 + number % 5}))
                    .collect();
                let report = json!({
                    "number": number, "known": known, "holds": holds, "is_all": false,
                    "items": items, "over_ms": 200, "heavy": [],
                });
                let answer = client.post(&url).json(&report).send().await.expect("an answer");
                assert_eq!(answer.status().as_u16(), 200);
                let reply: Value = answer.json().await.expect("a reply");
                (known, holds) =
                    (reply["version"].clone(), reply["version"]["incarnation"].clone());
                *counted.lock().expect("nobody panics here") += 1;
            }
        });
    }
    asking.join_all().await;
    let used = cpu::of_process(service).saturating_sub(before);
    let count = *counted.lock().expect("nobody has panicked") as f64;
    let note = format!(
        "{REPORTERS} edges in a closed loop, ten items each, a load generator that is slower than the service; \
         {:.0} us of the service's CPU a report",
        used.as_secs_f64() * 1e6 / count
    );
    run.add(Figure::new("reports_per_s", count / began.elapsed().as_secs_f64(), "/s").note(note));
}
