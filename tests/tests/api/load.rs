//! Lanes that are slow or full, callers that have no patience, and a stop in the midst of them.

use cartgate_tests::Order;
use cartgate_tests::client::RawConnection;
use cartgate_tests::process::eventually;
use tokio::task::JoinSet;

use super::bad_input::reserve_form;
use super::{SKU, metrics, service};

/// One lane that decides one command a second, with room for two more.
const NARROW: &str =
    "wait_ms = 60000\nunclaimed_ms = 61000\n[lanes]\nreserves_per_s = 1\nreserve_queue_max = 2\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_says_so_at_once() {
    let (_dir, _service, shop) = service(NARROW).await;
    let mut shoppers = JoinSet::new();
    for _ in 0..8 {
        let shop = shop.clone();
        shoppers.spawn(async move { shop.reserve(&Order::one(SKU)).await.unwrap() });
    }
    let answers = shoppers.join_all().await;
    let full: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(full.len() >= 4, "{answers:?}");
    for answer in full {
        assert_eq!(answer.problem(), "lane-full");
        let retry_after: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=4).contains(&retry_after));
    }
}

/// Retries are heaviest when lanes are full: whoever has an answer already gets it again at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_needs_no_room_in_a_full_lane() {
    let (_dir, _service, shop) = service(NARROW).await;
    let order = Order { key: Some("k".to_owned()), ..Order::one(SKU) };
    let first = shop.reserve(&order).await.unwrap();
    assert_eq!(first.status, 201);
    let mut waiting = JoinSet::new();
    loop {
        let another = shop.clone();
        waiting.spawn(async move { another.reserve(&Order::one(SKU)).await });
        if shop.reserve(&Order::one(SKU)).await.unwrap().status == 503 {
            break;
        }
    }
    let again = shop.reserve(&order).await.unwrap();
    assert_eq!((again.status, &again.body), (201, &first.body));
}

/// It takes no other hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_needs_no_room_for_a_hold() {
    let (_dir, _service, shop) = service("holds_max = 1\n").await;
    let order = Order { key: Some("k".to_owned()), ..Order::one(SKU) };
    let first = shop.reserve(&order).await.unwrap();
    assert_eq!(first.status, 201);
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 503);
    let again = shop.reserve(&order).await.unwrap();
    assert_eq!((again.status, &again.body), (201, &first.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_takes_nothing() {
    let (_dir, service, shop) = service(NARROW).await;
    // The first is decided at once, and the next only after a second: enough to hang up in.
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let mut impatient = RawConnection::open(service.address()).await;
    impatient.send(reserve_form("sku=SNEAKER-1&quantity=5")).await;
    let queued = async || {
        let metrics = metrics(&service).await;
        let depths = metrics.lines().filter(|line| line.starts_with("cartgate_lane_depth{"));
        depths.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>()
    };
    eventually("the order in its lane", || async { (queued().await == 1).then_some(()) }).await;
    drop(impatient);
    eventually("the lane empty", || async { (queued().await == 0).then_some(()) }).await;
    let after = shop.reserve(&Order::one(SKU)).await.unwrap();
    assert_eq!(after.status, 201);
    assert_eq!(shop.stock(SKU).await.unwrap().body["held"], 2);
    let metrics = metrics(&service).await;
    assert!(metrics.contains("cartgate_hung_up_total 1\n"), "{metrics}");
    assert!(
        metrics.contains(r#"route="/v1/reservations",status="499",problem=""} 1"#),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_those_who_wait() {
    let (_dir, mut service, shop) = service("wait_ms = 500\n[lanes]\nreserves_per_s = 1\n").await;
    let mut shoppers = JoinSet::new();
    for _ in 0..5 {
        let shop = shop.clone();
        shoppers.spawn(async move { shop.reserve(&Order::one(SKU)).await.unwrap().status });
    }
    let first = shoppers.join_next().await.unwrap().unwrap();
    assert_eq!(first, 201);
    let status = service.process.stop().await.unwrap();
    assert!(status.success(), "{status}");
    let rest = shoppers.join_all().await;
    assert!(rest.iter().all(|status| [201, 202].contains(status)), "{rest:?}");
    assert!(rest.contains(&202), "{rest:?}");
}
