//! Asks a server what it is, and how it does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::{
    Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, cmd,
};

use super::cluster_nodes::ClusterNodes;
use super::facts::{Door, Info, MadeWith, NodeFacts, SETTINGS, Settings, StoreFacts, Took};
use super::trial::Trials;
use crate::clock;
use crate::store::redis::keys::StoreKeys;

/// Whoever is not there by then is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Longer than any wait that is asked for.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How often it is asked for nothing, to see how long that takes.
const PINGS: usize = 100;

/// A store has no more buckets.
const BUCKETS_MAX: u16 = 4_096;

/// Why a server cannot be asked, and what to do about it.
fn why(error: &RedisError) -> String {
    match error.code() {
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            "it does not let this user in with this password: see ACL LIST there".to_owned()
        }
        Some("NOAUTH") => "it wants a password: redis://user:password@...".to_owned(),
        Some("NOPERM") => "the user may not ask what it is: ACL SETUSER ... +info".to_owned(),
        _ if error.is_connection_refusal() => format!("nobody listens there ({error})"),
        _ => error.to_string(),
    }
}

/// A server that answers.
pub(super) struct Node {
    seed: ConnectionInfo,
    at: String,
    connection: Connection,
    pub(super) info: Info,
}

impl Node {
    /// Connects, and asks what it is.
    pub(super) fn reach(seed: &ConnectionInfo) -> Result<Self, String> {
        // Unless somebody has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connect = || {
            let mut connection =
                Client::open(seed.clone())?.get_connection_with_timeout(CONNECT_WITHIN)?;
            connection.set_read_timeout(Some(ANSWER_WITHIN))?;
            connection.set_write_timeout(Some(ANSWER_WITHIN))?;
            let info: String = cmd("INFO").query(&mut connection)?;
            Ok((connection, Info::parse(&info)))
        };
        let (connection, info) = connect().map_err(|error| why(&error))?;
        Ok(Self { seed: seed.clone(), at: seed.addr().to_string(), connection, info })
    }

    /// Where it was reached.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// How it was reached.
    pub(super) fn seed(&self) -> &ConnectionInfo {
        &self.seed
    }

    fn is_cluster(&self) -> bool {
        self.info.is("cluster_enabled", "1")
    }

    /// What it knows of its cluster, if it is in one.
    pub(super) fn cluster(&mut self) -> Option<ClusterNodes> {
        if !self.is_cluster() {
            return None;
        }
        let nodes = cmd("CLUSTER").arg("NODES").query::<String>(&mut self.connection);
        Some(nodes.map(|text| ClusterNodes::parse(&text)).unwrap_or_default())
    }

    /// What it is called in its cluster.
    pub(super) fn cluster_id(&mut self) -> Option<String> {
        let nodes = self.cluster()?;
        nodes.0.into_iter().find(|node| node.is_myself()).map(|node| node.id)
    }

    /// All that is judged of it.
    pub(super) fn facts(&mut self, prefix: &str) -> NodeFacts {
        let mut facts = NodeFacts {
            at: self.at.clone(),
            user: self.user(),
            prefix: prefix.to_owned(),
            door: self.door(),
            settings: self.settings(),
            ahead_ms: self.ahead_ms().ok(),
            ping: self.pings().ok().flatten(),
            ..NodeFacts::default()
        };
        if self.is_cluster()
            && let Ok(info) = cmd("CLUSTER").arg("INFO").query::<String>(&mut self.connection)
        {
            self.info.add(&info);
        }
        facts.info = self.info.clone();
        if facts.is_primary() {
            let trials = Trials::run(&mut self.connection, prefix, &self.info);
            (facts.trials, facts.write) = (trials.all, trials.write);
        }
        facts
    }

    fn user(&mut self) -> String {
        let named = || self.seed.redis_settings().username().unwrap_or("default").to_owned();
        let user = cmd("ACL").arg("WHOAMI").query(&mut self.connection);
        user.unwrap_or_else(|_| named())
    }

    fn door(&self) -> Door {
        let (host, is_tls) = match self.seed.addr() {
            ConnectionAddr::TcpTls { host, .. } => (host.as_str(), true),
            ConnectionAddr::Tcp(host, _) => (host.as_str(), false),
            _ => ("localhost", false),
        };
        let ip = host.parse::<std::net::IpAddr>();
        let is_local = ip.map_or(host == "localhost", |ip| ip.is_loopback());
        Door { has_password: self.seed.redis_settings().password().is_some(), is_tls, is_local }
    }

    fn settings(&mut self) -> Settings {
        let settings = cmd("CONFIG").arg("GET").arg(&SETTINGS).query(&mut self.connection);
        Settings(settings.ok().filter(|found: &BTreeMap<_, _>| !found.is_empty()))
    }

    /// Its time, against ours in the middle of asking.
    fn ahead_ms(&mut self) -> RedisResult<i64> {
        let clock = clock::wall();
        let before = clock().0;
        let (seconds, micros): (u64, u64) = cmd("TIME").query(&mut self.connection)?;
        let ours = before.midpoint(clock().0);
        let theirs = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
        Ok(i64::try_from(i128::from(theirs) - i128::from(ours)).unwrap_or(i64::MAX))
    }

    fn pings(&mut self) -> RedisResult<Option<Took>> {
        let ping = |_| {
            let began = Instant::now();
            cmd("PING").exec(&mut self.connection)?;
            Ok(began.elapsed())
        };
        (0..PINGS).map(ping).collect::<RedisResult<_>>().map(Took::of)
    }

    /// Adds what this primary has of the store: in a cluster, what it has not it refuses (`MOVED`).
    pub(super) fn store(&mut self, prefix: &str, store: &mut StoreFacts) {
        let keys = StoreKeys::new(prefix);
        let mut fields = cmd("HMGET");
        let fields = fields.arg(keys.store()).arg("format").arg("buckets");
        if let Ok((Some(format), Some(buckets))) =
            fields.query::<(Option<String>, Option<String>)>(&mut self.connection)
        {
            store.made_with = Some(MadeWith { format, buckets });
        }
        let workers = cmd("HLEN").arg(keys.workers()).query(&mut self.connection);
        store.workers += workers.unwrap_or(0_u64);
        let mut lost = redis::pipe();
        for bucket in 0..BUCKETS_MAX {
            lost.cmd("HLEN").arg(keys.bucket(bucket).key("lost"));
        }
        let lost = lost.ignore_errors().query::<Vec<RedisResult<u64>>>(&mut self.connection);
        store.lost += lost.unwrap_or_default().into_iter().flatten().sum::<u64>();
    }
}
