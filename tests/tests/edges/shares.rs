//! Shares of a limit: never more than it together, and all of it.

use cartgate_tests::process::eventually;
use cartgate_tests::{Answer, Service};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{SKU, call, hot_item, options, register, service};
use cartgate_tests::edges::{Edge, report, total};

/// Lets the edges report until it is so, and sees to it that they never have more than the limit.
async fn until(edges: &mut [Edge], service: &Service, limit: u32, is_so: impl Fn(&[u32]) -> bool) {
    let edges = Mutex::new(edges);
    eventually("the shares", || async {
        let mut edges = edges.lock().await;
        report(&mut edges, service.address()).await;
        let held: Vec<_> = edges.iter().map(|edge| edge.share(SKU)).collect();
        assert!(held.iter().sum::<u32>() <= limit, "{held:?}");
        is_so(&held).then_some(())
    })
    .await;
}

fn limited(per_second: u32) -> Value {
    json!({"limit": {"per_second": per_second, "burst": per_second}})
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_follow_demand_and_are_the_limit_together() {
    let (_dir, service, _shop) = service("", 10).await;
    assert_eq!(register(&service, SKU, limited(100)).await.status, 201);
    let mut edges = Edge::fleet(3);
    until(&mut edges, &service, 100, |held| held.iter().sum::<u32>() == 100).await;
    edges[0].ask(SKU, 500);
    until(&mut edges, &service, 100, |held| held == [100, 0, 0]).await;
    edges[1].ask(SKU, 500);
    edges[2].ask(SKU, 10);
    until(&mut edges, &service, 100, |held| held == [45, 45, 10]).await;

    let edges_view = async || hot_item(&service, SKU).await.body["edges"].clone();
    let expected = json!({
        "reporting": 3, "acknowledged": 3, "demand_per_s": 1_010, "limit_per_s": 100
    });
    assert_eq!(edges_view().await, expected);
    let fleet = call(&service, Method::GET, "/v1/edges", Value::Null).await.body;
    let part = |name: &str| fleet[name].clone();
    assert_eq!(["edges", "behind", "hot_items"].map(part), [json!(3), json!(0), json!(1)]);

    // Another limit.
    register(&service, SKU, limited(30)).await;
    until(&mut edges, &service, 100, |held| held.iter().sum::<u32>() == 30).await;
    // None: each has its own again.
    register(&service, SKU, json!({})).await;
    until(&mut edges, &service, 30, |held| held == [0, 0, 0]).await;
    assert_eq!(edges[0].item(SKU).unwrap().limit, None);
    assert_eq!(edges_view().await.get("limit_per_s"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_gone_leaves_its_share() {
    let (_dir, service, _shop) = service("", 10).await;
    register(&service, SKU, limited(100)).await;
    let mut edges = Edge::fleet(2);
    edges.iter_mut().for_each(|edge| edge.ask(SKU, 500));
    until(&mut edges, &service, 100, |held| held == [50, 50]).await;
    let gone = edges.pop().unwrap();
    let all = Mutex::new((&mut edges, gone));
    eventually("the share of the one that is gone", || async {
        let (edges, gone) = &mut *all.lock().await;
        report(edges, service.address()).await;
        assert!(total(edges, SKU) + gone.share(SKU) <= 100);
        (edges[0].share(SKU) == 100).then_some(())
    })
    .await;
}

/// What it was killed with is in the edges: they keep it, and the sum stays what it was to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_killed_learns_what_edges_have() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path()).settings("[edges]\nttl_ms = 8_000\nreport_every_ms = 100");
    let mut service = Service::start(&options).await.unwrap();
    register(&service, SKU, limited(100)).await;
    let mut edges = Edge::fleet(3);
    edges[..2].iter_mut().for_each(|edge| edge.ask(SKU, 500));
    until(&mut edges, &service, 100, |held| held == [50, 50, 0]).await;
    let before = edges[0].reporter.table().version;
    service.process.kill().await.unwrap();
    let service = Service::start(&options).await.unwrap();
    edges[2].ask(SKU, 500);
    // Whatever the third asks for, it gets nothing while others may have it.
    let known = |edge: &Edge| edge.reporter.table().version;
    let edges = Mutex::new(edges);
    eventually("news of the new incarnation", || async {
        let mut edges = edges.lock().await;
        report(&mut edges, service.address()).await;
        let held: Vec<_> = edges.iter().map(|edge| edge.share(SKU)).collect();
        assert_eq!(held, [50, 50, 0]);
        edges.iter().all(|edge| known(edge) != before).then_some(())
    })
    .await;
    let mut edges = edges.into_inner();
    until(&mut edges, &service, 100, |held| held.iter().all(|share| *share >= 33)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_refused_one_by_one() {
    let (_dir, service, _shop) = service("[edges]\nedges_max = 2", 10).await;
    let mut edges = Edge::fleet(3);
    let mut statuses = Vec::new();
    for edge in &mut edges {
        statuses.push(edge.report(service.address()).await);
    }
    assert_eq!(statuses, [Some(200), Some(200), Some(503)]);
    // Each number counts once.
    let report = |number| {
        json!({"number": number, "known": null, "holds": null, "is_all": false,
                                 "items": [], "over_ms": 0, "heavy": []})
    };
    let post = async |edge: &str, body: Value| {
        call(&service, Method::POST, &format!("/v1/edges/{edge}/reports"), body).await
    };
    let first = "0000000000000001";
    assert_eq!(post(first, report(7)).await.status, 200);
    let problem = |answer: &Answer| (answer.status, answer.problem().to_owned());
    let again = post(first, report(7)).await;
    assert_eq!(problem(&again), (409, "report-outdated".into()));
    assert_eq!(again.body["taken"], 7);
    let many = post("00000000000000ff", report(1)).await;
    assert_eq!(problem(&many), (503, "unavailable".into()));
    assert!(many.header("retry-after").is_some());
    for (edge, body) in [
        ("1", report(8)),
        ("000000000000000g", report(8)),
        ("+000000000000001", report(8)),
        (first, json!({"number": 8})),
        (first, json!([])),
    ] {
        assert_eq!(problem(&post(edge, body).await), (400, "invalid-request".into()), "{edge}");
    }
    // Others have 64 KiB.
    let mut large = report(9);
    let heavy = json!({"sku": "A".repeat(64), "units": 1});
    large["heavy"] = Value::Array(vec![heavy.clone(); 5_000]);
    assert_eq!(post(first, large.clone()).await.status, 200);
    large["heavy"] = Value::Array(vec![heavy; 30_000]);
    assert_eq!(problem(&post(first, large).await), (413, "body-too-large".into()));
    let counted = super::metrics(&service).await;
    for expected in [
        "cartgate_edge_reports_total{outcome=\"answered\"} 4",
        "cartgate_edge_reports_total{outcome=\"outdated\"} 1",
        "cartgate_edge_reports_total{outcome=\"too-many-edges\"} 2",
    ] {
        assert!(counted.contains(expected), "{expected}: {counted}");
    }
    eventually("the number of edges", || async {
        super::metrics(&service).await.contains("cartgate_edges 2").then_some(())
    })
    .await;
    assert_eq!(edges[0].item(SKU), None);
}
