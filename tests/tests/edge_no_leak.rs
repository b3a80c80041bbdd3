//! Strict body mode: of a request whose SKU is in its body, nothing reaches the upstream before the
//! verdict, and nothing at all if the verdict is no. Judged by the bytes that the upstream got.
//!
//! Two controls show that these tests can fail: without the filter the same slow request does
//! reach the upstream before its body is complete, and an admitted one does once it is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::RawConnection;
use cartgate_tests::no_leak::Strict;
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, EnvoyConfig, filter};

async fn edge() -> Edge {
    Edge::with_filter(&filter::configuration(filter::SLOW, &[])).await.unwrap()
}

async fn drained(edge: &Edge) -> Strict<'_> {
    Strict::drain(edge.envoy.address(), &edge.upstream, "DRAINED").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_body_never_reaches_the_upstream() {
    drained(&edge().await).await.a_denied_body_never_reaches_the_upstream().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_held_back_until_it_is_whole() {
    drained(&edge().await).await.a_slow_body_is_held_back_until_it_is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_before_it_sends_gets_no_further() {
    drained(&edge().await).await.a_client_that_asks_before_it_sends_gets_no_further().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_leaks_no_more_than_http_1() {
    drained(&edge().await).await.http_2_leaks_no_more_than_http_1().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_leaves_nothing_behind() {
    drained(&edge().await).await.a_client_that_gives_up_leaves_nothing_behind().await;
}

/// Control: what the upstream sees of a slow request when no filter holds it back.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_filter_the_head_goes_ahead_of_the_body() {
    let config = EnvoyConfig::shipped().unwrap().route_everything().without_filter();
    let edge = Edge::start(config, 1).await.unwrap();
    let mut connection = RawConnection::open(edge.envoy.address()).await;
    connection
        .send("POST /by-json HTTP/1.1\r\nhost: shop\r\nx-mark: early\r\ncontent-length: 2\r\n\r\n{")
        .await;
    eventually("the leak", || async { edge.upstream.seen().contains("early").then_some(()) }).await;
    assert_eq!(edge.upstream.seen().requests.len(), 0);
    connection.send("}").await;
    assert_eq!(connection.answer().await.status(), 200);
}
