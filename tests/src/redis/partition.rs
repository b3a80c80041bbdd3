//! The network between somebody and a server: a proxy that passes bytes on, or not.
//!
//! TCP loses nothing that it has taken, however long that takes: so what was under way when the
//! network fell silent arrives when it is healed, and what was under way when it was cut never does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::ports;

/// As many bytes are passed on at once.
const CHUNK: usize = 64 * 1024;

/// As many chunks may be under way; a sender with more waits, as with any full network.
const CHUNKS_UNDER_WAY: usize = 256;

/// A proxy before a server. Dropping it cuts all that goes through it.
#[derive(Debug)]
pub struct Partition {
    address: SocketAddr,
    state: watch::Sender<State>,
    proxy: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    server: SocketAddr,
    is_cut: bool,
    /// How often it was cut: what connected before the last time is gone.
    cuts: u64,
    silent: Silent,
    delay: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Silent {
    requests: bool,
    answers: bool,
}

impl Partition {
    /// A network before `server`, which works until it is told not to.
    ///
    /// # Panics
    /// No port can be had.
    pub async fn before(server: SocketAddr) -> Self {
        let address = ports::free_address();
        let listener = TcpListener::bind(address).await.expect("a port");
        let (is_cut, cuts, delay) = (false, 0, Duration::ZERO);
        let state = State { server, is_cut, cuts, silent: Silent::default(), delay };
        let (state, seen) = watch::channel(state);
        Self { address, state, proxy: tokio::spawn(take_all(listener, seen)) }
    }

    /// Where it listens: for clients to use instead of the server's own address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and each new one at once: the server's machine says no.
    pub fn cut(&self) {
        self.change(|state| {
            state.is_cut = true;
            state.cuts += 1;
        });
    }

    /// Lets nothing through in either direction. Connections stay, and nobody is told anything: the
    /// cable is out.
    pub fn silence(&self) {
        self.change(|state| state.silent = Silent { requests: true, answers: true });
    }

    /// Lets requests through, and no answers: what is asked for is done, and nobody learns of it.
    pub fn silence_answers(&self) {
        self.change(|state| state.silent = Silent { requests: false, answers: true });
    }

    /// Makes each direction slower by `delay`, from now on.
    pub fn delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// Leads new connections to another server, and closes those there are: an address that moves to
    /// the next primary.
    pub fn lead_to(&self, server: SocketAddr) {
        self.change(|state| {
            state.server = server;
            state.cuts += 1;
        });
    }

    /// Makes it a network that works again.
    pub fn heal(&self) {
        self.change(|state| {
            state.is_cut = false;
            state.silent = Silent::default();
            state.delay = Duration::ZERO;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

/// Takes connections for as long as there is somebody to tell it what to do with them.
async fn take_all(listener: TcpListener, state: watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(join(client, state.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Joins a client to the server, until one of them hangs up, or the network is cut.
async fn join(client: TcpStream, mut state: watch::Receiver<State>) {
    let State { server, is_cut, cuts, .. } = *state.borrow();
    if is_cut {
        return;
    }
    let pass = pass_both_ways(client, server, state.clone());
    tokio::select! {
        // Whichever way it ends, both connections are closed.
        _ = pass => {}
        _ = state.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn pass_both_ways(
    mut client: TcpStream,
    server: SocketAddr,
    state: watch::Receiver<State>,
) -> io::Result<()> {
    // To call somebody is to ask something.
    let mut silence = state.clone();
    let _ = silence.wait_for(|state| !state.silent.requests).await;
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        pass(from_client, to_server, state.clone(), |silent| silent.requests),
        pass(from_server, to_client, state, |silent| silent.answers),
    )?;
    Ok(())
}

/// Passes bytes on, each when it is due, while this direction is not silent.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    is_silent: impl Fn(Silent) -> bool,
) -> io::Result<()> {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_UNDER_WAY);
    let delay = state.clone();
    let take = async move {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = from.read(&mut chunk).await?;
            let due = Instant::now() + delay.borrow().delay;
            let sent = sender.send((due, chunk[..length].to_vec())).await;
            if length == 0 || sent.is_err() {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let give = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            sleep_until(due).await;
            let _ = state.wait_for(|state| !is_silent(state.silent)).await;
            if chunk.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(take, give)?;
    Ok(())
}
