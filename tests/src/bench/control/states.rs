//! How soon edges know that an item is sold out, and whether its sale opens at all of them at once.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::super::figures::Figure;
use super::super::run::Run;
use super::super::statistics::{median, p99};
use super::edges::{EDGES, Fleet};
use super::load::{ask_all, first};
use crate::Order;

/// What is asked at each edge, to see what it says.
const PER_S: f64 = 100.0;

const NO_LIMIT: (u32, u32) = (100_000, 100_000);

const REPEATS: usize = 30;

const OPENINGS: usize = 15;

const GIVE_UP: Duration = Duration::from_secs(10);

pub(super) async fn measure(run: &mut Run) {
    let fleet = Fleet::start(run, "states", "[detection]\nenabled = false\n", NO_LIMIT).await;
    let many = |count| if run.extent.is_smoke { 1 } else { count };
    let (mut sold_out_s, mut back_s, mut skew_s) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..many(REPEATS) {
        let (sold_out, back) = sell(&fleet, &format!("SOLD-{repeat}")).await;
        sold_out_s.push(sold_out);
        back_s.push(back);
    }
    for opening in 0..many(OPENINGS) {
        skew_s.push(open(&fleet, &format!("OPEN-{opening}")).await);
    }
    fleet.stop().await;
    let note = format!(
        "from the answer that sold the last unit to 409 at all four edges; median {:.2} s",
        median(&sold_out_s)
    );
    run.add(Figure::new("soldout_push_s_p99", p99(&sold_out_s), "s").at_most(1.0).note(note));
    let note = format!(
        "from the release of a unit to 200 at all four edges; median {:.2} s",
        median(&back_s)
    );
    run.add(Figure::new("back_push_s_p99", p99(&back_s), "s").at_most(1.0).note(note));
    let note = format!(
        "between the first and the last edge to open, the worst of {}; median {:.3} s",
        skew_s.len(),
        median(&skew_s)
    );
    run.add(Figure::new("open_skew_s", p99(&skew_s), "s").at_most(0.3).note(note));
}

/// Sells the only unit, and gives it back. How long it took until all edges knew either.
async fn sell(fleet: &Fleet, sku: &str) -> (f64, f64) {
    fleet.set_stock(sku, 1).await;
    fleet.register(sku, json!({})).await;
    fleet.until_known(sku).await;
    let held = fleet.shop.reserve(&Order::one(sku)).await.expect("an answer");
    assert_eq!(held.status, 201, "{held:?}");
    let sold_out = until_all_say(fleet, sku, 409).await;
    let released = fleet.shop.settle(held.reservation_id(), "release").await.expect("an answer");
    assert_eq!(released.status, 200, "{released:?}");
    (sold_out, until_all_say(fleet, sku, 200).await)
}

/// Opens a sale. How much later the last edge opens than the first.
async fn open(fleet: &Fleet, sku: &str) -> f64 {
    fleet.set_stock(sku, 1_000).await;
    let opens_at = Timestamp::now() + SignedDuration::from_millis(1_500);
    fleet.register(sku, json!({"opens_at": opens_at.to_string()})).await;
    fleet.until_known(sku).await;
    let is_open = |status| status == 200;
    let told = ask_all(&fleet.addresses(), sku, &[PER_S; EDGES], GIVE_UP, is_open).await;
    assert!(told.iter().all(|told| told[0].1 == 403), "it was closed before");
    let opened: Vec<_> = told.iter().filter_map(|told| first(told, 200)).collect();
    assert_eq!(opened.len(), EDGES, "it opens everywhere");
    let (earliest, latest) = (opened.iter().min().unwrap(), opened.iter().max().unwrap());
    latest.duration_since(*earliest).as_secs_f64()
}

async fn until_all_say(fleet: &Fleet, sku: &str, status: u16) -> f64 {
    let began = Instant::now();
    let is_said = move |said| said == status;
    let told = ask_all(&fleet.addresses(), sku, &[PER_S; EDGES], GIVE_UP, is_said).await;
    let said: Vec<_> = told.iter().filter_map(|told| first(told, status)).collect();
    assert_eq!(said.len(), EDGES, "every edge says {status}");
    said.iter().max().unwrap().duration_since(began).as_secs_f64()
}
