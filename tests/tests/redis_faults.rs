//! Many processes on Redis, and everything that can happen to them while a sale goes on: what clients
//! were told is kept, nothing happens twice, nobody is overtaken, nothing is oversold. The drill's
//! verdict judges, and believes only what clients were told (`cartgate_tests::drill::storm` says what
//! happens). Then the promises that one fault alone shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use cartgate_tests::drill::fleet::GroundKind;
use cartgate_tests::drill::scenario::{Overrides, Scenario};
use cartgate_tests::drill::storm::{Fault, Round, Storm};
use cartgate_tests::drill::verdict::Check;
use cartgate_tests::paths::repo_root;
use cartgate_tests::process::eventually;
use cartgate_tests::random::Random;
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Answer, Order, Service, ServiceOptions, Shop};
use tempfile::TempDir;

const SKU: &str = "SCARCE";

/// API processes, and workers.
const FLEET: (usize, usize) = (2, 2);
const LARGE_FLEET: (usize, usize) = (3, 3);

/// How much happens in one sale.
const FAULTS_PER_ROUND: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_on_one_redis_outlives_faults() {
    storm(GroundKind::Single, FLEET, 4, "storm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_on_a_cluster_outlives_faults() {
    storm(GroundKind::Cluster, FLEET, 3, "storm-cluster").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_loses_is_announced() {
    fail_over(FLEET, "storm-failover").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make test-faults"]
async fn a_sale_on_one_redis_outlives_sixty_faults() {
    storm(GroundKind::Single, LARGE_FLEET, 60, "storm-long").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make test-faults"]
async fn a_sale_on_a_cluster_outlives_forty_faults() {
    storm(GroundKind::Cluster, LARGE_FLEET, 40, "storm-cluster-long").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make test-faults"]
async fn what_ten_failovers_lose_is_announced() {
    for number in 1..=10 {
        fail_over(LARGE_FLEET, &format!("storm-failover-{number}")).await;
    }
}

/// Plays sales until so much has happened.
async fn storm(kind: GroundKind, fleet: (usize, usize), faults: usize, name: &str) {
    let mut storm = start(kind, fleet, name).await;
    let mut drawn = storm.draw(faults, Fault::of(kind));
    while !drawn.is_empty() {
        let some: Vec<_> = drawn.drain(..drawn.len().min(FAULTS_PER_ROUND)).collect();
        let round = storm.round(&some).await.unwrap();
        println!("{name}: {round}");
        acquit(&round);
    }
}

/// A replica that lags behind takes its primary's place in the middle of a sale.
async fn fail_over(fleet: (usize, usize), name: &str) {
    let mut storm = start(GroundKind::Pair, fleet, name).await;
    let mut faults = storm.draw(2, Fault::of(GroundKind::Pair));
    faults.insert(1, Fault::FailOver);
    let round = storm.round(&faults).await.unwrap();
    println!("{name}: {round}");
    acquit(&round);
}

async fn start(kind: GroundKind, fleet: (usize, usize), name: &str) -> Storm {
    let path = repo_root().join("tests/scenarios/storm.toml");
    let scenario = Scenario::read(&path, Overrides::default()).unwrap();
    let out = repo_root().join("target/drill").join(name);
    Storm::start(kind, fleet, scenario, Random::from_env(), out).await.unwrap()
}

fn acquit(round: &Round) {
    let Round { verdict, out, faults, .. } = round;
    assert!(verdict.holds(), "records are in {}\n{round}", out.display());
    for check in Check::ALL.into_iter().filter(|check| !check.is_of_edge()) {
        assert!(verdict.checked.count(check) > 0, "nothing to check for {}", check.name());
    }
    // A system that nobody called would outlive anything.
    for (fault, noticed) in faults {
        assert!(noticed.answers_before > 0, "before {fault:?} nobody was answered\n{round}");
        assert!(noticed.answers_after > 0, "after {fault:?} nobody was answered\n{round}");
    }
}

/// A server of its own, and processes on it.
async fn shared(roles: &[&'static str], settings: &str) -> (TempDir, Redis, Vec<Service>) {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(&RedisOptions::new(&dir.path().join("redis"))).await.unwrap();
    let mut services = Vec::new();
    for (number, roles) in roles.iter().copied().enumerate() {
        let options = ServiceOptions::new(&dir.path().join(number.to_string()));
        let options = options.settings(settings).store(&redis.url()).roles(roles);
        services.push(Service::start(&options).await.unwrap());
    }
    (dir, redis, services)
}

async fn stocked(service: &Service) -> Shop {
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 1_000).await.unwrap().status, 200);
    shop
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ticket_of_an_api_process_that_died_is_answered_by_another() {
    let settings = "wait_ms = 20\n[lanes]\nreserves_per_s = 2\n";
    let (_dir, _redis, mut services) = shared(&["worker", "api", "api"], settings).await;
    let shop = stocked(&services[1]).await;
    let mut tickets = Vec::new();
    while tickets.len() < 3 {
        let answer = shop.reserve(&Order::one(SKU)).await.unwrap();
        if answer.status == 202 {
            tickets.push(answer.ticket().to_owned());
        }
    }
    services[1].process.kill().await.unwrap();
    let other = Shop::at(services[2].address());
    for ticket in tickets {
        let path = format!("/v1/tickets/{ticket}");
        let outcome = eventually("the ticket's outcome", || async {
            let answer = other.get(&path).await.unwrap();
            (answer.status != 202).then_some(answer)
        });
        let outcome = outcome.await;
        assert_eq!((outcome.status, outcome.reservation_id()), (200, ticket.as_str()));
    }
}

/// Whoever waits in a process that dies finds the outcome in another one, under the same key.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waited_in_a_process_that_died_hears_from_another() {
    let settings = "[lanes]\nreserves_per_s = 1\n";
    let (_dir, _redis, mut services) = shared(&["worker", "api", "api"], settings).await;
    let shop = stocked(&services[1]).await;
    let keyed = |key: &str| Order { key: Some(key.to_owned()), ..Order::one(SKU) };
    assert_eq!(shop.reserve(&keyed("first")).await.unwrap().status, 201);
    let (waiting, order) = (shop.clone(), keyed("second"));
    let waits = tokio::spawn(async move { waiting.reserve(&order).await });
    let other = Shop::at(services[2].address());
    eventually("the order in its stream", || async {
        let metrics = other.metrics().await.ok()?;
        metrics.contains("queue=\"reserve\"} 1").then_some(())
    })
    .await;
    services[1].process.kill().await.unwrap();
    assert!(waits.await.unwrap().is_err(), "nobody answers for the dead");
    let answer = other.reserve(&keyed("second")).await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    let stock = other.stock(SKU).await.unwrap().body;
    assert_eq!(stock["held"], 2, "{stock}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_outage_callers_are_told_at_once_and_it_ends_by_itself() {
    let (_dir, mut redis, services) = shared(&["api,worker"], "").await;
    let shop = stocked(&services[0]).await;
    redis.kill().await.unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let asked = Instant::now();
        let answer = shop.reserve(&Order::one(SKU)).await.unwrap();
        let took = asked.elapsed();
        assert_unavailable(&answer);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    assert_eq!(shop.get("/ready").await.unwrap().status, 503);
    assert_eq!(shop.get("/live").await.unwrap().status, 200);
    redis.restart().await.unwrap();
    eventually("an order to be taken", || async {
        let answer = shop.reserve(&Order::one(SKU)).await.unwrap();
        (answer.status == 201).then_some(())
    })
    .await;
    assert_eq!(shop.get("/ready").await.unwrap().status, 200);
}

/// Both may have been started at once, or Redis be reading its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_waits_for_a_store_that_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let options = RedisOptions::new(&dir.path().join("redis"));
    let mut redis = Redis::start(&options).await.unwrap();
    redis.kill().await.unwrap();
    let options = ServiceOptions::new(dir.path()).store(&redis.url()).roles("api,worker");
    let restart = async {
        let log = dir.path().join("log/cartgate.log");
        eventually("the service to ask in vain", || async {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.contains("does not answer yet").then_some(())
        })
        .await;
        redis.restart().await.unwrap();
    };
    let (service, ()) = tokio::join!(Service::start(&options), restart);
    let service = service.unwrap();
    let shop = stocked(&service).await;
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
}

/// Who has paid does not lose a hold because there is no room for the next.
#[tokio::test(flavor = "multi_thread")]
async fn with_memory_full_orders_are_refused_and_holds_are_confirmed() {
    let (_dir, redis, services) = shared(&["api,worker"], "").await;
    let shop = stocked(&services[0]).await;
    let held = shop.reserve(&Order::one(SKU)).await.unwrap();
    let other = shop.reserve(&Order::one(SKU)).await.unwrap();
    assert_eq!((held.status, other.status), (201, 201));
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    assert_unavailable(&shop.reserve(&Order::one(SKU)).await.unwrap());
    let confirmed = shop.settle(held.reservation_id(), "confirm").await.unwrap();
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let released = shop.settle(other.reservation_id(), "release").await.unwrap();
    assert_eq!(released.status, 200, "{released:?}");
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let retry_after = answer.header("retry-after").and_then(|value| value.parse::<u64>().ok());
    assert!(retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{answer:?}");
}
