//! Customers are nobody's business but the shop's.

use std::fs;
use std::path::Path;

use cartgate_tests::{Order, Service, Shop};
use serde_json::json;
use tempfile::TempDir;

use super::{SKU, assert_problem, metrics, options, post, put};

const CUSTOMER: &str = "ann.personal@shop.example";

/// A shop in which a customer has ordered, confirmed, been refused and bought a cart, and whose service has
/// ended; what answers called the customer.
async fn used(settings: &str, dir: &TempDir) -> String {
    let key = dir.path().join("customers.key");
    fs::write(&key, [7; 32]).unwrap();
    let settings = settings.replace("KEY", &format!("{:?}", key.display().to_string()));
    let options = options(dir).settings(&settings);
    let mut service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 10).await.unwrap().status, 200);
    let terms = json!({"customer_cap": 2});
    assert_eq!(put(&service, &format!("/v1/hot-items/{SKU}"), terms).await.status, 201);
    let order = Order { customer: CUSTOMER.into(), key: Some("k".into()), ..Order::one(SKU) };
    let held = shop.reserve(&order).await.unwrap();
    assert_eq!(held.status, 201);
    let again = shop.reserve(&order).await.unwrap();
    assert_eq!((again.status, again.reservation_id()), (201, held.reservation_id()));
    assert_eq!(shop.settle(held.reservation_id(), "confirm").await.unwrap().status, 200);
    let cart = json!({"customer_id": CUSTOMER, "lines": [{"sku": SKU, "quantity": 1}]});
    assert_problem(&post(&service, "/v1/carts", cart.clone()).await, 400, "invalid-request");
    let key = Some("cart");
    let bought = super::call(&service, reqwest::Method::POST, "/v1/carts", key, cart).await;
    assert_eq!(bought.status, 201, "{bought:?}");
    let more = Order { key: None, ..order };
    assert_problem(&shop.reserve(&more).await.unwrap(), 409, "over-cap");
    assert_eq!(shop.reserve(&Order { customer: "bob".into(), ..more }).await.unwrap().status, 201);
    let read = shop.get(&format!("/v1/reservations/{}", held.reservation_id())).await.unwrap();
    assert_eq!(read.body["customer_id"], held.body["customer_id"]);
    assert_eq!(bought.body["reservations"][0]["customer_id"], held.body["customer_id"]);
    assert!(!metrics(&service).await.contains(CUSTOMER));
    assert!(service.process.stop().await.unwrap().success());
    held.body["customer_id"].as_str().unwrap().to_owned()
}

/// The files at and below a path in which a text is.
fn files_with(path: &Path, text: &str) -> Vec<String> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.flat_map(|path| files_with(&path, text)).collect();
    }
    let content = fs::read(path).unwrap_or_default();
    let is_in = content.windows(text.len()).any(|part| part == text.as_bytes());
    is_in.then(|| path.display().to_string()).into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_knows_customers_by_pseudonyms_if_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let called = used("[customers]\npseudonym_key = KEY\n", &dir).await;
    assert_ne!(called, CUSTOMER);
    assert_eq!(files_with(dir.path(), CUSTOMER), [""; 0]);
    assert!(!files_with(dir.path(), &called).is_empty(), "the search finds nothing");
}

/// Who is somebody else all of a sudden may buy once more.
#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("customers.key");
    let settings = format!("[customers]\npseudonym_key = {:?}\n", key.display().to_string());
    let options = options(&dir).settings(&settings);
    fs::write(&key, [7; 32]).unwrap();
    for _ in 0..2 {
        let mut service = Service::start(&options).await.unwrap();
        assert!(service.process.stop().await.unwrap().success());
    }
    fs::write(&key, [8; 32]).unwrap();
    let error = Service::start(&options).await.unwrap_err().to_string();
    assert!(error.contains("this is not the key that this store's pseudonyms"), "{error}");
    let error = Service::start(&options.settings("")).await.unwrap_err().to_string();
    assert!(error.contains("name the key that they were made with"), "{error}");
}

/// Everything is logged that can be, commands included.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_names_a_customer() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(used("", &dir).await, CUSTOMER);
    let files = files_with(dir.path(), CUSTOMER);
    assert!(!files.is_empty(), "the search finds nothing");
    assert!(files.iter().all(|file| !file.ends_with(".log")), "{files:?}");
}
