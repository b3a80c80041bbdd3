//! Real Redis servers, each with a port and a directory of its own, and what can go wrong with them.
//!
//! - [`Redis`] is one server: killed, restarted on what its disk has, paused;
//! - [`Pair`] is a primary and its replica, with a network between them that can be cut;
//! - [`Cluster`] is three primaries and three replicas;
//! - [`Partition`] is that network: a proxy between anybody and a server.
//!
//! All of them start with the configuration that we ship, so that whatever is tested with them is
//! tested with that. `$REDIS_SERVER` names another version of Redis, or Valkey.

mod certificate;
mod cluster;
mod options;
mod pair;
mod partition;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult, TlsCertificates};

use crate::process::{Process, StartError};

pub use certificate::Certificate;
pub(crate) use certificate::authority;
pub use cluster::{Cluster, NODES, PRIMARIES, SLOTS};
pub use options::RedisOptions;
pub use pair::Pair;
pub use partition::Partition;

/// How long the harness waits for an answer, on a machine that is busy with other tests. Not a
/// figure for services, which have somebody waiting.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A running server.
#[derive(Debug)]
pub struct Redis {
    /// The process, to pause or wait for.
    pub process: Process,
    options: RedisOptions,
}

impl Redis {
    /// Starts a server, and waits until it takes commands.
    ///
    /// # Errors
    /// It is not installed, or does not become ready; the error carries the end of its log.
    pub async fn start(options: &RedisOptions) -> Result<Self, StartError> {
        let process = Process::spawn("Redis", options.command()?, &options.log(), None)?;
        let mut redis = Self { process, options: options.clone() };
        redis.until_ready().await?;
        Ok(redis)
    }

    async fn until_ready(&mut self) -> Result<(), StartError> {
        let options = &self.options;
        // While it reads its files, Redis answers PING with an error.
        let ready = || async { ask::<String>(options, &["PING"]).await.ok().map(drop) };
        self.process.until_ready(ready).await
    }

    /// Kills it on the spot (`kill -9`).
    ///
    /// # Errors
    /// The operating system cannot tell how it ended.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.process.kill().await.map(drop)
    }

    /// Kills it, if it still runs, and starts it again on the same port with what its disk has.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn restart(&mut self) -> Result<(), StartError> {
        // One that has ended already is as dead.
        let _ = self.kill().await;
        *self = Self::start(&self.options).await?;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.options.address()
    }

    /// How it was started.
    pub fn options(&self) -> &RedisOptions {
        &self.options
    }

    /// What `--store` wants: `redis://` or `rediss://`, with user and password if it has one.
    pub fn url(&self) -> String {
        self.options.url_at(self.address())
    }

    /// The same by way of `address`, a [`Partition`]'s.
    pub fn url_at(&self, address: SocketAddr) -> String {
        self.options.url_at(address)
    }

    /// Where its data are.
    pub fn dir(&self) -> &Path {
        self.options.dir()
    }

    /// A connection.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        connect(&self.options).await
    }

    /// Sends one command by a connection of its own.
    ///
    /// # Errors
    /// It cannot be reached, or refuses.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        ask(&self.options, command).await
    }

    /// A field of what it says about itself (`INFO`).
    pub async fn info(&self, field: &str) -> Option<String> {
        let info: String = self.ask(&["INFO", "everything"]).await.ok()?;
        field_of(&info, field).map(str::to_owned)
    }
}

async fn connect(options: &RedisOptions) -> RedisResult<MultiplexedConnection> {
    let client = match options.certificate() {
        Some(certificate) => {
            let root_cert = Some(certificate.authority_pem().to_vec());
            let tls = TlsCertificates { client_tls: None, root_cert };
            Client::build_with_tls(options.url_at(options.address()), tls)?
        }
        None => Client::open(options.url_at(options.address()))?,
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN));
    client.get_multiplexed_async_connection_with_config(&config).await
}

async fn ask<T: FromRedisValue>(options: &RedisOptions, command: &[&str]) -> RedisResult<T> {
    let mut connection = connect(options).await?;
    let (name, arguments) = command.split_first().expect("a command");
    redis::cmd(name).arg(arguments).query_async(&mut connection).await
}

/// The value of `name:value`, one of the lines that `INFO` and `CLUSTER INFO` are made of.
pub(crate) fn field_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    Some(fields.find(|(found, _)| *found == name)?.1.trim())
}
