//! What answers on Redis survive, as each of them says in `cartgate-durability`: what the server and
//! its replicas have really done, whatever was asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::process::eventually;
use cartgate_tests::redis::{Pair, Redis, RedisOptions};
use cartgate_tests::{Answer, Order, Service, ServiceOptions, Shop};
use tempfile::TempDir;

const SKU: &str = "SNEAKER-1";

async fn shop_on(dir: &TempDir, url: &str, settings: &str) -> (Service, Shop) {
    let options = ServiceOptions::new(dir.path()).settings(settings).store(url);
    let service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    (service, shop)
}

#[track_caller]
fn level(answer: &Answer) -> &str {
    answer.header("cartgate-durability").expect("a level")
}

/// An order that is taken says so.
async fn ordered(shop: &Shop) -> String {
    let held = shop.reserve(&Order::one(SKU)).await.unwrap();
    assert_eq!(held.status, 201, "{held:?}");
    level(&held).to_owned()
}

async fn counts(shop: &Shop, labels: &str) -> bool {
    let metrics = shop.metrics().await.unwrap();
    let counted = format!("cartgate_commits_total{{{labels}}}");
    metrics.lines().any(|line| line.starts_with(&counted))
}

/// The configuration of the service asks for `disk`, and of the server it depends.
#[tokio::test(flavor = "multi_thread")]
async fn answers_say_what_the_server_is_set_up_for() {
    for (setting, expected) in [
        ("appendfsync always", "disk"),
        ("appendfsync everysec", "process"),
        // Not while the log is rewritten.
        ("appendfsync always\nno-appendfsync-on-rewrite yes", "process"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let options = RedisOptions::new(&dir.path().join("redis"));
        let options = options.settings(setting);
        let redis = Redis::start(&options).await.unwrap();
        let (_service, shop) = shop_on(&dir, &redis.url(), "").await;
        let set = shop.set_stock(SKU, 10).await.unwrap();
        assert_eq!((set.status, level(&set)), (200, expected));
        assert_eq!(ordered(&shop).await, expected);
        let nobody = Order { quantity: 11, ..Order::one(SKU) };
        let refused = shop.reserve(&nobody).await.unwrap();
        assert_eq!((refused.status, level(&refused)), (409, expected));
        let read = shop.stock(SKU).await.unwrap();
        assert_eq!((read.status, level(&read)), (200, expected));
        let labels = format!("durability=\"{expected}\",replicas=\"\"");
        assert!(counts(&shop, &labels).await, "{labels}");
    }
}

/// A replica that is down holds up nobody for longer than was said, and is missed in the answer.
#[tokio::test(flavor = "multi_thread")]
async fn answers_say_how_many_replicas_have_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::start(&dir.path().join("pair"), "").await.unwrap();
    let settings = "[redis]\nreplicas = 1\nreplicas_wait_ms = 1000\n";
    let (_service, shop) = shop_on(&dir, &pair.primary.url(), settings).await;
    assert_eq!(shop.set_stock(SKU, 1_000).await.unwrap().status, 200);
    // On a busy machine the replica may take longer once.
    eventually("the replica to have an order in time", || async {
        (ordered(&shop).await == "disk;replicas=1").then_some(())
    })
    .await;
    pair.replica.kill().await.unwrap();
    assert_eq!(ordered(&shop).await, "disk;replicas=0");
    // What is read was replied to by the server; who else has it nobody has asked.
    assert_eq!(level(&shop.stock(SKU).await.unwrap()), "disk");
    for replicas in ["0", "1"] {
        let labels = format!("durability=\"disk\",replicas=\"{replicas}\"");
        assert!(counts(&shop, &labels).await, "{labels}");
    }
    pair.replica.restart().await.unwrap();
    eventually("the replica to have an order again", || async {
        (ordered(&shop).await == "disk;replicas=1").then_some(())
    })
    .await;
}
