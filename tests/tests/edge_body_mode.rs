//! Body modes: what the upstream sees of a refused request in compat mode, and what a mode that does not fit
//! Envoy's flag does, and how that is found out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::{RawConnection, exchange, post};
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, EnvoyConfig, filter};
use serde_json::{Value, json};

async fn edge(body_mode: &str, flag: bool, connection_manager: &Value) -> Edge {
    let mut configuration = filter::configuration(filter::SLOW, &[]);
    configuration["body_mode"] = body_mode.into();
    let config = EnvoyConfig::shipped()
        .unwrap()
        .route_everything()
        .filter_configuration(&configuration)
        .set("allow_on_headers_stop_iteration", &json!(flag))
        .merge_connection_manager(connection_manager);
    Edge::start(config, 1).await.unwrap()
}

fn order(quantity: u32) -> Vec<u8> {
    let body = json!({"sku": "A", "quantity": quantity}).to_string();
    post("/by-json", "content-type: application/json\r\n", body)
}

/// The price of compat mode: the head of a refused request may reach the upstream, its body never does.
#[tokio::test(flavor = "multi_thread")]
async fn in_compat_mode_a_refused_body_does_not_reach_the_upstream() {
    // Whatever the flag is: the head is not held back, and so it changes nothing.
    for flag in [false, true] {
        let edge = edge("compat", flag, &json!({})).await;
        assert_eq!(exchange(edge.envoy.address(), order(1_000)).await.status(), 200);
        for _ in 0..5 {
            let answer = exchange(edge.envoy.address(), order(999)).await;
            assert_eq!(answer.status(), 429, "{answer:?}");
        }
        assert_eq!(exchange(edge.envoy.address(), order(1_001)).await.status(), 422);
        let seen = edge.upstream.seen();
        // What was cut counts as one without a body.
        let whole = seen.requests.iter().filter(|request| !request.body.is_empty());
        assert_eq!(whole.count(), 1, "{seen:?}");
        // Not the number alone, which may be in a request's id.
        assert!(!seen.contains("\"quantity\":999"), "{seen:?}");
    }
}

/// The head has gone on by then: a control for the above, and for strict mode's promise.
#[tokio::test(flavor = "multi_thread")]
async fn in_compat_mode_a_head_does_not_wait_for_its_body() {
    let edge = edge("compat", false, &json!({})).await;
    let order = order(1);
    let (head, body) = order.split_at(order.len() - 5);
    let mut connection = RawConnection::open(edge.envoy.address()).await;
    connection.send(head).await;
    eventually("the head upstream", || async {
        (edge.upstream.seen().heads.len() == 1).then_some(())
    })
    .await;
    assert!(!edge.upstream.seen().contains("\"sku\""));
    connection.send(body).await;
    assert_eq!(connection.answer().await.status(), 200);
}

/// Strict mode without the flag: requests that need their body hang until a timeout ends them, and the filter
/// says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn strict_mode_without_the_flag_is_found_out() {
    let patience = json!({ "request_timeout": "7s", "stream_idle_timeout": "7s" });
    let edge = edge("strict", false, &patience).await;
    let mut hangs = RawConnection::open(edge.envoy.address()).await;
    hangs.send(order(1)).await;
    // What needs no body is not touched by it.
    let by_query = "POST /by-query?sku=B HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(exchange(edge.envoy.address(), by_query).await.status(), 200);
    let log = edge.envoy.process.log().to_owned();
    eventually("a line in the log", || async {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("is allow_on_headers_stop_iteration set to true").then_some(())
    })
    .await;
    assert!(hangs.answer().await.status() >= 400);
    eventually("the counter", || async {
        let missed = edge.envoy.stat(|name| name.ends_with("cartgate_bodies_missed")).await;
        (missed == 1).then_some(())
    })
    .await;
    assert_eq!(edge.upstream.seen().requests.len(), 1);
}
