//! The filter by TrafficExtension, in compat body mode.

use cartgate_tests::istio::Manifests;
use serde_json::{Value, json};

use super::site::{Front, Plan};

const EXTENSION: &str = "edge/traffic-extension.yaml";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_traffic_extension_limits() {
    let plan = Plan::new(Front::Gateway, EXTENSION);
    let site = plan
        .start_with(|mut manifests| {
            let filter = manifests.get("EnvoyFilter", "cartgate-filter");
            let uri = filter.plugin()["vm_config"]["code"]["remote"]["http_uri"]["uri"].clone();
            let extension = manifests.get("TrafficExtension", "cartgate").at("/spec/wasm");
            extension["url"] = uri;
            extension["pluginConfig"]["limits"] =
                json!({"SLOW": {"per_second": 1, "burst": 1_000}});
            manifests
        })
        .await;
    assert_eq!(site.order("SLOW", 1_000).await.status(), 200);
    assert_eq!(site.order("SLOW", 1_000).await.status(), 429);
    // The head may have gone on by then, the body not.
    let seen = site.upstream.seen();
    let orders = seen.requests.iter().filter(|it| it.start_line.contains("/v1/reservations"));
    assert_eq!(orders.filter(|it| !it.body.is_empty()).count(), 1, "{seen:?}");
}

/// istiod makes of a WasmPlugin what it makes of a TrafficExtension; only that it does so for those that it
/// reads from Kubernetes. They say the same.
#[test]
fn a_wasm_plugin_is_a_traffic_extension() {
    let mut plugin = Manifests::shipped(&["edge/wasm-plugin.yaml"]).unwrap();
    let mut extension = Manifests::shipped(&[EXTENSION]).unwrap();
    let mut plugin = plugin.get("WasmPlugin", "cartgate").at("/spec").take();
    let mut extension = extension.get("TrafficExtension", "cartgate").at("/spec").take();
    let wasm = extension["wasm"].take();
    let members = [plugin.as_object_mut().unwrap(), extension.as_object_mut().unwrap()];
    let [plugin, extension] = members;
    extension.remove("wasm");
    assert_eq!(plugin.remove("selector"), extension.remove("selector"));
    assert_eq!(Value::Object(std::mem::take(plugin)), wasm);
    assert!(extension.is_empty(), "{extension:?}");
}
