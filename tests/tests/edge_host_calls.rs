//! What a request costs at the edge is mostly how often Envoy and the filter call each other: these are
//! all of the calls, as Envoy's trace log tells them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cartgate_tests::client::{exchange, http};
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, filter};

/// What a request that names its SKU in a header begins with: Envoy gives the filter a block to put the
/// headers in.
const HEAD: [&str; 4] = [
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_get_header_map_pairs",
    "proxy_on_memory_allocate",
];

const CLOCK: &str = "clock_time_get";
const GET: &str = "proxy_get_shared_data";
const SET: &str = "proxy_set_shared_data";
const GIVEN: &str = "proxy_on_memory_allocate";
const ANSWER: &str = "proxy_send_local_response";
const END: &str = "proxy_on_delete";

/// An Envoy that tells each call.
struct Told {
    edge: Edge,
    requests: usize,
}

impl Told {
    async fn start() -> Self {
        let limits = filter::configuration((1_000_000, 1_000_000), &[("DENIED", filter::SLOW)]);
        let edge = Edge::with_filter(&limits).await.unwrap();
        let admin = format!("http://{}/logging?wasm=trace", edge.envoy.admin());
        let level = http().post(admin).send().await.unwrap();
        assert!(level.status().is_success());
        Self { edge, requests: 0 }
    }

    /// The calls for each of so many such requests, one right after the other.
    async fn calls(&mut self, request: &str, status: u16, times: usize) -> Vec<Vec<String>> {
        for _ in 0..times {
            assert_eq!(exchange(self.edge.envoy.address(), request).await.status(), status);
        }
        let before = self.requests;
        self.requests += times;
        let path = self.edge.envoy.process.log();
        eventually("the requests' ends in Envoy's log", || async {
            let log = std::fs::read_to_string(path).unwrap();
            let calls: Vec<_> = log.lines().filter_map(call).collect();
            let ended = calls.iter().filter(|name| *name == END).count();
            let requests = calls.split_inclusive(|name| name == END).skip(before);
            (ended >= self.requests).then(|| requests.take(times).map(<[_]>::to_vec).collect())
        })
        .await
    }
}

/// The name in a line such as `.. [vm->host] env.proxy_log(1, 1116120, 81)`.
fn call(line: &str) -> Option<String> {
    let (_, told) = line.split_once("[host->vm] ").or_else(|| line.split_once("[vm->host] "))?;
    let (name, _) = told.split_once('(')?;
    let name = name.rsplit('.').next()?;
    // What comes five times a second, and lines for a log that says less without this test.
    let aside = ["proxy_on_tick", "proxy_get_log_level", "proxy_increment_metric", "proxy_log"];
    (!aside.contains(&name)).then(|| name.to_owned())
}

fn by_header(sku: &str, units: u32) -> String {
    format!(
        "POST /by-header HTTP/1.1\r\nhost: shop\r\nx-sku: {sku}\r\nx-quantity: {units}\r\n\
         content-length: 0\r\n\r\n"
    )
}

fn all(parts: &[&[&str]]) -> Vec<String> {
    parts.concat().into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_its_sku_in_a_header() {
    let mut told = Told::start().await;
    let calls = told.calls(&by_header("A", 1), 200, 50).await;
    // The set of a SKU that nobody has asked for is not there yet.
    assert_eq!(calls[0], all(&[&HEAD, &[GET, CLOCK, SET, END]]));
    // Of one that is known it may be that nothing is leased any more.
    let leased = all(&[&HEAD, &[CLOCK, END]]);
    let charged = all(&[&HEAD, &[CLOCK, GET, GIVEN, CLOCK, SET, END]]);
    for one in &calls[1..] {
        assert!(*one == leased || *one == charged, "{one:?}");
    }
    assert!(calls.contains(&leased), "nothing was ever leased");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_denied() {
    let mut told = Told::start().await;
    told.calls(&by_header("DENIED", 1_000), 200, 1).await;
    let calls = told.calls(&by_header("DENIED", 10), 429, 3).await;
    // The thread learns that not one unit can be charged, and until when.
    let learnt = [CLOCK, GET, GIVEN, CLOCK, ANSWER, END];
    assert_eq!(calls[0], all(&[&HEAD, &learnt]));
    for one in &calls[1..] {
        assert_eq!(*one, all(&[&HEAD, &[CLOCK, ANSWER, END]]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_its_sku_in_its_body() {
    let mut told = Told::start().await;
    let request = "POST /by-json HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
                   content-length: 12\r\n\r\n{\"sku\": \"A\"}";
    let mut calls = told.calls(request, 200, 1).await;
    // Envoy may bring the end of a body by itself.
    calls[0].dedup();
    let body = ["proxy_on_request_body", "proxy_get_buffer_bytes", GIVEN];
    assert_eq!(calls[0], all(&[&HEAD, &body, &[GET, CLOCK, SET, END]]));
}
