//! Requests are followed: from a caller's `traceparent` through API, lane and commit, in one process or
//! several, to a collector; and whatever becomes of that, requests are answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod collector;

use std::time::{Duration, Instant};

use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::redis::{Certificate, Redis, RedisOptions};
use cartgate_tests::{Answer, EnvoyConfig, Order, Service, ServiceOptions, Shop, Site};
use serde_json::{Value, json};
use tempfile::TempDir;

use collector::{Collector, Span};

const SKU: &str = "SNEAKER-1";

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The caller's span.
const CALLER: &str = "00f067aa0ba902b7";

/// A service with ten units in stock.
async fn service(settings: &str) -> (TempDir, Service, Shop) {
    let dir = tempfile::tempdir().unwrap();
    let service =
        Service::start(&ServiceOptions::new(dir.path()).settings(settings)).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 10).await.unwrap().status, 200);
    (dir, service, shop)
}

/// An order with these headers.
async fn order(service: &Service, quantity: u32, headers: &[(&str, &str)]) -> Answer {
    let body = json!({ "sku": SKU, "quantity": quantity, "customer_id": "ann" });
    let mut request = http().post(service.url("/v1/reservations")).json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::to(request).await.unwrap()
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).expect(name)
}

/// What the spans of an order say, wherever it was decided.
fn check_order(spans: &[Span], outcome: &str) {
    let request = named(spans, "POST /v1/reservations");
    assert_eq!((&*request.parent, request.is_server), (CALLER, true));
    for (name, expected) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/reservations"),
        ("url.scheme", "http"),
        ("cartgate.request_id", "order-7"),
    ] {
        assert_eq!(request.get(name), expected, "{name}");
    }
    let lane = named(spans, "lane");
    for (name, expected) in [
        ("cartgate.lane", "normal"),
        ("cartgate.sku", SKU),
        ("cartgate.command", "reserve"),
        ("cartgate.outcome", outcome),
    ] {
        assert_eq!(lane.get(name), expected, "{name}");
    }
    lane.get("cartgate.bucket").parse::<u16>().unwrap();
    let commit = named(spans, "commit");
    assert_eq!(
        (&*commit.get("cartgate.batch_size"), &*commit.get("cartgate.durability")),
        ("1", "disk")
    );
    assert_eq!(lane.times.1, commit.times.0, "what has waited is written");
    for span in spans {
        assert!(span.times.0 <= span.times.1, "{span:?}");
        assert_eq!(
            (&*span.of_process("service.name"), &*span.trace_state),
            ("cartgate", "vendor=1")
        );
    }
    for child in [lane, commit] {
        assert_eq!((&child.parent, child.is_server), (&request.id, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_goes_on_to_the_commit() {
    let collector = Collector::start().await;
    let (_dir, service, _shop) = service(&collector.settings(0.0)).await;
    // What no caller has sampled comes first: when the others are there, it would be.
    for headers in [&[][..], &[("traceparent", &*parent("00"))]] {
        assert_eq!(order(&service, 1, headers).await.status, 201);
    }
    let sampled = parent("01");
    let headers =
        [("traceparent", &*sampled), ("tracestate", "vendor=1"), ("x-request-id", "order-7")];
    let held = order(&service, 1, &headers).await;
    assert_eq!((held.status, held.header("x-request-id")), (201, Some("order-7")));
    check_order(&collector.trace(TRACE, 3).await, "held");
    assert_eq!(collector.spans().len(), 3, "nothing else is sampled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_named_in_its_trace() {
    let collector = Collector::start().await;
    let (_dir, service, _shop) = service(&collector.settings(0.0)).await;
    let sampled = parent("01");
    let refused = order(&service, 11, &[("traceparent", &sampled)]).await;
    assert_eq!((refused.status, refused.problem()), (409, "sold-out"));
    // Nothing has changed, and nobody can repeat it: there is no commit.
    let spans = collector.trace(TRACE, 2).await;
    let request = named(&spans, "POST /v1/reservations");
    assert_eq!(
        (&*request.get("http.response.status_code"), &*request.get("error.type"), request.is_error),
        ("409", "sold-out", false)
    );
    assert_eq!(named(&spans, "lane").get("cartgate.outcome"), "sold-out");
}

/// The edge passes on what its client says, and the order's id with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_from_the_edge_to_the_commit() {
    let collector = Collector::start().await;
    let config = EnvoyConfig::shipped().unwrap();
    let site = Site::start(&collector.settings(0.0), config).await.unwrap();
    assert_eq!(site.back().set_stock(SKU, 10).await.unwrap().status, 200);
    let request =
        http().post(site.envoy.url("/v1/reservations")).header("traceparent", parent("01"));
    let held = Answer::to(request.json(&json!({"sku": SKU}))).await.unwrap();
    assert_eq!(held.status, 201, "{held:?}");
    let spans = collector.trace(TRACE, 3).await;
    let request = named(&spans, "POST /v1/reservations");
    assert_eq!(request.parent, CALLER);
    assert_eq!(Some(&*request.get("cartgate.request_id")), held.header("x-request-id"));
    for child in ["lane", "commit"] {
        assert_eq!(named(&spans, child).parent, request.id);
    }
}

/// The API process and the worker are two, with nothing between them but Redis.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_in_the_worker() {
    let collector = Collector::start().await;
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(&RedisOptions::new(&dir.path().join("redis"))).await.unwrap();
    let mut services = Vec::new();
    for roles in ["worker", "api"] {
        let options = ServiceOptions::new(&dir.path().join(roles)).store(&redis.url()).roles(roles);
        services.push(Service::start(&options.settings(&collector.settings(0.0))).await.unwrap());
    }
    let (worker, api) = (&services[0], &services[1]);
    assert_eq!(Shop::at(api.address()).set_stock(SKU, 10).await.unwrap().status, 200);
    let sampled = parent("01");
    let headers =
        [("traceparent", &*sampled), ("tracestate", "vendor=1"), ("x-request-id", "order-7")];
    assert_eq!(order(api, 1, &headers).await.status, 201);
    let spans = collector.trace(TRACE, 3).await;
    check_order(&spans, "held");
    let instance = |name: &str| named(&spans, name).of_process("service.instance.id");
    assert_eq!(instance("lane"), instance("commit"));
    assert_ne!(instance("lane"), instance("POST /v1/reservations"));
    let committed = eventually("the commit in the worker's log", || async {
        let log = worker.log();
        log.lines()
            .find(|line| line.contains("command committed") && line.contains(TRACE))
            .map(str::to_owned)
    });
    assert!(committed.await.contains("request_id=order-7 "), "no more than the id");
    // Of what is not sampled a worker has the id alone.
    let headers = [("traceparent", &*parent("00")), ("x-request-id", "order-8")];
    assert_eq!(order(api, 1, &headers).await.status, 201);
    eventually("the other in the worker's log", || async {
        worker.log().contains("request_id=order-8 ").then_some(())
    })
    .await;
    assert_eq!(collector.spans().len(), 3);
}

/// A command that a ticket was given for keeps its trace, as it keeps its place, in the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_after_a_restart() {
    let collector = Collector::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = collector.settings(0.0);
    let options = ServiceOptions::new(dir.path()).settings(&settings);
    let mut before = Service::start(&options).await.unwrap();
    let shop = Shop::at(before.address());
    assert_eq!(shop.set_stock(SKU, 10).await.unwrap().status, 200);
    assert_eq!(shop.promote(SKU, Some(1)).await.unwrap().status, 201);
    // Those in front of it take a second each, but the first.
    for number in 0..6 {
        let ahead = order(&before, 1, &[("prefer", "respond-async")]).await;
        assert!(ahead.status == 202 || number == 0, "{ahead:?}");
    }
    let sampled = parent("01");
    let headers = [("traceparent", &*sampled), ("prefer", "respond-async")];
    assert_eq!(order(&before, 1, &headers).await.status, 202);
    assert!(before.process.stop().await.unwrap().success());
    assert_eq!(collector.spans().len(), 1, "it is not decided yet");
    let _after = Service::start(&options).await.unwrap();
    let spans = collector.trace(TRACE, 3).await;
    let (request, lane) = (named(&spans, "POST /v1/reservations"), named(&spans, "lane"));
    assert_eq!((&lane.parent, &*lane.get("cartgate.lane")), (&request.id, "hot"));
    let instance = |span: &Span| span.of_process("service.instance.id");
    assert_ne!(instance(request), instance(lane));
    assert!(lane.times.1 - lane.times.0 > 1_000_000_000, "{lane:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_caller_or_a_malformed_one_begins_a_trace() {
    let collector = Collector::start().await;
    let (_dir, service, _shop) = service(&collector.settings(1.0)).await;
    let wrong = parent("01").to_uppercase();
    for headers in [&[][..], &[("traceparent", &*wrong)], &[("traceparent", "00-x")]] {
        let held = order(&service, 1, headers).await;
        // Nobody has named the request: its trace does.
        let trace_id = held.header("x-request-id").unwrap();
        let spans = collector.trace(trace_id, 3).await;
        assert_eq!(named(&spans, "POST /v1/reservations").parent, "");
        assert_ne!(trace_id, TRACE);
    }
}

/// A caller that nobody trusts decides nothing, but what its trace is.
#[tokio::test(flavor = "multi_thread")]
async fn a_callers_decision_need_not_be_trusted() {
    let collector = Collector::start().await;
    let settings = |sample: f64| collector.settings(sample) + "trust_parent = false\n";
    let (_dir, all, _shop) = service(&settings(1.0)).await;
    let (_other, none, _shop) = service(&settings(0.0)).await;
    assert_eq!(order(&none, 1, &[("traceparent", &parent("01"))]).await.status, 201);
    assert_eq!(order(&all, 1, &[("traceparent", &parent("00"))]).await.status, 201);
    collector.trace(TRACE, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sampled_last_is_exported_before_the_end() {
    let collector = Collector::start().await;
    let (_dir, mut service, _shop) = service(&collector.settings(0.0)).await;
    assert_eq!(order(&service, 1, &[("traceparent", &parent("01"))]).await.status, 201);
    assert!(service.process.stop().await.unwrap().success());
    assert_eq!(collector.spans().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_may_be_reached_by_tls() {
    let (certificate, dir) = (Certificate::new(), tempfile::tempdir().unwrap());
    let collector = Collector::start_tls(&certificate).await;
    let trusted = dir.path().join("authority.pem");
    std::fs::write(&trusted, certificate.authority_pem()).unwrap();
    let settings = collector.settings(0.0);
    let options = ServiceOptions::new(dir.path()).settings(&settings);
    let trust = format!("SSL_CERT_FILE={}", trusted.display());
    let service = Service::start(&options.under(&["env", &trust])).await.unwrap();
    assert_eq!(Shop::at(service.address()).set_stock(SKU, 10).await.unwrap().status, 200);
    assert_eq!(order(&service, 1, &[("traceparent", &parent("01"))]).await.status, 201);
    collector.trace(TRACE, 3).await;
}

/// The answer does not wait for a collector, whatever that does, and the service does not wait for long.
async fn check_answered_without(settings: &str) {
    let (_dir, mut service, shop) = service(settings).await;
    let began = Instant::now();
    for _ in 0..10 {
        let held = order(&service, 1, &[("traceparent", &parent("01"))]).await;
        assert_eq!(held.status, 201);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    eventually("spans that are dropped", || async {
        let metrics = shop.metrics().await.unwrap();
        let mut lines = metrics.lines();
        lines
            .find(|line| line.starts_with("cartgate_spans_dropped_total{reason=\"not-taken\"}"))?;
        Some(())
    })
    .await;
    assert!(service.log().contains("the collector does not take spans"));
    assert_eq!(shop.metrics().await.unwrap().matches("cartgate_spans_exported_total 0").count(), 1);
    assert_eq!(shop.set_stock(SKU, 20).await.unwrap().status, 200);
    assert_eq!(order(&service, 1, &[("traceparent", &parent("01"))]).await.status, 201);
    let stopping = Instant::now();
    assert!(service.process.stop().await.unwrap().success());
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_keeps_nobody_waiting() {
    // A port that nobody listens on.
    let away = cartgate_tests::ports::free_address();
    check_answered_without(&format!("[tracing]\notlp = \"http://{away}\"\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_keeps_nobody_waiting() {
    let collector = Collector::start_hanging().await;
    check_answered_without(&collector.settings(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_logged_of_a_request_has_its_trace() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path()).log("info,cartgate=debug", "json");
    let service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 10).await.unwrap().status, 200);
    // Nobody takes spans, and the caller has not sampled it: logs are followed all the same.
    let unsampled = parent("00");
    let headers = [("traceparent", &*unsampled), ("x-request-id", "order-7")];
    assert_eq!(order(&service, 1, &headers).await.status, 201);
    let lines = eventually("the request's end", || async {
        let log = service.log();
        let lines = log.lines().filter(|line| line.contains("order-7"));
        let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        let has = |message| lines.iter().any(|line| line["fields"]["message"] == message);
        (has("request ended") && has("command committed")).then_some(lines)
    });
    for line in lines.await {
        let of = if line["span"] == Value::Null { &line["fields"] } else { &line["span"] };
        assert_eq!(
            (&of["request_id"], &of["trace_id"]),
            (&json!("order-7"), &json!(TRACE)),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slow_can_be_looked_at_from_the_metrics() {
    let collector = Collector::start().await;
    let (_dir, service, shop) = service(&collector.settings(0.0)).await;
    assert_eq!(order(&service, 1, &[("traceparent", &parent("01"))]).await.status, 201);
    eventually("the exemplar", || async {
        let metrics = shop.metrics().await.unwrap();
        let exemplar = format!("# {{trace_id=\"{TRACE}\"}}");
        let line = metrics.lines().find(|line| line.contains(&exemplar))?;
        assert!(line.starts_with("cartgate_http_request_seconds_bucket{"), "{line}");
        Some(())
    })
    .await;
}

/// Customers are nobody's business: not those who look at traces, logs or metrics. Where they are asked for by
/// what has to know them, and in what is refused, too.
#[tokio::test(flavor = "multi_thread")]
async fn customers_are_in_no_trace_log_or_metric() {
    const CUSTOMER: &str = "customer-zoe-4711";
    let collector = Collector::start().await;
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path()).settings(&collector.settings(1.0));
    let service = Service::start(&options.log("debug", "json")).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 10).await.unwrap().status, 200);
    let hot = http().put(service.url(&format!("/v1/hot-items/{SKU}")));
    let hot = hot.json(&json!({ "customer_cap": 2 })).send().await.unwrap();
    assert_eq!(hot.status(), 201);
    let one = Order { customer: CUSTOMER.to_owned(), ..Order::one(SKU) };
    let keyed = Order { key: Some(CUSTOMER.to_owned()), ..one.clone() };
    let held = shop.reserve(&keyed).await.unwrap();
    assert_eq!((held.status, shop.reserve(&keyed).await.unwrap().status), (201, 201));
    assert_eq!(shop.reserve_by_form(&one).await.unwrap().status, 201);
    let over = shop.reserve(&one).await.unwrap();
    assert_eq!((over.status, over.problem()), (409, "over-cap"));
    let settled = shop.settle(held.reservation_id(), "confirm").await.unwrap();
    assert_eq!(settled.status, 200);
    let wrong = json!({ "sku": SKU, CUSTOMER: 1, "customer_id": CUSTOMER });
    let wrong = http().post(service.url("/v1/reservations")).json(&wrong).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    let nowhere = shop.get(&format!("/v1/customers/{CUSTOMER}")).await.unwrap();
    assert_eq!(nowhere.status, 404);
    let last = shop.get(&format!("/v1/reservations/{CUSTOMER}")).await.unwrap();
    collector.trace(last.header("x-request-id").unwrap(), 1).await;
    let exported = collector.bytes();
    assert!(exported.windows(SKU.len()).any(|part| part == SKU.as_bytes()));
    assert!(!exported.windows(CUSTOMER.len()).any(|part| part == CUSTOMER.as_bytes()));
    let (log, metrics) = (service.log(), shop.metrics().await.unwrap());
    let tells = |text: &str| text.lines().find(|line| line.contains(CUSTOMER)).map(str::to_owned);
    assert_eq!((tells(&log), tells(&metrics)), (None, None));
}
