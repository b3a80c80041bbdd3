//! A test's bucket on the model of a shared store: an owner that runs only when the test says so, and
//! an API process that posts and listens.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cartgate_ledger::{Command, CommandId, Outcome, UnixMs};
use cartgate_policy::Sku;

use super::owner::Owner;
use crate::hot_items::{HotItem, Note};
use crate::lanes::LaneSettings;
use crate::lanes::pacer::PACE_CLOCK;
use crate::lanes::rig;
use crate::metrics::Metrics;
use crate::store::post::{Group, Post, PostReply, TicketFor};
use crate::store::shared_memory::SharedMemory;
use crate::store::tenure::{
    EntryId, Place, Posted, PostedCommand, PostedTicket, ReplyTo, SharedStore, Stream, Told,
    WorkerId,
};
use crate::store::{StockRow, Store as _, StoreError};

/// How long those who reserve wait.
pub(super) const WAIT_MS: u64 = 10_000;

const PROCESS: u64 = 77;

pub(super) struct SharedRig {
    pub(super) store: Arc<SharedMemory>,
    settings: LaneSettings,
    next_number: u64,
    /// Where callers' commands are, by their numbers, and the nonces of their entries.
    places: BTreeMap<u64, (Stream, Place, u64)>,
    /// What callers were told, by their numbers.
    pub(super) told: BTreeMap<u64, Vec<Told>>,
}

impl SharedRig {
    /// A store at time 1,000 with `units` of `A`.
    pub(super) fn new(units: u64, settings: LaneSettings) -> Self {
        let store = Arc::new(SharedMemory::new(1, UnixMs(1_000)));
        let (places, told) = Default::default();
        let mut rig = Self { store, settings, next_number: 0, places, told };
        let number = rig.settle(rig::set(units));
        let mut owner = rig.owner(1);
        owner.turn().unwrap();
        assert!(matches!(rig.outcome(number), Some(Outcome::Stock { .. })));
        rig.release(1);
        rig
    }

    /// A worker takes the bucket, when the lease of whoever had it is over.
    pub(super) fn owner(&self, worker: u64) -> Owner {
        self.owner_with(worker, &Arc::default())
    }

    /// The same in a process that has other buckets as well.
    pub(super) fn owner_with(&self, worker: u64, metrics: &Arc<Metrics>) -> Owner {
        let tenure = self.store.acquire(0, WorkerId(worker)).unwrap().unwrap();
        Owner::begin(tenure, &self.settings, Arc::clone(metrics)).unwrap()
    }

    /// The worker gives the bucket back.
    pub(super) fn release(&self, worker: u64) {
        let tenure = self.store.acquire(0, WorkerId(worker)).unwrap().unwrap();
        tenure.release().unwrap();
    }

    pub(super) fn advance(&self, ms: u64) {
        self.store.set_now(self.store.now().plus_ms(ms));
    }

    fn reply(&mut self) -> ReplyTo {
        self.next_number += 1;
        ReplyTo { process: PROCESS, number: self.next_number }
    }

    /// Posts commands at once, and returns their callers' numbers.
    fn post_commands(&mut self, stream: &Stream, sku: &Sku, commands: Vec<Command>) -> Vec<u64> {
        let replies: Vec<_> = commands.iter().map(|_| self.reply()).collect();
        let posted = commands.into_iter().zip(&replies).map(|(command, reply)| {
            let (sku, request_id, reply) = (sku.clone(), "r".into(), Some(*reply));
            let good_for_ms = WAIT_MS;
            Posted::Command(PostedCommand { sku, command, request_id, reply, good_for_ms })
        });
        let (entry, nonce) = self.post(stream.clone(), posted.collect());
        let numbers: Vec<_> = replies.iter().map(|reply| reply.number).collect();
        let places = (0..).map(|index| (stream.clone(), Place { entry, index }, nonce));
        self.places.extend(numbers.iter().copied().zip(places));
        numbers
    }

    fn post(&mut self, stream: Stream, posted: Vec<Posted>) -> (EntryId, u64) {
        let (routes_version, _) = self.store.routes(0);
        let groups = vec![Group { stream, depth_max: 1_000, posted }];
        let posting = self.store.post(0, Post { routes_version, groups, tickets: Vec::new() });
        match posting {
            PostReply::Posted { groups, nonce, .. } => (groups[0].unwrap(), nonce),
            PostReply::Moved { .. } => panic!("the routes are these"),
        }
    }

    /// Where the SKU's reserve commands go.
    pub(super) fn stream_of(&self, sku: &Sku) -> Stream {
        use crate::store::tenure::Route::{Joining, Open};
        match self.store.routes(0).1.get(sku) {
            Some(Joining | Open) => Stream::Hot(sku.clone()),
            _ => Stream::Normal,
        }
    }

    pub(super) fn reserve(&mut self, number: u8) -> u64 {
        self.reserve_of(&rig::sku(), number)
    }

    pub(super) fn reserve_of(&mut self, sku: &Sku, number: u8) -> u64 {
        self.post_commands(&self.stream_of(sku), sku, vec![rig::reserve(number)])[0]
    }

    /// Reserves at once: what becomes one entry.
    pub(super) fn reserve_all(&mut self, numbers: RangeInclusive<u8>) -> Vec<u64> {
        let (sku, commands) = (rig::sku(), numbers.map(rig::reserve).collect());
        self.post_commands(&self.stream_of(&sku), &sku, commands)
    }

    pub(super) fn settle(&mut self, command: Command) -> u64 {
        self.post_commands(&Stream::Settle, &rig::sku(), vec![command])[0]
    }

    pub(super) fn change_hot_item(&mut self, sku: &Sku, item: Option<HotItem>) -> u64 {
        let (reply, note) = (self.reply(), Note::default());
        self.post(Stream::Settle, vec![Posted::HotItem { sku: sku.clone(), item, note, reply }]);
        reply.number
    }

    pub(super) fn hang_up(&mut self, id: CommandId, number: u64) {
        let reply = ReplyTo { process: PROCESS, number };
        self.post(Stream::Settle, vec![Posted::HangUp { sku: rig::sku(), id, reply }]);
    }

    /// Asks for a ticket for a caller's command, which came at that time. Whether it comes in time.
    pub(super) fn ticket(&mut self, id: CommandId, number: u64, came_at: UnixMs) -> bool {
        let claim_by = came_at.plus_ms(WAIT_MS);
        let until = self.settings.ticket_until(claim_by);
        let (stream, place, nonce) = self.places[&number].clone();
        let reply = ReplyTo { process: PROCESS, number };
        let ticket = PostedTicket { sku: rig::sku(), id, until, stream, place, reply };
        let wish = TicketFor { ticket, nonce, claim_by };
        let posting = self.store.post(0, Post { tickets: vec![wish], ..Post::default() });
        matches!(posting, PostReply::Posted { tickets, .. } if tickets == [true])
    }

    /// Hears what was published.
    pub(super) fn hear(&mut self) {
        for answer in self.store.heard() {
            self.told.entry(answer.reply.number).or_default().push(answer.told);
        }
    }

    /// What a caller was told, if it was: the same each time.
    pub(super) fn outcome(&mut self, number: u64) -> Option<Outcome> {
        self.hear();
        let told = self.told.get(&number)?;
        let mut told = told.iter().filter(|told| **told != Told::Ticketed);
        let first = told.next()?;
        assert!(told.all(|again| again == first), "told {:?}", self.told[&number]);
        match first {
            Told::Outcome(outcome) => Some(outcome.clone()),
            other => panic!("no outcome: {other:?}"),
        }
    }

    /// Whether a caller was told that it has a ticket.
    pub(super) fn is_ticketed(&mut self, number: u64) -> bool {
        self.hear();
        self.told.get(&number).is_some_and(|told| told.contains(&Told::Ticketed))
    }

    pub(super) fn is_held(&mut self, number: u64) -> bool {
        matches!(self.outcome(number), Some(Outcome::Held(_)))
    }
}

/// For those who pace.
pub(super) fn pass_a_second() {
    PACE_CLOCK.with(|clock| clock.advance(Duration::from_secs(1)));
}

/// A's stock, as it is stored.
pub(super) fn row(rig: &SharedRig) -> StockRow {
    rig.store.data(0).stock(&rig::sku()).unwrap().unwrap()
}

pub(super) fn held(rig: &SharedRig) -> u64 {
    row(rig).counters.held
}

/// What ends the tenure of an owner that takes a turn.
pub(super) fn end_of(owner: &mut Owner) -> &'static str {
    match owner.turn() {
        Err(StoreError::TenureOver { reason, .. }) => reason,
        Err(_) => "lost",
        Ok(_) => "nothing",
    }
}
