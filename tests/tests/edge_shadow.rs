//! Shadow: what would have been refused passes, and is counted; and failure modes: what cannot be read passes
//! where the shop says so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::{exchange, post};
use cartgate_tests::http1::Message;
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, filter};
use serde_json::{Value, json};

fn limit(per_second: u32, burst: u32, shadow: bool) -> Value {
    json!({"per_second": per_second, "burst": burst, "shadow": shadow})
}

async fn start(change: impl FnOnce(&mut Value)) -> Edge {
    let mut configuration = filter::configuration(filter::SLOW, &[]);
    change(&mut configuration);
    Edge::with_filter(&configuration).await.unwrap()
}

async fn ask(edge: &Edge, target: &str, headers: &str, body: &str) -> Message {
    exchange(edge.envoy.address(), post(target, headers, body)).await
}

async fn statuses(edge: &Edge, target: &str, headers: &str, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(ask(edge, target, headers, "").await.status());
    }
    statuses
}

/// Waits until these counters have these values: Envoy is told now and then.
async fn until_counted(edge: &Edge, expected: &[(&str, u64)]) {
    eventually("the counters", || async {
        for (name, value) in expected {
            let name = format!("wasmcustom.cartgate_{name}");
            if edge.envoy.stat(|found| found == name).await != *value {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_in_shadow_refuses_nothing_and_counts_what_it_would_have() {
    let edge = start(|configuration| {
        configuration["default_limit"] = limit(1, 2, true);
        configuration["limits"] = json!({"STRICT": limit(1, 2, false)});
    })
    .await;
    assert_eq!(statuses(&edge, "/by-query?sku=A", "", 4).await, [200; 4]);
    // What could never be admitted is no exception.
    assert_eq!(statuses(&edge, "/by-query?sku=A&quantity=3", "", 1).await, [200]);
    assert_eq!(statuses(&edge, "/by-query?sku=STRICT", "", 4).await, [200, 200, 429, 429]);
    let counted = [
        ("requests_admitted", 7),
        ("requests_denied", 2),
        ("would_be_denied", 2),
        ("would_be_over_burst", 1),
    ];
    until_counted(&edge, &counted).await;
}

/// The limit that is enforced is charged for what the other would have refused.
#[tokio::test(flavor = "multi_thread")]
async fn one_in_shadow_does_not_hide_another_that_is_not() {
    let edge = start(|configuration| {
        configuration["default_limit"] = limit(1, 2, true);
        configuration["client_limits"] = json!([
            {"client": {"header": "x-client"}, "limit": limit(1, 4, false)},
            {"client": {"header": "x-device"}, "limit": limit(1, 1, true)},
        ]);
    })
    .await;
    let by = "x-client: a\r\nx-device: b\r\n";
    assert_eq!(statuses(&edge, "/by-query?sku=A", by, 6).await, [200, 200, 200, 200, 429, 429]);
    let counted = [
        ("requests_admitted", 4),
        ("requests_client_denied", 2),
        ("would_be_client_denied", 3),
        ("would_be_denied", 2),
    ];
    until_counted(&edge, &counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_in_shadow_lets_everything_pass() {
    let edge = start(|configuration| {
        for route in configuration["routes"].as_array_mut().unwrap() {
            route["shadow"] = true.into();
        }
        configuration["body_bytes_max"] = 64.into();
    })
    .await;
    let json = "content-type: application/json\r\n";
    let large = format!(r#"{{"sku": "A", "x": "{}"}}"#, "x".repeat(10_000));
    for (target, headers, body) in [
        ("/by-query?sku=A&quantity=1000", "", ""),
        ("/by-query?sku=A", "", ""),
        ("/by-query", "", ""),
        ("/by-header", "x-sku: A/B\r\n", ""),
        ("/by-json", json, r#"{"sku": "B", "sku": "C"}"#),
        ("/by-json", "content-type: text/plain\r\n", r#"{"sku": "B"}"#),
        ("/by-json", json, &large),
    ] {
        assert_eq!(ask(&edge, target, headers, body).await.status(), 200, "{target} {body}");
    }
    let seen = edge.upstream.seen();
    assert_eq!(seen.requests.last().unwrap().body.len(), large.len());
    let counted = [
        ("requests_admitted", 7),
        ("would_be_denied", 1),
        ("would_be_no_sku", 1),
        ("would_be_malformed", 1),
        ("would_be_conflict", 1),
        ("would_be_unsupported", 1),
        ("would_be_oversize", 1),
    ];
    until_counted(&edge, &counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_passes_where_the_shop_says_so() {
    let cases = [
        ("no_sku", "content-type: application/json\r\n", "{}".to_owned(), 400),
        (
            "conflict",
            "content-type: application/json\r\n",
            r#"{"sku":"A","sku":"B"}"#.to_owned(),
            400,
        ),
        ("malformed", "content-type: application/json\r\n", "{".to_owned(), 400),
        (
            "encoded",
            "content-type: application/json\r\ncontent-encoding: gzip\r\n",
            "x".to_owned(),
            415,
        ),
        ("unsupported", "content-type: text/csv\r\n", "A,1".to_owned(), 415),
        ("oversize", "content-type: application/json\r\n", "x".repeat(10_000), 413),
    ];
    let edge = start(|configuration| {
        configuration["body_bytes_max"] = 64.into();
        let strict = json!({"method": "POST", "path": "/strict", "sku": [{"json": "/sku"}]});
        let mut routes = vec![strict.clone()];
        for (failure, ..) in &cases {
            let mut route = strict.clone();
            route["path"] = format!("/{failure}").into();
            route["failure_modes"] = json!({*failure: "allow"});
            routes.push(route);
        }
        configuration["routes"] = routes.into();
    })
    .await;
    for (failure, headers, body, status) in &cases {
        assert_eq!(ask(&edge, "/strict", headers, body).await.status(), *status, "{failure}");
        for (allowed, ..) in &cases {
            let expected = if allowed == failure { 200 } else { *status };
            let answer = ask(&edge, &format!("/{allowed}"), headers, body).await;
            assert_eq!(answer.status(), expected, "{failure} where {allowed} is allowed");
        }
        assert_eq!(edge.upstream.seen().requests.last().unwrap().body, body.as_bytes());
    }
    let mut counted = vec![("requests_allowed", 6)];
    let names: Vec<_> = cases
        .iter()
        .flat_map(|(f, ..)| [format!("allowed_{f}"), format!("requests_{f}")])
        .collect();
    for (n, name) in names.iter().enumerate() {
        counted.push((name, if n % 2 == 0 { 1 } else { 6 }));
    }
    until_counted(&edge, &counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_is_admitted_whole_or_not_at_all() {
    let edge = start(|configuration| {
        configuration["limits"] = json!({"RARE": limit(1, 2, false)});
        configuration["routes"] = json!([{
            "method": "POST", "path": "/cart",
            "sku": [{"json": "/lines/*/sku"}], "quantity": [{"json": "/lines/*/quantity"}],
        }]);
    })
    .await;
    let order = async |lines: Value| {
        let body = json!({ "lines": lines }).to_string();
        ask(&edge, "/cart", "content-type: application/json\r\n", &body).await
    };
    let line = |sku: &str, quantity: u32| json!({"sku": sku, "quantity": quantity});
    assert_eq!(order(json!([line("A", 600), line("RARE", 2)])).await.status(), 200);
    // The second line is refused: the answer names it, and the first costs nothing.
    for _ in 0..3 {
        let refused = order(json!([line("A", 300), line("RARE", 2)])).await;
        assert_eq!((refused.status(), &refused.json()["sku"]), (429, &json!("RARE")));
    }
    assert_eq!(order(json!([line("A", 400)])).await.status(), 200);
    // Two lines of one SKU count together.
    let refused = order(json!([line("RARE", 1), line("A", 1), line("RARE", 2)])).await;
    assert_eq!((refused.status(), &refused.json()["quantity"]), (422, &json!(3)));
    assert_eq!(edge.upstream.seen().requests.len(), 2);
}
