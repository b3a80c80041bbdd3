//! The legacy frontend in Chromium, with scripts switched off: a person types, presses Enter, and
//! reads. Run by `make test-browser`; the pictures go to `target/browser/`, for people to look at.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use axum::http::StatusCode;
use cartgate_tests::browser::Browser;
use cartgate_tests::legacy::Frontend;
use cartgate_tests::process::eventually;
use cartgate_tests::{EnvoyConfig, Order, Site, paths};
use serde_json::json;
use tokio::net::TcpListener;

const SKU: &str = "LIMITED-SNEAKER";
const WINDOW: (u32, u32) = (800, 480);

/// A frontend in front of `edge`, and where browsers find it.
async fn shop(edge: &str) -> String {
    let frontend = Frontend::new(edge.parse().unwrap(), SKU.to_owned()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(frontend.serve(listener));
    url
}

/// The whole chain, with one unit a second for the product, `burst` at once.
async fn site(settings: &str, burst: u32) -> Site {
    let config = EnvoyConfig::shipped().unwrap();
    let mut filter = config.filter_settings().unwrap();
    filter["limits"] = json!({ SKU: { "per_second": 1, "burst": burst } });
    Site::start(settings, config.filter_configuration(&filter)).await.unwrap()
}

/// Fills in the form at `url` as its owner would, and submits it.
async fn order(browser: &mut Browser, url: &str, quantity: &str) {
    browser.visit(url).await;
    // To the customer number; then to the quantity, which selects what stands there.
    browser.tab().await;
    browser.type_text("0042-山田").await;
    browser.tab().await;
    browser.type_text(quantity).await;
    browser.submit().await;
}

async fn assert_reads(browser: &mut Browser, words: &str, picture: &str) {
    let path = paths::repo_root().join("target/browser").join(picture).with_extension("png");
    browser.screenshot(&path).await;
    let html = browser.html().await;
    assert!(html.contains(words), "{words:?} is missing in {html}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: make test-browser"]
async fn held_then_over_the_limit_then_sold_out() {
    // Too few at once for a hot item: its sold-out would reach the edge, and hide the limit.
    let site = site("", 100).await;
    assert_eq!(site.back().set_stock(SKU, 90).await.unwrap().status, 200);
    let url = shop(&site.envoy.url("/")).await;
    let mut browser = Browser::start(WINDOW, "ja").await;
    browser.visit(&url).await;
    assert_reads(&mut browser, "カートに入れる", "product-ja").await;
    order(&mut browser, &url, "90").await;
    assert_reads(&mut browser, "商品を確保しました", "held-ja").await;
    let journal = site.back().journal(SKU).await.unwrap();
    assert_eq!(journal.last().unwrap()["quantity"], 90, "{journal:?}");

    order(&mut browser, &url, "90").await;
    assert_reads(&mut browser, "アクセスが集中しています", "over-limit-ja").await;
    let english = format!("{url}?lang=en");
    order(&mut browser, &english, "90").await;
    assert_reads(&mut browser, "Too many people are asking", "over-limit-en").await;
    order(&mut browser, &english, "1").await;
    assert_reads(&mut browser, "Sorry, it is sold out", "sold-out-en").await;
    order(&mut browser, &url, "1").await;
    assert_reads(&mut browser, "在庫がなくなりました", "sold-out-ja").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: make test-browser"]
async fn a_ticket_and_then_its_outcome() {
    let site = site("wait_ms = 20\n[lanes]\nreserves_per_s = 1\n", 1000).await;
    assert_eq!(site.back().set_stock(SKU, 900).await.unwrap().status, 200);
    let url = shop(&site.envoy.url("/")).await;
    let mut browser = Browser::start(WINDOW, "en").await;
    // A few before us, so that ours waits for some seconds.
    for _ in 0..4 {
        site.back().reserve(&Order::one(SKU)).await.unwrap();
    }
    order(&mut browser, &url, "2").await;
    assert_reads(&mut browser, "You are in the queue", "queued-en").await;
    let shown = browser.html().await;
    let (_, ticket) = shown.split_once("/ticket/").expect("a ticket");
    let path = format!("/v1/tickets/{}", &ticket[..32]);
    eventually("the outcome", || async {
        (site.back().get(&path).await.unwrap().status == 200).then_some(())
    })
    .await;
    // The only button.
    browser.tab().await;
    browser.submit().await;
    assert_reads(&mut browser, "It is reserved for you", "held-en").await;
}

/// By an upstream that pretends: the service has no sale windows yet.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: make test-browser"]
async fn before_the_sale_and_when_nobody_answers() {
    let problem = r#"{"type": "urn:cartgate:problem:not-open-yet", "status": 403}"#;
    let service =
        axum::Router::new().fallback(move || async move { (StatusCode::FORBIDDEN, problem) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = shop(&format!("http://{}", listener.local_addr().unwrap())).await;
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let mut browser = Browser::start(WINDOW, "ja").await;
    order(&mut browser, &url, "1").await;
    assert_reads(&mut browser, "販売開始前です", "not-open-yet-ja").await;
    order(&mut browser, &format!("{url}?lang=en"), "1").await;
    assert_reads(&mut browser, "The sale has not started yet", "not-open-yet-en").await;
    serving.abort();
    // Nobody is there any more, or nobody ever was: the customer reads the same.
    let url = shop("http://127.0.0.1:9").await;
    order(&mut browser, &url, "1").await;
    assert_reads(&mut browser, "ただいま受け付けできません", "try-later-ja").await;
}
