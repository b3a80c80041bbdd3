//! The service and its edges, which these tests play over HTTP, with what edges themselves report and
//! accept answers with: shares of limits, what edges are told of hot items, what is noticed by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod detection;
mod shares;
mod states;

use std::path::Path;

use cartgate_tests::client::http;
use cartgate_tests::{Answer, Service, ServiceOptions, Shop, StoreKind};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

const SKU: &str = "SNEAKER-1";

/// A service with units in stock.
async fn service(settings: &str, units: u64) -> (TempDir, Service, Shop) {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&options(dir.path()).settings(settings)).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, units).await.unwrap().status, 200);
    (dir, service, shop)
}

/// A service on the store that this run of the suite is about.
fn options(dir: &Path) -> ServiceOptions {
    ServiceOptions::new(dir).own_store(StoreKind::from_env())
}

/// Any request with a JSON body; none if it is `Null`.
async fn call(service: &Service, method: Method, path: &str, body: Value) -> Answer {
    let mut request = http().request(method, service.url(path));
    if body != Value::Null {
        request = request.json(&body);
    }
    Answer::to(request).await.unwrap()
}

/// Makes a SKU a hot item, or changes it.
async fn register(service: &Service, sku: &str, terms: Value) -> Answer {
    call(service, Method::PUT, &format!("/v1/hot-items/{sku}"), terms).await
}

async fn hot_item(service: &Service, sku: &str) -> Answer {
    call(service, Method::GET, &format!("/v1/hot-items/{sku}"), Value::Null).await
}

/// The newest entry of a SKU's history.
async fn last_change(service: &Service, sku: &str) -> Value {
    let path = format!("/v1/hot-items/{sku}/history?limit=1");
    call(service, Method::GET, &path, Value::Null).await.body["changes"][0].clone()
}

async fn metrics(service: &Service) -> String {
    http().get(service.url("/metrics")).send().await.unwrap().text().await.unwrap()
}
