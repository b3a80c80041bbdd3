//! Every place where a request can name its SKU and quantity, in the real Envoy: each is counted,
//! per SKU, and what is over the limit gets an answer that says so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::{Edge, client, filter};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

const PLACES: [&str; 5] = ["path", "query", "header", "json", "form"];

/// What takes a SKU's whole burst.
const ALL: u32 = filter::SLOW.1;

async fn edge() -> Edge {
    Edge::with_filter(&filter::configuration(filter::SLOW, &[])).await.unwrap()
}

/// A request that names SKU and quantity in `place`.
fn request(edge: &Edge, place: &str, sku: &str, quantity: u32) -> RequestBuilder {
    let post = |path: String| client::http().post(edge.envoy.url(&path));
    match place {
        "path" => post(format!("/by-path/{sku}?quantity={quantity}")),
        "query" => post(format!("/by-query?page=7&sku={sku}&quantity={quantity}")),
        "header" => {
            post("/by-header".to_owned()).header("x-sku", sku).header("x-quantity", quantity)
        }
        "json" => post("/by-json".to_owned()).json(&json!({ "sku": sku, "quantity": quantity })),
        "form" => {
            post("/by-form".to_owned()).form(&[("sku", sku), ("quantity", &quantity.to_string())])
        }
        _ => unreachable!(),
    }
}

async fn send(edge: &Edge, place: &str, sku: &str, quantity: u32) -> Response {
    request(edge, place, sku, quantity).send().await.unwrap()
}

async fn check(edge: &Edge, place: &str, sku: &str, quantity: u32, expected: u16) {
    let status = send(edge, place, sku, quantity).await.status();
    assert_eq!(status.as_u16(), expected, "{place} {sku} {quantity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_place_is_counted_per_sku() {
    let edge = edge().await;
    for place in PLACES {
        let (sku, other) = (format!("A-{place}"), format!("B-{place}"));
        check(&edge, place, &sku, ALL - 1, 200).await;
        check(&edge, place, &sku, 100, 429).await;
        check(&edge, place, &other, ALL, 200).await;
        check(&edge, place, &other, 100, 429).await;
    }
    // What was refused went no further.
    assert_eq!(edge.upstream.seen().requests.len(), 2 * PLACES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sku_is_the_same_wherever_it_is_named() {
    let edge = edge().await;
    for place in PLACES {
        check(&edge, place, "SAME", ALL / 5 - 20, 200).await;
    }
    for place in PLACES {
        check(&edge, place, "SAME", ALL / 2, 429).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_quantity_asks_for_one() {
    let edge = Edge::with_filter(&filter::configuration((1, 1), &[])).await.unwrap();
    let url = edge.envoy.url("/by-query?sku=ONE");
    let first = client::http().post(&url).send().await.unwrap();
    assert_eq!(first.status(), 200);
    // Two units at once are above the burst of one: no time to come will admit them.
    check(&edge, "query", "ONE", 2, 422).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_says_what_and_when() {
    let edge = edge().await;
    check(&edge, "json", "A", ALL, 200).await;
    let refused = send(&edge, "json", "A", ALL).await;
    let header = |name: &str| refused.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(refused.status(), 429);
    assert_eq!(header("content-type"), "application/problem+json");
    let retry_after: u32 = header("retry-after").parse().unwrap();
    // All comes back in 1000 s; some jitter may be added, nothing taken away but the time that
    // the test has spent.
    assert!((900..=2000).contains(&retry_after), "{retry_after}");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["type"], "urn:cartgate:problem:over-limit");
    assert_eq!(body["status"], 429);
    assert!(body["title"].is_string(), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_route_matches_passes() {
    let edge = edge().await;
    for _ in 0..2 {
        let url = edge.envoy.url("/anything?sku=A&quantity=1000");
        assert_eq!(client::http().post(&url).send().await.unwrap().status(), 200);
        let url = edge.envoy.url("/by-query?sku=A&quantity=1000");
        assert_eq!(client::http().get(&url).send().await.unwrap().status(), 200);
    }
}
