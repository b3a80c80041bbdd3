//! Reports to the service: over mutual TLS, from edges alone, and what comes of them.

use cartgate_tests::client::{self, RawConnection, exchange};
use cartgate_tests::istio::{Workload, frontend_pod};
use cartgate_tests::process::eventually;
use cartgate_tests::{Service, ServiceOptions, Shop};
use serde_json::json;

use super::site::{Front, Plan, Site, order};

/// A shop whose service is the real one.
async fn with_service(front: Front, placement: &'static str) -> (Site, Service) {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&ServiceOptions::new(&dir.keep())).await.unwrap();
    let site = Plan::new(front, placement).app(service.address()).start().await;
    (site, service)
}

/// What is registered at the service is limited at the edge, which says that it knows.
async fn a_hot_item_is_limited(front: Front, placement: &'static str) {
    let (site, service) = with_service(front, placement).await;
    let back = Shop::at(service.address());
    back.set_stock("HOT", 1_000).await.unwrap();
    let terms = json!({"limit": {"per_second": 1, "burst": 2}});
    let url = service.url("/v1/hot-items/HOT");
    let answer = client::http().put(url).json(&terms).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    eventually("the edge's acknowledgement", || async {
        let item = back.get("/v1/hot-items/HOT").await.unwrap().body;
        let knows = item["edges"]["reporting"] == 1 && item["edges"]["acknowledged"] == 1;
        knows.then_some(())
    })
    .await;
    // Fifty a second would be admitted of any other.
    let refused = site.order_until("HOT", 1, 429).await;
    assert!(refused.header("ratelimit-policy").is_some(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn the_gateway_hears_of_hot_items() {
    a_hot_item_is_limited(Front::Gateway, "edge/gateway.yaml").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn the_services_sidecar_hears_of_hot_items() {
    a_hot_item_is_limited(Front::Frontend, "edge/sidecar-inbound.yaml").await;
}

/// Who has no business there gets no answer from the report route, and all others get orders through.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn only_edges_may_report() {
    let mut site = Plan::new(Front::Frontend, "edge/sidecar-outbound.yaml").start().await;
    let report = "POST /v1/edges/0000000000000001/reports HTTP/1.1\r\n\
        host: cartgate.cartgate.svc.cluster.local:8080\r\ncontent-length: 2\r\n\r\n{}";
    let stranger = Workload::stranger();
    let mut pod = frontend_pod(stranger.address()).named("stranger");
    *pod.at("/spec/workloadSelector/labels/app") = "stranger".into();
    site.apply(|manifests| manifests.with(pod));
    let stranger = site.mesh.proxy(&stranger).await.unwrap();
    let answer = exchange(stranger.address(), report).await;
    assert_eq!(answer.status(), 403, "{answer:?}");
    assert_eq!(exchange(site.front.address(), report).await.status(), 200);
    assert_eq!(order(stranger.address(), "A", 1).await.status(), 200);
}

/// Who is in no mesh, and has no certificate, does not reach the service's sidecar at all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn without_a_certificate_nobody_gets_in() {
    let site = Plan::new(Front::Gateway, "edge/gateway.yaml").start().await;
    let mut plain = RawConnection::open(site.back.address()).await;
    plain.send("GET /v1/edges HTTP/1.1\r\nhost: cartgate\r\n\r\n").await;
    assert!(plain.try_answer().await.is_none());
    assert_eq!(site.passed(), 0);
}
