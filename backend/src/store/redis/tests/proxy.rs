//! Something between a process and a server that goes wrong when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Way {
    /// All is passed on.
    Open,
    /// Requests are passed on; instead of the next reply the connection ends.
    LosesReplies,
    /// Nothing is passed on any more, and nobody is told.
    Silent,
    /// Connections end, and are not taken.
    Closed,
}

struct State {
    upstream: AtomicU16,
    way: AtomicU8,
    open: Mutex<Vec<TcpStream>>,
}

/// A proxy on a port of its own.
pub(super) struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    pub(super) fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, open) = (AtomicU8::new(Way::Open as u8), Mutex::default());
        let state = Arc::new(State { upstream: AtomicU16::new(upstream), way, open });
        let accepting = Arc::clone(&state);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                accepting.take(client);
            }
        });
        Self { port, state }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on connections go to another server.
    pub(super) fn lead_to(&self, upstream: u16) {
        self.state.upstream.store(upstream, Ordering::SeqCst);
    }

    pub(super) fn go(&self, way: Way) {
        self.state.way.store(way as u8, Ordering::SeqCst);
        if way == Way::Closed {
            self.state.close_all();
        }
    }
}

impl State {
    fn is(&self, way: Way) -> bool {
        self.way.load(Ordering::SeqCst) == way as u8
    }

    fn close_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn take(self: &Arc<Self>, client: TcpStream) {
        let upstream = ("127.0.0.1", self.upstream.load(Ordering::SeqCst));
        let Ok(server) = TcpStream::connect(upstream) else { return };
        if self.is(Way::Closed) {
            return;
        }
        let copies = [client.try_clone().unwrap(), server.try_clone().unwrap()];
        self.open.lock().unwrap().extend(copies);
        let (requests, replies) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let state = Arc::clone(self);
        std::thread::spawn(move || state.pump(requests, server, false));
        let state = Arc::clone(self);
        std::thread::spawn(move || state.pump(replies, client, true));
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, are_replies: bool) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            if self.is(Way::Silent) {
                continue;
            }
            if are_replies && self.is(Way::LosesReplies) || to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
