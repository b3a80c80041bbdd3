//! What an API process does in one step: it puts commands, tickets and the rest into streams.

use cartgate_ledger::UnixMs;

use super::bucket::Bucket;
use crate::store::tenure::{Entry, EntryId, Posted, PostedTicket, Stream};

/// What is to be posted at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Post {
    /// The routes by which the streams of reserve commands were chosen.
    pub(crate) routes_version: u64,
    pub(crate) groups: Vec<Group>,
    pub(crate) tickets: Vec<TicketWish>,
}

/// What is to enter one stream, or none of it.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) stream: Stream,
    /// The most that may wait in the stream with these.
    pub(crate) max: u64,
    pub(crate) posted: Vec<Posted>,
}

/// A ticket that somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct TicketWish {
    pub(crate) ticket: PostedTicket,
    /// Until when the command is good without one: later there is none.
    pub(crate) claim_by: UnixMs,
}

/// What came of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Posting {
    /// Nothing: SKUs have other routes by now.
    Moved,
    /// The entry of each group that there was room for, each ticket that did not come too late.
    Done { groups: Vec<Option<EntryId>>, tickets: Vec<bool> },
}

impl Bucket {
    pub(super) fn post(&mut self, post: Post, now: UnixMs, nonce: u64) -> Posting {
        let has_reserve = post.groups.iter().any(|group| group.stream != Stream::Settle);
        if has_reserve && post.routes_version != self.routes_version {
            return Posting::Moved;
        }
        let groups = post.groups.into_iter().map(|group| self.post_group(group, now, nonce));
        let groups = groups.collect();
        let tickets = post.tickets.into_iter().map(|wish| self.post_ticket(wish, now, nonce));
        Posting::Done { groups, tickets: tickets.collect() }
    }

    fn post_group(&mut self, group: Group, now: UnixMs, nonce: u64) -> Option<EntryId> {
        let depth = self.depths.entry(group.stream.clone()).or_default();
        let more = *depth + group.posted.len() as u64;
        if more > group.max {
            return None;
        }
        *depth = more;
        Some(self.streams.entry(group.stream).or_default().add(now, nonce, group.posted))
    }

    fn post_ticket(&mut self, wish: TicketWish, now: UnixMs, nonce: u64) -> bool {
        let TicketWish { ticket, claim_by } = wish;
        let is_it = |entry: &Entry| entry.id == ticket.place.entry;
        let stream = self.streams.get(&ticket.stream);
        if now > claim_by || !stream.is_some_and(|stream| stream.entries.iter().any(is_it)) {
            return false;
        }
        *self.depths.entry(Stream::Settle).or_default() += 1;
        let posted = vec![Posted::Ticket(ticket)];
        self.streams.entry(Stream::Settle).or_default().add(now, nonce, posted);
        true
    }
}
