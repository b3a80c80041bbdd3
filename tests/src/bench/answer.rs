//! Answers, read no further than a load generator must: status, length, and the reservation's id.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Room for the longest answer that is expected.
const ANSWER_LEN_MAX: usize = 16 * 1024;

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The reservation that it speaks of in its `Location`.
    pub id: Option<u128>,
}

/// Reads the answers of one connection, one after the other.
#[derive(Debug)]
pub struct Answers {
    buffer: Vec<u8>,
}

impl Answers {
    /// Nothing has come yet.
    pub fn new() -> Self {
        Self { buffer: Vec::with_capacity(1_024) }
    }

    /// The next answer.
    ///
    /// # Errors
    /// The connection breaks, or what comes is no answer.
    pub async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
        loop {
            if let Some((answer, len)) = parse(&self.buffer)? {
                // Nothing is asked before the answer is there, so nothing comes behind it.
                self.buffer.drain(..len);
                return Ok(answer);
            }
            if self.buffer.len() > ANSWER_LEN_MAX {
                return Err(invalid("an answer without an end"));
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

/// The answer at the beginning of `bytes` and its length, once it is whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(head_len) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = &bytes[..head_len + 2];
    let status = head.get(9..12).and_then(number).ok_or_else(|| invalid("no status"))?;
    let body_len = field(head, b"\r\ncontent-length: ").and_then(number);
    let body_len = body_len.ok_or_else(|| invalid("no content-length"))?;
    let len = head_len + 4 + usize::try_from(body_len).unwrap_or(usize::MAX);
    if bytes.len() < len {
        return Ok(None);
    }
    let id = field(head, b"\r\nlocation: /v1/reservations/");
    let id = id.and_then(|id| std::str::from_utf8(id).ok());
    let id = id.and_then(|id| u128::from_str_radix(id, 16).ok());
    Ok(Some((Answer { status: u16::try_from(status).unwrap_or(0), id }, len)))
}

/// What stands behind `name` in its line.
fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = &head[memmem::find(head, name)? + name.len()..];
    Some(&value[..memmem::find(value, b"\r\n")?])
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nlocation: \
                        /v1/reservations/000000000000000000000000000000ff\r\ncontent-length: 3\r\n\
                        \r\n{ }";

    #[tokio::test]
    async fn answers_are_read_in_whatever_pieces_they_come() {
        let full = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let mut stream = tokio_test_stream(&[&HELD[..30], &HELD[30..HELD.len() - 1], "}", full]);
        let mut answers = Answers::new();
        let held = answers.next(&mut stream).await.unwrap();
        assert_eq!(held, Answer { status: 201, id: Some(255) });
        let full = answers.next(&mut stream).await.unwrap();
        assert_eq!(full, Answer { status: 503, id: None });
        let end = answers.next(&mut stream).await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(parse(b"HTTP/1.1 201 Created\r\n\r\n").is_err());
        assert!(parse(b"hello\r\n\r\n").is_err());
    }

    /// A stream that gives each piece by itself.
    fn tokio_test_stream(pieces: &[&str]) -> impl AsyncRead + Unpin + use<> {
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        let (read, mut write) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            for piece in pieces {
                tokio::io::AsyncWriteExt::write_all(&mut write, &piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        read
    }
}
