//! Each place where the filter can be: what is over a limit is refused there, with the same answers as by a
//! plain Envoy, and nothing of it goes on.

use cartgate_tests::client::exchange;
use cartgate_tests::decisions::{self, check_http1, check_http2, chunked, whole};
use cartgate_tests::filter;
use cartgate_tests::istio::{Proxy, SERVICE};
use cartgate_tests::no_leak::Strict;
use cartgate_tests::process::eventually;
use serde_json::{Value, json};

use super::site::{Front, Plan, Site, every_request, slow};

/// Of the product that the shipped configuration limits to five at once.
async fn it_limits(site: &Site) {
    for _ in 0..5 {
        let answer = site.order("LIMITED-SNEAKER", 1).await;
        assert_eq!(answer.status(), 200, "{answer:?} {}", site.front.log());
    }
    let refused = site.order_until("LIMITED-SNEAKER", 1, 429).await;
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit").is_some());
    assert_eq!(refused.json()["type"], "urn:cartgate:problem:over-limit");
    assert_eq!(site.order("ANOTHER", 1).await.status(), 200);
}

/// A proxy counts what it refuses; which it tells a moment later.
async fn has_refused(proxy: &Proxy) {
    eventually("a refusal in the metrics", || async {
        let refused = proxy.stat(|name| name.ends_with("cartgate_requests_denied")).await;
        (refused > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn the_gateway_limits() {
    let site = Plan::new(Front::Gateway, "edge/gateway.yaml").start().await;
    it_limits(&site).await;
    has_refused(&site.front).await;
    // What was refused entered the mesh nowhere: the service's sidecar has not seen it.
    let passed = eventually("the passed requests in the log", || async {
        let mut log = site.back.access_log();
        log.retain(|line| line["path"] == "/v1/reservations");
        (log.len() >= 6).then_some(log)
    });
    let passed = passed.await;
    assert_eq!(passed.len(), 6, "{passed:?}");
    // Over mutual TLS, as whom the gateway is.
    let gateway = "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway";
    assert!(passed.iter().all(|line| line["peer"] == gateway), "{passed:?}");
}

/// Only the routes that it is switched on for: elsewhere the gateway does not ask the filter at all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn the_filter_is_on_for_its_routes_alone() {
    let site = Plan::new(Front::Gateway, "edge/gateway.yaml").start().await;
    // The filter takes this header away wherever it is asked.
    let ticket = format!(
        "GET /v1/tickets/1 HTTP/1.1\r\nhost: {SERVICE}\r\nx-cartgate-verdict: mine\r\n\r\n"
    );
    assert_eq!(exchange(site.front.address(), ticket).await.status(), 200);
    assert!(site.upstream.seen().contains("x-cartgate-verdict: mine"));
    assert_eq!(site.order("ANOTHER", 1).await.status(), 200);
    // What each thread has counted is told together.
    let counted = async || site.front.stat(|name| name.contains("cartgate_requests")).await;
    let requests = eventually("a request in the metrics", async || {
        let requests = counted().await;
        (requests > 0).then_some(requests)
    });
    assert_eq!(requests.await, 1);
    // What is spelt otherwise has no route.
    for path in
        ["/v1/reservations/", "/v1/reservations;a=b", "/v1/RESERVATIONS", "/v1/skus/A/stock"]
    {
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: {SERVICE}\r\ncontent-length: 0\r\n\r\n");
        let answer = exchange(site.front.address(), request).await;
        assert!([403, 404].contains(&answer.status()), "{path} {answer:?}");
    }
    assert_eq!(site.passed(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn the_frontends_sidecar_limits() {
    let site = Plan::new(Front::Frontend, "edge/sidecar-outbound.yaml").start().await;
    it_limits(&site).await;
    has_refused(&site.front).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn the_services_sidecar_limits() {
    let site = Plan::new(Front::Frontend, "edge/sidecar-inbound.yaml").start().await;
    it_limits(&site).await;
    has_refused(&site.back).await;
}

/// Carts of several lines are no way around it, from whichever pod they come.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn carts_are_limited_in_the_mesh() {
    for placement in ["edge/sidecar-outbound.yaml", "edge/sidecar-inbound.yaml"] {
        let site = Plan::new(Front::Frontend, placement).start_with(slow).await;
        let line = |sku: &str, quantity: u32| json!({"sku": sku, "quantity": quantity});
        let cart = json!({"lines": [line("A", 1), line("SLOW", 1_000)]}).to_string();
        let head = format!(
            "POST /v1/carts HTTP/1.1\r\nhost: {SERVICE}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            cart.len()
        );
        let ask = async || exchange(site.front.address(), format!("{head}{cart}")).await.status();
        assert_eq!(ask().await, 200);
        assert_eq!(ask().await, 429);
    }
}

/// The table of decisions, as in a plain Envoy: every place where a SKU can be.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn it_decides_by_the_table() {
    let settings = decisions::configuration();
    let plan = Plan::new(Front::Gateway, "edge/gateway.yaml");
    let site = plan.start_with(|manifests| every_request(manifests).settings(&settings)).await;
    let mut seen = 0;
    let mut logged = async |lines: usize| {
        let log = eventually("the requests in the access log", || async {
            let log = site.front.access_log();
            (log.len() >= seen + lines).then_some(log)
        });
        let log: Vec<Value> = log.await.split_off(seen);
        seen += lines;
        log
    };
    for write in [whole, chunked] {
        check_http1(site.front.address(), write, &mut logged).await;
    }
    check_http2(site.front.address(), &mut logged).await;
}

/// Strict body mode, as in a plain Envoy: nothing of what is refused reaches what is behind the service's
/// sidecar, whichever proxy refuses it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn nothing_leaks() {
    let settings = filter::configuration(filter::SLOW, &[]);
    for (front, placement) in [
        (Front::Gateway, "edge/gateway.yaml"),
        (Front::Frontend, "edge/sidecar-outbound.yaml"),
        (Front::Frontend, "edge/sidecar-inbound.yaml"),
    ] {
        let change = |manifests| every_request(manifests).settings(&settings);
        let site = Plan::new(front, placement).start_with(change).await;
        let drained = |sku| Strict::drain(site.front.address(), &site.upstream, sku);
        drained("D1").await.a_denied_body_never_reaches_the_upstream().await;
        drained("D2").await.a_slow_body_is_held_back_until_it_is_whole().await;
        drained("D3").await.a_client_that_asks_before_it_sends_gets_no_further().await;
        drained("D4").await.http_2_leaks_no_more_than_http_1().await;
        drained("D5").await.a_client_that_gives_up_leaves_nothing_behind().await;
    }
}

/// A limit is changed by changing the file.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_limit_is_changed_by_its_file() {
    let mut site = Plan::new(Front::Gateway, "edge/gateway.yaml").start().await;
    assert_eq!(site.order("LIMITED-SNEAKER", 6).await.status(), 422);
    let mut settings = site.manifests.get("EnvoyFilter", "cartgate-filter").settings();
    settings["limits"]["LIMITED-SNEAKER"] = json!({"per_second": 1, "burst": 8});
    site.apply(|manifests| manifests.settings(&settings));
    site.order_until("LIMITED-SNEAKER", 6, 200).await;
    assert_eq!(site.order("LIMITED-SNEAKER", 6).await.status(), 429);
}

/// Shadow: nothing is refused, and what would have been is counted.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn in_shadow_nothing_is_refused() {
    let plan = Plan::new(Front::Gateway, "edge/gateway.yaml");
    let site = plan
        .start_with(|manifests| {
            let mut manifests = slow(manifests);
            let mut settings = manifests.get("EnvoyFilter", "cartgate-filter").settings();
            settings["routes"][0]["shadow"] = true.into();
            manifests.settings(&settings)
        })
        .await;
    for _ in 0..2 {
        assert_eq!(site.order("SLOW", 1_000).await.status(), 200);
    }
    eventually("what would have been refused in the metrics", || async {
        let would_be = site.front.stat(|name| name.ends_with("cartgate_would_be_denied")).await;
        (would_be > 0).then_some(())
    })
    .await;
}
