//! Strict body mode: of a request whose SKU is in its body, nothing reaches the upstream before the
//! verdict, and nothing at all if the verdict is no. Judged by the bytes that the upstream got.
//!
//! Two controls show that these tests can fail: without the filter the same slow request does
//! reach the upstream before its body is complete, and an admitted one does once it is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::{self, RawConnection, exchange};
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, EnvoyConfig, filter};

/// Its whole burst is taken at the start, and it takes 1000 s to come back.
const DRAINED: &str = "DRAINED";
const FREE: &str = "FREE";

/// Denied requests carry this, and the upstream must not see it.
const MARK: &str = "x-mark: must-not-get-through\r\n";
const MARK_VALUE: &str = "must-not-get-through";

async fn edge() -> Edge {
    let edge = Edge::with_filter(&filter::configuration(filter::SLOW, &[])).await.unwrap();
    // This also opens the connection to the upstream: what leaks has a way to go.
    assert_eq!(exchange(edge.envoy.address(), whole(DRAINED, 1000, "")).await.status(), 200);
    edge
}

/// A whole request for so many units.
fn whole(sku: &str, quantity: u32, headers: &str) -> String {
    let body = json(sku, quantity);
    format!("{}content-length: {}\r\n\r\n{body}", head(headers), body.len())
}

fn json(sku: &str, quantity: u32) -> String {
    format!(r#"{{"sku": "{sku}", "quantity": {quantity}}}"#)
}

fn head(headers: &str) -> String {
    format!("POST /by-json HTTP/1.1\r\nhost: shop\r\n{headers}content-type: application/json\r\n")
}

/// Sends a request that is admitted, and waits until the upstream has it whole. Whatever Envoy had
/// sent to the upstream before is there by then too.
async fn pass_a_sentinel(edge: &Edge) {
    let before = edge.upstream.seen().requests.len();
    assert_eq!(exchange(edge.envoy.address(), whole(FREE, 1, "")).await.status(), 200);
    assert_eq!(edge.upstream.seen().requests.len(), before + 1);
}

/// The upstream has seen the draining request and `sentinels`, and not a byte of anything else.
fn assert_no_leak(edge: &Edge, sentinels: usize) {
    let seen = edge.upstream.seen();
    assert_eq!((seen.heads.len(), seen.requests.len()), (sentinels + 1, sentinels + 1), "{seen:?}");
    assert!(!seen.contains(MARK_VALUE), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_body_never_reaches_the_upstream() {
    let edge = edge().await;
    let form = format!("sku={DRAINED}&quantity=1000");
    let form = format!(
        "POST /by-form HTTP/1.1\r\nhost: shop\r\n{MARK}content-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    let body = json(DRAINED, 1000);
    let (first, second) = body.split_at(10);
    let chunked = format!(
        "{}transfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        head(MARK),
        first.len(),
        second.len(),
    );
    let requests = [whole(DRAINED, 1000, MARK), form, chunked];
    for (index, request) in requests.iter().enumerate() {
        let answer = exchange(edge.envoy.address(), request).await;
        assert_eq!(answer.status(), 429, "{request} {answer:?}");
        pass_a_sentinel(&edge).await;
        assert_no_leak(&edge, index + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_held_back_until_it_is_whole() {
    let edge = edge().await;
    let mut denied = RawConnection::open(edge.envoy.address()).await;
    let (first, second) = split(whole(DRAINED, 1000, MARK));
    denied.send(first).await;
    pass_a_sentinel(&edge).await;
    assert_no_leak(&edge, 1);
    denied.send(second).await;
    assert_eq!(denied.answer().await.status(), 429);
    pass_a_sentinel(&edge).await;
    assert_no_leak(&edge, 2);

    // One that is admitted is held back too, and then arrives whole.
    let mut admitted = RawConnection::open(edge.envoy.address()).await;
    let (first, second) = split(whole(FREE, 1, "x-mark: slow\r\n"));
    admitted.send(first).await;
    pass_a_sentinel(&edge).await;
    assert_no_leak(&edge, 3);
    admitted.send(second).await;
    assert_eq!(admitted.answer().await.status(), 200);
    let seen = edge.upstream.seen();
    let arrived = seen.requests.last().unwrap();
    assert_eq!(arrived.header("x-mark"), Some("slow"));
    assert_eq!(arrived.body, json(FREE, 1).as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_before_it_sends_gets_no_further() {
    let edge = edge().await;
    let mut connection = RawConnection::open(edge.envoy.address()).await;
    let request = whole(DRAINED, 1000, &format!("{MARK}expect: 100-continue\r\n"));
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    connection.send(format!("{head}\r\n\r\n")).await;
    // Envoy itself says go on: nobody can judge a body that is not there.
    assert_eq!(connection.answer().await.status(), 100);
    pass_a_sentinel(&edge).await;
    assert_no_leak(&edge, 1);
    connection.send(body).await;
    assert_eq!(connection.answer().await.status(), 429);
    pass_a_sentinel(&edge).await;
    assert_no_leak(&edge, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_leaks_no_more_than_http_1() {
    let edge = edge().await;
    let request = client::http2()
        .post(edge.envoy.url("/by-json"))
        .header("x-mark", MARK_VALUE)
        .header("content-type", "application/json")
        .body(json(DRAINED, 1000));
    let answer = request.send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 429));
    pass_a_sentinel(&edge).await;
    assert_no_leak(&edge, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_leaves_nothing_behind() {
    let edge = edge().await;
    let mut connection = RawConnection::open(edge.envoy.address()).await;
    let (first, _) = split(whole(FREE, 1, MARK));
    connection.send(first).await;
    pass_a_sentinel(&edge).await;
    drop(connection);
    pass_a_sentinel(&edge).await;
    assert_no_leak(&edge, 2);
}

/// Control: what the upstream sees of a slow request when no filter holds it back.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_filter_the_head_goes_ahead_of_the_body() {
    let config = EnvoyConfig::shipped().unwrap().route_everything().without_filter();
    let edge = Edge::start(config, 1).await.unwrap();
    let mut connection = RawConnection::open(edge.envoy.address()).await;
    let (first, second) = split(whole(DRAINED, 1000, MARK));
    connection.send(first).await;
    eventually("the leak", || async { edge.upstream.seen().contains(MARK_VALUE).then_some(()) })
        .await;
    assert_eq!(edge.upstream.seen().requests.len(), 0);
    connection.send(second).await;
    assert_eq!(connection.answer().await.status(), 200);
}

/// Cuts a request in the middle of its body.
fn split(request: String) -> (String, String) {
    let (first, second) = request.split_at(request.len() - 12);
    (first.to_owned(), second.to_owned())
}
