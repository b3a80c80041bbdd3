//! What the suites with Redis stand on: that servers die, come back, lose and keep what they should.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use cartgate_tests::process::{eventually, poll_until};
use cartgate_tests::redis::{Cluster, NODES, PRIMARIES, Pair, Partition, Redis, RedisOptions};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, RedisResult};
use tempfile::TempDir;

/// Long enough to see that nothing comes, short enough to wait for.
const NOTHING_WITHIN: Duration = Duration::from_millis(200);

async fn started(change: impl FnOnce(RedisOptions) -> RedisOptions) -> (TempDir, Redis) {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(&change(RedisOptions::new(dir.path()))).await.unwrap();
    (dir, redis)
}

/// A connection by way of a partition, which gives up soon.
async fn through(redis: &Redis, partition: &Partition) -> RedisResult<MultiplexedConnection> {
    let client = Client::open(redis.url_at(partition.address()))?;
    let soon = Some(NOTHING_WITHIN);
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(soon).set_response_timeout(soon);
    client.get_multiplexed_async_connection_with_config(&config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_configuration_holds() {
    let (_dir, redis) = started(|options| options).await;
    for (setting, value) in [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
        ("save", ""),
    ] {
        let found: Vec<String> = redis.ask(&["CONFIG", "GET", setting]).await.unwrap();
        assert_eq!(found, [setting, value]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    let (_dir, mut redis) = started(|options| options).await;
    redis.ask::<()>(&["SET", "told", "yes"]).await.unwrap();
    let run = redis.info("run_id").await.unwrap();
    redis.kill().await.unwrap();
    assert!(redis.connect().await.is_err(), "it is dead");
    redis.restart().await.unwrap();
    assert_eq!(redis.ask::<String>(&["GET", "told"]).await.unwrap(), "yes");
    assert_ne!(redis.info("run_id").await.unwrap(), run);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_says_nothing_until_it_goes_on() {
    let (_dir, redis) = started(|options| options).await;
    let mut connection = redis.connect().await.unwrap();
    redis.process.pause();
    let mut answer = Box::pin(connection.set::<_, _, ()>("key", "value"));
    assert!(tokio::time::timeout(NOTHING_WITHIN, &mut answer).await.is_err());
    redis.process.resume();
    answer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_user_that_was_set_gets_in_by_tls() {
    let rules = "~cg:* &* +@all";
    let (_dir, redis) = started(|options| options.tls().user("cartgate", "secret", rules)).await;
    assert!(redis.url().starts_with("rediss://cartgate:secret@127.0.0.1:"), "{}", redis.url());
    redis.ask::<()>(&["SET", "cg:key", "value"]).await.unwrap();
    let denied = redis.ask::<()>(&["SET", "other", "value"]).await.unwrap_err();
    assert_eq!(denied.code(), Some("NOPERM"));
    // Nobody vouches for it but its own authority.
    let stranger = Client::open(redis.url()).unwrap();
    let refused = stranger.get_multiplexed_async_connection().await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_lacks_what_the_network_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::start(dir.path(), "").await.unwrap();
    pair.primary.ask::<()>(&["SET", "early", "1"]).await.unwrap();
    pair.until_in_step().await;
    pair.link.silence();
    pair.primary.ask::<()>(&["SET", "late", "1"]).await.unwrap();
    pair.primary.kill().await.unwrap();
    let known = pair.replica.info("master_replid").await.unwrap();
    pair.promote().await;
    let found: Vec<Option<u8>> = pair.replica.ask(&["MGET", "early", "late"]).await.unwrap();
    assert_eq!(found, [Some(1), None]);
    assert_ne!(pair.replica.info("master_replid").await.unwrap(), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_network_closes_connections_until_it_is_healed() {
    let (_dir, redis) = started(|options| options).await;
    let network = Partition::before(redis.address()).await;
    let mut connection = through(&redis, &network).await.unwrap();
    connection.set::<_, _, ()>("key", 1).await.unwrap();
    network.cut();
    assert!(connection.get::<_, u8>("key").await.is_err());
    assert!(through(&redis, &network).await.is_err());
    network.heal();
    assert!(connection.get::<_, u8>("key").await.is_err(), "what was closed stays closed");
    let mut again = through(&redis, &network).await.unwrap();
    assert_eq!(again.get::<_, u8>("key").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_network_keeps_connections_and_what_is_under_way() {
    let (_dir, redis) = started(|options| options).await;
    let network = Partition::before(redis.address()).await;
    let mut connection = through(&redis, &network).await.unwrap();
    network.silence();
    let lost = connection.set::<_, _, ()>("requests", 1).await.unwrap_err();
    assert!(lost.is_timeout(), "{lost}");
    assert!(!redis.ask::<bool>(&["EXISTS", "requests"]).await.unwrap());
    network.heal();
    let arrives =
        || async { redis.ask::<bool>(&["EXISTS", "requests"]).await.unwrap().then_some(()) };
    eventually("the request that was under way", arrives).await;

    network.silence_answers();
    let lost = connection.set::<_, _, ()>("answers", 1).await.unwrap_err();
    assert!(lost.is_timeout(), "{lost}");
    assert!(redis.ask::<bool>(&["EXISTS", "answers"]).await.unwrap(), "done, and nobody knows");
    network.heal();
    assert_eq!(connection.get::<_, u8>("answers").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_is_slow_both_ways_for_as_long_as_it_is_told() {
    let (_dir, redis) = started(|options| options).await;
    let network = Partition::before(redis.address()).await;
    let mut connection = through(&redis, &network).await.unwrap();
    let delay = Duration::from_millis(50);
    network.delay(delay);
    let began = Instant::now();
    connection.set::<_, _, ()>("key", 1).await.unwrap();
    assert!(began.elapsed() >= 2 * delay, "{:?}", began.elapsed());
    network.heal();
    let fast = poll_until(Duration::from_secs(10), || {
        let (began, mut connection) = (Instant::now(), connection.clone());
        async move {
            connection.get::<_, u8>("key").await.unwrap();
            (began.elapsed() < delay).then_some(())
        }
    });
    assert!(fast.await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_can_be_led_to_another_server() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::start(dir.path(), "").await.unwrap();
    let front = Partition::before(pair.primary.address()).await;
    let mut connection = through(&pair.primary, &front).await.unwrap();
    connection.set::<_, _, ()>("key", 1).await.unwrap();
    pair.until_in_step().await;
    pair.promote().await;
    front.lead_to(pair.replica.address());
    assert!(connection.get::<_, u8>("key").await.is_err());
    let mut connection = through(&pair.primary, &front).await.unwrap();
    connection.set::<_, _, ()>("key", 2).await.unwrap();
    assert_eq!(pair.replica.ask::<u8>(&["GET", "key"]).await.unwrap(), 2);
    assert_eq!(pair.primary.ask::<u8>(&["GET", "key"]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_fails_over_and_moves_slots() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(dir.path(), "").await.unwrap();
    assert_eq!(cluster.nodes.len(), NODES);
    let key = "{cg:7}:stock";
    let slot = cluster.slot_of(key).await;

    // A slot moves, with what is in it.
    let first = cluster.primary_of(slot).await;
    cluster.nodes[first].ask::<()>(&["SET", key, "1"]).await.unwrap();
    let second = (first + 1) % PRIMARIES;
    cluster.move_slot(slot, second).await.unwrap();
    let moved = cluster.nodes[first].ask::<u8>(&["GET", key]).await.unwrap_err();
    assert_eq!(moved.code(), Some("MOVED"));
    assert_eq!(cluster.nodes[second].ask::<u8>(&["GET", key]).await.unwrap(), 1);
    cluster.until_ok().await;

    // A replica takes over from a primary that lives, and one from a primary that is dead.
    let replica = cluster.replica_of(second).await.unwrap();
    cluster.take_over(replica).await;
    assert_eq!(cluster.primary_of(slot).await, replica);
    cluster.until_ok().await;
    assert_eq!(cluster.replica_of(replica).await, Some(second), "they have changed places");
    cluster.nodes[replica].kill().await.unwrap();
    cluster.take_over(second).await;
    assert_eq!(cluster.nodes[second].ask::<u8>(&["GET", key]).await.unwrap(), 1);
    cluster.nodes[replica].restart().await.unwrap();
    cluster.until_ok().await;
    assert_eq!(cluster.primary_of(slot).await, second);
}
