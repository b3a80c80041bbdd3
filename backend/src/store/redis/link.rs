//! The way to the server that has a bucket.
//!
//! An owner has connections of its own, since its reads block and what it waits for after a commit
//! counts by connection. What has become of the servers meanwhile is looked up again after anything
//! that went wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionInfo, InfoDict, Pipeline, RedisError, Value};

use super::address::Address;
use super::breaker::Breaker;
use super::reply::{self, NoServer, Pauses, Remedy, failed_to, remedy};
use super::scripts;
use super::topology::{Node, Topology};
use crate::store::StoreError;

/// All servers of a store.
pub(super) struct Link {
    address: Address,
    /// The longest that a server may take to answer, unless it was asked to wait.
    pub(super) timeout: Duration,
    known: Mutex<Known>,
    /// Whoever looks for the servers does so for all.
    looking: Mutex<()>,
    breaker: Breaker,
}

/// Which server had what when they were last asked.
#[derive(Default)]
struct Known {
    topology: Option<Arc<Topology>>,
    is_stale: bool,
    looked_at: Option<Instant>,
}

/// However much goes wrong, servers are not looked for more often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Link {
    pub(super) fn new(address: Address, timeout: Duration) -> Self {
        // Unless somebody has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (known, looking, breaker) = Default::default();
        Self { address, timeout, known, looking, breaker }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which server has what, as it was last found.
    pub(super) fn known_topology(&self) -> Option<Arc<Topology>> {
        let known = self.known();
        known.topology.clone().filter(|_| !known.is_stale)
    }

    /// The same, though it seems to be wrong.
    pub(super) fn last_topology(&self) -> Option<Arc<Topology>> {
        self.known().topology.clone()
    }

    /// Finds out which server has what, unless it is known.
    ///
    /// Blocks for as long as the servers do not answer.
    pub(super) fn topology(&self) -> Result<Arc<Topology>, StoreError> {
        if let Some(known) = self.known_topology() {
            return Ok(known);
        }
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.known_topology() {
            return Ok(known);
        }
        if let Some(retry_after) = self.breaker.open_for() {
            return Err(StoreError::OutOfReach { retry_after });
        }
        let before = self.known().topology.clone();
        let mut found = self.look(before.as_deref()).inspect_err(|_| self.breaker.failed())?;
        self.breaker.answered();
        before.into_iter().for_each(|before| found.keep(&before));
        let found = Arc::new(found);
        let (topology, looked_at) = (Some(Arc::clone(&found)), Some(Instant::now()));
        *self.known() = Known { topology, is_stale: false, looked_at };
        Ok(found)
    }

    /// For how long nobody is to look for the servers.
    pub(super) fn open_for(&self) -> Option<Duration> {
        self.breaker.open_for()
    }

    /// What is known seems to be wrong.
    pub(super) fn doubt(&self) {
        let mut known = self.known();
        known.is_stale |= known.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
    }

    fn look(&self, before: Option<&Topology>) -> Result<Topology, StoreError> {
        let mut last_error = unreachable(NoServer::Primary);
        for seed in before.into_iter().flat_map(Topology::seeds).chain(&self.address.seeds) {
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
        self.connect_to(&self.node(slot)?)
    }

    /// A connection for a moment.
    pub(super) fn borrow(self: &Arc<Self>, slot: u16) -> Result<Wire, StoreError> {
        let node = self.node(slot)?;
        let spare = node.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        match spare {
            Some(connection) => Ok(Wire { connection, node, link: Arc::clone(self), owed: 0 }),
            None => self.connect_to(&node),
        }
    }

    fn node(&self, slot: u16) -> Result<Arc<Node>, StoreError> {
        let topology = self.topology()?;
        let node = topology.node(slot).map(Arc::clone);
        node.ok_or_else(|| {
            self.doubt();
            unreachable(NoServer::OfSlot)
        })
    }

    fn connect_to(self: &Arc<Self>, node: &Arc<Node>) -> Result<Wire, StoreError> {
        if let Some(retry_after) = node.breaker.open_for() {
            return Err(StoreError::OutOfReach { retry_after });
        }
        match self.open(&node.info) {
            Ok(connection) => {
                node.breaker.answered();
                let (node, link) = (Arc::clone(node), Arc::clone(self));
                Ok(Wire { connection, node, link, owed: 0 })
            }
            Err(error) => {
                node.breaker.failed();
                self.doubt();
                Err(failed_to("be reached")(error))
            }
        }
    }
}

fn unreachable(why: NoServer) -> StoreError {
    StoreError::Database { action: "be reached", source: Box::new(why) }
}

/// A connection that one thread has for itself.
pub(super) struct Wire {
    connection: Connection,
    node: Arc<Node>,
    link: Arc<Link>,
    /// How many replies are on their way to what was [sent](Wire::send).
    owed: usize,
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
                _ => {
                    self.link.doubt();
                    return Err(error);
                }
            }
        }
    }

    /// Sends commands and does not wait for what is replied: whoever asks next reads it before, and
    /// fails if one of them did.
    pub(super) fn send(&mut self, pipe: &Pipeline) -> Result<(), RedisError> {
        if !pipe.is_empty() {
            self.connection.send_packed_command(&pipe.get_packed_pipeline())?;
            self.owed += pipe.len();
        }
        Ok(())
    }

    /// Keeps the connection for the next who [borrows](Link::borrow) one. Only if nothing failed.
    pub(super) fn give_back(self) {
        if self.owed == 0 {
            *self.node.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.connection);
        }
    }

    /// As [`Wire::query`], of a server that may take `wait` longer to answer.
    pub(super) fn query_waiting(
        &mut self,
        pipe: &Pipeline,
        wait: Duration,
    ) -> Result<Vec<Value>, RedisError> {
        if wait.is_zero() {
            return self.query(pipe);
        }
        self.connection.set_read_timeout(Some(self.link.timeout + wait))?;
        let replies = self.query(pipe)?;
        self.connection.set_read_timeout(Some(self.link.timeout))?;
        Ok(replies)
    }

    fn query_once(&mut self, pipe: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let owed = (0..std::mem::take(&mut self.owed)).map(|_| self.connection.recv_response());
        reply::check(owed.collect::<Result<_, _>>()?)?;
        reply::check(reply::read_all(pipe.query(&mut self.connection)?))
    }
}
