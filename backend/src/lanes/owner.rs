//! The owner of the buckets: it alone changes their stock, one turn after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use tokio::runtime::Handle;

use super::decider::{Decider, Work};
use super::registry::{Registry, RegistryChanges};
use super::reserve_queue::Place;
use super::seen::Seen;
use super::shared::Shared;
use super::taken::{Change, Room, Taken};
use super::turn::{Decided, Deferred, note_admitted};
use super::{Buckets, LaneSettings};
use crate::clock::Clock;
use crate::hot_items::{Changed, HotItem, former_max};
use crate::metrics::Metrics;
use crate::store::tenure::Reached;
use crate::store::{Commit, Store, StoreError};

/// How long the owner sleeps at most when nothing is to be done and nobody wakes it.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// From so many answers on, somebody else gives them.
const ANSWER_THERE_MIN: usize = 4;

/// A turn that takes longer is no light one.
const LIGHT_MAX: Duration = Duration::from_millis(1);

/// The owner of all buckets, with their stock in memory.
pub(super) struct Owner {
    pub(super) shared: Arc<Shared>,
    store: Arc<dyn Store>,
    pub(super) decider: Decider,
    registry: Registry,
    metrics: Arc<Metrics>,
    /// Where callers wait; `None`: nowhere in particular.
    pub(super) callers: Option<Handle>,
    batch_max: usize,
    /// Lanes that had reserve commands in the last turn.
    busy_lanes: usize,
    /// Lanes of hot items, those included that are about to go.
    hot_lanes: usize,
    /// Whether the last turn that decided anything was a light one: few answers, a quick commit.
    pub(super) was_light: bool,
    ticket_ttl_ms: u64,
}

/// What comes after a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another turn, at once.
    Turn,
    /// Nothing until somebody wakes the owner, or this much time has passed.
    Sleep(Duration),
    /// Nothing any more: the lanes are closed and drained.
    Stop,
}

impl Owner {
    /// An owner with the memory that the store holds, and lanes with the commands that tickets
    /// were given for.
    pub(super) fn restore(
        store: Arc<dyn Store>,
        settings: &LaneSettings,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let started = Instant::now();
        let loaded = store.load()?;
        let (skus, holds) = (loaded.stocks.len(), loaded.holds.len());
        let (tickets, hot_items) = (loaded.ticketed.len(), loaded.hot_items.len());
        let buckets = Buckets::new(store.buckets());
        let shared = Arc::new(Shared::new(buckets, settings, clock));
        shared.hold_count.store(holds, Ordering::Relaxed);
        let mut owner = Self {
            shared: Arc::clone(&shared),
            registry: Registry::restore(&loaded, former_max(1)),
            decider: Decider::restore(settings, loaded.stocks, loaded.holds, loaded.refusals),
            store,
            metrics,
            callers: None,
            batch_max: settings.batch_max,
            busy_lanes: 0,
            hot_lanes: hot_items,
            was_light: false,
            ticket_ttl_ms: settings.ticket_ttl_ms,
        };
        for (sku, item) in loaded.hot_items {
            owner.decider.set_terms(&*owner.store, &sku, Some(&item))?;
            shared.lanes_of(&sku).restore_hot_item(sku.clone(), &item);
            shared.board.restore(&sku, &owner.decider.stocks);
            shared.registry_mut().insert(sku, item);
        }
        owner.metrics.set_hot_items(hot_items);
        for ticketed in loaded.ticketed {
            shared.lanes_of(&ticketed.sku.clone()).restore(ticketed);
        }
        let ms = started.elapsed().as_millis();
        tracing::info!(skus, holds, tickets, hot_items, ms, "store read back and verified");
        owner.metrics.set_holds(holds);
        Ok(owner)
    }

    /// Takes what the lanes have to give, decides it, writes it, answers.
    ///
    /// The time is read before the lanes are looked at, and commands are stamped under their
    /// lane's lock. So each settle command that is stamped before `now` is in this turn or an
    /// earlier one, and is judged before anything expires at `now`: nobody who paid in time loses
    /// a hold to a queue.
    pub(super) fn turn(&mut self) -> Result<Next, StoreError> {
        self.shared.idle.look();
        let now = (self.shared.clock)();
        let mut taken = self.take(now)?;
        let began = SystemTime::now();
        let registry = self.registry.take_changes();
        let (mut commit, decided, deferred) = self.decide(&mut taken, registry, now)?;
        commit.ticketed = std::mem::take(&mut taken.ticketed);
        let is_idle = decided.is_empty() && commit.is_empty() && taken.is_idle();
        // Whether it leaves nothing to do, but for what is paced; else another turn finds out what.
        let is_all = taken.is_idle() && deferred.is_empty() && commit.forgotten.is_empty();
        let unfound = std::mem::take(&mut taken.unfound);
        for request in unfound.into_iter().filter(|r| deferred.skus.contains(&r.sku)) {
            // Its command was taken, and is about to be put back.
            self.shared.lanes_of(&request.sku.clone()).ask_ticket(request);
        }
        let handoffs = self.put_back(deferred, std::mem::take(&mut taken.handoffs));
        if is_idle {
            return Ok(self.rest(taken.paced_ms));
        }
        let took = self.commit(&commit)?;
        if !decided.is_empty() {
            // With a lane that is paced there is always somebody to be woken for: its next command.
            let is_paced = taken.paced_ms.is_some();
            self.was_light = decided.len() < ANSWER_THERE_MIN && took < LIGHT_MAX && !is_paced;
        }
        // What is behind the marks goes on, now that all before them is durable.
        let has_gone = |sku: &&Sku| self.shared.lanes_of(sku).hand_off(sku);
        self.hot_lanes -= handoffs.iter().filter(has_gone).count();
        let (hot_items, stocks) = (self.registry.items(), &self.decider.stocks);
        let reserves = decided.reserves_of(hot_items);
        self.shared.board.note(hot_items, &commit, &reserves, stocks);
        self.register(&commit.hot_items);
        note_admitted(&reserves, &self.metrics, now);
        let seen = Seen {
            began,
            reached: (!commit.is_empty()).then(|| Reached::at_least(self.store.durability())),
            hot_items,
            bucket_of: &|sku| self.shared.buckets.of_sku(sku),
        };
        decided.note(&self.metrics, &seen);
        self.answer(decided);
        // Counted from before the commit.
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let paced_ms = taken.paced_ms.map(|ms| ms.saturating_sub(took_ms));
        taken.tell_written();
        Ok(if is_all { self.rest(paced_ms) } else { Next::Turn })
    }

    /// Answers callers. Many of them are answered by a thread of theirs: to wake a task costs a
    /// lock and perhaps a system call from here, and next to nothing from there. When the lanes are
    /// closed nobody would come for what is given back there.
    fn answer(&self, decided: Decided) {
        let are_many = decided.len() >= ANSWER_THERE_MIN && !self.shared.is_closed();
        match &self.callers {
            Some(callers) if are_many => {
                let shared = Arc::clone(&self.shared);
                drop(callers.spawn(async move { decided.answer(&shared) }));
            }
            _ => decided.answer(&self.shared),
        }
    }

    /// Takes from every lane its share of a turn.
    fn take(&mut self, now: UnixMs) -> Result<Taken, StoreError> {
        let ticket_until = now.plus_ms(self.ticket_ttl_ms);
        let (batch_max, busy_lanes) = (self.batch_max, self.busy_lanes);
        let room = Room { batch_max, busy_lanes, quantum_min: self.decider.limits.quantum_min };
        let mut taken = Taken { hot_lanes: self.hot_lanes, ..Taken::new(room) };
        let shared = Arc::clone(&self.shared);
        for mut lanes in shared.each_lanes() {
            let changes = lanes.take_changes();
            if let Some(sku) = changes.first().map(|change| change.wanted.sku.clone()) {
                // A look into the store keeps nobody waiting who puts something into these lanes.
                drop(lanes);
                for change in changes {
                    self.change_hot_item(change, now, &mut taken)?;
                }
                lanes = shared.lanes_of(&sku);
            }
            lanes.take(now, ticket_until, &mut taken);
        }
        self.busy_lanes = taken.busy_lanes;
        self.hot_lanes = taken.hot_lanes;
        self.metrics.hung_up.inc_by(taken.hung_up);
        Ok(taken)
    }

    /// Decides on a change of the registry, and has the SKU's lane follow.
    fn change_hot_item(
        &mut self,
        Change { wanted, reply }: Change,
        now: UnixMs,
        taken: &mut Taken,
    ) -> Result<(), StoreError> {
        let sku = wanted.sku.clone();
        let room = self.shared.lanes_of(&sku).room_for(&sku, taken.hot_lanes);
        let verdict = self.registry.change(&*self.store, wanted, now, room)?;
        if let Ok(Changed { kind: Some(_), item }) = &verdict {
            let is_more = self.shared.lanes_of(&sku).set_hot_item(&sku, item.as_ref());
            taken.hot_lanes += usize::from(is_more);
        }
        taken.verdicts.push((reply, verdict));
        Ok(())
    }

    fn decide(
        &mut self,
        taken: &mut Taken,
        registry: RegistryChanges,
        now: UnixMs,
    ) -> Result<(Commit, Decided, Deferred), StoreError> {
        let work = Work {
            registry,
            settle: std::mem::take(&mut taken.settle),
            reserve: std::mem::take(&mut taken.reserve),
        };
        let (commit, decided, deferred) = self.decider.turn(&*self.store, work, now)?;
        if !decided.is_empty() {
            self.metrics.batch_size.observe(decided.len() as f64);
        }
        Ok((commit, decided, deferred))
    }

    /// Puts back what is to come again, in order. Returns the HANDOFFs that need not wait for it.
    fn put_back(&self, deferred: Deferred, handoffs: Vec<Sku>) -> Vec<Sku> {
        let (waiting, ready): (Vec<_>, Vec<_>) =
            handoffs.into_iter().partition(|sku| deferred.skus.contains(sku));
        let marks = waiting.into_iter().map(Place::Handoff);
        let places: Vec<_> =
            deferred.reserve.into_iter().map(Place::Command).chain(marks).collect();
        for place in places.into_iter().rev() {
            self.shared.lanes_of(&place.sku().clone()).put_back(place);
        }
        for queued in deferred.settle.into_iter().rev() {
            self.shared.lanes_of(&queued.sku.clone()).put_back_settle(queued);
        }
        ready
    }

    fn register(&self, changes: &[(Sku, Option<HotItem>)]) {
        if changes.is_empty() {
            return;
        }
        let mut registry = self.shared.registry_mut();
        for (sku, item) in changes {
            match item {
                Some(item) => registry.insert(sku.clone(), *item),
                None => registry.remove(sku),
            };
        }
        self.metrics.set_hot_items(registry.len());
    }

    /// Writes, and says how long it took.
    fn commit(&self, commit: &Commit) -> Result<Duration, StoreError> {
        if commit.is_empty() {
            return Ok(Duration::ZERO);
        }
        let started = Instant::now();
        self.store.commit(commit)?;
        let took = started.elapsed();
        let entries = commit.journal_entries();
        self.metrics.count_commit(took, Reached::at_least(self.store.durability()), entries);
        self.metrics.set_holds(self.decider.stocks.hold_count());
        self.shared.hold_count.store(self.decider.stocks.hold_count(), Ordering::Relaxed);
        Ok(took)
    }

    /// What to do after a turn that leaves nothing to do, but for what is paced.
    fn rest(&self, paced_ms: Option<u64>) -> Next {
        // Should a library have parked this thread and swallowed the wake-up, this still tells.
        if self.shared.idle.has_work() {
            return Next::Turn;
        }
        let now = (self.shared.clock)();
        let due_ms = self.decider.stocks.next_due().map(|(due, _)| due.0.saturating_sub(now.0));
        match [paced_ms, due_ms].into_iter().flatten().min() {
            // What a sweep, or a share that was used up, has left; or the commit took that long.
            Some(0) => Next::Turn,
            _ if self.shared.each_lanes().all(|lanes| lanes.is_drained()) => Next::Stop,
            ms => Next::Sleep(ms.map_or(SLEEP_MAX, Duration::from_millis).min(SLEEP_MAX)),
        }
    }
}
