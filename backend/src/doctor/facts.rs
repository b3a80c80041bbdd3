//! What was read of servers, before anybody has judged it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster_nodes::ClusterNodes;
use crate::store::StoreError;
use crate::store::embedded::examine::Contents;

/// What a server says of itself: `INFO`, or anything else that is lines of `name:value`.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(BTreeMap<String, String>);

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Adds what another command says.
    pub(super) fn add(&mut self, text: &str) {
        self.0.extend(Self::parse(text).0);
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == Some(value)
    }

    /// `7.0.15`; of Valkey, the Redis that it is compatible with.
    pub(super) fn version(&self) -> &str {
        self.text("redis_version").unwrap_or("0")
    }

    /// Whether its version is this one or a later one.
    pub(super) fn is_at_least(&self, least: (u64, u64)) -> bool {
        let mut numbers = self.version().split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= least
    }

    /// The replicas that are connected to it: `slave0:ip=10.0.0.7,port=6379,state=online,lag=0`.
    pub(super) fn replicas(&self) -> Vec<Replica> {
        let is_replica = |name: &str| {
            let number = name.strip_prefix("slave");
            number.is_some_and(|number| number.parse::<u16>().is_ok())
        };
        let replicas = self.0.iter().filter(|(name, _)| is_replica(name));
        replicas.filter_map(|(_, value)| Replica::parse(value)).collect()
    }
}

/// A replica, as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) state: String,
}

impl Replica {
    fn parse(text: &str) -> Option<Self> {
        let fields: BTreeMap<&str, &str> =
            text.split(',').filter_map(|field| field.split_once('=')).collect();
        let host = (*fields.get("ip")?).to_owned();
        let state = (*fields.get("state")?).to_owned();
        Some(Self { host, port: fields.get("port")?.parse().ok()?, state })
    }
}

/// `CONFIG GET` of what is judged; nothing, if the user may not ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings(pub(super) Option<BTreeMap<String, String>>);

/// All that is asked for. No password is among them.
pub(super) const SETTINGS: [&str; 8] = [
    "appendfsync",
    "cluster-require-full-coverage",
    "maxmemory",
    "maxmemory-policy",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "no-appendfsync-on-rewrite",
    "stop-writes-on-bgsave-error",
];

impl Settings {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

/// An embedded store, and where it is.
#[derive(Debug)]
pub(super) struct DataFacts {
    /// Its directory.
    pub(super) at: String,
    /// Who may do what with that: the mode of a file.
    pub(super) mode: u32,
    /// Bytes that are free on its disk.
    pub(super) free: u64,
    /// How long a write of a page takes, with `fdatasync`; or why it did not pass.
    pub(super) write: Result<Took, String>,
    /// What is in it, or why that cannot be read.
    pub(super) contents: Result<Contents, StoreError>,
}

/// How long something took that was done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Took {
    pub(super) median: Duration,
    pub(super) worst: Duration,
}

impl Took {
    pub(super) fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        Some(Self { median: *times.get(times.len() / 2)?, worst: *times.last()? })
    }
}

/// What came of something that cartgate does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// The command.
    pub(super) command: String,
    /// What the server said against it.
    pub(super) refusal: Option<Refusal>,
}

/// A server's error: its code, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) detail: String,
}

/// How somebody gets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Door {
    /// Whether a password was given.
    pub(super) has_password: bool,
    /// Whether nobody on the way can read along.
    pub(super) is_tls: bool,
    /// Whether the server is on this machine.
    pub(super) is_local: bool,
}

/// What was read of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeFacts {
    pub(super) at: String,
    pub(super) user: String,
    pub(super) prefix: String,
    pub(super) door: Door,
    pub(super) info: Info,
    pub(super) settings: Settings,
    /// By how much its clock is ahead of ours, in milliseconds.
    pub(super) ahead_ms: Option<i64>,
    pub(super) ping: Option<Took>,
    /// A small write that is as durable as a commit is.
    pub(super) write: Option<Took>,
    pub(super) trials: Vec<Trial>,
}

impl NodeFacts {
    pub(super) fn is_primary(&self) -> bool {
        self.info.is("role", "master")
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.info.is("cluster_enabled", "1")
    }
}

/// What was read of the store that they are together.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreFacts {
    pub(super) cluster: Option<ClusterNodes>,
    /// How many of its servers take writes.
    pub(super) primaries: usize,
    /// What cartgate made it with, if it has.
    pub(super) made_with: Option<MadeWith>,
    /// SKUs of which a failover has lost a tail.
    pub(super) lost: u64,
    pub(super) workers: u64,
}

/// What a store was made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MadeWith {
    pub(super) format: String,
    pub(super) buckets: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_field_by_field() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\n\r\n# Replication\r\n\
             connected_slaves:1\r\nslave_read_repl_offset:1\r\n\
             slave0:ip=10.0.0.7,port=6380,state=online,offset=42,lag=0\r\n",
        );
        assert_eq!(info.number("connected_slaves"), Some(1));
        assert!(info.is_at_least((7, 2)) && !info.is_at_least((7, 4)) && !info.is_at_least((8, 0)));
        let (host, state) = ("10.0.0.7".to_owned(), "online".to_owned());
        assert_eq!(info.replicas(), [Replica { host, port: 6380, state }]);
        assert!(!Info::parse("").is_at_least((7, 0)));
    }

    #[test]
    fn half_of_the_times_are_longer_than_the_median() {
        let ms = Duration::from_millis;
        let took = Took::of(vec![ms(9), ms(1), ms(3)]);
        assert_eq!(took, Some(Took { median: ms(3), worst: ms(9) }));
        assert_eq!(Took::of(Vec::new()), None);
    }
}
