//! What servers reply, read.

use std::time::Duration;

use cartgate_ledger::UnixMs;
use redis::{ErrorKind, FromRedisValue, RedisError, RetryMethod, ServerErrorKind, Value};
use thiserror::Error;

use crate::store::StoreError;
use crate::store::encoding::{decode, malformed, parse_sku};
use crate::store::tenure::{Answer, Entry, EntryId, Posted};

pub(super) fn failed_to(action: &'static str) -> impl Fn(RedisError) -> StoreError {
    move |source| StoreError::Database { action, source: Box::new(source) }
}

/// There are servers, and none of them is the one to ask: one may be about to become it.
#[derive(Debug, Error)]
pub(super) enum NoServer {
    #[error("none of the servers takes writes")]
    Primary,
    #[error("no server has a slot of the cluster")]
    OfSlot,
}

/// Whether the same may succeed in a moment: the server was not reached, or is starting or failing over.
pub fn is_passing(error: &StoreError) -> bool {
    let source = match error {
        StoreError::OutOfReach { .. } => return true,
        StoreError::Database { source, .. } => source,
        _ => return false,
    };
    let passes = |error: &RedisError| {
        !matches!(error.retry_method(), RetryMethod::NoRetry)
            && error.kind() != ErrorKind::AuthenticationFailed
    };
    source.is::<NoServer>() || source.downcast_ref().is_some_and(passes)
}

/// Reads a reply as what it should be.
pub(super) fn read<T: FromRedisValue>(what: &'static str, reply: Value) -> Result<T, StoreError> {
    redis::from_redis_value(reply).map_err(|error| StoreError::Database {
        action: "be understood",
        source: format!("{what}: {error}").into(),
    })
}

/// The replies to a question, one after the other.
pub(super) struct Replies(std::vec::IntoIter<Value>);

impl Replies {
    pub(super) fn new(replies: Vec<Value>) -> Self {
        Self(replies.into_iter())
    }

    pub(super) fn next<T: FromRedisValue>(&mut self, what: &'static str) -> Result<T, StoreError> {
        read(what, self.next_value())
    }

    pub(super) fn rest(self) -> impl Iterator<Item = Value> {
        self.0
    }

    pub(super) fn next_value(&mut self) -> Value {
        self.0.next().unwrap_or_default()
    }
}

/// Fields and values of a hash, as they come.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// `TIME`, or what a script makes of it.
pub(super) fn time((seconds, micros): (u64, u64)) -> UnixMs {
    UnixMs(seconds.saturating_mul(1_000).saturating_add(micros / 1_000))
}

pub(super) fn id_text(id: EntryId) -> String {
    format!("{}-{}", id.ms, id.number)
}

pub(super) fn parse_entry_id(text: &str) -> Result<EntryId, StoreError> {
    let parse = || {
        let (ms, number) = text.split_once('-')?;
        Some(EntryId { ms: ms.parse().ok()?, number: number.parse().ok()? })
    };
    parse().ok_or_else(|| malformed("entry's id"))
}

pub(super) fn nonce_text(nonce: u64) -> String {
    format!("{nonce:016x}")
}

/// One that nobody has used before.
pub(super) fn new_nonce() -> String {
    nonce_text(u64::from_ne_bytes(crate::random::bytes()))
}

/// An entry as Redis gives it: its id, then its fields, each followed by its value.
pub(super) type RawEntry = (String, Vec<Vec<u8>>);

/// An entry of a stream of commands: `n` is its nonce, `t` when it came, each `d` some of what was
/// posted, `h` a SKU that is handed off.
pub(super) fn entry((id, fields): RawEntry) -> Result<Entry, StoreError> {
    let (mut nonce, mut at, mut posted) = (None, None, Vec::<Posted>::new());
    for (name, value) in pairs(&fields) {
        match name {
            b"n" => nonce = text(value).and_then(|text| u64::from_str_radix(text, 16).ok()),
            b"t" => at = text(value).and_then(|text| text.parse().ok()),
            b"d" => posted.append(&mut decode("posted command", value)?),
            b"h" => posted.push(Posted::Handoff(parse_sku(value)?)),
            _ => return Err(malformed("entry")),
        }
    }
    let (Some(nonce), Some(at)) = (nonce, at) else { return Err(malformed("entry")) };
    Ok(Entry { id: parse_entry_id(&id)?, nonce, at: UnixMs(at), posted })
}

/// An entry of the stream of answers.
pub(super) fn answers((id, fields): RawEntry) -> Result<(EntryId, Vec<Answer>), StoreError> {
    let told = data(&fields).ok_or_else(|| malformed("entry of answers"))?;
    Ok((parse_entry_id(&id)?, decode("answers", told)?))
}

/// The `d` of an entry that has one.
pub(super) fn data(fields: &[Vec<u8>]) -> Option<&[u8]> {
    pairs(fields).find(|(name, _)| *name == b"d").map(|(_, value)| value)
}

fn pairs(fields: &[Vec<u8>]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1]))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Whether a server refused something because it is out of memory.
pub(super) fn is_out_of_memory(error: &RedisError) -> bool {
    error.code() == Some("OOM")
}

/// What is to be done about an error that a server replied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Give it the scripts: it did nothing.
    Load,
    /// Ask again in a moment: it did nothing. A slot is on its way to another server, or the server
    /// is not ready.
    Wait,
    /// Find out which server has the bucket now: this one does not, and did nothing.
    Look,
    /// None: it was refused.
    Nothing,
}

pub(super) fn remedy(error: &RedisError) -> Remedy {
    match error.kind() {
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::NoScript => Remedy::Load,
            ServerErrorKind::TryAgain
            | ServerErrorKind::Ask
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::BusyLoading => Remedy::Wait,
            ServerErrorKind::Moved | ServerErrorKind::ReadOnly => Remedy::Look,
            _ => Remedy::Nothing,
        },
        _ => Remedy::Nothing,
    }
}

/// Pauses between attempts, each longer than the one before.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(Duration::from_millis(10))
    }

    /// The next; `None` if it has been tried for long enough, most of a second.
    pub(super) fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = 2 * pause;
        (pause < Duration::from_millis(500)).then_some(pause)
    }
}

/// The replies to several commands.
pub(super) fn read_all(replies: Value) -> Vec<Value> {
    match replies {
        Value::Array(replies) => replies,
        other => vec![other],
    }
}

/// The first error among replies.
pub(super) fn check(replies: Vec<Value>) -> Result<Vec<Value>, RedisError> {
    replies.into_iter().map(Value::extract_error).collect()
}
