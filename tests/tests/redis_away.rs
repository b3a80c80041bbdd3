//! Redis hangs for a while: whoever follows something goes on with it afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cartgate_tests::client::http;
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Answer, Service, ServiceOptions, Shop};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

const SKU: &str = "SNEAKER-1";

/// Longer than the breaker waits, and a lease lasts; shorter than an import tries.
const AWAY: Duration = Duration::from_secs(4);

async fn start(settings: &str) -> (TempDir, Redis, Service) {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(&RedisOptions::new(&dir.path().join("redis"))).await.unwrap();
    let options = ServiceOptions::new(dir.path()).settings(settings).store(&redis.url());
    let service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    assert_eq!(shop.set_stock(SKU, 100).await.unwrap().status, 200);
    (dir, redis, service)
}

async fn hang(redis: &Redis) {
    redis.process.pause();
    sleep(AWAY).await;
    redis.process.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_s_events_go_on_to_its_outcome() {
    let settings = "wait_ms = 100\nunclaimed_ms = 60000\n[lanes]\nreserves_per_s = 1\n";
    let (_dir, redis, service) = start(settings).await;
    let order = json!({"sku": SKU, "quantity": 1});
    let mut last = String::new();
    for _ in 0..8 {
        let request =
            http().post(service.url("/v1/reservations")).header("prefer", "respond-async");
        Answer::to(request.json(&order)).await.unwrap().ticket().clone_into(&mut last);
    }
    let request = http().get(service.url(&format!("/v1/tickets/{last}")));
    let mut answer = request.header("accept", "text/event-stream").send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: queued\n"), "{first:?}");
    let (rest, ()) = tokio::join!(answer.text(), hang(&redis));
    let rest = rest.unwrap();
    let (_, outcome) = rest.split_once("event: outcome\ndata: ").expect(&rest);
    let outcome: Value = serde_json::from_str(outcome.trim()).unwrap();
    assert_eq!(outcome["state"], "held", "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_to_its_end() {
    let (_dir, redis, service) = start("").await;
    let lines: String = (0..60_000)
        .map(|n| format!("{{\"sku\":\"SKU-{}\",\"quantity\":{n}}}\n", n % 500))
        .collect();
    let import = http().post(service.url("/v1/stock-imports")).body(lines);
    let mut answer = import.header("content-type", "application/x-ndjson").send().await.unwrap();
    // Something is decided, and more is not.
    let first = answer.chunk().await.unwrap().unwrap();
    let (rest, ()) = tokio::join!(answer.text(), hang(&redis));
    let told = String::from_utf8_lossy(&first).into_owned() + &rest.unwrap();
    let end: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&end["done"], &end["lines"]), (&json!(true), &json!(60_000)), "{end}");
    let last = Shop::at(service.address()).stock("SKU-499").await.unwrap().body;
    assert_eq!(last["available"], 59_999);
}
