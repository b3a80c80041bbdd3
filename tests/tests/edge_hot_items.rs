//! Hot items at the edge: what the service says of them counts there within a moment, and goes on counting
//! for a while when the service is gone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cartgate_tests::client::exchange;
use cartgate_tests::envoy::REPORTS;
use cartgate_tests::flood::{check_never_above, check_used, flood};
use cartgate_tests::http1::Message;
use cartgate_tests::process::eventually;
use cartgate_tests::tokens::{self, create};
use cartgate_tests::{EnvoyConfig, Order, Site, client, filter};
use serde_json::{Value, json};

const SKU: &str = "SNEAKER";

/// What no test comes up to.
const NEVER: filter::Limit = (100_000, 100_000);

/// An Envoy that answers 200 to what its filter admits, and a service that it reports to.
async fn site(settings: &str, default: filter::Limit, workers: u32) -> Site {
    let mut filter = filter::configuration(default, &[]);
    filter["service"] = json!({ "cluster": REPORTS });
    filter["client_limits"] =
        json!([{"client": {"header": "x-client"}, "limit": {"per_second": 1000, "burst": 1000}}]);
    let config = EnvoyConfig::shipped().unwrap().answer_everything(200);
    let site = Site::start_with(settings, config.filter_configuration(&filter), workers).await;
    let site = site.unwrap();
    let stock = site.back().set_stock(SKU, 10).await.unwrap();
    assert_eq!(stock.status, 200, "{stock:?}");
    site
}

/// A service that asks everybody who they are lets its edge in, and another without the token not.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_shows_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let (own, read) = (create(&file, "edge", "edge"), create(&file, "shop", "read"));
    for (token, is_let_in) in [(own, true), (read.clone(), false)] {
        let mut filter = filter::configuration(NEVER, &[]);
        filter["service"] = json!({"cluster": REPORTS, "token": token});
        let config = EnvoyConfig::shipped().unwrap().answer_everything(200);
        let config = config.filter_configuration(&filter);
        let site = Site::start_with(&tokens::setting(&file), config, 1).await.unwrap();
        let status = if is_let_in { "200" } else { "403" };
        let counted = format!("route=\"/v1/edges/{{edge}}/reports\",status=\"{status}\"");
        eventually("the report to be answered", || async {
            let url = site.service.url("/metrics");
            let metrics = client::http().get(url).bearer_auth(&read).send().await.unwrap();
            metrics.text().await.unwrap().contains(&counted).then_some(())
        })
        .await;
    }
}

async fn register(site: &Site, item: Value) {
    let url = site.service.url(&format!("/v1/hot-items/{SKU}"));
    let answer = client::http().put(url).json(&item).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

/// Waits until the edge has said that it knows of the item.
async fn until_known(site: &Site) {
    eventually("the edge knows the item", || async {
        let item = site.back().get(&format!("/v1/hot-items/{SKU}")).await.unwrap();
        let edges = &item.body["edges"];
        (edges["reporting"] == 1 && edges["acknowledged"] == 1).then_some(())
    })
    .await;
}

/// Asks for a unit, with more headers.
async fn ask(site: &Site, headers: &str) -> Message {
    let request = format!(
        "POST /by-query?sku={SKU} HTTP/1.1\r\nhost: shop\r\n{headers}content-length: 0\r\n\r\n"
    );
    exchange(site.envoy.address(), &request).await
}

/// Asks until the answer has this status.
async fn until(site: &Site, status: u16) -> Message {
    eventually(&format!("an answer {status}"), || async {
        let answer = ask(site, "").await;
        (answer.status() == status).then_some(answer)
    })
    .await
}

fn problem(answer: &Message) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    answer.json()
}

fn kind(slug: &str) -> Value {
    format!("urn:cartgate:problem:{slug}").into()
}

/// The edge's gauge: 1, it hears of the service; 2, what it heard is good yet; 3, it hears nothing.
async fn until_contact(site: &Site, contact: u64) {
    eventually(&format!("contact {contact}"), || async {
        let now = site.envoy.stat(|name| name.ends_with("cartgate_contact")).await;
        (now == contact).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_answered_at_the_edge() {
    let site = site("", NEVER, 2).await;
    until(&site, 200).await;
    register(&site, json!({"paused": true})).await;
    let paused = until(&site, 503).await;
    assert_eq!(problem(&paused)["type"], kind("paused"));
    assert!(paused.header("retry-after").is_some());

    register(&site, json!({"opens_at": "2999-01-01T00:00:00Z"})).await;
    let closed = until(&site, 403).await;
    assert_eq!(problem(&closed)["type"], kind("not-open-yet"));
    assert!(problem(&closed)["opens_in_ms"].as_u64() > Some(1_000_000_000));

    register(&site, json!({"closes_at": "2020-01-01T00:00:00Z"})).await;
    eventually("the sale is over", || async {
        (problem(&ask(&site, "").await)["type"] == kind("sale-closed")).then_some(())
    })
    .await;

    register(&site, json!({})).await;
    until(&site, 200).await;
    let removed = site.back().demote(SKU).await.unwrap();
    assert_eq!(removed.status, 204);
    until(&site, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_out_is_answered_at_the_edge_until_it_is_back() {
    let site = site("", NEVER, 2).await;
    register(&site, json!({})).await;
    let order = Order { quantity: 10, ..Order::one(SKU) };
    let held = site.back().reserve(&order).await.unwrap();
    assert_eq!(held.status, 201, "{held:?}");
    let sold_out = until(&site, 409).await;
    assert_eq!(problem(&sold_out)["type"], kind("sold-out"));
    assert!(problem(&sold_out)["recheck_in_ms"].as_u64() > Some(0));
    assert!(sold_out.header("retry-after").is_some());
    // An answer may have been lost: whoever has a key can ask for it again.
    assert_eq!(ask(&site, "idempotency-key: 1\r\n").await.status(), 200);
    let released = site.back().settle(held.reservation_id(), "release").await.unwrap();
    assert_eq!(released.status, 200);
    until(&site, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleets_limit_is_kept_and_used_by_all_threads() {
    let (limit, lasts) = ((300, 300), Duration::from_secs(6));
    let site = site("", NEVER, 2).await;
    register(&site, json!({"limit": {"per_second": limit.0, "burst": limit.1}})).await;
    until_known(&site).await;
    // A service that has just been started learns first, and grants nothing.
    until(&site, 200).await;
    let mut admitted = flood(site.envoy.address(), |_| SKU.to_owned(), 16, lasts).await;
    check_never_above(limit, &mut admitted);
    // Nobody asks after that, however long the last answers take.
    check_used(0.95, (limit.0, 0), lasts, &admitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_has_a_limit_of_its_own_for_each_client() {
    let site = site("", NEVER, 1).await;
    register(&site, json!({"client_limit": {"per_second": 1, "burst": 3}})).await;
    eventually("the client's limit", || async {
        let answer = ask(&site, "x-client: somebody\r\n").await;
        (answer.status() == 429)
            .then(|| assert_eq!(problem(&answer)["type"], kind("client-over-limit")))
    })
    .await;
    assert_eq!(ask(&site, "x-client: another\r\n").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_service_the_edge_goes_on_with_what_it_heard_and_then_by_itself() {
    let limit = (200, 200);
    let site_settings = "[edges]\nttl_ms = 2_000\n";
    let mut site = site(site_settings, NEVER, 2).await;
    register(&site, json!({"limit": {"per_second": limit.0, "burst": limit.1}})).await;
    until_known(&site).await;
    until_contact(&site, 1).await;
    site.service.process.kill().await.unwrap();
    until_contact(&site, 2).await;
    until_contact(&site, 3).await;
    // The only edge that there is: all of the limit is its safe share.
    let lasts = Duration::from_secs(3);
    let mut admitted = flood(site.envoy.address(), |_| SKU.to_owned(), 16, lasts).await;
    check_never_above(limit, &mut admitted);
    check_used(0.95, (limit.0, 0), lasts, &admitted);
    let failed = site.envoy.stat(|name| name.ends_with("cartgate_reports_failed")).await;
    assert!((2..100).contains(&failed), "{failed} reports were in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_nobody_registered_is_noticed() {
    let settings = "[detection]\nper_s = 100\nlimit = { per_second = 50, burst = 50 }\n";
    let site = site(settings, NEVER, 2).await;
    let noticed = async {
        eventually("the item is noticed", || async {
            let item = site.back().get(&format!("/v1/hot-items/{SKU}")).await.unwrap();
            (item.status == 200).then_some(item)
        })
        .await
    };
    let asking = flood(site.envoy.address(), |_| SKU.to_owned(), 16, Duration::from_secs(4));
    let (item, mut admitted) = tokio::join!(noticed, asking);
    assert_eq!(item.body["origin"], "detected", "{item:?}");
    // From the second half on it is limited.
    let half = admitted.len();
    assert!(half > 0);
    until(&site, 429).await;
    let limited = flood(site.envoy.address(), |_| SKU.to_owned(), 16, Duration::from_secs(2));
    admitted = limited.await;
    check_never_above((50, 50), &mut admitted);
}
