//! The drill as people run it: the binary, with a service and an Envoy of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use cartgate_tests::paths::repo_root;
use cartgate_tests::{EnvoyConfig, Site};
use serde_json::json;

const DRILL: &str = env!("CARGO_BIN_EXE_drill");

/// One drill at a time: two are more than two cores can take, and what is answered late cannot be
/// judged.
static ALONE: Mutex<()> = Mutex::new(());

fn drill(arguments: &[&str], out: &Path) -> Output {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let command = Command::new(DRILL).args(arguments).arg("--out").arg(out).output();
    command.expect("the drill runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All of the cast, ten seconds, a real chain: the verdict holds, and says so by its exit status.
#[test]
fn the_short_scenario_holds() {
    let dir = tempfile::tempdir().unwrap();
    let short = repo_root().join("tests/scenarios/short.toml");
    let output = drill(&[short.to_str().unwrap()], dir.path());
    let (said, progress) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{progress}\n{said}");
    assert!(said.contains("THE VERDICT HOLDS"), "{said}");
    assert!(progress.contains("done: "), "{progress}");

    // Everybody had something to do: a drill in which nobody is told anything proves nothing.
    let records = fs::read_to_string(dir.path().join("records.jsonl")).unwrap();
    let roles = ["shopper", "fan", "impatient", "legacy", "bot"];
    let answers = ["held", "queued", "sold-out", "settled"];
    for part in roles.into_iter().chain(answers).map(|name| format!("\"{name}\"")) {
        assert!(records.contains(&part), "no {part} in the records: {said}");
    }
    assert!(records.contains("\"over-limit\"") && records.contains("\"hung-up\""), "{said}");
    let report = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(report.contains("<svg"), "a report without charts");
    assert!(dir.path().join("evidence.json").is_file());
}

/// An edge that admits half as much again as it should, with callers who wait: not so easy to see.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_a_little_too_high_is_found_out() {
    let mut filter = EnvoyConfig::shipped().unwrap().filter_settings().unwrap();
    filter["limits"] = json!({ "SNEAKER": { "per_second": 60, "burst": 10 } });
    filter["default_limit"] = json!({ "per_second": 20, "burst": 20 });
    let config = EnvoyConfig::shipped().unwrap().filter_configuration(&filter);
    let settings = "wait_ms = 100\nhold_ms = 3000\n[lanes]\nreserves_per_s = 32\n";
    let site = Site::start(settings, config).await.unwrap();
    let (edge, service) = (site.envoy.url(""), site.service.url(""));
    let dir = tempfile::tempdir().unwrap();
    let short = repo_root().join("tests/scenarios/short.toml");
    let arguments = [short.to_str().unwrap(), "--edge", &edge, "--service", &service];
    let output = tokio::task::block_in_place(|| drill(&arguments, dir.path()));
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}{}", text(&output.stderr));
    assert!(said.contains("SNEAKER: ") && said.contains("units admitted within"), "{said}");
    assert!(said.contains("where 40/s with a"), "{said}");
}

/// 2: nothing was drilled, so nothing is known.
#[test]
fn a_drill_that_cannot_run_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], expected: &str| {
        let output = drill(arguments, dir.path());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(&["no-such.toml"], "no-such.toml");
    check(&["--edge", "http://127.0.0.1:1"], "--service");
    // Nobody listens on port 1.
    let nobody = "http://127.0.0.1:1";
    check(&["--edge", nobody, "--service", nobody], "does not answer");
    check(&["--edge", "https://127.0.0.1:1", "--service", nobody], "http://host:port");
}
