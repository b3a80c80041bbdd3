//! An upstream that costs next to nothing: it reads no more of a request than where it ends.

use std::io;
use std::net::SocketAddr;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers 200 to everything, for as long as this process runs. Returns where.
///
/// # Panics
/// There is no port to listen on.
pub(in super::super) async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Envoy closes connections when it stops.
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4_096);
    loop {
        while let Some(len) = request_len(&buffer) {
            buffer.drain(..len);
            stream.write_all(ANSWER).await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// The length of the first request in `bytes`, once it is whole. Envoy writes header names in lower
/// case, and the length of what was not sent in chunks.
fn request_len(bytes: &[u8]) -> Option<usize> {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let digits = memmem::find(&bytes[..head], LENGTH).map(|at| &bytes[at + LENGTH.len()..head]);
    let digits = digits.into_iter().flatten().take_while(|byte| byte.is_ascii_digit());
    let body = digits.fold(0, |len, digit| 10 * len + usize::from(digit - b'0'));
    (bytes.len() >= head + body).then_some(head + body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_where_its_body_does() {
        let requests =
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nx: y\r\n\r\nabcGET / HTTP";
        let whole = requests.len() - "GET / HTTP".len();
        for len in 0..whole {
            assert_eq!(request_len(&requests[..len]), None, "{len}");
        }
        assert_eq!(request_len(requests), Some(whole));
        assert_eq!(request_len(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Some(27));
    }
}
