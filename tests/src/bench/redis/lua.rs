//! One Lua script for each reservation: what one would write without an engine. It is asked for by
//! `redis-benchmark`, which comes with Redis, and what it did is counted in the server afterwards.

use std::process::Command;
use std::time::{Duration, Instant};

use super::work::Work;
use crate::bench::figures::Figure;
use crate::bench::run::{Run, progress};
use crate::bench::statistics::Series;
use crate::redis::Redis;

const SCRIPT: &str = include_str!("reserve.lua");

/// What it writes to, in the order that it knows them: stock, versions, holds, ends, journal,
/// results.
const KEYS: [&str; 6] =
    ["{b}:stock", "{b}:versions", "{b}:holds", "{b}:ends", "{b}:journal", "{b}:results"];

const SKU: &str = "SNEAKER";

/// More than any run takes.
const STOCK: u64 = 1_000_000_000;

/// How many connections ask at a time.
const CONNECTIONS: u64 = 64;

/// So many reservations tell how many there will be in a phase.
const TRY: u64 = 20_000;

/// Ids are chosen among so many, which is as many as `redis-benchmark` can: in a run of a million, one
/// in four thousand is there already.
const IDS: &str = "2147483647";

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What it is called in a [`Series`].
    pub name: &'static str,
    /// How many reservations each connection asks for at once.
    pub pipeline: u64,
}

/// Each connection waits for its answer, as a request's handler does.
pub const UNPIPELINED: Way = Way { name: "lua_64", pipeline: 1 };

/// Each connection asks for 16 at once: what a service would need a queue for.
pub const PIPELINED: Way = Way { name: "lua_pipelined", pipeline: 16 };

/// What a run did.
#[derive(Clone, Copy, Debug)]
struct Done {
    reservations: u64,
    took: Duration,
}

/// One round of one way, on a server of its own.
///
/// # Panics
/// Something fails, or was counted twice.
pub async fn round(run: &Run, series: &mut Series, way: Way, round: usize) {
    progress(&format!("{}, round {round} of {}", way.name, run.extent.rounds));
    let mut redis = super::server(run, &run.dir().join(format!("{}-{round}", way.name))).await;
    let script: String = redis.ask(&["SCRIPT", "LOAD", SCRIPT]).await.expect("a script");
    redis.ask::<()>(&["HSET", KEYS[0], SKU, &STOCK.to_string()]).await.expect("stock");
    let tried = reserve(&redis, &script, way, TRY).await;
    let rate = tried.reservations as f64 / tried.took.as_secs_f64();
    let count = (rate * run.extent.phase.as_secs_f64()) as u64;
    let before = Work::of(&redis).await;
    let done = reserve(&redis, &script, way, count.max(TRY)).await;
    let work = Work::of(&redis).await - before;
    // What it used is ours only once it has ended.
    redis.kill().await.expect("it ends");
    let each = |total: f64| total / done.reservations as f64;
    series.note((way.name, "per_s"), done.reservations as f64 / done.took.as_secs_f64());
    series.note((way.name, "cpu_us"), each(work.cpu.as_secs_f64() * 1e6));
    series.note((way.name, "bytes"), each(work.log_bytes));
}

/// Adds the figures of a way.
pub fn report(run: &mut Run, series: &Series, way: Way) {
    let keys = match way.pipeline {
        1 => ["lua_64_per_s", "lua_64_redis_cpu_us", "lua_64_bytes"],
        _ => ["lua_pipelined_per_s", "lua_pipelined_redis_cpu_us", "lua_pipelined_bytes"],
    };
    let of = |what| series.median((way.name, what));
    let asked = match way.pipeline {
        1 => "each waiting for its answer".to_owned(),
        many => format!("each asking for {many} at once"),
    };
    let note = format!("one script a reservation, six writes; {CONNECTIONS} connections, {asked}");
    run.add(Figure::new(keys[0], of("per_s"), "/s").note(note));
    run.add(Figure::new(keys[1], of("cpu_us"), "us").note("of Redis, for each reservation"));
    run.add(Figure::new(keys[2], of("bytes"), "B").note("in Redis's log, for each reservation"));
}

/// Asks for so many reservations, and counts those that were made.
async fn reserve(redis: &Redis, script: &str, way: Way, asked: u64) -> Done {
    let before = reserved(redis).await;
    let address = redis.address();
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let (connections, count, pipeline) =
        (CONNECTIONS.to_string(), asked.to_string(), way.pipeline.to_string());
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &ip, "-p", &port, "-c", &connections, "-n", &count, "-P", &pipeline]);
    command.args(["-r", IDS, "-q", "EVALSHA", script, &KEYS.len().to_string()]).args(KEYS);
    // It draws its numbers from the second and its process's id, which two runs can have alike.
    let id = format!("{before}-__rand_int__");
    command.args([id.as_str(), SKU, "ann", "1", "900000"]);
    let began = Instant::now();
    let output = command.output().expect("redis-benchmark, which comes with redis-server");
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let reservations = reserved(redis).await - before;
    assert!(reservations > asked - asked / 1_000, "{reservations} reservations of {asked}");
    Done { reservations, took }
}

/// How many reservations there are. Stock, holds, and outcomes have to agree.
async fn reserved(redis: &Redis) -> u64 {
    let left: u64 = redis.ask(&["HGET", KEYS[0], SKU]).await.expect("stock");
    let holds: u64 = redis.ask(&["HLEN", KEYS[2]]).await.expect("holds");
    let results: u64 = redis.ask(&["HLEN", KEYS[5]]).await.expect("results");
    assert_eq!((STOCK - left, holds), (holds, results));
    holds
}
