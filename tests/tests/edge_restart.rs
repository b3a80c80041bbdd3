//! A hot restart: a new Envoy takes over new connections while the old one goes on with those it has.
//! Each counts for itself, so that for this time, and no longer, twice the limit may pass.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use cartgate_tests::client::RawConnection;
use cartgate_tests::envoy::EnvoyOptions;
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, EnvoyConfig, filter};
use serde_json::json;

/// A connection that stays: whoever took it answers all of its requests.
struct Customer(RawConnection);

impl Customer {
    /// Of the Envoy that calls itself `server`: for a moment, both accept connections.
    async fn of(edge: &Edge, server: &str) -> Self {
        eventually("a connection to this Envoy", || async {
            let mut connection = RawConnection::open(edge.envoy.address()).await;
            connection.send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
            let answer = connection.try_answer().await?;
            (answer.header("server") == Some(server)).then_some(Self(connection))
        })
        .await
    }

    async fn check(&mut self, sku: &str, quantity: u32, expected: u16) {
        let request = format!(
            "POST /by-query?sku={sku}&quantity={quantity} HTTP/1.1\r\nhost: shop\r\n\
             content-length: 0\r\n\r\n"
        );
        self.0.send(request).await;
        let answer = self.0.answer().await;
        assert_eq!(answer.status(), expected, "{quantity} of {sku}: {answer:?}");
    }
}

/// The limit is a burst of 1000 units, which take 1000 s to come back.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_hot_restart_each_envoy_admits_its_own_limit() {
    let dir = tempfile::tempdir().unwrap();
    let limits = filter::configuration(filter::SLOW, &[("HOT", filter::SLOW)]);
    let config = EnvoyConfig::shipped().unwrap().route_everything().filter_configuration(&limits);
    let options = EnvoyOptions::workers(1).restartable();
    let named = |name| config.clone().merge_connection_manager(&json!({ "server_name": name }));
    let mut edge = Edge::start_with(named("old"), &options).await.unwrap();
    let mut early = Customer::of(&edge, "old").await;
    for sku in ["HOT", "OTHER"] {
        early.check(sku, 900, 200).await;
        early.check(sku, 200, 429).await;
    }

    let config = named("new").upstream(edge.upstream.address());
    let next = edge.envoy.start_next(dir.path(), config, &options).await.unwrap();
    let mut late = Customer::of(&edge, "new").await;
    for sku in ["HOT", "OTHER"] {
        // The new one starts with the whole burst, and admits no more than that.
        late.check(sku, 1000, 200).await;
        late.check(sku, 200, 429).await;
        // The old one goes on with what is left of its own: twice the burst in all.
        early.check(sku, 100, 200).await;
        early.check(sku, 100, 429).await;
    }

    // From the end of the old one on, the new one's count is the only one.
    edge.envoy.process.stop().await.unwrap();
    edge.envoy = next;
    for sku in ["HOT", "OTHER"] {
        late.check(sku, 200, 429).await;
        Customer::of(&edge, "new").await.check(sku, 200, 429).await;
    }
}
