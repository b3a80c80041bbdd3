//! Keep-alive connections: a crowd's worth of them, with an end.
//!
//! A pool opens a connection for each call until it has as many as it may, and then takes in turns
//! those that are idle, the longest idle first. So the system sees as many customers as there may
//! be, all of them staying connected, and not the few that a fast answer would leave busy.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::wire::Outgoing;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Connections to one system, from one address.
#[derive(Debug)]
pub struct Pool {
    /// Its processes, any of which will do.
    peers: Vec<SocketAddr>,
    /// How often one was tried: each connection begins with the next.
    tried: AtomicUsize,
    from: Option<IpAddr>,
    open_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those in use, and those idle.
    open: usize,
    /// The longest idle first.
    idle: VecDeque<Connection>,
}

impl Pool {
    /// Connections to any of `peers`, at most `open_max`, from the address `from` if that matters.
    pub fn new(peers: &[SocketAddr], from: Option<IpAddr>, open_max: usize) -> Arc<Self> {
        let (peers, tried) = (peers.to_vec(), AtomicUsize::new(0));
        Arc::new(Self { peers, tried, from, open_max, state: Mutex::default() })
    }

    /// The right to one connection; `None` if all are in use.
    pub fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = if state.open < self.open_max {
            state.open += 1;
            None
        } else {
            Some(state.idle.pop_front()?)
        };
        Some(Lease { pool: self.clone(), connection: idle })
    }

    /// Connects to the next process; if that is not there, to another.
    async fn connect(&self) -> Result<Connection, CallError> {
        let mut error = CallError::NotConnected;
        for _ in &self.peers {
            let next = self.tried.fetch_add(1, Ordering::Relaxed);
            match self.connect_to(self.peers[next % self.peers.len()]).await {
                Err(failed) => error = failed,
                connected => return connected,
            }
        }
        Err(error)
    }

    async fn connect_to(&self, peer: SocketAddr) -> Result<Connection, CallError> {
        let stream = async {
            let socket = match peer {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(from) = self.from {
                socket.bind((from, 0).into())?;
            }
            let stream = socket.connect(peer).await?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        let stream = stream.await.map_err(CallError::Connect)?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(CallError::Http)?;
        // How it ends is told to whoever has a request on it.
        let driver = tokio::spawn(async move { drop(driver.await) });
        Ok(Connection { sender, driver })
    }
}

/// The right to one connection of a pool. Dropping it closes the connection.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    connection: Option<Connection>,
}

impl Lease {
    /// Sees to it that there is a connection that can take a request.
    ///
    /// # Errors
    /// There is none to be had.
    pub async fn connect(&mut self) -> Result<(), CallError> {
        if let Some(connection) = &mut self.connection
            && connection.sender.ready().await.is_ok()
        {
            return Ok(());
        }
        self.connection = Some(self.pool.connect().await?);
        Ok(())
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// The connection breaks first, or is not there.
    pub async fn ask(&mut self, request: Outgoing) -> Result<(StatusCode, Bytes), CallError> {
        let connection = self.connection.as_mut().ok_or(CallError::NotConnected)?;
        let response = connection.sender.send_request(request).await.map_err(CallError::Http)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(CallError::Body)?.to_bytes()))
    }

    /// Gives the connection back: it can take another request.
    pub fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            let mut state = self.pool.state.lock().unwrap_or_else(PoisonError::into_inner);
            // `drop` counts the lease out; the connection stays.
            state.open += 1;
            state.idle.push_back(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open = state.open.saturating_sub(1);
    }
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    /// Closes it at once, as somebody does who hangs up.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why a call has no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// Nobody listens, or there are no more ports or files.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("no answer: {0}")]
    Http(#[source] hyper::Error),
    /// The answer broke off, or is too long.
    #[error("no whole answer: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The question cannot be asked in HTTP.
    #[error("no request: {0}")]
    Request(#[source] hyper::http::Error),
    /// It takes too long.
    #[error("no answer within {within:?}")]
    Late {
        /// How long was waited.
        within: Duration,
    },
    /// The lease was asked before it was connected.
    #[error("not connected")]
    NotConnected,
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A peer that counts its connections, and answers `answers` requests on each before it closes.
    async fn peer(answers: usize) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let connections = count.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut request = [0; 1_024];
                    for _ in 0..answers {
                        // The requests here come in one piece.
                        let _ = stream.read(&mut request).await;
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        let _ = stream.write_all(answer).await;
                    }
                });
            }
        });
        (address, count)
    }

    async fn ask(lease: &mut Lease) -> Result<Bytes, CallError> {
        lease.connect().await?;
        let request = Request::get("/").header("host", "peer").body(Full::default()).unwrap();
        lease.ask(request).await.map(|(_, body)| body)
    }

    #[tokio::test]
    async fn a_pool_is_filled_and_then_used_in_turns() {
        let (address, count) = peer(100).await;
        let pool = Pool::new(&[address], None, 2);
        for _ in 0..6 {
            let mut lease = pool.lease().unwrap();
            assert_eq!(ask(&mut lease).await.unwrap(), "ok");
            lease.give_back();
        }
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn who_finds_all_connections_in_use_gets_none() {
        let (address, _) = peer(100).await;
        let pool = Pool::new(&[address], None, 2);
        let (first, second) = (pool.lease(), pool.lease());
        assert!(first.is_some() && second.is_some() && pool.lease().is_none());
        drop(first);
        assert!(pool.lease().is_some());
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_is_opened_again() {
        let (address, count) = peer(1).await;
        let pool = Pool::new(&[address], None, 1);
        for _ in 0..3 {
            let mut lease = pool.lease().unwrap();
            assert_eq!(ask(&mut lease).await.unwrap(), "ok");
            // The peer's end arrives before the connection is needed again.
            let driver = &mut lease.connection.as_mut().unwrap().driver;
            driver.await.unwrap();
            lease.give_back();
        }
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn where_one_process_is_gone_another_is_asked() {
        let ((one, of_one), (other, of_other)) = (peer(100).await, peer(100).await);
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let pool = Pool::new(&[one, gone, other], None, 6);
        for _ in 0..6 {
            let mut lease = pool.lease().unwrap();
            assert_eq!(ask(&mut lease).await.unwrap(), "ok");
            lease.give_back();
        }
        let counts = [of_one, of_other].map(|count| count.load(Ordering::Relaxed));
        assert!(counts[0] + counts[1] == 6 && !counts.contains(&0), "{counts:?}");
    }

    #[tokio::test]
    async fn a_bot_comes_from_its_own_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let from: IpAddr = "127.0.0.9".parse().unwrap();
        let pool = Pool::new(&[listener.local_addr().unwrap()], Some(from), 1);
        let mut lease = pool.lease().unwrap();
        let (connected, accepted) = tokio::join!(lease.connect(), listener.accept());
        connected.unwrap();
        assert_eq!(accepted.unwrap().1.ip(), from);
    }
}
