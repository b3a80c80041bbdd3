//! A module or a configuration that is broken, and what becomes of requests.

use std::time::Duration;

use cartgate_tests::client::exchange;
use cartgate_tests::istio::{Manifests, SERVICE};
use cartgate_tests::paths;
use cartgate_tests::process::{eventually, poll_until};
use serde_json::{Value, json};

use super::site::{Front, Plan, Site, slow};

fn plan() -> Plan {
    Plan::new(Front::Gateway, "edge/gateway.yaml")
}

/// The status of a request that no filter looks at.
async fn ticket(site: &Site) -> u16 {
    let request = format!("GET /v1/tickets/1 HTTP/1.1\r\nhost: {SERVICE}\r\n\r\n");
    exchange(site.front.address(), request).await.status()
}

/// An image that is not there.
fn no_image(image: &str) -> String {
    let (name, _) = image.split_once('@').unwrap();
    format!("{name}@sha256:{}", "0".repeat(64))
}

async fn without_a_module(policy: &str) -> Site {
    plan()
        .start_with(|mut manifests| {
            let plugin = manifests.get("EnvoyFilter", "cartgate-filter").plugin();
            plugin["failure_policy"] = policy.into();
            let uri = &mut plugin["vm_config"]["code"]["remote"]["http_uri"]["uri"];
            *uri = no_image(uri.as_str().unwrap()).into();
            manifests
        })
        .await
}

/// The routes that it is on for are closed, and no other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_module_that_is_not_there_closes_its_routes() {
    let site = without_a_module("FAIL_RELOAD").await;
    assert_eq!(site.order("A", 1).await.status(), 403);
    assert_eq!(ticket(&site).await, 200);
    site.front.logs("applying deny RBAC filter").await;
    // What CartgateFilterMissing looks for, in a proxy that tells all else.
    assert_eq!(site.front.metric(VERSION).await, None);
    assert_eq!(site.front.metric(REFUSED).await, Some(0));
    assert_eq!(site.front.metric(STAND_IN).await, Some(1));
}

/// `istio/monitoring/rules.yaml` knows a filter that has loaded by this metric, and
const VERSION: &str = "cartgate_config_version";

/// a configuration that was refused by this.
const REFUSED: &str = "envoy_extension_config_discovery_http_filter_cartgate_config_fail";

/// Requests that what stands in for the filter has refused.
const STAND_IN: &str =
    "envoy_extension_config_discovery_http_filter_cartgate_rbac_wasm_default_deny_denied";

/// A fetch that has failed is not tried again once it could be done: the next push does that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_registry_that_was_away_is_asked_again_with_the_next_push() {
    let impatient = |mut manifests: Manifests| {
        let plugin = manifests.get("EnvoyFilter", "cartgate-filter").plugin();
        plugin["vm_config"]["code"]["remote"]["http_uri"]["timeout"] = "1s".into();
        manifests
    };
    let mut site = plan().registry_hangs().start_with(impatient).await;
    assert_eq!(site.order("A", 1).await.status(), 403);
    site.registry.process.resume();
    let opened = poll_until(Duration::from_secs(5), async || {
        (site.order("A", 1).await.status() != 403).then_some(())
    });
    assert_eq!(opened.await, None);
    let mut settings = site.manifests.get("EnvoyFilter", "cartgate-filter").settings();
    settings["version"] = 2.into();
    site.apply(|manifests| manifests.settings(&settings));
    site.order_until("A", 1, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_module_that_is_not_there_leaves_them_open_if_told_to() {
    let site = without_a_module("FAIL_OPEN").await;
    for _ in 0..10 {
        assert_eq!(site.order("LIMITED-SNEAKER", 1).await.status(), 200);
    }
    site.front.logs("applying allow RBAC filter").await;
}

/// What is no module is refused by the agent, like one that is not there: a bad release closes the routes,
/// and taking it back opens them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_bad_release_is_taken_back() {
    let mut site = plan().start().await;
    assert_eq!(site.order("A", 1).await.status(), 200);
    let before = site.manifests.clone();
    let rubbish = site.mesh.dir().join("rubbish");
    std::fs::write(&rubbish, "no module").unwrap();
    let image = site.registry.push("rubbish", &rubbish).await;
    site.apply(|manifests| manifests.image(&image));
    site.order_until("A", 1, 403).await;
    // Also where it was loaded before, it is told to be missing.
    eventually("no filter in the metrics", async || {
        site.front.metric(VERSION).await.is_none().then_some(())
    })
    .await;
    site.apply(|_| before);
    site.order_until("A", 1, 200).await;
    assert_eq!(site.front.metric(VERSION).await, Some(1));
}

/// A wrong configuration changes nothing, and the proxy's log names the field.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_wrong_configuration_changes_nothing() {
    let mut site = plan().start_with(slow).await;
    assert_eq!(site.order("SLOW", 1_000).await.status(), 200);
    let mut settings = site.manifests.get("EnvoyFilter", "cartgate-filter").settings();
    settings["limits"]["SLOW"]["burst"] = 0.into();
    site.apply(|manifests| manifests.settings(&settings));
    site.front.logs("configuration field limits.SLOW.burst").await;
    assert_eq!(site.order("SLOW", 1_000).await.status(), 429);
    assert_eq!(site.order("A", 1).await.status(), 200);
    is_told_to_be_refused(&site).await;
    assert_eq!(site.front.metric(VERSION).await, Some(1));
}

/// A proxy that starts with a wrong configuration closes the routes that the filter is on for.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_proxy_that_starts_with_a_wrong_configuration_closes_its_routes() {
    let wrong: Value = json!({"default_limit": {"per_second": 0, "burst": 1}, "routes": []});
    let site = plan().start_with(|manifests| manifests.settings(&wrong)).await;
    site.front.logs("default_limit").await;
    assert_eq!(site.order("A", 1).await.status(), 500);
    assert_eq!(ticket(&site).await, 200);
    is_told_to_be_refused(&site).await;
    assert_eq!(site.front.metric(VERSION).await, None);
}

/// What CartgateConfigRefused looks for.
async fn is_told_to_be_refused(site: &Site) {
    eventually("a refusal in the metrics", async || {
        (site.front.metric(REFUSED).await > Some(0)).then_some(())
    })
    .await;
}

/// A VM that has crashed is made anew.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_crashed_vm_comes_back() {
    let mut site = plan().start().await;
    let image = site.registry.push("crashing", &paths::crashing_filter_module().unwrap()).await;
    site.apply(|manifests| manifests.image(&image));
    let crash = format!(
        "POST /v1/reservations?sku=A HTTP/1.1\r\nhost: {SERVICE}\r\nx-cartgate-crash: 1\r\n\
         content-length: 0\r\n\r\n"
    );
    let crashed = eventually("a crash", || async {
        (exchange(site.front.address(), &crash).await.status() == 503).then_some(())
    });
    crashed.await;
    // The next request of that thread brings it about; one of another thread's is answered by its own.
    eventually("a new VM", || async {
        let status = site.order("A", 1).await.status();
        assert!([200, 503].contains(&status), "{status}");
        let reloads = site.front.stat(|name| name.contains("vm_reload_success")).await;
        (status == 200 && reloads > 0).then_some(())
    })
    .await;
}
