//! Every request that is wrong gets its problem, and none changes anything.

use cartgate_tests::client::exchange;
use cartgate_tests::{Order, Service};

use super::{SKU, service};

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

pub(super) fn reserve_form(body: impl AsRef<[u8]>) -> Vec<u8> {
    reserve("application/x-www-form-urlencoded", body)
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()
}

fn delete(path: &str) -> Vec<u8> {
    format!("DELETE {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()
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
        (reserve_form(r#"{"sku":"SNEAKER-1"}"#), 415, "unsupported-media-type"),
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
        check(&service, &request, status, problem).await;
    }
    let journal = shop.journal(SKU).await.unwrap();
    assert_eq!(journal.len(), 1, "only the stock that was set: {journal:?}");
}

async fn check(service: &Service, request: &[u8], status: u16, problem: &str) {
    let said = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let answer = exchange(service.address(), request).await;
    let expected = (status, Some("application/problem+json"));
    assert_eq!((answer.status(), answer.header("content-type")), expected, "{said}");
    let body = answer.json();
    assert_eq!(body["type"], format!("urn:cartgate:problem:{problem}"), "{said}");
    assert_eq!(body["status"], status, "{said}");
    assert_eq!(answer.header("cartgate-durability"), Some("disk"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_cannot_be_understood_settles_nothing() {
    let (_dir, service, shop) = service("hold_ms_max = 1000000").await;
    let held = shop.reserve(&Order::one(SKU)).await.unwrap();
    let path = |how: &str| format!("/v1/reservations/{}/{how}", held.reservation_id());
    let settle =
        |how: &str, body: &str| post(&path(how), "content-type: application/json\r\n", body);
    let by_form = |body: &str| {
        post(&path("confirm"), "content-type: application/x-www-form-urlencoded\r\n", body)
    };
    let cases = [
        (settle("confirm", "["), 400, "invalid-request"),
        (settle("confirm", "[1]"), 400, "invalid-request"),
        (settle("confirm", r#"{"quantity":0}"#), 400, "invalid-request"),
        (settle("confirm", r#"{"quantity":-1}"#), 400, "invalid-request"),
        (settle("confirm", r#"{"quantity":1000001}"#), 400, "invalid-request"),
        (settle("confirm", r#"{"on_expired":"maybe"}"#), 400, "invalid-request"),
        (settle("confirm", r#"{"units":1}"#), 400, "invalid-request"),
        (post(&path("confirm"), "", "{}"), 415, "unsupported-media-type"),
        (by_form(r#"{"quantity": 1}"#), 415, "unsupported-media-type"),
        (by_form("quantity=none"), 400, "invalid-request"),
        (by_form("quantity=1&quantity=1"), 400, "invalid-request"),
        (by_form("on_expired=maybe"), 400, "invalid-request"),
        (settle("extend", r#"{"hold_ms":0}"#), 400, "invalid-request"),
        (settle("extend", r#"{"hold_ms":1000001}"#), 400, "invalid-request"),
        (settle("extend", r#"{"hold_ms":"1"}"#), 400, "invalid-request"),
        (settle("extend", r#"{"until":1}"#), 400, "invalid-request"),
        (settle("refund", "{}"), 404, "not-found"),
    ];
    for (request, status, problem) in cases {
        check(&service, &request, status, problem).await;
    }
    let unknown = post(&format!("/v1/reservations/{}/extend", "0".repeat(32)), "", "");
    check(&service, &unknown, 404, "unknown-reservation").await;
    assert_eq!(shop.journal(SKU).await.unwrap().len(), 2, "only the hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_run_the_sale_are_told_what_is_wrong() {
    let (_dir, service, shop) = service("").await;
    let stock = |body: &str| put("/v1/skus/SNEAKER-1/stock", body);
    let json = "content-type: application/json\r\n";
    let adjust = |body: &str| post("/v1/skus/SNEAKER-1/adjustments", json, body);
    let hot = |body: &str| put("/v1/hot-items/SNEAKER-1", body);
    let upside_down =
        r#"{"opens_at":"2030-01-02T00:00:00Z","closes_at":"2030-01-02T00:00:00.000Z"}"#;
    let cases = [
        (stock(r#"{"quantity":1,"expected_version":-1}"#), 400, "invalid-request"),
        (stock(r#"{"quantity":1,"version":1}"#), 400, "invalid-request"),
        (adjust("{}"), 400, "invalid-request"),
        (adjust(r#"{"by":0}"#), 400, "invalid-request"),
        (adjust(r#"{"by":0.5}"#), 400, "invalid-request"),
        (adjust(r#"{"by":-1000000000001}"#), 400, "invalid-request"),
        (adjust(r#"{"by":99999999999999999999}"#), 400, "invalid-request"),
        (adjust(r#"{"by":1,"reason":"x"}"#), 400, "invalid-request"),
        (post("/v1/skus/SNEAKER-1/adjustments", "", ""), 415, "unsupported-media-type"),
        (hot("[]"), 400, "invalid-request"),
        (hot(r#"{"reserves_per_s":0}"#), 400, "invalid-request"),
        (hot(r#"{"reserves_per_s":4294967296}"#), 400, "invalid-request"),
        (hot(r#"{"customer_cap":0}"#), 400, "invalid-request"),
        (hot(r#"{"opens_at":"tomorrow"}"#), 400, "invalid-request"),
        (hot(r#"{"opens_at":1}"#), 400, "invalid-request"),
        (hot(r#"{"closes_at":"1969-12-31T23:59:59Z"}"#), 400, "invalid-request"),
        (hot(upside_down), 400, "invalid-request"),
        (hot(r#"{"cap":1}"#), 400, "invalid-request"),
        (hot(r#"{"limit":{"per_second":9,"burst":8}}"#), 400, "invalid-request"),
        (hot(r#"{"limit":{"per_second":1000001}}"#), 400, "invalid-request"),
        (hot(r#"{"client_limit":{"burst":8}}"#), 400, "invalid-request"),
        (hot(r#"{"wait_target_ms":100}"#), 400, "invalid-request"),
        (hot(r#"{"expires_at":"2001-01-01T00:00:00Z"}"#), 400, "invalid-request"),
        (hot(r#"{"origin":"bot"}"#), 400, "invalid-request"),
        (hot(r#"{"reason":""}"#), 400, "invalid-request"),
        (hot(r#"{"paused":1}"#), 400, "invalid-request"),
        (hot(r#"{"version":1}"#), 400, "invalid-request"),
        (delete("/v1/hot-items/SNEAKER-1?reason=%00"), 400, "invalid-request"),
        (delete("/v1/hot-items/SNEAKER-1?why=x"), 400, "invalid-request"),
        (get("/v1/hot-items/SNEAKER-1/history"), 404, "unknown-hot-item"),
        (get("/v1/hot-items/SNEAKER-1/history?limit=0"), 400, "invalid-request"),
        (get("/v1/hot-items/SNEAKER-1/history?after=1"), 400, "invalid-request"),
        (post("/v1/hot-items/SNEAKER-1/history", json, "{}"), 405, "method-not-allowed"),
        (put("/v1/hot-items/a%20b", "{}"), 400, "invalid-request"),
        (get("/v1/hot-items/SNEAKER-1"), 404, "unknown-hot-item"),
        (get("/v1/hot-items?limit=1001"), 400, "invalid-request"),
        (get("/v1/hot-items?after=a%20b"), 400, "invalid-request"),
        (post("/v1/hot-items", json, "{}"), 405, "method-not-allowed"),
    ];
    for (request, status, problem) in cases {
        check(&service, &request, status, problem).await;
    }
    assert_eq!(shop.journal(SKU).await.unwrap().len(), 1, "only the stock that was set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_that_cannot_be_understood_takes_nothing() {
    let (_dir, service, shop) = service("").await;
    let head = "content-type: application/json\r\nidempotency-key: k\r\n";
    let cart = |body: &str| post("/v1/carts", head, body);
    let line = r#"{"sku":"SNEAKER-1"}"#;
    let many = format!(r#"{{"lines":[{}]}}"#, vec![line; 51].join(","));
    let too_much = r#"{"lines":[{"sku":"SNEAKER-1","quantity":600000},{"sku":"SNEAKER-1","quantity":600000}]}"#;
    let cases = [
        (cart("[]"), 400, "invalid-request"),
        (cart("{}"), 400, "invalid-request"),
        (cart(r#"{"lines":[]}"#), 400, "invalid-request"),
        (cart(r#"{"lines":[7]}"#), 400, "invalid-request"),
        (cart(r#"{"lines":[{}]}"#), 400, "no-sku"),
        (cart(r#"{"lines":[{"sku":"SNEAKER-1","quantity":0}]}"#), 400, "invalid-request"),
        (cart(r#"{"lines":[{"sku":"SNEAKER-1","price":1}]}"#), 400, "invalid-request"),
        (cart(r#"{"lines":[{"sku":"SNEAKER-1"}],"customer_id":""}"#), 400, "invalid-request"),
        (cart(r#"{"lines":[{"sku":"SNEAKER-1"}],"sku":"SNEAKER-1"}"#), 400, "invalid-request"),
        (cart(r#"{"lines":[{"sku":"SNEAKER-1"},{"sku":"NOT-IN-STOCK"}]}"#), 404, "unknown-sku"),
        (cart(&many), 400, "invalid-request"),
        (cart(too_much), 400, "invalid-request"),
        (post("/v1/carts", "content-type: application/json\r\n", line), 400, "invalid-request"),
        (post("/v1/carts", "idempotency-key: k\r\n", line), 415, "unsupported-media-type"),
    ];
    for (request, status, problem) in cases {
        check(&service, &request, status, problem).await;
    }
    assert_eq!(shop.journal(SKU).await.unwrap().len(), 1, "only the stock that was set");
}
