//! Reports to the service: over mutual TLS, from edges alone, and what comes of them.

use std::net::SocketAddr;

use cartgate_tests::client::{self, RawConnection, exchange};
use cartgate_tests::istio::{SERVICE, Workload, calling_pod};
use cartgate_tests::process::eventually;
use cartgate_tests::{Service, ServiceOptions, Shop};
use serde_json::json;

use super::site::{Front, Plan, Site};

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

/// Who has no business with the service gets nothing from it, and others only what they have business with.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn each_may_do_what_is_its_business() {
    let mut site = Plan::new(Front::Frontend, "edge/sidecar-outbound.yaml").start().await;
    let [stranger, backend] = ["stranger", "shop-backend"].map(Workload::pod);
    for pod in [&stranger, &backend] {
        site.apply(|manifests| manifests.with(calling_pod(pod)));
    }
    let stranger = site.mesh.proxy(&stranger).await.unwrap();
    let backend = site.mesh.proxy(&backend).await.unwrap();
    for pod in [&stranger, &backend] {
        pod.knows(site.back.address()).await;
    }
    for (what, expected) in [
        // By the frontend, which is an edge; by the shop's own systems; by somebody else.
        ("POST /v1/reservations/1/confirm", [200, 200, 403]),
        ("POST /v1/reservations/1/release", [200, 200, 403]),
        ("POST /v1/edges/0000000000000001/reports", [200, 403, 403]),
        ("POST /v1/edges/0000000000000001/reports/", [403, 200, 403]),
        ("PUT /v1/skus/A/stock", [403, 200, 403]),
        ("PUT /v1/hot-items/A", [403, 200, 403]),
        ("GET /v1/edges", [403, 200, 403]),
        ("GET /metrics", [403, 403, 403]),
    ] {
        for (from, expected) in [&site.front, &backend, &stranger].into_iter().zip(expected) {
            assert_eq!(ask(from.address(), what).await, expected, "{what}");
        }
    }
}

/// Shoppers come in as the gateway, which may report: they may not, however wide its routes are.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn shoppers_reach_nothing_but_orders() {
    let plan = Plan::new(Front::Gateway, "edge/gateway.yaml");
    let site = plan
        .start_with(|mut manifests| {
            *manifests.get("VirtualService", "shop").at("/spec/http/1/match") =
                json!([{"uri": {"prefix": "/"}}]);
            manifests
        })
        .await;
    for what in [
        "POST /v1/edges/0000000000000001/reports",
        "POST //v1/edges/0000000000000001/reports",
        "POST /v1/x/../edges/0000000000000001/reports",
        "POST /v1/%65dges/0000000000000001/reports",
        "GET /v1/edges",
        "PUT /v1/skus/A/stock",
        "PUT /v1/hot-items/A",
        "POST /v1/carts",
        "GET /metrics",
    ] {
        assert_eq!(ask(site.front.address(), what).await, 403, "{what}");
    }
    assert_eq!(ask(site.front.address(), "GET /v1/tickets/1").await, 200);
    assert_eq!(site.passed(), 1);
}

/// The status of a request without a body.
async fn ask(address: SocketAddr, what: &str) -> u16 {
    let request = format!("{what}?sku=A HTTP/1.1\r\nhost: {SERVICE}\r\ncontent-length: 0\r\n\r\n");
    exchange(address, request).await.status()
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
