//! SKUs that turn hot without anybody having said so.

use cartgate_tests::process::eventually;
use cartgate_tests::{Order, Service};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::edge::{Edge, report};
use super::{SKU, hot_item, last_change, metrics, register, service};

const SETTINGS: &str = "hot_items_max = 6\n\
    [detection]\nper_s = 500\ncalm_ms = 1_000\nregistrations_per_s = 50\n\
    limit = { per_second = 40, burst = 80 }\nclient_limit = { per_second = 1, burst = 2 }\n\
    reserves_per_s = 1_000";

/// Lets the edges report until it is so.
async fn until(edges: &Mutex<Vec<Edge>>, service: &Service, is_so: impl AsyncFn(&[Edge]) -> bool) {
    eventually("what is noticed", || async {
        let mut edges = edges.lock().await;
        report(&mut edges, service.address()).await;
        is_so(&edges).await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_edges_are_asked_for_is_registered_and_let_go() {
    let (_dir, service, _shop) = service(SETTINGS, 10).await;
    let edges = Mutex::new(Edge::fleet(3));
    // A third each; and one that the shop does not have.
    edges.lock().await.iter_mut().for_each(|edge| {
        edge.ask(SKU, 300);
        edge.ask("INVENTED", 5_000);
    });
    until(&edges, &service, async |edges| edges.iter().all(|edge| edge.item(SKU).is_some())).await;
    let shown = hot_item(&service, SKU).await.body;
    let part = |name: &str| shown[name].clone();
    assert_eq!([part("origin"), part("reserves_per_s")], [json!("detected"), json!(1_000)]);
    assert_eq!(part("limit"), json!({"per_second": 40, "burst": 80}));
    assert_eq!(part("client_limit"), json!({"per_second": 1, "burst": 2}));
    let change = last_change(&service, SKU).await;
    assert_eq!((&change["change"], &change["origin"]), (&json!("registered"), &json!("detected")));
    let reason = change["reason"].as_str().unwrap();
    assert!(reason.ends_with("/s over 400 ms, threshold 500/s"), "{reason}");
    assert_eq!(hot_item(&service, "INVENTED").await.status, 404);
    // It is shared like any other.
    until(&edges, &service, async |edges| {
        edges.iter().map(|edge| edge.share(SKU)).sum::<u32>() == 40
    })
    .await;
    // Above half of the threshold it stays.
    edges.lock().await.iter_mut().for_each(|edge| edge.ask(SKU, 100));
    until(&edges, &service, async |_| {
        hot_item(&service, SKU).await.body["edges"]["demand_per_s"] == json!(300)
    })
    .await;
    edges.lock().await.iter_mut().for_each(|edge| edge.ask(SKU, 5));
    until(&edges, &service, async |edges| edges.iter().all(|edge| edge.item(SKU).is_none())).await;
    let change = last_change(&service, SKU).await;
    assert_eq!(change["change"], "removed");
    let reason = change["reason"].as_str().unwrap();
    assert!(reason.starts_with("below 250/s for 1."), "{reason}");
    let counted = metrics(&service).await;
    for expected in ["cartgate_hot_items_detected_total 1", "cartgate_hot_items_let_go_total 1"] {
        assert!(counted.contains(expected), "{expected}");
    }
}

/// Without any edge, by what the service itself is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_the_service_is_asked_for_is_registered() {
    let settings = "[detection]\nper_s = 20\nsurge_per_s = 20\ncalm_ms = 60_000";
    let (_dir, service, shop) = service(settings, 100_000).await;
    let shop = &shop;
    eventually("that it is registered", || async {
        shop.reserve(&Order { quantity: 2, ..Order::one(SKU) }).await.unwrap();
        (hot_item(&service, SKU).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(hot_item(&service, SKU).await.body["origin"], "detected");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_places_are_left_for_people() {
    let (_dir, service, shop) = service(SETTINGS, 10).await;
    let names: Vec<_> = (0..10).map(|n| format!("HOT-{n}")).collect();
    let edges = Mutex::new(Edge::fleet(1));
    for name in &names {
        shop.set_stock(name, 5).await.unwrap();
        edges.lock().await[0].ask(name, 5_000);
    }
    let detected = async || {
        let path = "/v1/hot-items";
        let listed = super::call(&service, reqwest::Method::GET, path, Value::Null).await.body;
        listed["hot_items"].as_array().unwrap().len()
    };
    until(&edges, &service, async |_| detected().await == 3).await;
    for (n, name) in ["MINE-1", "MINE-2", "MINE-3"].into_iter().enumerate() {
        shop.set_stock(name, 5).await.unwrap();
        assert_eq!(register(&service, name, json!({})).await.status, 201, "{n}");
    }
    assert_eq!(detected().await, 6);
    assert_eq!(register(&service, "MINE-4", json!({})).await.status, 409);
}

/// What a person has registered is nobody else's business.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_registered_stays() {
    let (_dir, service, shop) = service(SETTINGS, 10).await;
    register(&service, SKU, json!({"limit": {"per_second": 7}})).await;
    shop.set_stock("OTHER", 5).await.unwrap();
    let edges = Mutex::new(Edge::fleet(1));
    edges.lock().await[0].ask("OTHER", 5_000);
    until(&edges, &service, async |edges| edges[0].item("OTHER").is_some()).await;
    edges.lock().await[0].asked.clear();
    // As long as it takes for the other one to be let go.
    until(&edges, &service, async |edges| edges[0].item("OTHER").is_none()).await;
    let shown = hot_item(&service, SKU).await.body;
    assert_eq!([&shown["origin"], &shown["version"]], [&json!("manual"), &json!(1)]);
}
