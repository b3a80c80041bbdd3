//! How a limit of the whole fleet is divided among its edges.
//!
//! ```text
//! edge                                              service
//! Share::held ──report: demand, what it holds──> Book::report   books it, and grants from what is free
//! Share::accept <──────────grant────────────────      │
//!                                                Book::plan     now and then: who is to have how much
//! ```
//!
//! A [`Grant`] lets one edge admit so many units per second for a while. What the unexpired grants of all
//! edges allow together never exceeds the limit, whatever is lost, late, or comes twice:
//!
//! - The service books for each edge the **largest** of the grants that the edge may still use: those that
//!   have not expired, but for those before the one that the edge says it holds. It grants from what is
//!   left of the limit, never from what it hopes to get back.
//! - An edge counts a grant's time from when it **sent** its report, the service from when it granted, and
//!   a margin for clocks that run at different speeds on top. So the service's view ends last.
//! - An edge takes a grant only in answer to the report that it sent last.
//! - A service that has lost its memory is another **incarnation**: for the time of one grant it grants each
//!   edge only what that one holds already, and learns so what is booked.
//!
//! Milliseconds everywhere; only differences count, so every machine has a clock of its own.

mod book;
mod fair;

pub use book::{Book, Terms};
pub use fair::divide;

/// So many units per second for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose memory it is in.
    pub incarnation: u64,
    /// Grants of one incarnation to one edge are counted up.
    pub seq: u64,
    /// Units per second.
    pub per_second: u32,
    /// How long it is good, from when the report was sent that it answers.
    pub ttl_ms: u64,
}

/// What an edge says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The edge; no two have the same number.
    pub edge: u64,
    /// Units per second that are asked for there.
    pub demand: u32,
    /// The grant that it uses, if it has one that has not expired.
    pub held: Option<Grant>,
}

/// An edge's side: the grant that it uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share(Option<(Grant, u64)>);

impl Share {
    /// Takes the answer to the report that was sent at `sent_ms`, the last one that was sent. An answer that
    /// comes late, after one to a later report, is not to be given here.
    pub fn accept(&mut self, grant: Grant, sent_ms: u64) {
        if let Some((held, _)) = self.0
            && held.incarnation == grant.incarnation
            && grant.seq <= held.seq
        {
            return;
        }
        self.0 = Some((grant, sent_ms.saturating_add(grant.ttl_ms)));
    }

    /// The grant, until it expires: then nobody knows what others have, and the edge is left with its safe
    /// share.
    pub fn held(&self, now_ms: u64) -> Option<Grant> {
        self.0.filter(|(_, until_ms)| now_ms < *until_ms).map(|(grant, _)| grant)
    }
}

#[cfg(test)]
mod tests;
