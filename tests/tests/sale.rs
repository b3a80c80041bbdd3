//! The whole chain at work: shoppers in front of Envoy, the filter in it, the service behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::process::eventually;
use cartgate_tests::{Answer, EnvoyConfig, Order, Shop, Site};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const SKU: &str = "SNEAKER-1";

async fn site(settings: &str, stock: u64) -> Site {
    let site = Site::start(settings, EnvoyConfig::shipped().unwrap()).await.unwrap();
    assert_eq!(site.back().set_stock(SKU, stock).await.unwrap().status, 200);
    site
}

/// Orders until the edge lets the order through.
async fn reserve(front: &Shop, order: &Order) -> Answer {
    eventually("to be admitted", || async {
        let answer = front.reserve(order).await.unwrap();
        (answer.status != 429).then_some(answer)
    })
    .await
}

async fn counters(back: &Shop) -> [Value; 3] {
    let stock = back.stock(SKU).await.unwrap().body;
    ["available", "held", "confirmed"].map(|name| stock[name].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_units_go_to_five_of_twenty_shoppers() {
    let site = site("", 5).await;
    let mut shoppers = JoinSet::new();
    for shopper in 0..20 {
        let front = site.front();
        let order = Order { customer: format!("shopper-{shopper}"), ..Order::one(SKU) };
        shoppers.spawn(async move { reserve(&front, &order).await });
    }
    let answers = shoppers.join_all().await;
    let (held, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 201);
    assert_eq!(held.len(), 5, "{answers:?}");
    for answer in &held {
        assert_eq!(answer.body["state"], "held");
        assert_eq!(answer.body["quantity"], 1);
        assert!(answer.body.get("expires_at").is_some(), "{answer:?}");
        let location = format!("/v1/reservations/{}", answer.reservation_id());
        assert_eq!(answer.header("location"), Some(location.as_str()));
    }
    for answer in refused {
        assert_eq!((answer.status, answer.problem()), (409, "sold-out"), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(counters(&site.back()).await, [0, 5, 0].map(Value::from));
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_confirmed_or_released_through_envoy() {
    let site = site("", 5).await;
    let (front, back) = (site.front(), site.back());
    let two = Order { quantity: 2, ..Order::one(SKU) };
    let by_form = eventually("to be admitted", || async {
        let answer = front.reserve_by_form(&two).await.unwrap();
        (answer.status != 429).then_some(answer)
    });
    let sold = by_form.await;
    assert_eq!((sold.status, &sold.body["quantity"]), (201, &json!(2)), "{sold:?}");
    let returned = reserve(&front, &Order::one(SKU)).await;
    assert_eq!(counters(&back).await, [2, 3, 0].map(Value::from));

    // A repeat gets the same answer and changes nothing.
    for _ in 0..2 {
        let confirmed = front.settle(sold.reservation_id(), "confirm").await.unwrap();
        assert_eq!((confirmed.status, &confirmed.body["state"]), (200, &json!("confirmed")));
        let released = front.settle(returned.reservation_id(), "release").await.unwrap();
        assert_eq!((released.status, &released.body["state"]), (200, &json!("released")));
        assert_eq!(counters(&back).await, [3, 0, 2].map(Value::from));
    }
    let late = front.settle(sold.reservation_id(), "release").await.unwrap();
    assert_eq!((late.status, late.problem()), (409, "hold-confirmed"));
    let late = front.settle(returned.reservation_id(), "confirm").await.unwrap();
    assert_eq!((late.status, late.problem()), (409, "hold-released"));
    let unknown = front.settle(&"0".repeat(32), "confirm").await.unwrap();
    assert_eq!((unknown.status, unknown.problem()), (404, "unknown-reservation"));

    let path = format!("/v1/reservations/{}", sold.reservation_id());
    let read = front.get(&path).await.unwrap();
    assert_eq!((read.status, &read.body["state"]), (200, &json!("confirmed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_gets_a_ticket() {
    let site = site("wait_ms = 20\n[lanes]\nreserves_per_s = 2\n", 100).await;
    let front = site.front();
    let queued = eventually("a ticket", || async {
        let answer = front.reserve(&Order::one(SKU)).await.unwrap();
        (answer.status == 202).then_some(answer)
    });
    let queued = queued.await;
    assert_eq!(queued.body["state"], "queued");
    let path = format!("/v1/tickets/{}", queued.ticket());
    assert_eq!(queued.header("location"), Some(path.as_str()));
    let outcome = eventually("the ticket's outcome", || async {
        let answer = front.get(&path).await.unwrap();
        (answer.status != 202).then_some(answer)
    });
    let outcome = outcome.await;
    assert_eq!((outcome.status, &outcome.body["state"]), (200, &json!("held")), "{outcome:?}");
    assert_eq!(outcome.reservation_id(), queued.ticket());
    let unknown = front.get(&format!("/v1/tickets/{}", "0".repeat(32))).await.unwrap();
    assert_eq!((unknown.status, unknown.problem()), (404, "unknown-ticket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_repeated_with_its_key_is_one_order() {
    let site = site("", 5).await;
    let front = site.front();
    let order = Order { key: Some("order-7".to_owned()), ..Order::one(SKU) };
    let first = reserve(&front, &order).await;
    let again = reserve(&front, &order).await;
    assert_eq!((first.status, again.status), (201, 201), "{again:?}");
    assert_eq!(first.body, again.body);
    assert_eq!(counters(&site.back()).await, [4, 1, 0].map(Value::from));
    let other = Order { quantity: 2, ..order };
    let reused = reserve(&front, &other).await;
    assert_eq!((reused.status, reused.problem()), (422, "idempotency-key-reused"), "{reused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_expires_goes_back_on_the_shelf() {
    let site = site("hold_ms = 300\n", 1).await;
    let (front, back) = (site.front(), site.back());
    let held = reserve(&front, &Order::one(SKU)).await;
    assert_eq!(held.status, 201, "{held:?}");
    // Nobody asks for this SKU meanwhile: the service must wake up by itself.
    eventually("the unit to return", || async {
        (counters(&back).await == [1, 0, 0].map(Value::from)).then_some(())
    })
    .await;
    let journal = back.journal(SKU).await.unwrap();
    let last = journal.last().unwrap();
    assert_eq!(last["cause"], "expire");
    assert_eq!(last["reservation_id"], held.reservation_id());
    let late = front.settle(held.reservation_id(), "confirm").await.unwrap();
    assert_eq!((late.status, late.problem()), (409, "hold-expired"), "{late:?}");
    assert_eq!(reserve(&front, &Order::one(SKU)).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_followed_from_the_access_log_to_the_commit() {
    let site = site("", 5).await;
    let answer = reserve(&site.front(), &Order::one(SKU)).await;
    let id = answer.header("x-request-id").expect("an x-request-id in the answer").to_owned();
    let access = eventually("the request in Envoy's access log", || async {
        let log = site.envoy.access_log();
        let line = log.lines().find(|line| line.contains(&id))?;
        serde_json::from_str::<Value>(line).ok()
    });
    assert_eq!(access.await["request_id"], json!(id));
    let log = site.service.log();
    let events: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
    assert!(events.iter().any(|event| event.contains("commit")), "{events:#?}");
}
