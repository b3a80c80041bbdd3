//! The table, sent to an edge: what it answers, and what its access log says was read.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Case, cases};
use crate::client::{exchange, http2};

/// How a request is written.
pub type Write = fn(&Case) -> Vec<u8>;

/// In one piece.
pub fn whole(case: &Case) -> Vec<u8> {
    let head = head(case, &format!("content-length: {}", case.body.len()));
    [&head[..], &case.body].concat()
}

/// In chunks of seven bytes, so that keys, escapes and delimiters are cut anywhere.
pub fn chunked(case: &Case) -> Vec<u8> {
    let mut request = head(case, "transfer-encoding: chunked");
    for chunk in case.body.chunks(7) {
        request.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend([chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    request
}

fn head(case: &Case, framing: &str) -> Vec<u8> {
    let mut head = format!("POST {} HTTP/1.1\r\nhost: shop\r\n", case.target).into_bytes();
    for (name, value) in &case.headers {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend(format!("{framing}\r\n\r\n").as_bytes());
    head
}

/// Sends all cases over HTTP/1.1. `logged` waits for so many lines of the edge's access log.
///
/// # Panics
/// The edge decides otherwise than the table.
pub async fn check_http1(
    address: SocketAddr,
    write: Write,
    mut logged: impl AsyncFnMut(usize) -> Vec<Value>,
) {
    let cases = cases();
    for case in &cases {
        let answer = exchange(address, write(case)).await;
        assert_eq!(answer.status() == 200, case.expected.is_ok(), "{case:?} {answer:?}");
    }
    check(&cases, &logged(cases.len()).await);
}

/// Sends over HTTP/2 what a client for it can be made to send.
///
/// # Panics
/// The edge decides otherwise than the table.
pub async fn check_http2(address: SocketAddr, mut logged: impl AsyncFnMut(usize) -> Vec<Value>) {
    let (client, can_be_sent) = (http2(), |case: &Case| !case.target.contains('['));
    let cases: Vec<_> = cases().into_iter().filter(can_be_sent).collect();
    for case in &cases {
        let url = format!("http://{address}{}", case.target);
        let mut request = client.post(url).body(case.body.clone());
        for (name, value) in &case.headers {
            request = request.header(*name, value.as_slice());
        }
        let status = request.send().await.unwrap().status();
        assert_eq!(status == 200, case.expected.is_ok(), "{case:?} {status}");
    }
    check(&cases, &logged(cases.len()).await);
}

/// What the access log says of each request, in order: the lines that it passed on with, or the failure.
fn check(cases: &[Case], log: &[Value]) {
    let text = |line: &Value, member: &str| line[member].as_str().unwrap_or_default().to_owned();
    let of_line = |line: &Value| match text(line, "verdict").as_str() {
        "admitted" => Ok(text(line, "lines")),
        verdict => Err(verdict.to_owned()),
    };
    assert_eq!(cases.len(), log.len());
    for (case, line) in cases.iter().zip(log) {
        let expected = case.expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(of_line(line), expected, "{case:?}");
    }
}
