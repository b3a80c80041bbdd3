//! Carts that come at the same time, and carts in a service that dies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cartgate_tests::client::{RawConnection, http};
use cartgate_tests::process::eventually;
use cartgate_tests::random::Random;
use cartgate_tests::{Service, Shop};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::carts::{cart, shelf};
use super::{assert_problem, counters, options};

#[tokio::test(flavor = "multi_thread")]
async fn two_carts_never_both_have_the_last_units() {
    let (_dir, service, shop) = shelf("", 0, 0).await;
    let mut held = 0;
    for round in 0..20 {
        let skus = ["A", "B"].map(|name| format!("{name}-{round}"));
        for sku in &skus {
            assert_eq!(shop.set_stock(sku, 1).await.unwrap().status, 200);
        }
        let [a, b] = [&skus[0], &skus[1]].map(|sku| (sku.as_str(), 1));
        let (keys, orders) = ([format!("one-{round}"), format!("other-{round}")], [[a, b], [b, a]]);
        let (one, other) = tokio::join!(
            cart(&service, &keys[0], &orders[0]),
            cart(&service, &keys[1], &orders[1]),
        );
        let had = [one.status, other.status].into_iter().filter(|status| *status == 201).count();
        for refused in [&one, &other].into_iter().filter(|answer| answer.status != 201) {
            assert_problem(refused, 409, "sold-out");
        }
        assert!(had <= 1, "{one:?} {other:?}");
        let had = had as u64;
        for sku in &skus {
            // Either all of a cart, or nothing of both.
            assert_eq!(counters(&shop, sku).await, [1 - had, had, 0], "{one:?} {other:?}");
        }
        held += had;
    }
    assert!(held > 0, "not one cart was held");
}

/// Also when some of those who ask for it hang up.
#[tokio::test(flavor = "multi_thread")]
async fn one_cart_asked_for_many_times_at_once_is_one() {
    let (_dir, service, shop) = shelf("", 100, 100).await;
    let service = Arc::new(service);
    for round in 0..10 {
        let key = format!("k-{round}");
        for _ in 0..4 {
            let mut impatient = RawConnection::open(service.address()).await;
            impatient.send(raw_cart(&key)).await;
        }
        let mut calls = JoinSet::new();
        for _ in 0..4 {
            let (service, key) = (Arc::clone(&service), key.clone());
            calls.spawn(async move { cart(&service, &key, &[("A", 1), ("B", 1)]).await });
        }
        let answers = calls.join_all().await;
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (201, &answers[0].body), "{answers:?}");
        }
        let held = round + 1;
        assert_eq!(counters(&shop, "A").await, [100 - held, held, 0]);
        assert_eq!(counters(&shop, "B").await, [100 - held, held, 0]);
    }
}

fn raw_cart(key: &str) -> String {
    let body =
        r#"{"customer_id":"ann","lines":[{"sku":"A","quantity":1},{"sku":"B","quantity":1}]}"#;
    let length = body.len();
    format!(
        "POST /v1/carts HTTP/1.1\r\nhost: x\r\nidempotency-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

const ROUNDS: u64 = 4;
const SHOPPERS: u64 = 8;
const SOLD_OUT_AFTER: u64 = 15;

/// What clients were told of their carts, by key: `None`, nothing.
type Told = BTreeMap<String, Option<(u16, Value)>>;

/// At some moment of each round the service dies. Whoever was told of a cart still has it; and once
/// every key has been repeated, as many units of each line are held as carts were.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_leaves_no_half_of_a_cart() {
    let mut random = Random::from_env();
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir).settings("wait_ms = 900\nunclaimed_ms = 1000");
    let mut told = Told::new();
    for round in 1..=ROUNDS {
        let mut service = Service::start(&options).await.unwrap();
        let shop = Shop::at(service.address());
        // In every other round B sells out before the service dies.
        let more = if round % 2 == 0 { SOLD_OUT_AFTER } else { 100_000 };
        let held = u64::try_from(statuses(&told, 201)).unwrap();
        for (sku, quantity) in [("A", 1_000_000), ("B", held + more)] {
            assert_eq!(shop.set_stock(sku, quantity).await.unwrap().status, 200);
        }
        let answers = 2 * SOLD_OUT_AFTER + random.below(60);
        told.append(&mut shop_until_killed(&mut service, round, answers).await);
        let mut service = Service::start(&options).await.unwrap();
        repeat_everything(&service, &mut told).await;
        service.process.kill().await.unwrap();
    }
    assert!(statuses(&told, 201) > 0 && statuses(&told, 409) > 0, "{told:?}");
}

fn statuses(told: &Told, status: u16) -> usize {
    told.values().flatten().filter(|(told, _)| *told == status).count()
}

async fn shop_until_killed(service: &mut Service, round: u64, answers: u64) -> Told {
    let (url, answered) = (service.url("/v1/carts"), Arc::new(AtomicU64::new(0)));
    let mut shoppers = JoinSet::new();
    for shopper in 0..SHOPPERS {
        let (url, answered) = (url.clone(), Arc::clone(&answered));
        shoppers.spawn(async move {
            let mut told = Told::new();
            for number in 0.. {
                let key = format!("{round}-{shopper}-{number}");
                let answer = ask(&url, &key).await;
                let is_silence = answer.is_none();
                // 503 is no answer that would have to last.
                told.insert(key, answer.filter(|(status, _)| *status != 503));
                if is_silence {
                    break;
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
            told
        });
    }
    let enough = || async { (answered.load(Ordering::Relaxed) >= answers).then_some(()) };
    eventually("answers to shoppers", enough).await;
    service.process.kill().await.unwrap();
    shoppers.join_all().await.into_iter().flatten().collect()
}

async fn repeat_everything(service: &Service, told: &mut Told) {
    let url = service.url("/v1/carts");
    for (key, before) in told.iter_mut() {
        let again = eventually("an answer that lasts", || async {
            ask(&url, key).await.filter(|(status, _)| *status != 503)
        });
        let again = again.await;
        match before {
            Some(before) => assert_eq!(*before, again, "{key}"),
            None => *before = Some(again),
        }
    }
    let carts = u64::try_from(statuses(told, 201)).unwrap();
    let shop = Shop::at(service.address());
    let held = || async {
        let held = [counters(&shop, "A").await[1], counters(&shop, "B").await[1]];
        (held == [carts, carts]).then_some(())
    };
    eventually("as many units held of each as carts", held).await;
}

/// Asks for one unit of A and one of B. `None`: no answer came.
async fn ask(url: &str, key: &str) -> Option<(u16, Value)> {
    let body = json!({"lines": [{"sku": "A"}, {"sku": "B"}]});
    let request = http().post(url).header("idempotency-key", key).json(&body);
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.ok()?))
}
