//! The server: connections, bounded in number and in how long they may be silent.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

/// How long a connection may take to deliver a request's head or to take an answer, or be idle
/// between requests. Proxies in front must close idle connections sooner, or they send into closing
/// ones: `envoy.yaml` does.
pub const SILENT_MAX: Duration = Duration::from_secs(60);

/// How long to wait after the system could not accept a connection (mostly: no files left).
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Serves `router` until `stop` resolves, on at most `connections_max` connections at a time; then
/// lets requests that have come be answered, within `stop_within`. Returns whether all were.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    stop: impl Future<Output = ()>,
    stop_within: Duration,
) -> bool {
    let server = Server {
        places: Arc::new(Semaphore::new(connections_max)),
        graceful: GracefulShutdown::new(),
        router,
    };
    tokio::select! {
        never = server.accept(&listener) => match never {},
        () = stop => {}
    }
    // New connections are refused from here on, not left in the dark.
    drop(listener);
    timeout(stop_within, server.graceful.shutdown()).await.is_ok()
}

struct Server {
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
    router: Router,
}

impl Server {
    async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            // Beyond the bound connections wait in the system's own queue.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { continue };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = self.connection(stream);
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    fn connection(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + use<> {
        // Answers are small and somebody waits for each: send them at once. Without it they are
        // only slower.
        let _ = stream.set_nodelay(true);
        // HTTP/1.1, as proxies speak to services.
        let mut builder = Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(SILENT_MAX);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(SILENT_MAX));
        let stream = TokioIo::new(Box::pin(stream));
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.graceful.watch(builder.serve_connection(stream, service));
        async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    /// A server with a route that answers at once, and one that answers after `Duration`.
    async fn start(
        connections_max: usize,
        slow: Duration,
    ) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<bool>) {
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/large", get(async || "x".repeat(1 << 20)))
            .route("/slow", post(async move || sleep(slow).await));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let within = Duration::from_secs(5);
        let served = tokio::spawn(serve(listener, router, connections_max, stopped, within));
        (address, stop, served)
    }

    async fn connect(address: SocketAddr, say: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(say.as_bytes()).await.unwrap();
        stream
    }

    async fn read(stream: &mut TcpStream) -> String {
        let mut buffer = [0; 1_000];
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    #[tokio::test]
    async fn one_connection_too_many_waits_for_a_place() {
        let (address, _stop, _served) = start(2, Duration::ZERO).await;
        let mut first = connect(address, GET).await;
        let mut second = connect(address, GET).await;
        assert!(read(&mut first).await.starts_with("HTTP/1.1 200"));
        assert!(read(&mut second).await.starts_with("HTTP/1.1 200"));
        let mut third = connect(address, GET).await;
        let early = timeout(Duration::from_millis(100), read(&mut third)).await;
        assert!(early.is_err(), "{early:?}");
        drop(first);
        assert!(read(&mut third).await.starts_with("HTTP/1.1 200"));
    }

    /// Time stands still but for waiting: the minute is over at once.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_stays_silent_is_closed() {
        let (address, _stop, _served) = start(2, Duration::ZERO).await;
        for beginning in ["", "GET / HT"] {
            let mut silent = connect(address, beginning).await;
            assert!(!read(&mut silent).await.contains("200"));
            assert_eq!(read(&mut silent).await, "");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_answers_is_left() {
        let (address, _stop, _served) = start(1, Duration::ZERO).await;
        let _greedy = connect(address, &GET.replace("/ ", "/large ").repeat(100)).await;
        let mut next = connect(address, GET).await;
        assert!(read(&mut next).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_answers_but_not_for_ever() {
        for (slow_s, is_answered) in [(1, true), (100, false)] {
            let (address, stop, served) = start(2, Duration::from_secs(slow_s)).await;
            let mut slow = connect(address, "POST /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let mut quick = connect(address, GET).await;
            assert!(read(&mut quick).await.starts_with("HTTP/1.1 200"));
            stop.send(()).unwrap();
            assert_eq!(served.await.unwrap(), is_answered);
            if is_answered {
                assert!(read(&mut slow).await.starts_with("HTTP/1.1 200"));
            }
        }
    }
}
