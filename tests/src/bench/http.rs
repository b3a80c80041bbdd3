//! Reservations per second over HTTP: one hot SKU, beside 10,000 SKUs, an empty route of the same
//! server, and the conventional way. All take turns.

use super::aftermath::{self, Promises};
use super::closed::{self, Caller};
use super::conventional::Rivals;
use super::cpu;
use super::figures::Figure;
use super::request::{Skus, Template};
use super::run::{CALLERS, Run, progress};
use super::statistics::Series;
use super::tally::Tally;
use super::watch::{fill, pid};
use crate::Service;

/// SKUs of a spread load.
const SPREAD: usize = 10_000;

/// The load generator has one core; above this share of it, the figures could be its own.
const GENERATOR_MAX: f64 = 0.9;

/// Measures, then kills the service under load and counts what is left.
///
/// # Panics
/// Something fails, or is lost.
pub async fn measure(run: &mut Run) {
    let spread = u32::try_from(run.extent.many(SPREAD)).expect("a number of SKUs");
    let mut promises = [Skus::Hot, Skus::Spread(spread)].map(Promises::none_yet);
    let options = run.service_options("http", "");
    let mut service = run.start(&options).await;
    for sku in promises.iter().flat_map(|promises| promises.skus.all()) {
        fill(&service, sku).await;
    }
    let mut rivals = Rivals::start(run).await;
    let mut series = Series::default();
    for round in 1..=run.extent.rounds {
        progress(&format!("HTTP and PostgreSQL, round {round} of {}", run.extent.rounds));
        let [hot, spread] = &mut promises;
        reservations(run, &service, "hot", hot, &mut series).await;
        let empty = Template::empty_route(service.address());
        load(run, &service, "noop", &empty, 200, &mut series).await;
        reservations(run, &service, "spread", spread, &mut series).await;
        rivals.measure(run, &mut series).await;
    }
    rivals.stop().await;
    report(run, &series, &rivals);
    let unanswered = kill_under_load(run, &mut service, &mut promises[0]).await;
    progress("the service is started again, and everything is counted");
    let service = run.start(&options).await;
    let counted = aftermath::count(&service, &promises, unanswered).await;
    let note = format!(
        "killed under load, started again: all {} that callers were told of are there; journal \
         entries: {}; outcomes asked for again and as told: {}",
        counted.told, counted.entries, counted.outcomes
    );
    run.add(Figure::new("http_holds_counted", counted.holds as f64, "holds").note(note));
}

async fn reservations(
    run: &Run,
    service: &Service,
    name: &'static str,
    promises: &mut Promises,
    series: &mut Series,
) {
    let template = Template::reservation(service.address(), promises.skus);
    let tally = load(run, service, name, &template, 201, series).await;
    promises.told.extend(tally.told);
}

/// One phase: callers in a closed loop, all answered with `status`; and who used how much CPU.
///
/// # Panics
/// A caller is answered otherwise.
pub(super) async fn load(
    run: &Run,
    service: &Service,
    name: &'static str,
    template: &Template,
    status: u16,
    series: &mut Series,
) -> Tally {
    let callers = Caller::connect_all(service.address(), CALLERS).await;
    let before = (cpu::of_process(pid(service)), cpu::of_this_process());
    let tally = closed::run(callers, template, &run.numbers, run.extent.phase).await;
    let server = cpu::of_process(pid(service)).saturating_sub(before.0);
    let generator = cpu::of_this_process().saturating_sub(before.1);
    let answers = tally.total() as f64;
    for (what, value) in [
        ("per_s", tally.per_s(status)),
        ("server_us", server.as_secs_f64() * 1e6 / answers),
        ("generator_us", generator.as_secs_f64() * 1e6 / answers),
        ("generator_share", generator.as_secs_f64() / tally.lasted.as_secs_f64()),
        ("server_share", server.as_secs_f64() / tally.lasted.as_secs_f64()),
        ("p99_us", tally.p99_us()),
    ] {
        series.note((name, what), value);
    }
    tally
}

/// Kills the service while callers wait for answers. Returns how many did so in vain.
async fn kill_under_load(run: &Run, service: &mut Service, promises: &mut Promises) -> u64 {
    progress("the service is killed under load");
    let template = Template::reservation(service.address(), promises.skus);
    let callers = Caller::connect_all(service.address(), CALLERS).await;
    let load = closed::run(callers, &template, &run.numbers, run.extent.phase);
    let kill = async {
        tokio::time::sleep(run.extent.phase / 2).await;
        service.process.kill().await.expect("the service is killed");
    };
    let (tally, ()) = tokio::join!(load, kill);
    assert_eq!(tally.broken, CALLERS as u64, "the service died under all callers");
    promises.told.extend(tally.told);
    tally.broken
}

fn report(run: &mut Run, series: &Series, rivals: &Rivals) {
    let [hot, spread, noop] = ["hot", "spread", "noop"].map(|name| (name, "per_s"));
    let [pg_200, best] = ["pgbench 200", "best"].map(|name| (name, "per_s"));
    let figures = [
        Figure::new("http_hot_per_s", series.median(hot), "/s").note(used("hot", series)),
        Figure::new("http_spread_per_s", series.median(spread), "/s").note(used("spread", series)),
        Figure::new("http_noop_per_s", series.median(noop), "/s").note(used("noop", series)),
        Figure::new("postgres_200_per_s", series.median(pg_200), "/s"),
        Figure::new("postgres_best_per_s", series.median(best), "/s").note(rivals.describe(series)),
        Figure::new("http_hot_vs_postgres_200", series.ratio(hot, pg_200), "x").at_least(20.0),
        Figure::new("http_hot_vs_postgres_best", series.ratio(hot, best), "x").at_least(8.0),
        Figure::new("http_hot_vs_noop", series.ratio(hot, noop), "x").at_least(0.6),
        Figure::new("hot_vs_spread", series.ratio(hot, spread), "x").at_least(0.9),
        Figure::new("http_hot_cpu_us", series.median(("hot", "server_us")), "us"),
        Figure::new("http_spread_cpu_us", series.median(("spread", "server_us")), "us"),
        Figure::new("http_noop_cpu_us", series.median(("noop", "server_us")), "us")
            .note("GET /live with the same bytes; there is no empty POST route"),
        Figure::new("http_hot_p99_us", series.median(("hot", "p99_us")), "us"),
    ];
    figures.into_iter().for_each(|figure| run.add(figure));
}

/// Who used how much CPU, in words.
pub(super) fn used(name: &'static str, series: &Series) -> String {
    let [server, generator] =
        ["server_share", "generator_share"].map(|what| series.median((name, what)));
    format!(
        "CPU: server {:.0} % of a core, {:.1} us a request; load generator {:.0} %, {:.1} us{}",
        100.0 * server,
        series.median((name, "server_us")),
        100.0 * generator,
        series.median((name, "generator_us")),
        if generator > GENERATOR_MAX { ": IT IS THE BOTTLENECK" } else { "" },
    )
}
