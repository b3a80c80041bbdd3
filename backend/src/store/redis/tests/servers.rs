//! Servers that go away, come back, or are not what they were.

use std::time::Instant;

use super::proxy::{Proxy, Way};
use super::*;
use crate::store::Durability;
use crate::store::redis::{PostError, Settings, is_passing};

const LOGGED: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn start(settings: &[&str]) -> (TempDir, Server) {
    let directory = TempDir::new().unwrap();
    let server = Server::start_with(directory.path(), settings);
    (directory, server)
}

fn impatient() -> Settings {
    Settings { timeout: Duration::from_millis(300), ..settings() }
}

fn open(url: &str, settings: Settings) -> RedisStore {
    RedisStore::open(url.parse().unwrap(), settings).unwrap()
}

fn acquire(store: &RedisStore) -> Taken {
    store.acquire(0, WorkerId(1)).unwrap().unwrap()
}

/// Tries until it succeeds: what is down stays so for a moment, for those who ask too.
pub(super) async fn until_some<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within 30 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Nobody knows whether a turn was written whose reply was lost. Whoever loads anew does.
#[tokio::test]
async fn a_turn_whose_reply_was_lost_is_found_by_who_loads_anew() {
    let rig = Rig::new();
    rig.post(Stream::Normal, 1..3).await;
    let proxy = Proxy::to(rig.server.port());
    let store = open(&proxy.url(), settings());
    let tenure = acquire(&store);
    let entries = in_lane(read(&tenure));
    let turn = TurnCommit { steps: vec![step(Stream::Normal, &entries)], ..sale(0, 2) };
    proxy.go(Way::LosesReplies);
    let error = tenure.commit_turn(&turn).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "not known: {error}");
    proxy.go(Way::Open);

    let next = acquire(&store);
    assert_eq!(next.load().unwrap().stocks, vec![(sku("A"), turn.commit.skus[0].row)]);
    assert_eq!(next.progress().unwrap().cursors, [(Stream::Normal, turn.steps[0].to.clone())]);
    next.commit_turn(&sale(2, 3)).unwrap();
}

#[tokio::test]
async fn what_was_committed_survives_a_crash_of_the_server() {
    let (directory, server) = start(&LOGGED);
    let proxy = Proxy::to(server.port());
    let store = open(&proxy.url(), settings());
    let api = store.api();
    let tenure = acquire(&store);
    let reached = tenure.commit_turn(&sale(0, 2)).unwrap();
    assert_eq!((reached.durability, reached.replicas), (Durability::Disk, None));
    assert_eq!(api.stock(0, &sku("A")).await.unwrap().map(|row| row.version), Some(2));
    drop(server);
    assert!(tenure.renew().is_err());
    let server = Server::start_with(directory.path(), &LOGGED);
    proxy.lead_to(server.port());
    let error = tenure.commit_turn(&sale(2, 3)).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");

    let next = until_some(async || store.acquire(0, WorkerId(1)).ok().flatten()).await;
    assert_eq!(next.load().unwrap().stocks.len(), 1);
    next.commit_turn(&sale(2, 3)).unwrap();
    let stock = until_some(async || api.stock(0, &sku("A")).await.ok().flatten()).await;
    assert_eq!(stock.version, 3);
}

/// The connection may survive that a server was a replica for a moment, and lost what it had.
#[test]
fn a_server_with_another_history_ends_the_tenure() {
    let mut rig = Rig::new();
    let tenure = rig.acquire(1);
    assert!(tenure.renew().unwrap());
    rig.run(&["REPLICAOF", "127.0.0.1", "1"]);
    rig.run(&["REPLICAOF", "NO", "ONE"]);
    assert!(!tenure.renew().unwrap());
    let error = tenure.commit_turn(&sale(0, 1)).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
    assert!(available(&rig.acquire(1)).is_none(), "nothing was written");
}

#[test]
fn a_commit_says_how_durable_it_is() {
    let (_directory, server) = start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let (_other, replica) = start(&[]);
    let wait = Duration::from_millis(200);
    let store = server.store_with(Settings { replicas: 1, wait, ..settings() });
    let tenure = acquire(&store);
    assert_eq!(tenure.durability(), Durability::Process);
    let reached = tenure.commit_turn(&sale(0, 1)).unwrap();
    assert_eq!((reached.durability, reached.replicas), (Durability::Process, Some(0)));

    let port = server.port().to_string();
    let mut connection = replica.connection();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).exec(&mut connection).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let commit = Commit { unticketed: vec![id(9)], ..Commit::default() };
    let turn = TurnCommit { commit, ..TurnCommit::default() };
    while tenure.commit_turn(&turn).unwrap().replicas != Some(1) {
        assert!(Instant::now() < deadline, "the replica does not follow");
    }
}

/// Of several servers the one is the store that is no replica, also once they have changed places.
#[test]
fn the_store_is_the_server_that_takes_writes() {
    let (_directories, servers): (Vec<_>, Vec<_>) = [start(&[]), start(&[])].into_iter().unzip();
    let mut connections = servers.iter().map(Server::connection).collect::<Vec<_>>();
    let follow = |connection: &mut Connection, port: &str| {
        redis::cmd("REPLICAOF").arg(&["127.0.0.1", port]).exec(connection).unwrap();
    };
    let ports = [servers[0].port().to_string(), servers[1].port().to_string()];
    follow(&mut connections[0], &ports[1]);
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1]);
    let store = open(&url, Settings { replicas: 1, wait: Duration::from_secs(20), ..settings() });
    let tenure = acquire(&store);
    assert_eq!(tenure.commit_turn(&sale(0, 2)).unwrap().replicas, Some(1));

    redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).exec(&mut connections[0]).unwrap();
    follow(&mut connections[1], &ports[0]);
    let error = tenure.commit_turn(&sale(2, 3)).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "it is a replica now: {error}");
    let tenure = acquire(&store);
    assert_eq!(available(&tenure), Some(sale(0, 2).commit.skus[0].row.counters));
    tenure.commit_turn(&sale(2, 3)).unwrap();
}

/// While nobody answers, nobody hangs: each is told at once when to come back.
#[tokio::test]
async fn an_outage_is_told_at_once_and_ends_by_itself() {
    let (_directory, server) = start(&[]);
    let proxy = Proxy::to(server.port());
    let store = open(&proxy.url(), impatient());
    let api = store.api();
    let groups = vec![Group { stream: Stream::Normal, posted: vec![reserve(1)], depth_max: 9 }];
    let post = Post { groups, ..Post::default() };
    api.post(0, &post).await.unwrap();
    for way in [Way::Silent, Way::Closed] {
        proxy.go(way);
        let error = api.post(0, &post).await.unwrap_err();
        assert!(matches!(error, PostError::Unknown(_)), "it was sent: {error}");
        let began = Instant::now();
        let mut told = 0;
        while began.elapsed() < Duration::from_millis(50) {
            let error = api.post(0, &post).await.unwrap_err();
            assert!(matches!(error, PostError::OutOfReach { .. }), "{error}");
            let error = api.stock(0, &sku("A")).await.unwrap_err();
            assert!(matches!(error, StoreError::OutOfReach { .. }), "{error}");
            told += 1;
        }
        assert!(told > 10, "{told} times within 50 ms");
        proxy.go(Way::Closed);
        proxy.go(Way::Open);
        until_some(async || api.post(0, &post).await.ok()).await;
    }
}

/// One that ended without a word, its machine lost or a firewall forgetful, would be listened to for
/// ever.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_is_silent_is_asked_whether_it_is_there() {
    let rig = Rig::new();
    let tenure = rig.acquire(1);
    rig.post(Stream::Normal, 1..2).await;
    let hearing = rig.api.hear(7).await.unwrap();
    // Our ends of connections to the server, each with the timer that runs for it: 2 is keepalive.
    let to = format!("0100007F:{:04X}", rig.server.port());
    let timers = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows: Vec<Vec<&str>> =
            table.lines().map(|row| row.split_whitespace().collect()).collect();
        let ours = rows.iter().filter(|row| row[2] == to && row[3] == "01");
        ours.map(|row| row[5].to_owned()).collect::<Vec<_>>()
    };
    // The rig's own, past the store, has none.
    until_some(async || {
        let timers = timers();
        let kept = timers.iter().filter(|timer| timer.starts_with("02:")).count();
        (timers.len() >= 5 && kept == timers.len() - 1).then_some(())
    })
    .await;
    drop((tenure, hearing));
}

/// Whoever starts in the middle of a failover waits for its end.
#[test]
fn a_store_without_a_primary_is_one_that_may_have_one_in_a_moment() {
    let opened = |url: String| RedisStore::open(url.parse().unwrap(), settings());
    let is_passing = |url| opened(url).is_err_and(|error| is_passing(&error));
    let mut rig = Rig::new();
    rig.run(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(is_passing(rig.server.url()), "all are replicas");
    rig.run(&["REPLICAOF", "NO", "ONE"]);
    assert!(opened(rig.server.url()).is_ok());
    let (_directory, server) = start(&["--cluster-enabled", "yes"]);
    assert!(is_passing(server.url()), "nobody has a slot");
    assert!(!is_passing(rig.server.url().replace("//", "//nobody:wrong@")), "a wrong password");
}

/// Whoever listens tries again and again: nobody else is to be kept from a server that answers.
#[tokio::test]
async fn a_server_that_takes_no_subscription_is_asked_all_the_same() {
    let mut rig = Rig::new();
    rig.run(&["ACL", "SETUSER", "default", "-subscribe"]);
    rig.post(Stream::Normal, 1..2).await;
    let error = rig.api.hear(7).await.err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("permission"), "{source}");
    rig.post(Stream::Normal, 2..3).await;
}

#[test]
fn workers_know_of_each_other_until_they_retire() {
    use crate::store::tenure::WorkerReport;
    let mut rig = Rig::new();
    let report = |worker| WorkerReport { worker: WorkerId(worker), buckets: vec![(3, 9)] };
    assert_eq!(rig.store.report(&report(1)).unwrap(), [report(1)]);
    let mut all = rig.store.report(&report(2)).unwrap();
    all.sort_by_key(|report| report.worker);
    assert_eq!(all, [report(1), report(2)]);
    rig.store.retire(WorkerId(1)).unwrap();
    assert_eq!(rig.store.report(&report(2)).unwrap(), [report(2)]);

    // One that has not reported for long is left out, and removed.
    rig.run(&["HSET", "cg:workers", "0000000000000003", "1 x"]);
    rig.run(&["HSET", "cg:workers", "0000000000000004", "99999999999999 x"]);
    assert_eq!(rig.store.report(&report(2)).unwrap(), [report(2)]);
    assert_eq!(rig.ask::<u64>(&["HLEN", "cg:workers"]), 1);
}

#[test]
fn a_store_is_opened_as_it_was_made() {
    let rig = Rig::new();
    let again = rig.server.store();
    assert_eq!(again.secret(), rig.store.secret());
    let other = Settings { buckets: 8, ..settings() };
    let error = RedisStore::open(rig.server.url().parse().unwrap(), other).err().unwrap();
    assert!(matches!(error, StoreError::BucketsDiffer { stored: 4, configured: 8 }), "{error}");
    let apart = Settings { prefix: "other".into(), buckets: 8, ..settings() };
    assert_ne!(rig.server.store_with(apart).secret(), rig.store.secret());
}

#[tokio::test]
async fn whoever_has_to_log_in_does_so_wherever_it_connects() {
    let mut rig = Rig::new();
    rig.run(&["ACL", "SETUSER", "shop", "on", ">p@ss", "~{cg:*", "~cg:*", "&cg:*", "+@all"]);
    rig.run(&["ACL", "SETUSER", "default", "off"]);
    let url = |login: &str| rig.server.url().replace("//", &format!("//{login}@"));
    let store = open(&url("shop:p%40ss"), settings());
    acquire(&store).commit_turn(&sale(0, 1)).unwrap();
    assert!(store.api().stock(0, &sku("A")).await.unwrap().is_some());
    store.api().hear(7).await.unwrap();
    let error = RedisStore::open(url("shop:wrong").parse().unwrap(), settings()).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("Authentication"), "{source}");
}
