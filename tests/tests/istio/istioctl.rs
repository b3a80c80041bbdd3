//! Istio's own checker, on every manifest.

use std::path::PathBuf;

use cartgate_tests::paths;
use tokio::process::Command;

/// Every file of a directory of `istio/`.
fn files(dir: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(paths::repo_root().join("istio").join(dir)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect()
}

async fn istioctl(arguments: &[&str], files: &[PathBuf]) -> String {
    let mut command = Command::new(paths::istio("istioctl").unwrap());
    let output = command.args(arguments).args(files).output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{said:?}");
    said.concat()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn it_finds_nothing_wrong() {
    let edge = files("edge");
    assert!(edge.len() >= 9, "{edge:?}");
    for files in [edge, files("comparison")] {
        for file in &files {
            istioctl(&["validate", "-f"], std::slice::from_ref(file)).await;
        }
        let analyze = ["analyze", "--use-kube=false", "--failure-threshold=Warning"];
        let said = istioctl(&analyze, &files).await;
        assert!(said.contains("No validation issues found"), "{said}");
    }
}
