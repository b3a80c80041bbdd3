//! envoyproxy/ratelimit, which benchmarks compare with: it is asked, and it counts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::exchange;
use cartgate_tests::ratelimit::{REDIS_SETTINGS, RatelimitService};
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Edge, EnvoyConfig};

const REQUESTS: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `make ratelimit`, and so Go"]
async fn every_request_is_counted_in_redis() {
    let dir = tempfile::tempdir().unwrap();
    let options = RedisOptions::new(&dir.path().join("redis")).settings(REDIS_SETTINGS);
    let redis = Redis::start(&options).await.unwrap();
    let ratelimit = RatelimitService::start(dir.path(), &redis).await.unwrap();
    let config = EnvoyConfig::shipped().unwrap().route_everything();
    let edge = Edge::start(ratelimit.asked_by(config), 1).await.unwrap();

    for _ in 0..REQUESTS {
        let request = "POST / HTTP/1.1\r\nhost: shop\r\nx-sku: SHOE\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(exchange(edge.envoy.address(), request).await.status(), 200);
    }
    // A key for each second, with the SKU and how often it was asked for.
    let keys: Vec<String> = redis.ask(&["KEYS", "cartgate_sku_SHOE_*"]).await.unwrap();
    let counts = [vec!["MGET"], keys.iter().map(String::as_str).collect()].concat();
    let counts: Vec<u32> = redis.ask(&counts).await.unwrap();
    assert_eq!(counts.iter().sum::<u32>(), REQUESTS, "{keys:?}");
}
