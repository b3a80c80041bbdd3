//! Stock: set, set if nobody else has, and adjusted.

use cartgate_tests::client::http;
use cartgate_tests::{Answer, Order, Service};
use reqwest::Method;
use serde_json::{Value, json};

use super::{SKU, assert_problem, call, counters, post, put, service};

async fn adjust(service: &Service, by: i64, key: Option<&str>) -> Answer {
    let path = format!("/v1/skus/{SKU}/adjustments");
    call(service, Method::POST, &path, key, json!({ "by": by })).await
}

fn stock(available: u64, held: u64, version: u64) -> Value {
    json!({"sku": SKU, "available": available, "held": held, "confirmed": 0, "version": version})
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_the_total_and_never_less_than_promised() {
    let (_dir, _service, shop) = service("").await;
    let held = shop.reserve(&Order { quantity: 3, ..Order::one(SKU) }).await.unwrap();
    assert_eq!(held.status, 201);
    let refused = shop.set_stock(SKU, 2).await.unwrap();
    assert_problem(&refused, 409, "stock-below-committed");
    assert_eq!(refused.body["committed"], 3);
    for _ in 0..2 {
        let set = shop.set_stock(SKU, 3).await.unwrap();
        assert_eq!((set.status, set.body), (200, stock(0, 3, 3)));
    }
    let sold_out = shop.reserve(&Order::one(SKU)).await.unwrap();
    assert_problem(&sold_out, 409, "sold-out");
    assert_eq!(sold_out.body["available"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_set_only_at_the_version_expected() {
    let (_dir, service, _shop) = service("").await;
    let path = format!("/v1/skus/{SKU}/stock");
    let set = async |quantity: u64, version: u64| {
        put(&service, &path, json!({"quantity": quantity, "expected_version": version})).await
    };
    assert_eq!(set(20, 1).await.body, stock(20, 0, 2));
    let differs = set(30, 1).await;
    assert_problem(&differs, 409, "version-differs");
    assert_eq!(differs.body["version"], 2);
    assert_eq!(set(30, 2).await.body, stock(30, 0, 3));
    // A SKU that was never set stands at version 0.
    let new = put(&service, "/v1/skus/NEW/stock", json!({"quantity": 1, "expected_version": 0}));
    assert_eq!(new.await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn adjustments_add_and_take_off() {
    let (_dir, service, shop) = service("").await;
    assert_eq!(shop.reserve(&Order { quantity: 3, ..Order::one(SKU) }).await.unwrap().status, 201);
    let fewer = adjust(&service, -5, None).await;
    assert_eq!((fewer.status, fewer.body), (201, stock(2, 3, 3)));
    let too_few = adjust(&service, -3, None).await;
    assert_problem(&too_few, 409, "stock-below-committed");
    assert_eq!(too_few.body["committed"], 3);
    assert_eq!(adjust(&service, 1, None).await.body, stock(3, 3, 4));
    assert_eq!(adjust(&service, 1, None).await.body, stock(4, 3, 5));
    let too_many = adjust(&service, 1_000_000_000_000, None).await;
    assert_problem(&too_many, 409, "too-many-units");
    assert_eq!(too_many.body["units_max"], 1_000_000_000_000_u64);
    let journal = shop.journal(SKU).await.unwrap();
    let entry = &journal[2];
    assert_eq!((&entry["cause"], &entry["quantity"]), (&json!("adjust"), &json!(-5)), "{entry}");
    assert_eq!(entry.get("reservation_id"), None, "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_that_is_repeated_counts_once() {
    let (_dir, service, shop) = service("").await;
    let first = adjust(&service, 5, Some("delivery-7")).await;
    assert_eq!((first.status, &first.body), (201, &stock(15, 0, 2)));
    // A reservation under the same key is another wish.
    let order = Order { key: Some("delivery-7".to_owned()), ..Order::one(SKU) };
    assert_eq!(shop.reserve(&order).await.unwrap().status, 201);
    let again = adjust(&service, 5, Some("delivery-7")).await;
    assert_eq!((again.status, again.body), (201, first.body));
    let other = adjust(&service, 6, Some("delivery-7")).await;
    assert_problem(&other, 422, "idempotency-key-reused");
    assert_eq!(counters(&shop, SKU).await, [14, 1, 0]);
    let unknown = post(&service, "/v1/skus/NOT-IN-STOCK/adjustments", json!({"by": 1})).await;
    assert_problem(&unknown, 404, "unknown-sku");
}

/// RFC 9110: what is read has a version, and is changed only if it still has it.
#[tokio::test(flavor = "multi_thread")]
async fn stock_is_changed_as_it_was_read() {
    let (_dir, service, shop) = service("").await;
    let path = format!("/v1/skus/{SKU}");
    let read = shop.get(&path).await.unwrap();
    let etag = read.header("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", read.body["version"]));
    let change = async |if_match: &str, body: Value| {
        let request = http().put(service.url(&format!("{path}/stock")));
        Answer::to(request.header("if-match", if_match).json(&body)).await.unwrap()
    };
    let changed = change(&etag, json!({"quantity": 700})).await;
    assert_eq!((changed.status, &changed.body["available"]), (200, &json!(700)));
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
    let stale = change(&etag, json!({"quantity": 800})).await;
    assert_problem(&stale, 412, "stock-changed");
    assert_eq!(stale.body["version"], changed.body["version"]);
    let twice = change(&etag, json!({"quantity": 800, "expected_version": 1})).await;
    assert_problem(&twice, 400, "invalid-request");
    assert_eq!(shop.get(&path).await.unwrap().body["available"], 700);
}
