//! One request's life, in strict body mode: nothing of it reaches the service before the verdict.
//!
//! ```text
//! headers ---- no route ------------------------------------------> passed
//!    |-------- all is known, or an error -------------------------> passed or refused
//!    '-- pause --> body, pausing --> whole, or too large, or error -> passed or refused
//! ```
//!
//! The verdict is given inside a callback and never later, since Envoy versions differ in what a
//! late "continue" does to a body (envoyproxy/envoy#46841).

use std::rc::Rc;

use cartgate_policy::client::Client;
use cartgate_policy::extract::{ExtractError, Head, Line, Reading, Route};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

use crate::edge::{ClientsError, Edge, EdgeError};
use crate::header_map;
use crate::host::{self, HostError};
use crate::metrics::Outcome;
use crate::reply::Reply;

/// A request on its way through the filter.
pub(crate) struct Request {
    edge: Rc<Edge>,
    phase: Phase,
    /// The request's id as it came, or as much of it as a log line has room for.
    id: Vec<u8>,
}

enum Phase {
    /// Nothing has come yet.
    New,
    /// The head was read; `len` bytes of the body are held back.
    Body { route: Rc<Route>, reading: Reading, clients: Vec<Client>, len: usize },
    /// The verdict was to let it through, or it is none of our business.
    Passed,
    /// It was answered.
    Refused,
}

impl Request {
    pub(crate) fn new(edge: Rc<Edge>) -> Self {
        Self { edge, phase: Phase::New, id: Vec::new() }
    }

    fn read_head(&mut self, end_of_stream: bool) -> Result<(), Refusal> {
        let bytes = host::request_headers()?;
        let headers = header_map::decode(&bytes).ok_or(EdgeError::Headers)?;
        let head = Head::new(headers);
        let Some(route) = self.edge.config.route(&head).map(Rc::clone) else {
            self.phase = Phase::Passed;
            return Ok(());
        };
        let id = head.first("x-request-id").unwrap_or_default();
        self.id = id[..id.len().min(ID_LEN_MAX)].to_vec();
        let reading = route.read_head(&head)?;
        let clients = self.edge.clients(&head)?;
        if end_of_stream || !route.reads_body() {
            return self.decide(&route, reading, &clients, b"");
        }
        self.phase = Phase::Body { route, reading, clients, len: 0 };
        Ok(())
    }

    /// Takes note that `len` bytes of the body are held back by now.
    fn await_body(&mut self, len: usize) -> Result<(), Refusal> {
        let len_max = self.edge.config.body_bytes_max();
        let Phase::Body { reading, len: len_before, .. } = &mut self.phase else { return Ok(()) };
        if len > len_max {
            return Err(Reply::for_body_too_large(len_max).into());
        }
        if *len_before == 0 && len > 0 {
            reading.check_body_kind()?;
        }
        *len_before = len;
        Ok(())
    }

    /// Decides, now that the whole body is there.
    fn read_body(&mut self) -> Result<(), Refusal> {
        match std::mem::replace(&mut self.phase, Phase::Refused) {
            Phase::Body { route, reading, clients, len } => {
                let body = host::request_body(len)?;
                self.decide(&route, reading, &clients, &body)
            }
            other => {
                self.phase = other;
                Ok(())
            }
        }
    }

    fn decide(
        &mut self,
        route: &Route,
        reading: Reading,
        clients: &[Client],
        body: &[u8],
    ) -> Result<(), Refusal> {
        let line = route.read_body(reading, body)?;
        if let Err(refused) = self.edge.charge(&line, clients)? {
            return Err(Reply::for_refused(refused, &line, self.edge.jitter()).into());
        }
        self.phase = Phase::Passed;
        self.edge.metrics.count(Outcome::Admitted);
        self.edge.debug(|| {
            let (Line { sku, quantity }, id) = (line, printable(&self.id));
            format!("request admitted request_id={id} sku={sku} quantity={quantity}")
        });
        Ok(())
    }

    fn act(&mut self, result: Result<(), Refusal>) -> Action {
        if let Err(refusal) = result {
            self.phase = Phase::Refused;
            self.refuse(refusal);
        }
        match self.phase {
            Phase::Passed => Action::Continue,
            Phase::New | Phase::Body { .. } | Phase::Refused => Action::Pause,
        }
    }

    fn refuse(&self, refusal: Refusal) {
        let reply = match refusal {
            Refusal::Reply(reply) => reply,
            Refusal::Uncounted(error) => {
                self.log_uncounted(&error);
                Reply::for_uncounted(&error, self.edge.jitter())
            }
        };
        self.edge.metrics.count(reply.outcome);
        self.edge.debug(|| reply.log_line(&printable(&self.id)));
        if let Err(error) = reply.send() {
            host::log(LogLevel::Error, &format!("cannot answer error=\"{error}\""));
        }
    }

    fn log_uncounted(&self, error: &EdgeError) {
        // Contention is the clients' doing, and has a counter of its own.
        if !matches!(error, EdgeError::Contended) {
            let id = printable(&self.id);
            let line = format!("cannot count request_id={id} error=\"{error}\"");
            host::log(LogLevel::Error, &line);
        }
    }
}

/// Why a request does not go on to the service.
enum Refusal {
    /// It gets this answer.
    Reply(Reply),
    /// Nobody knows whether its SKU's limit admits it.
    Uncounted(EdgeError),
}

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<ExtractError> for Refusal {
    fn from(error: ExtractError) -> Self {
        Self::Reply(Reply::for_unreadable(&error))
    }
}

impl From<ClientsError> for Refusal {
    fn from(error: ClientsError) -> Self {
        match error {
            ClientsError::Host(error) => error.into(),
            ClientsError::Extract(error) => error.into(),
        }
    }
}

impl From<EdgeError> for Refusal {
    fn from(error: EdgeError) -> Self {
        Self::Uncounted(error)
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        Self::Uncounted(error.into())
    }
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let result = self.read_head(end_of_stream);
        self.act(result)
    }

    /// Envoy gives the length of all that is held back, not only of what has just come.
    fn on_http_request_body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let mut result = self.await_body(len);
        if result.is_ok() && end_of_stream {
            result = self.read_body();
        }
        self.act(result)
    }

    /// Trailers end the body, in the place of its last callback's `end_of_stream`.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        let result = self.read_body();
        self.act(result)
    }
}

/// How many bytes of a request's id are of any use.
const ID_LEN_MAX: usize = 64;

/// A request id as it may stand in a log line, whoever made it.
fn printable(id: &[u8]) -> String {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    id.iter().take(ID_LEN_MAX).filter(|b| is_plain(b)).map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn request_ids_cannot_forge_log_lines() {
        for (id, expected) in [
            (&b"2b9c-4d"[..], "2b9c-4d"),
            (b"a\nrequest admitted sku=B", "arequestadmittedskuB"),
            (b"\xff\0", ""),
            (&[b'x'; 200], &"x".repeat(64)),
        ] {
            assert_eq!(printable(id), expected);
        }
    }
}
