//! The service by itself: every request that is wrong gets its problem, and none breaks it; full
//! lanes refuse; whoever hangs up takes nothing; a stop answers those who wait; a start that cannot
//! succeed says why.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::{RawConnection, exchange, http};
use cartgate_tests::process::eventually;
use cartgate_tests::{Order, Service, ServiceOptions, Shop, paths};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;

const SKU: &str = "SNEAKER-1";

/// A service with ten units in stock.
async fn service(settings: &str) -> (TempDir, Service, Shop) {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path()).settings(settings);
    let service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 10).await.unwrap().status, 200);
    (dir, service, shop)
}

fn post(path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn reserve(content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post("/v1/reservations", &format!("content-type: {content_type}\r\n"), body)
}

fn reserve_json(body: &str) -> Vec<u8> {
    reserve("application/json", body)
}

fn reserve_form(body: impl AsRef<[u8]>) -> Vec<u8> {
    reserve("application/x-www-form-urlencoded", body)
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()
}

fn put(path: &str, body: &str) -> Vec<u8> {
    let put = String::from_utf8(post(path, "content-type: application/json\r\n", body)).unwrap();
    put.replacen("POST", "PUT", 1).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_gets_its_problem_and_changes_nothing() {
    let (_dir, service, shop) = service("").await;
    let key = |key: &str| {
        let headers = format!("content-type: application/json\r\n{key}");
        post("/v1/reservations", &headers, r#"{"sku":"SNEAKER-1"}"#)
    };
    let unknown_id = "0".repeat(32);
    let id_in = |path: &str| path.replace("{id}", &unknown_id);
    let cases = [
        (reserve_json(""), 400, "invalid-request"),
        (reserve_json("{"), 400, "invalid-request"),
        (reserve_json("[]"), 400, "invalid-request"),
        (reserve_json("{}"), 400, "no-sku"),
        (reserve_json(r#"["SNEAKER-1",1,"c"]"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"a b"}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":7.5}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":7}"#), 404, "unknown-sku"),
        (reserve_json(r#"{"sku":"SNEAKER-1","qty":2}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"SNEAKER-1","sku":"SNEAKER-1"}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"SNEAKER-1","quantity":0}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"SNEAKER-1","quantity":-1}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"SNEAKER-1","quantity":1.5}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"SNEAKER-1","quantity":1000001}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"SNEAKER-1","customer_id":7}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"SNEAKER-1","customer_id":""}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"SNEAKER-1","customer_id":"a\nb"}"#), 400, "invalid-request"),
        (reserve_json(r#"{"sku":"NOT-IN-STOCK"}"#), 404, "unknown-sku"),
        (reserve_json(&"[".repeat(60_000)), 400, "invalid-request"),
        (reserve_json(&" ".repeat(70_000)), 413, "body-too-large"),
        (reserve_form(""), 400, "no-sku"),
        (reserve_form("sku="), 400, "invalid-request"),
        (reserve_form("sku=SNEAKER-1&sku=SNEAKER-1"), 400, "invalid-request"),
        (reserve_form("sku=SNEAKER-1&quantity="), 400, "invalid-request"),
        (reserve_form("sku=SNEAKER-1&quantity=%2B1"), 400, "invalid-request"),
        (reserve_form(b"sku=\xff"), 400, "invalid-request"),
        (reserve("text/plain", "sku=SNEAKER-1"), 415, "unsupported-media-type"),
        (post("/v1/reservations", "", "{}"), 415, "unsupported-media-type"),
        (key("content-encoding: gzip\r\n"), 415, "unsupported-media-type"),
        (key("content-type: application/json\r\n"), 400, "invalid-request"),
        (key("idempotency-key:\r\n"), 400, "invalid-request"),
        (key("idempotency-key: a\r\nidempotency-key: a\r\n"), 400, "invalid-request"),
        (key(&format!("idempotency-key: {}\r\n", "k".repeat(256))), 400, "invalid-request"),
        (get(&id_in("/v1/reservations/{id}")), 404, "unknown-reservation"),
        (get("/v1/reservations/%ff"), 400, "invalid-request"),
        (get("/v1/reservations/ABC"), 404, "unknown-reservation"),
        (get(&id_in("/v1/tickets/{id}")), 404, "unknown-ticket"),
        (post(&id_in("/v1/reservations/{id}/confirm"), "", ""), 404, "unknown-reservation"),
        (post(&id_in("/v1/reservations/{id}/release"), "", ""), 404, "unknown-reservation"),
        (put("/v1/skus/SNEAKER-1/stock", "[5]"), 400, "invalid-request"),
        (put("/v1/skus/SNEAKER-1/stock", "{}"), 400, "invalid-request"),
        (put("/v1/skus/SNEAKER-1/stock", r#"{"quantity":-1}"#), 400, "invalid-request"),
        (put("/v1/skus/SNEAKER-1/stock", r#"{"quantity":1e13}"#), 400, "invalid-request"),
        (put("/v1/skus/SNEAKER-1/stock", r#"{"quantity":1000000000001}"#), 400, "invalid-request"),
        (put("/v1/skus/a%20b/stock", r#"{"quantity":1}"#), 400, "invalid-request"),
        (get("/v1/skus/NOT-IN-STOCK"), 404, "unknown-sku"),
        (get("/v1/skus/NOT-IN-STOCK/journal"), 404, "unknown-sku"),
        (get("/v1/skus/SNEAKER-1/journal?after=x"), 400, "invalid-request"),
        (get("/v1/skus/SNEAKER-1/journal?limit=0"), 400, "invalid-request"),
        (get("/v1/skus/SNEAKER-1/journal?from=1"), 400, "invalid-request"),
        (get("/v1/nothing"), 404, "not-found"),
        (get("/v1/reservations"), 405, "method-not-allowed"),
    ];
    for (request, status, problem) in cases {
        let said = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        let answer = exchange(service.address(), &request).await;
        let expected = (status, Some("application/problem+json"));
        assert_eq!((answer.status(), answer.header("content-type")), expected, "{said}");
        let body = answer.json();
        assert_eq!(body["type"], format!("urn:cartgate:problem:{problem}"), "{said}");
        assert_eq!(body["status"], status, "{said}");
    }
    let journal = shop.journal(SKU).await.unwrap();
    assert_eq!(journal.len(), 1, "only the stock that was set: {journal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_the_total_and_never_less_than_promised() {
    let (_dir, _service, shop) = service("").await;
    let held = shop.reserve(&Order { quantity: 3, ..Order::one(SKU) }).await.unwrap();
    assert_eq!(held.status, 201);
    let refused = shop.set_stock(SKU, 2).await.unwrap();
    assert_eq!((refused.status, refused.problem()), (409, "stock-below-committed"));
    assert_eq!(refused.body["committed"], 3);
    for _ in 0..2 {
        let set = shop.set_stock(SKU, 3).await.unwrap();
        let expected = json!({"sku": SKU, "available": 0, "held": 3, "confirmed": 0, "version": 3});
        assert_eq!((set.status, set.body), (200, expected));
    }
    let sold_out = shop.reserve(&Order::one(SKU)).await.unwrap();
    assert_eq!((sold_out.status, sold_out.problem()), (409, "sold-out"));
    assert_eq!(sold_out.body["available"], 0);
}

/// One lane that decides one command a second, with room for two more.
const NARROW: &str = "wait_ms = 60000\n[lanes]\nreserves_per_s = 1\nreserve_queue_max = 2\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_says_so_at_once() {
    let (_dir, _service, shop) = service(NARROW).await;
    let mut shoppers = JoinSet::new();
    for _ in 0..8 {
        let shop = shop.clone();
        shoppers.spawn(async move { shop.reserve(&Order::one(SKU)).await.unwrap() });
    }
    let answers = shoppers.join_all().await;
    let full: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(full.len() >= 4, "{answers:?}");
    for answer in full {
        assert_eq!(answer.problem(), "lane-full");
        let retry_after: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=4).contains(&retry_after));
    }
}

/// Retries are heaviest when lanes are full: whoever has an answer already gets it again at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_needs_no_room_in_a_full_lane() {
    let (_dir, _service, shop) = service(NARROW).await;
    let order = Order { key: Some("k".to_owned()), ..Order::one(SKU) };
    let first = shop.reserve(&order).await.unwrap();
    assert_eq!(first.status, 201);
    let mut waiting = JoinSet::new();
    loop {
        let another = shop.clone();
        waiting.spawn(async move { another.reserve(&Order::one(SKU)).await });
        if shop.reserve(&Order::one(SKU)).await.unwrap().status == 503 {
            break;
        }
    }
    let again = shop.reserve(&order).await.unwrap();
    assert_eq!((again.status, &again.body), (201, &first.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_takes_nothing() {
    let (_dir, service, shop) = service(NARROW).await;
    // The first is decided at once, and the next only after a second: enough to hang up in.
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let mut impatient = RawConnection::open(service.address()).await;
    impatient.send(reserve_form("sku=SNEAKER-1&quantity=5")).await;
    let queued = async || {
        let metrics = metrics(&service).await;
        let depths = metrics.lines().filter(|line| line.starts_with("cartgate_lane_depth{"));
        depths.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>()
    };
    eventually("the order in its lane", || async { (queued().await == 1).then_some(()) }).await;
    drop(impatient);
    eventually("the lane empty", || async { (queued().await == 0).then_some(()) }).await;
    let after = shop.reserve(&Order::one(SKU)).await.unwrap();
    assert_eq!(after.status, 201);
    assert_eq!(shop.stock(SKU).await.unwrap().body["held"], 2);
    let metrics = metrics(&service).await;
    assert!(metrics.contains("cartgate_hung_up_total 1\n"), "{metrics}");
    assert!(metrics.contains(r#"route="/v1/reservations",status="499"} 1"#), "{metrics}");
}

async fn metrics(service: &Service) -> String {
    http().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_those_who_wait() {
    let (_dir, mut service, shop) = service("wait_ms = 500\n[lanes]\nreserves_per_s = 1\n").await;
    let mut shoppers = JoinSet::new();
    for _ in 0..5 {
        let shop = shop.clone();
        shoppers.spawn(async move { shop.reserve(&Order::one(SKU)).await.unwrap().status });
    }
    let first = shoppers.join_next().await.unwrap().unwrap();
    assert_eq!(first, 201);
    let status = service.process.stop().await.unwrap();
    assert!(status.success(), "{status}");
    let rest = shoppers.join_all().await;
    assert!(rest.iter().all(|status| [201, 202].contains(status)), "{rest:?}");
    assert!(rest.contains(&202), "{rest:?}");
}

/// Runs `cartgate serve` with these settings, to its end.
async fn start_that_fails(settings: &str, arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cartgate.toml");
    std::fs::write(&config, settings).unwrap();
    // With fewer files than some systems give, so that what needs many fails everywhere.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 20000 && exec \"$@\"", "sh"]);
    command.arg(paths::service().unwrap()).arg("serve");
    command.arg("--config").arg(config).args(arguments);
    let output = command.current_dir(dir.path()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_succeed_says_why() {
    let (_dir, running, _shop) = service("").await;
    let taken = running.address().to_string();
    let said = start_that_fails("", &["--listen", &taken]).await;
    assert!(said.contains(&format!("listen: {taken} cannot be used")), "{said}");
    let said = start_that_fails("wait = 5", &[]).await;
    assert!(said.contains("unknown field `wait`, expected one of `listen`"), "{said}");
    let said = start_that_fails("[lanes]\nbatch_max = 0", &[]).await;
    assert!(said.contains("lanes.batch_max = 0 is out of range: set it to 1"), "{said}");
    let said = start_that_fails("connections_max = 1000000", &[]).await;
    assert!(
        said.contains("1000000 connections need 1000256 open files, and the limit is"),
        "{said}"
    );
    let said = start_that_fails("", &["--data", "cartgate.toml"]).await;
    assert!(said.contains("data: the store in cartgate.toml cannot be used"), "{said}");
}

/// What operators build dashboards and alerts on.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_these_names() {
    let (_dir, service, shop) = service("").await;
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let metrics = metrics(&service).await;
    let types: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let expected = [
        "cartgate_http_requests counter",
        "cartgate_http_request_seconds histogram",
        "cartgate_commands counter",
        "cartgate_hung_up counter",
        "cartgate_batch_size histogram",
        "cartgate_commit_seconds histogram",
        "cartgate_holds gauge",
        "cartgate_lane_depth gauge",
        "cartgate_lane_oldest_age_ms gauge",
    ];
    assert_eq!(types, expected);
    let counted = r#"cartgate_commands_total{command="reserve",outcome="held"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}
