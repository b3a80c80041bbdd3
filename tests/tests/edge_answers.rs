//! What the edge answers: to programs and to people, in their language, with the fields that say when to come
//! again; and what it tells the access log and the service.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use cartgate_tests::client::{exchange, http2, post};
use cartgate_tests::http1::Message;
use cartgate_tests::{Edge, filter};
use serde_json::{Value, json};
use sfv::{BareItem, List, ListEntry, Parser};

/// An edge on which one unit of a SKU is all that there is for a quarter of an hour.
async fn edge(settings: Value) -> Edge {
    let mut configuration = filter::configuration(filter::SLOW, &[]);
    for (name, value) in settings.as_object().unwrap() {
        configuration[name] = value.clone();
    }
    Edge::with_filter(&configuration).await.unwrap()
}

async fn ask(edge: &Edge, target: &str, headers: &str) -> Message {
    exchange(edge.envoy.address(), post(target, headers, "")).await
}

const DRAIN: &str = "/by-query?sku=A&quantity=1000";
const JAPANESE: &str = "accept-language: ja-JP,ja;q=0.9,en;q=0.5\r\n";
const BROWSER: &str = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn people_are_answered_in_their_language() {
    let edge = edge(json!({})).await;
    assert_eq!(ask(&edge, DRAIN, "").await.status(), 200);
    let english = ask(&edge, DRAIN, "").await;
    let japanese = ask(&edge, DRAIN, JAPANESE).await;
    for (answer, language, title) in [
        (&english, "en", "Too many people are asking for this product"),
        (&japanese, "ja", "ただいまアクセスが集中しています"),
    ] {
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("content-language"), Some(language));
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:cartgate:problem:over-limit");
        assert_eq!((&problem["title"], &problem["sku"]), (&json!(title), &json!("A")));
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    let page = ask(&edge, DRAIN, &format!("{JAPANESE}{BROWSER}")).await;
    assert_eq!(page.status(), 429);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let html = String::from_utf8(page.body.clone()).unwrap();
    assert!(html.contains("<html lang=\"ja\">"), "{html}");
    assert!(html.contains("<h1>ただいまアクセスが集中しています</h1>"), "{html}");
    assert!(page.header("retry-after").is_some());
}

/// Also when the answer comes with the body, when the head is long read.
#[tokio::test(flavor = "multi_thread")]
async fn the_wish_of_the_head_is_kept_for_the_body() {
    let edge = edge(json!({})).await;
    let answer = http2()
        .post(edge.envoy.url("/by-json"))
        .header("accept-language", "ja")
        .header("accept", "text/html")
        .json(&json!({"sku": "A", "quantity": 1_001}))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-language"]),
        (422, &"ja".parse().unwrap())
    );
    assert!(answer.text().await.unwrap().contains("一度にお申し込みいただける数量を超えています"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_has_its_own_words() {
    let words = json!({"over-limit": {"title": "Slow <down>", "text": "Please."}});
    let page = "<!DOCTYPE html><html lang=\"{{lang}}\"><p>{{title}} {{status}}</p></html>";
    let answers = json!({"language": "ja", "words": {"en": words}, "page": page});
    let edge = edge(json!({ "answers": answers })).await;
    ask(&edge, DRAIN, "").await;
    let english = ask(&edge, DRAIN, "accept-language: en\r\n").await.json();
    assert_eq!((&english["title"], &english["detail"]), (&json!("Slow <down>"), &json!("Please.")));
    assert_eq!(ask(&edge, DRAIN, "").await.header("content-language"), Some("ja"));
    let html = ask(&edge, DRAIN, &format!("accept-language: en\r\n{BROWSER}")).await.body;
    let expected = "<!DOCTYPE html><html lang=\"en\"><p>Slow &lt;down&gt; 429</p></html>";
    assert_eq!(String::from_utf8(html).unwrap(), expected);
}

/// An integer parameter of the one item of a list, and the item, by a parser of structured fields that others
/// have written.
fn parse(field: &str, param: &str) -> (String, i64) {
    let list: List = Parser::new(field).parse().unwrap();
    let [ListEntry::Item(item)] = list.as_slice() else { panic!("one item: {field}") };
    let BareItem::String(name) = &item.bare_item else { panic!("a string: {field}") };
    let (_, value) = item.params.iter().find(|(key, _)| key.as_str() == param).unwrap();
    let BareItem::Integer(number) = value else { panic!("an integer: {field}") };
    (name.to_string(), (*number).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_and_what_is_left_of_it() {
    let client =
        json!([{"client": {"header": "x-client"}, "limit": {"per_second": 1, "burst": 2}}]);
    let edge = edge(json!({ "client_limits": client })).await;
    let by = |client: &str| format!("x-client: {client}\r\n");
    for (units, client, status, expected) in
        [(2, "a", 200, None), (1, "a", 429, Some(("client", 2, 2))), (2, "b", 200, None)]
    {
        let target = format!("/by-query?sku=A&quantity={units}");
        let answer = ask(&edge, &target, &by(client)).await;
        assert_eq!(answer.status(), status, "{answer:?}");
        let policy = answer.header("ratelimit-policy");
        assert_eq!(policy.is_some(), expected.is_some(), "{answer:?}");
        let Some((name, quota, window)) = expected else { continue };
        let (policy, limit) = (policy.unwrap(), answer.header("ratelimit").unwrap());
        assert_eq!(parse(policy, "q"), (name.to_owned(), quota));
        assert_eq!(parse(policy, "w").1, window);
        let (left, reset) = (parse(limit, "r").1, parse(limit, "t").1);
        assert_eq!(left, 0);
        let retry_after: i64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((0..=retry_after).contains(&reset), "{limit} {retry_after}");
        assert_eq!(answer.json()["violated-policies"], json!([name]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_told_and_nobody_can_forge_it() {
    let mut settings = json!({ "upstream_headers": true });
    settings["default_limit"] = json!({"per_second": 1, "burst": 1000, "shadow": true});
    let edge = edge(settings).await;
    let forged =
        "x-cartgate-verdict: forged\r\nX-Cartgate-Lines: FORGED=1\r\nx-cartgate-lines: F=2\r\n";
    for (target, verdict, lines) in [
        (DRAIN, Some("admitted"), Some("A=1000")),
        (DRAIN, Some("would_be_denied"), Some("A=1000")),
        // Where nothing is limited, nothing is said, by anybody.
        ("/elsewhere", None, None),
    ] {
        assert_eq!(ask(&edge, target, forged).await.status(), 200, "{target}");
        let seen = edge.upstream.seen();
        let head = seen.heads.last().unwrap();
        let header = |name: &str| head.header(name).map(str::to_owned);
        assert_eq!(header("x-cartgate-verdict").as_deref(), verdict);
        assert_eq!(header("x-cartgate-lines").as_deref(), lines);
    }
    let body = json!({"sku": "B", "quantity": 2}).to_string();
    let json = format!("{forged}content-type: application/json\r\n");
    let request = post("/by-json", json, body);
    assert_eq!(exchange(edge.envoy.address(), request).await.status(), 200);
    let seen = edge.upstream.seen();
    assert_eq!(seen.heads.last().unwrap().header("x-cartgate-lines"), Some("B=2"));
    assert!(!seen.contains("FORGED") && !seen.contains("forged"));
}
