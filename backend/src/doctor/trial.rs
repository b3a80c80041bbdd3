//! Tries on a server what cartgate does there.
//!
//! What a user may do is not for us to work out from rules, nor whether the server would take a
//! write: it is tried, command by command, on keys of its own, which are gone after a minute at the
//! latest.

use std::time::{Duration, Instant};

use redis::{Connection, RedisError, RedisResult, cmd};

use super::facts::{Info, Refusal, Took, Trial};
use crate::random;

/// How often a write is timed.
const WRITES: usize = 20;

/// How long one may wait for a disk or a replica.
const WAIT_MS: &str = "1000";

/// How many tags are tried, in a cluster, until one is found whose keys this server has. With a
/// thousand primaries, all but 5 in 100,000 servers are found.
const TAGS_MAX: u32 = 10_000;

/// A commit in small: a script that may write when memory is full.
const SCRIPT: &str = "#!lua flags=allow-oom
redis.call('TIME')
return redis.call('HSET', KEYS[1], 'script', ARGV[1])";

/// What came of everything.
pub(super) struct Trials {
    pub(super) all: Vec<Trial>,
    pub(super) write: Option<Took>,
}

impl Trials {
    /// Tries everything.
    pub(super) fn run(connection: &mut Connection, prefix: &str, info: &Info) -> Self {
        let tag = tag(connection, prefix);
        let keys = ["hash", "ends", "stream", "string"].map(|name| format!("{tag}:{name}"));
        let mut all: Vec<Trial> = Vec::new();
        for command in commands(&keys, prefix, info) {
            let mut words = cmd(&command[0]);
            all.push(trial(&command[0], words.arg(&command[1..]).exec(connection)));
        }
        all.push(trial("EVALSHA", run_script(connection, &keys[0])));
        // Whatever becomes of us, nothing stays.
        let mut expire = |key: &String| cmd("EXPIRE").arg(key).arg(60).exec(connection);
        let expired = keys.iter().try_for_each(&mut expire);
        all.push(trial("EXPIRE", expired));
        let write = writes(connection, &keys[0], info).ok().flatten();
        all.push(trial("DEL", cmd("DEL").arg(&keys).exec(connection)));
        all.push(trial("SUBSCRIBE", subscribe(connection, prefix)));
        Self { all, write }
    }
}

/// A tag that nobody else uses, of a slot that this server has.
fn tag(connection: &mut Connection, prefix: &str) -> String {
    let mine = u64::from_le_bytes(random::bytes());
    let mut tags = (0..TAGS_MAX).map(|number| format!("{{{prefix}:doctor-{mine:x}-{number}}}"));
    let mut is_here = |tag: &String| {
        let found = cmd("EXISTS").arg(format!("{tag}:hash")).exec(connection);
        !found.is_err_and(|error| error.code() == Some("MOVED"))
    };
    tags.find(|tag| is_here(tag)).unwrap_or_else(|| format!("{{{prefix}:doctor-{mine:x}}}"))
}

/// All that is done by one command.
fn commands(keys: &[String; 4], prefix: &str, info: &Info) -> Vec<Vec<String>> {
    let [hash, ends, stream, string] = keys;
    let channel = format!("{prefix}:answers:doctor");
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["HSET", hash, "field", "1"],
        vec!["HINCRBY", hash, "field", "1"],
        vec!["HGET", hash, "field"],
        vec!["HMGET", hash, "field", "other"],
        vec!["HGETALL", hash],
        vec!["HVALS", hash],
        vec!["HSCAN", hash, "0"],
        vec!["HLEN", hash],
        vec!["HDEL", hash, "field"],
        vec!["ZADD", ends, "1", "member"],
        vec!["ZRANGE", ends, "0", "-1"],
        vec!["ZRANGEBYLEX", ends, "-", "+"],
        vec!["ZCARD", ends],
        vec!["ZREM", ends, "member"],
        vec!["ZPOPMIN", ends, "1"],
        vec!["XADD", stream, "*", "n", "1"],
        vec!["XRANGE", stream, "-", "+", "COUNT", "1"],
        vec!["XREVRANGE", stream, "+", "-", "COUNT", "1"],
        vec!["XREAD", "COUNT", "1", "STREAMS", stream, "0"],
        vec!["XLEN", stream],
        vec!["XDEL", stream, "1-0"],
        vec!["XTRIM", stream, "MAXLEN", "0"],
        vec!["SET", string, "leader", "PX", "1500"],
        vec!["GET", string],
        vec!["EXISTS", hash],
        vec!["PUBLISH", &channel, ""],
        vec!["TIME"],
        vec!["INFO", "replication"],
    ];
    if info.is("cluster_enabled", "1") {
        commands.push(vec!["CLUSTER", "SLOTS"]);
    }
    let mut commands: Vec<Vec<String>> = commands.iter().map(|words| owned(words)).collect();
    commands.extend(durable(info));
    commands
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn trial(command: &str, result: RedisResult<()>) -> Trial {
    let refusal = |error: RedisError| Refusal {
        code: error.code().unwrap_or_default().to_owned(),
        detail: error.detail().map_or_else(|| error.to_string(), str::to_owned),
    };
    Trial { command: command.to_owned(), refusal: result.err().map(refusal) }
}

fn run_script(connection: &mut Connection, key: &str) -> RedisResult<()> {
    let hash: String = cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query(connection)?;
    cmd("EVALSHA").arg(hash).arg(1).arg(key).arg("1").exec(connection)
}

fn subscribe(connection: &mut Connection, prefix: &str) -> RedisResult<()> {
    connection.as_pubsub().subscribe(format!("{prefix}:answers:doctor"))
}

/// Waits for a write as an owner does after a commit: for the disk and a replica if the server can
/// tell, else for a replica if there is one.
fn durable(info: &Info) -> Option<Vec<String>> {
    let replicas = info.number("connected_slaves").unwrap_or(0).min(1).to_string();
    if info.is_at_least((7, 2)) && info.is("aof_enabled", "1") {
        return Some(owned(&["WAITAOF", "1", &replicas, WAIT_MS]));
    }
    (replicas != "0").then(|| owned(&["WAIT", &replicas, WAIT_MS]))
}

/// How long a small durable write takes.
fn writes(connection: &mut Connection, key: &str, info: &Info) -> RedisResult<Option<Took>> {
    let mut times: Vec<Duration> = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        let mut write = redis::pipe();
        write.cmd("HSET").arg(key).arg("field").arg(number).ignore();
        if let Some(wait) = durable(info) {
            write.cmd(&wait[0]).arg(&wait[1..]).ignore();
        }
        let began = Instant::now();
        write.exec(connection)?;
        times.push(began.elapsed());
    }
    Ok(Took::of(times))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The commands that the store's code has between `before` and `after`.
    fn used(directory: &str, before: &str, after: char) -> BTreeSet<String> {
        let directory =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/redis").join(directory);
        let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        let code: Vec<String> = files
            .filter(|file| file.is_file())
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        let calls = code.iter().flat_map(|code| code.split(before).skip(1));
        calls.filter_map(|call| Some(call.split_once(after)?.0.to_owned())).collect()
    }

    #[test]
    fn whatever_the_store_does_is_tried() {
        let keys = ["hash", "ends", "stream", "string"].map(str::to_owned);
        let info = |version| {
            Info::parse(&format!(
                "redis_version:{version}\naof_enabled:1\n\
             cluster_enabled:1\nconnected_slaves:1"
            ))
        };
        let all = ["7.0.15", "7.2.0"].map(|version| commands(&keys, "cg", &info(version)));
        let mut tried: BTreeSet<String> =
            all.into_iter().flatten().map(|words| words[0].clone()).collect();
        tried.extend(["SCRIPT", "EVALSHA", "EXPIRE", "DEL", "SUBSCRIBE"].map(str::to_owned));
        // Who may not ask how the server is set up is told so in another place.
        tried.insert("CONFIG".to_owned());
        let (asked, called) = (used(".", "cmd(\"", '"'), used("scripts", "redis.call('", '\''));
        assert!(asked.len() > 15 && called.len() > 10, "{asked:?} {called:?}");
        let untried: Vec<_> = asked.union(&called).filter(|name| !tried.contains(*name)).collect();
        assert!(untried.is_empty(), "{untried:?}");
    }
}
