//! Reports to the service: over mutual TLS, from edges alone, and what comes of them.

use std::fs;

use cartgate_tests::client::{self, RawConnection};
use cartgate_tests::istio::{Proxy, SERVICE, Workload, calling_pod, service_of, service_pod};
use cartgate_tests::process::eventually;
use cartgate_tests::{Answer, Service, ServiceOptions, paths};
use serde_json::{Value, json};

use super::site::{Front, Plan, Site, ask, ask_with};

/// A shop whose service is the real one.
async fn with_service(front: Front, placement: &'static str) -> (Site, Service) {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(&dir.keep()).settings(&shipped_access());
    let service = Service::start(&options).await.unwrap();
    let site = Plan::new(front, placement).app(service.address()).start().await;
    (site, service)
}

/// Who may do what, as the service is told in Kubernetes; and an administrator, for the test.
fn shipped_access() -> String {
    let path = paths::repo_root().join("istio/service/embedded/cartgate.toml");
    let text = fs::read_to_string(path).unwrap();
    let (_, access) = text.split_once("[access.mesh]").unwrap();
    format!("[access.mesh]{access}\"{ADMIN}\" = [\"admin\"]\n")
}

const ADMIN: &str = "spiffe://cluster.local/ns/shop/sa/admin";

/// The service, past its sidecar, as whom its sidecar would call its administrator.
fn as_admin(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.header("x-forwarded-client-cert", format!("URI={ADMIN}"))
}

/// What is registered at the service is limited at the edge, which says that it knows.
async fn a_hot_item_is_limited(front: Front, placement: &'static str) {
    let (site, service) = with_service(front, placement).await;
    let put = async |path: &str, body: Value| {
        let request = as_admin(client::http().put(service.url(path))).json(&body);
        assert!(request.send().await.unwrap().status().is_success(), "{path}");
    };
    put("/v1/skus/HOT/stock", json!({"quantity": 1_000})).await;
    put("/v1/hot-items/HOT", json!({"limit": {"per_second": 1, "burst": 2}})).await;
    eventually("the edge's acknowledgement", || async {
        let item = as_admin(client::http().get(service.url("/v1/hot-items/HOT")));
        let item = Answer::to(item).await.unwrap().body;
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
async fn the_frontends_sidecar_hears_of_hot_items() {
    a_hot_item_is_limited(Front::Frontend, "edge/sidecar-outbound.yaml").await;
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
    let worker = Workload::pod("cartgate", "cartgate-worker");
    let app = site.upstream.address();
    site.apply(|it| it.with(service_of(&worker)).with(service_pod(&worker, app)));
    let worker = site.mesh.proxy(&worker).await.unwrap();
    let backend = caller(&mut site, Workload::pod("shop", "shop-backend")).await;
    let scan = caller(&mut site, Workload::pod("cartgate", "cartgate-hot-items-scan")).await;
    let stranger = caller(&mut site, Workload::pod("shop", "stranger")).await;
    site.front.knows(worker.address()).await;
    for (what, expected) in [
        // By the frontend, which is an edge; by the shop's own systems; by the scan of logs; by somebody else.
        ("POST /v1/reservations/1/confirm", [200, 200, 403, 403]),
        ("POST /v1/reservations/1/release", [200, 200, 403, 403]),
        ("POST /v1/edges/0000000000000001/reports", [200, 403, 403, 403]),
        ("POST /v1/edges/0000000000000001/reports/", [403, 200, 403, 403]),
        ("PUT /v1/skus/A/stock", [403, 200, 403, 403]),
        ("PUT /v1/hot-items/A", [403, 200, 200, 403]),
        ("GET /v1/hot-items", [403, 200, 200, 403]),
        ("GET /v1/edges", [403, 200, 403, 403]),
        ("GET /metrics", [403, 403, 403, 403]),
    ] {
        for (from, expected) in [&site.front, &backend, &scan, &stranger].into_iter().zip(expected)
        {
            assert_eq!(ask(from, SERVICE, what).await, expected, "{what}");
            // Nobody has business with a worker.
            assert_eq!(ask(from, WORKER, what).await, 403, "{what}");
        }
    }
    assert!(!is_let_in_without_a_certificate(&worker).await);
    // What a pod's agent tells Prometheus is on a port of its own, which no policy is about.
    assert!(worker.metric("envoy_server_live").await.is_some());
}

const WORKER: &str = "cartgate-worker.cartgate.svc.cluster.local";

/// The sidecar of another pod, which calls the service.
async fn caller(site: &mut Site, pod: Workload) -> Proxy {
    site.apply(|manifests| manifests.with(calling_pod(&pod)));
    let proxy = site.mesh.proxy(&pod).await.unwrap();
    proxy.knows(site.back.address()).await;
    proxy
}

/// The service itself lets in whom its sidecar has seen, and nobody who says so of himself: also where no
/// policy of the mesh does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn the_service_knows_who_calls() {
    let (mut site, _service) = with_service(Front::Frontend, "edge/gateway.yaml").await;
    let backend = caller(&mut site, Workload::pod("shop", "shop-backend")).await;
    let stranger = caller(&mut site, Workload::pod("shop", "stranger")).await;
    site.apply(|mut manifests| {
        let nothing = manifests.get("AuthorizationPolicy", "cartgate-nothing-else");
        *nothing.at("/spec") = json!({"rules": [{}]});
        manifests
    });
    eventually("the mesh to let everybody in", || async {
        (ask(&stranger, SERVICE, "GET /live").await == 200).then_some(())
    })
    .await;
    for (what, expected) in [
        // By the frontend; by the shop's own systems; by somebody else.
        ("GET /v1/tickets/1", [404, 404, 401]),
        // Its query has what it does not know.
        ("GET /v1/hot-items", [403, 400, 401]),
        ("GET /v1/edges", [403, 200, 401]),
        ("GET /metrics", [403, 200, 401]),
    ] {
        for (from, expected) in [&site.front, &backend, &stranger].into_iter().zip(expected) {
            assert_eq!(ask(from, SERVICE, what).await, expected, "{what}");
            let own = format!("x-forwarded-client-cert: URI={ADMIN}\r\n");
            let claimed = ask_with(from, SERVICE, what, &own).await;
            assert_eq!(claimed, expected, "{what}, as somebody else");
        }
    }
}

/// Whoever runs no filter may not report: here the gateway does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_frontend_without_the_filter_may_not_report() {
    let site = Plan::new(Front::Frontend, "edge/gateway.yaml").start().await;
    let reports = "POST /v1/edges/0000000000000001/reports";
    assert_eq!(ask(&site.front, SERVICE, reports).await, 403);
    assert_eq!(ask(&site.front, SERVICE, "GET /v1/tickets/1").await, 200);
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
    for host in ["shop.example", "Shop.Example", "shop.example:8080"] {
        let reports = "POST /v1/edges/0000000000000001/reports";
        assert_eq!(ask(&site.front, host, reports).await, 403, "{host}");
    }
    for what in [
        "POST //v1/edges/0000000000000001/reports",
        "POST /v1/x/../edges/0000000000000001/reports",
        "POST /v1/%65dges/0000000000000001/reports",
        "GET /v1/edges",
        "PUT /v1/skus/A/stock",
        "PUT /v1/hot-items/A",
        "POST /v1/carts",
        "GET /metrics",
    ] {
        assert_eq!(ask(&site.front, "shop.example", what).await, 403, "{what}");
    }
    assert_eq!(ask(&site.front, "shop.example", "GET /v1/tickets/1").await, 200);
    assert_eq!(site.passed(), 1);
}

/// Who is in no mesh, and has no certificate, does not reach the service's sidecar at all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn without_a_certificate_nobody_gets_in() {
    let site = Plan::new(Front::Gateway, "edge/gateway.yaml").start().await;
    assert!(!is_let_in_without_a_certificate(&site.back).await);
    assert_eq!(site.passed(), 0);
}

async fn is_let_in_without_a_certificate(proxy: &Proxy) -> bool {
    let mut plain = RawConnection::open(proxy.address()).await;
    plain.send("GET /v1/edges HTTP/1.1\r\nhost: cartgate\r\n\r\n").await;
    plain.try_answer().await.is_some()
}
