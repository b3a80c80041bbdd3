//! What operators see: a start that cannot succeed, metrics, and what answers survive.

use cartgate_tests::process::eventually;
use cartgate_tests::{Order, StoreKind, paths};
use tokio::process::Command;

use super::{SKU, metrics, service};

/// Runs `cartgate serve` with these settings, to its end.
async fn start_that_fails(settings: &str, arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cartgate.toml");
    std::fs::write(&config, settings).unwrap();
    // With fewer files than some systems give, so that what needs many fails everywhere.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 20000 && exec \"$@\"", "sh"]);
    command.arg(paths::service().unwrap()).arg("serve");
    command.arg("--config").arg(config).args(arguments);
    let output = command.current_dir(dir.path()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_succeed_says_why() {
    let (_dir, running, _shop) = service("").await;
    let taken = running.address().to_string();
    let development = "[access]\ndevelopment = true\n";
    let start_that_fails = async |settings: &str, arguments: &[&str]| {
        start_that_fails(&format!("{settings}\n{development}"), arguments).await
    };
    let said = start_that_fails("", &["--listen", &taken]).await;
    assert!(said.contains(&format!("listen: {taken} cannot be used")), "{said}");
    let said = start_that_fails("customers = { pseudonym_key = \"none\" }", &[]).await;
    assert!(said.contains("customers.pseudonym_key: none cannot be read: make one"), "{said}");
    let said = start_that_fails("wait = 5", &[]).await;
    assert!(said.contains("unknown field `wait`, expected one of `listen`"), "{said}");
    let said = start_that_fails("[lanes]\nbatch_max = 0", &[]).await;
    assert!(said.contains("lanes.batch_max = 0 is out of range: set it to 1"), "{said}");
    let said = start_that_fails("connections_max = 1000000", &[]).await;
    assert!(
        said.contains("1000000 connections need 1000256 open files, and the limit is"),
        "{said}"
    );
    let said = start_that_fails("", &["--data", "cartgate.toml"]).await;
    assert!(said.contains("data: the store in cartgate.toml cannot be used"), "{said}");
}

/// What operators build dashboards and alerts on.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_these_names() {
    let (_dir, service, shop) = service("").await;
    assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
    let metrics = metrics(&service).await;
    let types: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let expected = [
        "cartgate_http_requests counter",
        "cartgate_http_request_seconds histogram",
        "cartgate_commands counter",
        "cartgate_hung_up counter",
        "cartgate_batch_size histogram",
        "cartgate_commit_seconds histogram",
        "cartgate_commits counter",
        "cartgate_journal_entries counter",
        "cartgate_tenures_begun counter",
        "cartgate_takeovers counter",
        "cartgate_holds gauge",
        "cartgate_hot_items gauge",
        "cartgate_hot_demand counter",
        "cartgate_hot_admitted counter",
        "cartgate_skus_lost counter",
        "cartgate_lane_depth gauge",
        "cartgate_lane_oldest_age_ms gauge",
        "cartgate_fleet_leader gauge",
        "cartgate_edges gauge",
        "cartgate_edges_behind gauge",
        "cartgate_registry_revision gauge",
        "cartgate_edge_reports_other_sku_form counter",
        "cartgate_hot_items_detected counter",
        "cartgate_hot_items_let_go counter",
        "cartgate_hot_items_expired counter",
        "cartgate_spans_exported counter",
    ];
    assert_eq!(types, expected);
    // Counted once it is answered.
    let counted = r#"cartgate_commands_total{command="reserve",outcome="held"} 1"#;
    let is_counted = || async { super::metrics(&service).await.contains(counted).then_some(()) };
    eventually("the order to be counted", is_counted).await;
}

/// Whoever is answered can see what the answer survives. The suite's Redis syncs everything, also for
/// those who ask for less.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_it_survives() {
    let process = match StoreKind::from_env() {
        StoreKind::Embedded => "process",
        StoreKind::Redis => "disk",
    };
    for (settings, expected) in [("", "disk"), ("durability = \"process\"", process)] {
        let (_dir, _service, shop) = service(settings).await;
        let stated = async |path: &str| {
            let answer = shop.get(path).await.unwrap();
            (answer.status, answer.header("cartgate-durability").map(str::to_owned))
        };
        let expected = Some(expected.to_owned());
        assert_eq!(stated("/v1/skus/SNEAKER-1").await, (200, expected.clone()));
        assert_eq!(stated("/v1/nothing").await, (404, expected.clone()));
        let held = shop.reserve(&Order::one(SKU)).await.unwrap();
        let stated_by = held.header("cartgate-durability").map(str::to_owned);
        assert_eq!((held.status, stated_by), (201, expected));
        assert_eq!(stated("/ready").await, (200, None));
    }
}
