//! The mesh's own way to a limit per product, beside ours: what each does while its service is away. What this
//! shows is in `istio/comparison.md`.

use std::time::{Duration, Instant};

use cartgate_tests::client::exchange;
use cartgate_tests::istio::{Manifests, SERVICE, service_at};
use cartgate_tests::process::eventually;
use cartgate_tests::ratelimit::{REDIS_SETTINGS, RatelimitService};
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Service, ServiceOptions};
use serde_json::json;

use super::site::{Front, Plan, Site};

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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn ours_goes_on_limiting_while_its_service_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut service = Service::start(&ServiceOptions::new(dir.path())).await.unwrap();
    let limit = json!({"per_second": PER_SECOND, "burst": PER_SECOND});
    let settings = json!({
        "default_limit": limit,
        "service": {"cluster": "outbound|8090||control.default.svc.cluster.local"},
        "routes": [{"method": "POST", "path": "/v1/reservations", "sku": [{"header": "x-sku"}]}],
    });
    // Reports go to the service, orders to somebody who goes on: the one is away, and not the other.
    let entry = service_at("control.default.svc.cluster.local", 8_090, "HTTP", service.address());
    let plan = Plan::new(Front::Gateway, "edge/gateway.yaml");
    let site = plan.start_with(|manifests| manifests.settings(&settings).with(entry)).await;
    let contact = async |expected| {
        eventually("the gateway's contact", || async {
            let contact = site.front.stat(|name| name.ends_with("cartgate_contact")).await;
            (contact == expected).then_some(())
        })
        .await;
    };
    contact(1).await;
    is_limited(&site, "HOT").await;
    // Whether it hangs or is dead.
    service.process.pause();
    contact(3).await;
    is_limited(&site, "HOT").await;
    service.process.kill().await.unwrap();
    let statuses = burst(&site, "HOT").await;
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(order(&site, "CALM").await, 200);
}
