//! The legacy frontend, in front of the real Envoy and the real service: what its customers read.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use cartgate_tests::client;
use cartgate_tests::legacy::Frontend;
use cartgate_tests::process::eventually;
use cartgate_tests::{EnvoyConfig, Site};
use serde_json::json;
use tokio::net::TcpListener;

const SKU: &str = "SNEAKER-1";

/// A product whose limit one order exhausts for a quarter of an hour.
const LIMITED: &str = "LIMITED-SNEAKER";
const LIMIT_BURST: u32 = 1000;

/// The pages, and a browser without a window.
struct Pages {
    client: reqwest::Client,
    url: String,
}

impl Pages {
    /// A frontend in front of `edge`.
    async fn before(edge: &str) -> Self {
        let frontend = Frontend::new(edge.parse().unwrap(), SKU.to_owned()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(frontend.serve(listener));
        Self { client: client::http(), url }
    }

    async fn get(&self, path: &str, accept_language: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.url));
        read(request.header("accept-language", accept_language)).await
    }

    /// Submits the form as a browser does.
    async fn order(&self, sku: &str, quantity: u32, lang: &str) -> String {
        let quantity = quantity.to_string();
        let fields =
            [("sku", sku), ("lang", lang), ("customer_id", "ann"), ("quantity", &quantity)];
        read(self.client.post(format!("{}/order", self.url)).form(&fields)).await
    }
}

async fn read(request: reqwest::RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = ["content-type", "cache-control", "vary"];
    let headers = headers.map(|name| answer.headers()[name].to_str().unwrap().to_owned());
    assert_eq!(headers, ["text/html; charset=utf-8", "no-store", "accept-language"]);
    let page = answer.text().await.unwrap();
    assert!(!page.contains("<script"), "{page}");
    page
}

#[track_caller]
fn assert_says(page: &str, words: &[&str]) {
    for words in words {
        assert!(page.contains(words), "{words:?} is missing in {page}");
    }
}

async fn site(settings: &str, stock: u64) -> (Site, Pages) {
    let config = EnvoyConfig::shipped().unwrap();
    let mut filter = config.filter_settings().unwrap();
    filter["limits"] = json!({ LIMITED: { "per_second": 1, "burst": LIMIT_BURST } });
    let site = Site::start(settings, config.filter_configuration(&filter)).await.unwrap();
    for sku in [SKU, LIMITED] {
        assert_eq!(site.back().set_stock(sku, stock).await.unwrap().status, 200);
    }
    let pages = Pages::before(&site.envoy.url("/")).await;
    (site, pages)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_product_page_is_a_form_in_the_browsers_language() {
    let pages = Pages::before("http://127.0.0.1:9").await;
    let japanese = pages.get("/", "ja-JP,ja;q=0.9,en;q=0.8").await;
    assert_says(&japanese, &[r#"<html lang="ja">"#, "カートに入れる", SKU]);
    let english = pages.get("/?lang=en", "ja").await;
    assert_says(&english, &[r#"<html lang="en">"#, "Add to cart", r#"method="post""#]);
    let nobody_behind = pages.order(SKU, 1, "en").await;
    assert_says(&nobody_behind, &["We cannot take your order just now"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_until_when_then_sold_out() {
    let (site, pages) = site("", 2).await;
    let page = pages.order(SKU, 1, "en").await;
    let journal = site.back().journal(SKU).await.unwrap();
    assert_eq!(journal.last().unwrap()["cause"], "reserve");
    let id = journal.last().unwrap()["reservation_id"].as_str().unwrap().to_owned();
    let hold = site.back().get(&format!("/v1/reservations/{id}")).await.unwrap().body;
    let expires_at: jiff::Timestamp = hold["expires_at"].as_str().unwrap().parse().unwrap();
    assert_says(&page, &["It is reserved for you", &format!("datetime=\"{expires_at}\"")]);
    assert_says(&pages.order(SKU, 1, "ja").await, &["商品を確保しました", "確保期限"]);
    assert_says(&pages.order(SKU, 1, "en").await, &["Sorry, it is sold out"]);
    assert_says(&pages.order(SKU, 1, "ja").await, &["在庫がなくなりました"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_limit_it_stops_and_does_nothing_further() {
    let (site, pages) = site("", 5000).await;
    let within = pages.order(LIMITED, LIMIT_BURST, "en").await;
    assert_says(&within, &["It is reserved for you"]);
    let over = pages.order(LIMITED, LIMIT_BURST, "en").await;
    assert_says(&over, &["Too many people are asking for this product"]);
    for invitation in ["<form", "<button", "<a ", "refresh"] {
        assert!(!over.contains(invitation), "{over}");
    }
    let over = pages.order(LIMITED, LIMIT_BURST, "ja").await;
    assert_says(&over, &["アクセスが集中しています"]);
    // One request from the frontend is one call, whatever its answer; the fourth is to see that
    // those before it are in the log.
    pages.order(SKU, 1, "en").await;
    let log = eventually("the last order in the access log", || async {
        let log = site.envoy.access_log();
        (log.lines().count() >= 4).then_some(log)
    });
    let log = log.await;
    assert_eq!(log.lines().count(), 4, "{log}");
    assert_eq!(log.matches("cartgate_denied").count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn still_queued_shows_a_ticket_that_leads_to_the_outcome() {
    let (_site, pages) = site("wait_ms = 20\n[lanes]\nreserves_per_s = 2\n", 100).await;
    let page = eventually("a place in the queue", || async {
        let page = pages.order(SKU, 1, "en").await;
        page.contains("You are in the queue").then_some(page)
    });
    let page = page.await;
    let (_, action) = page.split_once("action=\"").expect("a form");
    let (ticket, _) = action.split_once('"').unwrap();
    assert!(ticket.starts_with("/ticket/"), "{page}");
    let outcome = eventually("the ticket's outcome", || async {
        let page = pages.get(&format!("{ticket}?lang=ja"), "en").await;
        (!page.contains("順番にお手続きしています")).then_some(page)
    });
    assert_says(&outcome.await, &["商品を確保しました"]);
    let unknown = pages.get(&format!("/ticket/{}", "0".repeat(32)), "en").await;
    assert_says(&unknown, &["We cannot take your order just now"]);
}

/// By an upstream that pretends: the service has no sale windows yet.
#[tokio::test(flavor = "multi_thread")]
async fn before_the_sale() {
    let problem = r#"{"type": "urn:cartgate:problem:not-open-yet", "status": 403}"#;
    let refuse = (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/problem+json")], problem);
    let service = axum::Router::new().fallback(move || async move { refuse });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pages = Pages::before(&format!("http://{}", listener.local_addr().unwrap())).await;
    tokio::spawn(async move { axum::serve(listener, service).await });
    assert_says(&pages.order(SKU, 1, "en").await, &["The sale has not started yet"]);
    assert_says(&pages.order(SKU, 1, "ja").await, &["販売開始前です"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_posted_is_shown_as_text() {
    let (_site, pages) = site("", 5).await;
    let sku = "\"><script>alert('&')</script>";
    let page = pages.order(sku, 1, "en").await;
    assert_says(&page, &["&quot;&gt;&lt;script&gt;", "We cannot take your order just now"]);
    for path in ["/ticket/..%2F..%2Flive", "/ticket/%3Cscript%3E"] {
        assert_says(&pages.get(path, "ja").await, &["ただいま受け付けできません"]);
    }
}
