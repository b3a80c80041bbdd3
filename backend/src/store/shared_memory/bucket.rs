//! One bucket: its keys, and what the scripts do with them.

use std::collections::{BTreeMap, VecDeque};

use cartgate_ledger::{CommandId, UnixMs};
use cartgate_policy::Sku;

use super::LEASE_MS;
use crate::store::Store;
use crate::store::memory::Memory;
use crate::store::tenure::{
    Answer, Cursor, Entry, EntryId, Place, Posted, Route, RouteChange, Step, Stream, Ticket,
    TurnCommit, WorkerId,
};

/// All that is written of a bucket.
#[derive(Clone)]
pub(super) struct Bucket {
    nonce: Option<u64>,
    turn: u64,
    worker: Option<WorkerId>,
    lease_until: UnixMs,
    pub(super) routes_version: u64,
    pub(super) routes: BTreeMap<Sku, Route>,
    pub(super) data: Memory,
    pub(super) tickets: BTreeMap<CommandId, Ticket>,
    pub(super) cursors: BTreeMap<Stream, Cursor>,
    pub(super) depths: BTreeMap<Stream, u64>,
    pub(super) streams: BTreeMap<Stream, Entries>,
    pub(super) answers: Vec<(u64, Vec<Answer>)>,
}

/// What a commit rests on.
#[derive(Clone, Copy)]
pub(super) struct Ground {
    /// The nonce of the lease.
    pub(super) lease: u64,
    /// That of the turn that was written last.
    pub(super) after: u64,
}

/// A stream.
#[derive(Clone, Default)]
pub(super) struct Entries {
    last: EntryId,
    pub(super) entries: VecDeque<Entry>,
}

impl Entries {
    /// Adds an entry. Its id is later than any before, whatever the clock says.
    pub(super) fn add(&mut self, at: UnixMs, nonce: u64, posted: Vec<Posted>) -> EntryId {
        let fresh = EntryId { ms: at.0, number: 0 };
        let next = EntryId { number: self.last.number + 1, ..self.last };
        self.last = if fresh > self.last { fresh } else { next };
        self.entries.push_back(Entry { id: self.last, nonce, at, posted });
        self.last
    }
}

impl Default for Bucket {
    fn default() -> Self {
        let (routes, tickets, cursors, depths, streams) = Default::default();
        Self {
            nonce: None,
            turn: 0,
            worker: None,
            lease_until: UnixMs::default(),
            routes_version: 0,
            routes,
            data: Memory::new(1),
            tickets,
            cursors,
            depths,
            streams,
            answers: Vec::new(),
        }
    }
}

impl Bucket {
    /// Gives the lease to a worker, if it is free or the worker's own. Whether another had it, and has
    /// not given it back.
    pub(super) fn acquire(&mut self, worker: WorkerId, now: UnixMs, nonce: u64) -> Option<bool> {
        let is_anothers = self.nonce.is_some() && self.worker != Some(worker);
        if is_anothers && now < self.lease_until {
            return None;
        }
        (self.nonce, self.turn, self.worker) = (Some(nonce), nonce, Some(worker));
        self.lease_until = now.plus_ms(LEASE_MS);
        Some(is_anothers)
    }

    pub(super) fn is_leased_by(&self, nonce: u64) -> bool {
        self.nonce == Some(nonce)
    }

    pub(super) fn lapse(&mut self) {
        self.lease_until = UnixMs::default();
    }

    pub(super) fn renew(&mut self, nonce: u64, now: UnixMs) -> bool {
        let is_mine = self.is_leased_by(nonce);
        if is_mine {
            self.lease_until = now.plus_ms(LEASE_MS);
        }
        is_mine
    }

    pub(super) fn release(&mut self, nonce: u64) {
        if self.is_leased_by(nonce) {
            self.nonce = None;
        }
    }

    /// Writes all of a turn, or nothing: then it says why.
    pub(super) fn commit(
        &mut self,
        turn: &TurnCommit,
        ground: Ground,
        now: UnixMs,
        new_nonce: u64,
    ) -> Result<(), &'static str> {
        self.check(turn, ground)?;
        self.turn = new_nonce;
        // The store cannot fail: it is told to only by tests of its own.
        self.data.commit(&turn.commit).map_err(|_| "broken")?;
        for id in &turn.commit.unticketed {
            self.tickets.remove(id);
        }
        self.tickets.extend(turn.tickets.iter().map(|(id, _, ticket)| (*id, *ticket)));
        turn.steps.iter().for_each(|step| self.step(step));
        turn.routes.iter().for_each(|change| self.reroute(change, now, new_nonce));
        if !turn.answers.is_empty() {
            self.answers.push((new_nonce, turn.answers.clone()));
        }
        Ok(())
    }

    fn check(&self, turn: &TurnCommit, ground: Ground) -> Result<(), &'static str> {
        if !self.is_leased_by(ground.lease) {
            return Err("fenced");
        }
        if self.turn != ground.after {
            return Err("history");
        }
        for step in &turn.steps {
            let newest = |entry: &Entry| (entry.id, entry.nonce) == step.newest;
            if !self.streams.get(&step.stream).is_some_and(|s| s.entries.iter().any(newest)) {
                return Err("entry");
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) {
        self.cursors.insert(step.stream.clone(), step.to.clone());
        let depth = self.depths.entry(step.stream.clone()).or_default();
        *depth = depth.checked_sub(step.decided).expect("no more is decided than was posted");
        if let Some(stream) = self.streams.get_mut(&step.stream) {
            stream.entries.retain(|entry| entry.id >= step.to.next.entry);
        }
    }

    fn reroute(&mut self, change: &RouteChange, now: UnixMs, nonce: u64) {
        let sku = &change.sku;
        // No counter: a failover may forget some, and the same number would stand for others.
        self.routes_version = nonce;
        match change.route {
            Some(route) => drop(self.routes.insert(sku.clone(), route)),
            None => {
                let own = Stream::Hot(sku.clone());
                let depth = self.depths.remove(&own).unwrap_or_default();
                assert_eq!(depth, 0, "a stream goes before it is worked off");
                self.routes.remove(sku);
                self.cursors.remove(&own);
                self.streams.remove(&own);
            }
        }
        if let Some(stream) = &change.mark_in {
            let mark = vec![Posted::Handoff(sku.clone())];
            let marked = self.streams.entry(stream.clone()).or_default().add(now, nonce, mark);
            if let Some(stream) = change.goes_on_in() {
                let on = self.streams.entry(stream).or_default();
                on.last = on.last.max(marked);
            }
        }
    }

    /// What of a stream is not decided, in order, with the number of its entry.
    pub(super) fn undecided(&self, stream: &Stream) -> impl Iterator<Item = (Place, u64, &Posted)> {
        let cursor = self.cursors.get(stream);
        let is_undecided = move |place: &Place| {
            cursor.is_none_or(|cursor| *place >= cursor.next && !cursor.beyond.contains(place))
        };
        let entries = self.streams.get(stream).into_iter().flat_map(|stream| &stream.entries);
        let places = entries.flat_map(|entry| {
            let place = |index| Place { entry: entry.id, index };
            (0..).zip(&entry.posted).map(move |(index, posted)| (place(index), entry.nonce, posted))
        });
        places.filter(move |(place, ..)| is_undecided(place))
    }
}
