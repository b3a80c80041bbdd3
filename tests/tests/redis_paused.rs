//! A sale that is paused on Redis: whoever takes orders hears of it from whoever was told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Order, Service, ServiceOptions, Shop};
use serde_json::json;

const SKU: &str = "SNEAKER-1";

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_is_paused_in_all_processes() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(&RedisOptions::new(&dir.path().join("redis"))).await.unwrap();
    let mut services = Vec::new();
    for number in 0..2 {
        let options = ServiceOptions::new(&dir.path().join(number.to_string()));
        services.push(Service::start(&options.store(&redis.url())).await.unwrap());
    }
    let shop = Shop::at(services[1].address());
    assert_eq!(shop.set_stock(SKU, 1_000).await.unwrap().status, 200);
    let url = services[0].url(&format!("/v1/hot-items/{SKU}"));
    for (is_paused, status) in [(true, 503), (false, 201)] {
        let told = http().put(&url).json(&json!({"paused": is_paused})).send().await.unwrap();
        assert!(told.status().is_success());
        eventually("the other process's answer", || async {
            let answer = shop.reserve(&Order::one(SKU)).await.unwrap();
            (answer.status == status).then_some(())
        })
        .await;
    }
}
