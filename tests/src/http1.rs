//! HTTP/1.1 messages, byte by byte: enough to send what no client library would send, and to see
//! exactly what arrived.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request or response as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `POST /cart HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub start_line: String,
    /// Names in lower case, values as they are; bytes that are no UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Message {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = self.headers.iter().find(|(n, _)| n == name);
        named.map(|(_, value)| value.as_str())
    }

    /// A response's status.
    pub fn status(&self) -> u16 {
        let status = self.start_line.split(' ').nth(1).and_then(|s| s.parse().ok());
        status.unwrap_or_else(|| panic!("not a status line: {:?}", self.start_line))
    }

    /// The body as JSON, `Null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn parse_head(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let headers = fields.map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
        Self { start_line, headers, body: Vec::new() }
    }
}

/// Reads messages off a connection.
#[derive(Debug)]
pub struct MessageReader<R> {
    stream: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next message up to the end of its head, `None` at the end of the stream.
    ///
    /// # Errors
    /// The stream fails.
    pub async fn head(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok(Some(Message::parse_head(&head[..end])));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The body that belongs to `head`, as far as it comes. One without length goes to the end of
    /// the stream if the message is a response, and is empty if it is a request.
    ///
    /// # Errors
    /// The stream fails.
    pub async fn body(&mut self, head: &Message) -> io::Result<Vec<u8>> {
        let chunked = head.header("transfer-encoding").is_some_and(|v| v.contains("chunked"));
        if chunked {
            return self.chunks().await;
        }
        if let Some(length) = head.header("content-length") {
            return self.take(length.parse().unwrap_or(0)).await;
        }
        let is_response = head.start_line.starts_with("HTTP/");
        let bodiless = is_response && matches!(head.status(), 100..=199 | 204 | 304);
        if is_response && !bodiless {
            return self.take(usize::MAX).await;
        }
        Ok(Vec::new())
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).unwrap_or(0);
            if size == 0 {
                // Trailers, up to an empty line.
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size).await?);
            self.line().await?;
        }
    }

    /// A line without its end; empty at the end of the stream.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill().await? {
                return Ok(String::new());
            }
        }
    }

    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count && self.fill().await? {}
        let count = count.min(self.buffer.len());
        Ok(self.buffer.drain(..count).collect())
    }

    /// Whether more came.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
