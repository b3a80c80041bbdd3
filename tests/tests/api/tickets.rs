//! Tickets, and holds that nobody knows of yet.

use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::{Answer, Order, Shop};
use reqwest::Method;
use serde_json::{Value, json};

use super::{SKU, assert_problem, call, counters, keyed, put, service};

/// A lane so slow, and waits so short, that every order but the first gets a ticket; and time enough
/// to ask for the outcome.
const SETTINGS: &str = "wait_ms = 100\nunclaimed_ms = 3000\n[lanes]\nreserves_per_s = 5\n";

async fn ticket(shop: &Shop, order: &Order) -> Answer {
    let queued = shop.reserve(order).await.unwrap();
    assert_eq!((queued.status, &queued.body["state"]), (202, &json!("queued")), "{queued:?}");
    let location = format!("/v1/tickets/{}", queued.ticket());
    assert_eq!(queued.header("location"), Some(location.as_str()));
    assert_eq!(queued.body["claim_within_ms"], 3000);
    queued
}

async fn until_held(shop: &Shop, units: u64) {
    let held = || async { (counters(shop, SKU).await[1] == units).then_some(()) };
    eventually("so many units held", held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticketed_hold_stays_only_if_somebody_asks_for_it() {
    let (_dir, _service, shop) = service(SETTINGS).await;
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let mut tickets = Vec::new();
    for key in ["by-ticket", "by-id", "by-repeat", "nobody"] {
        tickets.push(ticket(&shop, &keyed(key)).await.ticket().to_owned());
    }
    until_held(&shop, 5).await;
    let state = async |path: String| shop.get(&path).await.unwrap().body["state"].clone();
    assert_eq!(state(format!("/v1/tickets/{}", tickets[0])).await, "held");
    assert_eq!(state(format!("/v1/reservations/{}", tickets[1])).await, "held");
    let repeated = shop.reserve(&keyed("by-repeat")).await.unwrap();
    assert_eq!((repeated.status, repeated.reservation_id()), (201, tickets[2].as_str()));
    // The last one was decided last: when it goes back, the others would have gone before it.
    until_held(&shop, 4).await;
    for (ticket, expected) in tickets.iter().zip(["held", "held", "held", "expired"]) {
        assert_eq!(state(format!("/v1/reservations/{ticket}")).await, expected);
        assert_eq!(state(format!("/v1/tickets/{ticket}")).await, expected);
    }
    let journal = shop.journal(SKU).await.unwrap();
    let last = journal.last().unwrap();
    assert_eq!((&last["cause"], &last["reservation_id"]), (&json!("expire"), &json!(tickets[3])));
    // What nobody knew of is judged anew.
    let anew = shop.reserve(&keyed("nobody")).await.unwrap();
    assert!([201, 202].contains(&anew.status), "{anew:?}");
    until_held(&shop, 5).await;
    assert_eq!(state(format!("/v1/tickets/{}", tickets[3])).await, "held");
}

/// The first order is decided at 0 s, `a` at 1 s, while it is being asked for again, and `b` at 2 s.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_again_for_a_ticketed_order_is_told_of_a_hold_that_stays() {
    let settings = "wait_ms = 400\nunclaimed_ms = 3000\n[lanes]\nreserves_per_s = 1\n";
    let (_dir, _service, shop) = service(settings).await;
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let (a, b) = (ticket(&shop, &keyed("a")).await, ticket(&shop, &keyed("b")).await);
    let again = eventually("a hold for `a`", || async {
        let again = shop.reserve(&keyed("a")).await.unwrap();
        (again.status != 202).then_some(again)
    });
    let again = again.await;
    assert_eq!((again.status, again.reservation_id()), (201, a.ticket()));
    until_held(&shop, 3).await;
    // When the one goes back that nobody has asked for, the other would have gone before it.
    until_held(&shop, 2).await;
    for (ticket, expected) in [(a, "held"), (b, "expired")] {
        let read = shop.get(&format!("/v1/reservations/{}", ticket.ticket())).await.unwrap();
        assert_eq!(read.body["state"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_says_why_there_is_no_hold() {
    let (_dir, _service, shop) = service(SETTINGS).await;
    let all = Order { quantity: 10, ..Order::one(SKU) };
    assert_eq!(shop.reserve(&all).await.unwrap().status, 201);
    let queued = ticket(&shop, &Order::one(SKU)).await;
    let path = format!("/v1/tickets/{}", queued.ticket());
    let outcome = eventually("the ticket's outcome", || async {
        let answer = shop.get(&path).await.unwrap();
        (answer.status != 202).then_some(answer)
    });
    assert_problem(&outcome.await, 409, "sold-out");
}

/// The sale has not begun when the ticket has its turn: it says so, and its order may be repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_says_that_there_was_no_sale() {
    let (_dir, service, shop) = service(SETTINGS).await;
    let hot_item = format!("/v1/hot-items/{SKU}");
    let terms = json!({"opens_at": "2100-01-01T00:00:00Z", "reserves_per_s": 5});
    assert_eq!(put(&service, &hot_item, terms).await.status, 201);
    // At once, and the lane has no pace left for a while.
    let first = shop.reserve(&Order::one(SKU)).await.unwrap();
    assert_problem(&first, 403, "not-open-yet");
    let path = format!("/v1/tickets/{}", ticket(&shop, &keyed("k")).await.ticket());
    let outcome = eventually("the ticket's outcome", || async {
        let answer = shop.get(&path).await.unwrap();
        (answer.status != 202).then_some(answer)
    });
    let outcome = outcome.await;
    assert_problem(&outcome, 403, "not-open-yet");
    assert_eq!(outcome.body["opens_at"], "2100-01-01T00:00:00.000Z");
    let removed = call(&service, Method::DELETE, &hot_item, None, Value::Null).await;
    assert_eq!(removed.status, 204);
    let anew = shop.reserve(&keyed("k")).await.unwrap();
    assert!([201, 202].contains(&anew.status), "{anew:?}");
    until_held(&shop, 1).await;
    assert_eq!(shop.get(&path).await.unwrap().body["state"], "held");
}

/// RFC 7240: who would rather not wait gets a ticket at once, and waits at the ticket if it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_waits_as_long_as_it_prefers() {
    let settings = "wait_ms = 60000\nunclaimed_ms = 61000\n[lanes]\nreserves_per_s = 1\n";
    let (_dir, service, shop) = service(settings).await;
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let order = async |prefer: &str| {
        let request = http().post(service.url("/v1/reservations")).header("prefer", prefer);
        Answer::to(request.json(&json!({"sku": SKU, "quantity": 1}))).await.unwrap()
    };
    // There is one a second: without the preference each of these would wait for its turn.
    let mut queued = Vec::new();
    for (prefer, applied) in [("respond-async", "respond-async"), ("wait=0, foo", "wait=0")] {
        let answer = order(prefer).await;
        assert_eq!(answer.status, 202, "{prefer}");
        assert_eq!(answer.header("preference-applied"), Some(applied));
        queued.push(answer.ticket().to_owned());
    }
    let first = http().get(service.url(&format!("/v1/tickets/{}", queued[1])));
    let decided = Answer::to(first.header("prefer", "wait=60")).await.unwrap();
    assert_eq!((decided.status, &decided.body["state"]), (200, &json!("held")));
    assert_eq!(decided.header("preference-applied"), Some("wait=60"));
    let answer = order("wait=60").await;
    assert_eq!((answer.status, answer.header("preference-applied")), (201, Some("wait=60")));
}
