//! The worker thread that reports.

use std::collections::BTreeMap;

use cartgate_policy::Sku;
use cartgate_policy::fleet::{Heavy, Reply, Report, Reporter, Table};
use cartgate_policy::heavy::Sketch;
use cartgate_policy::shares::{Allowance, Meter};
use cartgate_policy::slots::Slot;

use super::asked::{self, Asked};
use super::pulse::Pulse;
use super::{Contact, Keys};
use crate::count::{self, NS_PER_MS, SharedStore, UpdateError};

pub(super) struct Leader {
    reporter: Reporter,
    asked_ns: u64,
    heavy: BTreeMap<Sku, u64>,
    heavy_since_ns: u64,
    /// The call that the last report was sent with, and when.
    call: Option<u32>,
    sent_ns: u64,
    /// Whether it has written a table. The thread before may have written one and told nobody.
    has_written: bool,
}

/// What an answer has changed, to be written where all threads find it.
pub(super) struct Answered {
    table: Vec<u8>,
    is_table_new: bool,
    shares: Vec<Share>,
    contact_until_ns: u64,
    holds: Option<u64>,
    service_ahead_ms: i64,
}

/// The share of one item's meter.
struct Share {
    place: u16,
    fingerprint: u64,
    share: Allowance,
    safe: Allowance,
}

impl Leader {
    /// Goes on from what is in the table and the pulse. Without a table there are no shares either.
    pub(super) fn new(table: Option<Table>, pulse: Pulse, now_ns: u64) -> Self {
        let until_ms = pulse.contact_until_ns / NS_PER_MS;
        let holds = pulse.holds.filter(|_| table.is_some());
        let reporter = Reporter::resume(table.unwrap_or_default(), pulse.number, holds, until_ms);
        // What threads were asked for since somebody last took it.
        let since_ns = if pulse.leader == 0 { now_ns } else { pulse.beat_ns.min(now_ns) };
        let (asked_ns, heavy_since_ns, sent_ns) = (since_ns, since_ns, now_ns);
        let (heavy, call, has_written) = Default::default();
        Self { reporter, asked_ns, heavy, heavy_since_ns, call, sent_ns, has_written }
    }

    pub(super) fn number(&self) -> u64 {
        self.reporter.number()
    }

    /// Notes what all threads were asked for since the last time.
    pub(super) fn ask(&mut self, asked: Asked, now_ns: u64) {
        let over_ms = now_ns.saturating_sub(self.asked_ns) / NS_PER_MS;
        self.reporter.ask(&asked.items, over_ms);
        self.asked_ns = now_ns;
        asked::add_heavy(&mut self.heavy, &asked.heavy);
    }

    /// The report to send, if it is time. What is no hot item is taken out of this thread then, so that it is of
    /// the time that the report names.
    pub(super) fn report(
        &mut self,
        take_heavy: impl FnOnce() -> BTreeMap<Sku, u64>,
        now_ns: u64,
    ) -> Option<Report> {
        if !self.reporter.is_due(now_ns / NS_PER_MS) {
            return None;
        }
        asked::add_heavy(&mut self.heavy, &take_heavy());
        let heavy = asked::heaviest(std::mem::take(&mut self.heavy), Sketch::NAMED_MAX);
        let heavy = heavy.map(|(sku, units)| Heavy { sku, units }).collect();
        let over_ms = now_ns.saturating_sub(self.heavy_since_ns) / NS_PER_MS;
        (self.heavy_since_ns, self.sent_ns) = (now_ns, now_ns);
        Some(self.reporter.report(heavy, over_ms, now_ns / NS_PER_MS))
    }

    pub(super) fn contact(&self, now_ns: u64) -> (Contact, usize) {
        let contact = if now_ns / NS_PER_MS >= self.reporter.contact_until_ms() {
            Contact::Lost
        } else if self.reporter.failures() > 0 {
            Contact::Stale
        } else {
            Contact::Fresh
        };
        (contact, self.reporter.table().items.len())
    }

    pub(super) fn sent(&mut self, call: Option<u32>, jitter: u64, now_ns: u64) {
        self.call = call;
        if call.is_none() {
            self.reporter.fail(jitter, now_ns / NS_PER_MS);
        }
    }

    /// Takes what came of a call. `None`: it has changed nothing.
    pub(super) fn answered(
        &mut self,
        call: u32,
        reply: Option<Reply>,
        (seed, jitter): (&[u8; 16], u64),
        now_ns: u64,
    ) -> Option<Answered> {
        if self.call != Some(call) {
            return None;
        }
        self.call = None;
        let now_ms = now_ns / NS_PER_MS;
        let Some(reply) = reply else {
            self.reporter.fail(jitter, now_ms);
            return None;
        };
        // It was said half way between sending and now, as far as anybody can tell.
        let said_ms = self.sent_ns.midpoint(now_ns) / NS_PER_MS;
        let service_ahead_ms = reply.now_ms.cast_signed().wrapping_sub(said_ms.cast_signed());
        let change = self.reporter.accept(reply, now_ms);
        let table = self.reporter.table();
        let shares = change.shares.into_iter().map(|(sku, place, share)| {
            let entry = table.items.get(&sku);
            let safe = entry.map(|entry| entry.item.safe_share(table.edges)).unwrap_or_default();
            Share { place, fingerprint: Slot::of(&sku, None, seed, 1).fingerprint, share, safe }
        });
        let shares: Vec<_> = shares.collect();
        let is_table_new = change.is_table || !self.has_written;
        self.has_written = true;
        let is_written = is_table_new || !shares.is_empty();
        Some(Answered {
            // No failure is possible, as with what was asked for.
            table: if is_written {
                postcard::to_allocvec(table).unwrap_or_default()
            } else {
                Vec::new()
            },
            is_table_new,
            shares,
            contact_until_ns: self.reporter.contact_until_ms() * NS_PER_MS,
            holds: self.reporter.holds(),
            service_ahead_ms,
        })
    }
}

impl Answered {
    /// Writes the meters, and then the table: whoever finds an item there finds its meter.
    pub(super) fn write<S: SharedStore>(
        &self,
        store: &S,
        keys: &Keys,
        pulse: Pulse,
        now_ns: u64,
    ) -> Result<(), UpdateError<S::Error>> {
        for Share { place, fingerprint, share, safe } in &self.shares {
            count::update(store, &keys.meter(*place), |stored, at_ns| {
                let meter = stored.and_then(Meter::from_bytes).filter(|m| m.is_of(*fingerprint));
                let meter = meter.unwrap_or_else(|| Meter::empty(*fingerprint, now_ns));
                let meter = meter.granted(*share, *safe, pulse.contact_until_ns, at_ns);
                Ok(((), Some(meter.to_bytes().to_vec())))
            })?;
        }
        if self.table.is_empty() {
            return Ok(());
        }
        count::update(store, &keys.table, |_, _| Ok(((), Some(self.table.clone()))))
    }

    /// What the pulse is then.
    pub(super) fn pulse(&self, before: Pulse) -> Pulse {
        Pulse {
            table: before.table.wrapping_add(self.is_table_new.into()),
            shares: before.shares.wrapping_add((!self.shares.is_empty()).into()),
            contact_until_ns: self.contact_until_ns,
            service_ahead_ms: self.service_ahead_ms,
            holds: self.holds,
            ..before
        }
    }
}
