//! What an API process does in one step: it puts commands, tickets and the rest into streams.

use cartgate_ledger::UnixMs;

use super::bucket::Bucket;
use crate::store::post::{Group, Post, PostReply, TicketFor};
use crate::store::tenure::{Entry, EntryId, Posted, Route, Stream};

impl Bucket {
    pub(super) fn post(&mut self, post: Post, now: UnixMs, nonce: u64) -> PostReply {
        let has_reserve = post.groups.iter().any(|group| group.stream != Stream::Settle);
        if has_reserve && post.routes_version != self.routes_version {
            let own = self.routes.iter().filter(|(_, route)| **route != Route::Leaving);
            let own_lanes = own.map(|(sku, _)| sku.clone()).collect();
            return PostReply::Moved { routes_version: self.routes_version, own_lanes };
        }
        let groups = post.groups.into_iter().map(|group| self.post_group(group, now, nonce));
        let groups = groups.collect();
        let tickets = post.tickets.into_iter().map(|wish| self.post_ticket(wish, now, nonce));
        PostReply::Posted { at: now, nonce, groups, tickets: tickets.collect() }
    }

    fn post_group(&mut self, group: Group, now: UnixMs, nonce: u64) -> Option<EntryId> {
        let depth = self.depths.entry(group.stream.clone()).or_default();
        let more = *depth + group.posted.len() as u64;
        if more > group.depth_max {
            return None;
        }
        *depth = more;
        Some(self.streams.entry(group.stream).or_default().add(now, nonce, group.posted))
    }

    fn post_ticket(&mut self, wish: TicketFor, now: UnixMs, nonce: u64) -> bool {
        let TicketFor { ticket, nonce: its_nonce, claim_by } = wish;
        let is_it = |entry: &Entry| (entry.id, entry.nonce) == (ticket.place.entry, its_nonce);
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
