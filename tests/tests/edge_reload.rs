//! A configuration that changes while Envoy runs, as it does in a mesh: what was counted stays
//! counted.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use cartgate_tests::client::{RawConnection, exchange};
use cartgate_tests::envoy::{EnvoyFilter, FilterFile};
use cartgate_tests::filter::{self, Limit};
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, EnvoyConfig, ports};
use tempfile::TempDir;

const DEFAULT: Limit = filter::SLOW;

/// An Envoy, and the file that its filter comes from.
struct Reloading {
    edge: Edge,
    file: FilterFile,
    _dir: TempDir,
}

impl Reloading {
    async fn start(limits: &[(&str, Limit)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = EnvoyConfig::shipped().unwrap().route_everything();
        let filter = EnvoyFilter::shipped().unwrap();
        let (config, mut file) = filter.apply(config, dir.path()).unwrap();
        file.configure(&filter::configuration(DEFAULT, limits)).unwrap();
        let edge = Edge::start(config, 1).await.unwrap();
        Self { edge, file, _dir: dir }
    }

    /// Changes the limits, and waits until they are in force.
    async fn reload(&mut self, limits: &[(&str, Limit)]) {
        let before = self.reloads().await;
        self.file.configure(&filter::configuration(DEFAULT, limits)).unwrap();
        eventually("the new configuration", || async {
            (self.reloads().await > before).then_some(())
        })
        .await;
    }

    async fn reloads(&self) -> u64 {
        self.edge.envoy.stat(|name| name.ends_with("cartgate.config_reload")).await
    }

    async fn check(&self, sku: &str, quantity: u32, expected: u16) {
        let status = ask(self.edge.envoy.address(), sku, quantity).await;
        assert_eq!(status, expected, "{quantity} of {sku}");
    }
}

/// Asks for so many units. Gives the answer's status.
async fn ask(address: SocketAddr, sku: &str, quantity: u32) -> u16 {
    let request = format!(
        "POST /by-query?sku={sku}&quantity={quantity} HTTP/1.1\r\nhost: shop\r\n\
         content-length: 0\r\n\r\n"
    );
    exchange(address, request).await.status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sku_that_gets_hot_still_owes_what_it_owed() {
    let mut envoy = Reloading::start(&[]).await;
    envoy.check("HOT", 900, 200).await;
    envoy.check("HOT", 200, 429).await;
    envoy.reload(&[("HOT", (1, 1000)), ("NEW", (1, 2000))]).await;
    // 900 units come back in 900 s, not within this test.
    envoy.check("HOT", 200, 429).await;
    envoy.check("HOT", 100, 200).await;
    envoy.check("HOT", 100, 429).await;
    // Nothing is owed by who has asked for nothing.
    envoy.check("NEW", 2000, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_limit_forgets_nothing() {
    let mut envoy = Reloading::start(&[("HOT", (1, 1000))]).await;
    envoy.check("HOT", 1000, 200).await;
    envoy.reload(&[("HOT", (2, 1500))]).await;
    // 1000 units are owed at any pace, and at this one for 500 s.
    envoy.check("HOT", 600, 429).await;
    envoy.check("HOT", 500, 200).await;
    envoy.check("HOT", 100, 429).await;
}

/// A request whose body is on its way meanwhile is judged under the configuration that it came in under.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_its_configuration() {
    let mut envoy = Reloading::start(&[("HOT", (1, 1000))]).await;
    let mut slow = RawConnection::open(envoy.edge.envoy.address()).await;
    slow.send(
        "POST /by-form HTTP/1.1\r\nhost: shop\r\ncontent-length: 21\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\nsku=HOT&quant",
    )
    .await;
    let active = |name: &str| name == "http.shoppers.downstream_rq_active";
    let held = || async { (envoy.edge.envoy.stat(active).await == 1).then_some(()) };
    eventually("the request in Envoy", held).await;
    envoy.reload(&[("HOT", (1, 2000))]).await;
    // Above the old burst, and below the new one.
    slow.send("ity=1500").await;
    assert_eq!(slow.answer().await.status(), 422);
    envoy.check("HOT", 1500, 200).await;
}

/// Two listeners share each worker thread's filter, and have a configuration each.
#[tokio::test(flavor = "multi_thread")]
async fn listeners_keep_their_configurations_apart() {
    let of = |burst| filter::configuration(DEFAULT, &[("HOT", (1, burst))]);
    let second = ports::free_address();
    let config = EnvoyConfig::shipped().unwrap().route_everything();
    let config = config.filter_configuration(&of(100)).add_listener(second, &of(200));
    let edge = Edge::start(config, 1).await.unwrap();
    for _ in 0..20 {
        for (address, too_many) in [(edge.envoy.address(), 101), (second, 201)] {
            assert_eq!(ask(address, "HOT", too_many).await, 422);
            let admitted = ask(address, "HOT", too_many - 1).await;
            assert!([200, 429].contains(&admitted), "{admitted}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_changes_nothing() {
    let mut envoy = Reloading::start(&[]).await;
    envoy.check("HOT", 1000, 200).await;
    let mut wrong = filter::configuration(DEFAULT, &[]);
    wrong["default_limit"]["burst"] = 0.into();
    envoy.file.configure(&wrong).unwrap();
    let log = envoy.edge.envoy.process.log();
    eventually("the field's name in the log", || async {
        let log = std::fs::read_to_string(log).unwrap();
        log.contains("configuration field default_limit.burst").then_some(())
    })
    .await;
    envoy.check("HOT", 1, 429).await;
    envoy.check("OTHER", 1000, 200).await;
}
