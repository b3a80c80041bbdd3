//! What becomes of a hold: sold in full or in part, given back, held for longer, or too late.

use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::{Answer, Order, Service, Shop};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{SKU, assert_problem, counters, post, service};

async fn hold(shop: &Shop, quantity: u32) -> Answer {
    let held = shop.reserve(&Order { quantity, ..Order::one(SKU) }).await.unwrap();
    assert_eq!(held.status, 201, "{held:?}");
    held
}

async fn settle(service: &Service, held: &Answer, how: &str, body: Value) -> Answer {
    post(service, &format!("/v1/reservations/{}/{how}", held.reservation_id()), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_hold_is_sold_and_the_rest_goes_back() {
    let (_dir, service, shop) = service("").await;
    let held = hold(&shop, 3).await;
    let too_many = settle(&service, &held, "confirm", json!({"quantity": 4})).await;
    assert_problem(&too_many, 409, "more-than-held");
    assert_eq!(too_many.body["quantity"], 3);
    for _ in 0..2 {
        let sold = settle(&service, &held, "confirm", json!({"quantity": 2})).await;
        assert_eq!((sold.status, &sold.body["state"]), (200, &json!("confirmed")));
        assert_eq!(
            (&sold.body["quantity"], &sold.body["confirmed_quantity"]),
            (&3.into(), &2.into())
        );
    }
    assert_eq!(counters(&shop, SKU).await, [8, 0, 2]);
    for (how, body) in [("confirm", Value::Null), ("release", Value::Null), ("extend", json!({}))] {
        let refused = settle(&service, &held, how, body).await;
        assert_problem(&refused, 409, "hold-confirmed");
        assert_eq!(refused.body["confirmed_quantity"], 2);
    }
}

/// Legacy pages post forms, with whatever is on them; some clients send an empty body as JSON.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_confirmed_by_form_and_without_a_body() {
    let (_dir, service, shop) = service("").await;
    let url =
        |held: &Answer| service.url(&format!("/v1/reservations/{}/confirm", held.reservation_id()));
    let held = hold(&shop, 3).await;
    let fields = [("quantity", "1"), ("on_expired", "refuse"), ("csrf", "x")];
    let sold = http().post(url(&held)).form(&fields).send().await.unwrap();
    assert_eq!(sold.status(), 200);
    let held = hold(&shop, 3).await;
    let empty = http().post(url(&held)).header("content-type", "application/json");
    assert_eq!(empty.send().await.unwrap().status(), 200);
    let held = hold(&shop, 1).await;
    let fields = [("quantity", "")];
    let refused = http().post(url(&held)).form(&fields).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    assert_eq!(counters(&shop, SKU).await, [5, 1, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_sold_only_if_it_can_be_taken_again() {
    let (_dir, service, shop) = service("hold_ms = 100").await;
    let (late, later) = (hold(&shop, 6).await, hold(&shop, 4).await);
    let expired = || async { (counters(&shop, SKU).await == [10, 0, 0]).then_some(()) };
    eventually("the holds to expire", expired).await;
    for body in [Value::Null, json!({"on_expired": "refuse"})] {
        assert_problem(&settle(&service, &late, "confirm", body).await, 409, "hold-expired");
    }
    assert_problem(&settle(&service, &late, "release", Value::Null).await, 409, "hold-expired");
    assert_problem(&settle(&service, &late, "extend", Value::Null).await, 409, "hold-expired");
    let reacquire = json!({"on_expired": "reacquire", "quantity": 5});
    for _ in 0..2 {
        let sold = settle(&service, &late, "confirm", reacquire.clone()).await;
        assert_eq!((sold.status, &sold.body["confirmed_quantity"]), (200, &5.into()), "{sold:?}");
    }
    assert_eq!(shop.set_stock(SKU, 8).await.unwrap().status, 200);
    let sold_out = settle(&service, &later, "confirm", json!({"on_expired": "reacquire"})).await;
    assert_problem(&sold_out, 409, "sold-out");
    assert_eq!(sold_out.body["available"], 3);
    assert_eq!(counters(&shop, SKU).await, [3, 0, 5]);
}

fn time(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_lasts_longer_if_asked_but_not_for_ever() {
    let (_dir, service, shop) = service("hold_ms = 60000\nhold_ms_max = 90000").await;
    let held = hold(&shop, 1).await;
    let first = time(&held.body["expires_at"]);
    let never_shorter = settle(&service, &held, "extend", json!({"hold_ms": 1})).await;
    assert_eq!((never_shorter.status, time(&never_shorter.body["expires_at"])), (200, first));
    // By default for as long as a new hold, from now.
    let by_default = settle(&service, &held, "extend", Value::Null).await;
    assert!(time(&by_default.body["expires_at"]) >= first, "{by_default:?}");
    let longest = settle(&service, &held, "extend", json!({"hold_ms": 90000})).await;
    let taken_at = time(&shop.journal(SKU).await.unwrap()[1]["at"]);
    assert_eq!(time(&longest.body["expires_at"]).duration_since(taken_at).as_millis(), 90_000);
    let read = shop.get(&format!("/v1/reservations/{}", held.reservation_id())).await.unwrap();
    assert_eq!((read.status, &read.body), (200, &longest.body));
    assert_eq!(settle(&service, &held, "release", Value::Null).await.status, 200);
    assert_problem(&settle(&service, &held, "extend", Value::Null).await, 409, "hold-released");
}
