//! Which server has what.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{Connection, ConnectionInfo, Value};

use super::address::Address;
use super::breaker::Breaker;
use super::reply::{self, Replies};
use crate::store::StoreError;

/// Which server has what.
pub(super) struct Topology {
    nodes: Vec<Arc<Node>>,
    /// The first slot of each range, the last, and the place of its server in `nodes`. A single
    /// server has all.
    ranges: Vec<(u16, u16, usize)>,
}

/// A server that takes writes.
pub(super) struct Node {
    pub(super) info: ConnectionInfo,
    pub(super) breaker: Breaker,
    /// A connection that nobody uses at the moment.
    pub(super) spare: Mutex<Option<Connection>>,
    /// The connection that all requests of this process share.
    shared: Mutex<Shared>,
    /// Whoever makes that does so for all.
    pub(super) connecting: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Shared {
    number: u64,
    connection: Option<MultiplexedConnection>,
}

impl Node {
    fn new(info: ConnectionInfo) -> Arc<Self> {
        let (breaker, spare, shared, connecting) = Default::default();
        Arc::new(Self { info, breaker, spare, shared, connecting })
    }

    fn shared_mut(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that all share, and its number.
    pub(super) fn shared(&self) -> Option<(u64, MultiplexedConnection)> {
        let shared = self.shared_mut();
        shared.connection.clone().map(|connection| (shared.number, connection))
    }

    /// Shares a connection.
    pub(super) fn share(&self, connection: MultiplexedConnection) {
        let mut shared = self.shared_mut();
        shared.number += 1;
        shared.connection = Some(connection);
    }

    /// Gives up the connection with that number; `false` if somebody has done so before: those who
    /// were using it hear one after the other that it is dead.
    pub(super) fn give_up(&self, number: u64) -> bool {
        let mut shared = self.shared_mut();
        shared.number == number && shared.connection.take().is_some()
    }
}

impl Topology {
    pub(super) fn single(info: ConnectionInfo) -> Self {
        Self { nodes: vec![Node::new(info)], ranges: vec![(0, u16::MAX, 0)] }
    }

    /// Reads `CLUSTER SLOTS`: ranges, each with its first slot, its last, and its servers, the first
    /// of which takes writes.
    pub(super) fn cluster(seed: &ConnectionInfo, slots: Value) -> Result<Self, StoreError> {
        let mut topology = Self { nodes: Vec::new(), ranges: Vec::new() };
        for range in reply::read::<Vec<Vec<Value>>>("CLUSTER SLOTS", slots)? {
            let mut range = Replies::new(range);
            let (first, last) = (range.next("slot")?, range.next("slot")?);
            let mut node = Replies::new(range.next("node")?);
            let host: Option<String> = node.next("host")?;
            let info = Address::node(seed, &host.unwrap_or_default(), node.next("port")?);
            let place = topology.place_of(info);
            topology.ranges.push((first, last, place));
        }
        Ok(topology)
    }

    fn place_of(&mut self, info: ConnectionInfo) -> usize {
        let known = self.nodes.iter().position(|node| node.info.addr() == info.addr());
        known.unwrap_or_else(|| {
            self.nodes.push(Node::new(info));
            self.nodes.len() - 1
        })
    }

    /// Goes on with the connections of another, and with what it knows of servers that do not
    /// answer.
    pub(super) fn keep(&mut self, before: &Self) {
        for node in &mut self.nodes {
            let known = before.nodes.iter().find(|known| known.info.addr() == node.info.addr());
            known.into_iter().for_each(|known| *node = Arc::clone(known));
        }
    }

    /// The server that has a slot.
    pub(super) fn node(&self, slot: u16) -> Option<&Arc<Node>> {
        let is_in = |(first, last, _): &&(u16, u16, usize)| (*first..=*last).contains(&slot);
        self.ranges.iter().find(is_in).and_then(|range| self.nodes.get(range.2))
    }

    /// Servers that may be asked about the others.
    pub(super) fn seeds(&self) -> impl Iterator<Item = &ConnectionInfo> {
        let answers = |node: &&Arc<Node>| node.breaker.open_for().is_none();
        self.nodes.iter().filter(answers).map(|node| &node.info)
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo as _;

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = |host, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let replica = node(text("replica"), 1);
        Value::Array(vec![Value::Int(first), Value::Int(last), node(host, port), replica])
    }

    #[test]
    fn each_slot_has_its_server() {
        let seed = "rediss://u:p@seed:7".into_connection_info().unwrap();
        let ranges = vec![
            range(0, 99, text("a"), 1),
            range(200, 16_383, text("b"), 2),
            range(100, 100, text("a"), 1),
            range(101, 101, text(""), 3),
            range(102, 102, Value::Nil, 4),
        ];
        let topology = Topology::cluster(&seed, Value::Array(ranges)).unwrap();
        let address = |slot| topology.node(slot).map(|node| node.info.addr().to_string());
        let addresses = [0, 99, 100, 101, 102, 103, 200, 16_383].map(address);
        let expected = ["a:1", "a:1", "a:1", "seed:3", "seed:4", "", "b:2", "b:2"];
        assert_eq!(addresses.map(Option::unwrap_or_default), expected);
        assert_eq!(topology.nodes.len(), 4, "a is one server");
        let settings = topology.nodes[0].info.redis_settings();
        assert_eq!(settings.password(), Some("p"));
    }

    #[test]
    fn a_server_that_does_not_answer_is_known_when_it_is_looked_up_again() {
        let seed = "redis://a:1".into_connection_info().unwrap();
        let first = Topology::single(seed.clone());
        first.node(5).unwrap().breaker.failed();
        let mut second = Topology::single(seed);
        second.keep(&first);
        assert!(second.node(5).unwrap().breaker.open_for().is_some());
        assert_eq!(second.seeds().count(), 0);
    }
}
