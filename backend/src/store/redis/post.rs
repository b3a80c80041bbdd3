//! Putting what callers ask for into a bucket's streams.

use std::time::Duration;

use cartgate_ledger::UnixMs;
use redis::Cmd;
use thiserror::Error;

use super::keys::{Keys, stream_name};
use super::reply::{self, Replies, id_text, nonce_text, parse_entry_id};
use super::scripts::{POST, POST_SETTLE};
use crate::store::StoreError;
use crate::store::encoding::{encode, parse_sku};
use crate::store::post::{Group, Post, PostReply, TicketFor};
use crate::store::tenure::{Posted, Stream};

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

/// The call that posts it, in entries with this nonce.
pub(super) fn call(keys: &Keys, post: &Post, nonce: u64) -> Result<Cmd, StoreError> {
    let mut all: Vec<String> =
        ["meta", "routes", "depths", "settle"].iter().map(|name| keys.key(name)).collect();
    all.extend(post.groups.iter().map(|group| keys.stream(&group.stream)));
    all.extend(post.tickets.iter().map(|wish| keys.stream(&wish.ticket.stream)));
    let has_reserve = post.groups.iter().any(|group| group.stream != Stream::Settle);
    let mut call = if has_reserve { &POST } else { &POST_SETTLE }.call(&all);
    call.arg(nonce_text(nonce));
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
    for TicketFor { ticket, nonce, claim_by } in &post.tickets {
        call.arg(claim_by.0).arg(id_text(ticket.place.entry)).arg(nonce_text(*nonce));
        call.arg(encode(&[Posted::Ticket(ticket.clone())].as_slice())?);
    }
    Ok(call)
}

/// What came of it.
pub(super) fn read(mut replies: Replies, nonce: u64) -> Result<PostReply, StoreError> {
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
    Ok(PostReply::Posted { at, nonce, groups, tickets: said.next("tickets")? })
}
