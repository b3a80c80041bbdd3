//! Another module, while requests come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cartgate_tests::client;
use cartgate_tests::istio::{Manifests, SERVICE};
use cartgate_tests::paths;
use cartgate_tests::process::eventually;
use reqwest::Client;
use serde_json::json;
use tokio::task::JoinHandle;

use super::site::{Front, Plan, Site, order, slow};

/// No request is lost over it, and what was counted is kept.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_new_module_loses_no_request() {
    let mut site = Plan::new(Front::Gateway, "edge/gateway.yaml")
        .start_with(|manifests| unlimited(slow(manifests)))
        .await;
    assert_eq!(site.order("SLOW", 1_000).await.status(), 200);

    let load = Load::start(site.front.address());
    // The other module is the one that tests can crash: it differs, and does the same.
    let other = paths::crashing_filter_module().unwrap();
    let image = site.registry.push("cartgate-filter-next", &other).await;
    let before = module(&site).await;
    site.apply(|manifests| manifests.image(&image));
    eventually("the other module", || async { (module(&site).await != before).then_some(()) })
        .await;
    let answered = site.passed();
    eventually("requests through the other module", || async {
        (site.passed() > answered + 200).then_some(())
    })
    .await;
    let answers = load.stop().await;
    // Each was passed on once.
    assert_eq!(site.passed() as u64, answers + 1);
    assert_eq!(site.order("SLOW", 500).await.status(), 429);
}

/// The filter is taken out by one command, with no request lost over it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn taking_it_out_loses_no_request() {
    let plan = Plan::new(Front::Gateway, "edge/gateway.yaml");
    let site = plan.start_with(|manifests| unlimited(slow(manifests))).await;
    assert_eq!(site.order("SLOW", 1_000).await.status(), 200);
    assert_eq!(site.order("SLOW", 1_000).await.status(), 429);

    let load = Load::start(site.front.address());
    site.mesh.istiod.delete(&Manifests::shipped(&["edge/gateway.yaml"]).unwrap());
    site.order_until("SLOW", 1_000, 200).await;
    assert!(load.stop().await > 0);
}

/// With no limit that callers come up to, but those of products that have their own.
fn unlimited(mut manifests: Manifests) -> Manifests {
    let mut settings = manifests.get("EnvoyFilter", "cartgate-filter").settings();
    settings["default_limit"] = json!({"per_second": 100_000, "burst": 100_000});
    manifests.settings(&settings)
}

/// Callers who order one unit of `A` after the other, and expect 200 for each: on connections of their own, on one
/// that stays, and over HTTP/2.
struct Load {
    over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let staying = [client::http_to(SERVICE, address), client::http2_to(SERVICE, address)];
        let mut callers: Vec<_> =
            staying.map(|client| tokio::spawn(stay(client, address, Arc::clone(&over)))).into();
        callers.extend((0..2).map(|_| tokio::spawn(come_and_go(address, Arc::clone(&over)))));
        Self { over, callers }
    }

    /// Gives how many were answered.
    async fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let mut answers = 0;
        for caller in self.callers {
            answers += caller.await.unwrap();
        }
        answers
    }
}

async fn come_and_go(address: SocketAddr, over: Arc<AtomicBool>) -> u64 {
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) {
        let answer = order(address, "A", 1).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        answers += 1;
    }
    answers
}

async fn stay(client: Client, address: SocketAddr, over: Arc<AtomicBool>) -> u64 {
    let mut answers = 0;
    let body = json!({"sku": "A", "quantity": 1});
    let url = format!("http://{SERVICE}:{}/v1/reservations", address.port());
    while !over.load(Ordering::Relaxed) {
        let answer = client.post(&url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.bytes().await.unwrap();
        answers += 1;
    }
    answers
}

/// The file that the gateway's Envoy has its module from.
async fn module(site: &Site) -> String {
    let config = site.front.ask_admin("/config_dump?resource=ecds_filters").await;
    let line = config.lines().find(|line| line.contains("\"filename\""));
    line.unwrap_or_else(|| panic!("no module: {config}")).to_owned()
}
