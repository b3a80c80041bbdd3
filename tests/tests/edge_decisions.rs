//! The table of decisions, natively and in the real Envoy: in both body modes, over HTTP/1.1 in one piece and
//! in chunks, and over HTTP/2.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_policy::config::Config;
use cartgate_tests::decisions::{
    Write, cases, check_http1, check_http2, chunked, configuration, whole,
};
use cartgate_tests::{Edge, EnvoyConfig};
use serde_json::json;

#[test]
fn natively() {
    let config = Config::parse(configuration().to_string().as_bytes()).unwrap();
    for case in cases() {
        let decided = case.native(&config);
        assert_eq!(
            decided.as_ref().map(String::as_str),
            case.expected.as_ref().copied(),
            "{case:?}"
        );
    }
}

/// The shipped Envoy with the table's configuration, whose upstream is told what was read.
async fn edge(body_mode: &str) -> Edge {
    let mut filter = configuration();
    filter["body_mode"] = body_mode.into();
    let config = EnvoyConfig::shipped().unwrap().route_everything().filter_configuration(&filter);
    let config = match body_mode {
        "compat" => config.set("allow_on_headers_stop_iteration", &json!(false)),
        _ => config,
    };
    Edge::start(config, 1).await.unwrap()
}

async fn over_http1(body_mode: &str, write: Write) {
    let edge = edge(body_mode).await;
    check_http1(edge.envoy.address(), write, async |lines| edge.envoy.logged(lines).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_piece() {
    over_http1("strict", whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chunks() {
    over_http1("strict", chunked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_compat_mode() {
    over_http1("compat", whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2() {
    let edge = edge("strict").await;
    check_http2(edge.envoy.address(), async |lines| edge.envoy.logged(lines).await).await;
}

/// Who asks first whether its body is wanted hears so, and is judged like anybody else.
#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue() {
    let edge = edge("strict").await;
    for (sku, expected) in [("A", 200), ("A.1", 400)] {
        let body = json!({ "sku": sku }).to_string();
        let mut connection =
            cartgate_tests::client::RawConnection::open(edge.envoy.address()).await;
        let head = format!(
            "POST /any HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.send(head).await;
        assert_eq!(connection.answer().await.status(), 100);
        connection.send(body).await;
        assert_eq!(connection.answer().await.status(), expected);
    }
    assert_eq!(edge.upstream.seen().requests.len(), 1);
}
