//! `cartgate hot-items scan` as an operator runs it: on what a real Envoy has logged, and as the manifest
//! that we ship has it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::process::Stdio;

use cartgate_tests::process::eventually;
use cartgate_tests::{
    Edge, EnvoyConfig, Service, ServiceOptions, Shop, StoreKind, client, filter, paths, ports,
    tokens,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How a scan ended, and what it said.
#[derive(Debug)]
struct Scan {
    status: i32,
    output: String,
    error: String,
}

impl Scan {
    fn report(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// Runs `cartgate` with `arguments`, and gives it `input`.
async fn cartgate(arguments: &[&str], input: &str) -> Scan {
    let mut command = Command::new(paths::service().unwrap());
    command.args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Whoever ends early does not read all of it.
    tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (status, error) = (output.status.code().unwrap(), text(output.stderr));
    Scan { status, output: text(output.stdout), error }
}

async fn scan(arguments: &[&str], input: &str) -> Scan {
    cartgate(&[&["hot-items", "scan"], arguments].concat(), input).await
}

/// So many requests for `sku` at about the same time.
fn lines(sku: &str, requests: u64) -> String {
    let line = |n| {
        let at = format!("2026-11-29T10:00:00.{n:03}Z");
        format!("[{at}] \"POST /cart/{sku}/add HTTP/1.1\" 201 - 0 0 1 1 \"-\" \"-\" \"-\"\n")
    };
    (0..requests).map(line).collect()
}

/// What a real Envoy logs of requests whose SKU is in the path, in the format that it is told: all are
/// found, and as many denied as clients were told.
async fn check_envoys_log(log_format: Option<Value>) {
    let mut configuration = filter::configuration(filter::SLOW, &[("SNEAKER", (1, 7))]);
    configuration["access_log"] = json!(true);
    let config = EnvoyConfig::shipped().unwrap().route_everything();
    let mut config = config.filter_configuration(&configuration);
    let is_shipped = log_format.is_none();
    if let Some(log_format) = log_format {
        config = config.set("log_format", &log_format);
    }
    let edge = Edge::start(config, 1).await.unwrap();
    let client = client::http();
    let mut denied = 0;
    for _ in 0..30 {
        let answer = client.post(edge.envoy.url("/by-path/SNEAKER?quantity=1")).send().await;
        denied += u64::from(answer.unwrap().status() == 429);
        let other = client.get(edge.envoy.url("/by-path/SNEAKER")).send().await;
        assert!(other.unwrap().status().is_success());
    }
    assert!(denied > 0);
    let log = eventually("all requests are logged", || async {
        let log = edge.envoy.access_log();
        (log.lines().count() == 60).then_some(log)
    });
    let log = log.await;

    let dir = tempfile::tempdir().unwrap();
    let routes = dir.path().join("filter.json");
    fs::write(&routes, configuration.to_string()).unwrap();
    let by_routes = ["--routes", routes.to_str().unwrap()];
    let by_path = ["--sku", "path:/by-path/{sku}"];
    // The filter leaves lines for logs in JSON, as the shipped one is.
    let by_lines = ["--sku", "lines:lines"];
    let places =
        if is_shipped { &[by_routes, by_path, by_lines][..] } else { &[by_routes, by_path] };
    for place in places {
        let options = ["--window-ms", "60000", "--threshold", "1", "--json"];
        let scan = scan(&[&place[..], &options[..]].concat(), &log).await;
        assert_eq!(scan.status, 0, "{scan:?}");
        let report = scan.report();
        let lines = &report["lines"];
        assert_eq!((&lines["counted"], &lines["other"]), (&json!(30), &json!(30)), "{report}");
        // 30 in a minute are not hot. Shown they are.
        let found = &report["below"][0];
        assert_eq!((&found["sku"], &found["requests"]), (&json!("SNEAKER"), &json!(30)));
        assert_eq!((&found["denied"], &found["peak_per_s"]), (&json!(denied), &json!(0.5)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_envoy_logs_by_default_is_read() {
    check_envoys_log(Some(Value::Null)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_shipped_envoy_logs_is_read() {
    check_envoys_log(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_standard_input_are_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    fs::write(&file, lines("SNEAKER", 150)).unwrap();
    let arguments = [file.to_str().unwrap(), "-", "--sku", "path:/cart/{sku}/add"];
    let scan = scan(&arguments, &lines("SNEAKER", 50)).await;
    assert_eq!(scan.status, 0, "{scan:?}");
    assert!(scan.output.starts_with("200 lines: 200 requests for a SKU"), "{}", scan.output);
    assert!(scan.output.contains("SNEAKER           200"), "{}", scan.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_1_and_says_why() {
    let sku = ["--sku", "path:/cart/{sku}/add"];
    let check = async |more: &[&str], input: &str, part: &str| {
        let scan = scan(&[&sku, more].concat(), input).await;
        assert_eq!(scan.status, 1, "{scan:?}");
        assert!(scan.error.contains(part), "{part:?} is not in:\n{}", scan.error);
        scan
    };
    check(&["/nowhere/access.log"], "", "/nowhere/access.log: No such file").await;
    check(&[], "what is this\n", "A line has to look like").await;
    let nowhere = format!("http://{}", ports::free_address());
    let register = ["--register", &nowhere, "--json"];
    let hot = lines("A", 200) + &lines("B", 150);
    let scan = check(&register, &hot, "2 of 2 hot items could not be registered").await;
    let registrations = &scan.report()["registrations"];
    assert_eq!(
        (&registrations[0]["sku"], &registrations[0]["outcome"]),
        (&json!("A"), &json!("failed"))
    );
    assert_eq!(registrations[1]["outcome"], "not_tried");
    let burst = ["--register", &nowhere, "--limit-per-second", "5", "--limit-burst", "4"];
    check(&burst, "", "--limit-burst 4 is less than --limit-per-second 5").await;
}

/// `istio/hot-items-scan.yaml`: what it has cartgate do is what cartgate can do, and a careful cluster takes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_cron_job_scans() {
    let manifest =
        EnvoyConfig::read(&paths::repo_root().join("istio/hot-items-scan.yaml")).unwrap();
    let manifest = manifest.as_value();
    assert_eq!(
        (&manifest["apiVersion"], &manifest["kind"]),
        (&json!("batch/v1"), &json!("CronJob"))
    );
    assert_eq!(manifest["spec"]["concurrencyPolicy"], "Forbid");
    let pod = &manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["restartPolicy"], "Never");
    let container = &pod["containers"][0];
    let careful = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
    });
    assert_eq!(container["securityContext"], careful);
    assert!(container["resources"]["limits"]["memory"].is_string());
    let mount = &container["volumeMounts"][0];
    assert_eq!((&mount["name"], &mount["readOnly"]), (&pod["volumes"][0]["name"], &json!(true)));

    // With a directory of ours in place of the volume, and nothing hot, so that nobody has to be there.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("edge-1.log"), lines("SNEAKER", 9)).unwrap();
    let (volume, ours) = (mount["mountPath"].as_str().unwrap(), dir.path().to_str().unwrap());
    let arguments = container["args"].as_array().unwrap().iter();
    let mut arguments: Vec<&str> = arguments.map(|argument| argument.as_str().unwrap()).collect();
    let place = arguments.iter().position(|argument| *argument == volume).unwrap();
    arguments[place] = ours;
    let scan = cartgate(&arguments, "").await;
    assert_eq!(scan.status, 0, "{scan:?}");
    assert!(scan.output.starts_with("9 lines: "), "{}", scan.output);
}

/// At a real service: what is hot gets registered, what was detected before is renewed, and what somebody
/// registered by hand stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hot_is_registered_at_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let token = tokens::create(&file, "scan", "hot-items");
    let options = ServiceOptions::new(dir.path()).own_store(StoreKind::from_env());
    let service = Service::start(&options.settings(&tokens::setting(&file))).await.unwrap();
    let shop = Shop::showing(&token, service.address());
    assert_eq!(shop.promote("BY-HAND", Some(7)).await.unwrap().status, 201);
    let shown = async |sku: &str| shop.get(&format!("/v1/hot-items/{sku}")).await.unwrap();

    let log = lines("SNEAKER", 300) + &lines("BY-HAND", 200) + &lines("TEE", 99);
    let url = service.url("");
    let place = ["--sku", "path:/cart/{sku}/add", "--register", &url, "--json", "--token", &token];
    let terms = ["--limit-per-second", "5", "--limit-burst", "9", "--reserves-per-s", "4"];
    let outcomes = async |more: &[&str]| {
        let scan = scan(&[&place, more].concat(), &log).await;
        assert_eq!(scan.status, 0, "{scan:?}");
        let registrations = scan.report()["registrations"].take();
        ["SNEAKER", "BY-HAND"].map(|sku| {
            let mut all = registrations.as_array().unwrap().iter();
            let its = all.find(|registration| registration["sku"] == sku).unwrap();
            its["outcome"].as_str().unwrap().to_owned()
        })
    };
    let by_hand = shown("BY-HAND").await.body;
    assert_eq!(outcomes(&["--dry-run"]).await, ["would_put", "left_alone"]);
    assert_eq!(shown("SNEAKER").await.status, 404);

    assert_eq!(outcomes(&terms).await, ["registered", "left_alone"]);
    // Who has changed what is in the log, whatever else is.
    let is_change = |line: &&str| line.contains(" INFO ") && line.contains("SNEAKER");
    let change = service.log();
    let change = change.lines().find(is_change).expect("a line");
    assert!(change.contains(r#"client="scan""#) && change.contains(r#"method="PUT""#), "{change}");
    let new = shown("SNEAKER").await.body;
    assert_eq!((&new["origin"], &new["reserves_per_s"]), (&json!("detected"), &json!(4)));
    assert_eq!(new["limit"], json!({ "per_second": 5, "burst": 9 }));
    let history = shop.get("/v1/hot-items/SNEAKER/history").await.unwrap().body;
    let reason = "access log: 300/s over 1 s at 2026-11-29T09:59:59.300Z, threshold 100/s";
    assert!(history.to_string().contains(reason), "{history}");

    // Without terms of its own it leaves those that are there.
    assert_eq!(outcomes(&["--expire-after", "2h"]).await, ["renewed", "left_alone"]);
    let renewed = shown("SNEAKER").await.body;
    assert_eq!((&renewed["limit"], &renewed["origin"]), (&new["limit"], &new["origin"]));
    let time = |item: &Value| item["expires_at"].as_str().unwrap().to_owned();
    assert!(time(&renewed) > time(&new), "{renewed}");
    assert_eq!(shown("BY-HAND").await.body["version"], by_hand["version"]);
    assert_eq!(shown("TEE").await.status, 404);
}
