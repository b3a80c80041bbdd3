//! Puts the parts together: store, engine, HTTP, and an end that answers every caller.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock;
use crate::config::Config;
use crate::http::{App, router};
use crate::lanes::{Lanes, StartError};
use crate::metrics::Metrics;
use crate::store::{Embedded, Store, StoreError};

/// How much longer than a caller's wait a stop may take.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Serves until `stop` resolves: then takes no new requests, answers those that wait, and returns.
///
/// # Errors
/// It cannot start, or the engine stopped because its store failed.
pub async fn serve(
    config: &Config,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let failed = |source| ServeError::Listen { listen: config.listen, source };
    // Before the store is touched: a second instance by mistake ends here.
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let listen = listener.local_addr().map_err(failed)?;
    let store = Embedded::open(&config.data, config.buckets).map_err(ServeError::Open)?;
    let app = start(config, Arc::new(store))?;
    tracing::info!(%listen, data = %config.data.display(), "serving");
    run(listener, app, stop, Duration::from_millis(config.wait_ms) + STOP_GRACE).await
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
    let wait = Duration::from_millis(config.wait_ms);
    Ok(Arc::new(App { lanes, store, metrics, clock, hold_ms: config.hold_ms, wait }))
}

async fn run(
    listener: TcpListener,
    app: Arc<App>,
    stop: impl Future<Output = ()> + Send + 'static,
    stop_max: Duration,
) -> Result<(), ServeError> {
    let mut failed = app.lanes.stopped();
    let (stopping, mut is_stopping) = watch::channel(false);
    let stop_or_fail = async move {
        tokio::select! {
            () = stop => tracing::info!("stopping"),
            _ = failed.wait_for(|failed| *failed) => {}
        }
        let _ = stopping.send(true);
    };
    // Answers are small and somebody waits for each: send them at once (TCP_NODELAY).
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let server = axum::serve(listener, router(Arc::clone(&app)));
    let server = server.with_graceful_shutdown(stop_or_fail).into_future();
    let overdue = async {
        let _ = is_stopping.wait_for(|stopping| *stopping).await;
        tokio::time::sleep(stop_max).await;
    };
    tokio::select! {
        result = server => result.map_err(ServeError::Serve)?,
        () = overdue => tracing::warn!("some clients did not take their answers in time"),
    }
    if *app.lanes.stopped().borrow() {
        return Err(ServeError::EngineStopped);
    }
    tracing::info!("stopped");
    Ok(())
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
    /// The store cannot be opened.
    #[error("data: the store cannot be opened")]
    Open(#[source] StoreError),
    /// The engine cannot start.
    #[error("the engine cannot start")]
    Start(#[source] StartError),
    /// The server failed.
    #[error("the server failed")]
    Serve(#[source] std::io::Error),
    /// The engine's store failed; the log says how.
    #[error("the engine stopped because its store failed: restart to read the store back")]
    EngineStopped,
}
