//! The documentation, as it is served.

use cartgate_tests::client::http;
use serde_json::Value;

/// What is checked in is what a running service says of itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_as_it_is_checked_in() {
    let (_dir, service, _shop) = super::service("").await;
    let answer = http().get(service.url("/openapi.json")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let served: Value = answer.json().await.unwrap();
    let checked_in: Value =
        serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    assert_eq!(served, checked_in);
}

/// A browser is told to load and run nothing.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_html_that_loads_nothing() {
    let (_dir, service, _shop) = super::service("").await;
    for (path, expected) in [
        ("/docs", "POST</span>/v1/reservations"),
        ("/docs/problems", "urn:cartgate:problem:sold-out"),
    ] {
        let answer = http().get(service.url(path)).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(answer.text().await.unwrap().contains(expected), "{path}");
    }
}
