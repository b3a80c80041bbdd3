//! How the service and its edges keep in step: what edges report, and what they are told.
//!
//! ```text
//! edge, every 200 ms                                    service
//! Reporter::report ── Report: demand, what is heavy, ──> Fleet::report  books what the edge has,
//!                     which shares it has                    │          grants from what is free
//! Reporter::accept <── Reply: items, shares, ───────────     │
//!                      for how long                      Fleet::plan    every 50 ms: who is to have how much
//! ```
//!
//! **A session.** All shares that an edge has are good until its session ends: `ttl_ms` after it sent the
//! last report that was answered. Each answer renews it, so that nothing has to be said of what stays as it
//! is. The edge counts from sending, the service from answering and a margin for clocks that run at
//! different speeds on top, so that the service's view ends last, and it grants to nobody what an edge may
//! still use.
//!
//! **Nothing may be early, late or twice.** Reports are numbered; the service leaves alone what is not newer
//! than what it has. An edge has one report on its way, and takes its answer alone. Shares are numbered as
//! well: the service has it booked that an edge may use the old one until the edge says that it has the new.
//!
//! **A service that has lost its memory** is another incarnation. For the time of a session it learns: edges
//! tell it all that they have, it lets them have that, and grants nothing new.
//!
//! **An edge that hears nothing** has its shares until the session ends. From then on each such edge admits
//! its safe share, an equal part of each limit ([`Allowance::safe`](crate::shares::Allowance::safe)), since
//! nobody knows what others have. With `U` edges that have heard nothing of an item yet, or nothing any more:
//!
//! ```text
//! admitted by all in w seconds <= limit * w + burst + U * (what such an edge admits by itself)
//! ```
//!
//! Milliseconds everywhere. Only differences count, so that every machine has a clock of its own; for the
//! instants at which sales open, the service tells its own time with each reply.

mod item;
mod reporter;
mod service;

use serde::{Deserialize, Serialize};

use crate::Sku;

pub use item::{Gate, Item};
pub use reporter::{Change, Entry, Reporter, Table};
pub use service::{Fleet, NotTaken, Settings};

/// Which state of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Version {
    /// Whose memory it is in.
    pub incarnation: u64,
    /// Counted up with each change.
    pub revision: u64,
}

/// What an edge says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Report {
    /// Counted up by the edge.
    pub number: u64,
    /// The registry that it has, if it has one.
    pub known: Option<Version>,
    /// The incarnation that its shares are of, if its session has not ended.
    pub holds: Option<u64>,
    /// Whether `items` has every share that it has.
    pub is_all: bool,
    /// Hot items that it is asked for; and those of which it has something to say.
    pub items: Vec<ItemReport>,
    /// The time that `heavy` is of.
    pub over_ms: u64,
    /// Others that it is often asked for.
    pub heavy: Vec<Heavy>,
    /// A hash of the form that it gives SKUs (`SkuForm::fingerprint`), if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku_form: Option<u64>,
}

/// What an edge says of a hot item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ItemReport {
    /// The item.
    pub sku: Sku,
    /// Units per second that are asked for there.
    pub demand: u32,
    /// The number of the share that it has, and how much that is, if the service does not know that yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_items = 2))]
    pub share: Option<(u64, u32)>,
}

/// A SKU that is often asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heavy {
    /// The SKU.
    pub sku: Sku,
    /// How many units, at least.
    pub units: u64,
}

/// What an edge is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reply {
    /// The registry that it has from now on.
    pub version: Version,
    /// What becomes of the edge's session.
    pub session: Session,
    /// How long the session is good, from when the report was sent.
    pub ttl_ms: u64,
    /// When to report again.
    pub report_in_ms: u64,
    /// How many edges there are.
    pub edges: u32,
    /// The service's time, as Unix has it.
    pub now_ms: u64,
    /// Whether `items` are all that there are; otherwise those that are new or changed.
    pub is_all: bool,
    /// Hot items.
    pub items: Vec<Item>,
    /// What is a hot item no more.
    pub gone: Vec<Sku>,
    /// Shares that are new: SKU, number, units per second.
    pub shares: Vec<(Sku, u64, u32)>,
}

/// What becomes of an edge's session with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// It goes on, with the shares that the edge has and those in the reply.
    Renewed,
    /// It begins, with the shares in the reply alone.
    Begun,
    /// It is not known: the edge is to tell at once all that it has.
    Unknown,
}

#[cfg(test)]
mod tests;
