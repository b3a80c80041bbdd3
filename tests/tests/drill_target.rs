//! Systems that a drill can say nothing about: it says so, and leaves alone what is not its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use cartgate_tests::drill::evidence::{EvidenceError, Witness};
use cartgate_tests::drill::rehearsal::{DrillError, Place, Plan, rehearse};
use cartgate_tests::drill::scenario::{Overrides, Scenario};
use cartgate_tests::paths::repo_root;
use cartgate_tests::process::eventually;
use cartgate_tests::{Service, ServiceOptions, Shop, Upstream};
use tokio::net::TcpListener;

const DRILL: &str = env!("CARGO_BIN_EXE_drill");

/// Two seconds of the short scenario.
fn scenario() -> Scenario {
    let path = repo_root().join("tests/scenarios/short.toml");
    let mut scenario = Scenario::read(&path, Overrides::default()).unwrap();
    (scenario.duration_s, scenario.drain_s, scenario.hot.jump_at_s) = (2, 1, 1);
    scenario
}

fn plan(out: &Path, edge: &str, service: &str) -> Plan {
    let place = Place::At { edge: edge.to_owned(), service: service.to_owned() };
    let patience = Duration::from_secs(2);
    Plan { scenario: scenario(), place, out: out.to_owned(), patience }
}

fn drill(arguments: &[&str], working_dir: &Path) -> Output {
    Command::new(DRILL).args(arguments).current_dir(working_dir).output().expect("the drill runs")
}

/// An edge that does not lead to cartgate is found out before anybody goes there, and it is called
/// by the name that it was given.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&ServiceOptions::new(&dir.path().join("site"))).await.unwrap();
    let (out, service_url) = (dir.path().join("out"), service.url(""));
    let down = rehearse(&plan(&out, "http://127.0.0.1:1", &service_url)).await.unwrap_err();
    assert!(down.to_string().contains("127.0.0.1:1 does not answer"), "{down}");

    let strange = Upstream::start().await;
    let host = format!("localhost:{}", strange.address().port());
    let edge = format!("http://{host}/");
    let error = rehearse(&plan(&out, &edge, &service_url)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("the edge {host} does not")), "{error}");
    assert!(error.contains("200 OK") && error.contains("unknown-ticket"), "{error}");
    assert_eq!(strange.seen().requests[0].header("host"), Some(host.as_str()));
    let stock = Shop::at(service.address()).stock("SNEAKER").await.unwrap();
    assert_eq!(stock.status, 404, "nothing was put up for sale: {stock:?}");
}

/// A system that answers, and sells nothing of what it has been given: the edge leads elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_of_another_shop_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let start = async |name| Service::start(&ServiceOptions::new(&dir.path().join(name))).await;
    let (ours, other) = (start("ours").await.unwrap(), start("other").await.unwrap());
    let out = dir.path().join("out");
    let error = rehearse(&plan(&out, &other.url(""), &ours.url(""))).await.unwrap_err();
    assert!(matches!(error, DrillError::Hollow(_)), "{error}");
    assert!(error.to_string().starts_with("the drill proves nothing: of "), "{error}");
    let verdict = fs::read_to_string(out.join("verdict.json")).unwrap();
    assert!(verdict.contains("\"violations\": []"), "{verdict}");
    assert!(!out.join("report.html").exists(), "a report that says that the verdict holds");
}

/// A service that notices nothing, where it is to.
#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_is_not_noticed_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(&dir.path().join("site"));
    let options = options.settings("[detection]\nenabled = false\n");
    let service = Service::start(&options).await.unwrap();
    let (out, url) = (dir.path().join("out"), service.url(""));
    let path = repo_root().join("tests/scenarios/unannounced-short.toml");
    let mut scenario = Scenario::read(&path, Overrides::default()).unwrap();
    (scenario.duration_s, scenario.drain_s, scenario.hot.jump_at_s) = (2, 1, 1);
    scenario.hot.falls_at_s = None;
    let plan = Plan { scenario, ..plan(&out, &url, &url) };
    let error = rehearse(&plan).await.unwrap_err();
    assert!(matches!(error, DrillError::Hollow(_)), "{error}");
    let says = "was never noticed, never limit known at all edges";
    assert!(error.to_string().contains(says), "{error}");
}

/// A service that dies for good: the records are kept, and nobody waits for it for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_leaves_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(&dir.path().join("site"));
    let mut service = Service::start(&options).await.unwrap();
    let (out, url) = (dir.path().join("out"), service.url(""));
    let plan = plan(&out, &url, &url);
    let drill = tokio::spawn(async move { rehearse(&plan).await });
    // The hot product sells: the drill is in the middle.
    let is_sold = || async {
        let stock = Shop::at(service.address()).stock("SNEAKER").await.unwrap();
        (stock.body["held"].as_u64() > Some(0)).then_some(())
    };
    eventually("orders", is_sold).await;
    service.process.kill().await.unwrap();

    let error = drill.await.unwrap().unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, DrillError::Evidence { .. }), "{said}");
    let records = out.join("records.jsonl");
    assert!(
        said.contains(" s into the drill") && said.contains(records.to_str().unwrap()),
        "{said}"
    );
    assert!(fs::read_to_string(records).unwrap().contains("\"held\""));
    assert!(fs::read_to_string(out.join("summary.txt")).unwrap().starts_with("NO VERDICT"));
}

/// A service that hangs: there is one deadline for all that is asked of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patience = Duration::from_secs(1);
    let witness = Witness::at(silent.local_addr().unwrap()).patience(patience);
    let began = Instant::now();
    let error = witness.gather(&["SNEAKER"; 3], &mut Vec::new()).await.unwrap_err();
    assert!(matches!(error, EvidenceError::Late { .. }), "{error}");
    assert!(began.elapsed() < patience * 5, "{:?}", began.elapsed());
}

/// `--out` is relative to where the drill is started, and what lies there already is left alone.
#[test]
fn what_no_drill_has_made_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("mine/data")).unwrap();
    let nobody = "http://127.0.0.1:1";
    let check = |out: &str, expected: &str| {
        let output = drill(&["--edge", nobody, "--service", nobody, "--out", out], dir.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check("mine", "no drill has made");
    assert!(dir.path().join("mine/data").is_dir());
    check("new", "does not answer");
    assert!(dir.path().join("new/.drill").is_file());
}
