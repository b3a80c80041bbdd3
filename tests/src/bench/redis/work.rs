//! What a server has done, by its own counters.

use std::ops::Sub;
use std::time::Duration;

use crate::redis::{Redis, field_of};

/// Commands that our clients send under load, each of them in a round trip of its own or with others
/// in one. Scripts call none of these. Not in here is what goes along with an `XREAD` (`TIME`), which
/// scripts call, too.
const SENT: [&str; 7] = ["evalsha", "xread", "publish", "wait", "waitaof", "info", "script|load"];

/// What a server has done so far; or between two such moments, one less the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Commands that clients have sent, but not what scripts have called: at least as many as there
    /// were round trips.
    pub commands: f64,
    /// CPU time, of all its threads.
    pub cpu: Duration,
    /// Bytes from and to clients.
    pub sent_bytes: f64,
    /// Bytes in its log.
    pub log_bytes: f64,
    /// Bytes in memory that it has asked for.
    pub memory_bytes: f64,
}

impl Work {
    /// Until now.
    ///
    /// # Panics
    /// The server does not say.
    pub async fn of(redis: &Redis) -> Self {
        let info: String = redis.ask(&["INFO", "everything"]).await.expect("what it has done");
        Self::parse(&info).expect("all counters")
    }

    fn parse(info: &str) -> Option<Self> {
        let number = |name| field_of(info, name)?.parse::<f64>().ok();
        // A command that was never called has no line.
        let calls = |name| calls(field_of(info, &format!("cmdstat_{name}"))?);
        Some(Self {
            commands: SENT.iter().filter_map(calls).sum(),
            cpu: Duration::from_secs_f64(number("used_cpu_sys")? + number("used_cpu_user")?),
            sent_bytes: number("total_net_input_bytes")? + number("total_net_output_bytes")?,
            log_bytes: number("aof_current_size")?,
            memory_bytes: number("used_memory")?,
        })
    }
}

impl Sub for Work {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            commands: self.commands - before.commands,
            cpu: self.cpu.saturating_sub(before.cpu),
            sent_bytes: self.sent_bytes - before.sent_bytes,
            log_bytes: self.log_bytes - before.log_bytes,
            memory_bytes: self.memory_bytes - before.memory_bytes,
        }
    }
}

/// `calls=7,usec=..`.
fn calls(statistics: &str) -> Option<f64> {
    statistics.strip_prefix("calls=")?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_call_is_nobodys_round_trip() {
        let info = "# Memory\r\nused_memory:500\r\n# Persistence\r\naof_current_size:70\r\n# Stats\r\n\
                    total_net_input_bytes:30\r\ntotal_net_output_bytes:12\r\n# CPU\r\n\
                    used_cpu_sys:0.5\r\nused_cpu_user:1.25\r\n# Commandstats\r\n\
                    cmdstat_hset:calls=900,usec=1\r\ncmdstat_evalsha:calls=7,usec=1,rejected_calls=0\r\n\
                    cmdstat_xread:calls=4,usec=1\r\ncmdstat_time:calls=11,usec=1\r\n";
        let work = Work::parse(info).unwrap();
        let cpu = Duration::from_millis(1_750);
        let expected =
            Work { commands: 11.0, cpu, sent_bytes: 42.0, log_bytes: 70.0, memory_bytes: 500.0 };
        assert_eq!(work, expected);
        assert_eq!((work - work).commands, 0.0);
        assert_eq!(Work::parse("used_memory:500\r\n"), None);
    }
}
