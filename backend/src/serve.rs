//! Puts the parts together: store, engine, HTTP, and an end that answers every caller.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};

use crate::clock;
use crate::config::Config;
use crate::http::{App, router, server};
use crate::lanes::{Lanes, StartError, State};
use crate::metrics::Metrics;
use crate::store::{Embedded, Store, StoreError};

/// How much longer than a caller's wait a stop may take.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Files that the process needs beside its connections: the store's tables and journals.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// Serves until `stop` resolves: then takes no new requests, answers those that wait, and returns.
///
/// # Errors
/// It cannot start, or the engine failed.
pub async fn serve(config: &Config, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    raise_file_limit(config)?;
    let failed = |source| ServeError::Listen { listen: config.listen, source };
    // Before the store is touched: a second instance by mistake ends here.
    let listener = listen(config.listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let store = Embedded::open(&config.data, config.buckets, config.durability)
        .map_err(|source| ServeError::Open { data: config.data.clone(), source })?;
    let app = start(config, Arc::new(store))?;
    tracing::info!(listen = %address, data = %config.data.display(), "serving");

    let stop_or_failure = async {
        tokio::select! {
            () = stop => tracing::info!("stopping"),
            _ = app.lanes.stopped() => {}
        }
    };
    let (router, connections_max) = (router(Arc::clone(&app)), config.connections_max);
    let stop_within = Duration::from_millis(config.wait_ms) + STOP_GRACE;
    if !server::serve(listener, router, connections_max, stop_or_failure, stop_within).await {
        tracing::warn!("some clients did not take their answers in time");
    }
    if app.lanes.stop().await == State::Failed {
        return Err(ServeError::EngineFailed);
    }
    tracing::info!("stopped");
    Ok(())
}

/// Connections that the system completes and keeps until they are accepted. With tokio's 128, a rush
/// of callers waits for a second: that is when their systems ask again.
const BACKLOG: u32 = 4_096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Sees to it that connections alone can never use up the files that the store needs: a database
/// that cannot open its files fails.
fn raise_file_limit(config: &Config) -> Result<(), ServeError> {
    let connections_max = u64::try_from(config.connections_max).unwrap_or(u64::MAX);
    let needed = connections_max.saturating_add(FILES_BESIDE_CONNECTIONS);
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|_| ServeError::Files {
        connections_max,
        needed,
        limit: limit.maximum.unwrap_or(u64::MAX),
    })
}

fn start(config: &Config, store: Arc<dyn Store>) -> Result<Arc<App>, ServeError> {
    let (clock, metrics) = (clock::wall(), Arc::new(Metrics::default()));
    let lanes = Lanes::start(
        Arc::clone(&store),
        config.lane_settings(),
        Arc::clone(&clock),
        Arc::clone(&metrics),
    )
    .map_err(ServeError::Start)?;
    Ok(Arc::new(App::new(config, lanes, store, metrics, clock)))
}

/// Why the service ended.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "listen: {listen} cannot be used: stop what listens there, or set another address \
         with --listen or `listen` in the configuration"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Too few files may be open.
    #[error(
        "connections_max: {connections_max} connections need {needed} open files, and the limit is \
         {limit}: raise it (ulimit -n), or set fewer connections"
    )]
    Files {
        /// The connections configured.
        connections_max: u64,
        /// The files needed.
        needed: u64,
        /// The files that may be open.
        limit: u64,
    },
    /// The store cannot be opened.
    #[error(
        "data: the store in {} cannot be used: stop the process that has it open, or name another \
         directory with --data or `data` in the configuration",
        data.display()
    )]
    Open {
        /// The directory.
        data: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The engine cannot start.
    #[error("the engine cannot start")]
    Start(#[source] StartError),
    /// The engine failed; the log says how.
    #[error("the engine failed: restart to read its store back")]
    EngineFailed,
}
