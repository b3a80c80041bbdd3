//! Tickets, and holds that nobody knows of yet.

use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::{Answer, Order, Service, Shop};
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
    assert!(queued.body["position"].as_u64() >= Some(1), "{queued:?}");
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
    // No longer than anybody may.
    let answer = order("wait=100").await;
    assert_eq!((answer.status, answer.header("preference-applied")), (201, Some("wait=60")));
}

/// A page shows how many are before a shopper, and how long it may be.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_says_where_it_stands() {
    let settings = "wait_ms = 60000\nunclaimed_ms = 61000\n[lanes]\nreserves_per_s = 1\n";
    let (_dir, service, shop) = service(settings).await;
    let mut queued = Vec::new();
    for _ in 0..9 {
        queued.push(order_async(&service, None, 1).await);
    }
    let tickets: Vec<_> = queued.iter().filter(|answer| answer.status == 202).collect();
    assert!(tickets.len() >= 7, "{queued:?}");
    let last = tickets.last().unwrap();
    let stands = async || {
        let ticket = shop.get(&format!("/v1/tickets/{}", last.ticket())).await.unwrap();
        let [position, wait_ms] =
            ["position", "estimated_wait_ms"].map(|name| ticket.body[name].as_u64());
        position.zip(wait_ms)
    };
    let (position, wait_ms) = stands().await.unwrap();
    assert!((2..=9).contains(&position), "{position}");
    assert_eq!(wait_ms, 1_000 * position, "one a second");
    let nearer = eventually("its turn comes nearer", || async {
        stands().await.filter(|(now, _)| *now < position)
    });
    assert_eq!(nearer.await.1 % 1_000, 0);
}

/// An order that does not wait.
async fn order_async(service: &Service, key: Option<&str>, quantity: u32) -> Answer {
    let mut request =
        http().post(service.url("/v1/reservations")).header("prefer", "respond-async");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let order = json!({"sku": SKU, "quantity": quantity, "customer_id": "somebody"});
    Answer::to(request.json(&order)).await.unwrap()
}

/// The events of a ticket, each with its name and data.
async fn events(service: &Service, ticket: &str) -> Vec<(String, Value)> {
    let request = http().get(service.url(&format!("/v1/tickets/{ticket}")));
    let answer = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    let event = |block: &str| {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let data = serde_json::from_str(field("data: ")?).unwrap();
        Some((field("event: ")?.to_owned(), data))
    };
    text.split("\n\n").filter_map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_s_course_comes_as_events() {
    let settings = "wait_ms = 60000\nunclaimed_ms = 61000\n[lanes]\nreserves_per_s = 2\n";
    let (_dir, service, shop) = service(settings).await;
    let all = Order { quantity: 8, ..Order::one(SKU) };
    assert_eq!(shop.reserve(&all).await.unwrap().status, 201);
    let (mut tickets, order) = (Vec::new(), async |units| order_async(&service, None, units).await);
    for units in [1, 1, 5] {
        tickets.push(order(units).await.ticket().to_owned());
    }
    let [_, held, refused] = &tickets[..] else { unreachable!() };
    let (held, refused) = tokio::join!(events(&service, held), events(&service, refused));
    for events in [&held, &refused] {
        let (last, before) = events.split_last().unwrap();
        assert_eq!(last.0, "outcome", "{events:?}");
        assert!(!before.is_empty(), "{events:?}");
        assert!(before.iter().all(|(name, data)| name == "queued" && data["state"] == "queued"));
        assert!(before.windows(2).all(|two| two[0].1 != two[1].1), "{events:?}");
    }
    assert_eq!(held.last().unwrap().1["state"], "held");
    let problem = &refused.last().unwrap().1;
    assert_eq!((&problem["status"], &problem["available"]), (&json!(409), &json!(0)));
    // There are no events of what there is not.
    let unknown = http().get(service.url("/v1/tickets/x")).header("accept", "text/event-stream");
    assert_problem(&Answer::to(unknown).await.unwrap(), 404, "unknown-ticket");
}

/// Who follows a ticket is no reason to go on, and asks again at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_events_of_a_ticket() {
    let settings = "wait_ms = 60000\nunclaimed_ms = 61000\n[lanes]\nreserves_per_s = 1\n";
    let (_dir, mut service, _shop) = service(settings).await;
    for _ in 0..9 {
        order_async(&service, None, 1).await;
    }
    let last = order_async(&service, None, 1).await.ticket().to_owned();
    let request = http().get(service.url(&format!("/v1/tickets/{last}")));
    let mut answer = request.header("accept", "text/event-stream").send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: queued\n"), "{first:?}");
    let (stopped, rest) = tokio::join!(service.process.stop(), answer.text());
    assert!(stopped.unwrap().success());
    assert!(!rest.unwrap().contains("outcome"));
}

/// draft-ietf-httpapi-idempotency-key-header: a repeat joins the first if it waits, else it is told that the
/// first is not answered yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_in_flight_that_does_not_wait_is_told_so() {
    let settings = "wait_ms = 60000\nunclaimed_ms = 61000\n[lanes]\nreserves_per_s = 1\n";
    let (_dir, service, shop) = service(settings).await;
    let key = Order { key: Some("k".to_owned()), quantity: 2, ..Order::one(SKU) };
    // Some that are before it.
    for _ in 0..4 {
        order_async(&service, None, 1).await;
    }
    let (first, repeat) = tokio::join!(shop.reserve(&key), async {
        let told = eventually("the first is in flight", || async {
            let repeat = order_async(&service, Some("k"), 2).await;
            (repeat.problem() == "in-flight").then_some(repeat)
        });
        let told = told.await;
        let other = order_async(&service, Some("k"), 1).await;
        assert_problem(&other, 422, "idempotency-key-reused");
        assert!(told.header("retry-after").is_some());
        shop.reserve(&key).await
    });
    let (first, repeat) = (first.unwrap(), repeat.unwrap());
    assert_eq!((first.status, repeat.status), (201, 201));
    assert_eq!(first.reservation_id(), repeat.reservation_id());
    let again = order_async(&service, Some("k"), 2).await;
    assert_eq!((again.status, again.reservation_id()), (201, first.reservation_id()));
}
