//! What edges are told of a hot item, and how soon.

use cartgate_policy::fleet::{Gate, Item};
use cartgate_tests::process::eventually;
use cartgate_tests::{Order, Service, StoreKind};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::edge::Edge;
use super::{SKU, call, hot_item, last_change, register, service};

/// Lets an edge report until it has been told so.
async fn until(edge: &Mutex<Edge>, service: &Service, is_so: impl Fn(Option<&Item>) -> bool) {
    eventually("what edges are told", || async {
        let mut edge = edge.lock().await;
        edge.report(service.address()).await;
        is_so(edge.item(SKU)).then_some(())
    })
    .await;
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}

fn rfc_3339(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(ms as i64).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_told_the_terms() {
    let (_dir, service, _shop) = service("", 10).await;
    let edge = Mutex::new(Edge::new(1));
    let opens_at_ms = now_ms() + 60_000;
    let terms = json!({
        "limit": {"per_second": 50, "burst": 80}, "client_limit": {"per_second": 1, "burst": 2},
        "opens_at": rfc_3339(opens_at_ms), "closes_at": rfc_3339(opens_at_ms + 1_000),
    });
    register(&service, SKU, terms.clone()).await;
    until(&edge, &service, |item| item.is_some()).await;
    let item = edge.lock().await.item(SKU).unwrap().clone();
    let limit = |limit: Option<cartgate_policy::gcra::Limit>| {
        limit.map(|limit| (limit.per_second(), limit.burst()))
    };
    assert_eq!((limit(item.limit), limit(item.client_limit)), (Some((50, 80)), Some((1, 2))));
    assert_eq!(
        (item.opens_at_ms, item.closes_at_ms),
        (Some(opens_at_ms), Some(opens_at_ms + 1_000))
    );
    assert!(matches!(item.gate(now_ms()), Gate::NotOpenYet { .. }));

    let mut paused = terms;
    paused["paused"] = json!(true);
    register(&service, SKU, paused).await;
    until(&edge, &service, |item| item.is_some_and(|item| item.is_paused)).await;
    call(&service, reqwest::Method::DELETE, &format!("/v1/hot-items/{SKU}"), Value::Null).await;
    until(&edge, &service, |item| item.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_told_what_is_sold_out() {
    let (_dir, service, shop) = service("hold_ms = 4_000", 1).await;
    register(&service, SKU, json!({})).await;
    let edge = Mutex::new(Edge::new(1));
    until(&edge, &service, |item| item.is_some_and(|item| item.sold_out_until_ms.is_none())).await;
    let held = shop.reserve(&Order::one(SKU)).await.unwrap();
    assert_eq!(held.status, 201);
    until(&edge, &service, |item| item.is_some_and(|i| i.sold_out_until_ms.is_some())).await;
    let until_ms = edge.lock().await.item(SKU).unwrap().sold_out_until_ms.unwrap();
    if StoreKind::from_env() == StoreKind::Embedded {
        // To the millisecond: when the hold expires.
        let expires_at: jiff::Timestamp =
            held.body["expires_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(until_ms, expires_at.as_millisecond() as u64);
    }
    // The hold expires.
    until(&edge, &service, |item| item.is_some_and(|i| i.sold_out_until_ms.is_none())).await;
    // It is sold for good, until there is more of it.
    let held = shop.reserve(&Order::one(SKU)).await.unwrap();
    let path = format!("/v1/reservations/{}/confirm", held.reservation_id());
    assert_eq!(call(&service, reqwest::Method::POST, &path, Value::Null).await.status, 200);
    let is_sold = |item: Option<&Item>| {
        let until_ms = item.and_then(|item| item.sold_out_until_ms);
        until_ms.is_some_and(|until_ms| until_ms > now_ms() + 30_000)
    };
    until(&edge, &service, is_sold).await;
    shop.set_stock(SKU, 5).await.unwrap();
    until(&edge, &service, |item| item.is_some_and(|i| i.sold_out_until_ms.is_none())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_whose_time_is_over_is_taken_out() {
    let (_dir, service, _shop) = service("", 1).await;
    let edge = Mutex::new(Edge::new(1));
    register(&service, SKU, json!({"expires_at": rfc_3339(now_ms() + 1_500)})).await;
    until(&edge, &service, |item| item.is_some()).await;
    until(&edge, &service, |item| item.is_none()).await;
    assert_eq!(hot_item(&service, SKU).await.status, 404);
    assert_eq!(last_change(&service, SKU).await["change"], "expired");
}

/// The lane takes ten a second; edges are told little more than that, of a limit of a thousand.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_follows_the_engine() {
    let (_dir, service, shop) = service("", 100_000).await;
    let terms = json!({"limit": {"per_second": 1_000}, "wait_target_ms": 2_000});
    register(&service, SKU, terms).await;
    let limit_per_s =
        async || hot_item(&service, SKU).await.body["edges"]["limit_per_s"].as_u64().unwrap_or(0);
    let edge = Mutex::new(Edge::new(1));
    edge.lock().await.ask(SKU, 5_000);
    // The lane has nothing to do: up it goes.
    eventually("the whole limit", || async {
        edge.lock().await.report(service.address()).await;
        (limit_per_s().await == 1_000).then_some(())
    })
    .await;
    let terms = json!({
        "limit": {"per_second": 1_000}, "wait_target_ms": 2_000, "reserves_per_s": 10
    });
    register(&service, SKU, terms).await;
    // Ten a second, and a hundred wait: five times as long as they should.
    let waiting = (0..100).map(|_| {
        let shop = shop.clone();
        tokio::spawn(async move { shop.reserve(&Order::one(SKU)).await })
    });
    let waiting: Vec<_> = waiting.collect();
    eventually("a lower limit", || async {
        edge.lock().await.report(service.address()).await;
        (limit_per_s().await <= 20).then_some(())
    })
    .await;
    waiting.into_iter().for_each(|waiting| waiting.abort());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_is_not_told_again() {
    let (_dir, service, shop) = service("", 1).await;
    register(&service, SKU, json!({"limit": {"per_second": 5}})).await;
    shop.reserve(&Order::one(SKU)).await.unwrap();
    let edge = Mutex::new(Edge::new(1));
    until(&edge, &service, |item| item.is_some_and(|i| i.sold_out_until_ms.is_some())).await;
    let version = edge.lock().await.reporter.table().version;
    let first = edge.lock().await.reporter.number();
    eventually("ten reports more", || async {
        let mut edge = edge.lock().await;
        edge.report(service.address()).await;
        (edge.reporter.number() >= first + 10).then_some(())
    })
    .await;
    assert_eq!(edge.lock().await.reporter.table().version, version);
}
