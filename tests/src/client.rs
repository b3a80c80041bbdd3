//! Clients: a polite one, and one that sends any bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time;

use crate::http1::{Message, MessageReader};

/// How long an answer may take, before a test says that there is none.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A client of its own, with its own connections. It follows no redirects and asks no proxies.
pub fn http() -> reqwest::Client {
    builder().build().unwrap()
}

/// The same, and it shows a token with each request.
///
/// # Panics
/// The token cannot be sent.
pub fn showing(token: &str) -> reqwest::Client {
    let bearer = format!("Bearer {token}").parse().unwrap();
    builder().default_headers([(AUTHORIZATION, bearer)].into_iter().collect()).build().unwrap()
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN)
}

/// A connection on which a test says every byte.
#[derive(Debug)]
pub struct RawConnection {
    writer: OwnedWriteHalf,
    reader: MessageReader<OwnedReadHalf>,
}

impl RawConnection {
    /// Connects.
    ///
    /// # Panics
    /// Nobody listens.
    pub async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Connects from an address of this machine's own, such as any in 127.0.0.0/8.
    ///
    /// # Panics
    /// Nobody listens, or the address is not this machine's.
    pub async fn open_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Self::over(socket.connect(address).await.unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        // Every write is a packet of its own, at once.
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        Self { writer, reader: MessageReader::new(reader) }
    }

    /// Sends bytes. A peer that has closed already is no error: its answer tells why.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.writer.write_all(bytes.as_ref()).await;
    }

    /// The next answer, or `None` if the peer closes without one. `100 Continue` is an answer too.
    ///
    /// # Panics
    /// Nothing comes within [`ANSWER_WITHIN`].
    pub async fn try_answer(&mut self) -> Option<Message> {
        let answer = async {
            let mut head = self.reader.head().await.ok().flatten()?;
            head.body = self.reader.body(&head).await.unwrap_or_default();
            Some(head)
        };
        time::timeout(ANSWER_WITHIN, answer).await.expect("no answer came")
    }

    /// The next answer.
    ///
    /// # Panics
    /// There is none.
    pub async fn answer(&mut self) -> Message {
        self.try_answer().await.expect("the connection was closed without an answer")
    }
}

/// Sends `request` on a connection of its own.
///
/// # Panics
/// There is no answer.
pub async fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Message {
    let mut connection = RawConnection::open(address).await;
    connection.send(request).await;
    connection.answer().await
}

/// A POST to a shop, with its length. Each of `headers` ends its line.
pub fn post(target: &str, headers: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Vec<u8> {
    let (headers, body) = (headers.as_ref(), body.as_ref());
    let length = format!("content-length: {}\r\n\r\n", body.len());
    let start = format!("POST {target} HTTP/1.1\r\nhost: shop\r\n");
    [start.as_bytes(), headers, length.as_bytes(), body].concat()
}

/// Like [`http`], but it speaks HTTP/2 from the first byte.
pub fn http2() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN);
    client.http2_prior_knowledge().build().unwrap()
}

/// Like [`http`], but it finds `host` at `address`.
pub fn http_to(host: &str, address: SocketAddr) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN);
    client.resolve(host, address).build().unwrap()
}

/// Like [`http2`], but it finds `host` at `address`.
pub fn http2_to(host: &str, address: SocketAddr) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN);
    client.resolve(host, address).http2_prior_knowledge().build().unwrap()
}
