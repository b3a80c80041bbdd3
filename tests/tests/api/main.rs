//! The service by itself, route by route: what each answers, what each refuses, and what is left
//! behind; bad input, full lanes, hang-ups, and a stop. All of it holds on every store:
//! `CARTGATE_TEST_STORE` says which.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod access;
mod bad_input;
mod carts;
mod carts_at_once;
mod customers;
mod documentation;
mod hot_items;
mod load;
mod operation;
mod settlements;
mod stock;
mod stock_imports;
mod stock_imports_resumed;
mod tickets;

use cartgate_tests::client::http;
use cartgate_tests::{Answer, Order, Service, ServiceOptions, Shop, StoreKind};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

const SKU: &str = "SNEAKER-1";

/// A service with ten units in stock.
async fn service(settings: &str) -> (TempDir, Service, Shop) {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&options(&dir).settings(settings)).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 10).await.unwrap().status, 200);
    (dir, service, shop)
}

/// A service on the store that this run of the suite is about.
fn options(dir: &TempDir) -> ServiceOptions {
    ServiceOptions::new(dir.path()).own_store(StoreKind::from_env())
}

/// Any request with a JSON body (none if it is `Null`), and an `Idempotency-Key` if there is one.
async fn call(
    service: &Service,
    method: Method,
    path: &str,
    key: Option<&str>,
    body: Value,
) -> Answer {
    let mut request = http().request(method, service.url(path));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if body != Value::Null {
        request = request.json(&body);
    }
    Answer::to(request).await.unwrap()
}

async fn post(service: &Service, path: &str, body: Value) -> Answer {
    call(service, Method::POST, path, None, body).await
}

async fn put(service: &Service, path: &str, body: Value) -> Answer {
    call(service, Method::PUT, path, None, body).await
}

async fn metrics(service: &Service) -> String {
    http().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap()
}

/// Available, held and confirmed units.
async fn counters(shop: &Shop, sku: &str) -> [u64; 3] {
    let stock = shop.stock(sku).await.unwrap().body;
    ["available", "held", "confirmed"].map(|name| stock[name].as_u64().unwrap())
}

/// An order with a key, and a customer of the same name.
fn keyed(key: &str) -> Order {
    Order { customer: key.to_owned(), key: Some(key.to_owned()), ..Order::one(SKU) }
}

/// Asserts what was refused, and why.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, problem: &str) {
    assert_eq!((answer.status, answer.problem()), (status, problem), "{answer:?}");
}
