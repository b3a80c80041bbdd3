//! How a stream of commands stands, for those who ask how long it will be.

use cartgate_ledger::UnixMs;

use super::ask::Ask;
use super::keys::{Keys, stream_name};
use super::link::pipeline;
use super::reply::{self, RawEntry};
use crate::store::tenure::Stream;

/// How a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// By the server's clock.
    pub now: UnixMs,
    /// When the oldest came that waits, by the same. What is decided is trimmed.
    pub oldest: UnixMs,
    /// How many wait.
    pub waiting: u64,
}

/// `None`: nothing waits in it.
pub(super) fn ask(keys: &Keys, stream: &Stream) -> Ask<Option<Line>> {
    let mut pipe = pipeline();
    pipe.cmd("TIME");
    pipe.cmd("HGET").arg(keys.key("depths")).arg(stream_name(stream));
    pipe.cmd("XRANGE").arg(keys.stream(stream)).arg("-").arg("+").arg("COUNT").arg(1);
    Ask::new(pipe, |replies| {
        let now = reply::time(replies.next("TIME")?);
        let waiting = replies.next::<Option<i64>>("depth")?.unwrap_or_default();
        let oldest = replies.next::<Vec<RawEntry>>("oldest entry")?.into_iter().next();
        let Some((id, _)) = oldest else { return Ok(None) };
        let oldest = UnixMs(reply::parse_entry_id(&id)?.ms);
        Ok(Some(Line { now, oldest, waiting: u64::try_from(waiting).unwrap_or_default() }))
    })
}
