//! What a server says of itself.

use std::collections::HashMap;
use std::time::Duration;

use redis::{InfoDict, Pipeline};

use super::Settings;
use super::link::{Wire, pipeline};
use super::reply::{Replies, failed_to};
use crate::store::tenure::Reached;
use crate::store::{Durability, StoreError};

/// Which history of data it is that a server has. If it is another one, what was read of the one
/// before counts no more: a server that starts again may have lost a tail, one that was a replica may
/// never have had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    run_id: String,
    replication_id: String,
}

/// Asks for its [`History`].
pub(super) fn ask_history(pipe: &mut Pipeline) {
    pipe.cmd("INFO").arg("server").arg("replication");
}

pub(super) fn history(replies: &mut Replies) -> Result<History, StoreError> {
    let info: InfoDict = replies.next("INFO")?;
    let text = |name| info.get::<String>(name).unwrap_or_default();
    Ok(History { run_id: text("run_id"), replication_id: text("master_replid") })
}

/// What is done after a commit, so that it is as durable as was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assurance {
    /// What a commit survives once it was replied to, by the server's own configuration.
    replied: Durability,
    /// Whether the server can say when its disk has it.
    can_wait_for_disk: bool,
    wanted: Durability,
    replicas: u32,
    wait: Duration,
}

impl Assurance {
    /// Asks a server.
    pub(super) fn of(wire: &mut Wire, settings: &Settings) -> Result<Self, StoreError> {
        let mut pipe = pipeline();
        pipe.cmd("INFO");
        let mut replies = Replies::new(wire.query(&pipe).map_err(failed_to("be asked"))?);
        let info: InfoDict = replies.next("INFO")?;
        let version = info.get::<String>("redis_version").unwrap_or_default();
        check_version(&version)?;
        let has_log = info.get("aof_enabled") == Some(1_u8);
        let is_synced = has_log && syncs_always(wire);
        Ok(Self {
            replied: if is_synced { Durability::Disk } else { Durability::Process },
            can_wait_for_disk: has_log && at_least(&version, (7, 2)),
            wanted: settings.durability,
            replicas: settings.replicas,
            wait: settings.wait,
        })
    }

    /// What every commit survives that was replied to. One that is waited for may survive more.
    pub(super) fn durability(&self) -> Durability {
        self.replied
    }

    fn waits_for_disk(&self) -> bool {
        self.can_wait_for_disk
            && self.wanted == Durability::Disk
            && self.replied == Durability::Process
    }

    /// How the server is asked what the reply to a commit does not say.
    fn question(&self) -> Option<Question> {
        if self.can_wait_for_disk && (self.replicas > 0 || self.waits_for_disk()) {
            return Some(Question::DisksAndReplicas);
        }
        (self.replicas > 0).then_some(Question::Replicas)
    }

    /// Asks the server to reply once a commit is as durable as it is to be.
    pub(super) fn ask(&self, pipe: &mut Pipeline) {
        let wait_ms = self.wait.as_millis() as u64;
        match self.question() {
            None => pipe,
            Some(Question::Replicas) => pipe.cmd("WAIT").arg(self.replicas).arg(wait_ms),
            Some(Question::DisksAndReplicas) => {
                pipe.cmd("WAITAOF").arg(1).arg(self.replicas).arg(wait_ms)
            }
        };
    }

    /// How long that may take.
    pub(super) fn wait(&self) -> Duration {
        self.question().map_or(Duration::ZERO, |_| self.wait)
    }

    /// What came of [`Assurance::ask`].
    pub(super) fn reached(&self, replies: &mut Replies) -> Result<Reached, StoreError> {
        let (is_on_disk, replicas) = match self.question() {
            None => (false, None),
            Some(Question::Replicas) => (false, Some(replies.next("WAIT")?)),
            Some(Question::DisksAndReplicas) => {
                let (disks, replicas): (u32, u32) = replies.next("WAITAOF")?;
                (disks > 0, (self.replicas > 0).then_some(replicas))
            }
        };
        let durability = if is_on_disk { Durability::Disk } else { self.replied };
        Ok(Reached { durability, replicas })
    }
}

#[derive(Clone, Copy)]
enum Question {
    /// `WAIT`: how many replicas have it in memory.
    Replicas,
    /// `WAITAOF`, from 7.2: whether it is on the server's disk, and how many replicas have it on
    /// theirs.
    DisksAndReplicas,
}

/// Whether the log is synced before each reply, also while it is rewritten. A server that does not say
/// is taken not to.
fn syncs_always(wire: &mut Wire) -> bool {
    let expected = [("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")];
    let mut pipe = pipeline();
    pipe.cmd("CONFIG").arg("GET").arg(&expected.map(|(name, _)| name));
    let Ok(replies) = wire.query(&pipe) else { return false };
    let settings = Replies::new(replies).next::<HashMap<String, String>>("CONFIG GET");
    settings.is_ok_and(|settings| {
        expected.iter().all(|(name, value)| settings.get(*name).is_some_and(|set| set == value))
    })
}

fn check_version(version: &str) -> Result<(), StoreError> {
    if at_least(version, (7, 0)) {
        return Ok(());
    }
    let source = format!("the server has version {version}, and has to have 7.0 or later").into();
    Err(StoreError::Database { action: "be used", source })
}

fn at_least(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= least
}
