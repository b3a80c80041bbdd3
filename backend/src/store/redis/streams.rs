//! Reading a bucket's streams of commands.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::keys::{Keys, parse_stream};
use super::link::pipeline;
use super::reply::{self, RawEntry, Replies, id_text};
use crate::store::StoreError;
use crate::store::tenure::{Arrived, Entry, EntryId, Stream};

/// Reads at once all streams, as of one moment, the time before that, and whose lease it was after.
pub(super) fn ask(keys: &Keys, from: &[(Stream, EntryId)], entries_max: usize) -> Pipeline {
    let mut pipe = pipeline();
    put(&mut pipe, keys, from, entries_max);
    pipe
}

/// The same, once there is anything to read, or after `wait`. The first reply says nothing.
pub(super) fn ask_waiting(
    keys: &Keys,
    from: &[(Stream, EntryId)],
    entries_max: usize,
    wait: Duration,
) -> Pipeline {
    let mut pipe = pipeline();
    // Zero would be for ever.
    pipe.cmd("XREAD").arg("COUNT").arg(1).arg("BLOCK").arg(wait.as_millis().max(1) as u64);
    put_streams(&mut pipe, keys, from);
    put(&mut pipe, keys, from, entries_max);
    pipe
}

fn put(pipe: &mut Pipeline, keys: &Keys, from: &[(Stream, EntryId)], entries_max: usize) {
    pipe.cmd("TIME").cmd("XREAD").arg("COUNT").arg(entries_max);
    put_streams(pipe, keys, from);
    pipe.cmd("HGET").arg(keys.key("meta")).arg("nonce");
}

fn put_streams(pipe: &mut Pipeline, keys: &Keys, from: &[(Stream, EntryId)]) {
    pipe.arg("STREAMS");
    from.iter().for_each(|(stream, _)| _ = pipe.arg(keys.stream(stream)));
    from.iter().for_each(|(_, id)| _ = pipe.arg(id_text(*id)));
}

/// What the replies say of time and streams. The lease's is left.
pub(super) fn arrived(
    keys: &Keys,
    replies: &mut Replies,
    entries_max: usize,
) -> Result<Arrived, StoreError> {
    let mut now = reply::time(replies.next("TIME")?);
    let mut entries = Vec::new();
    if let Value::Array(streams) = replies.next_value() {
        for stream in streams {
            entries.push(stream_entries(keys, stream)?);
        }
    }
    // Of a read that was cut off, only what is before its end is known to be all.
    for (_, settle) in entries.iter().filter(|(stream, _)| *stream == Stream::Settle) {
        if settle.len() >= entries_max {
            now = settle.last().map_or(now, |last: &Entry| last.at.min(now));
        }
    }
    Ok(Arrived { now, entries })
}

fn stream_entries(keys: &Keys, stream: Value) -> Result<(Stream, Vec<Entry>), StoreError> {
    let mut stream = Replies::new(reply::read("stream", stream)?);
    let key: Vec<u8> = stream.next("stream's key")?;
    let tag = keys.key("");
    let stream_of_key = parse_stream(key.strip_prefix(tag.as_bytes()).unwrap_or(&key))?;
    let entries: Vec<RawEntry> = stream.next("entries")?;
    let entries = entries.into_iter().map(reply::entry).collect::<Result<_, _>>()?;
    Ok((stream_of_key, entries))
}
