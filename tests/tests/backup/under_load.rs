//! A backup that is made while everything changes has all that was answered before it began, and is
//! what there was after some commit: each journal is a beginning of what it became.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::random::Random;
use cartgate_tests::{Answer, Order, Service, ServiceOptions, Shop};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{backup, cartgate, done, place, put, restore};

const SKUS: u64 = 12;
const STOCK: u64 = 100_000;
const CUSTOMERS: u64 = 8;
const CAPPED: &str = "CAPPED";
const SOLD_OUT: &str = "SOLD-OUT";
const CSV: &str = "sku,quantity\nIMPORTED-1,5\nIMPORTED-2,6\n";

/// What a customer was told.
#[derive(Clone, Debug)]
struct Told {
    order: Order,
    id: String,
    /// How it was settled, if it was.
    state: &'static str,
}

/// An order that comes too late.
fn late() -> Order {
    Order { key: Some("late".to_owned()), ..Order::one(SOLD_OUT) }
}

fn sku(number: u64) -> String {
    format!("P-{number}")
}

/// Orders, confirms and releases until told to stop. Whatever is noted has been answered.
async fn shop_on(
    shop: Shop,
    customer: u64,
    mut random: Random,
    told: Arc<Mutex<Vec<Told>>>,
    stop: watch::Receiver<bool>,
) {
    for number in 0.. {
        if *stop.borrow() {
            return;
        }
        let order = Order {
            customer: format!("customer-{customer}"),
            key: Some(format!("{customer}-{number}")),
            ..Order::one(&sku(random.below(SKUS)))
        };
        let answer = shop.reserve(&order).await.unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        let id = answer.reservation_id().to_owned();
        let (how, state) = match random.below(3) {
            0 => ("confirm", "confirmed"),
            1 => ("release", "released"),
            _ => {
                told.lock().unwrap().push(Told { order, id, state: "held" });
                continue;
            }
        };
        assert_eq!(shop.settle(&id, how).await.unwrap().status, 200);
        told.lock().unwrap().push(Told { order, id, state });
    }
}

/// Makes hot items of some SKUs and takes that back, and notes the version of what was answered.
async fn change_on(shop: Shop, version: Arc<Mutex<u64>>, stop: watch::Receiver<bool>) {
    let mut pace = 1_000_000;
    while !*stop.borrow() {
        pace += 1;
        let promoted = shop.promote(&sku(0), Some(pace)).await.unwrap();
        assert!([200, 201].contains(&promoted.status), "{promoted:?}");
        *version.lock().unwrap() = promoted.body["version"].as_u64().unwrap();
        shop.promote(&sku(1), None).await.unwrap();
        shop.demote(&sku(1)).await.unwrap();
    }
}

async fn import(service: &Service) -> String {
    let digest = BASE64_STANDARD.encode(Sha256::digest(CSV));
    let request = http().post(service.url("/v1/stock-imports")).header("content-type", "text/csv");
    let request = request.header("repr-digest", format!("sha-256=:{digest}:"));
    request.body(CSV).send().await.unwrap().text().await.unwrap()
}

/// What is not changed by the load: an import that is done, and whose stock was adjusted since; a
/// customer who has all that one may have; and one who was refused.
async fn prepare(service: &Service, shop: &Shop) {
    for number in 0..SKUS {
        assert_eq!(shop.set_stock(&sku(number), STOCK).await.unwrap().status, 200);
    }
    assert!(import(service).await.contains("\"set\":2"));
    let adjust = http().post(service.url("/v1/skus/IMPORTED-1/adjustments"));
    assert_eq!(Answer::to(adjust.json(&json!({ "by": 1 }))).await.unwrap().status, 201);
    shop.set_stock(CAPPED, 10).await.unwrap();
    let capped =
        put(service, &format!("/v1/hot-items/{CAPPED}"), json!({ "customer_cap": 1 })).await;
    assert!([200, 201].contains(&capped.status), "{capped:?}");
    let bought = shop.reserve(&Order::one(CAPPED)).await.unwrap();
    assert_eq!(shop.settle(bought.reservation_id(), "confirm").await.unwrap().status, 200);
    assert_eq!(shop.reserve(&Order::one(CAPPED)).await.unwrap().problem(), "over-cap");
    shop.set_stock(SOLD_OUT, 0).await.unwrap();
    assert_eq!(shop.reserve(&late()).await.unwrap().problem(), "sold-out");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_is_there_after_a_restore() {
    let (dir, file) = place("store.backup");
    let original = Service::start(&ServiceOptions::new(dir.path()).quiet()).await.unwrap();
    let shop = Shop::at(original.address());
    prepare(&original, &shop).await;
    let (told, version) = (Arc::<Mutex<Vec<Told>>>::default(), Arc::<Mutex<u64>>::default());
    let (stop, stopped) = watch::channel(false);
    let mut load = JoinSet::new();
    let mut random = Random::from_env();
    for customer in 0..CUSTOMERS {
        let (shop, random) = (Shop::at(original.address()), random.split());
        load.spawn(shop_on(shop, customer, random, Arc::clone(&told), stopped.clone()));
    }
    load.spawn(change_on(shop.clone(), Arc::clone(&version), stopped));
    let busy = || async { (told.lock().unwrap().len() > 500).then_some(()) };
    eventually("some load", busy).await;

    let known = told.lock().unwrap().clone();
    let known_version = *version.lock().unwrap();
    let said = done(backup(&original.url(""), &file).await);
    let after = told.lock().unwrap().len();
    stop.send_replace(true);
    load.join_all().await;
    assert!(after > known.len(), "there was no load meanwhile");
    println!("{} answers before, {} meanwhile; {said}", known.len(), after - known.len());
    assert!(original.log().contains("a backup is complete"), "{}", original.log());
    println!("{}", original.log().lines().find(|line| line.contains("held_up_us")).unwrap());

    let restored = ServiceOptions::new(&dir.path().join("restored"));
    let data = restored.data();
    assert_eq!(done(restore(&file, &data).await), said);
    let examined = cartgate(&["doctor", "--data", data.to_str().unwrap()]).await;
    assert_eq!(examined.status, 0, "{examined:?}");
    let restored = Service::start(&restored).await.unwrap();
    let again = Shop::at(restored.address());
    for number in 0..SKUS {
        check_sku(&shop, &again, &sku(number)).await;
    }
    for told in &known {
        check_told(&again, told).await;
    }
    check_hot_items(&shop, &again, known_version).await;
    check_rest(&restored, &again).await;
}

/// The journal is a beginning of what it became, without gaps, and the stock is its sum.
async fn check_sku(original: &Shop, restored: &Shop, sku: &str) {
    let (whole, journal) =
        (original.journal(sku).await.unwrap(), restored.journal(sku).await.unwrap());
    assert!(!journal.is_empty() && whole.starts_with(&journal), "{sku}");
    for (entry, version) in journal.iter().zip(1..) {
        assert_eq!(entry["version"], version, "{sku}");
    }
    let stock = restored.stock(sku).await.unwrap().body;
    let counters =
        |of: &Value| ["available", "held", "confirmed"].map(|name| of[name].as_u64().unwrap());
    assert_eq!(counters(&stock), counters(&journal.last().unwrap()["after"]), "{sku}");
    assert_eq!(counters(&stock).iter().sum::<u64>(), STOCK, "{sku}");
    assert_eq!(stock["version"], journal.len());
}

/// A repeat gets the first answer, and what was settled stays so.
async fn check_told(restored: &Shop, told: &Told) {
    let found = restored.get(&format!("/v1/reservations/{}", told.id)).await.unwrap();
    assert_eq!((found.status, &found.body["state"]), (200, &json!(told.state)), "{told:?}");
    let repeated = restored.reserve(&told.order).await.unwrap();
    assert_eq!(repeated.reservation_id(), told.id, "{told:?}: {repeated:?}");
}

async fn check_hot_items(original: &Shop, restored: &Shop, known_version: u64) {
    let path = format!("/v1/hot-items/{}", sku(0));
    let item = restored.get(&path).await.unwrap().body;
    assert!(item["version"].as_u64().unwrap() >= known_version, "{item}");
    for number in [0, 1] {
        let path = format!("/v1/hot-items/{}/history", sku(number));
        let (whole, history) = (original.get(&path).await, restored.get(&path).await);
        let (whole, history) = (whole.unwrap().body, history.unwrap().body);
        let (whole, history) = (whole["changes"].clone(), history["changes"].clone());
        let (whole, latest) = (whole.as_array().unwrap(), &history[0]);
        let version = |change: &Value| change["version"].as_u64().unwrap();
        assert!(version(latest) <= version(&whole[0]), "{latest} of {whole:?}");
        // Changes went on, and only the last ones are kept.
        let is_kept = version(latest) >= version(whole.last().unwrap());
        assert!(!is_kept || whole.contains(latest), "{latest} of {whole:?}");
    }
}

async fn check_rest(restored: &Service, shop: &Shop) {
    assert_eq!(shop.reserve(&Order::one(CAPPED)).await.unwrap().problem(), "over-cap");
    let told = import(restored).await;
    assert!(told.contains("\"resumed\""), "{told}");
    let stock = shop.stock("IMPORTED-1").await.unwrap().body;
    assert_eq!(stock["available"], 6, "a line was applied twice: {stock}");
    // The same key is refused as before, although there is some of it by now.
    shop.set_stock(SOLD_OUT, 1).await.unwrap();
    assert_eq!(shop.reserve(&late()).await.unwrap().problem(), "sold-out");
    assert_eq!(shop.reserve(&Order::one(SOLD_OUT)).await.unwrap().status, 201);
}
