//! The way to all buckets for callers that do not block: one connection to each server, shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError, Value};

use super::ask::Ask;
use super::link::Link;
use super::reply::{self, Pauses, Remedy, Replies, failed_to, is_out_of_memory, remedy};
use super::scripts;
use super::topology::{Node, Topology};
use crate::store::StoreError;

/// How long to wait before asking again where nothing else says so.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long a caller waits for a connection to what did not answer the last time.
const PATIENCE: Duration = Duration::from_millis(50);

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not asked.
    OutOfReach { retry_after: Duration },
    /// It refused, and did nothing.
    Refused { error: RedisError },
    /// It did not answer: nobody knows what it did.
    Unknown { error: RedisError },
}

impl Failure {
    pub(super) fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Refused { error } if is_out_of_memory(error))
    }

    pub(super) fn into_store_error(self) -> StoreError {
        match self {
            Self::OutOfReach { retry_after } => StoreError::OutOfReach { retry_after },
            Self::Refused { error } | Self::Unknown { error } => failed_to("be asked")(error),
        }
    }
}

/// The way to all buckets.
pub(super) struct Remote {
    link: Arc<Link>,
    /// Whoever looks for the servers does so for all.
    looking: Arc<tokio::sync::Mutex<()>>,
    /// Whether a server did not answer, and none has since.
    is_failing: AtomicBool,
}

impl Remote {
    pub(super) fn new(link: Arc<Link>) -> Self {
        let (looking, is_failing) = Default::default();
        Self { link, looking, is_failing }
    }

    /// Asks the server of a slot; once more if the connection turns out to be dead.
    pub(super) async fn ask<T>(&self, slot: u16, ask: Ask<T>) -> Result<T, StoreError> {
        let mut replies = self.query(slot, &ask.pipe).await;
        if matches!(&replies, Err(Failure::Unknown { error }) if !error.is_timeout()) {
            replies = self.query(slot, &ask.pipe).await;
        }
        (ask.read)(&mut Replies::new(replies.map_err(Failure::into_store_error)?))
    }

    /// Sends commands to the server of a slot, at most one of which may write. Repeats them while it
    /// says that it could not do them.
    pub(super) async fn query(&self, slot: u16, pipe: &Pipeline) -> Result<Vec<Value>, Failure> {
        let mut pauses = Pauses::new();
        loop {
            let node = self.node(slot).await?;
            let error = match self.query_once(&node, pipe).await? {
                Ok(replies) => return Ok(replies),
                Err(error) => error,
            };
            match (remedy(&error), pauses.next()) {
                (Remedy::Nothing, _) => return Err(Failure::Refused { error }),
                (_, None) => return Err(Failure::OutOfReach { retry_after: RETRY_AFTER }),
                (Remedy::Load, Some(_)) => {
                    // Whether it worked is seen when it is asked again.
                    let _ = self.query_once(&node, &scripts::load()).await?;
                }
                (Remedy::Look, Some(pause)) => {
                    self.link.doubt();
                    tokio::time::sleep(pause).await;
                }
                (Remedy::Wait, Some(pause)) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Hears what is published on a channel, over a connection of its own.
    pub(super) async fn subscribe(
        &self,
        slot: u16,
        channel: &str,
    ) -> Result<PubSubStream, Failure> {
        let node = self.node(slot).await?;
        let subscribe = async {
            let mut hearing = Client::open(node.info.clone())?.get_async_pubsub().await?;
            hearing.subscribe(channel).await?;
            Ok(hearing.into_on_message())
        };
        let timed_out = |_| Failure::OutOfReach { retry_after: RETRY_AFTER };
        let subscribed = tokio::time::timeout(self.link.timeout, subscribe).await;
        // The breaker is for requests: a server that takes no subscription may answer them all.
        subscribed.map_err(timed_out)?.map_err(|error: RedisError| {
            if error.is_io_error() {
                self.link.doubt();
            }
            Failure::Refused { error }
        })
    }

    /// The outer result is of the connection, the inner of the commands.
    async fn query_once(
        &self,
        node: &Arc<Node>,
        pipe: &Pipeline,
    ) -> Result<Result<Vec<Value>, RedisError>, Failure> {
        let (number, mut connection) = self.connection(node).await?;
        match pipe.query_async(&mut connection).await {
            Ok(replies) => {
                self.is_failing.store(false, Ordering::Relaxed);
                Ok(reply::check(reply::read_all(replies)))
            }
            Err(error) if error.is_io_error() || error.is_unrecoverable_error() => {
                self.fail(node, number);
                Err(Failure::Unknown { error })
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// Gives a connection up: until it may be tried again everybody is told so at once.
    fn fail(&self, node: &Node, number: u64) {
        if node.give_up(number) {
            self.is_failing.store(true, Ordering::Relaxed);
            node.breaker.failed();
            self.link.doubt();
        }
    }

    /// Notes that there is no way at the moment.
    fn failing(&self, retry_after: Option<Duration>) -> Failure {
        self.is_failing.store(true, Ordering::Relaxed);
        Failure::OutOfReach { retry_after: retry_after.unwrap_or(RETRY_AFTER) }
    }

    /// Waits for what others need as well, and goes on when this caller has gone.
    async fn patiently<T>(&self, what: impl Future<Output = T>) -> Result<T, Failure> {
        let is_failing = self.is_failing.load(Ordering::Relaxed);
        let patience = if is_failing { PATIENCE } else { self.link.timeout };
        tokio::time::timeout(patience, what).await.map_err(|_| self.failing(None))
    }

    async fn node(&self, slot: u16) -> Result<Arc<Node>, Failure> {
        if let Some(topology) = self.link.last_topology()
            && let Some(node) = topology.node(slot)
            && let Some(retry_after) = node.breaker.open_for()
        {
            return Err(Failure::OutOfReach { retry_after });
        }
        let topology = match self.link.known_topology() {
            Some(known) => known,
            None => self.look().await?,
        };
        topology.node(slot).map(Arc::clone).ok_or_else(|| {
            self.link.doubt();
            Failure::OutOfReach { retry_after: RETRY_AFTER }
        })
    }

    async fn look(&self) -> Result<Arc<Topology>, Failure> {
        let looking = self.patiently(Arc::clone(&self.looking).lock_owned()).await?;
        if let Some(known) = self.link.known_topology() {
            return Ok(known);
        }
        if let Some(retry_after) = self.link.open_for() {
            return Err(Failure::OutOfReach { retry_after });
        }
        let link = Arc::clone(&self.link);
        let look = tokio::task::spawn_blocking(move || {
            let _looking = looking;
            link.topology()
        });
        match self.patiently(look).await? {
            Ok(Ok(topology)) => Ok(topology),
            Ok(Err(_)) | Err(_) => Err(self.failing(self.link.open_for())),
        }
    }

    async fn connection(&self, node: &Arc<Node>) -> Result<(u64, MultiplexedConnection), Failure> {
        if let Some(connection) = node.shared() {
            return Ok(connection);
        }
        let connecting = self.patiently(Arc::clone(&node.connecting).lock_owned()).await?;
        if let Some(connection) = node.shared() {
            return Ok(connection);
        }
        if let Some(retry_after) = node.breaker.open_for() {
            return Err(Failure::OutOfReach { retry_after });
        }
        let (link, connected) = (Arc::clone(&self.link), Arc::clone(node));
        let connect = tokio::spawn(async move {
            let _connecting = connecting;
            share_connection(&link, &connected).await;
        });
        // If it failed, somebody has said why.
        let _ = self.patiently(connect).await?;
        node.shared().ok_or_else(|| self.failing(node.breaker.open_for()))
    }
}

/// Connects to a server, for everybody.
async fn share_connection(link: &Link, node: &Node) {
    match connect(link.timeout, node).await {
        Ok(connection) => {
            node.breaker.answered();
            node.share(connection);
        }
        Err(error) => {
            node.breaker.failed();
            link.doubt();
            tracing::warn!(error = %error, "a server of the store cannot be reached");
        }
    }
}

async fn connect(timeout: Duration, node: &Node) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    let client = Client::open(node.info.clone())?;
    client.get_multiplexed_async_connection_with_config(&config).await
}
