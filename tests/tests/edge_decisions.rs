//! The table of decisions, natively and in the real Envoy: in both body modes, over HTTP/1.1 in one piece and
//! in chunks, and over HTTP/2.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_policy::config::Config;
use cartgate_tests::client::{exchange, http2};
use cartgate_tests::decisions::{Case, cases, configuration};
use cartgate_tests::{Edge, EnvoyConfig};
use serde_json::{Value, json};

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

fn head(case: &Case, framing: &str) -> Vec<u8> {
    let mut head = format!("POST {} HTTP/1.1\r\nhost: shop\r\n", case.target).into_bytes();
    for (name, value) in &case.headers {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend(format!("{framing}\r\n\r\n").as_bytes());
    head
}

fn whole(case: &Case) -> Vec<u8> {
    let head = head(case, &format!("content-length: {}", case.body.len()));
    [&head[..], &case.body].concat()
}

/// In chunks of seven bytes, so that keys, escapes and delimiters are cut anywhere.
fn chunked(case: &Case) -> Vec<u8> {
    let mut request = head(case, "transfer-encoding: chunked");
    for chunk in case.body.chunks(7) {
        request.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend([chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    request
}

/// What Envoy's access log says of each request, in order: the lines that it passed on with, or the failure.
async fn decided(edge: &Edge, requests: usize) -> Vec<Result<String, String>> {
    let log = edge.envoy.logged(requests).await;
    let text = |line: &Value, member: &str| line[member].as_str().unwrap_or_default().to_owned();
    let of_line = |line: &Value| match text(line, "verdict").as_str() {
        "admitted" => Ok(text(line, "lines")),
        verdict => Err(verdict.to_owned()),
    };
    log.iter().map(of_line).collect()
}

fn check(cases: &[Case], decided: &[Result<String, String>]) {
    assert_eq!(cases.len(), decided.len());
    for (case, decided) in cases.iter().zip(decided) {
        let expected = case.expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(*decided, expected, "{case:?}");
    }
}

async fn check_http1(body_mode: &str, write: fn(&Case) -> Vec<u8>) {
    let (edge, cases) = (edge(body_mode).await, cases());
    for case in &cases {
        let answer = exchange(edge.envoy.address(), write(case)).await;
        assert_eq!(answer.status() == 200, case.expected.is_ok(), "{case:?} {answer:?}");
    }
    check(&cases, &decided(&edge, cases.len()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_piece() {
    check_http1("strict", whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chunks() {
    check_http1("strict", chunked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_compat_mode() {
    check_http1("compat", whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2() {
    let (edge, client) = (edge("strict").await, http2());
    // What no client for HTTP/2 can be made to send is left out.
    let can_be_sent = |case: &Case| !case.target.contains('[');
    let cases: Vec<_> = cases().into_iter().filter(can_be_sent).collect();
    for case in &cases {
        let mut request = client.post(edge.envoy.url(case.target)).body(case.body.clone());
        for (name, value) in &case.headers {
            request = request.header(*name, value.as_slice());
        }
        let status = request.send().await.unwrap().status();
        assert_eq!(status == 200, case.expected.is_ok(), "{case:?} {status}");
    }
    check(&cases, &decided(&edge, cases.len()).await);
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
