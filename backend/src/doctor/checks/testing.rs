//! Facts of a server in which everything is as it should be, and what to change in them.

use std::time::Duration;

use super::super::facts::{Door, Info, NodeFacts, Settings, Took, Trial};
use super::super::report::{Finding, Level};

const INFO: &str = "\
redis_version:7.0.15
redis_mode:standalone
loading:0
role:master
connected_slaves:1
slave0:ip=10.0.0.7,port=6379,state=online,offset=42,lag=0
min_slaves_good_slaves:1
aof_enabled:1
aof_last_write_status:ok
aof_last_bgrewrite_status:ok
rdb_last_bgsave_status:ok
maxmemory:1000000000
maxmemory_policy:noeviction
used_memory:100000000
mem_not_counted_for_evict:0
total_system_memory:8589934592
evicted_keys:0
cluster_enabled:0
";

const SETTINGS: &str = "\
appendfsync:always
no-appendfsync-on-rewrite:no
stop-writes-on-bgsave-error:yes
min-replicas-to-write:1
min-replicas-max-lag:3
cluster-require-full-coverage:no
maxmemory:1000000000
maxmemory-policy:noeviction
";

/// A good server.
pub(super) fn good() -> NodeFacts {
    let took =
        |us| Some(Took { median: Duration::from_micros(us), worst: Duration::from_millis(3) });
    NodeFacts {
        at: "10.0.0.6:6379".to_owned(),
        user: "cartgate".to_owned(),
        prefix: "cg".to_owned(),
        door: Door { has_password: true, is_tls: true, is_local: false },
        info: Info::parse(INFO),
        settings: settings(SETTINGS),
        ahead_ms: Some(3),
        ping: took(200),
        write: took(900),
        trials: vec![Trial { command: "XADD".to_owned(), refusal: None }],
    }
}

/// The good server, but for these fields of `INFO` and these settings.
pub(super) fn good_but(lines: &str) -> NodeFacts {
    let mut facts = good();
    facts.info.add(lines);
    facts.settings = settings(&format!("{SETTINGS}\n{lines}"));
    facts
}

fn settings(lines: &str) -> Settings {
    let lines = lines.lines().filter_map(|line| line.split_once(':'));
    Settings(Some(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

/// Checks what is found of the good server, but for these lines.
pub(super) fn check(judge: fn(&NodeFacts) -> Finding, lines: &str, level: Level, part: &str) {
    check_facts(judge, &good_but(lines), level, part);
}

/// Checks what is found of a server, and that whatever is not good can be mended.
pub(super) fn check_facts(
    judge: fn(&NodeFacts) -> Finding,
    facts: &NodeFacts,
    level: Level,
    part: &str,
) {
    let finding = judge(facts);
    let text = format!("{} {}", finding.found, finding.change.join(" "));
    assert_eq!(finding.level, level, "{finding:?}");
    assert!(text.contains(part), "{finding:?}");
    assert_eq!(finding.change.is_empty(), level == Level::Ok, "{finding:?}");
}
