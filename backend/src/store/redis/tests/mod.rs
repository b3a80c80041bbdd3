//! What is special about the store on Redis, against real servers. What it has in common with
//! others is in `store/conformance`.

mod cluster;
mod control;
mod fences;
mod lost;
mod posts;
mod proxy;
mod rates;
mod servers;
mod tls;
mod turns;

use std::num::NonZeroU32;
use std::time::Duration;

use cartgate_ledger::{Command, Counters, Fingerprint, Reserve, UnixMs};
use redis::Connection;
use tempfile::TempDir;

use super::rig::{Server, settings};
use super::{Api, RedisStore};
use crate::store::conformance::{entries, held, id, sku};
use crate::store::post::{Group, Post, PostReply};
use crate::store::tenure::{
    Arrived, Cursor, Entry, EntryId, Place, Posted, PostedCommand, ReplyTo, SharedStore as _, Step,
    Stream, Tenure, TurnCommit, WorkerId,
};
use crate::store::{Commit, SkuCommit, StockRow, StoreError};

type Taken = std::sync::Arc<dyn Tenure>;

const READ_MAX: usize = 100;

/// A store on a server of its own, and a connection past the store.
struct Rig {
    store: RedisStore,
    api: Api,
    connection: Connection,
    server: Server,
    _directory: TempDir,
}

impl Rig {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let server = Server::start(directory.path());
        let store = server.store();
        Self {
            api: store.api(),
            connection: server.connection(),
            store,
            server,
            _directory: directory,
        }
    }

    fn acquire(&self, worker: u64) -> Taken {
        self.store.acquire(0, WorkerId(worker)).unwrap().unwrap()
    }

    /// Makes the time of a lease pass.
    fn lapse(&mut self) {
        self.run(&["HSET", "{cg:0}:meta", "until_ms", "1"]);
    }

    fn run(&mut self, command: &[&str]) {
        redis::cmd(command[0]).arg(&command[1..]).exec(&mut self.connection).unwrap();
    }

    fn ask<T: redis::FromRedisValue>(&mut self, command: &[&str]) -> T {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut self.connection).unwrap()
    }

    /// Everything that is stored in the bucket.
    fn dump(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut keys: Vec<String> = self.ask(&["KEYS", "{cg:0}:*"]);
        keys.sort();
        keys.into_iter().map(|key| (key.clone(), self.ask(&["DUMP", &key]))).collect()
    }

    /// Takes the bucket back to what it was, as a failover does.
    fn restore(&mut self, dumped: &[(String, Vec<u8>)]) {
        self.run(&["FLUSHALL"]);
        for (key, value) in dumped {
            let mut restore = redis::cmd("RESTORE");
            restore.arg(key).arg(0).arg(value).exec(&mut self.connection).unwrap();
        }
    }

    async fn post(&self, stream: Stream, numbers: std::ops::Range<u8>) -> PostReply {
        self.post_by(0, stream, numbers).await
    }

    async fn post_by(
        &self,
        routes_version: u64,
        stream: Stream,
        numbers: std::ops::Range<u8>,
    ) -> PostReply {
        let posted = numbers.map(reserve).collect();
        let groups = vec![Group { stream, posted, depth_max: 100 }];
        self.api.post(0, &Post { routes_version, groups, tickets: vec![] }).await.unwrap()
    }
}

fn reserve(number: u8) -> Posted {
    let reserve = Reserve {
        id: id(number),
        fingerprint: Fingerprint([number; 16]),
        repeatable: true,
        customer: None,
        quantity: NonZeroU32::MIN,
        hold_ms: 1_000,
        claim_by: UnixMs(0),
        attempt: 1,
        is_tentative: false,
    };
    Posted::Command(PostedCommand {
        sku: sku("A"),
        command: Command::Reserve(reserve),
        request_id: "r".into(),
        reply: Some(ReplyTo { process: 7, number: number.into() }),
        good_for_ms: 5_000,
    })
}

/// All streams from their beginnings.
fn all_from_the_beginning() -> Vec<(Stream, EntryId)> {
    [Stream::Settle, Stream::Normal].map(|stream| (stream, EntryId::default())).into()
}

fn read(tenure: &Taken) -> Arrived {
    tenure.read(&all_from_the_beginning(), READ_MAX, Duration::ZERO).unwrap()
}

/// What has come in the normal lane.
fn in_lane(arrived: Arrived) -> Vec<Entry> {
    let lane = arrived.entries.into_iter().find(|(stream, _)| *stream == Stream::Normal);
    lane.map(|(_, entries)| entries).unwrap_or_default()
}

/// A step that decides all of some entries.
fn step(stream: Stream, entries: &[Entry]) -> Step {
    let last = entries.last().unwrap();
    let entry = EntryId { number: last.id.number + 1, ..last.id };
    let to = Cursor { next: Place { entry, index: 0 }, beyond: vec![] };
    let decided = entries.iter().map(|entry| entry.posted.len() as u64).sum();
    Step { stream, to, newest: (last.id, last.nonce), decided }
}

/// Five units of A set, so many versions after that held.
fn sale(from_version: u64, to_version: u64) -> TurnCommit {
    let all = entries(5, to_version);
    let row = |version: u64| match version {
        0 => None,
        _ => {
            let counters = all[usize::try_from(version).unwrap() - 1].after;
            Some(StockRow { counters, version, now: UnixMs(version) })
        }
    };
    let new = all[usize::try_from(from_version).unwrap()..].to_vec();
    let holds = (from_version.max(1) + 1..=to_version)
        .map(|version| (sku("A"), held(u8::try_from(version).unwrap())));
    let commit = Commit {
        skus: vec![SkuCommit { sku: sku("A"), row: row(to_version).unwrap(), entries: new }],
        reservations: holds.collect(),
        ..Commit::default()
    };
    let rows_before = vec![(sku("A"), row(from_version))];
    TurnCommit { commit, rows_before, ..TurnCommit::default() }
}

/// Checks that a turn is refused for that reason, and changes nothing.
fn check_refused(rig: &mut Rig, tenure: &Taken, turn: &TurnCommit, expected: &str) {
    let before = rig.dump();
    match tenure.commit_turn(turn) {
        Err(StoreError::TenureOver { bucket: 0, reason }) => assert_eq!(reason, expected),
        other => panic!("{other:?}"),
    }
    assert!(rig.dump() == before, "a refused turn changes nothing");
    let error = tenure.commit_turn(turn).unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "over is over: {error}");
}

fn available(tenure: &Taken) -> Option<Counters> {
    tenure.stock(&sku("A")).unwrap().map(|row| row.counters)
}
