//! Hot items: the registry, and the terms of their sale.

use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::{Answer, Order, Service, Shop};
use reqwest::Method;
use serde_json::{Value, json};

use super::{SKU, assert_problem, call, counters, keyed, metrics, options, post, put, service};

async fn register(service: &Service, sku: &str, terms: Value) -> Answer {
    put(service, &format!("/v1/hot-items/{sku}"), terms).await
}

async fn remove(service: &Service, sku: &str) -> u16 {
    let path = format!("/v1/hot-items/{sku}");
    call(service, Method::DELETE, &path, None, Value::Null).await.status
}

async fn order(shop: &Shop, customer: &str, quantity: u32) -> Answer {
    let order = Order { customer: customer.to_owned(), quantity, ..Order::one(SKU) };
    shop.reserve(&order).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_item_is_registered_changed_and_removed() {
    let (_dir, service, shop) = service("").await;
    let path = format!("/v1/hot-items/{SKU}");
    let terms = json!({"reserves_per_s": 50, "customer_cap": 2, "opens_at": null,
                       "closes_at": "2999-12-31T23:00:00+01:00", "limit": {"per_second": 500},
                       "client_limit": {"per_second": 2, "burst": 1}, "wait_target_ms": 3_000,
                       "expires_at": "2999-12-31T22:30:00Z", "origin": "scheduled"});
    let new = register(&service, SKU, terms.clone()).await;
    assert_eq!((new.status, new.header("location")), (201, Some(path.as_str())), "{new:?}");
    assert_eq!(new.header("etag"), Some("\"1\""));
    assert_eq!(new.body["closes_at"], "2999-12-31T22:00:00.000Z");
    assert_eq!(new.body["expires_at"], "2999-12-31T22:30:00.000Z");
    assert_eq!(new.body["limit"], json!({"per_second": 500, "burst": 500}));
    assert_eq!(new.body["client_limit"], json!({"per_second": 2, "burst": 1}));
    let names = ["wait_target_ms", "paused", "origin", "version"];
    let shown = names.map(|name| new.body[name].clone());
    assert_eq!(shown, [json!(3_000), json!(false), json!("scheduled"), json!(1)]);
    assert_eq!(new.body.get("opens_at"), None);
    // The same again changes nothing.
    let same = register(&service, SKU, terms).await;
    assert_eq!((same.status, &same.body, same.header("location")), (200, &new.body, None));
    assert_eq!(same.header("etag"), Some("\"1\""));
    let mut shown = shop.get(&path).await.unwrap();
    assert_eq!(shown.header("etag"), Some("\"1\""));
    let members = shown.body.as_object_mut().unwrap();
    let lane = members.remove("lane");
    let idle = json!({"reserve": 0, "settle": 0, "oldest_age_ms": 0, "is_open": true});
    // Nobody tells edges yet, or there are none that report.
    let edges = members.remove("edges").map(|edges| edges["reporting"].clone());
    assert!(edges.is_none_or(|reporting| reporting == 0));
    let rates = ["demand_per_s", "admitted_per_s"].map(|name| members.remove(name));
    assert_eq!((lane, rates), (Some(idle), [Some(json!(0.0)), Some(json!(0.0))]));
    assert_eq!((shown.status, shown.body), (200, new.body.clone()));

    let changed = register(&service, SKU, json!({"reserves_per_s": 60})).await;
    assert_eq!((changed.status, &changed.body["reserves_per_s"]), (200, &60.into()));
    assert_eq!(changed.body["since"], new.body["since"]);
    assert_eq!(
        (changed.header("etag"), &changed.body["origin"]),
        (Some("\"2\""), &"manual".into())
    );
    for name in ["customer_cap", "limit", "client_limit", "wait_target_ms", "expires_at"] {
        assert_eq!(changed.body.get(name), None, "left out is without a bound");
    }
    for _ in 0..2 {
        assert_eq!(remove(&service, SKU).await, 204);
        assert_problem(&shop.get(&path).await.unwrap(), 404, "unknown-hot-item");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_listed_page_by_page_and_has_a_bound() {
    let (_dir, service, shop) = service("hot_items_max = 3").await;
    for sku in ["B", "C", "A"] {
        assert_eq!(register(&service, sku, json!({})).await.status, 201);
    }
    let full = register(&service, "D", json!({})).await;
    assert_problem(&full, 409, "too-many-hot-items");
    assert_eq!(full.body["max"], 3);
    assert_eq!(register(&service, "A", json!({"customer_cap": 1})).await.status, 200);
    let page = async |query: &str| {
        let body = shop.get(&format!("/v1/hot-items{query}")).await.unwrap().body;
        let items = body["hot_items"].as_array().unwrap().clone();
        let skus: Vec<_> =
            items.iter().map(|item| item["sku"].as_str().unwrap().to_owned()).collect();
        (skus.concat(), body["next"].clone())
    };
    assert_eq!(page("").await, ("ABC".to_owned(), Value::Null));
    assert_eq!(page("?limit=2").await, ("AB".to_owned(), json!("B")));
    assert_eq!(page("?limit=2&after=B").await, ("C".to_owned(), Value::Null));
    assert_eq!(page("?after=C").await, (String::new(), Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir);
    let mut service = Service::start(&options).await.unwrap();
    let terms = json!({"reserves_per_s": 9, "customer_cap": 1, "opens_at": "2030-01-01T00:00:00Z"});
    let new = register(&service, SKU, terms).await;
    assert_eq!(register(&service, "OTHER", json!({})).await.status, 201);
    assert_eq!(remove(&service, "OTHER").await, 204);
    let histories = async |service: &Service| {
        [history(service, SKU, "").await, history(service, "OTHER", "").await]
    };
    let before = histories(&service).await;
    service.process.kill().await.unwrap();
    let service = Service::start(&options).await.unwrap();
    let list = Shop::at(service.address()).get("/v1/hot-items").await.unwrap();
    assert_eq!(list.body["hot_items"], json!([new.body]));
    assert_eq!(histories(&service).await, before);
    // Versions go on where they were, also of what was removed.
    for (sku, etag) in [(SKU, "\"2\""), ("OTHER", "\"3\"")] {
        let changed = register(&service, sku, json!({"reserves_per_s": 8})).await;
        assert_eq!(changed.header("etag"), Some(etag));
    }
}

/// What was changed of a SKU's entry, the latest first.
async fn history(service: &Service, sku: &str, query: &str) -> Vec<Value> {
    let path = format!("/v1/hot-items/{sku}/history{query}");
    let answer = Shop::at(service.address()).get(&path).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["changes"].as_array().unwrap().clone()
}

async fn remove_with(service: &Service, query: &str, if_match: &str) -> Answer {
    let url = service.url(&format!("/v1/hot-items/{SKU}{query}"));
    Answer::to(http().delete(url).header("if-match", if_match)).await.unwrap()
}

async fn register_if(service: &Service, if_match: &str, terms: &Value) -> Answer {
    let url = service.url(&format!("/v1/hot-items/{SKU}"));
    Answer::to(http().put(url).header("if-match", if_match).json(terms)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_says_what_was_changed_by_whom_and_why() {
    let (_dir, service, shop) = service("").await;
    let unknown = shop.get(&format!("/v1/hot-items/{SKU}/history")).await.unwrap();
    assert_problem(&unknown, 404, "unknown-hot-item");
    let reason = "access log: 1,840/s over 1 s";
    let detected = json!({"origin": "detected", "reason": reason, "reserves_per_s": 5});
    let first = register(&service, SKU, detected.clone()).await;
    // Another reason is no other entry.
    let mut again = detected;
    again["reason"] = json!("still so");
    assert_eq!(register(&service, SKU, again).await.body, first.body);
    let second = register(&service, SKU, json!({"paused": true})).await;
    assert_eq!(remove_with(&service, "?reason=sold%20out", "\"2\"").await.status, 204);

    let all = history(&service, SKU, "").await;
    let expected = [
        json!({"version": 3, "change": "removed", "origin": "manual", "reason": "sold out"}),
        json!({"version": 2, "change": "changed", "origin": "manual", "item": second.body}),
        json!({"version": 1, "change": "registered", "origin": "detected", "reason": reason,
               "item": first.body}),
    ];
    let without_at = all.iter().cloned().map(|mut change| {
        assert!(change.as_object_mut().unwrap().remove("at").is_some_and(|at| at.is_string()));
        change
    });
    assert_eq!(without_at.collect::<Vec<_>>(), expected);
    assert_eq!(all[1]["at"], second.body["changed_at"]);
    assert_eq!(history(&service, SKU, "?limit=1").await, all[..1]);
    // It is a hot item again, and its versions go on.
    let again = register(&service, SKU, json!({})).await;
    assert_eq!((again.status, again.header("etag")), (201, Some("\"4\"")));
    assert_eq!(history(&service, SKU, "").await[1..], all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_has_the_last_hundred_changes() {
    let (_dir, service, _shop) = service("").await;
    for number in 1..=103 {
        register(&service, SKU, json!({"reserves_per_s": number})).await;
    }
    let all = history(&service, SKU, "").await;
    let ends = [&all[0], &all[99]].map(|change| change["version"].as_u64());
    assert_eq!((all.len(), ends), (100, [Some(103), Some(4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_names_a_version_changes_that_one() {
    let (_dir, service, shop) = service("").await;
    let (slow, fast) = (json!({"reserves_per_s": 1}), json!({"reserves_per_s": 9}));
    let check_changed = |refused: &Answer, version: Option<u64>| {
        assert_problem(refused, 412, "hot-item-changed");
        assert_eq!(refused.body.get("version").and_then(Value::as_u64), version);
    };
    check_changed(&register_if(&service, "\"1\"", &slow).await, None);
    register(&service, SKU, slow.clone()).await;
    assert_eq!(register_if(&service, "\"1\"", &fast).await.header("etag"), Some("\"2\""));
    for stale in [&slow, &fast] {
        check_changed(&register_if(&service, "\"1\"", stale).await, Some(2));
    }
    check_changed(&remove_with(&service, "", "\"1\"").await, Some(2));
    let shown = shop.get(&format!("/v1/hot-items/{SKU}")).await.unwrap();
    assert_eq!((&shown.body["reserves_per_s"], &shown.body["version"]), (&9.into(), &2.into()));
    for malformed in ["7", "\"\"", "\"x\"", "W/\"2\"", "*", "\"1\", \"2\"", "\"+2\""] {
        assert_problem(&register_if(&service, malformed, &slow).await, 400, "invalid-request");
    }
    assert_eq!(remove_with(&service, "", "\"2\"").await.status, 204);
    check_changed(&remove_with(&service, "", "\"2\"").await, None);
    assert_eq!(remove(&service, SKU).await, 204, "nothing was expected, and nothing is there");
}

/// What a patch does not name stays as it is (RFC 7396).
#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_what_it_names() {
    let (_dir, service, shop) = service("").await;
    let path = format!("/v1/hot-items/{SKU}");
    let amend = async |patch: Value| call(&service, Method::PATCH, &path, None, patch).await;
    assert_problem(&amend(json!({"paused": true})).await, 404, "unknown-hot-item");
    let terms = json!({"reserves_per_s": 50, "customer_cap": 2, "opens_at": "2020-01-01T00:00:00Z",
                       "limit": {"per_second": 500, "burst": 800}, "wait_target_ms": 3_000,
                       "origin": "scheduled"});
    assert_eq!(register(&service, SKU, terms).await.status, 201);
    let before = shop.get(&path).await.unwrap().body;

    let paused = amend(json!({"paused": true, "reason": "a broken picture"})).await;
    assert_eq!((paused.status, paused.header("etag")), (200, Some("\"2\"")));
    let mut expected = before.clone();
    for name in ["lane", "demand_per_s", "admitted_per_s", "edges", "changed_at"] {
        expected.as_object_mut().unwrap().remove(name);
    }
    expected["paused"] = json!(true);
    expected["origin"] = json!("manual");
    expected["version"] = json!(2);
    let mut said = paused.body.clone();
    said.as_object_mut().unwrap().remove("changed_at");
    assert_eq!(said, expected);
    assert_eq!(history(&service, SKU, "").await[0]["reason"], "a broken picture");

    // A member of a member, and one that is taken away.
    let patch = json!({"limit": {"per_second": 400}, "customer_cap": null, "paused": false});
    let changed = amend(patch).await;
    assert_eq!(changed.body["limit"], json!({"per_second": 400, "burst": 800}));
    assert_eq!((changed.body.get("customer_cap"), &changed.body["paused"]), (None, &json!(false)));

    for wrong in
        [json!({"version": 9}), json!({"limit": {"per_minute": 1}}), json!({"limit": null})]
    {
        assert_problem(&amend(wrong).await, 400, "invalid-request");
    }
    assert_problem(&amend(json!([])).await, 400, "invalid-request");
    let stale = http().patch(service.url(&path)).header("if-match", "\"2\"");
    let stale = Answer::to(stale.json(&json!({"paused": true}))).await.unwrap();
    assert_problem(&stale, 412, "hot-item-changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sale_takes_no_new_reservations() {
    let (_dir, service, shop) = service("").await;
    register(&service, SKU, json!({})).await;
    let (first, second) = (keyed("first"), keyed("second"));
    let [to_confirm, to_release] =
        [shop.reserve(&first).await.unwrap(), shop.reserve(&second).await.unwrap()];
    register(&service, SKU, json!({"paused": true})).await;
    for order in [keyed("third"), Order::one(SKU)] {
        let paused = shop.reserve(&order).await.unwrap();
        assert_problem(&paused, 503, "paused");
        assert_eq!(paused.body["sku"], SKU);
        assert!(paused.header("retry-after").is_some_and(|seconds| seconds.parse::<u8>().is_ok()));
    }
    // What was decided is told again, and goes on.
    let repeated = shop.reserve(&first).await.unwrap();
    assert_eq!((repeated.status, &repeated.body), (201, &to_confirm.body));
    let settle =
        async |held: &Answer, how| shop.settle(held.reservation_id(), how).await.unwrap().status;
    assert_eq!(settle(&to_confirm, "confirm").await, 200);
    assert_eq!(settle(&to_release, "release").await, 200);
    assert_eq!(counters(&shop, SKU).await, [9, 0, 1]);
    // Carts wait as well, and other products do not.
    assert_eq!(shop.set_stock("OTHER", 5).await.unwrap().status, 200);
    let cart = json!({"lines": [{"sku": "OTHER", "quantity": 1}, {"sku": SKU, "quantity": 1}]});
    let cart = async |key| call(&service, Method::POST, "/v1/carts", Some(key), cart.clone()).await;
    let paused = cart("cart").await;
    assert_problem(&paused, 503, "paused");
    assert_eq!((&paused.body["line"], &paused.body["sku"]), (&1.into(), &SKU.into()));
    assert_eq!(counters(&shop, "OTHER").await, [5, 0, 0]);
    assert_eq!(shop.reserve(&Order::one("OTHER")).await.unwrap().status, 201);

    register(&service, SKU, json!({"paused": false})).await;
    assert_eq!(shop.reserve(&keyed("third")).await.unwrap().status, 201);
    let whole = cart("cart").await;
    assert_eq!(whole.status, 201);
    // A cart that is held is told again.
    register(&service, SKU, json!({"paused": true})).await;
    assert_eq!(cart("cart").await.body, whole.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_customer_has_more_than_the_cap() {
    let (_dir, service, shop) = service("").await;
    // What was held and bought before counts.
    let before = order(&shop, "ann", 1).await;
    assert_eq!(shop.settle(before.reservation_id(), "confirm").await.unwrap().status, 200);
    assert_eq!(register(&service, SKU, json!({"customer_cap": 3})).await.status, 201);
    let held = order(&shop, "ann", 2).await;
    assert_eq!(held.status, 201);
    let over = order(&shop, "ann", 1).await;
    assert_problem(&over, 409, "over-cap");
    assert_eq!((&over.body["cap"], &over.body["committed"]), (&3.into(), &3.into()));
    let nobody = post(&service, "/v1/reservations", json!({"sku": SKU})).await;
    assert_problem(&nobody, 400, "customer-required");
    assert_eq!(order(&shop, "bob", 3).await.status, 201);
    // What goes back does not count.
    assert_eq!(shop.settle(held.reservation_id(), "release").await.unwrap().status, 200);
    assert_eq!(order(&shop, "ann", 2).await.status, 201);
    assert_eq!(counters(&shop, SKU).await, [4, 5, 1]);
    assert_eq!(remove(&service, SKU).await, 204);
    assert_eq!(order(&shop, "ann", 4).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_has_a_beginning_and_an_end() {
    let (_dir, service, shop) = service("").await;
    let opens_at = "2999-01-01T00:00:00.000Z";
    register(&service, SKU, json!({"opens_at": opens_at})).await;
    let early = order(&shop, "ann", 1).await;
    assert_problem(&early, 403, "not-open-yet");
    assert_eq!(early.body["opens_at"], opens_at);
    assert!(early.body["opens_in_ms"].as_u64() > Some(1_000_000_000_000), "{early:?}");
    let closes_at = "2001-01-01T00:00:00.000Z";
    register(&service, SKU, json!({"opens_at": "2000-01-01T00:00:00Z", "closes_at": closes_at}))
        .await;
    let late = order(&shop, "ann", 1).await;
    assert_problem(&late, 403, "sale-closed");
    assert_eq!(late.body["closed_at"], closes_at);
    let open = json!({"opens_at": "2000-01-01T00:00:00Z", "closes_at": "2999-01-01T00:00:00Z"});
    register(&service, SKU, open).await;
    assert_eq!(order(&shop, "ann", 1).await.status, 201);
    // A refusal that passes is not remembered: the same key gets through when the sale is open.
    register(&service, SKU, json!({"opens_at": opens_at})).await;
    let keyed = Order { key: Some("k".to_owned()), ..Order::one(SKU) };
    assert_problem(&shop.reserve(&keyed).await.unwrap(), 403, "not-open-yet");
    assert_eq!(remove(&service, SKU).await, 204);
    assert_eq!(shop.reserve(&keyed).await.unwrap().status, 201);
}

/// More is asked for than there is, and then nothing for a while.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_hot_item_and_held_is_shown() {
    let (_dir, service, shop) = service("").await;
    register(&service, SKU, json!({})).await;
    let rates = async || {
        let shown = shop.get(&format!("/v1/hot-items/{SKU}")).await.unwrap().body;
        ["demand_per_s", "admitted_per_s"].map(|name| shown[name].as_f64().unwrap())
    };
    // A process on a shared store hears of the lane with the first.
    assert_eq!(order(&shop, "ann", 1).await.status, 201);
    for _ in 0..15 {
        order(&shop, "ann", 1).await;
    }
    eventually("the rates", || async {
        let [demand, admitted] = rates().await;
        assert!(demand <= 1.6 && admitted <= 1.0, "{demand} {admitted}");
        (demand >= 1.5 && admitted >= 0.9).then_some(())
    })
    .await;
    let counted = metrics(&service).await;
    for name in ["cartgate_hot_demand_total 1", "cartgate_hot_admitted_total 1"] {
        assert!(counted.contains(name), "{name}");
    }
    eventually("the end of that", || async { (rates().await == [0.0, 0.0]).then_some(()) }).await;
}
