//! The server: connections of HTTP/1.1 and HTTP/2, bounded in number, in what they may ask for at a time,
//! and in how long they may be silent.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_io_timeout::TimeoutStream;

/// How long a connection may take to deliver a request's head or to take an answer, or be idle
/// between requests. Proxies in front must close idle connections sooner, or they send into closing
/// ones: `envoy.yaml` does.
pub const SILENT_MAX: Duration = Duration::from_secs(60);

/// The most requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 256;

/// The most bytes of a request's head. More gets 431, or an end of the stream.
const HEAD_BYTES_MAX: u32 = 16 * 1_024;

/// How soon a peer is asked whether it is still there while it waits over HTTP/2, and how soon it is to say so.
const PING_AFTER: Duration = Duration::from_secs(20);

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
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(SILENT_MAX));
        let stream = TokioIo::new(Box::pin(stream));
        let under_way = UnderWay::begin();
        let service = under_way.counting(self.router.clone());
        let watcher = self.graceful.watcher();
        async move {
            let builder = builder();
            let connection = watcher.watch(builder.serve_connection(stream, service));
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection ended early");
                    }
                }
                () = under_way.none_for(SILENT_MAX) => {}
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENT_MAX)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_AFTER);
    builder
}

/// The requests of a connection that are not answered yet.
#[derive(Clone)]
struct UnderWay(Arc<Requests>);

struct Requests {
    count: AtomicUsize,
    began: Instant,
    /// When the last one ended, in milliseconds since then.
    ended_ms: AtomicU64,
}

impl UnderWay {
    fn begin() -> Self {
        let (count, ended_ms) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Requests { count, began: Instant::now(), ended_ms }))
    }

    /// A service that counts them on their way through `router`.
    fn counting(
        &self,
        router: Router,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = Response,
        Error = Infallible,
        Future: Send + 'static,
    > + use<> {
        let (all, service) = (self.clone(), TowerToHyperService::new(router));
        service_fn(move |request| {
            let (one, answer) = (One::of(&all), service.call(request));
            async move { Ok(one.until_sent(answer.await?)) }
        })
    }

    /// Resolves when there has been none for so long. It looks seldom: that may be as long again.
    async fn none_for(&self, silence: Duration) {
        loop {
            let since = match self.0.count.load(Ordering::Acquire) {
                0 => self.0.began + Duration::from_millis(self.0.ended_ms.load(Ordering::Acquire)),
                _ => Instant::now(),
            };
            if since.elapsed() >= silence {
                return;
            }
            sleep_until(since + silence).await;
        }
    }
}

/// One of them.
struct One(UnderWay);

impl One {
    fn of(all: &UnderWay) -> Self {
        all.0.count.fetch_add(1, Ordering::AcqRel);
        Self(all.clone())
    }

    /// A body of which the end is not there yet is under way for as long as it is sent.
    fn until_sent(self, response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _ = &self;
                frame
            }))
        })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let Requests { count, began, ended_ms } = &*self.0.0;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        ended_ms.store(ms, Ordering::Release);
        count.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::{StatusCode, Version};
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

    /// One that waits for its answer is not silent, however long that takes.
    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_not_silent() {
        let (address, _stop, _served) = start(2, 5 * SILENT_MAX).await;
        let slow = "POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
        let mut waiting = connect(address, slow).await;
        assert!(read(&mut waiting).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn http_2_is_spoken_as_well() {
        let (address, stop, served) = start(1, Duration::ZERO).await;
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let get = |path: &str, name: &str| {
            let uri = format!("http://{address}{path}");
            Request::get(uri).header("x", name).body(String::new()).unwrap()
        };
        let (one, other) = (send.send_request(get("/", "")), send.send_request(get("/large", "")));
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert_eq!((one.status(), one.version()), (StatusCode::OK, Version::HTTP_2));
        let large = other.into_body().collect().await.unwrap();
        assert_eq!(large.to_bytes().len(), 1 << 20);
        // A head that is too large is an answer, and not the end of the others'.
        let head = "y".repeat(HEAD_BYTES_MAX as usize);
        let refused = send.send_request(get("/", &head)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(send.send_request(get("/", "")).await.unwrap().status(), StatusCode::OK);
        // A stop asks whoever is connected to go.
        stop.send(()).unwrap();
        connection.await.unwrap().unwrap();
        assert!(served.await.unwrap());
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, _stop, _served) = start(1, Duration::ZERO).await;
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX as usize));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
        for head in [long, many] {
            let mut refused = connect(address, &head).await;
            assert!(read(&mut refused).await.starts_with("HTTP/1.1 431"));
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
