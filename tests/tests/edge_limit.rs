//! The limit, exact under load: two Envoy workers share one count per SKU, admit never more than
//! `limit * window + burst` over any window, and nearly all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use cartgate_tests::client::RawConnection;
use cartgate_tests::filter::{self, Limit};
use cartgate_tests::{Edge, EnvoyConfig, client};
use serde_json::Value;
use tokio::task::JoinSet;

/// How long a flood lasts.
const DURATION: Duration = Duration::from_secs(4);

/// A request that was admitted, at some moment between the two.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    sent: Instant,
    answered: Instant,
}

async fn two_workers(configuration: &Value) -> Edge {
    let config = EnvoyConfig::shipped().unwrap().route_everything();
    Edge::start(config.filter_configuration(configuration), 2).await.unwrap()
}

/// Asks for `skus` in turn, on `connections` kept alive, for [`DURATION`]. Gives the requests that
/// were admitted.
async fn flood(edge: &Edge, skus: fn(u64) -> String, connections: u64) -> Vec<Admitted> {
    let mut clients = JoinSet::new();
    let until = Instant::now() + DURATION;
    for connection in 0..connections {
        let url = edge.envoy.url("/by-query?sku=");
        clients.spawn(async move {
            // Its own client: its own connection, for the kernel to give to one of the workers.
            let client = client::http();
            let mut admitted = Vec::new();
            let mut n = connection;
            while Instant::now() < until {
                let sent = Instant::now();
                let answer = client.post(format!("{url}{}", skus(n))).send().await.unwrap();
                if answer.status() == 200 {
                    admitted.push(Admitted { sent, answered: Instant::now() });
                } else {
                    assert_eq!(answer.status(), 429);
                }
                answer.bytes().await.unwrap();
                n += connections;
            }
            admitted
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

/// What a limit allows in a window.
fn allowed((per_second, burst): Limit, window: Duration) -> f64 {
    f64::from(per_second) * window.as_secs_f64() + f64::from(burst)
}

/// In no window was more admitted than the limit allows; only what was both sent and answered
/// within the window is certain to have been admitted there.
fn check_never_above(limit: Limit, admitted: &mut [Admitted]) {
    admitted.sort_by_key(|request| request.answered);
    for from in admitted.iter().map(|request| request.sent) {
        let certain = admitted.iter().filter(|request| request.sent >= from);
        for (before, request) in certain.enumerate() {
            let (count, window) = (before + 1, request.answered - from);
            assert!(count as f64 <= allowed(limit, window), "{count} admitted within {window:?}");
        }
    }
}

/// At least nine tenths of what the limit allows was admitted.
fn check_nearly_all(limit: Limit, admitted: &[Admitted]) {
    let enough = 0.9 * allowed(limit, DURATION);
    assert!(admitted.len() as f64 >= enough, "{} admitted, not {enough}", admitted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_one_limit() {
    let limits = filter::configuration((1, 1), &[("HOT", (200, 20))]);
    let edge = two_workers(&limits).await;
    let mut admitted = flood(&edge, |_| "HOT".to_owned(), 32).await;
    for worker in ["worker_0", "worker_1"] {
        let connections = edge
            .envoy
            .stat(|name| name.contains(worker) && name.ends_with("downstream_cx_total"))
            .await;
        assert!(connections > 0, "no connection went to {worker}: the test proves nothing");
    }
    check_never_above((200, 20), &mut admitted);
    check_nearly_all((200, 20), &admitted);
    assert_eq!(edge.upstream.seen().requests.len(), admitted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sku_without_its_own_limit_has_the_default() {
    let limits = filter::configuration((100, 10), &[("HOT", (1, 1))]);
    let edge = two_workers(&limits).await;
    let mut admitted = flood(&edge, |_| "OTHER".to_owned(), 16).await;
    check_never_above((100, 10), &mut admitted);
    check_nearly_all((100, 10), &admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_skus_lift_no_limit() {
    // One set of eight slots: nearly every SKU meets others in it.
    let mut limits = filter::configuration((20, 5), &[("HOT", (50, 5))]);
    limits["slots"] = serde_json::json!({ "sets_count": 1 });
    let edge = two_workers(&limits).await;
    let (mut hot, mut usual, invented) = tokio::join!(
        flood(&edge, |_| "HOT".to_owned(), 8),
        flood(&edge, |_| "USUAL".to_owned(), 8),
        flood(&edge, |n| format!("INVENTED-{n}"), 8),
    );
    check_never_above((50, 5), &mut hot);
    check_nearly_all((50, 5), &hot);
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
    configuration["slots"] = serde_json::json!({ "sets_count": 65_536 });
    let edge = two_workers(&configuration).await;
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
