//! One request's life.
//!
//! ```text
//! headers ---- no route -------------------------------------------> passed
//!    |-------- all is known, or an error --------------------------> passed or refused
//!    '-- wait --> body, pausing --> whole, or too large, or error --> passed or refused
//! ```
//!
//! In strict body mode the head waits for the body: nothing of a request reaches the service before the
//! verdict. In compat mode it does not wait. The verdict is given inside a callback and never later, since
//! Envoy versions differ in what a late "continue" does to a body (envoyproxy/envoy#46841).

use std::rc::Rc;

use cartgate_policy::answer::Voice;
use cartgate_policy::client::Client;
use cartgate_policy::extract::{ExtractError, Failure, FailureMode, Head, Line, Reading, Route};

use crate::admit::{Refused, Verdict};
use crate::edge::{Edge, EdgeError};
use crate::header_map;
use crate::host::{self, Action, HostError, LogLevel};
use crate::mark;
use crate::metrics::Outcome;
use crate::reply::Reply;

/// Reads a request's head. Gives what is to be held back; `None`: the request passes, by the verdict, or
/// because it is none of our business.
pub(crate) fn read_head(edge: &Rc<Edge>, end_of_stream: bool) -> Option<Held> {
    let answers = edge.config.answers();
    let bytes = match host::request_headers() {
        Ok(bytes) => bytes,
        Err(error) => return Some(refuse_unread(edge, error.into())),
    };
    let Some(headers) = header_map::decode(&bytes) else {
        return Some(refuse_unread(edge, EdgeError::Headers));
    };
    let head = Head::new(headers);
    #[cfg(feature = "crash")]
    if head.first("x-cartgate-crash").is_some() {
        std::process::abort();
    }
    if let Err(error) = mark::strip(&head) {
        return Some(refuse_unread(edge, error.into()));
    }
    let route = edge.config.route(&head)?;
    let id = head.first("x-request-id").unwrap_or_default();
    match judge_head(edge, route, &head, end_of_stream) {
        Ok(Judged::Known(judgement)) => {
            conclude(edge, route, id, Ok(judgement), || answers.voice(&head))
        }
        Ok(Judged::Body(reading, asker)) => {
            let (route, id) = (Rc::clone(route), id[..id.len().min(ID_LEN_MAX)].to_vec());
            edge.bodies.wait();
            let edge = Rc::clone(edge);
            let body = Body { edge, id, route, reading, asker, len: 0, has_come: false };
            Some(Held::Body(Box::new(body)))
        }
        Err(trouble) => conclude(edge, route, id, Err(trouble), || answers.voice(&head)),
    }
}

/// What a head was enough for.
enum Judged {
    /// The verdict.
    Known(Judgement),
    /// To know what to look for in the body.
    Body(Reading, Asker),
}

/// What a request asks for, and the verdict.
type Judgement = (Vec<Line>, Verdict);

/// Who asks.
struct Asker {
    clients: Vec<Client>,
    /// Whether the request has a key by which it can be repeated.
    has_key: bool,
    voice: Voice,
}

fn judge_head(
    edge: &Edge,
    route: &Route,
    head: &Head<'_>,
    end_of_stream: bool,
) -> Result<Judged, Trouble> {
    let reading = route.read_head(head, edge.config.sku())?;
    let has_key = head.first("idempotency-key").is_some();
    let clients = edge.clients(head)?;
    if end_of_stream || !route.needs_body(&reading) {
        return judge(edge, route, reading, (&clients, has_key), b"").map(Judged::Known);
    }
    let voice = edge.config.answers().voice(head);
    Ok(Judged::Body(reading, Asker { clients, has_key, voice }))
}

/// The verdict, now that all is known that the route looks at.
fn judge(
    edge: &Edge,
    route: &Route,
    reading: Reading,
    (clients, has_key): (&[Client], bool),
    body: &[u8],
) -> Result<Judgement, Trouble> {
    let lines = route.read_body(reading, body, edge.config.sku())?;
    match edge.admit(&lines, clients, has_key) {
        Ok(verdict) => Ok((lines, verdict)),
        Err(error) => Err(Trouble::Uncounted(error)),
    }
}

/// A request that waits, or is answered.
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
    /// Whether anything of the body, or its end, has come.
    has_come: bool,
}

impl Held {
    /// Takes note that `len` bytes of the body are held back by now, and gives the verdict if that
    /// is all, or too much.
    pub(crate) fn body(&mut self, len: usize, end_of_stream: bool) -> Action {
        let Self::Body(body) = self else { return Action::Pause };
        body.come();
        match body.grow(len) {
            Ok(()) if end_of_stream => self.end(),
            Ok(()) => Action::Pause,
            Err(trouble) => {
                let held = body.conclude(Err(trouble));
                self.replace(held)
            }
        }
    }

    /// Gives the verdict, now that all of the body is there.
    pub(crate) fn end(&mut self) -> Action {
        let Self::Body(body) = self else { return Action::Pause };
        body.come();
        let held = body.end();
        self.replace(held)
    }

    fn replace(&mut self, held: Option<Self>) -> Action {
        // In the place of a body that goes on, too: nobody asks it any more.
        let passes = held.is_none();
        *self = held.unwrap_or(Self::Refused);
        if passes { Action::Continue } else { Action::Pause }
    }

    /// The request has ended.
    pub(crate) fn gone(&self) {
        if let Self::Body(body) = self
            && !body.has_come
        {
            body.edge.bodies.miss();
            body.edge.metrics.count_missed_body();
        }
    }
}

impl Body {
    fn come(&mut self) {
        if !self.has_come {
            self.has_come = true;
            self.edge.bodies.come();
        }
    }

    fn grow(&mut self, len: usize) -> Result<(), Trouble> {
        let max = self.edge.config.body_bytes_max();
        if len > max {
            return Err(Trouble::Oversize { max });
        }
        if self.len == 0 && len > 0 {
            self.route.check_body_kind(&self.reading)?;
        }
        self.len = len;
        Ok(())
    }

    fn end(&self) -> Option<Held> {
        let Self { edge, route, reading, asker, len, .. } = self;
        let judgement = host::request_body(*len).map_err(Trouble::from).and_then(|body| {
            judge(edge, route, reading.clone(), (&asker.clients, asker.has_key), &body)
        });
        self.conclude(judgement)
    }

    fn conclude(&self, judgement: Result<Judgement, Trouble>) -> Option<Held> {
        conclude(&self.edge, &self.route, &self.id, judgement, || self.asker.voice)
    }
}

/// Does what a verdict says: `None`, the request passes.
fn conclude(
    edge: &Edge,
    route: &Route,
    id: &[u8],
    judgement: Result<Judgement, Trouble>,
    voice: impl FnOnce() -> Voice,
) -> Option<Held> {
    let (lines, mut would_be, reply) = match judgement {
        Ok((lines, Verdict { refused, would_be })) => {
            let would_be: Vec<_> = would_be.iter().map(Refused::outcome).collect();
            let Some((n, refused)) = refused else {
                pass(edge, id, &lines, &would_be);
                return None;
            };
            let reply = match lines.get(n) {
                Some(line) => Reply::for_refused(refused, line, edge.jitter()),
                // There is no such line: nobody is admitted for that.
                None => Reply::for_uncounted(&EdgeError::Contended, edge.jitter()),
            };
            (lines, would_be, reply)
        }
        Err(trouble) => {
            trouble.log(id);
            if let Some(failure) = trouble.failure()
                && route.failure_modes().of(failure) == FailureMode::Allow
            {
                allow(edge, id, failure);
                return None;
            }
            (Vec::new(), Vec::new(), trouble.reply(edge))
        }
    };
    if route.is_shadow() {
        would_be.push(reply.outcome);
        pass(edge, id, &lines, &would_be);
        return None;
    }
    Some(refuse(edge, id, &lines, &reply, voice))
}

/// It passes. What would have become of it is counted once for each kind.
fn pass(edge: &Edge, id: &[u8], lines: &[Line], would_be: &[Outcome]) {
    edge.metrics.count(Outcome::Admitted);
    for (n, outcome) in would_be.iter().enumerate() {
        if !would_be.iter().take(n).any(|before| before == outcome) {
            edge.metrics.count_would_be(*outcome);
        }
    }
    let verdict = match would_be {
        [first, ..] => &format!("would_be_{}", first.name()),
        [] => Outcome::Admitted.name(),
    };
    mark::passed(&edge.config, verdict, lines);
    edge.debug(|| format!("request admitted {} verdict={verdict}", told(id, lines)));
}

/// It passes by a failure mode, and no limit is charged.
fn allow(edge: &Edge, id: &[u8], failure: Failure) {
    edge.metrics.count(Outcome::Allowed);
    edge.metrics.count_allowed(failure);
    let verdict = format!("allowed_{}", failure.name());
    mark::passed(&edge.config, &verdict, &[]);
    edge.debug(|| format!("request allowed {} verdict={verdict}", told(id, &[])));
}

/// It is answered here.
fn refuse(
    edge: &Edge,
    id: &[u8],
    lines: &[Line],
    reply: &Reply,
    voice: impl FnOnce() -> Voice,
) -> Held {
    edge.metrics.count(reply.outcome);
    mark::refused(&edge.config, reply.outcome.name(), lines);
    edge.debug(|| reply.log_line(&told(id, lines)));
    reply.send(edge.config.answers(), voice());
    Held::Refused
}

/// Answers a request of which not even the head is known: there is no route whose failure mode could say
/// otherwise.
fn refuse_unread(edge: &Edge, error: EdgeError) -> Held {
    let trouble = Trouble::Uncounted(error);
    trouble.log(b"");
    refuse(edge, b"", &[], &trouble.reply(edge), || edge.config.answers().default_voice())
}

/// What a log line says of a request.
fn told(id: &[u8], lines: &[Line]) -> String {
    format!("request_id={} lines={}", printable(id), mark::text(lines))
}

/// Why nobody knows whether a request is to be admitted.
enum Trouble {
    /// It cannot be read.
    Unread(ExtractError),
    /// Its body has more bytes than are read.
    Oversize {
        /// How many are.
        max: usize,
    },
    /// Its limits cannot be asked.
    Uncounted(EdgeError),
}

impl Trouble {
    /// Which failure it is; `None`: contention, which is clients' doing, and no failure of ours.
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Unread(error) => Some(error.failure()),
            Self::Oversize { .. } => Some(Failure::Oversize),
            Self::Uncounted(EdgeError::Contended) => None,
            Self::Uncounted(_) => Some(Failure::Uncounted),
        }
    }

    fn reply(&self, edge: &Edge) -> Reply {
        match self {
            Self::Unread(error) => Reply::for_unreadable(error),
            Self::Oversize { max } => Reply::for_body_too_large(*max),
            Self::Uncounted(error) => Reply::for_uncounted(error, edge.jitter()),
        }
    }

    /// What is Envoy's trouble, or ours, is told, whatever becomes of the request. Contention has a counter of
    /// its own.
    fn log(&self, id: &[u8]) {
        if let Self::Uncounted(error) = self
            && !matches!(error, EdgeError::Contended)
        {
            let line = format!("cannot count request_id={} error=\"{error}\"", printable(id));
            host::log(LogLevel::Error, &line);
        }
    }
}

impl From<ExtractError> for Trouble {
    fn from(error: ExtractError) -> Self {
        Self::Unread(error)
    }
}

impl From<HostError> for Trouble {
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
