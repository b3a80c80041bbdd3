//! The verdict on services that lie: the real service (and the real edge), with something between
//! that does what a broken one would do. Each lie must be found out, for the right reason; without
//! a lie the same load is acquitted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod liar;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use cartgate_tests::drill::diary::Diary;
use cartgate_tests::drill::evidence::Witness;
use cartgate_tests::drill::record::{Answer, Call, Order, Record, Settlement};
use cartgate_tests::drill::verdict::{Case, Check, Limit, Limits, Verdict, judge};
use cartgate_tests::random::Random;
use cartgate_tests::{EnvoyConfig, Service, ServiceOptions, Shop, Site};
use liar::{Liar, Lie};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

const SHOPPERS: u64 = 8;
const ORDERS_EACH: usize = 40;

/// One product sells out, the other does not.
const SKUS: [&str; 2] = ["SCARCE", "PLENTY"];

/// What clients talk to, and what they noted.
struct Sale {
    service: Service,
    options: ServiceOptions,
    diary: Diary,
    random: Random,
    // Last, so that the directory outlives the service that writes into it.
    dir: TempDir,
}

impl Sale {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = ServiceOptions::new(dir.path());
        let service = Service::start(&options).await.unwrap();
        stock(service.address()).await;
        let (diary, random) = (Diary::default(), Random::from_env());
        Self { service, options, diary, random, dir }
    }

    /// A few hundred calls of some shoppers at `address`, each one after the other. With
    /// settlements they also end some of what they hold.
    async fn sell(&mut self, address: SocketAddr, settles: bool) {
        let mut shoppers = JoinSet::new();
        for _ in 0..SHOPPERS {
            let (diary, random) = (self.diary.clone(), self.random.split());
            shoppers.spawn(shop(Shop::at(address), diary, random, settles));
        }
        shoppers.join_all().await;
    }

    async fn restart(&mut self, between: impl FnOnce(&Path)) {
        self.service.process.stop().await.unwrap();
        between(self.dir.path());
        self.service = Service::start(&self.options).await.unwrap();
    }

    async fn verdict(&self, address: SocketAddr) -> Verdict {
        verdict(address, self.diary.records(), None).await
    }
}

async fn stock(service: SocketAddr) {
    for (sku, quantity) in SKUS.into_iter().zip([100, 100_000]) {
        assert_eq!(Shop::at(service).set_stock(sku, quantity).await.unwrap().status, 200);
    }
}

async fn verdict(
    service: SocketAddr,
    mut records: Vec<Record>,
    limits: Option<&Limits>,
) -> Verdict {
    let evidence = Witness::at(service).gather(&SKUS, &mut records).await.unwrap();
    let case = Case::new(&records, &evidence.reservations, &evidence.skus);
    let verdict = match limits {
        Some(limits) => judge(&case.limits(limits)),
        None => judge(&case),
    };
    println!("{verdict}");
    verdict
}

async fn shop(shop: Shop, diary: Diary, mut random: Random, settles: bool) {
    for _ in 0..ORDERS_EACH {
        let is_keyed = random.below(2) == 0;
        let order = Call::Reserve(Order {
            sku: SKUS[random.below(2) as usize].to_owned(),
            quantity: 1 + random.below(2) as u32,
            customer: format!("shopper-{}", random.below(1000)),
            key: is_keyed.then(|| format!("{:016x}", random.next_u64())),
        });
        let mut answer = diary.call(&shop, order.clone()).await;
        if is_keyed && random.below(3) == 0 {
            answer = diary.call(&shop, order).await;
        }
        let how = match random.below(3) {
            0 => Settlement::Confirm,
            1 => Settlement::Release,
            _ => continue,
        };
        if let Answer::Held { id, .. } = answer
            && settles
        {
            diary.call(&shop, Call::Settle { id, how }).await;
        }
    }
}

/// There is a violation of this check that says these words.
fn assert_found(verdict: &Verdict, check: Check, words: &str) {
    let is_found = verdict.of(check).any(|violation| violation.what.contains(words));
    assert!(is_found, "{words:?}: {verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_truth_is_acquitted() {
    let mut sale = Sale::open().await;
    let liar = Liar::start(sale.service.address(), Lie::None).await;
    sale.sell(liar.address(), true).await;
    sale.restart(|_| ()).await;
    sale.sell(liar.address(), true).await;
    let verdict = sale.verdict(liar.address()).await;
    assert!(verdict.holds(), "{verdict}");
    for check in Check::ALL.into_iter().filter(|check| !check.is_of_edge()) {
        assert!(verdict.checked.count(check) > 0, "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_journal_entry_is_found_out() {
    let mut sale = Sale::open().await;
    let liar = Liar::start(sale.service.address(), Lie::DropEntry).await;
    sale.sell(liar.address(), true).await;
    let verdict = sale.verdict(liar.address()).await;
    assert_found(&verdict, Check::Journal, "follows entry");
    assert!(verdict.violations.iter().all(|v| v.check == Check::Journal), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_applied_twice_is_found_out() {
    let mut sale = Sale::open().await;
    let liar = Liar::start(sale.service.address(), Lie::ApplyTwice).await;
    sale.sell(liar.address(), true).await;
    let verdict = sale.verdict(liar.address()).await;
    assert_found(&verdict, Check::Accounts, "no client was told of");
    assert!(verdict.violations.iter().all(|v| v.check == Check::Accounts), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_orders_swapped_are_found_out() {
    let mut sale = Sale::open().await;
    let liar = Liar::start(sale.service.address(), Lie::SwapOrders).await;
    sale.sell(liar.address(), false).await;
    let verdict = sale.verdict(liar.address()).await;
    assert_found(&verdict, Check::Order, "was asked for, yet comes after it");
    assert!(verdict.violations.iter().all(|v| v.check == Check::Order), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_lost_on_restart_are_found_out() {
    let mut sale = Sale::open().await;
    sale.sell(sale.service.address(), true).await;
    sale.restart(|dir| copy_dir(&dir.join("data"), &dir.join("yesterday"))).await;
    sale.sell(sale.service.address(), true).await;
    let go_back = |dir: &Path| {
        fs::remove_dir_all(dir.join("data")).unwrap();
        copy_dir(&dir.join("yesterday"), &dir.join("data"));
    };
    sale.restart(go_back).await;
    let verdict = sale.verdict(sale.service.address()).await;
    assert_found(&verdict, Check::Outcomes, "knows nothing of it any more");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

/// The edge is configured with one limit, and the verdict is told another.
async fn verdict_on_limit(configured: Limit, told: Limit) -> Verdict {
    let shipped = EnvoyConfig::shipped().unwrap();
    let mut filter = shipped.filter_settings().unwrap();
    filter["default_limit"] = json!(configured);
    filter["limits"] = json!({});
    let site = Site::start("", shipped.filter_configuration(&filter)).await.unwrap();
    stock(site.service.address()).await;
    let (diary, mut random, mut shoppers) = (Diary::default(), Random::from_env(), JoinSet::new());
    for _ in 0..SHOPPERS {
        shoppers.spawn(shop(site.front(), diary.clone(), random.split(), true));
    }
    shoppers.join_all().await;
    let limits = Limits::all(told);
    verdict(site.service.address(), diary.records(), Some(&limits)).await
}

const LOW: Limit = Limit { per_second: 20, burst: 10 };
const HIGH: Limit = Limit { per_second: 2_000, burst: 1_000 };

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_within_its_limit_is_acquitted() {
    let verdict = verdict_on_limit(LOW, LOW).await;
    assert!(verdict.holds(), "{verdict}");
    assert!(verdict.checked.count(Check::Limit) > 0, "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_limit_is_found_out() {
    let verdict = verdict_on_limit(HIGH, LOW).await;
    assert_found(&verdict, Check::Limit, "where 20/s with a burst of 10 allow");
    assert!(verdict.violations.iter().all(|v| v.check == Check::Limit), "{verdict}");
}
