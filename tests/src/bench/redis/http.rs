//! Reservations per second over HTTP, of one hot SKU: the service on Redis, beside the same service
//! with the store that is part of it. They take turns, and each round begins with empty stores. One
//! process has both roles: what its owners tell its callers does not pass through Redis.

use std::time::Duration;

use super::work::Work;
use crate::bench::cpu;
use crate::bench::figures::Figure;
use crate::bench::http::{load, used};
use crate::bench::request::{Skus, Template, sku_name};
use crate::bench::run::{Run, progress};
use crate::bench::statistics::Series;
use crate::bench::watch::{fill, pid};
use crate::redis::Redis;
use crate::{ServiceOptions, Shop};

/// What the series are called.
const EMBEDDED: &str = "embedded";
const REDIS: &str = "redis";

/// How the names begin of the threads in which a service decides.
const OWNERS: &str = "owner-";

/// Measures.
///
/// # Panics
/// Something fails, or is lost.
pub async fn measure(run: &mut Run) {
    let mut series = Series::default();
    for round in 1..=run.extent.rounds {
        progress(&format!("HTTP, embedded and on Redis, round {round} of {}", run.extent.rounds));
        let options = run.service_options(&format!("http-embedded-{round}"), "");
        sell(run, EMBEDDED, &options, None, &mut series).await;
        let mut redis = super::server(run, &run.dir().join(format!("http-redis-{round}"))).await;
        let options = run.service_options(&format!("http-on-redis-{round}"), "");
        sell(run, REDIS, &options.store(&redis.url()), Some(&redis), &mut series).await;
        // What it used is ours only once it has ended.
        redis.kill().await.expect("it ends");
    }
    report(run, &series);
}

/// One round on a service of its own, all of whose holds its callers have been told of.
async fn sell(
    run: &Run,
    name: &'static str,
    options: &ServiceOptions,
    redis: Option<&Redis>,
    series: &mut Series,
) {
    let mut service = run.start(options).await;
    fill(&service, 0).await;
    let template = Template::reservation(service.address(), Skus::Hot);
    let owners = || cpu::of_threads(pid(&service), OWNERS);
    let (before, owned) = (work(redis).await, owners());
    let tally = load(run, &service, name, &template, 201, series).await;
    if let (Some(before), Some(after)) = (before, work(redis).await) {
        let (work, sold) = (after - before, tally.told.len() as f64);
        let us = |time: Duration| time.as_secs_f64() * 1e6 / sold;
        series.note((name, "redis_us"), us(work.cpu));
        series.note((name, "owner_us"), us(owners() - owned));
        series.note((name, "round_trips"), work.commands / sold);
    }
    let stock = Shop::at(service.address()).stock(&sku_name(0)).await.expect("the stock");
    assert_eq!(stock.body["held"], tally.told.len(), "{name}: held, and told of");
    service.process.stop().await.expect("the service ends");
}

async fn work(redis: Option<&Redis>) -> Option<Work> {
    match redis {
        Some(redis) => Some(Work::of(redis).await),
        None => None,
    }
}

fn report(run: &mut Run, series: &Series) {
    let of = |what: &'static str| series.median((REDIS, what));
    let [redis, embedded] = [REDIS, EMBEDDED].map(|name| (name, "per_s"));
    let note = format!(
        "{}; Redis {:.1} us, what 64 buckets ask without work included",
        used(REDIS, series),
        of("redis_us")
    );
    let figures = [
        Figure::new("http_redis_per_s", series.median(redis), "/s").note(note),
        Figure::new("http_embedded_per_s", series.median(embedded), "/s")
            .note(used(EMBEDDED, series)),
        Figure::new("http_vs_embedded", series.ratio(redis, embedded), "x").at_least(0.6),
        Figure::new("http_redis_service_cpu_us", of("server_us"), "us"),
        Figure::new("http_redis_owner_cpu_us", of("owner_us"), "us")
            .note("of these: what deciding and committing takes, a worker's part"),
        Figure::new("http_redis_redis_cpu_us", of("redis_us"), "us"),
        Figure::new("http_redis_round_trips", of("round_trips"), ""),
        Figure::new("http_redis_p99_us", of("p99_us"), "us"),
        Figure::new("http_embedded_service_cpu_us", series.median((EMBEDDED, "server_us")), "us"),
        Figure::new("http_embedded_p99_us", series.median((EMBEDDED, "p99_us")), "us"),
    ];
    figures.into_iter().for_each(|figure| run.add(figure));
}
