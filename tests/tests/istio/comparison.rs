//! The mesh's own way to a limit per product, beside ours: what each does while its service is away. What this
//! shows is in `istio/comparison.md`.

use std::time::{Duration, Instant};

use cartgate_tests::client::{self, exchange};
use cartgate_tests::edges::Edge;
use cartgate_tests::flood::{check_never_above, check_used, flood};
use cartgate_tests::istio::{Manifests, SERVICE, service_at};
use cartgate_tests::process::eventually;
use cartgate_tests::ratelimit::{REDIS_SETTINGS, RatelimitService};
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Service, ServiceOptions, Shop};
use serde_json::json;
use tokio::sync::Mutex;

use super::site::{Front, Plan, Site, every_request};

const PER_SECOND: u32 = 5;

/// Orders one unit, naming the product in a header, which is where Envoy's own filter can find it.
async fn order(site: &Site, sku: &str) -> u16 {
    let request = format!(
        "POST /v1/reservations HTTP/1.1\r\nhost: {SERVICE}\r\nx-sku: {sku}\r\ncontent-length: 0\r\n\r\n"
    );
    exchange(site.front.address(), request).await.status()
}

/// More at once than are admitted in two seconds, which may be two windows.
async fn burst(site: &Site, sku: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..3 * PER_SECOND {
        statuses.push(order(site, sku).await);
    }
    statuses
}

/// Some of a burst is admitted, and some refused.
async fn is_limited(site: &Site, sku: &str) {
    let statuses = burst(site, sku).await;
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

struct Theirs {
    site: Site,
    service: RatelimitService,
    _redis: Redis,
    _dir: tempfile::TempDir,
}

async fn theirs(failure_mode_deny: bool) -> Theirs {
    let dir = tempfile::tempdir().unwrap();
    let options = RedisOptions::new(&dir.path().join("redis")).settings(REDIS_SETTINGS);
    let redis = Redis::start(&options).await.unwrap();
    let service = RatelimitService::start_with(dir.path(), &redis, PER_SECOND).await.unwrap();
    let entry = service_at("ratelimit.default.svc.cluster.local", 8_081, "GRPC", service.address());
    let change = |manifests: Manifests| {
        let mut manifests = manifests.with(entry);
        let filter = manifests.get("EnvoyFilter", "filter-ratelimit");
        *filter.at("/spec/configPatches/0/patch/value/typed_config/failure_mode_deny") =
            failure_mode_deny.into();
        manifests
    };
    let site = Plan::new(Front::Gateway, "comparison/ratelimit.yaml").start_with(change).await;
    Theirs { site, service, _redis: redis, _dir: dir }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio and envoyproxy/ratelimit: make test-istio"]
async fn theirs_refuses_everybody_while_its_service_is_away() {
    let mut theirs = theirs(true).await;
    is_limited(&theirs.site, "HOT").await;
    assert_eq!(order(&theirs.site, "CALM").await, 200);
    theirs.service.process.kill().await.unwrap();
    assert_eq!(order(&theirs.site, "HOT").await, 500);
    assert_eq!(order(&theirs.site, "CALM").await, 500);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio and envoyproxy/ratelimit: make test-istio"]
async fn or_theirs_limits_nobody_meanwhile() {
    let mut theirs = theirs(false).await;
    is_limited(&theirs.site, "HOT").await;
    theirs.service.process.kill().await.unwrap();
    assert!(burst(&theirs.site, "HOT").await.iter().all(|status| *status == 200));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio and envoyproxy/ratelimit: make test-istio"]
async fn theirs_keeps_everybody_waiting_while_its_service_hangs() {
    let theirs = theirs(true).await;
    assert_eq!(order(&theirs.site, "CALM").await, 200);
    theirs.service.process.pause();
    let began = Instant::now();
    assert_eq!(order(&theirs.site, "CALM").await, 500);
    // Its `timeout`, which is 10 s.
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    theirs.service.process.resume();
}

struct Ours {
    site: Site,
    service: Service,
    _dir: tempfile::TempDir,
}

/// Reports go to the service, orders to somebody who goes on: the one is away, and not the other.
async fn ours(settings: &str) -> Ours {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path()).settings(settings);
    let service = Service::start(&options).await.unwrap();
    let limit = json!({"per_second": PER_SECOND, "burst": PER_SECOND});
    let filter = json!({
        "default_limit": limit,
        "service": {"cluster": "outbound|8090||control.default.svc.cluster.local"},
        "routes": [
            {"method": "POST", "path": "/v1/reservations", "sku": [{"header": "x-sku"}]},
            // As `flood` asks.
            {"method": "POST", "path": "/by-query", "sku": [{"query": "sku"}]},
        ],
    });
    let entry = service_at("control.default.svc.cluster.local", 8_090, "HTTP", service.address());
    let change = |manifests| every_request(manifests).settings(&filter).with(entry);
    let site = Plan::new(Front::Gateway, "edge/gateway.yaml").start_with(change).await;
    contact(&site, 1).await;
    Ours { site, service, _dir: dir }
}

/// Waits until the gateway hears of the service (1), goes on with its shares (2), or is on its own (3).
async fn contact(site: &Site, expected: u64) {
    eventually("the gateway's contact", async || {
        let contact = site.front.stat(|name| name.ends_with("cartgate_contact")).await;
        (contact == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn ours_goes_on_limiting_while_its_service_is_away() {
    let Ours { site, mut service, _dir } = ours("").await;
    is_limited(&site, "HOT").await;
    // Whether it hangs or is dead.
    service.process.pause();
    contact(&site, 3).await;
    is_limited(&site, "HOT").await;
    service.process.kill().await.unwrap();
    let statuses = burst(&site, "HOT").await;
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(order(&site, "CALM").await, 200);
}

/// A limit that all edges have together: the gateway goes on with its share of it, and later with an equal part.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn ours_goes_on_with_its_share_of_a_fleets_limit() {
    let Ours { site, mut service, _dir } = ours("[edges]\nttl_ms = 8_000\n").await;
    let limit = (100, 100);
    let back = Shop::at(service.address());
    back.set_stock("HOT", 1_000).await.unwrap();
    let terms = json!({"limit": {"per_second": limit.0, "burst": limit.1}});
    let register = client::http().put(service.url("/v1/hot-items/HOT")).json(&terms);
    assert!(register.send().await.unwrap().status().is_success());
    let lasts = Duration::from_secs(2);
    let admitted = || flood(site.front.address(), |_| "HOT".to_owned(), 8, lasts);

    // Another edge is not asked for it: nearly all of the limit is for the gateway.
    let other = Mutex::new(Edge::new(1));
    eventually("the gateway's share", async || {
        other.lock().await.report(service.address()).await;
        let edges = &back.get("/v1/hot-items/HOT").await.unwrap().body["edges"];
        let admitted = admitted().await;
        let is_shared = edges["acknowledged"] == 2 && admitted.len() > 180;
        is_shared.then_some(())
    })
    .await;
    service.process.kill().await.unwrap();
    contact(&site, 2).await;
    check_used(0.9, (limit.0, 0), lasts, &admitted().await);
    contact(&site, 3).await;
    let mut admitted = admitted().await;
    check_never_above((limit.0 / 2, limit.1 / 2), &mut admitted);
    check_used(0.9, (limit.0 / 2, 0), lasts, &admitted);
}
