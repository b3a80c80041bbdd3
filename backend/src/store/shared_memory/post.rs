//! What an API process does in one step: it puts commands, tickets and the rest into streams.

use cartgate_ledger::{CommandId, UnixMs};
use cartgate_policy::Sku;

use super::bucket::Bucket;
use crate::store::tenure::{Posted, ReplyTo, Stream};

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
    pub(crate) sku: Sku,
    pub(crate) id: CommandId,
    /// Until when the command is good without one: later there is none.
    pub(crate) claim_by: UnixMs,
    pub(crate) until: UnixMs,
    pub(crate) reply: ReplyTo,
}

/// What came of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Posting {
    /// Nothing: SKUs have other routes by now.
    Moved,
    /// Each group that there was room for, each ticket that did not come too late.
    Done { groups: Vec<bool>, tickets: Vec<bool> },
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

    fn post_group(&mut self, group: Group, now: UnixMs, nonce: u64) -> bool {
        let depth = self.depths.entry(group.stream.clone()).or_default();
        let more = *depth + group.posted.len() as u64;
        if more > group.max {
            return false;
        }
        *depth = more;
        self.streams.entry(group.stream).or_default().add(now, nonce, group.posted);
        true
    }

    fn post_ticket(&mut self, wish: TicketWish, now: UnixMs, nonce: u64) -> bool {
        let TicketWish { sku, id, claim_by, until, reply } = wish;
        if now > claim_by {
            return false;
        }
        let longer = self.tickets.entry(id).or_insert(until);
        *longer = until.max(*longer);
        *self.depths.entry(Stream::Settle).or_default() += 1;
        let ticket = vec![Posted::Ticket { sku, id, until, reply }];
        self.streams.entry(Stream::Settle).or_default().add(now, nonce, ticket);
        true
    }
}
