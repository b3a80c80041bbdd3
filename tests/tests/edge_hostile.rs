//! Requests made to confuse or crash the filter, byte by byte, in the real Envoy: each gets its
//! status, none of the refused reaches the upstream, and afterwards all is as healthy as before.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::{RawConnection, exchange, post};
use cartgate_tests::{Edge, filter};

const JSON: &str = "content-type: application/json\r\n";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

/// The largest body that the edge under test reads.
const BODY_BYTES_MAX: usize = 4096;

async fn edge() -> Edge {
    let mut configuration = filter::configuration(filter::SLOW, &[]);
    configuration["body_bytes_max"] = BODY_BYTES_MAX.into();
    Edge::with_filter(&configuration).await.unwrap()
}

/// A POST in one chunk, with trailers.
fn chunked(path: &str, headers: &str, body: &str, trailers: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: shop\r\n{headers}transfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n{trailers}\r\n",
        body.len()
    )
    .into_bytes()
}

/// Sends each request on a connection of its own, and checks its status; what is not 200 must not
/// have reached the upstream. Then looks whether Envoy and the filter are still well.
async fn check(requests: &[(&str, Vec<u8>, u16)]) {
    let edge = edge().await;
    for (what, request, expected) in requests {
        let before = edge.upstream.seen();
        let answer = exchange(edge.envoy.address(), request).await;
        assert_eq!(answer.status(), *expected, "{what}: {answer:?}");
        let passed = edge.upstream.seen().requests.len() - before.requests.len();
        assert_eq!(passed, usize::from(*expected == 200), "{what}");
    }
    let admitted = requests.iter().filter(|(_, _, expected)| *expected == 200).count();
    // A head that got ahead of its refused body would be one too many.
    assert_eq!(edge.upstream.seen().heads.len(), admitted);
    assert_healthy(&edge).await;
}

/// The filter still admits and denies, and its VM was neither lost nor loaded again.
async fn assert_healthy(edge: &Edge) {
    let path = "/by-query?sku=AFTERWARDS&quantity=1000";
    for expected in [200, 429] {
        let answer = exchange(edge.envoy.address(), post(path, "", "")).await;
        assert_eq!(answer.status(), expected, "{answer:?}");
    }
    let failures = |name: &str| {
        name.contains("wasm")
            && ["fail", "crash", "reload", "error", "panic"].iter().any(|bad| name.contains(bad))
    };
    assert_eq!(edge.envoy.stat(failures).await, 0, "{}", edge.envoy.metrics().await);
    assert!(edge.envoy.stat(|name| name.ends_with("v8.active")).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers() {
    let with = |headers: &[u8]| post("/by-header", headers, "");
    check(&[
        ("plain", with(b"x-sku: A\r\n"), 200),
        ("white space around", with(b"x-sku: \t A \t\r\n"), 200),
        ("not UTF-8 in the SKU", with(b"x-sku: A\xff\xfe\r\n"), 400),
        ("not UTF-8 elsewhere", with(b"x-sku: A\r\nx-other: \xff\xc3\x28\r\n"), 200),
        ("not UTF-8 in the content type", with(b"x-sku: A\r\ncontent-type: \xff\r\n"), 200),
        ("the SKU twice", with(b"x-sku: A\r\nx-sku: B\r\n"), 400),
        ("the same SKU twice", with(b"x-sku: A\r\nX-SKU: A\r\n"), 400),
        ("the quantity twice", with(b"x-sku: A\r\nx-quantity: 1\r\nx-quantity: 2\r\n"), 400),
        ("no SKU", with(b""), 400),
        ("the SKU under another name", with(b"x_sku: A\r\n"), 400),
        ("an empty SKU", with(b"x-sku:\r\n"), 400),
        ("too long a SKU", with(format!("x-sku: {}\r\n", "A".repeat(65)).as_bytes()), 400),
        ("a null byte", with(b"x-sku: A\0B\r\n"), 400),
        ("a slash", with(b"x-sku: A/B\r\n"), 400),
        ("quantity 0", with(b"x-sku: A\r\nx-quantity: 0\r\n"), 400),
        ("quantity -1", with(b"x-sku: A\r\nx-quantity: -1\r\n"), 400),
        ("quantity 2^64", with(b"x-sku: A\r\nx-quantity: 18446744073709551616\r\n"), 400),
        ("quantity above the burst", with(b"x-sku: A\r\nx-quantity: 1001\r\n"), 422),
        ("many headers", with(&[b"x-sku: A\r\n", "x: y\r\n".repeat(80).as_bytes()].concat()), 200),
    ])
    .await;
}

/// Many servers take `x_sku` for `x-sku`: the service must not see what the filter did not read.
#[tokio::test(flavor = "multi_thread")]
async fn headers_with_underscores_are_left_out() {
    let edge = edge().await;
    let headers = "x_sku: B\r\nx-sku: A\r\nx_other: C\r\n";
    let answer = exchange(edge.envoy.address(), post("/by-header", headers, "")).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    let seen = edge.upstream.seen();
    assert_eq!(seen.heads[0].header("x-sku"), Some("A"));
    assert!(!seen.contains("x_sku") && !seen.contains("x_other"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_queries() {
    let to = |path: &str| post(path, "", "");
    check(&[
        ("encoded", to("/by-path/%41"), 200),
        ("encoded slash", to("/by-path/A%2FB"), 400),
        ("encoded twice", to("/by-path/%2541"), 400),
        ("encoded null", to("/by-path/A%00"), 400),
        ("not UTF-8", to("/by-path/%ff"), 400),
        ("parameter of the segment", to("/by-path/A;x=1"), 400),
        ("escape cut short", to("/by-path/A%4"), 400),
        ("encoded parameter", to("/by-query?s%6bu=%41"), 200),
        ("white space as +", to("/by-query?sku=+A+"), 200),
        ("twice", to("/by-query?sku=A&sku=B"), 400),
        ("twice, once encoded", to("/by-query?sku=A&%73ku=B"), 400),
        ("empty", to("/by-query?sku="), 400),
        ("none", to("/by-query?"), 400),
        ("null", to("/by-query?sku=A%00"), 400),
        ("not UTF-8 in the query", to("/by-query?sku=%ff"), 400),
        ("quantity twice", to("/by-query?sku=A&quantity=1&quantity=2"), 400),
        ("not UTF-8 in another parameter", to("/by-query?sku=A&x=%ff"), 200),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_bodies() {
    let json = |body: &[u8]| post("/by-json", JSON, body);
    let deep = [b"[".repeat(2000), b"]".repeat(2000)].concat();
    let deep_after_sku = [br#"{"sku": "A", "x": "#, &deep[..], b"}"].concat();
    let large = format!(r#"{{"sku": "A", "x": "{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    check(&[
        ("plain", json(br#"{"sku": "A"}"#), 200),
        ("escaped key and value", json(br#"{"\u0073ku": "\u0041"}"#), 200),
        ("a number", json(br#"{"sku": 12}"#), 200),
        ("cut short", json(br#"{"sku": "A"#), 400),
        ("empty", json(b""), 400),
        ("white space", json(b"  \r\n "), 400),
        ("null", json(b"null"), 400),
        ("a key twice", json(br#"{"sku": "A", "sku": "B"}"#), 400),
        ("a key twice, once escaped", json(br#"{"sku": "A", "sk\u0075": "B"}"#), 400),
        ("an object", json(br#"{"sku": {"sku": "A"}}"#), 400),
        ("a list", json(br#"{"sku": ["A"]}"#), 400),
        ("a null byte", json(b"{\"sku\": \"A\0\"}"), 400),
        ("an escaped null byte", json(br#"{"sku": "A\u0000"}"#), 400),
        ("half a surrogate pair", json(br#"{"sku": "\ud800"}"#), 400),
        ("not UTF-8", json(b"{\"sku\": \"\xff\"}"), 400),
        ("not UTF-8 elsewhere", json(b"{\"sku\": \"A\", \"x\": \"\xff\"}"), 400),
        ("two documents", json(br#"{"sku": "A"} {"sku": "B"}"#), 400),
        ("deep", json(&deep), 400),
        ("deep behind the SKU", json(&deep_after_sku), 400),
        ("a fraction", json(br#"{"sku": "A", "quantity": 1.5}"#), 400),
        ("a negative quantity", json(br#"{"sku": "A", "quantity": -1}"#), 400),
        ("a huge quantity", json(br#"{"sku": "A", "quantity": 1e300}"#), 400),
        ("too large", json(large.as_bytes()), 413),
        ("a byte-order mark", json(b"\xef\xbb\xbf{\"sku\": \"A\"}"), 400),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bodies() {
    let sku = r#"{"sku": "A"}"#;
    let big = "x".repeat(3 << 20);
    check(&[
        ("form", post("/by-form", FORM, "sku=%41&x=%ff"), 200),
        ("form with a field twice", post("/by-form", FORM, "sku=A&sku=A"), 400),
        ("form with a null byte", post("/by-form", FORM, b"sku=A\0"), 400),
        ("form without the SKU", post("/by-form", FORM, "x=A"), 400),
        ("json as text", post("/by-json", "content-type: text/plain\r\n", sku), 415),
        ("json without a type", post("/by-json", "", sku), 415),
        ("json as form", post("/by-json", FORM, sku), 415),
        ("form as json", post("/by-form", JSON, "sku=A"), 415),
        // Envoy joins the two to one that is neither.
        ("two types", post("/by-json", format!("{JSON}{FORM}"), sku), 415),
        ("compressed", post("/by-json", format!("{JSON}content-encoding: gzip\r\n"), sku), 415),
        ("three megabytes", post("/by-json", JSON, &big), 413),
        ("three megabytes in a chunk", chunked("/by-json", JSON, &big, ""), 413),
        ("trailers", chunked("/by-json", JSON, sku, "x-checksum: 1\r\n"), 200),
        ("the SKU in a trailer", chunked("/by-json", JSON, "{}", "x-sku: A\r\n"), 400),
        ("trailers after nothing", empty_chunked("x-sku: A\r\n"), 400),
    ])
    .await;
}

/// No chunk, but trailers.
fn empty_chunked(trailers: &str) -> Vec<u8> {
    format!(
        "POST /by-json HTTP/1.1\r\nhost: shop\r\n{JSON}transfer-encoding: chunked\r\n\r\n\
         0\r\n{trailers}\r\n"
    )
    .into_bytes()
}

/// What was denied once may not pass as a part of another request: Envoy and the filter agree where
/// a request ends.
#[tokio::test(flavor = "multi_thread")]
async fn smuggling() {
    let edge = edge().await;
    let both = "POST /by-json HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
         content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = exchange(edge.envoy.address(), both).await;
    assert_eq!(answer.status(), 400, "{answer:?}");
    let two_lengths = "POST /by-json HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\
         content-length: 12\r\n\r\n{\"sku\": \"A\"}";
    let answer = exchange(edge.envoy.address(), two_lengths).await;
    assert_eq!(answer.status(), 400, "{answer:?}");
    assert!(edge.upstream.seen().bytes.is_empty());
    assert_healthy(&edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_in_the_middle() {
    let edge = edge().await;
    let whole = post("/by-json", JSON, r#"{"sku": "A"}"#);
    for length in 1..whole.len() {
        let mut connection = RawConnection::open(edge.envoy.address()).await;
        connection.send(&whole[..length]).await;
    }
    assert_healthy(&edge).await;
    // Only the healthy one.
    assert_eq!(edge.upstream.seen().heads.len(), 1);
}

/// Requests on one connection keep to themselves: one that is refused leaves the next as it is.
#[tokio::test(flavor = "multi_thread")]
async fn good_and_refused_on_one_connection() {
    let edge = edge().await;
    let mut connection = RawConnection::open(edge.envoy.address()).await;
    let all = r#"{"sku": "DRAINED", "quantity": 1000}"#;
    let sequence = [(all, 200), (r#"{"sku": "A"}"#, 200), (all, 429), (all, 429)];
    for (body, expected) in sequence.iter().chain(&sequence[1..]) {
        connection.send(post("/by-json", JSON, body)).await;
        assert_eq!(connection.answer().await.status(), *expected);
    }
    // Two at once are answered in their order. (Of more, Envoy cuts the connection when several
    // answers of its own pile up: its protection against floods.)
    let two = &sequence[1..3];
    let pipelined: Vec<_> = two.iter().flat_map(|(body, _)| post("/by-json", JSON, body)).collect();
    connection.send(pipelined).await;
    for (_, expected) in two {
        assert_eq!(connection.answer().await.status(), *expected);
    }
    assert_eq!(edge.upstream.seen().requests.len(), 4);
    assert_healthy(&edge).await;
}
