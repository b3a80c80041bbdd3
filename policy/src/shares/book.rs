//! The service's side: what is granted, and what may still be used of it.

use std::collections::BTreeMap;

use super::{Grant, Report, divide};

/// What is divided, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Units per second of the whole fleet.
    pub limit: u32,
    /// How long a grant is good.
    pub ttl_ms: u64,
    /// By how much longer an edge's clock may make of that time. Clocks that differ by 500 parts in a million
    /// make 1 ms of 2 s.
    pub margin_ms: u64,
    /// The most edges; one more gets no grant.
    pub edges_max: usize,
}

/// What one limit's edges have been granted.
#[derive(Clone, Debug)]
pub struct Book {
    incarnation: u64,
    terms: Terms,
    /// Until then others than this incarnation may have granted something.
    learns_until_ms: u64,
    edges: BTreeMap<u64, Booking>,
    /// What all bookings add up to: never less than what edges may use.
    booked: u64,
}

/// One edge.
#[derive(Clone, Debug, Default)]
struct Booking {
    demand: u32,
    /// What it is to have.
    wish: u32,
    /// When nothing was heard of it for the time of a grant, it is gone.
    heard_ms: u64,
    seq: u64,
    grants: Vec<Outstanding>,
}

/// A grant that the edge may have, or get yet.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    seq: u64,
    per_second: u32,
    until_ms: u64,
}

/// How long a unit that cannot be divided stays with an edge, in times of a grant. Nobody has it while it
/// moves on, for a report or two.
const TURN_TTLS: u64 = 2;

/// More than are ever on their way at once: then the oldest two count as one, as large and as long as the
/// larger and the longer of them.
const OUTSTANDING_MAX: usize = 16;

impl Book {
    /// An empty book, whose `incarnation` no book of this limit ever had.
    pub fn new(incarnation: u64, terms: Terms, now_ms: u64) -> Self {
        let learns_until_ms = now_ms.saturating_add(terms.ttl_ms).saturating_add(terms.margin_ms);
        let (edges, booked) = Default::default();
        Self { incarnation, terms, learns_until_ms, edges, booked }
    }

    /// Changes the limit. What was granted under another stays good until it expires.
    pub fn set_limit(&mut self, limit: u32) {
        self.terms.limit = limit;
    }

    /// Forgets what has expired and who is gone, and says anew what each edge is to have. To be called every
    /// so often; the more often, the sooner shares follow demand. Takes time for each edge.
    pub fn plan(&mut self, now_ms: u64) {
        let ttl_ms = self.terms.ttl_ms;
        for booking in self.edges.values_mut() {
            booking.grants.retain(|grant| now_ms < grant.until_ms);
        }
        self.edges.retain(|_, booking| {
            !booking.grants.is_empty() || now_ms < booking.heard_ms.saturating_add(ttl_ms)
        });
        self.booked = self.edges.values().map(|booking| u64::from(booking.most())).sum();
        let demands: Vec<u32> = self.edges.values().map(|booking| booking.demand).collect();
        let turn = now_ms / ttl_ms.saturating_mul(TURN_TTLS).max(1);
        let wishes = divide(self.terms.limit, &demands, turn);
        for (booking, wish) in self.edges.values_mut().zip(wishes) {
            booking.wish = wish;
        }
    }

    /// Takes an edge's report, and grants what it is to have, as far as there is as much. `None`: the edge
    /// goes on with what it has, and is on its own once that has expired. So it is for edges of which
    /// nothing is known as long as this book is learning, and for more edges than there may be.
    pub fn report(&mut self, report: Report, now_ms: u64) -> Option<Grant> {
        let Terms { limit, ttl_ms, margin_ms, edges_max } = self.terms;
        let incarnation = self.incarnation;
        if self.edges.len() >= edges_max && !self.edges.contains_key(&report.edge) {
            return None;
        }
        let booking = self.edges.entry(report.edge).or_default();
        let before = booking.most();
        (booking.demand, booking.heard_ms) = (report.demand, now_ms);
        booking.grants.retain(|grant| now_ms < grant.until_ms);
        let until_ms = now_ms.saturating_add(ttl_ms).saturating_add(margin_ms);
        let learns = now_ms < self.learns_until_ms;
        match report.held {
            Some(held) if held.incarnation == incarnation => {
                booking.grants.retain(|grant| grant.seq >= held.seq);
            }
            // Of an incarnation before. It is the edge's: nobody else was granted it.
            Some(Grant { per_second, .. }) if learns => {
                booking.book(Outstanding { seq: 0, per_second, until_ms });
            }
            // A report that is late may not name a grant that the edge has got meanwhile: what is booked
            // stays booked.
            _ => {}
        }
        let others = self.booked - u64::from(before);
        self.booked = others + u64::from(booking.most());
        let wish = match learns {
            true => report.held?.per_second,
            false => booking.wish,
        };
        let free = u64::from(limit).saturating_sub(others);
        let per_second = u32::try_from(free).unwrap_or(u32::MAX).min(wish);
        booking.seq += 1;
        let seq = booking.seq;
        booking.book(Outstanding { seq, per_second, until_ms });
        self.booked = others + u64::from(booking.most());
        Some(Grant { incarnation, seq, per_second, ttl_ms })
    }
}

impl Booking {
    /// What the edge may use at most.
    fn most(&self) -> u32 {
        self.grants.iter().map(|grant| grant.per_second).max().unwrap_or_default()
    }

    fn book(&mut self, grant: Outstanding) {
        if let [first, second, ..] = self.grants[..]
            && self.grants.len() >= OUTSTANDING_MAX
        {
            self.grants.remove(0);
            self.grants[0] = Outstanding {
                seq: first.seq.max(second.seq),
                per_second: first.per_second.max(second.per_second),
                until_ms: first.until_ms.max(second.until_ms),
            };
        }
        self.grants.push(grant);
    }
}
