//! A module or a configuration that is broken, and what becomes of requests.

use cartgate_tests::client::exchange;
use cartgate_tests::istio::SERVICE;
use cartgate_tests::paths;
use cartgate_tests::process::eventually;
use serde_json::{Value, json};

use super::site::{Front, Plan, Site};

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
    site.apply(|_| before);
    site.order_until("A", 1, 200).await;
}

/// A wrong configuration changes nothing, and the proxy's log names the field.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_wrong_configuration_changes_nothing() {
    let mut site = plan().start().await;
    assert_eq!(site.order("LIMITED-SNEAKER", 5).await.status(), 200);
    let mut settings = site.manifests.get("EnvoyFilter", "cartgate-filter").settings();
    settings["limits"]["LIMITED-SNEAKER"]["burst"] = 0.into();
    site.apply(|manifests| manifests.settings(&settings));
    site.front.logs("configuration field limits.LIMITED-SNEAKER.burst").await;
    assert_eq!(site.order("LIMITED-SNEAKER", 5).await.status(), 429);
    assert_eq!(site.order("A", 1).await.status(), 200);
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
