//! What `envoy/envoy.yaml` promises besides the limits themselves: bounds, one request upstream for
//! one admission, answers and logs that say what happened.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::{self, RawConnection, exchange};
use cartgate_tests::http1::Message;
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, Envoy, EnvoyConfig, filter, ports};
use serde_json::{Value, json};

fn config() -> EnvoyConfig {
    let configuration = filter::configuration(filter::SLOW, &[]);
    EnvoyConfig::shipped().unwrap().route_everything().filter_configuration(&configuration)
}

async fn edge() -> Edge {
    Edge::start(config(), 1).await.unwrap()
}

/// A request for so many units of `DRAINED`.
fn units(quantity: u32, headers: &str) -> String {
    format!(
        "POST /by-query?sku=DRAINED&quantity={quantity} HTTP/1.1\r\nhost: shop\r\n{headers}\
         content-length: 0\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn one_admission_is_one_request_to_the_service() {
    // Whose addresses are internal may ask Envoy for repeats; it does not matter whose they are.
    let internal = json!({
        "internal_address_config": {
            "cidr_ranges": [{ "address_prefix": "127.0.0.0", "prefix_len": 8 }],
        },
    });
    let edge = Edge::start(config().merge_connection_manager(&internal), 1).await.unwrap();
    let repeats = "x-envoy-retry-on: retriable-status-codes\r\n\
         x-envoy-retriable-status-codes: 200\r\nx-envoy-max-retries: 3\r\n\
         x-envoy-upstream-rq-timeout-ms: 7\r\n";
    let answer = exchange(edge.envoy.address(), units(1, repeats)).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let seen = edge.upstream.seen();
    assert_eq!(seen.heads.len(), 1, "{:?}", seen.heads);
    assert_eq!(seen.heads[0].header("x-envoy-expected-rq-timeout-ms"), Some("15000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_says_who_answered_and_why() {
    let edge = edge().await;
    // To who says it speaks gRPC, Envoy words each of its own answers as 200 with a `grpc-status`.
    let grpc = "content-type: application/grpc\r\n";
    for (headers, quantity, status) in [("", 1000, 200), ("", 1, 429), (grpc, 1, 200)] {
        let answer = exchange(edge.envoy.address(), units(quantity, headers)).await;
        assert_eq!(answer.status(), status, "{answer:?}");
        assert_eq!(answer.header("grpc-status").is_some(), headers == grpc, "{answer:?}");
    }
    assert_eq!(edge.upstream.seen().heads.len(), 1);
    let log = edge.envoy.logged(3).await;
    let details: Vec<_> = log.iter().map(|line| line["details"].as_str().unwrap()).collect();
    assert_eq!(details, ["via_upstream", "cartgate_denied", "cartgate_denied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_there_from_the_start() {
    let metrics = edge().await.envoy.metrics().await;
    let of_ours = |line: &str| line.strip_prefix("# TYPE cartgate_").map(str::to_owned);
    let mut metrics: Vec<_> = metrics.lines().filter_map(of_ours).collect();
    metrics.sort_unstable();
    let failures =
        ["conflict", "encoded", "malformed", "no_sku", "oversize", "uncounted", "unsupported"];
    let refused = [
        "client_denied",
        "closed",
        "contended",
        "denied",
        "not_open_yet",
        "over_burst",
        "paused",
        "sold_out",
    ];
    let counter = |prefix: &'static str| move |name: &&str| format!("{prefix}_{name} counter");
    let others = ["bodies_missed counter", "reports counter", "reports_failed counter"];
    let gauges = ["config_version gauge", "contact gauge", "hot_items gauge"];
    let passed = ["admitted", "allowed", "overflow"];
    let mut expected: Vec<_> = others.iter().chain(&gauges).map(|&name| name.to_owned()).collect();
    expected.extend(failures.iter().map(counter("allowed")));
    for prefix in ["requests", "would_be"] {
        expected.extend(failures.iter().chain(&refused).map(counter(prefix)));
    }
    expected.extend(passed.iter().map(counter("requests")));
    expected.sort_unstable();
    assert_eq!(metrics, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_have_an_end() {
    let config = config().set("max_active_downstream_connections", &json!(3));
    let edge = Edge::start(config, 1).await.unwrap();
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = RawConnection::open(edge.envoy.address()).await;
        connection.send(units(1, "")).await;
        assert_eq!(connection.answer().await.status(), 200);
        connections.push(connection);
    }
    let mut one_more = RawConnection::open(edge.envoy.address()).await;
    one_more.send(units(1, "")).await;
    assert_eq!(one_more.try_answer().await, None);
    assert_eq!(edge.upstream.seen().heads.len(), 3);
    // Memory is watched, too, and this Envoy can tell how much it has.
    eventually("a pressure", || async {
        let pressure = edge.envoy.stat(|name| name.ends_with("fixed_heap.pressure")).await;
        (pressure > 0).then_some(())
    })
    .await;
}

/// A service that closes an idle connection just when a request comes costs that request a 503: Envoy
/// has to be the first to close.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_the_service_are_closed() {
    let edge = Edge::start(config().set("idle_timeout", &json!("0.1s")), 1).await.unwrap();
    assert_eq!(exchange(edge.envoy.address(), units(1, "")).await.status(), 200);
    eventually("the end of an idle connection", || async {
        let closed = |name: &str| name == "cluster.cartgate.upstream_cx_idle_timeout";
        (edge.envoy.stat(closed).await > 0).then_some(())
    })
    .await;
}

/// What HTTP/2 holds back for one stream leaves room for the largest body that the filter reads, so
/// that it is the filter that refuses a larger one.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_body_fits_into_a_stream() {
    let edge = edge().await;
    let body = |len: usize| {
        let body = r#"{"sku": "A", "x": ""}"#;
        body.replace(r#""""#, &format!("\"{}\"", "x".repeat(len - body.len())))
    };
    for (len, expected) in [(65_536, 200), (65_537, 413)] {
        let request = client::http2().post(edge.envoy.url("/by-json")).body(body(len));
        let answer = request.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(
            (answer.version(), answer.status().as_u16()),
            (reqwest::Version::HTTP_2, expected)
        );
        if expected == 413 {
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["type"], "urn:cartgate:problem:body-too-large");
        }
    }
}

fn assert_unavailable(answer: &Message) {
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let expected = json!({
        "type": "urn:cartgate:problem:unavailable", "status": 503,
        "title": "The service cannot take reservations now",
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let away = config().upstream(ports::free_address());
    let envoy = Envoy::start(dir.path(), away, 1).await.unwrap();
    assert_unavailable(&exchange(envoy.address(), units(1, "")).await);
}
