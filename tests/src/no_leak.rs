//! What of a refused request reaches the upstream: nothing. The same cases for every edge, whatever started it.
//!
//! The filter has [`configuration`](crate::filter::configuration) with [`SLOW`](crate::filter::SLOW) limits.

use std::net::SocketAddr;

use crate::Upstream;
use crate::client::{self, RawConnection, exchange};
// To a plain Envoy a host like any other.
use crate::istio::SERVICE as HOST;

/// This one is never refused.
const FREE: &str = "FREE";

/// Denied requests carry this, and the upstream must not see it.
const MARK: &str = "x-mark: must-not-get-through\r\n";
const MARK_VALUE: &str = "must-not-get-through";

/// An edge in strict body mode, and what is behind it.
#[derive(Debug)]
pub struct Strict<'a> {
    address: SocketAddr,
    upstream: &'a Upstream,
    /// Its whole burst was taken at the start, and takes 1000 s to come back.
    drained: &'static str,
    /// What the upstream had seen by then.
    before: usize,
}

impl<'a> Strict<'a> {
    /// Takes all units of `sku`, which opens a connection to the upstream, too: what leaks has a way to go.
    ///
    /// # Panics
    /// They were taken before.
    pub async fn drain(address: SocketAddr, upstream: &'a Upstream, sku: &'static str) -> Self {
        assert_eq!(exchange(address, whole(sku, 1000, "")).await.status(), 200);
        Self { address, upstream, drained: sku, before: upstream.seen().heads.len() }
    }

    /// Sends a request that is admitted, and waits until the upstream has it whole. Whatever the edge had
    /// sent to the upstream before is there by then too.
    async fn pass_a_sentinel(&self) {
        let before = self.upstream.seen().requests.len();
        assert_eq!(exchange(self.address, whole(FREE, 1, "")).await.status(), 200);
        assert_eq!(self.upstream.seen().requests.len(), before + 1);
    }

    /// The upstream has seen these sentinels, and not a byte of anything else.
    fn assert_no_leak(&self, sentinels: usize) {
        let (seen, expected) = (self.upstream.seen(), self.before + sentinels);
        assert_eq!((seen.heads.len(), seen.requests.len()), (expected, expected), "{seen:?}");
        assert!(!seen.contains(MARK_VALUE), "{seen:?}");
    }

    /// A body that is refused, as JSON, as a form and in chunks.
    ///
    /// # Panics
    /// Something of it reaches the upstream.
    pub async fn a_denied_body_never_reaches_the_upstream(&self) {
        let form = format!("sku={}&quantity=1000", self.drained);
        let form = format!(
            "POST /by-form HTTP/1.1\r\nhost: {HOST}\r\n{MARK}content-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        );
        let body = json(self.drained, 1000);
        let (first, second) = body.split_at(10);
        let chunked = format!(
            "{}transfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            head(MARK),
            first.len(),
            second.len(),
        );
        let requests = [whole(self.drained, 1000, MARK), form, chunked];
        for (index, request) in requests.iter().enumerate() {
            let answer = exchange(self.address, request).await;
            assert_eq!(answer.status(), 429, "{request} {answer:?}");
            self.pass_a_sentinel().await;
            self.assert_no_leak(index + 1);
        }
    }

    /// A body that comes in two parts, refused and admitted.
    ///
    /// # Panics
    /// Something of it reaches the upstream.
    pub async fn a_slow_body_is_held_back_until_it_is_whole(&self) {
        let mut denied = RawConnection::open(self.address).await;
        let (first, second) = split(whole(self.drained, 1000, MARK));
        denied.send(first).await;
        self.pass_a_sentinel().await;
        self.assert_no_leak(1);
        denied.send(second).await;
        assert_eq!(denied.answer().await.status(), 429);
        self.pass_a_sentinel().await;
        self.assert_no_leak(2);

        // One that is admitted is held back too, and then arrives whole.
        let mut admitted = RawConnection::open(self.address).await;
        let (first, second) = split(whole(FREE, 1, "x-mark: slow\r\n"));
        admitted.send(first).await;
        self.pass_a_sentinel().await;
        self.assert_no_leak(3);
        admitted.send(second).await;
        assert_eq!(admitted.answer().await.status(), 200);
        let seen = self.upstream.seen();
        let arrived = seen.requests.last().unwrap();
        assert_eq!(arrived.header("x-mark"), Some("slow"));
        assert_eq!(arrived.body, json(FREE, 1).as_bytes());
    }

    /// `Expect: 100-continue`.
    ///
    /// # Panics
    /// Something of it reaches the upstream.
    pub async fn a_client_that_asks_before_it_sends_gets_no_further(&self) {
        let mut connection = RawConnection::open(self.address).await;
        let request = whole(self.drained, 1000, &format!("{MARK}expect: 100-continue\r\n"));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        connection.send(format!("{head}\r\n\r\n")).await;
        // Envoy itself says go on: nobody can judge a body that is not there.
        assert_eq!(connection.answer().await.status(), 100);
        self.pass_a_sentinel().await;
        self.assert_no_leak(1);
        connection.send(body).await;
        assert_eq!(connection.answer().await.status(), 429);
        self.pass_a_sentinel().await;
        self.assert_no_leak(2);
    }

    /// HTTP/2.
    ///
    /// # Panics
    /// Something of it reaches the upstream.
    pub async fn http_2_leaks_no_more_than_http_1(&self) {
        let request = client::http2_to(HOST, self.address)
            .post(format!("http://{HOST}:{}/by-json", self.address.port()))
            .header("x-mark", MARK_VALUE)
            .header("content-type", "application/json")
            .body(json(self.drained, 1000));
        let answer = request.send().await.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 429));
        self.pass_a_sentinel().await;
        self.assert_no_leak(1);
    }

    /// A client that hangs up in the middle of its body.
    ///
    /// # Panics
    /// Something of it reaches the upstream.
    pub async fn a_client_that_gives_up_leaves_nothing_behind(&self) {
        let mut connection = RawConnection::open(self.address).await;
        let (first, _) = split(whole(FREE, 1, MARK));
        connection.send(first).await;
        self.pass_a_sentinel().await;
        drop(connection);
        self.pass_a_sentinel().await;
        self.assert_no_leak(2);
    }
}

/// A whole request for so many units.
fn whole(sku: &str, quantity: u32, headers: &str) -> String {
    let body = json(sku, quantity);
    format!("{}content-length: {}\r\n\r\n{body}", head(headers), body.len())
}

fn json(sku: &str, quantity: u32) -> String {
    format!(r#"{{"sku": "{sku}", "quantity": {quantity}}}"#)
}

fn head(headers: &str) -> String {
    format!("POST /by-json HTTP/1.1\r\nhost: {HOST}\r\n{headers}content-type: application/json\r\n")
}

/// Cuts a request in the middle of its body.
fn split(request: String) -> (String, String) {
    let (first, second) = request.split_at(request.len() - 12);
    (first.to_owned(), second.to_owned())
}
