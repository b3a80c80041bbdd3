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

use crate::edge::{ClientsError, Edge, EdgeError};
use crate::header_map;
use crate::host::{self, Action, HostError, LogLevel};
use crate::metrics::Outcome;
use crate::reply::Reply;

/// Reads a request's head. Gives what Envoy is to hold back; `None`: the request passes, by the
/// verdict, or because it is none of our business.
pub(crate) fn read_head(edge: &Rc<Edge>, end_of_stream: bool) -> Option<Held> {
    let bytes = match host::request_headers() {
        Ok(bytes) => bytes,
        Err(error) => return Some(refuse(edge, b"", error.into())),
    };
    let Some(headers) = header_map::decode(&bytes) else {
        return Some(refuse(edge, b"", EdgeError::Headers.into()));
    };
    let head = Head::new(headers);
    let route = edge.config.route(&head)?;
    let id = head.first("x-request-id").unwrap_or_default();
    match judge_head(edge, route, &head, end_of_stream) {
        Ok(Judged::Admitted(line)) => {
            note_admitted(edge, id, &line);
            None
        }
        Ok(Judged::Body(reading, asker)) => {
            let (route, id) = (Rc::clone(route), id[..id.len().min(ID_LEN_MAX)].to_vec());
            let body = Body { edge: Rc::clone(edge), id, route, reading, asker, len: 0 };
            Some(Held::Body(Box::new(body)))
        }
        Err(refusal) => Some(refuse(edge, id, refusal)),
    }
}

/// What a head was enough for.
enum Judged {
    /// The verdict.
    Admitted(Line),
    /// To know what to look for in the body.
    Body(Reading, Asker),
}

/// Who asks.
struct Asker {
    clients: Vec<Client>,
    /// Whether the request has a key by which it can be repeated.
    has_key: bool,
}

fn judge_head(
    edge: &Edge,
    route: &Route,
    head: &Head<'_>,
    end_of_stream: bool,
) -> Result<Judged, Refusal> {
    let reading = route.read_head(head)?;
    let has_key = head.first("idempotency-key").is_some();
    let asker = Asker { clients: edge.clients(head)?, has_key };
    if end_of_stream || !route.reads_body() {
        return judge(edge, route, reading, &asker, b"").map(Judged::Admitted);
    }
    Ok(Judged::Body(reading, asker))
}

/// The verdict, now that all is known that the route looks at.
fn judge(
    edge: &Edge,
    route: &Route,
    reading: Reading,
    asker: &Asker,
    body: &[u8],
) -> Result<Line, Refusal> {
    let line = route.read_body(reading, body)?;
    match edge.admit(&line, &asker.clients, asker.has_key)? {
        Ok(()) => Ok(line),
        Err(refused) => Err(Reply::for_refused(refused, &line, edge.jitter()).into()),
    }
}

/// A request that Envoy holds back.
pub(crate) enum Held {
    /// Its body is still to come.
    Body(Box<Body>),
    /// It was answered.
    Refused,
}

/// What is known of a request whose body is still to come.
pub(crate) struct Body {
    edge: Rc<Edge>,
    /// The request's id as it came, or as much of it as a log line has room for.
    id: Vec<u8>,
    route: Rc<Route>,
    reading: Reading,
    asker: Asker,
    /// How much of the body is held back.
    len: usize,
}

impl Held {
    /// Takes note that `len` bytes of the body are held back by now, and gives the verdict if that
    /// is all, or too much.
    pub(crate) fn body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let Self::Body(body) = self else { return Action::Pause };
        match body.grow(len) {
            Ok(()) if end_of_stream => self.end(),
            Ok(()) => Action::Pause,
            Err(refusal) => {
                *self = refuse(&body.edge, &body.id, refusal);
                Action::Pause
            }
        }
    }

    /// Gives the verdict, now that all of the body is there.
    pub(crate) fn end(&mut self) -> Action {
        match std::mem::replace(self, Self::Refused) {
            Self::Body(body) => body.end(),
            Self::Refused => Action::Pause,
        }
    }
}

impl Body {
    fn grow(&mut self, len: usize) -> Result<(), Refusal> {
        let len_max = self.edge.config.body_bytes_max();
        if len > len_max {
            return Err(Reply::for_body_too_large(len_max).into());
        }
        if self.len == 0 && len > 0 {
            self.reading.check_body_kind()?;
        }
        self.len = len;
        Ok(())
    }

    fn end(self) -> Action {
        let Self { edge, id, route, reading, asker, len } = self;
        let body = host::request_body(len).map_err(Refusal::from);
        match body.and_then(|body| judge(&edge, &route, reading, &asker, &body)) {
            Ok(line) => {
                note_admitted(&edge, &id, &line);
                Action::Continue
            }
            Err(refusal) => {
                refuse(&edge, &id, refusal);
                Action::Pause
            }
        }
    }
}

fn note_admitted(edge: &Edge, id: &[u8], line: &Line) {
    edge.metrics.count(Outcome::Admitted);
    edge.debug(|| {
        let (Line { sku, quantity }, id) = (line, printable(id));
        format!("request admitted request_id={id} sku={sku} quantity={quantity}")
    });
}

/// Answers a request in the service's place.
fn refuse(edge: &Edge, id: &[u8], refusal: Refusal) -> Held {
    let reply = match refusal {
        Refusal::Reply(reply) => reply,
        Refusal::Uncounted(error) => {
            log_uncounted(id, &error);
            Reply::for_uncounted(&error, edge.jitter())
        }
    };
    edge.metrics.count(reply.outcome);
    edge.debug(|| reply.log_line(&printable(id)));
    reply.send();
    Held::Refused
}

fn log_uncounted(id: &[u8], error: &EdgeError) {
    // Contention is the clients' doing, and has a counter of its own.
    if !matches!(error, EdgeError::Contended) {
        let line = format!("cannot count request_id={} error=\"{error}\"", printable(id));
        host::log(LogLevel::Error, &line);
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
