//! The filter by TrafficExtension, in compat body mode; and every manifest by Istio's own checker.

use cartgate_tests::istio::Manifests;
use cartgate_tests::paths;
use serde_json::Value;
use tokio::process::Command;

use super::site::{Front, Plan};

const EXTENSION: &str = "edge/traffic-extension.yaml";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_traffic_extension_limits() {
    let plan = Plan::new(Front::Gateway, EXTENSION);
    let site = plan
        .start_with(|mut manifests| {
            let filter = manifests.get("EnvoyFilter", "cartgate-filter");
            let config = "/spec/configPatches/0/patch/value/typed_config/config";
            let uri = filter.at(config)["vm_config"]["code"]["remote"]["http_uri"]["uri"].clone();
            *manifests.get("TrafficExtension", "cartgate").at("/spec/wasm/url") = uri;
            manifests
        })
        .await;
    for _ in 0..5 {
        assert_eq!(site.order("LIMITED-SNEAKER", 1).await.status(), 200);
    }
    assert_eq!(site.order("LIMITED-SNEAKER", 1).await.status(), 429);
    // The head may have gone on by then, the body not.
    let seen = site.upstream.seen();
    let orders = seen.requests.iter().filter(|it| it.start_line.contains("/v1/reservations"));
    assert_eq!(orders.filter(|it| !it.body.is_empty()).count(), 5, "{seen:?}");
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

/// Every file of `istio/edge`.
fn files() -> Vec<String> {
    let dir = paths::repo_root().join("istio/edge");
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let yaml = entries.filter(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    yaml.map(|path| path.to_str().unwrap().to_owned()).collect()
}

async fn istioctl(arguments: &[&str], files: &[String]) -> String {
    let mut command = Command::new(paths::istio("istioctl").unwrap());
    let output = command.args(arguments).args(files).output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{said:?}");
    said.concat()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn istioctl_finds_nothing_wrong() {
    let files = files();
    assert!(files.len() >= 8, "{files:?}");
    for file in &files {
        istioctl(&["validate", "-f"], std::slice::from_ref(file)).await;
    }
    let said = istioctl(&["analyze", "--use-kube=false", "--failure-threshold=Warning"], &files);
    let said = said.await;
    assert!(said.contains("No validation issues found"), "{said}");
}
