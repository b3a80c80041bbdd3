//! Questions to a bucket, for whoever has a connection to its server.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cartgate_ledger::{Adjustment, CommandId, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;
use redis::Pipeline;

use super::keys::{Keys, parse_route, parse_stream};
use super::link::pipeline;
use super::past::Lost;
use super::reply::{self, Fields, RawEntry, Replies, id_text};
use super::tickets;
use crate::hot_items::{HotItem, HotItemHistory};
use crate::store::encoding::{
    EndedKey, decode, malformed, parse_id, parse_sku, reservation as decode_reservation, unreadable,
};
use crate::store::journal::{Entries, Page, end_of};
use crate::store::tenure::{Answer, Cursor, EntryId, Route, Stream, Ticket};
use crate::store::{Ended, EndedKind, StockRow, StoreError, Ticketed};
use crate::window::{Counts, Rates, Window};

/// How to read the replies to a question.
type Read<T> = Box<dyn FnOnce(&mut Replies) -> Result<T, StoreError> + Send>;

/// A question: commands that write nothing, and how to read what they reply.
pub(super) struct Ask<T> {
    pub(super) pipe: Pipeline,
    pub(super) read: Read<T>,
}

impl<T> Ask<T> {
    pub(super) fn new(
        pipe: Pipeline,
        read: impl FnOnce(&mut Replies) -> Result<T, StoreError> + Send + 'static,
    ) -> Self {
        Self { pipe, read: Box::new(read) }
    }
}

/// Something in a hash.
type Found = Option<Vec<u8>>;

pub(super) fn stock(keys: &Keys, sku: &Sku) -> Ask<Option<StockRow>> {
    let mut pipe = pipeline();
    pipe.cmd("HGET").arg(keys.key("stock")).arg(sku.as_str());
    Ask::new(pipe, |replies| {
        let row: Found = replies.next("stock")?;
        row.map(|row| decode("stock", &row)).transpose()
    })
}

pub(super) fn stocks(keys: &Keys, skus: &[Sku]) -> Ask<Vec<Option<StockRow>>> {
    let mut pipe = pipeline();
    pipe.cmd("HMGET").arg(keys.key("stock"));
    skus.iter().for_each(|sku| _ = pipe.arg(sku.as_str()));
    Ask::new(pipe, |replies| {
        let row = |row: Found| row.map(|row| decode("stock", &row)).transpose();
        replies.next::<Vec<Found>>("stock")?.into_iter().map(row).collect()
    })
}

pub(super) fn reservation(keys: &Keys, id: CommandId) -> Ask<Option<(Sku, Reservation)>> {
    let mut pipe = pipeline();
    // It may leave either for the other in between, but not both ways.
    for hash in ["held", "ended", "held"] {
        pipe.cmd("HGET").arg(keys.key(hash)).arg(&id.0[..]);
    }
    Ask::new(pipe, move |replies| {
        let mut found: Found = None;
        for _ in 0..3 {
            let next: Found = replies.next("reservation")?;
            found = found.or(next);
        }
        found.map(|value| decode_reservation(id, &value)).transpose()
    })
}

/// What a hash has of these.
pub(super) fn found(keys: &Keys, hash: &'static str, ids: &[CommandId]) -> Ask<Vec<Found>> {
    let mut pipe = pipeline();
    pipe.cmd("HMGET").arg(keys.key(hash));
    ids.iter().for_each(|id| _ = pipe.arg(&id.0[..]));
    Ask::new(pipe, move |replies| replies.next(hash))
}

pub(super) fn ended_reservation(
    id: CommandId,
    found: Option<&[u8]>,
) -> Result<Option<Reservation>, StoreError> {
    Ok(found.map(|value| decode_reservation(id, value)).transpose()?.map(|(_, found)| found))
}

pub(super) fn adjustment(found: Option<&[u8]>) -> Result<Option<Adjustment>, StoreError> {
    found.map(|value| decode("adjustment", value)).transpose()
}

/// A customer, and how many units it has bought.
pub(super) fn purchase(customer: &[u8], units: &[u8]) -> Result<(Arc<str>, u64), StoreError> {
    let read = |bytes| std::str::from_utf8(bytes).map_err(|_| malformed("purchase"));
    let units = read(units)?.parse().map_err(|_| malformed("purchase"))?;
    Ok((read(customer)?.into(), units))
}

/// A command that the owner itself has written down.
pub(super) fn ticketed(keys: &Keys, id: CommandId) -> Ask<Option<Ticketed>> {
    let mut pipe = pipeline();
    pipe.cmd("HGET").arg(keys.key("ticketed")).arg(&id.0[..]);
    Ask::new(pipe, |replies| {
        let value: Found = replies.next("ticketed command")?;
        value.map(|value| decode("ticketed command", &value)).transpose()
    })
}

/// Of a command that a ticket was given for: until when it is good, and its SKU.
pub(super) fn ticket(keys: &Keys, id: CommandId) -> Ask<Option<(Ticket, Sku)>> {
    let mut pipe = pipeline();
    pipe.cmd("HGET").arg(keys.key("tickets")).arg(&id.0[..]);
    Ask::new(pipe, |replies| {
        let value: Found = replies.next("ticket")?;
        value.map(|value| tickets::parse(&value)).transpose()
    })
}

pub(super) fn tickets(keys: &Keys) -> Ask<Vec<(CommandId, Ticket)>> {
    let mut pipe = pipeline();
    pipe.cmd("HGETALL").arg(keys.key("tickets"));
    Ask::new(pipe, |replies| {
        let ticket = |(id, value): (Vec<u8>, Vec<u8>)| {
            let (ticket, _) = tickets::parse(&value)?;
            Ok((parse_id(&id)?, ticket))
        };
        replies.next::<Fields>("tickets")?.into_iter().map(ticket).collect()
    })
}

pub(super) fn cursors(keys: &Keys) -> Ask<Vec<(Stream, Cursor)>> {
    let mut pipe = pipeline();
    pipe.cmd("HGETALL").arg(keys.key("cursors"));
    Ask::new(pipe, |replies| {
        let cursor = |(name, value): (Vec<u8>, Vec<u8>)| {
            Ok((parse_stream(&name)?, decode("cursor", &value)?))
        };
        replies.next::<Fields>("cursors")?.into_iter().map(cursor).collect()
    })
}

/// SKUs with lanes of their own, and the version of that.
pub(super) fn routes(keys: &Keys) -> Ask<(u64, Vec<(Sku, Route)>)> {
    let mut pipe = pipeline();
    pipe.cmd("HGET").arg(keys.key("meta")).arg("routes_version");
    pipe.cmd("HGETALL").arg(keys.key("routes"));
    Ask::new(pipe, |replies| {
        let version: Option<u64> = replies.next("version")?;
        let route = |(sku, name): (Vec<u8>, Vec<u8>)| Ok((parse_sku(&sku)?, parse_route(&name)?));
        let routes = replies.next::<Fields>("routes")?.into_iter().map(route);
        Ok((version.unwrap_or_default(), routes.collect::<Result<_, _>>()?))
    })
}

pub(super) fn hot_items(keys: &Keys) -> Ask<Vec<(Sku, HotItem)>> {
    let mut pipe = pipeline();
    pipe.cmd("HGETALL").arg(keys.key("hot"));
    Ask::new(pipe, |replies| {
        let item =
            |(sku, value): (Vec<u8>, Vec<u8>)| Ok((parse_sku(&sku)?, decode("hot item", &value)?));
        let items = replies.next::<Fields>("hot items")?.into_iter().map(item);
        let mut items = items.collect::<Result<Vec<_>, StoreError>>()?;
        items.sort_by(|one: &(Sku, HotItem), other| one.0.cmp(&other.0));
        Ok(items)
    })
}

/// What was changed of a SKU's entry among the hot items.
pub(super) fn hot_item_history(keys: &Keys, sku: &Sku) -> Ask<HotItemHistory> {
    let mut pipe = pipeline();
    pipe.cmd("HGET").arg(keys.key("histories")).arg(sku.as_str());
    Ask::new(pipe, |replies| {
        let found = replies.next::<Found>("history")?;
        found.map_or_else(|| Ok(HotItemHistory::default()), |value| decode("history", &value))
    })
}

/// How much is posted in each stream and not decided.
pub(super) fn depths(keys: &Keys) -> Ask<Vec<(Stream, u64)>> {
    let mut pipe = pipeline();
    pipe.cmd("HGETALL").arg(keys.key("depths"));
    Ask::new(pipe, |replies| {
        let depth = |(name, depth): (Vec<u8>, i64)| {
            Ok((parse_stream(&name)?, u64::try_from(depth).unwrap_or_default()))
        };
        replies.next::<Vec<_>>("depths")?.into_iter().map(depth).collect()
    })
}

/// How long the oldest entry of each stream has been there, in milliseconds, by the server's clock.
/// What is decided is trimmed: so that one waits. `None`: nothing does.
pub(super) fn ages(keys: &Keys, streams: &[Stream]) -> Ask<Vec<Option<u64>>> {
    let mut pipe = pipeline();
    pipe.cmd("TIME");
    for stream in streams {
        pipe.cmd("XRANGE").arg(keys.stream(stream)).arg("-").arg("+").arg("COUNT").arg(1);
    }
    let count = streams.len();
    Ask::new(pipe, move |replies| {
        let now = reply::time(replies.next("TIME")?);
        let age = |(id, _): RawEntry| Ok(now.0.saturating_sub(reply::parse_entry_id(&id)?.ms));
        let mut ages = Vec::with_capacity(count);
        for _ in 0..count {
            let oldest = replies.next::<Vec<RawEntry>>("oldest entry")?.into_iter().next();
            ages.push(oldest.map(age).transpose()?);
        }
        Ok(ages)
    })
}

/// At most `limit` ends of a kind, earliest first, later than `after`, and no later than `until`.
pub(super) fn ended(
    keys: &Keys,
    kind: EndedKind,
    after: &EndedBound,
    until: UnixMs,
    limit: usize,
) -> Ask<Vec<Ended>> {
    let last = EndedKey::from(&Ended { kind, at: until, id: CommandId([0xff; 16]) });
    let mut pipe = pipeline();
    pipe.cmd("ZRANGEBYLEX").arg(keys.key("ends")).arg(&after.0).arg(bound(b'[', last));
    pipe.arg("LIMIT").arg(0).arg(limit);
    Ask::new(pipe, move |replies| {
        let members: Vec<Vec<u8>> = replies.next("ends")?;
        members.iter().map(|member| Ok(EndedKey::parse(member)?.ended(kind))).collect()
    })
}

/// Where a range of ends begins.
pub(super) struct EndedBound(Vec<u8>);

impl EndedBound {
    pub(super) fn from(kind: EndedKind, at: UnixMs) -> Self {
        Self(bound(b'[', EndedKey::from(&Ended { kind, at, id: CommandId([0; 16]) })))
    }

    pub(super) fn after(end: &Ended) -> Self {
        Self(bound(b'(', EndedKey::from(end)))
    }
}

fn bound(edge: u8, key: EndedKey) -> Vec<u8> {
    [&[edge], &key.0[..]].concat()
}

/// The most chunks of a journal read at once: 640 KiB.
const CHUNKS_MAX: usize = 64;

/// The chunks of a SKU's journal from the one that has the version after `after`.
fn chunks(keys: &Keys, sku: &Sku, after: u64, limit: usize) -> Ask<Vec<RawEntry>> {
    let mut pipe = pipeline();
    pipe.cmd("XRANGE").arg(keys.journal(sku)).arg(after.saturating_add(1)).arg("+");
    pipe.arg("COUNT").arg(limit.clamp(1, CHUNKS_MAX));
    Ask::new(pipe, |replies| replies.next("journal"))
}

/// A page of a SKU's journal, read chunk by chunk.
pub(super) struct JournalPage {
    sku: Sku,
    after: u64,
    limit: usize,
    page: Page,
    is_done: bool,
}

impl JournalPage {
    pub(super) fn new(sku: &Sku, after: u64, limit: usize) -> Self {
        let page = Page::new(after, limit);
        Self { sku: sku.clone(), after, limit, page, is_done: limit == 0 }
    }

    /// What to ask next, for [`JournalPage::take`]; `None` if the page is complete.
    pub(super) fn next(&self, keys: &Keys) -> Option<Ask<Vec<RawEntry>>> {
        (!self.is_done).then(|| chunks(keys, &self.sku, self.after, self.limit))
    }

    pub(super) fn take(&mut self, chunks: Vec<RawEntry>) -> Result<(), StoreError> {
        self.is_done = chunks.len() < self.limit.clamp(1, CHUNKS_MAX);
        for (_, fields) in &chunks {
            let chunk = chunk(fields)?;
            self.check_first(chunk)?;
            self.page.take(chunk)?;
            self.after = Entries::of(chunk)?.last_version();
        }
        self.is_done |= self.page.is_full();
        Ok(())
    }

    /// Checks that nothing is missing before a chunk.
    fn check_first(&self, chunk: &[u8]) -> Result<(), StoreError> {
        let first = Entries::of(chunk)?.next().transpose()?.map_or(0, |entry| entry.version);
        if first <= self.after.saturating_add(1) {
            return Ok(());
        }
        Err(StoreError::JournalTrimmed { sku: self.sku.clone(), first })
    }

    pub(super) fn entries(self) -> Vec<JournalEntry> {
        self.page.entries
    }
}

fn chunk(fields: &[Vec<u8>]) -> Result<&[u8], StoreError> {
    let missing = postcard::Error::DeserializeUnexpectedEnd;
    reply::data(fields).ok_or_else(|| unreadable("journal")(missing))
}

/// Where the journals of some SKUs end: version, and counters after it.
pub(super) fn journal_ends(
    keys: &Keys,
    skus: &[(Sku, StockRow)],
) -> Ask<Vec<(u64, cartgate_ledger::Counters)>> {
    let mut pipe = pipeline();
    for (sku, _) in skus {
        pipe.cmd("XREVRANGE").arg(keys.journal(sku)).arg("+").arg("-").arg("COUNT").arg(1);
    }
    let count = skus.len();
    Ask::new(pipe, move |replies| {
        let end = |_| match replies.next::<Vec<RawEntry>>("journal")?.first() {
            Some((_, fields)) => end_of(chunk(fields)?),
            None => Ok(<_>::default()),
        };
        (0..count).map(end).collect()
    })
}

/// What is asked of a hot item, and held, by the server's clock.
pub(super) fn rates(keys: &Keys, sku: &Sku) -> Ask<Rates> {
    let mut pipe = pipeline();
    pipe.cmd("TIME").cmd("HVALS").arg(keys.rates(sku));
    Ask::new(pipe, |replies| {
        let (now, _): (u64, u64) = replies.next("TIME")?;
        let mut window = Window::default();
        for second in replies.next::<Vec<String>>("rates")? {
            let mut numbers = second.split(' ').map(str::parse);
            let mut next = || numbers.next().and_then(Result::ok).ok_or_else(|| malformed("rate"));
            window.add(next()?, Counts { demand: next()?, admitted: next()? });
        }
        Ok(window.rates(now))
    })
}

/// At most `limit` entries of answers after that one, in order.
pub(super) fn answers(
    keys: &Keys,
    after: EntryId,
    limit: usize,
) -> Ask<Vec<(EntryId, Vec<Answer>)>> {
    let mut pipe = pipeline();
    pipe.cmd("XRANGE").arg(keys.key("answers")).arg(format!("({}", id_text(after))).arg("+");
    pipe.arg("COUNT").arg(limit);
    Ask::new(pipe, |replies| {
        replies.next::<Vec<RawEntry>>("answers")?.into_iter().map(reply::answers).collect()
    })
}

/// The last entry of answers.
pub(super) fn last_answers(keys: &Keys) -> Ask<Option<(EntryId, Vec<Answer>)>> {
    let mut pipe = pipeline();
    pipe.cmd("XREVRANGE").arg(keys.key("answers")).arg("+").arg("-").arg("COUNT").arg(1);
    Ask::new(pipe, |replies| {
        let last = replies.next::<Vec<RawEntry>>("answers")?.into_iter().next();
        last.map(reply::answers).transpose()
    })
}

/// The turns that the last tenures began after, and the last one that was written.
pub(super) fn turns(keys: &Keys) -> Ask<HashSet<String>> {
    let mut pipe = pipeline();
    pipe.cmd("HGET").arg(keys.key("meta")).arg("turn");
    pipe.cmd("XRANGE").arg(keys.key("tenures")).arg("-").arg("+");
    Ask::new(pipe, |replies| {
        let last: Option<String> = replies.next("turn")?;
        let tenures: Vec<(String, HashMap<String, String>)> = replies.next("tenures")?;
        let after = tenures.into_iter().filter_map(|(_, mut fields)| fields.remove("after"));
        Ok(after.chain(last).collect())
    })
}

/// Notes SKUs of which something was lost, for an operator to see.
pub(super) fn put_lost(keys: &Keys, lost: &[Lost]) -> Pipeline {
    let mut pipe = pipeline();
    pipe.cmd("HSET").arg(keys.key("lost"));
    for Lost { sku, known, found } in lost {
        pipe.arg(sku.as_str()).arg(format!("{known} {found}"));
    }
    pipe
}

/// SKUs of which something was lost.
pub(super) fn lost(keys: &Keys) -> Ask<Vec<Lost>> {
    let mut pipe = pipeline();
    pipe.cmd("HGETALL").arg(keys.key("lost"));
    Ask::new(pipe, |replies| {
        let lost = |(sku, versions): (Vec<u8>, String)| {
            let parsed = versions
                .split_once(' ')
                .and_then(|(known, found)| Some((known.parse().ok()?, found.parse().ok()?)));
            let (known, found) = parsed.ok_or_else(|| malformed("lost SKU"))?;
            Ok(Lost { sku: parse_sku(&sku)?, known, found })
        };
        replies.next::<Vec<_>>("lost SKUs")?.into_iter().map(lost).collect()
    })
}
