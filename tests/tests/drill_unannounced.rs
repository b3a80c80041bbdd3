//! The drill of a product that nobody registered. By itself: one drill is as much as a small machine can take
//! at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use cartgate_tests::paths::repo_root;
use serde_json::Value;

/// A product that nobody registered goes all of its way, and the report tells when.
#[test]
fn a_product_that_nobody_registered_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = repo_root().join("tests/scenarios/unannounced-short.toml");
    let mut drill = Command::new(env!("CARGO_BIN_EXE_drill"));
    let output = drill.arg(scenario).arg("--out").arg(dir.path()).output().unwrap();
    let [said, progress] =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert_eq!(output.status.code(), Some(0), "{}\n{said}", progress);
    let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
    let [verdict, evidence] = ["verdict.json", "evidence.json"]
        .map(|name| serde_json::from_str::<Value>(&read(name)).unwrap());
    let events = verdict["course"]["events"].as_array().unwrap();
    let event = |what: &str| events.iter().find(|event| event["what"] == what).unwrap();
    let at_us = ["noticed", "limit-known", "sold-out", "back-on-sale", "let-go"]
        .map(|what| event(what)["at_us"].as_u64().unwrap());
    assert!(at_us.is_sorted(), "{said}");
    let reason = event("noticed")["note"].as_str().unwrap();
    assert!(reason.ends_with("/s over 400 ms, threshold 100/s") && said.contains(reason), "{said}");
    let changes = evidence["hot_item"]["history"].as_array().unwrap();
    let changes: Vec<_> = changes.iter().map(|change| change["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["removed", "registered"]);
    for check in ["sold-out", "limit"] {
        assert!(verdict["checked"][check].as_u64() > Some(0), "{said}");
    }
    assert!(read("records.jsonl").contains("\"sold-out-at-edge\""), "{said}");
    assert!(read("report.html").contains("What became of SURPRISE, which nobody registered"));
}
