//! Limits per client: bots take no more of a product than a person does, and nothing from the others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;

use cartgate_tests::client::{RawConnection, exchange};
use cartgate_tests::http1::Message;
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, filter};
use serde_json::{Value, json};

/// Five at once of any product for everybody together, and what `client_limits` say for each.
async fn edge(client_limits: Value) -> Edge {
    let mut configuration = filter::configuration(filter::SLOW, &[("RARE", (1, 5))]);
    configuration["client_limits"] = client_limits;
    Edge::with_filter(&configuration).await.unwrap()
}

/// Two at once, and 2 more come in two seconds: later than any test here.
fn two_by(client: Value) -> Value {
    json!({ "client": client, "limit": { "per_second": 1, "burst": 2 } })
}

fn request(sku: &str, headers: &str) -> String {
    format!("POST /by-query?sku={sku} HTTP/1.1\r\nhost: shop\r\n{headers}content-length: 0\r\n\r\n")
}

async fn ask(edge: &Edge, sku: &str, headers: &str) -> Message {
    exchange(edge.envoy.address(), request(sku, headers)).await
}

fn problem(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_has_its_own_limit_of_each_product() {
    let edge = edge(json!([two_by(json!({ "cookie": "session" }))])).await;
    let (ann, bob) = ("cookie: a=1; session=ann\r\n", "cookie: session=bob\r\n");
    for (sku, who) in [("A", ann), ("A", ann), ("B", ann), ("B", ann), ("A", bob), ("A", bob)] {
        assert_eq!(ask(&edge, sku, who).await.status(), 200, "{sku} {who}");
    }
    let refused = ask(&edge, "A", ann).await;
    let said = problem(&refused);
    assert_eq!((refused.status(), said["sku"].as_str()), (429, Some("A")));
    assert_eq!(said["type"], "urn:cartgate:problem:client-over-limit");
    assert!(refused.header("retry-after").is_some());
    // All without the cookie count as one.
    for status in [200, 200, 429] {
        assert_eq!(ask(&edge, "A", "cookie: other=1\r\n").await.status(), status);
    }
    // More than a client can ever have at once.
    let answer = ask(&edge, "C&quantity=3", ann).await;
    assert_eq!((answer.status(), &problem(&answer)["quantity_max"]), (422, &json!(2)));
    for (counter, expected) in [("admitted", 8), ("client_denied", 2), ("over_burst", 1)] {
        let name = format!("wasmcustom.cartgate_requests_{counter}");
        eventually(&format!("{expected} {counter}"), || async {
            (edge.envoy.stat(|stat| stat == name).await == expected).then_some(())
        })
        .await;
    }
    assert_eq!(edge.upstream.seen().heads.len(), 8);
}

/// A bot that asks a hundred times has taken two of five; the others get theirs.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_takes_nothing_from_others() {
    let edge = edge(json!([two_by(json!("source_address"))])).await;
    let mut admitted = Vec::new();
    for last in 1..=3 {
        let from = Ipv4Addr::new(127, 0, 7, last).into();
        let mut connection = RawConnection::open_from(from, edge.envoy.address()).await;
        let mut count = 0;
        for _ in 0..100 {
            // Whatever it calls itself.
            connection.send(request("RARE", &format!("x-forwarded-for: 10.0.0.{last}\r\n"))).await;
            count += u32::from(connection.answer().await.status() == 200);
        }
        admitted.push(count);
    }
    // A second or two may have passed: one or two more.
    let (first, all) = (admitted[0], admitted.iter().sum::<u32>());
    assert!((2..=4).contains(&first) && (5..=8).contains(&all), "{admitted:?}");
    assert!(admitted[1] >= 1, "{admitted:?}");
}

/// By its cookie and by its address: both must admit. What one limit refuses costs the other nothing.
#[tokio::test(flavor = "multi_thread")]
async fn every_limit_must_admit() {
    let four_by_address =
        json!({ "client": "source_address", "limit": { "per_second": 1, "burst": 4 } });
    let edge = edge(json!([two_by(json!({ "header": "x-device" })), four_by_address])).await;
    let mut admitted = 0;
    for device in 0..20 {
        let header = format!("x-device: {device}\r\n");
        admitted += u32::from(ask(&edge, "A", &header).await.status() == 200);
    }
    // It can call itself what it likes, but comes from one address.
    assert!((4..=6).contains(&admitted), "{admitted}");
    // Whoever sends two is nobody new each time.
    let mut statuses = Vec::new();
    for device in 0..3 {
        let twice = format!("x-device: {device}\r\nx-device: other\r\n");
        statuses.push(ask(&edge, "B", &twice).await.status());
    }
    assert_eq!(statuses, [200, 200, 429]);
}

/// Who asks is known before the body comes, and what for after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_body_is_limited_too() {
    let edge = edge(json!([two_by(json!({ "header": "x-device" }))])).await;
    let json = |sku: &str| {
        let body = format!(r#"{{"sku":"{sku}"}}"#);
        format!(
            "POST /by-json HTTP/1.1\r\nhost: shop\r\nx-device: 1\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (sku, status) in [("A", 200), ("A", 200), ("A", 429), ("B", 200)] {
        let answer = exchange(edge.envoy.address(), json(sku)).await;
        assert_eq!(answer.status(), status, "{sku}");
    }
}
