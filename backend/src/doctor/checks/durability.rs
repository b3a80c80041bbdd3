//! Does what was answered survive?

use super::super::facts::NodeFacts;
use super::super::report::Finding;

/// The first version that can wait for its disk (`WAITAOF`).
const WAITS_FOR_DISK: (u64, u64) = (7, 2);

pub(super) fn all(facts: &NodeFacts) -> Vec<Finding> {
    vec![log(facts), fsync(facts), log_writes(facts), snapshots(facts)]
}

fn log(facts: &NodeFacts) -> Finding {
    if facts.info.is("aof_enabled", "1") {
        return Finding::ok("log", "appendonly yes");
    }
    let found = "appendonly no: a restart loses what was written since the last snapshot";
    Finding::bad("log", found).set("appendonly", "yes")
}

fn fsync(facts: &NodeFacts) -> Finding {
    if !facts.info.is("aof_enabled", "1") {
        // The remedy takes effect with the log.
        return Finding::bad("fsync", "nothing is synced: there is no log")
            .set("appendfsync", "always");
    }
    let always = |finding: Finding| finding.set("appendfsync", "always");
    match facts.settings.text("appendfsync") {
        Some("always") if facts.settings.text("no-appendfsync-on-rewrite") == Some("yes") => {
            let found = "appendfsync always, but not while the log is rewritten";
            Finding::bad("fsync", found).set("no-appendfsync-on-rewrite", "no")
        }
        Some("always") => Finding::ok("fsync", "appendfsync always"),
        Some("everysec") if facts.info.is_at_least(WAITS_FOR_DISK) => {
            let found = "appendfsync everysec: each commit waits for it, up to a second";
            always(Finding::warn("fsync", found))
        }
        Some("everysec") if has_replica_with_everything(facts) => {
            let found = "appendfsync everysec: if the machines of primary and replica die together, \
                         up to two seconds of what was answered are lost";
            always(Finding::warn("fsync", found))
        }
        Some(other) => {
            let found = format!(
                "appendfsync {other}: if the machine dies, {} of what was answered are lost",
                if other == "everysec" { "up to two seconds" } else { "half a minute and more" }
            );
            always(Finding::bad("fsync", found))
        }
        None => Finding::warn("fsync", "unknown: the user may not ask for it (CONFIG GET)")
            .change(format!("ACL SETUSER {} +config|get", facts.user))
            .change("or see yourself that it is: appendfsync always"),
    }
}

/// Whether no write is taken that no replica gets.
fn has_replica_with_everything(facts: &NodeFacts) -> bool {
    let asked = facts.settings.number("min-replicas-to-write").unwrap_or(0);
    asked > 0 && facts.info.number("min_slaves_good_slaves").unwrap_or(0) >= asked
}

fn log_writes(facts: &NodeFacts) -> Finding {
    let failed = |field: &str| facts.info.text(field).is_some_and(|status| status != "ok");
    if failed("aof_last_write_status") {
        return Finding::bad("log writes", "the last write to the log failed: writes are refused")
            .change("make room on the server's disk, or mend it; its log says what failed");
    }
    if failed("aof_last_bgrewrite_status") {
        return Finding::warn(
            "log writes",
            "the last rewrite of the log failed: it grows for ever",
        )
        .change("make room on the server's disk and in its memory, then: BGREWRITEAOF");
    }
    Finding::ok("log writes", "the last write and the last rewrite were ok")
}

fn snapshots(facts: &NodeFacts) -> Finding {
    if facts.info.text("rdb_last_bgsave_status").is_none_or(|status| status == "ok") {
        return Finding::ok("snapshots", "the last one was ok");
    }
    if facts.settings.text("stop-writes-on-bgsave-error") == Some("no") {
        return Finding::warn("snapshots", "the last one failed").set("save", "\"\"");
    }
    Finding::bad("snapshots", "the last one failed: until one is made, writes are refused")
        .set("save", "\"\"")
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{check, check_facts, good};
    use super::*;

    #[test]
    fn without_a_log_nothing_survives() {
        check(log, "", Level::Ok, "appendonly yes");
        check(log, "aof_enabled:0", Level::Bad, "CONFIG SET appendonly yes");
        check(fsync, "aof_enabled:0", Level::Bad, "there is no log");
    }

    #[test]
    fn a_sync_each_second_is_as_good_as_what_stands_beside_it() {
        check(fsync, "", Level::Ok, "always");
        check(fsync, "no-appendfsync-on-rewrite:yes", Level::Bad, "no-appendfsync-on-rewrite no");
        check(fsync, "appendfsync:no", Level::Bad, "half a minute");
        check(fsync, "appendfsync:everysec", Level::Warn, "die together");
        check(fsync, "appendfsync:everysec\nredis_version:7.2.0", Level::Warn, "waits for it");
        for alone in ["min-replicas-to-write:0", "min_slaves_good_slaves:0"] {
            let lines = format!("appendfsync:everysec\n{alone}");
            check(fsync, &lines, Level::Bad, "redis.conf: appendfsync always");
        }
    }

    #[test]
    fn a_setting_that_may_not_be_read_is_not_taken_for_good() {
        let mut facts = good();
        facts.settings.0 = None;
        check_facts(fsync, &facts, Level::Warn, "ACL SETUSER cartgate +config|get");
    }

    #[test]
    fn writes_that_failed_are_told() {
        check(log_writes, "", Level::Ok, "ok");
        check(log_writes, "aof_last_write_status:err", Level::Bad, "disk");
        check(log_writes, "aof_last_bgrewrite_status:err", Level::Warn, "BGREWRITEAOF");
        check(snapshots, "", Level::Ok, "ok");
        check(snapshots, "rdb_last_bgsave_status:err", Level::Bad, "refused");
        let lines = "rdb_last_bgsave_status:err\nstop-writes-on-bgsave-error:no";
        check(snapshots, lines, Level::Warn, "CONFIG SET save \"\"");
    }
}
