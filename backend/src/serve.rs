//! Puts the parts together: store, engine, HTTP, and an end that answers every caller.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::net::TcpSocket;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::access::{Access, AccessError};
use crate::blocking::blocking;
use crate::clock::{self, Clock};
use crate::config::{Config, Role, StoreUrl};
use crate::customers::{Customers, CustomersError};
use crate::engine::{Engine, Shared};
use crate::http::{App, probes, router, server};
use crate::lanes::{Lanes, StartError, State, Worker};
use crate::metrics::Metrics;
use crate::store::redis::{RedisStore, is_passing};
use crate::store::tenure::SharedStore;
use crate::store::{Embedded, Store, StoreError};
use crate::trace::{ExportError, Exporter, Spans};

/// How much longer than a caller's wait a stop may take.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long a shared store is waited for at the start: both may have been started at once.
const STORE_WITHIN: Duration = Duration::from_secs(30);

/// How soon it is asked again.
const STORE_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Files that the process needs beside its connections and buckets: the store's tables and journals.
const FILES_BESIDE: u64 = 256;

/// A worker's connections to the store for each of its buckets: all may be its own.
const CONNECTIONS_PER_BUCKET: u64 = 2;

/// Serves until `stop` resolves: then takes no new requests, answers those that wait, and returns.
///
/// # Errors
/// It cannot start, or the engine failed.
pub async fn serve(config: &Config, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    raise_file_limit(config)?;
    let access = Arc::new(Access::new(&config.access).await.map_err(ServeError::Access)?);
    if access.is_development() {
        tracing::warn!(
            "development mode: everybody who reaches {} may do everything",
            config.listen
        );
    }
    let failed = |source| ServeError::Listen { listen: config.listen, source };
    // Before the store is touched: a second instance by mistake ends here.
    let socket = bind(config.listen).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    let probed = config.metrics_listen.map(bind_for_probes).transpose()?;
    let spans = Arc::new(Spans::new(&config.tracing));
    let exporter = Exporter::start(&config.tracing, &spans).map_err(ServeError::Tracing)?;
    let mut stop = pin!(stop);
    let app = tokio::select! {
        app = start(config, spans) => app?,
        () = &mut stop => return Ok(()),
    };
    let looking = app.control.start();
    // Until now callers were refused, for another to answer them: a store may be waited for.
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    tracing::info!(listen = %address, "serving");
    let _probes = probed.map(|probed| answer_probes(probed, Arc::clone(&app))).transpose()?;

    let stop_or_failure = async {
        tokio::select! {
            () = stop => tracing::info!("stopping"),
            () = app.engine.failed() => {}
        }
        app.begin_to_stop();
    };
    let (router, connections_max) = (router(Arc::clone(&app), access), config.connections_max);
    let stop_within = Duration::from_millis(config.wait_ms) + STOP_GRACE;
    if !server::serve(listener, router, connections_max, stop_or_failure, stop_within).await {
        tracing::warn!("some clients did not take their answers in time");
    }
    drop(looking);
    app.control.stop().await;
    let state = app.engine.stop().await;
    if let Some(exporter) = exporter {
        // After the last commit.
        exporter.stop().await;
    }
    if state == State::Failed {
        return Err(ServeError::EngineFailed);
    }
    tracing::info!("stopped");
    Ok(())
}

/// The most connections of those who ask for metrics.
const PROBES_MAX: usize = 64;

/// The operator's own address, at which nobody is answered yet.
struct Probed {
    listen: SocketAddr,
    socket: TcpSocket,
}

fn bind_for_probes(listen: SocketAddr) -> Result<Probed, ServeError> {
    let socket = bind(listen).map_err(|source| ServeError::MetricsListen { listen, source })?;
    Ok(Probed { listen, socket })
}

/// Answers there until it is dropped.
fn answer_probes(Probed { listen, socket }: Probed, app: Arc<App>) -> Result<Probes, ServeError> {
    let failed = |source| ServeError::MetricsListen { listen, source };
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    let serve = server::serve(listener, probes(app), PROBES_MAX, pending(), Duration::ZERO);
    Ok(Probes(tokio::spawn(serve).abort_handle()))
}

struct Probes(AbortHandle);

impl Drop for Probes {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connections that the system completes and keeps until they are accepted. With tokio's 128, a rush
/// of callers waits for a second: that is when their systems ask again.
const BACKLOG: u32 = 4_096;

fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Sees to it that connections alone can never use up the files that the store needs: a database
/// that cannot open its files fails.
fn raise_file_limit(config: &Config) -> Result<(), ServeError> {
    let needed = files_needed(config);
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|_| ServeError::Files {
        connections_max: config.connections_max,
        needed,
        limit: limit.maximum.unwrap_or(u64::MAX),
    })
}

fn files_needed(config: &Config) -> u64 {
    let connections_max = u64::try_from(config.connections_max).unwrap_or(u64::MAX);
    let is_worker = config.store.is_some() && config.roles.contains(&Role::Worker);
    let buckets = if is_worker { u64::from(config.buckets) } else { 0 };
    connections_max.saturating_add(FILES_BESIDE + CONNECTIONS_PER_BUCKET * buckets)
}

async fn start(config: &Config, spans: Arc<Spans>) -> Result<Arc<App>, ServeError> {
    let customers = Customers::new(&config.customers).map_err(ServeError::Customers)?;
    let (clock, metrics) = (clock::wall(), Arc::new(Metrics::new(spans)));
    let engine = match &config.store {
        None => start_local(config, &clock, &metrics)?,
        Some(url) => start_shared(config, url, &metrics).await?,
    };
    let agreed = customers.agree_with(engine.shared_api().as_deref(), &config.data).await;
    agreed.map_err(ServeError::Customers)?;
    Ok(Arc::new(App::new(config, engine, customers, metrics, clock)))
}

fn start_local(
    config: &Config,
    clock: &Clock,
    metrics: &Arc<Metrics>,
) -> Result<Engine, ServeError> {
    let store = Embedded::open(&config.data, config.buckets, config.durability)
        .map_err(|source| ServeError::Open { data: config.data.clone(), source })?;
    tracing::info!(data = %config.data.display(), "store opened");
    let store: Arc<dyn Store> = Arc::new(store);
    let settings = config.lane_settings();
    let lanes = Lanes::start(Arc::clone(&store), settings, Arc::clone(clock), Arc::clone(metrics));
    Ok(Engine::local(lanes.map_err(ServeError::Start)?, store))
}

async fn start_shared(
    config: &Config,
    url: &StoreUrl,
    metrics: &Arc<Metrics>,
) -> Result<Engine, ServeError> {
    let store = Arc::new(open_shared(config, url).await?);
    tracing::info!(store = ?url, roles = ?config.roles, "store opened");
    let is_worker = config.roles.contains(&Role::Worker);
    let worker = is_worker.then(|| {
        let store = Arc::clone(&store) as Arc<dyn SharedStore>;
        Worker::start(store, config.lane_settings(), Arc::clone(metrics))
    });
    let worker = worker.transpose().map_err(|error| ServeError::Start(StartError::Spawn(error)))?;
    Ok(Engine::Shared(Shared::start(store, config.front_settings(), worker, Arc::clone(metrics))))
}

/// Opens the store, and waits for one that is just starting, or failing over.
async fn open_shared(config: &Config, url: &StoreUrl) -> Result<RedisStore, ServeError> {
    let until = Instant::now() + STORE_WITHIN;
    loop {
        let (address, settings) = (url.address.clone(), config.redis_settings());
        match blocking(move || RedisStore::open(address, settings)).await {
            Err(error) if is_passing(&error) && Instant::now() < until => {
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(store = ?url, error = cause, "the store does not answer yet");
                sleep(STORE_AGAIN_AFTER).await;
            }
            opened => {
                return opened
                    .map_err(|source| ServeError::OpenShared { url: url.clone(), source });
            }
        }
    }
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
    /// The address for metrics cannot be listened on.
    #[error("metrics_listen: {listen} cannot be used: stop what listens there, or set another")]
    MetricsListen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody could ask for anything, or a file that says who may cannot be read.
    #[error(transparent)]
    Access(AccessError),
    /// Customers are to have pseudonyms, and cannot.
    #[error(transparent)]
    Customers(CustomersError),
    /// Too few files may be open.
    #[error(
        "connections_max: {connections_max} connections need {needed} open files, and the limit is \
         {limit}: raise it (ulimit -n), or set fewer connections"
    )]
    Files {
        /// The connections configured.
        connections_max: usize,
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
    /// The store that many processes share cannot be used.
    #[error(
        "store: {url:?} cannot be used: `cartgate doctor --store URL` says what is wrong there"
    )]
    OpenShared {
        /// Where it is.
        url: StoreUrl,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Spans cannot be exported as the configuration has it.
    #[error("tracing.otlp: spans cannot be exported")]
    Tracing(#[source] ExportError),
    /// The engine cannot start.
    #[error(
        "the engine cannot start (of a store of its own `cartgate doctor --data DIR` says why)"
    )]
    Start(#[source] StartError),
    /// The engine failed; the log says how.
    #[error("the engine failed: restart to read its store back")]
    EngineFailed,
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::access::AccessConfig;

    #[test]
    fn a_worker_has_files_for_all_buckets() {
        let local = Config { connections_max: 1_000, buckets: 4_096, ..Config::default() };
        assert_eq!(files_needed(&local), 1_256);
        let store = Some(String::from("redis://localhost").try_into().unwrap());
        let worker = Config { store, ..local };
        assert_eq!(files_needed(&worker), 1_256 + 8_192);
        let api = Config { roles: [Role::Api].into(), ..worker };
        assert_eq!(files_needed(&api), 1_256);
    }

    /// Whoever is let in before there is a store hangs; who is refused asks another process.
    #[tokio::test]
    async fn callers_are_refused_until_there_is_a_store() {
        let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", store.local_addr().unwrap());
        let free = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listen = free.local_addr().unwrap();
        drop(free);
        let access = AccessConfig { development: true, ..AccessConfig::default() };
        let at = Some(url.try_into().unwrap());
        let config = Config { listen, store: at, access, ..Config::default() };
        let asked = async {
            // A store that is asked, and does not answer.
            let _asked = store.accept().await.unwrap();
            let refused = TcpStream::connect(listen).await.unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        };
        serve(&config, asked).await.unwrap();
    }
}
