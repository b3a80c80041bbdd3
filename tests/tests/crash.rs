//! `kill -9` of the service, at random moments of a sale: nothing that clients were told is lost,
//! nothing happens twice, nothing is oversold. The judgement rests on the clients' records alone
//! (`cartgate_tests::drill::verdict` says what is checked).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cartgate_tests::drill::diary::Diary;
use cartgate_tests::drill::evidence::Witness;
use cartgate_tests::drill::record::{Answer, Call, Order, Record, Settlement};
use cartgate_tests::drill::verdict::{Case, Check, Verdict, judge};
use cartgate_tests::process::eventually;
use cartgate_tests::random::Random;
use cartgate_tests::{Service, ServiceOptions, Shop, shop};
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
    let (diary, mut told) = (Diary::default(), BTreeSet::new());
    for round in 1..=ROUNDS {
        let mut service = Service::start(&options).await.unwrap();
        if round > 1 {
            acquit(&service, &diary).await;
        }
        let shop = Shop::at(service.address());
        for sku in SKUS {
            let quantity = round * if sku == SCARCE { 30 } else { 100_000 };
            assert_eq!(shop.set_stock(sku, quantity).await.unwrap().status, 200);
        }
        let answers_before_death = 50 + random.below(400);
        println!("round {round}: killed after {answers_before_death} answers");
        sell_until_killed(&mut service, &diary, answers_before_death, &mut random).await;
        told.append(&mut kinds(&diary.records()));
    }
    let service = Service::start(&options).await.unwrap();
    acquit(&service, &diary).await;
    // A sale in which some answer never came would prove nothing about it.
    assert_eq!(told, BTreeSet::from(["held", "queued", "sold out", "nothing"]));
}

/// Compares what clients were told so far with what the service says now. All orders with a key are
/// sent once more: they must be answered as they were.
async fn verdict(service: &Service, diary: &Diary) -> Verdict {
    let mut records = diary.records();
    let witness = Witness::at(service.address()).repeat_everything();
    let evidence = witness.gather(&SKUS, &mut records).await.unwrap();
    let verdict = judge(&Case::new(&records, &evidence.reservations, &evidence.skus));
    diary.replace(records);
    verdict
}

async fn acquit(service: &Service, diary: &Diary) {
    let verdict = verdict(service, diary).await;
    assert!(verdict.holds(), "{verdict}");
    for check in Check::ALL.into_iter().filter(|check| *check != Check::Limit) {
        assert!(verdict.checked.count(check) > 0, "{verdict}");
    }
}

/// What kinds of answers there are to orders. A service that is not well says so by 503, and never
/// by anything else.
fn kinds(records: &[Record]) -> BTreeSet<&'static str> {
    let orders = records.iter().filter(|record| matches!(record.call, Call::Reserve(_)));
    let kind = |record: &Record| match &record.answer {
        Answer::Held { .. } => Some("held"),
        Answer::Queued { .. } => Some("queued"),
        Answer::SoldOut { .. } => Some("sold out"),
        Answer::Lost | Answer::HungUp => Some("nothing"),
        Answer::Refused { status: 503, .. } => None,
        other => panic!("{other:?}: {record:?}"),
    };
    orders.filter_map(kind).collect()
}

async fn sell_until_killed(
    service: &mut Service,
    diary: &Diary,
    answers: u64,
    random: &mut Random,
) {
    let shop = Shop::at(service.address());
    let answered = Arc::new(AtomicU64::new(0));
    let mut shoppers = JoinSet::new();
    for _ in 0..SHOPPERS {
        let answered = Arc::clone(&answered);
        shoppers.spawn(shop_until_silence(shop.clone(), diary.clone(), random.split(), answered));
    }
    let enough = || async { (answered.load(Ordering::Relaxed) >= answers).then_some(()) };
    eventually("answers to shoppers", enough).await;
    service.process.kill().await.unwrap();
    shoppers.join_all().await;
}

/// A shopper orders, and confirms or releases what it gets, until an answer does not come.
async fn shop_until_silence(
    shop: Shop,
    diary: Diary,
    mut random: Random,
    answered: Arc<AtomicU64>,
) {
    loop {
        let order = any_order(&mut random);
        let repeats = order.key.is_some() && random.below(4) == 0;
        let mut answer = diary.call(&shop, Call::Reserve(order.clone())).await;
        if repeats && answer != Answer::Lost {
            answer = diary.call(&shop, Call::Reserve(order)).await;
        }
        answered.fetch_add(1, Ordering::Relaxed);
        if let Answer::Held { id, .. } = &answer
            && let Some(how) = any_settlement(&mut random)
        {
            let id = id.clone();
            answer = diary.call(&shop, Call::Settle { id, how }).await;
        }
        if answer == Answer::Lost {
            return;
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

fn any_settlement(random: &mut Random) -> Option<Settlement> {
    match random.below(3) {
        0 => Some(Settlement::Confirm),
        1 => Some(Settlement::Release),
        _ => None,
    }
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
        let answer = shop.reserve(&shop::Order::one(SCARCE)).await.unwrap();
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

/// Control: a service that forgets is found out.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_forgets_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path());
    let diary = Diary::default();
    for is_first in [true, false] {
        let mut service = Service::start(&options).await.unwrap();
        let shop = Shop::at(service.address());
        for sku in SKUS {
            shop.set_stock(sku, 20).await.unwrap();
        }
        if is_first {
            let order = Order {
                sku: SCARCE.to_owned(),
                quantity: 1,
                customer: "somebody".to_owned(),
                key: None,
            };
            diary.call(&shop, Call::Reserve(order)).await;
            let verdict = verdict(&service, &diary).await;
            assert!(verdict.holds(), "{verdict}");
        } else {
            let verdict = verdict(&service, &diary).await;
            let [forgotten] = &verdict.violations[..] else { panic!("{verdict}") };
            assert_eq!(forgotten.check, Check::Outcomes, "{verdict}");
            assert!(forgotten.what.contains("knows nothing of it"), "{verdict}");
        }
        service.process.kill().await.unwrap();
        std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    }
}
