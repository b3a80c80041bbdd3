//! Reservations per second through the lanes without HTTP, all of one hot SKU, beside the scripts:
//! callers, front and worker are one process, `bin/lanes.rs`, which is killed when it is
//! done; what it leaves in Redis is counted.

use std::time::Duration;

use super::lua::{self, PIPELINED, UNPIPELINED};
use super::work::Work;
use crate::bench::cpu;
use crate::bench::engine::{Lanes, Place};
use crate::bench::figures::Figure;
use crate::bench::run::{Run, progress};
use crate::bench::statistics::{Key, Series};
use crate::process::eventually;
use crate::redis::Redis;

/// What the series of the engine is called.
const ENGINE: &str = "engine";

/// How many buckets a store is made with.
const BUCKETS: usize = 64;

/// Measures.
///
/// # Panics
/// Something fails, or is lost.
pub async fn measure(run: &mut Run) {
    let lanes = Lanes::built();
    let mut series = Series::default();
    idle(run, &mut series).await;
    for round in 1..=run.extent.rounds {
        for way in [UNPIPELINED, PIPELINED] {
            lua::round(run, &mut series, way, round).await;
        }
        self::round(run, &lanes, &mut series, round).await;
    }
    for way in [UNPIPELINED, PIPELINED] {
        lua::report(run, &series, way);
    }
    report(run, &series);
}

/// What a worker of all buckets asks of Redis while nobody asks anything of it.
async fn idle(run: &mut Run, series: &mut Series) {
    progress("a worker with nothing to do");
    let redis = super::server(run, &run.dir().join("idle-redis")).await;
    let options = run.service_options("idle", &format!("buckets = {BUCKETS}"));
    let _service = run.start(&options.store(&redis.url())).await;
    eventually("all buckets are owned", || async {
        let owned: Vec<String> = redis.ask(&["KEYS", "{cg:*}:meta"]).await.ok()?;
        (owned.len() == BUCKETS).then_some(())
    })
    .await;
    let before = Work::of(&redis).await;
    tokio::time::sleep(run.extent.phase).await;
    let work = Work::of(&redis).await - before;
    let per_s = |total: f64| total / run.extent.phase.as_secs_f64();
    series.note(("idle", "commands"), per_s(work.commands));
    series.note(("idle", "cpu"), per_s(work.cpu.as_secs_f64()));
    series.note(("idle", "bytes"), per_s(work.sent_bytes));
}

/// One round, on a server of its own.
async fn round(run: &Run, lanes: &Lanes, series: &mut Series, round: usize) {
    progress(&format!("the engine without HTTP, round {round} of {}", run.extent.rounds));
    let mut redis = super::server(run, &run.dir().join(format!("engine-{round}"))).await;
    let url = redis.url();
    let length = format!("--seconds={}", run.extent.phase.as_secs_f64());
    let (before, used) = (Work::of(&redis).await, cpu::of_ended_children());
    let ran = lanes.run(run, Place::Redis(&url), 1, &length).await;
    let work = Work::of(&redis).await - before;
    let used = cpu::of_ended_children() - used;
    let passing = passing_bytes(&redis).await;
    lanes.count(run, Place::Redis(&url), 1, ran).await;
    // What it used is ours only once it has ended.
    redis.kill().await.expect("it ends");
    let commands = ran.commands as f64;
    let idle = |what| series.median(("idle", what)) * ran.seconds;
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let figures = [
        ("per_s", commands / ran.seconds),
        ("cpu_us", us(used) / commands),
        ("redis_cpu_us", us(work.cpu) / commands),
        ("round_trips", (work.commands - idle("commands")) / commands),
        ("bytes", (work.sent_bytes - idle("bytes")) / commands),
        ("log_bytes", work.log_bytes / commands),
        ("memory_bytes", (work.memory_bytes - passing) / commands),
    ];
    figures.into_iter().for_each(|(what, value)| series.note((ENGINE, what), value));
}

/// What Redis has in memory of answers: it is gone half a minute later.
async fn passing_bytes(redis: &Redis) -> f64 {
    let streams: Vec<String> = redis.ask(&["KEYS", "{cg:*}:answers"]).await.expect("its keys");
    let mut bytes = 0;
    for stream in streams {
        let all = ["MEMORY", "USAGE", &stream, "SAMPLES", "0"];
        bytes += redis.ask::<u64>(&all).await.expect("the size of a stream");
    }
    bytes as f64
}

fn report(run: &mut Run, series: &Series) {
    let of = |what: &'static str| series.median((ENGINE, what));
    let per_s: Key = (ENGINE, "per_s");
    let versus = |way: lua::Way| series.ratio(per_s, (way.name, "per_s"));
    let counted = "all cores, one process beside Redis; killed, and all counted in Redis: holds, \
                   outcomes, journal entries";
    let idle = format!(
        "what is sent at {} buckets without work is not in it: {:.0} commands/s, {:.1} % of a core",
        BUCKETS,
        series.median(("idle", "commands")),
        100.0 * series.median(("idle", "cpu"))
    );
    let figures = [
        Figure::new("engine_per_s", of("per_s"), "/s").note(counted),
        Figure::new("engine_vs_lua_64", versus(UNPIPELINED), "x").at_least(3.0),
        Figure::new("engine_vs_lua_pipelined", versus(PIPELINED), "x").at_least(1.5),
        Figure::new("engine_cpu_us", of("cpu_us"), "us")
            .note("of our process, for each reservation, callers included"),
        Figure::new("round_trips_per_reservation", of("round_trips"), "").at_most(0.1).note(idle),
        Figure::new("redis_cpu_us_per_reservation", of("redis_cpu_us"), "us"),
        Figure::new("redis_bytes_per_reservation", of("bytes"), "B").note("to Redis and back"),
        Figure::new("redis_log_bytes_per_reservation", of("log_bytes"), "B"),
        Figure::new("redis_memory_bytes_per_reservation", of("memory_bytes"), "B")
            .note("a hold, and its entry in the journal, which is kept whole here"),
        Figure::new("idle_commands_per_s", series.median(("idle", "commands")), "/s"),
        Figure::new("idle_redis_cpu_share", series.median(("idle", "cpu")), "cores"),
    ];
    figures.into_iter().for_each(|figure| run.add(figure));
}
