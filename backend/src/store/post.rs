//! What an API process puts into a bucket's streams, in one step, and what comes of it.

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;

use super::tenure::{EntryId, Posted, PostedTicket, Stream};

/// What is put into the streams of a bucket, in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// The routes that reserve commands were sorted into streams by.
    pub routes_version: u64,
    /// What goes where.
    pub groups: Vec<Group>,
    /// Tickets for commands that were posted before.
    pub tickets: Vec<TicketFor>,
}

/// What goes into one stream, or none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The stream.
    pub stream: Stream,
    /// What is posted, in order.
    pub posted: Vec<Posted>,
    /// How much the stream may have that is not decided, this included.
    pub depth_max: u64,
}

/// A wish for a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketFor {
    /// What the owner reads.
    pub ticket: PostedTicket,
    /// The nonce of the entry that the command is in: after a failover another may have its id.
    pub nonce: u64,
    /// Until when the command is good without a ticket: after that none is given, since it may have
    /// been abandoned.
    pub claim_by: UnixMs,
}

/// What came of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostReply {
    /// Nothing was posted, since reserve commands were sorted by routes of another version.
    Moved {
        /// The version now.
        routes_version: u64,
        /// SKUs whose reserve commands go into streams of their own.
        own_lanes: Vec<Sku>,
    },
    /// It was posted, as far as there was room.
    Posted {
        /// When it came, by the server's clock.
        at: UnixMs,
        /// What all of its entries have.
        nonce: u64,
        /// The entry of each group; `None`: there was no room for it.
        groups: Vec<Option<EntryId>>,
        /// Of each ticket, whether it came in time: the owner says whether it is good.
        tickets: Vec<bool>,
    },
}
