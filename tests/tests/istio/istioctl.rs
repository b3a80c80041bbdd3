//! Istio's own checker, on every manifest.

use std::fs;
use std::path::{Path, PathBuf};

use cartgate_tests::paths;
use tokio::process::Command;

/// Warnings of `istioctl validate` that we know of.
const KNOWN: [&str; 2] = [
    // There is no other way: see `istio/edge/filter.yaml`.
    "EnvoyFilter exposes internal implementation details",
    // It wants a label `version`, by which its telemetry would tell releases apart.
    "may not provide Istio metrics and telemetry labels",
];

/// What can be chosen to limit orders. No two of them are for the same request.
const PLACES: [&str; 6] = [
    "edge/gateway.yaml",
    "edge/sidecar-inbound.yaml",
    "edge/sidecar-outbound.yaml",
    "edge/traffic-extension.yaml",
    "edge/wasm-plugin.yaml",
    "comparison/ratelimit.yaml",
];

/// What the service can be: in Kubernetes, by one overlay or the other, or outside.
const SERVICES: [&[&str]; 3] = [
    &["service/base", "service/embedded"],
    &["service/base", "service/redis", "hot-items-scan.yaml"],
    &["edge/service-outside.yaml"],
];

/// All manifests of `istio/`, or below a part of it.
fn manifests(part: &str) -> Vec<PathBuf> {
    let path = paths::repo_root().join("istio").join(part);
    let mut found = Vec::new();
    collect(&path, &mut found);
    found.sort();
    found
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), found));
    } else if is_manifest(path) {
        found.push(path.to_owned());
    }
}

/// Whether it is an object of Kubernetes, and not what other programs read.
fn is_manifest(path: &Path) -> bool {
    let is_yaml = path.extension().is_some_and(|kind| kind == "yaml");
    is_yaml && !path.ends_with("kustomization.yaml") && {
        fs::read_to_string(path).unwrap().lines().any(|line| line.starts_with("kind: "))
    }
}

/// Whether it finds nothing that is as bad as it is told to look for, and what it says.
async fn istioctl(arguments: &[&str], files: &[PathBuf]) -> (bool, String) {
    let mut command = Command::new(paths::istio("istioctl").unwrap());
    let output = command.args(arguments).args(files).output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.success(), said.concat())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn each_manifest_is_valid() {
    let files = manifests("");
    assert!(files.len() >= 20, "{files:?}");
    for file in files {
        let (is_valid, said) = istioctl(&["validate", "-f"], &[file]).await;
        let is_known = |line: &str| KNOWN.iter().any(|known| line.contains(known));
        let is_fine = |line: &str| line.ends_with(" is valid") || line.ends_with(" has warnings: ");
        let news: Vec<_> = said.lines().filter(|line| !is_known(line) && !is_fine(line)).collect();
        assert!(is_valid && news.concat().is_empty(), "{said}");
    }
}

/// As they are applied: the filter in one place, the service in one way.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn together_they_are_sound() {
    let dir = tempfile::tempdir().unwrap();
    for place in PLACES {
        for service in SERVICES {
            let edge = ["edge/filter.yaml", "edge/routes.yaml", "edge/service.yaml", place];
            let mut files: Vec<_> = edge.iter().flat_map(|part| manifests(part)).collect();
            files.push(dir.path().join("service.yaml"));
            let service = namespaced(service.iter().flat_map(|part| manifests(part)));
            fs::write(files.last().unwrap(), service).unwrap();
            let (is_sound, said) = analyze(&files).await;
            assert!(is_sound, "{said}");
        }
    }
    // It would have found something.
    let routes = fs::read_to_string(&manifests("edge/routes.yaml")[0]).unwrap();
    let unsound = dir.path().join("unsound.yaml");
    fs::write(&unsound, routes.replace("[istio-system/shop]", "[istio-system/another]")).unwrap();
    let (is_sound, said) = analyze(&[unsound]).await;
    assert!(!is_sound && said.contains("Referenced gateway not found"), "{said}");
}

async fn analyze(files: &[PathBuf]) -> (bool, String) {
    // By itself it looks at one namespace.
    let mut arguments = vec!["analyze", "--use-kube=false", "--all-namespaces"];
    arguments.push("--failure-threshold=Info");
    // As above; and patches whose place depends on others' patches. Ours go before the router, which is always there.
    arguments.extend(["--suppress=IST0133=EnvoyFilter *", "--suppress=IST0151=EnvoyFilter *"]);
    istioctl(&arguments, files).await
}

/// What is in these files of `service/` as one: Kustomize sets its namespace.
fn namespaced(files: impl Iterator<Item = PathBuf>) -> String {
    let manifests = files.map(|file| {
        let yaml = fs::read_to_string(file).unwrap();
        let has_one =
            yaml.contains("\n  namespace: cartgate\n") || yaml.contains("kind: Namespace\n");
        let namespaced = "\nmetadata:\n  namespace: cartgate\n";
        if has_one { yaml } else { yaml.replace("\nmetadata:\n", namespaced) }
    });
    manifests.collect::<Vec<_>>().join("\n---\n")
}
