//! Do others notice a flood? A hot item with a lane of its own is offered ten times what its lane
//! takes, beside a moderate load of others; and the others alone, in turns.

use std::time::Duration;

use serde_json::json;

use super::cpu;
use super::figures::Figure;
use super::open;
use super::request::{Skus, Template, sku_name};
use super::run::{Run, progress};
use super::statistics::Series;
use super::watch::{fill, lane_depth};
use crate::process::poll_until;
use crate::{Service, client};

/// What the hot item's lane takes per second, and what it is offered.
const HOT_PACE: u32 = 200;
const FLOOD_PER_S: f64 = 2_000.0;

/// What the others are offered per second, all together, and how many they are.
const OTHERS_PER_S: f64 = 1_000.0;
const OTHERS: Skus = Skus::Spread(50);

/// Rounds: a p99 is made of few calls, so there are more of them than elsewhere.
const ROUNDS: usize = 5;

/// The lane holds three seconds of work and callers wait for one: some get their outcome, some a
/// ticket, most 503.
const SETTINGS: &str = "wait_ms = 1000\nconnections_max = 5000\n[lanes]\nreserve_queue_max = 600\n";

/// Above this share of all cores, a flood is felt whatever the lanes do.
const CPU_MAX: f64 = 0.7;

/// Measures, with all SKUs in one bucket and with 64 of them.
///
/// # Panics
/// Something fails, or others than the hot item are refused.
pub async fn measure(run: &mut Run) {
    for (buckets, keys) in [(1, ONE_BUCKET), (64, MANY_BUCKETS)] {
        let settings = format!("buckets = {buckets}\n{SETTINGS}");
        let service = run.start(&run.service_options(&format!("flood-{buckets}"), &settings)).await;
        for sku in Skus::Hot.all().chain(OTHERS.all()) {
            fill(&service, sku).await;
        }
        match make_hot(&service).await {
            Ok(()) => compare(run, &service, buckets, &keys).await,
            Err(why) => run.add(Figure::missing(keys.ratio, why).at_most(1.3)),
        }
    }
}

struct Keys {
    ratio: &'static str,
    quiet: &'static str,
    flood: &'static str,
    cpu: &'static str,
}

const ONE_BUCKET: Keys = Keys {
    ratio: "p99_others_flood_vs_quiet",
    quiet: "p99_others_quiet_us",
    flood: "p99_others_flood_us",
    cpu: "flood_cpu_share",
};

const MANY_BUCKETS: Keys = Keys {
    ratio: "p99_others_flood_vs_quiet_64_buckets",
    quiet: "p99_others_quiet_64_buckets_us",
    flood: "p99_others_flood_64_buckets_us",
    cpu: "flood_64_buckets_cpu_share",
};

/// Gives the hot SKU a lane of its own.
async fn make_hot(service: &Service) -> Result<(), String> {
    let url = service.url(&format!("/v1/hot-items/{}", sku_name(0)));
    let request = client::http().put(url).json(&json!({ "reserves_per_s": HOT_PACE }));
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let refused = || format!("not available: PUT /v1/hot-items/... was answered {status}");
    status.is_success().then_some(()).ok_or_else(refused)
}

async fn compare(run: &mut Run, service: &Service, buckets: u16, keys: &Keys) {
    let mut series = Series::default();
    let rounds = if run.extent.is_smoke { run.extent.rounds } else { ROUNDS };
    for round in 1..=rounds {
        progress(&format!("a flood and none, {buckets} buckets, round {round} of {rounds}"));
        phase(run, service, "quiet", 0.0, &mut series).await;
        phase(run, service, "flood", FLOOD_PER_S, &mut series).await;
        drained(service).await;
    }
    let [quiet, flood] = ["quiet", "flood"].map(|name| (name, "p99_us"));
    let share = series.median(("flood", "cpu"));
    let note = format!(
        "{buckets} bucket(s); total CPU under the flood {:.0} % of all cores{}; of the \
         flood {:.0}/s got an outcome or a ticket, {:.0}/s a 503 at once",
        100.0 * share,
        if share > CPU_MAX { ", MORE than it may be (70 %): the ratio says little" } else { "" },
        series.median(("flood", "held")),
        series.median(("flood", "refused")),
    );
    run.add(Figure::new(keys.quiet, series.median(quiet), "us"));
    run.add(Figure::new(keys.flood, series.median(flood), "us"));
    run.add(Figure::new(keys.cpu, share, "x"));
    run.add(Figure::new(keys.ratio, series.ratio(flood, quiet), "x").at_most(1.3).note(note));
}

/// One phase: the others, and perhaps a flood beside them.
async fn phase(
    run: &Run,
    service: &Service,
    name: &'static str,
    flood_per_s: f64,
    series: &mut Series,
) {
    let (address, lasts) = (service.address(), run.extent.phase);
    let load = |skus, per_s| {
        let template = Template::reservation(address, skus);
        open::run(address, template, &run.numbers, per_s, lasts)
    };
    let before = cpu::of_machine();
    let others = load(OTHERS, OTHERS_PER_S);
    let flood =
        async { if flood_per_s > 0.0 { Some(load(Skus::Hot, flood_per_s).await) } else { None } };
    let cpu = async {
        tokio::time::sleep(lasts).await;
        let now = cpu::of_machine();
        (now.0 - before.0).as_secs_f64() / (now.1 - before.1).as_secs_f64()
    };
    let (others, flood, cpu) = tokio::join!(others, flood, cpu);
    assert_eq!(others.count(201), others.total(), "others are refused: {:?}", others.statuses);
    series.note((name, "p99_us"), others.p99_us());
    series.note((name, "cpu"), cpu);
    if let Some(flood) = flood {
        let per_s = |status| flood.count(status) as f64 / lasts.as_secs_f64();
        series.note((name, "held"), per_s(201) + per_s(202));
        series.note((name, "refused"), per_s(503));
    }
}

/// Waits until nothing of the flood is left.
async fn drained(service: &Service) {
    let empty = || async { (lane_depth(service).await == 0).then_some(()) };
    poll_until(Duration::from_secs(30), empty).await.expect("the hot lane is drained");
}
