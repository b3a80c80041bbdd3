//! `cartgate doctor --data`: what it finds in a store, and where there is none.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cartgate_tests::{Order, Service, ServiceOptions, Shop};
use serde_json::Value;

use super::{Run, SKU, backup, cartgate, command, done, names, place, refused};

/// What the doctor said.
struct Diagnosis {
    run: Run,
    report: Value,
}

impl Diagnosis {
    fn finding(&self, check: &str) -> &Value {
        let findings = self.report["together"].as_array().unwrap();
        findings.iter().find(|finding| finding["check"] == check).unwrap()
    }

    /// Asserts that a check has this level, and says this.
    #[track_caller]
    fn expect(&self, check: &str, level: &str, part: &str) {
        let finding = self.finding(check);
        let text = format!("{} {}", finding["found"], finding["change"]);
        assert!(finding["level"] == level && text.contains(part), "{finding}");
    }
}

async fn doctor(data: &Path) -> Diagnosis {
    let data = data.to_str().unwrap();
    let run = cartgate(&["doctor", "--data", data, "--json"]).await;
    let report = serde_json::from_str(&run.output).unwrap_or_default();
    Diagnosis { run, report }
}

/// A store with 50 holds, of a service that was killed; some of it in tables, some in the log.
async fn store(dir: &Path) -> PathBuf {
    let options = ServiceOptions::new(dir);
    let mut service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    shop.set_stock(SKU, 100).await.unwrap();
    for number in 0..50 {
        assert_eq!(shop.reserve(&Order::one(SKU)).await.unwrap().status, 201);
        if number == 25 {
            // What is backed up is in the tables then.
            done(backup(&service.url(""), &dir.join("store.backup")).await);
        }
    }
    let used = doctor(&options.data()).await;
    refused(&used.run, 2, "another process has the store open: stop it first");
    service.process.kill().await.unwrap();
    options.data()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_store_is_good_and_stays_as_it_is() {
    let (dir, _) = place("");
    let data = store(dir.path()).await;
    let logs = || ["log/0", "log/1"].map(|name| fs::read(data.join(name)).unwrap());
    let (before, names_before) = (logs(), names(&data));
    let found = doctor(&data).await;
    assert_eq!(found.run.status, 0, "{:?}", found.run);
    for check in ["store", "log", "journal", "holds", "secret"] {
        found.expect(check, "ok", "");
    }
    found.expect("store", "ok", "format 3");
    found.expect("log", "ok", "24 are not in the tables yet");
    found.expect("journal", "ok", "51 entries of 1 SKUs");
    found.expect("holds", "ok", "50, as the counters say");
    // How long it takes is the machine's affair.
    assert!(found.finding("write")["found"].as_str().unwrap().contains("fdatasync"));
    assert!(logs() == before && names(&data) == names_before);
    let text = cartgate(&["doctor", "--data", data.to_str().unwrap()]).await;
    assert!(text.output.contains("0 bad, "), "{text:?}");
    // What is said on the command line counts more than the environment.
    let mut command = command(&["doctor", "--data", data.to_str().unwrap()]);
    let status =
        command.env("CARTGATE_STORE", "redis://127.0.0.1:1").output().await.unwrap().status;
    assert_eq!(status.code(), Some(0));
    // And the service goes on with it.
    let service = Service::start(&ServiceOptions::new(dir.path())).await.unwrap();
    assert_eq!(Shop::at(service.address()).stock(SKU).await.unwrap().body["held"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found() {
    let (dir, _) = place("");
    let data = store(dir.path()).await;
    let open = || fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    open();
    doctor(&data).await.expect("secret", "warn", "chmod o-rwx");

    // The last commit in the log, in part: it was never answered.
    let log = if fs::read(data.join("log/1")).unwrap().is_empty() { "log/0" } else { "log/1" };
    let log = data.join(log);
    let whole = fs::read(&log).unwrap();
    let last = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut torn = whole.clone();
    torn[last] ^= 1;
    fs::write(&log, &torn).unwrap();
    let found = doctor(&data).await;
    assert_eq!(found.run.status, 0, "{:?}", found.run);
    found.expect("log", "ok", "never answered");
    found.expect("holds", "ok", "49, ");

    // One before the last: that was.
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    fs::write(&log, &damaged).unwrap();
    let found = doctor(&data).await;
    assert_eq!(found.run.status, 1, "{:?}", found.run);
    found.expect("store", "bad", "the log is damaged");
    found.expect("store", "bad", "cartgate restore FILE --data");
    fs::write(&log, &whole).unwrap();
    assert_eq!(doctor(&data).await.run.status, 0);

    // Tables.
    for table in tables(&data.join("keyspaces")) {
        let mut bytes = fs::read(&table).unwrap();
        let middle = bytes.len() / 3;
        bytes[..middle].reverse();
        fs::write(&table, bytes).unwrap();
    }
    let found = doctor(&data).await;
    assert_eq!(found.run.status, 1, "{:?}", found.run);
    assert!(found.run.output.contains("cartgate restore FILE"), "{:?}", found.run);
}

/// Files that rows are in.
fn tables(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tables(&path));
        } else if path.parent().unwrap().ends_with("tables") {
            files.push(path);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn there_has_to_be_one_store() {
    let (dir, empty) = place("empty");
    let empty = empty.as_path();
    refused(&doctor(empty).await.run, 2, "there is no embedded store");
    fs::create_dir(empty).unwrap();
    refused(&doctor(empty).await.run, 2, "there is no embedded store");
    assert_eq!(names(empty), [""; 0]);
    let at = dir.path().to_str().unwrap();
    let both = cartgate(&["doctor", "--data", at, "--store", "redis://127.0.0.1:1"]).await;
    refused(&both, 2, "cannot be used with");
    refused(&cartgate(&["doctor"]).await, 2, "say which store");
}
