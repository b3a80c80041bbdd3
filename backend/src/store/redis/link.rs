//! The way to the server that has a bucket.
//!
//! An owner has connections of its own, since its reads block and what it waits for after a commit
//! counts by connection. What has become of the servers meanwhile is looked up again after anything
//! that went wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Connection, ConnectionInfo, InfoDict, Pipeline, RedisError, Value};

use super::address::Address;
use super::breaker::Breaker;
use super::reply::{self, Pauses, Remedy, failed_to, remedy};
use super::scripts;
use crate::store::StoreError;

/// All servers of a store.
pub(super) struct Link {
    address: Address,
    /// The longest that a server may take to answer, unless it was asked to wait.
    pub(super) timeout: Duration,
    topology: Mutex<Option<Arc<Topology>>>,
    breaker: Breaker,
}

/// Which server has what.
pub(super) struct Topology {
    nodes: Vec<Arc<Node>>,
    /// The last slot of each range, and the place of its server in `nodes`: in order. A single
    /// server has all.
    ranges: Vec<(u16, u16, usize)>,
}

/// A server that takes writes.
pub(super) struct Node {
    pub(super) info: ConnectionInfo,
    pub(super) breaker: Breaker,
    /// A connection that nobody uses at the moment.
    spare: Mutex<Option<Connection>>,
    /// The connection that all requests of this process share.
    pub(super) shared: tokio::sync::Mutex<Option<MultiplexedConnection>>,
}

impl Node {
    fn new(info: ConnectionInfo) -> Arc<Self> {
        let (breaker, spare, shared) = Default::default();
        Arc::new(Self { info, breaker, spare, shared })
    }
}

impl Topology {
    fn single(info: ConnectionInfo) -> Self {
        Self { nodes: vec![Node::new(info)], ranges: vec![(0, u16::MAX, 0)] }
    }

    /// Reads `CLUSTER SLOTS`: ranges, each with its first slot, its last, and its servers, the first
    /// of which takes writes.
    fn cluster(seed: &ConnectionInfo, slots: Value) -> Result<Self, StoreError> {
        let slots: Vec<Vec<Value>> = reply::read("CLUSTER SLOTS", slots)?;
        let (mut nodes, mut ranges) = (Vec::<Arc<Node>>::new(), Vec::new());
        for range in slots {
            let mut range = reply::Replies::new(range);
            let (first, last) = (range.next("slot")?, range.next("slot")?);
            let mut node = reply::Replies::new(range.next("node")?);
            let host: Option<String> = node.next("host")?;
            let info = Address::node(seed, &host.unwrap_or_default(), node.next("port")?);
            let known = nodes.iter().position(|node| node.info.addr() == info.addr());
            let place = known.unwrap_or_else(|| {
                nodes.push(Node::new(info));
                nodes.len() - 1
            });
            ranges.push((first, last, place));
        }
        Ok(Self { nodes, ranges })
    }

    pub(super) fn node(&self, slot: u16) -> Result<&Arc<Node>, StoreError> {
        let is_in = |(first, last, _): &&(u16, u16, usize)| (*first..=*last).contains(&slot);
        let node = self.ranges.iter().find(is_in).and_then(|range| self.nodes.get(range.2));
        node.ok_or_else(|| unreachable("no server has a slot of the cluster"))
    }
}

impl Link {
    pub(super) fn new(address: Address, timeout: Duration) -> Self {
        // Unless somebody has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { address, timeout, topology: Mutex::default(), breaker: Breaker::default() }
    }

    /// Which server has what, as it was last found.
    pub(super) fn known_topology(&self) -> Option<Arc<Topology>> {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds out which server has what, unless it is known.
    ///
    /// Blocks for as long as the servers do not answer.
    pub(super) fn topology(&self) -> Result<Arc<Topology>, StoreError> {
        let mut topology = self.topology.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*topology {
            return Ok(Arc::clone(known));
        }
        if self.breaker.open_for().is_some() {
            return Err(unreachable("no server has answered a moment ago"));
        }
        match self.look() {
            Ok(found) => {
                self.breaker.answered();
                Ok(Arc::clone(topology.insert(Arc::new(found))))
            }
            Err(error) => {
                self.breaker.failed();
                Err(error)
            }
        }
    }

    /// For how long nobody is to ask for the topology.
    pub(super) fn open_for(&self) -> Option<Duration> {
        self.breaker.open_for()
    }

    /// What was known is wrong by now.
    pub(super) fn forget(&self) {
        *self.topology.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn look(&self) -> Result<Topology, StoreError> {
        let mut last_error = unreachable("none of the servers takes writes");
        for seed in &self.address.seeds {
            match self.look_at(seed) {
                Ok(Some(topology)) => return Ok(topology),
                Ok(None) => {}
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// What one server knows; `None` if it is a replica.
    fn look_at(&self, seed: &ConnectionInfo) -> Result<Option<Topology>, StoreError> {
        let mut connection = self.open(seed).map_err(failed_to("be reached"))?;
        let info: InfoDict =
            redis::cmd("INFO").query(&mut connection).map_err(failed_to("be asked"))?;
        if info.get("cluster_enabled") == Some(1_u8) {
            let mut slots = redis::cmd("CLUSTER");
            let slots = slots.arg("SLOTS").query(&mut connection).map_err(failed_to("be asked"))?;
            return Topology::cluster(seed, slots).map(Some);
        }
        let is_replica = info.get::<String>("role").is_some_and(|role| role != "master");
        Ok((!is_replica).then(|| Topology::single(seed.clone())))
    }

    fn open(&self, info: &ConnectionInfo) -> Result<Connection, RedisError> {
        let connection = Client::open(info.clone())?.get_connection_with_timeout(self.timeout)?;
        connection.set_read_timeout(Some(self.timeout))?;
        connection.set_write_timeout(Some(self.timeout))?;
        Ok(connection)
    }

    /// A new connection to the server that has a slot.
    pub(super) fn connect(self: &Arc<Self>, slot: u16) -> Result<Wire, StoreError> {
        let topology = self.topology()?;
        let node = topology.node(slot).inspect_err(|_| self.forget())?;
        self.connect_to(node)
    }

    /// A connection for a moment.
    pub(super) fn borrow(self: &Arc<Self>, slot: u16) -> Result<Wire, StoreError> {
        let topology = self.topology()?;
        let node = topology.node(slot).inspect_err(|_| self.forget())?;
        let spare = node.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        match spare {
            Some(connection) => {
                Ok(Wire { connection, node: Arc::clone(node), link: Arc::clone(self) })
            }
            None => self.connect_to(node),
        }
    }

    fn connect_to(self: &Arc<Self>, node: &Arc<Node>) -> Result<Wire, StoreError> {
        if node.breaker.open_for().is_some() {
            return Err(unreachable("it has not answered a moment ago"));
        }
        match self.open(&node.info) {
            Ok(connection) => {
                node.breaker.answered();
                Ok(Wire { connection, node: Arc::clone(node), link: Arc::clone(self) })
            }
            Err(error) => {
                node.breaker.failed();
                self.forget();
                Err(failed_to("be reached")(error))
            }
        }
    }
}

fn unreachable(why: &'static str) -> StoreError {
    StoreError::Database { action: "be reached", source: why.into() }
}

/// A connection that one thread has for itself.
pub(super) struct Wire {
    connection: Connection,
    node: Arc<Node>,
    link: Arc<Link>,
}

/// Several commands at once. Each replies for itself, be it with an error.
pub(super) fn pipeline() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    pipeline
}

impl Wire {
    /// Sends commands, at most one of which may write, and returns their replies; repeats them if
    /// the server says that it could not do them yet.
    ///
    /// # Errors
    /// Of any command, or of the connection: then nobody knows what was done.
    pub(super) fn query(&mut self, pipe: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let mut pauses = Pauses::new();
        loop {
            let error = match self.query_once(pipe) {
                Ok(replies) => return Ok(replies),
                Err(error) => error,
            };
            match (remedy(&error), pauses.next()) {
                (Remedy::Load, Some(_)) => scripts::load().exec(&mut self.connection)?,
                (Remedy::Wait, Some(pause)) => std::thread::sleep(pause),
                (Remedy::Nothing, _) => return Err(error),
                (Remedy::Look | Remedy::Load | Remedy::Wait, _) => {
                    self.link.forget();
                    return Err(error);
                }
            }
        }
    }

    /// Keeps the connection for the next who [borrows](Link::borrow) one. Only if nothing failed.
    pub(super) fn give_back(self) {
        *self.node.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.connection);
    }

    /// As [`Wire::query`], of a server that may take `wait` longer to answer.
    pub(super) fn query_waiting(
        &mut self,
        pipe: &Pipeline,
        wait: Duration,
    ) -> Result<Vec<Value>, RedisError> {
        self.connection.set_read_timeout(Some(self.link.timeout + wait))?;
        let replies = self.query(pipe)?;
        self.connection.set_read_timeout(Some(self.link.timeout))?;
        Ok(replies)
    }

    fn query_once(&mut self, pipe: &Pipeline) -> Result<Vec<Value>, RedisError> {
        match pipe.query(&mut self.connection)? {
            Value::Array(replies) => reply::check(replies),
            other => Ok(vec![other]),
        }
    }
}
