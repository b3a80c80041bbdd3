//! What is asked of a hot item on Redis, and held: any process says it of all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Order, Service, ServiceOptions, Shop};
use serde_json::json;

const SKU: &str = "SNEAKER-1";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_all_processes_is_shown_by_each() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(&RedisOptions::new(&dir.path().join("redis"))).await.unwrap();
    let mut services = Vec::new();
    for (number, roles) in ["worker", "api", "api"].into_iter().enumerate() {
        let options = ServiceOptions::new(&dir.path().join(number.to_string()));
        let options = options.store(&redis.url()).roles(roles);
        services.push(Service::start(&options).await.unwrap());
    }
    let shops = [1, 2].map(|number: usize| Shop::at(services[number].address()));
    assert_eq!(shops[0].set_stock(SKU, 30).await.unwrap().status, 200);
    let path = format!("/v1/hot-items/{SKU}");
    let hot = http().put(services[1].url(&path)).json(&json!({})).send().await.unwrap();
    assert_eq!(hot.status(), 201);
    // With its first order a process hears of the lane, and counts those that come then.
    for shop in &shops {
        assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    }
    let orders: Vec<_> = (0..40)
        .map(|number| {
            let shop = shops[number % 2].clone();
            tokio::spawn(async move { shop.reserve(&Order::one(SKU)).await.unwrap().status })
        })
        .collect();
    let mut held = 0;
    for order in orders {
        held += u32::from(order.await.unwrap() == 201);
    }
    assert_eq!(held, 28);
    for shop in &shops {
        eventually("the rates of all", || async {
            let shown = shop.get(&path).await.unwrap().body;
            let rate = |name: &str| shown[name].as_f64().unwrap();
            let (demand, admitted) = (rate("demand_per_s"), rate("admitted_per_s"));
            assert!(demand <= 4.2 && admitted <= 3.0, "{shown}");
            (demand >= 4.0 && admitted >= 2.8).then_some(())
        })
        .await;
    }
}
