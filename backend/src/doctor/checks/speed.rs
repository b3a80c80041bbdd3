//! Is it quick enough, and does it know what time it is?

use std::time::Duration;

use super::super::facts::{NodeFacts, Took};
use super::super::report::Finding;

/// Longer, and it is not in the same place: every commit waits for it.
const PING_FAR: Duration = Duration::from_millis(2);

/// Longer, and leases are not renewed in time when anything else goes wrong.
const PING_TOO_FAR: Duration = Duration::from_millis(100);

/// Longer, and a caller alone notices.
pub(super) const WRITE_SLOW: Duration = Duration::from_millis(10);

/// Longer, and a lease of 1.5 s is lost over a few of them.
pub(super) const WRITE_TOO_SLOW: Duration = Duration::from_millis(250);

/// More, and what customers are told about times begins to be wrong.
const CLOCK_OFF_MS: u64 = 1_000;

/// More, and a sale does not open when it should.
const CLOCK_WRONG_MS: u64 = 60_000;

pub(super) fn all(facts: &NodeFacts) -> Vec<Finding> {
    let mut findings = vec![loading(facts), ping(facts)];
    if facts.is_primary() {
        findings.push(write(facts));
    }
    findings.push(clock(facts));
    findings
}

fn loading(facts: &NodeFacts) -> Finding {
    if facts.info.text("loading").is_none_or(|loading| loading == "0") {
        return Finding::ok("ready", "it takes commands");
    }
    let eta_s = facts.info.number("loading_eta_seconds").unwrap_or(0);
    Finding::bad("ready", format!("it reads its files, for {eta_s} s more")).change("wait")
}

fn ping(facts: &NodeFacts) -> Finding {
    let bounds = (PING_FAR, PING_TOO_FAR);
    took("latency", "PING", facts.ping, bounds, "run cartgate where the server is")
}

fn write(facts: &NodeFacts) -> Finding {
    let bounds = (WRITE_SLOW, WRITE_TOO_SLOW);
    let remedy = "a disk that syncs faster (LATENCY LATEST tells the cause), a nearer replica";
    took("write", "a small write, waited for as a commit is,", facts.write, bounds, remedy)
}

pub(super) fn took(
    check: &'static str,
    what: &str,
    took: Option<Took>,
    (slow, too_slow): (Duration, Duration),
    remedy: &str,
) -> Finding {
    let Some(Took { median, worst }) = took else {
        return Finding::bad(check, format!("{what} did not pass"))
            .change("see what is refused below");
    };
    let found = format!("{what} takes {}, at worst {}", ms(median), ms(worst));
    if median > too_slow {
        Finding::bad(check, found).change(remedy)
    } else if median > slow {
        Finding::warn(check, found).change(remedy)
    } else {
        Finding::ok(check, found)
    }
}

fn clock(facts: &NodeFacts) -> Finding {
    let remedy = "synchronise the clocks of both machines: systemd-timesyncd, chrony";
    let Some(ahead_ms) = facts.ahead_ms else {
        return Finding::bad("clock", "the user may not ask for it (TIME)")
            .change(format!("ACL SETUSER {} +time", facts.user));
    };
    let direction = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let off_ms = ahead_ms.unsigned_abs();
    let found = format!("{off_ms} ms {direction} ours");
    match off_ms {
        CLOCK_WRONG_MS.. => {
            Finding::bad("clock", format!("{found}: holds and sales go by it")).change(remedy)
        }
        CLOCK_OFF_MS.. => Finding::warn("clock", found).change(remedy),
        _ => Finding::ok("clock", found),
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{check, check_facts, good};
    use super::*;

    #[test]
    fn far_and_slow_servers_are_told() {
        let took = |ms| {
            let median = Duration::from_millis(ms);
            Some(Took { median, worst: median })
        };
        for (ms, level) in [(1, Level::Ok), (3, Level::Warn), (101, Level::Bad)] {
            check_facts(ping, &NodeFacts { ping: took(ms), ..good() }, level, "PING takes");
        }
        for (ms, level) in [(9, Level::Ok), (11, Level::Warn), (251, Level::Bad)] {
            check_facts(write, &NodeFacts { write: took(ms), ..good() }, level, "at worst");
        }
        check_facts(write, &NodeFacts { write: None, ..good() }, Level::Bad, "did not pass");
    }

    #[test]
    fn clocks_may_differ_a_little_in_either_direction() {
        for (ahead_ms, level, part) in [
            (-900, Level::Ok, "900 ms behind"),
            (5_000, Level::Warn, "5000 ms ahead"),
            (-5_000, Level::Warn, "behind"),
            (60_000, Level::Bad, "sales"),
        ] {
            check_facts(clock, &NodeFacts { ahead_ms: Some(ahead_ms), ..good() }, level, part);
        }
        check_facts(clock, &NodeFacts { ahead_ms: None, ..good() }, Level::Bad, "+time");
    }

    #[test]
    fn a_server_that_reads_its_files_is_not_ready() {
        check(loading, "", Level::Ok, "takes");
        check(loading, "loading:1\nloading_eta_seconds:7", Level::Bad, "for 7 s");
    }
}
