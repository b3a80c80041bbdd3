//! Edges that report to several processes on one Redis: one of them leads, and the others ask it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Instant;

use cartgate_tests::client::http;
use cartgate_tests::edges::{Edge, total};
use cartgate_tests::process::eventually;
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Order, Service, ServiceOptions, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

const SKU: &str = "SNEAKER-1";

/// A Redis, and processes on it.
struct Site {
    redis: Redis,
    services: Vec<Service>,
    _dir: TempDir,
}

impl Site {
    /// A worker, and two processes of the API.
    async fn start(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let redis = Redis::start(&RedisOptions::new(&dir.path().join("redis"))).await.unwrap();
        let mut services = Vec::new();
        for (name, roles) in [("worker", "worker"), ("one", "api"), ("two", "api")] {
            let settings = format!("buckets = 4\n{settings}");
            let options = ServiceOptions::new(&dir.path().join(name)).settings(&settings);
            let options = options.store(&redis.url()).roles(roles);
            services.push(Service::start(&options).await.unwrap());
        }
        let shop = Shop::at(services[1].address());
        eventually("that the worker has its buckets", || async {
            (shop.set_stock(SKU, 100_000).await.ok()?.status == 200).then_some(())
        })
        .await;
        Self { redis, services, _dir: dir }
    }

    /// The processes of the API.
    fn apis(&self) -> &[Service] {
        &self.services[1..]
    }

    async fn register(&self, terms: Value) {
        let url = self.services[1].url(&format!("/v1/hot-items/{SKU}"));
        let answer = http().put(url).json(&terms).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Which process of the API leads.
    async fn leader(&self) -> usize {
        eventually("a leader", || async {
            let mut leaders = Vec::new();
            for (n, service) in self.services.iter().enumerate().skip(1) {
                let metrics = http().get(service.url("/metrics")).send().await.ok()?;
                let metrics = metrics.text().await.ok()?;
                leaders.extend(metrics.contains("\ncartgate_fleet_leader 1").then_some(n));
            }
            // What one that leads no more says may be a second old.
            leaders.pop().filter(|_| leaders.is_empty())
        })
        .await
    }
}

fn limited(per_second: u32) -> Value {
    json!({"limit": {"per_second": per_second}})
}

/// By whom each edge was told what it knows.
async fn incarnations(edges: &Mutex<Vec<Edge>>) -> Vec<u64> {
    let edges = edges.lock().await;
    edges.iter().map(|edge| edge.reporter.table().version.unwrap().incarnation).collect()
}

fn have_changed(before: &[u64], now: &[u64]) -> Option<()> {
    before.iter().zip(now).all(|(before, now)| before != now).then_some(())
}

/// Each edge reports to a process of its own, and to another when that does not answer. They have never
/// more than the limit.
async fn until(edges: &Mutex<Vec<Edge>>, services: &[Service], is_so: impl Fn(&[u32]) -> bool) {
    eventually("the shares", || async {
        let mut edges = edges.lock().await;
        for (n, edge) in edges.iter_mut().enumerate() {
            let tried = edge.reporter.failures() as usize;
            let service = &services[(n + tried) % services.len()];
            edge.report(service.address()).await;
        }
        assert!(total(&edges, SKU) <= 100, "{}", total(&edges, SKU));
        let held: Vec<_> = edges.iter().map(|edge| edge.share(SKU)).collect();
        is_so(&held).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_costs_nobody_a_share() {
    let mut site = Site::start("").await;
    site.register(limited(100)).await;
    let edges = Mutex::new(Edge::fleet(3));
    edges.lock().await[..2].iter_mut().for_each(|edge| edge.ask(SKU, 500));
    until(&edges, site.apis(), |held| held == [50, 50, 0]).await;
    // Any process shows how the item stands.
    for service in &site.services {
        let url = service.url(&format!("/v1/hot-items/{SKU}"));
        let shown: Value = http().get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(shown["edges"]["reporting"], 3, "{shown}");
        let fleet = http().get(service.url("/v1/edges")).send().await.unwrap();
        assert_eq!(fleet.json::<Value>().await.unwrap()["edges"], 3);
    }
    let leader = site.leader().await;
    let before = incarnations(&edges).await;
    site.services[leader].process.kill().await.unwrap();
    let killed = Instant::now();
    // The one that has nothing gets nothing until the new leader has learnt; the others keep what they have.
    edges.lock().await[2].ask(SKU, 500);
    eventually("the answers of another leader", || async {
        until(&edges, site.apis(), |held| {
            assert_eq!(held[2], 0, "{held:?}");
            true
        })
        .await;
        have_changed(&before, &incarnations(&edges).await)
    })
    .await;
    let answered_s = killed.elapsed().as_secs_f64();
    assert!(answered_s < 10.0, "{answered_s} s until reports were answered again");
    until(&edges, site.apis(), |held| held.iter().all(|share| *share >= 33)).await;
}

/// It does not know that its time is over, until it looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hung_leads_no_more() {
    let site = Site::start("").await;
    site.register(limited(100)).await;
    let edges = Mutex::new(Edge::fleet(2));
    until(&edges, site.apis(), |held| held == [50, 50]).await;
    let hung = &site.services[site.leader().await];
    let before = incarnations(&edges).await;
    hung.process.pause();
    eventually("the answers of another leader", || async {
        until(&edges, site.apis(), |_| true).await;
        have_changed(&before, &incarnations(&edges).await)
    })
    .await;
    hung.process.resume();
    edges.lock().await[0].ask(SKU, 500);
    until(&edges, site.apis(), |held| held == [100, 0]).await;
    assert_eq!(have_changed(&before, &incarnations(&edges).await), Some(()));
    site.leader().await;
}

/// The process that orders go to is not the leader: what it is asked for counts all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_any_process_is_asked_for_is_noticed() {
    let site = Site::start("[detection]\nper_s = 20\nsurge_per_s = 20").await;
    let leader = site.leader().await;
    let other = &site.services[if leader == 1 { 2 } else { 1 }];
    let shop = Shop::at(other.address());
    eventually("that it is registered", || async {
        shop.reserve(&Order { quantity: 5, ..Order::one(SKU) }).await.unwrap();
        let shown = shop.get(&format!("/v1/hot-items/{SKU}")).await.unwrap();
        (shown.status == 200 && shown.body["origin"] == "detected").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_reports_are_answered_503_and_again_after_it() {
    let mut site = Site::start("").await;
    site.register(limited(100)).await;
    let edges = Mutex::new(Edge::fleet(1));
    until(&edges, site.apis(), |held| held == [100]).await;
    let leader = site.leader().await;
    site.redis.kill().await.unwrap();
    let others = site.services[if leader == 1 { 2 } else { 1 }].address();
    let status = eventually("that nobody can answer", || async {
        let answer = edges.lock().await[0].report(others).await?;
        (answer != 200).then_some(answer)
    })
    .await;
    assert_eq!(status, 503);
    site.redis.restart().await.unwrap();
    until(&edges, site.apis(), |held| held == [100]).await;
}
