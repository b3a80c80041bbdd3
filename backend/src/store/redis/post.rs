//! Putting what callers ask for into a bucket's streams.

use std::time::Duration;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use redis::Cmd;
use thiserror::Error;

use super::keys::{Keys, stream_name};
use super::reply::{self, Replies, id_text, nonce_text, parse_entry_id};
use super::scripts::{POST, POST_SETTLE};
use crate::store::StoreError;
use crate::store::encoding::{encode, parse_sku};
use crate::store::tenure::{EntryId, Posted, PostedTicket, Stream};

/// What is put into the streams of a bucket, in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// The routes that reserve commands were sorted into streams by.
    pub routes_version: u64,
    /// What goes where: each stream once.
    pub groups: Vec<Group>,
    /// Tickets for commands that were posted before.
    pub tickets: Vec<TicketFor>,
}

/// What goes into one stream.
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
        /// The entry of each group; `None`: there was no room for it.
        groups: Vec<Option<EntryId>>,
        /// Of each ticket, whether it came in time: the owner says whether it is good.
        tickets: Vec<bool>,
    },
}

/// Why it is not known that something was posted.
#[derive(Debug, Error)]
pub enum PostError {
    /// The store does not answer, and was not asked: nothing was posted.
    #[error("the store is out of reach, try again in {} ms", retry_after.as_millis())]
    OutOfReach {
        /// When it may be asked again.
        retry_after: Duration,
    },
    /// The store has no room for reserve commands: nothing was posted, not even what is none.
    #[error("the store is out of memory")]
    OutOfMemory,
    /// The store refused it: nothing was posted.
    #[error("the store refused a post")]
    Refused(#[source] StoreError),
    /// It was sent, and there was no answer: it may have been posted, or not.
    #[error("the store did not answer a post")]
    Unknown(#[source] StoreError),
}

/// The call that posts it.
pub(super) fn call(keys: &Keys, post: &Post) -> Result<Cmd, StoreError> {
    let mut all: Vec<String> =
        ["meta", "routes", "depths", "settle"].iter().map(|name| keys.key(name)).collect();
    all.extend(post.groups.iter().map(|group| keys.stream(&group.stream)));
    all.extend(post.tickets.iter().map(|wish| keys.stream(&wish.ticket.stream)));
    let has_reserve = post.groups.iter().any(|group| group.stream != Stream::Settle);
    let mut call = if has_reserve { &POST } else { &POST_SETTLE }.call(&all);
    call.arg(nonce_text(u64::from_ne_bytes(crate::random::bytes())));
    if has_reserve {
        call.arg(post.routes_version);
    } else {
        call.arg("");
    }
    call.arg(post.groups.len());
    for Group { stream, posted, depth_max } in &post.groups {
        call.arg(stream_name(stream)).arg(posted.len()).arg(*depth_max).arg(encode(posted)?);
    }
    call.arg(post.tickets.len());
    for TicketFor { ticket, claim_by } in &post.tickets {
        call.arg(claim_by.0).arg(id_text(ticket.place.entry));
        call.arg(encode(&[Posted::Ticket(ticket.clone())].as_slice())?);
    }
    Ok(call)
}

/// What came of it.
pub(super) fn read(mut replies: Replies) -> Result<PostReply, StoreError> {
    let mut said = Replies::new(replies.next("post")?);
    let word: String = said.next("post")?;
    if word == "moved" {
        let routes_version = said.next("version")?;
        let own_lanes = said.rest().map(|sku| parse_sku(&reply::read::<Vec<u8>>("SKU", sku)?));
        return Ok(PostReply::Moved {
            routes_version,
            own_lanes: own_lanes.collect::<Result<_, _>>()?,
        });
    }
    let at = UnixMs(said.next("time")?);
    let entries: Vec<Option<String>> = said.next("groups")?;
    let entries = entries.iter().map(|entry| entry.as_deref().map(parse_entry_id).transpose());
    let groups = entries.collect::<Result<_, _>>()?;
    Ok(PostReply::Posted { at, groups, tickets: said.next("tickets")? })
}
