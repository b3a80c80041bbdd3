//! `kill -9` of the service, at random moments of a sale: nothing that clients were told is lost,
//! nothing happens twice, nothing is oversold. The judgement rests on the clients' notes alone
//! (`cartgate_tests::audit` says what is checked).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cartgate_tests::audit::{Note, Settlement, Told, audit};
use cartgate_tests::process::eventually;
use cartgate_tests::random::Random;
use cartgate_tests::{Order, Service, ServiceOptions, Shop};
use tokio::task::JoinSet;

const ROUNDS: u64 = 6;
const SHOPPERS: u64 = 32;

/// One product sells out in every round, the others do not.
const SCARCE: &str = "SCARCE";
const SKUS: [&str; 3] = [SCARCE, "PLENTY", "LOTS"];

/// Lanes so slow and waits so short that part of the shoppers get tickets; holds that do not expire
/// while the test runs.
const SETTINGS: &str = "wait_ms = 30\n[lanes]\nreserves_per_s = 300\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_were_told_survives_kill_9() {
    let mut random = Random::from_env();
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path()).settings(SETTINGS);
    let (mut notes, mut told) = (Vec::new(), BTreeSet::new());
    for round in 1..=ROUNDS {
        let mut service = Service::start(&options).await.unwrap();
        let shop = Shop::at(service.address());
        if round > 1 {
            audit(&shop, &SKUS, &mut notes).await;
        }
        for sku in SKUS {
            let quantity = round * if sku == SCARCE { 30 } else { 100_000 };
            assert_eq!(shop.set_stock(sku, quantity).await.unwrap().status, 200);
        }
        let answers_before_death = 50 + random.below(400);
        println!("round {round}: killed after {answers_before_death} answers");
        let noted = sell_until_killed(&mut service, answers_before_death, &mut random).await;
        told.append(&mut kinds(&noted));
        notes.extend(noted);
    }
    let service = Service::start(&options).await.unwrap();
    audit(&Shop::at(service.address()), &SKUS, &mut notes).await;
    // A sale in which some answer never came would prove nothing about it.
    assert_eq!(told, BTreeSet::from(["held", "queued", "sold out", "nothing"]));
}

/// What kinds of answers there are among the notes.
fn kinds(notes: &[Note]) -> BTreeSet<&'static str> {
    let kind = |note: &Note| match note.told {
        Told::Held(_) => "held",
        Told::Queued(_) => "queued",
        Told::SoldOut => "sold out",
        Told::Refused(_) => "refused",
        Told::Nothing => "nothing",
    };
    notes.iter().map(kind).collect()
}

async fn sell_until_killed(service: &mut Service, answers: u64, random: &mut Random) -> Vec<Note> {
    let shop = Shop::at(service.address());
    let answered = Arc::new(AtomicU64::new(0));
    let mut shoppers = JoinSet::new();
    for _ in 0..SHOPPERS {
        shoppers.spawn(shop_until_silence(shop.clone(), random.split(), Arc::clone(&answered)));
    }
    let enough = || async { (answered.load(Ordering::Relaxed) >= answers).then_some(()) };
    eventually("answers to shoppers", enough).await;
    service.process.kill().await.unwrap();
    shoppers.join_all().await.into_iter().flatten().collect()
}

/// A shopper orders, and confirms or releases what it gets, until an answer does not come.
async fn shop_until_silence(shop: Shop, mut random: Random, answered: Arc<AtomicU64>) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    loop {
        let order = any_order(&mut random);
        let mut told = Told::from_answer(&shop.reserve(&order).await);
        if order.key.is_some() && random.below(4) == 0 {
            told = told.and(Told::from_answer(&shop.reserve(&order).await));
        }
        answered.fetch_add(1, Ordering::Relaxed);
        let settlement = match &told {
            Told::Held(id) => settle(&shop, id, &mut random).await,
            _ => None,
        };
        let is_silent =
            told == Told::Nothing || settlement.as_ref().is_some_and(|s| s.status.is_none());
        notes.push(Note { order, told, settlement });
        if is_silent {
            return notes;
        }
    }
}

fn any_order(random: &mut Random) -> Order {
    let is_keyed = random.below(2) == 0;
    Order {
        sku: SKUS[random.below(SKUS.len() as u64) as usize].to_owned(),
        quantity: 1 + random.below(3) as u32,
        customer: format!("shopper-{}", random.below(1000)),
        key: is_keyed.then(|| format!("{:016x}", random.next_u64())),
    }
}

async fn settle(shop: &Shop, id: &str, random: &mut Random) -> Option<Settlement> {
    let how = match random.below(3) {
        0 => "confirm",
        1 => "release",
        _ => return None,
    };
    let status = shop.settle(id, how).await.ok().map(|answer| answer.status);
    Some(Settlement { how, status })
}

/// Orders that wait in a lane when the service dies are judged after the restart, in the order in
/// which they came.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_tickets_survives_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path());
    let slow = options.clone().settings("wait_ms = 1\n[lanes]\nreserves_per_s = 2\n");
    let mut service = Service::start(&slow).await.unwrap();
    let shop = Shop::at(service.address());
    shop.set_stock(SCARCE, 20).await.unwrap();
    let mut tickets = Vec::new();
    while tickets.len() < 50 {
        let answer = shop.reserve(&Order::one(SCARCE)).await.unwrap();
        match answer.status {
            201 => tickets.push(answer.reservation_id().to_owned()),
            202 => tickets.push(answer.ticket().to_owned()),
            _ => panic!("{answer:?}"),
        }
    }
    service.process.kill().await.unwrap();

    let service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    for (place, ticket) in tickets.iter().enumerate() {
        let path = format!("/v1/tickets/{ticket}");
        let outcome = eventually("a ticket's outcome", || async {
            let answer = shop.get(&path).await.unwrap();
            (answer.status != 202).then_some(answer)
        });
        let expected = if place < 20 { 200 } else { 409 };
        let outcome = outcome.await;
        assert_eq!(outcome.status, expected, "ticket {place}: {outcome:?}");
    }
    let stock = shop.stock(SCARCE).await.unwrap().body;
    assert_eq!((&stock["available"], &stock["held"]), (&0.into(), &20.into()), "{stock}");
}

/// Control: the audit does find out a service that forgets.
#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "in the journal")]
async fn a_service_that_forgets_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path());
    let mut notes = Vec::new();
    for _ in 0..2 {
        let mut service = Service::start(&options).await.unwrap();
        let shop = Shop::at(service.address());
        shop.set_stock(SCARCE, 20).await.unwrap();
        if !notes.is_empty() {
            audit(&shop, &[SCARCE], &mut notes).await;
        }
        let order = Order::one(SCARCE);
        let told = Told::from_answer(&shop.reserve(&order).await);
        notes.push(Note { order, told, settlement: None });
        service.process.kill().await.unwrap();
        std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    }
}
