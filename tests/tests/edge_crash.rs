//! The filter crashes: a build of it for tests does, when it is told to. Nothing passes meanwhile, Envoy makes a
//! new one by itself, and what was counted is still counted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cartgate_tests::client::{exchange, post};
use cartgate_tests::http1::Message;
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, EnvoyConfig, filter, paths};

async fn edge() -> Edge {
    let module = paths::crashing_filter_module().unwrap();
    let configuration = filter::configuration(filter::SLOW, &[("LISTED", filter::SLOW)]);
    let config = EnvoyConfig::shipped().unwrap().route_everything();
    let config = config.filter_configuration(&configuration).stand_in(&module);
    Edge::start(config, 1).await.unwrap()
}

async fn ask(edge: &Edge, target: &str, headers: &str) -> Message {
    exchange(edge.envoy.address(), post(target, headers, "")).await
}

fn assert_unavailable(answer: &Message) {
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["type"], "urn:cartgate:problem:unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_and_nothing_is_forgotten() {
    let edge = edge().await;
    for sku in ["LISTED", "OTHER"] {
        let most = format!("/by-query?sku={sku}&quantity=900");
        assert_eq!(ask(&edge, &most, "").await.status(), 200);
    }
    assert_unavailable(&ask(&edge, "/by-query?sku=OTHER", "x-cartgate-crash: now\r\n").await);
    // Also where nothing is limited.
    assert_unavailable(&ask(&edge, "/elsewhere", "").await);
    assert_eq!(edge.upstream.seen().requests.len(), 2, "it passes a filter that is not there");
    eventually("a new filter", || async {
        (ask(&edge, "/elsewhere", "").await.status() == 200).then_some(())
    })
    .await;
    for sku in ["LISTED", "OTHER"] {
        let as_much = format!("/by-query?sku={sku}&quantity=900");
        assert_eq!(ask(&edge, &as_much, "").await.status(), 429, "{sku} was forgotten");
    }
    let reloads = edge.envoy.stat(|name| name.contains("vm_reload_success")).await;
    assert_eq!(reloads, 1);
    let log = std::fs::read_to_string(edge.envoy.process.log()).unwrap();
    assert!(log.contains("unreachable"), "it did not crash");
}

/// The module that is shipped does not know that header.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shipped_cannot_be_told_to() {
    let edge = Edge::with_filter(&filter::configuration(filter::SLOW, &[])).await.unwrap();
    let answer = ask(&edge, "/by-query?sku=A", "x-cartgate-crash: now\r\n").await;
    assert_eq!(answer.status(), 200);
}
