//! An upstream that takes every request and forgets nothing, to judge from its side what reached it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::http1::{Message, MessageReader};

/// What it answers to everything.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 12\r\n\r\n{\"ok\": true}";

/// An HTTP/1.1 server on loopback that answers 200 to every whole request.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    server: JoinHandle<()>,
}

/// What reached the upstream so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections accepted.
    pub connections: usize,
    /// Every byte received, of all connections in order of arrival.
    pub bytes: Vec<u8>,
    /// The heads of requests, also of those whose body has not ended.
    pub heads: Vec<Message>,
    /// Whole requests.
    pub requests: Vec<Message>,
}

impl Seen {
    /// Whether `text` is anywhere in what arrived.
    pub fn contains(&self, text: &str) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Upstream {
    /// Starts listening.
    ///
    /// # Panics
    /// There is no port to listen on.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let server = tokio::spawn(accept(listener, Arc::clone(&seen)));
        Self { address, seen, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What reached it so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.lock().unwrap().connections += 1;
        // A connection that breaks has shown what it had to show.
        tokio::spawn(serve(stream, Arc::clone(&seen)));
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    let (reader, mut writer): (OwnedReadHalf, OwnedWriteHalf) = stream.into_split();
    let mut reader = MessageReader::new(Recorder { reader, seen: Arc::clone(&seen) });
    while let Some(mut request) = reader.head().await? {
        seen.lock().unwrap().heads.push(request.clone());
        request.body = reader.body(&request).await?;
        seen.lock().unwrap().requests.push(request);
        writer.write_all(ANSWER).await?;
    }
    Ok(())
}

/// Notes every byte before anyone interprets it.
struct Recorder {
    reader: OwnedReadHalf,
    seen: Arc<Mutex<Seen>>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.reader).poll_read(context, buffer);
        self.seen.lock().unwrap().bytes.extend(&buffer.filled()[before..]);
        poll
    }
}
