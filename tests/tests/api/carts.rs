//! Carts: all of their lines, or none.

use cartgate_tests::process::eventually;
use cartgate_tests::{Answer, Order, Service, Shop};
use reqwest::Method;
use serde_json::{Value, json};

use super::{assert_problem, call, counters, put, service};

/// Asks for a cart with these lines.
pub(super) async fn cart(service: &Service, key: &str, lines: &[(&str, u32)]) -> Answer {
    let line = |(sku, quantity): &(&str, u32)| json!({"sku": sku, "quantity": quantity});
    let lines: Vec<_> = lines.iter().map(line).collect();
    let body = json!({"customer_id": "ann", "lines": lines});
    call(service, Method::POST, "/v1/carts", Some(key), body).await
}

/// A service with so much in stock of A and B.
pub(super) async fn shelf(settings: &str, a: u64, b: u64) -> (tempfile::TempDir, Service, Shop) {
    let (dir, service, shop) = service(settings).await;
    for (sku, quantity) in [("A", a), ("B", b)] {
        assert_eq!(shop.set_stock(sku, quantity).await.unwrap().status, 200);
    }
    (dir, service, shop)
}

async fn versions(shop: &Shop) -> [usize; 2] {
    [shop.journal("A").await.unwrap().len(), shop.journal("B").await.unwrap().len()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_holds_all_of_its_lines() {
    let (_dir, service, shop) = shelf("", 10, 10).await;
    let held = cart(&service, "k", &[("A", 1), ("B", 2), ("A", 2)]).await;
    assert_eq!((held.status, &held.body["state"]), (201, &json!("held")), "{held:?}");
    assert_eq!(held.header("cartgate-durability"), Some("disk"));
    let reservations = held.body["reservations"].as_array().unwrap();
    let summary = |r: &Value| json!([r["sku"], r["quantity"], r["state"], r["customer_id"]]);
    let summaries: Vec<_> = reservations.iter().map(summary).collect();
    // Lines of one SKU are summed.
    assert_eq!(json!(summaries), json!([["A", 3, "held", "ann"], ["B", 2, "held", "ann"]]));
    let id = |index: usize| reservations[index]["reservation_id"].as_str().unwrap();
    let read = shop.get(&format!("/v1/reservations/{}", id(0))).await.unwrap();
    assert_eq!((read.status, &read.body), (200, &reservations[0]));
    assert_eq!(shop.settle(id(0), "confirm").await.unwrap().status, 200);
    assert_eq!(shop.settle(id(1), "release").await.unwrap().status, 200);
    assert_eq!((counters(&shop, "A").await, counters(&shop, "B").await), ([7, 0, 3], [10, 0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_that_is_repeated_gets_the_first_answer() {
    let (_dir, service, shop) = shelf("", 10, 10).await;
    let lines = [("A", 1), ("B", 2)];
    let first = cart(&service, "k", &lines).await;
    assert_eq!(first.status, 201);
    let before = versions(&shop).await;
    let again = cart(&service, "k", &lines).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(versions(&shop).await, before);
    // Also when some of it has ended.
    let id = first.body["reservations"][1]["reservation_id"].as_str().unwrap();
    assert_eq!(shop.settle(id, "release").await.unwrap().status, 200);
    let again = cart(&service, "k", &lines).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!((counters(&shop, "A").await, counters(&shop, "B").await), ([9, 1, 0], [10, 0, 0]));
    // Another cart under the same key is refused, and harms the first one in nothing.
    for other in [&[("A", 2), ("B", 2)][..], &[("A", 1)], &[("A", 1), ("C", 1), ("B", 2)]] {
        shop.set_stock("C", 5).await.unwrap();
        assert_problem(&cart(&service, "k", other).await, 422, "idempotency-key-reused");
    }
    assert_eq!((counters(&shop, "A").await, counters(&shop, "C").await), ([9, 1, 0], [5, 0, 0]));
    // A single reservation under the same key is another wish.
    let order = Order { key: Some("k".to_owned()), customer: "ann".to_owned(), ..Order::one("A") };
    assert_eq!(shop.reserve(&order).await.unwrap().status, 201);
    assert_eq!(counters(&shop, "A").await, [8, 2, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_cannot_be_had_gives_back_the_others() {
    let (_dir, service, shop) = shelf("", 10, 1).await;
    let lines = [("A", 2), ("A", 1), ("B", 2)];
    let refused = cart(&service, "k", &lines).await;
    assert_problem(&refused, 409, "sold-out");
    assert_eq!((&refused.body["sku"], &refused.body["line"]), (&json!("B"), &json!(2)));
    assert_eq!(refused.body["available"], 1);
    assert_eq!((counters(&shop, "A").await, counters(&shop, "B").await), ([10, 0, 0], [1, 0, 0]));
    let before = versions(&shop).await;
    assert_eq!(before, [3, 1], "taken, and given back at once");
    // A repeat gets the same answer, and takes nothing first.
    let again = cart(&service, "k", &lines).await;
    assert_eq!((again.status, again.body), (409, refused.body));
    assert_eq!(versions(&shop).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terms_of_hot_items_hold_in_carts() {
    let (_dir, service, shop) = shelf("", 10, 10).await;
    put(&service, "/v1/hot-items/B", json!({"customer_cap": 1})).await;
    let over = cart(&service, "k", &[("A", 1), ("B", 2)]).await;
    assert_problem(&over, 409, "over-cap");
    assert_eq!((&over.body["sku"], &over.body["line"]), (&json!("B"), &json!(1)));
    let body = json!({"lines": [{"sku": "A"}, {"sku": "B"}]});
    let nobody = call(&service, Method::POST, "/v1/carts", Some("l"), body).await;
    assert_problem(&nobody, 400, "customer-required");
    put(&service, "/v1/hot-items/B", json!({"opens_at": "2999-01-01T00:00:00Z"})).await;
    let early = cart(&service, "m", &[("A", 1), ("B", 1)]).await;
    assert_problem(&early, 403, "not-open-yet");
    assert_eq!((counters(&shop, "A").await, counters(&shop, "B").await), ([10, 0, 0], [10, 0, 0]));
    // The sale opens, and the same cart is had.
    put(&service, "/v1/hot-items/B", json!({})).await;
    assert_eq!(cart(&service, "m", &[("A", 1), ("B", 1)]).await.status, 201);
}

/// One lane has others waiting: the cart cannot be had in time, and what it took goes back at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_cart_that_waits_too_long_takes_nothing() {
    let (_dir, service, shop) = shelf("wait_ms = 200", 10, 20).await;
    put(&service, "/v1/hot-items/B", json!({"reserves_per_s": 2})).await;
    let mut queued = 0;
    while queued < 3 {
        queued += u32::from(shop.reserve(&Order::one("B")).await.unwrap().status == 202);
    }
    let lines = [("A", 1), ("B", 10)];
    let late = cart(&service, "k", &lines).await;
    assert_problem(&late, 503, "unavailable");
    assert!(late.header("retry-after").is_some());
    assert_eq!((&late.body["sku"], &late.body["line"]), (&json!("B"), &json!(1)));
    assert_eq!(counters(&shop, "A").await, [10, 0, 0]);
    let held = eventually("the cart to be held", || async {
        let held = cart(&service, "k", &lines).await;
        (held.status == 201).then_some(held)
    });
    held.await;
    assert_eq!(counters(&shop, "A").await, [9, 1, 0]);
    assert!(counters(&shop, "B").await[1] >= 11);
}

/// The first line's hold is over before the last one is taken: nobody was told of it, and so nobody is
/// told that the cart is held; by a repeat neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_cart_whose_first_line_has_expired_is_not_held() {
    let settings = "hold_ms = 300\nwait_ms = 5000\nbuckets = 1\n[lanes]\nreserves_per_s = 1\n";
    let (_dir, service, shop) = shelf(settings, 5, 5).await;
    for _ in 0..2 {
        let refused = cart(&service, "slow", &[("A", 1), ("B", 1)]).await;
        assert_ne!(refused.status, 201, "{refused:?}");
    }
    for sku in ["A", "B"] {
        eventually("the shelf as it was", async || {
            (counters(&shop, sku).await == [5, 0, 0]).then_some(())
        })
        .await;
    }
}
