//! What the shipped Envoy configuration lets shoppers reach: reservations and tickets. Stock,
//! journal, hot items, edges, carts, metrics and probes stay out of reach, whatever the spelling of the path.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use cartgate_tests::client::exchange;
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, EnvoyConfig, Order, Site};
use serde_json::json;

const SKU: &str = "TEE-WHITE-M";

/// Request targets that name something shoppers have no business with, or that may be taken for
/// such by somebody who decodes or normalises them once more.
const FORBIDDEN: [&str; 65] = [
    "/",
    "/v1",
    "/v1/",
    "/live",
    "/ready",
    "/metrics",
    "/metrics/",
    "/metrics?x=/v1/reservations",
    "/metrics#/v1/reservations",
    "/metrics;/v1/reservations",
    "/%6detrics",
    "/METRICS",
    "//metrics",
    "/./metrics",
    "/v1/skus",
    "/v1/stock-imports",
    "/v1/stock-exports",
    "/v1/skus/TEE-WHITE-M",
    "/v1/skus/TEE-WHITE-M/",
    "/v1/skus/TEE-WHITE-M/journal",
    "/v1/skus/TEE-WHITE-M/stock",
    "/v1/skus/TEE-WHITE-M/adjustments",
    "/v1/hot-items",
    "/v1/hot-items/TEE-WHITE-M",
    "//v1/hot-items/TEE-WHITE-M",
    "/v1/tickets/../hot-items/TEE-WHITE-M",
    "/v1/reservations/%2e%2e/hot-items/TEE-WHITE-M",
    "/v1/edges",
    "/v1/edges/0000000000000001/reports",
    "/v1/tickets/../edges/0000000000000001/reports",
    "/v1/backup",
    "/openapi.json",
    "/docs",
    "/v1/carts",
    "/v1/carts/",
    "/v1/reservations/../carts",
    "/V1/SKUS/TEE-WHITE-M",
    "/v1/%73kus/TEE-WHITE-M",
    "//v1/skus/TEE-WHITE-M",
    "/v1//skus/TEE-WHITE-M",
    "/v1/./skus/TEE-WHITE-M",
    "/v1/skus%2fTEE-WHITE-M",
    "/v1%2fskus%2fTEE-WHITE-M",
    "/v1/tickets/../skus/TEE-WHITE-M",
    "/v1/tickets/%2e%2e/skus/TEE-WHITE-M",
    "/v1/tickets/.%2E/skus/TEE-WHITE-M",
    "/v1/tickets/..%2fskus%2fTEE-WHITE-M",
    "/v1/tickets/..%5cskus%5cTEE-WHITE-M",
    "/v1/tickets/..\\skus\\TEE-WHITE-M",
    "/v1/tickets/..;/skus/TEE-WHITE-M",
    "/v1/tickets/..;x=1/skus/TEE-WHITE-M",
    "/v1/tickets/%252e%252e/skus/TEE-WHITE-M",
    "/v1/tickets/x/../../skus/TEE-WHITE-M",
    "/v1/tickets//../skus/TEE-WHITE-M",
    "/v1/tickets/../../metrics",
    "/v1/tickets/%2e%2e%2f%2e%2e%2fmetrics",
    "/v1/tickets/..%2f..%2fmetrics",
    "/v1/tickets/..%00/skus/TEE-WHITE-M",
    "/v1/reservations/../skus/TEE-WHITE-M",
    "/v1/reservations/%2e%2e/skus/TEE-WHITE-M/stock",
    "/v1/reservations/../skus/TEE-WHITE-M/stock",
    "/v1/reservations/..%2fskus/TEE-WHITE-M/stock",
    "http://shop/v1/skus/TEE-WHITE-M",
    "http://shop/metrics",
    "http://127.0.0.1:8080/metrics",
];

/// The edge in these: no filter has that id.
const EDGE: &str = "0000000000000001";

const METHODS: [&str; 4] = ["GET", "PUT", "POST", "DELETE"];

/// What a client may send along in the hope that somebody prefers it to the path.
const MISLEADING: &str = "x-original-url: /metrics\r\nx-rewrite-url: /metrics\r\n\
     x-envoy-original-path: /metrics\r\nx-http-method-override: PUT\r\n";

fn request(method: &str, target: &str) -> String {
    let body = if target.contains("carts") {
        r#"{"lines": [{"sku": "TEE-WHITE-M"}]}"#
    } else {
        r#"{"quantity": 7, "sku": "TEE-WHITE-M"}"#
    };
    format!(
        "{method} {target} HTTP/1.1\r\nhost: shop\r\n{MISLEADING}idempotency-key: k\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn shoppers_reach_reservations_and_tickets() {
    let settings = "wait_ms = 20\n[lanes]\nreserves_per_s = 2\n";
    let site = Site::start(settings, EnvoyConfig::shipped().unwrap()).await.unwrap();
    let front = site.front();
    site.back().set_stock(SKU, 1000).await.unwrap();
    let (mut held, mut queued) = (String::new(), String::new());
    while held.is_empty() || queued.is_empty() {
        let answer = front.reserve(&Order::one(SKU)).await.unwrap();
        match answer.status {
            201 => held = answer.reservation_id().to_owned(),
            202 => queued = answer.ticket().to_owned(),
            status => assert_eq!(status, 429, "{answer:?}"),
        }
    }
    let read = front.get(&format!("/v1/reservations/{held}")).await.unwrap();
    assert_eq!((read.status, &read.body["state"]), (200, &json!("held")));
    assert_eq!(front.settle(&held, "extend").await.unwrap().status, 200);
    assert_eq!(front.settle(&held, "confirm").await.unwrap().status, 200);
    let path = format!("/v1/tickets/{queued}");
    let outcome = eventually("the ticket's outcome", || async {
        let answer = front.get(&path).await.unwrap();
        (answer.status != 202).then_some(answer)
    });
    assert_eq!(outcome.await.status, 200);
    assert_eq!(front.settle(&queued, "release").await.unwrap().status, 200);
}

/// Longer than any other call may take, and as they come.
#[tokio::test(flavor = "multi_thread")]
async fn shoppers_follow_a_ticket_to_its_end() {
    let settings = "wait_ms = 20\nunclaimed_ms = 60000\n[lanes]\nreserves_per_s = 1\n";
    let site = Site::start(settings, EnvoyConfig::shipped().unwrap()).await.unwrap();
    site.back().set_stock(SKU, 1000).await.unwrap();
    let mut last = String::new();
    // On a busy machine it takes a while to place them.
    for _ in 0..24 {
        let answer = site.front().reserve(&Order::one(SKU)).await.unwrap();
        assert!([201, 202].contains(&answer.status), "{answer:?}");
        answer.ticket().clone_into(&mut last);
    }
    let began = Instant::now();
    let url = format!("http://{}/v1/tickets/{last}", site.envoy.address());
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(url);
    let mut answer = request.header("accept", "text/event-stream").send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: queued\n"), "{first:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "it was kept back");
    let rest = answer.text().await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(15), "it shows nothing");
    let (_, outcome) = rest.split_once("event: outcome\n").expect(&rest);
    assert!(outcome.contains(r#""state":"held""#), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shoppers_do_not_reach_anything_else() {
    let site = Site::start("", EnvoyConfig::shipped().unwrap()).await.unwrap();
    let back = site.back();
    back.set_stock(SKU, 5).await.unwrap();
    let before = back.stock(SKU).await.unwrap().body;
    for (method, target) in everything_forbidden() {
        let answer = exchange(site.envoy.address(), request(method, target)).await;
        let (status, body) = (answer.status(), String::from_utf8_lossy(&answer.body));
        assert!((300..500).contains(&status), "{method} {target}: {answer:?}");
        assert!(!body.contains("available") && !body.contains("# TYPE"), "{method} {target}");
    }
    assert_eq!(back.stock(SKU).await.unwrap().body, before);
}

/// The same, seen from behind Envoy: nothing is passed on for the service to interpret.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_even_passed_on() {
    let edge = Edge::start(EnvoyConfig::shipped().unwrap(), 1).await.unwrap();
    for (method, target) in everything_forbidden() {
        exchange(edge.envoy.address(), request(method, target)).await;
    }
    let passed = edge.upstream.seen().heads.into_iter().map(|head| head.start_line);
    // The filter reports to the service by itself, under an id of its own.
    let is_report = |line: &String| line.starts_with("POST /v1/edges/") && !line.contains(EDGE);
    let passed: Vec<_> = passed.filter(|line| !is_report(line)).collect();
    assert_eq!(passed, [""; 0]);
}

fn everything_forbidden() -> impl Iterator<Item = (&'static str, &'static str)> {
    let unwanted_methods =
        [("GET", "/v1/reservations"), ("PUT", "/v1/reservations"), ("DELETE", "/v1/reservations")];
    let spelled = FORBIDDEN.iter().flat_map(|target| METHODS.map(|method| (method, *target)));
    spelled.chain(unwanted_methods)
}
