//! The limit, exact under load: Envoy's workers share one count per SKU, admit never more than
//! `limit * window + burst` over any window, and nearly all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use cartgate_tests::client::RawConnection;
use cartgate_tests::flood::{check_never_above, check_used, flood};
use cartgate_tests::{Edge, EnvoyConfig, filter};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// How long most floods last; the long ones have windows of ten seconds in them.
const SHORT: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(11);

/// One flood at a time: two would take each other's time, and ask for less than the limits.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

async fn workers(count: u32, configuration: &Value) -> Edge {
    let config = EnvoyConfig::shipped().unwrap().route_everything();
    Edge::start(config.filter_configuration(configuration), count).await.unwrap()
}

/// How many of the edge's workers have connections.
async fn busy_workers(edge: &Edge, count: u32) -> usize {
    let mut busy = 0;
    for worker in 0..count {
        let (worker, total) = (format!("worker_{worker}."), "downstream_cx_total");
        let is_its = |name: &str| name.contains(&worker) && name.ends_with(total);
        busy += usize::from(edge.envoy.stat(is_its).await > 0);
    }
    busy
}

/// Everybody asks for one SKU, all the time, on every worker.
async fn everybody_asks_for_one_sku(count: u32) {
    let _alone = alone().await;
    let limit = (600, 200);
    let edge = workers(count, &filter::configuration((1, 1), &[("HOT", limit)])).await;
    let began = Instant::now();
    let mut admitted = flood(edge.envoy.address(), |_| "HOT".to_owned(), 32, LONG).await;
    let lasted = began.elapsed();
    let busy = busy_workers(&edge, count).await;
    assert_eq!(busy, count as usize, "not every worker was asked: the test proves nothing");
    check_never_above(limit, &mut admitted);
    check_used(0.99, limit, lasted, &admitted);
    assert_eq!(edge.upstream.seen().requests.len(), admitted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_admits_the_limit() {
    everybody_asks_for_one_sku(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_one_limit() {
    everybody_asks_for_one_sku(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_share_one_limit() {
    everybody_asks_for_one_sku(4).await;
}

/// One of four workers is asked, and the others leave it what is theirs.
#[tokio::test(flavor = "multi_thread")]
async fn one_worker_of_four_has_nearly_all_of_the_limit() {
    let _alone = alone().await;
    let limit = (400, 100);
    let edge = workers(4, &filter::configuration((1, 1), &[("HOT", limit)])).await;
    let began = Instant::now();
    // A connection stays with its worker.
    let mut admitted = flood(edge.envoy.address(), |_| "HOT".to_owned(), 1, SHORT).await;
    let lasted = began.elapsed();
    assert_eq!(busy_workers(&edge, 4).await, 1);
    check_never_above(limit, &mut admitted);
    check_used(0.95, limit, lasted, &admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn low_limits_are_exact() {
    let _alone = alone().await;
    let limits = [("ONE", (1, 1)), ("FIVE", (5, 5))];
    let edge = workers(2, &filter::configuration((1, 1), &limits)).await;
    let address = edge.envoy.address();
    let began = Instant::now();
    let (mut one, mut five) = tokio::join!(
        flood(address, |_| "ONE".to_owned(), 4, LONG),
        flood(address, |_| "FIVE".to_owned(), 4, LONG),
    );
    let seconds = began.elapsed().as_secs();
    for (admitted, (_, limit)) in [(&mut one, limits[0]), (&mut five, limits[1])] {
        check_never_above(limit, admitted);
        // To the unit: the burst at once, and what came since. The last may have come as all went.
        let least = u64::from(limit.0) * seconds + u64::from(limit.1) - 1;
        assert!(admitted.len() as u64 >= least, "{} of {least}", admitted.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sku_without_its_own_limit_has_the_default() {
    let _alone = alone().await;
    let limits = filter::configuration((100, 10), &[("HOT", (1, 1))]);
    let edge = workers(2, &limits).await;
    let mut admitted = flood(edge.envoy.address(), |_| "OTHER".to_owned(), 16, SHORT).await;
    check_never_above((100, 10), &mut admitted);
    check_used(0.97, (100, 10), SHORT, &admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_skus_lift_no_limit() {
    let _alone = alone().await;
    // One set of eight slots: nearly every SKU meets others in it.
    let mut limits = filter::configuration((20, 5), &[("HOT", (50, 5))]);
    limits["slots"] = json!({ "sets_count": 1 });
    let edge = workers(2, &limits).await;
    let address = edge.envoy.address();
    let (mut hot, mut usual, invented) = tokio::join!(
        flood(address, |_| "HOT".to_owned(), 8, SHORT),
        flood(address, |_| "USUAL".to_owned(), 8, SHORT),
        flood(address, |n| format!("INVENTED-{n}"), 8, SHORT),
    );
    check_never_above((50, 5), &mut hot);
    check_used(0.97, (50, 5), SHORT, &hot);
    // A SKU that meets others may get less than its limit, but never more.
    check_never_above((20, 5), &mut usual);
    assert!(!invented.is_empty());
}

/// Two workers that find nothing stored under a key must not both create it. Each SKU is asked for
/// twice, on two connections that were sent to one after the other; whether the two meet in the few
/// microseconds that matter is luck, so there are thousands of them.
#[tokio::test(flavor = "multi_thread")]
async fn two_first_requests_for_a_sku_are_not_both_admitted() {
    const WAVES: usize = 1200;
    const SKUS: usize = 8;
    let sku = |wave: usize, n: usize| format!("RACED-{}", wave * SKUS + n);
    // The first half of them is listed.
    let listed: Vec<_> = (0..WAVES * SKUS / 2).map(|n| sku(0, n)).collect();
    let limits: Vec<_> = listed.iter().map(|sku| (sku.as_str(), filter::SLOW)).collect();
    let mut configuration = filter::configuration(filter::SLOW, &limits);
    // So many that no set is ever full.
    configuration["slots"] = json!({ "sets_count": 65_536 });
    let edge = workers(2, &configuration).await;
    let mut connections = Vec::new();
    for _ in 0..2 * SKUS {
        connections.push(RawConnection::open(edge.envoy.address()).await);
    }
    for wave in 0..WAVES {
        for (n, connection) in connections.iter_mut().enumerate() {
            // The whole burst, which takes 1000 s to come back.
            let query = format!("sku={}&quantity=1000", sku(wave, n / 2));
            let head = "HTTP/1.1\r\nhost: shop\r\ncontent-length: 0";
            connection.send(format!("POST /by-query?{query} {head}\r\n\r\n")).await;
        }
        let mut admitted = [0; SKUS];
        for (n, connection) in connections.iter_mut().enumerate() {
            admitted[n / 2] += u32::from(connection.answer().await.status() == 200);
        }
        assert_eq!(admitted, [1; SKUS], "wave {wave}");
    }
}
