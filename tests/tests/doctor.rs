//! `cartgate doctor` against real servers: a good one, and each kind of bad one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::Path;

use cartgate_tests::paths;
use cartgate_tests::ports;
use cartgate_tests::redis::{Certificate, Cluster, Pair, Redis, RedisOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// What the doctor said, and how it ended.
#[derive(Debug)]
struct Diagnosis {
    status: i32,
    report: Value,
    text: String,
}

impl Diagnosis {
    /// Level and text of each finding on the server at `place`.
    fn of_server(&self, place: usize) -> BTreeMap<&str, (&str, String)> {
        by_check(&self.report["servers"][place]["findings"])
    }

    fn together(&self) -> BTreeMap<&str, (&str, String)> {
        by_check(&self.report["together"])
    }

    /// Asserts that a check of the first server, or of all, has this level, and says this.
    #[track_caller]
    fn expect(&self, check: &str, level: &str, part: &str) {
        let (server, together) = (self.of_server(0), self.together());
        let (found, text) = server.get(check).or(together.get(check)).unwrap();
        assert!(*found == level && text.contains(part), "{check}: {found}, {text}");
    }
}

fn by_check(findings: &Value) -> BTreeMap<&str, (&str, String)> {
    let findings = findings.as_array().unwrap().iter();
    let text = |finding: &Value| format!("{} {}", finding["found"], finding["change"]);
    findings
        .map(|f| (f["check"].as_str().unwrap(), (f["level"].as_str().unwrap(), text(f))))
        .collect()
}

async fn doctor(url: &str, trust: Option<&Path>) -> Diagnosis {
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(paths::service().unwrap());
        command.arg("doctor").args(arguments).kill_on_drop(true);
        if let Some(authority) = trust {
            command.env("SSL_CERT_FILE", authority);
        }
        command.output().await.unwrap()
    };
    let (json, text) = (run(&["--store", url, "--json"]).await, run(&["--store", url]).await);
    let status = json.status.code().unwrap();
    assert_eq!(text.status.code(), Some(status), "people and machines are told the same");
    let said = [text.stdout, text.stderr].concat();
    let text = String::from_utf8(said).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let report = serde_json::from_slice(&json.stdout).unwrap_or_default();
    Diagnosis { status, report, text }
}

async fn started(settings: &str) -> (TempDir, Redis) {
    let dir = tempfile::tempdir().unwrap();
    let options = RedisOptions::new(dir.path()).settings(settings);
    let redis = Redis::start(&options).await.unwrap();
    (dir, redis)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_ship_is_good_and_nothing_is_left_in_it() {
    let (_dir, redis) = started("").await;
    let found = doctor(&redis.url(), None).await;
    assert_eq!(found.status, 0, "{}", found.text);
    assert!(found.text.contains("0 bad, "), "{}", found.text);
    for check in ["version", "log", "fsync", "eviction", "access", "latency", "write", "clock"] {
        found.expect(check, "ok", "");
    }
    found.expect("store", "ok", "none yet");
    // Alone, and with no limit of its own.
    found.expect("replicas", "warn", "none");
    found.expect("memory", "warn", "CONFIG SET maxmemory");
    assert_eq!(redis.ask::<u64>(&["DBSIZE"]).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_to_change_is_what_has_to_be_changed() {
    let settings =
        "appendonly no\nappendfsync everysec\nmaxmemory-policy allkeys-lru\nmaxmemory 100mb";
    let (_dir, redis) = started(settings).await;
    let found = doctor(&redis.url(), None).await;
    assert_eq!(found.status, 1);
    found.expect("log", "bad", "CONFIG SET appendonly yes");
    found.expect("fsync", "bad", "CONFIG SET appendfsync always");
    found.expect("eviction", "bad", "CONFIG SET maxmemory-policy noeviction");
    // Whoever does as he is told has a good server.
    let commands = found.text.lines().filter_map(|line| line.split_once("-> and now: "));
    for (_, command) in commands {
        let words: Vec<&str> = command.split(' ').collect();
        redis.ask::<()>(&words).await.unwrap();
    }
    let found = doctor(&redis.url(), None).await;
    assert_eq!(found.status, 0, "{}", found.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_each_second_alone_is_bad() {
    let (_dir, redis) = started("appendfsync everysec").await;
    let found = doctor(&redis.url(), None).await;
    let can_wait = !redis.info("redis_version").await.unwrap().starts_with("7.0");
    found.expect("fsync", if can_wait { "warn" } else { "bad" }, "redis.conf: appendfsync always");
    assert_eq!(found.status, if can_wait { 0 } else { 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn full_memory_is_found_by_trying() {
    let (_dir, redis) = started("maxmemory 3mb").await;
    let filler = "x".repeat(100_000);
    while redis.ask::<()>(&["RPUSH", "filler", &filler]).await.is_ok() {}
    let found = doctor(&redis.url(), None).await;
    assert_eq!(found.status, 1);
    found.expect("memory", "bad", "CONFIG SET maxmemory 6mb");
    found.expect("access", "bad", "OOM");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_and_nobody_let_in_is_2() {
    let nowhere = format!("redis://{}", ports::free_address());
    let found = doctor(&nowhere, None).await;
    assert_eq!(found.status, 2);
    assert!(found.text.contains("nobody listens there"), "{}", found.text);

    let dir = tempfile::tempdir().unwrap();
    let options = RedisOptions::new(dir.path()).user("cartgate", "right", "~* &* +@all");
    let redis = Redis::start(&options).await.unwrap();
    let found = doctor(&redis.url().replace("right", "secret"), None).await;
    assert_eq!(found.status, 2);
    assert!(found.text.contains("does not let this user in"), "{}", found.text);
    let found = doctor(&format!("redis://{}", redis.address()), None).await;
    assert_eq!(found.status, 2);
    assert!(found.text.contains("it wants a password"), "{}", found.text);

    let found = doctor("redis://user:secret@", None).await;
    assert_eq!(found.status, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_that_we_suggest_may_do_all_that_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let options = RedisOptions::new(dir.path()).tls().user("cartgate", "secret", &suggested());
    let redis = Redis::start(&options).await.unwrap();
    let trust = Certificate::authority_file(dir.path());
    let found = doctor(&redis.url(), Some(&trust)).await;
    assert_eq!(found.status, 0, "{}", found.text);
    found.expect("access", "ok", "`cartgate` may do all");
    found.expect("fsync", "ok", "always");
    for forbidden in [&["FLUSHALL"][..], &["CONFIG", "SET", "save", ""], &["SET", "other", "1"]] {
        let refused = redis.ask::<()>(forbidden).await.unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{forbidden:?}");
    }
    // Without our authority nobody vouches for it.
    assert_eq!(doctor(&redis.url(), None).await.status, 2);
}

/// The rules of the user that `redis/redis.conf` has as an example.
fn suggested() -> String {
    let config = std::fs::read_to_string(paths::redis_config()).unwrap();
    let user = config.lines().find_map(|line| line.strip_prefix("# user cartgate on "));
    let (_password, rules) = user.unwrap().split_once(' ').unwrap();
    rules.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_lacks_is_named_and_suffices() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "~cg:* resetchannels +@all -xadd -@scripting";
    let options = RedisOptions::new(dir.path()).user("cartgate", "secret", rules);
    let redis = Redis::start(&options).await.unwrap();
    let mut found = doctor(&redis.url(), None).await;
    assert_eq!(found.status, 1);
    found.expect("access", "bad", "ACL SETUSER cartgate ");
    // One thing may hide another: a key that may not be touched hides whether a command may.
    for _ in 0..3 {
        let (_, rules) = found.text.split_once("-> ACL SETUSER cartgate ").unwrap();
        let rules: Vec<&str> = rules.lines().next().unwrap().split(' ').collect();
        redis.ask::<()>(&[&["ACL", "SETUSER", "cartgate"], &rules[..]].concat()).await.unwrap();
        found = doctor(&redis.url(), None).await;
        if found.status == 0 {
            return;
        }
    }
    panic!("{}", found.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_do_nearly_all_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "~* &* +@all -hvals -hscan -expire";
    let options = RedisOptions::new(dir.path()).user("cartgate", "secret", rules);
    let redis = Redis::start(&options).await.unwrap();
    let found = doctor(&redis.url(), None).await;
    assert_eq!(found.status, 1);
    found.expect("access", "bad", "refused: HVALS, HSCAN, EXPIRE");
    found.expect("access", "bad", "ACL SETUSER cartgate +expire +hscan +hvals");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_there_is_looked_at() {
    let (_dir, redis) = started("").await;
    redis.ask::<()>(&["HSET", "cg:store", "format", "2", "buckets", "64"]).await.unwrap();
    let found = doctor(&redis.url(), None).await;
    found.expect("store", "ok", "64 buckets");
    found.expect("tail", "ok", "");
    redis.ask::<()>(&["HSET", "{cg:7}:lost", "SNEAKER", "x"]).await.unwrap();
    let found = doctor(&redis.url(), None).await;
    assert_eq!(found.status, 1);
    found.expect("tail", "bad", "1 SKUs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_is_examined_with_its_replica() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::start(dir.path(), "min-replicas-to-write 1\nmaxmemory 100mb").await.unwrap();
    let found = doctor(&pair.primary.url(), None).await;
    assert_eq!(found.status, 0, "{}", found.text);
    assert!(found.text.contains("0 bad, 0 to look at"), "{}", found.text);
    assert_eq!(found.of_server(1)["replication"].0, "ok");
    // A replica alone takes no writes.
    let found = doctor(&pair.replica.url(), None).await;
    assert_eq!(found.status, 1);
    found.expect("primary", "bad", "no server that was named takes writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_examined_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let settings = "min-replicas-to-write 0\nmaxmemory 100mb";
    let mut cluster = Cluster::start(dir.path(), settings).await.unwrap();
    cluster.nodes[4].ask::<()>(&["CONFIG", "SET", "appendfsync", "no"]).await.unwrap();
    // One node tells of the others.
    let found = doctor(&cluster.nodes[0].url(), None).await;
    assert_eq!(found.status, 1, "{}", found.text);
    assert_eq!(found.report["servers"].as_array().unwrap().len(), cluster.nodes.len());
    let at = cluster.nodes[4].address().to_string();
    let servers = found.report["servers"].as_array().unwrap();
    let bad: Vec<&str> = servers
        .iter()
        .filter(|server| server["findings"].as_array().unwrap().iter().any(|f| f["level"] == "bad"))
        .filter_map(|server| server["server"].as_str())
        .collect();
    assert_eq!(bad, [at], "{}", found.text);
    found.expect("slots", "ok", "all 16384, by 3 primaries");
    found.expect("access", "ok", "");

    cluster.nodes[4].ask::<()>(&["CONFIG", "SET", "appendfsync", "always"]).await.unwrap();
    assert_eq!(doctor(&cluster.url(), None).await.status, 0);
    cluster.nodes[5].kill().await.unwrap();
    let found = doctor(&cluster.url(), None).await;
    assert_eq!(found.status, 1);
    assert!(found.text.contains("cannot be asked"), "{}", found.text);
}
