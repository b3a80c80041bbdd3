//! The owner of one bucket for as long as its tenure lasts: it alone changes the bucket's stock, one
//! turn after the other.
//!
//! A turn reads what has come into the streams, decides it as any owner does, and writes all of it
//! in one fenced commit; then it answers. Nothing here mends anything: if a step fails, whether
//! because another is owner by now or because nobody knows what was written, the tenure is over, and
//! the next one begins with what the store has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cartgate_ledger::{Command, CommandId, UnixMs};
use cartgate_policy::Sku;

use super::share::Share;
use super::window::{Change, Window};
use crate::hot_items::{Changed, former_max};
use crate::lanes::decider::{Decider, Work};
use crate::lanes::queued::Queued;
use crate::lanes::registry::{Registry, Verdict};
use crate::lanes::seen::Seen;
use crate::lanes::taken::{Room, Taken};
use crate::lanes::turn::{Decided, Deferred, note_admitted};
use crate::lanes::{EnqueueError, LaneSettings};
use crate::metrics::Metrics;
use crate::store::tenure::{Answer, Arrived, Reached, RouteChange, Tenure, Told, TurnCommit};
use crate::store::{Commit, StockRow, Store, StoreError};

/// The most entries that are read of a stream for one turn. Each is what one API process has posted
/// at once.
const ENTRIES_MAX: usize = 256;

/// How long the owner waits at most when nothing comes and nothing is due.
const WAIT_MAX: Duration = Duration::from_millis(400);

/// The owner of a bucket.
pub(in crate::lanes) struct Owner {
    tenure: Arc<dyn Tenure>,
    window: Window,
    pub(in crate::lanes) decider: Decider,
    /// Each SKU's stock as it was last committed.
    rows: HashMap<Sku, StockRow>,
    registry: Registry,
    metrics: Arc<Metrics>,
    share: Share,
    batch_max: usize,
    hot_items_max: usize,
    /// Lanes that had reserve commands in the last turn.
    busy_lanes: usize,
    /// How long the next turn may wait for something to come.
    wait: Duration,
}

impl Owner {
    /// Reads what the store has of the bucket, and says again what the owner before has decided
    /// last: it may not have come to it.
    pub(in crate::lanes) fn begin(
        tenure: Arc<dyn Tenure>,
        settings: &LaneSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        // How many replicas have them only the owner before knew.
        tenure.publish(&tenure.last_answers()?, Reached::at_least(tenure.durability()))?;
        let mut window = Window::restore(tenure.progress()?, settings);
        let loaded = tenure.load()?;
        let registry = Registry::restore(&loaded, former_max(tenure.buckets()));
        let rows = loaded.stocks.iter().cloned().collect();
        let mut decider = Decider::restore(settings, loaded.stocks, loaded.holds, loaded.refusals);
        for (sku, item) in &loaded.hot_items {
            decider.set_terms(store(&tenure), sku, Some(item))?;
            window.set_pace(sku, Some(item));
        }
        let mut share = Share::new(Arc::clone(&metrics), settings.holds_max);
        share.set(decider.stocks.hold_count(), registry.items().len());
        Ok(Self {
            tenure,
            window,
            decider,
            rows,
            registry,
            metrics,
            share,
            batch_max: settings.batch_max,
            hot_items_max: settings.hot_items_max,
            busy_lanes: 0,
            wait: Duration::ZERO,
        })
    }

    /// Reads, decides, writes, answers. Returns how many commands it has decided.
    pub(in crate::lanes) fn turn(&mut self) -> Result<usize, StoreError> {
        let now = self.read()?;
        let began = SystemTime::now();
        let mut answers = Vec::new();
        self.change_hot_items(now, &mut answers)?;
        let (batch_max, busy_lanes) = (self.batch_max, self.busy_lanes);
        let room = Room { batch_max, busy_lanes, quantum_min: self.decider.limits.quantum_min };
        let stocks = &self.decider.stocks;
        let mut taken = self.window.take(room, now, |queued| {
            queued.command.id().is_some_and(|id| stocks.has_hold(&queued.sku, id))
        });
        self.busy_lanes = taken.busy_lanes;
        self.metrics.hung_up.inc_by(taken.hung_up);
        let (mut commit, decided, deferred) = self.decide(&mut taken, now)?;
        self.end_tickets(&mut commit, &decided, now);
        let tickets = self.window.tickets.take_new();
        let has_deferred = !deferred.skus.is_empty();
        let routes = self.move_on(&taken, &decided, deferred, room.quantum(0));
        answers.extend(decided.iter().filter_map(|(queued, outcome)| {
            let reply = queued.replies.waits_elsewhere()?;
            Some(Answer { reply, told: Told::Outcome(outcome.clone()) })
        }));
        // After the outcomes: who hears one needs no ticket.
        for (replies, told) in [
            (self.window.take_ticketed(now), Told::Ticketed),
            (self.window.take_turned_away(), Told::TooManyHolds),
        ] {
            let answer = |reply| Answer { reply, told: told.clone() };
            answers.extend(replies.into_iter().map(answer));
        }
        let rows_before = self.rows_before(&commit);
        let steps = self.window.steps();
        let turn = TurnCommit { commit, rows_before, steps, routes, tickets, answers };
        let is_idle = turn == TurnCommit::default();
        let reached = if is_idle { None } else { Some(self.commit(&turn)?) };
        let (hot_items, bucket) = (self.registry.items(), self.tenure.bucket());
        if !is_idle {
            self.share.set(self.decider.stocks.hold_count(), hot_items.len());
        }
        decided.note(&self.metrics, &Seen { began, reached, hot_items, bucket_of: &|_| bucket });
        note_admitted(&decided.reserves_of(hot_items), &self.metrics, now);
        self.wait =
            if is_idle && !has_deferred { self.rest(taken.paced_ms, now) } else { Duration::ZERO };
        Ok(decided.len())
    }

    #[cfg(test)]
    pub(in crate::lanes) fn waiting(&self) -> usize {
        self.window.waiting()
    }

    /// Reads what has come, and the time.
    fn read(&mut self) -> Result<UnixMs, StoreError> {
        let wanted = self.window.wants();
        let Arrived { now, entries } = self.tenure.read(&wanted, ENTRIES_MAX, self.wait)?;
        self.window.come(wanted, entries, ENTRIES_MAX, self.share.may_hold());
        Ok(now)
    }

    /// Decides on the changes of the registry that were asked for, and says who is told what.
    fn change_hot_items(
        &mut self,
        now: UnixMs,
        answers: &mut Vec<Answer>,
    ) -> Result<(), StoreError> {
        for Change { wanted, reply } in self.window.take_changes() {
            let (sku, max) = (wanted.sku.clone(), self.hot_items_max);
            let is_full = self.registry.items().len() >= max;
            let room = if is_full { Err(EnqueueError::TooManyHotItems { max }) } else { Ok(()) };
            let verdict = self.registry.change(store(&self.tenure), wanted, now, room)?;
            if let Ok(Changed { kind: Some(_), item }) = &verdict {
                self.window.set_pace(&sku, item.as_ref());
            }
            answers.push(Answer { reply, told: told(verdict) });
        }
        Ok(())
    }

    fn decide(
        &mut self,
        taken: &mut Taken,
        now: UnixMs,
    ) -> Result<(Commit, Decided, Deferred), StoreError> {
        let (settle, reserve) =
            (std::mem::take(&mut taken.settle), std::mem::take(&mut taken.reserve));
        let (mut reservations, mut adjustments) = (Vec::new(), Vec::new());
        for queued in settle.iter().chain(&reserve) {
            let is_adjustment = matches!(queued.command, Command::Adjust(_));
            let ids = if is_adjustment { &mut adjustments } else { &mut reservations };
            ids.extend(self.recalled(queued));
        }
        self.tenure.expect(&reservations, &adjustments)?;
        let work = Work { registry: self.registry.take_changes(), settle, reserve };
        let decision = self.decider.turn(store(&self.tenure), work, now)?;
        if !decision.1.is_empty() {
            self.metrics.batch_size.observe(decision.1.len() as f64);
        }
        Ok(decision)
    }

    /// The command whose fate the store will be asked for when this one is decided.
    fn recalled(&self, queued: &Queued) -> Option<CommandId> {
        let id = queued.command.id()?;
        let is_new = matches!(&queued.command, Command::Reserve(reserve) if !reserve.repeatable);
        (!is_new && !self.decider.stocks.has_hold(&queued.sku, id)).then_some(id)
    }

    /// Tickets of what is decided in this turn end with it, and those that are for nothing any more.
    fn end_tickets(&mut self, commit: &mut Commit, decided: &Decided, now: UnixMs) {
        let decided = decided.iter().map(|(queued, _)| queued);
        commit.unticketed = decided.filter_map(|queued| self.window.end_ticket(queued)).collect();
        commit.unticketed.extend(self.window.tickets.take_void(now));
    }

    /// Notes what is decided, puts back what is not, and lets lanes open and go.
    fn move_on(
        &mut self,
        taken: &Taken,
        decided: &Decided,
        deferred: Deferred,
        quantum: usize,
    ) -> Vec<RouteChange> {
        let done = decided.iter().map(|(queued, _)| queued).chain(&taken.dropped);
        done.for_each(|queued| self.window.decided(queued));
        let handed_off = self.window.put_back(deferred, taken.handoffs.clone());
        let mut routes = self.window.hand_off(handed_off);
        self.window.reroute(self.registry.items(), quantum, &mut routes);
        routes
    }

    /// The rows that a commit rests on; from now on those that it writes count.
    fn rows_before(&mut self, commit: &Commit) -> Vec<(Sku, Option<StockRow>)> {
        let skus = commit.skus.iter();
        let rows = skus.map(|changed| {
            (changed.sku.clone(), self.rows.insert(changed.sku.clone(), changed.row))
        });
        rows.collect()
    }

    fn commit(&self, turn: &TurnCommit) -> Result<Reached, StoreError> {
        let started = Instant::now();
        let reached = self.tenure.commit_turn(turn)?;
        let entries = turn.commit.journal_entries();
        self.metrics.count_commit(started.elapsed(), reached, entries);
        if !turn.answers.is_empty() {
            self.tenure.publish(&turn.answers, reached)?;
        }
        Ok(reached)
    }

    /// How long there is nothing to do after a turn that found nothing, unless something comes.
    fn rest(&self, paced_ms: Option<u64>, now: UnixMs) -> Duration {
        let due_ms = self.decider.stocks.next_due().map(|(due, _)| due.0.saturating_sub(now.0));
        let ms = [paced_ms, due_ms].into_iter().flatten().min();
        ms.map_or(WAIT_MAX, Duration::from_millis).min(WAIT_MAX)
    }
}

/// What came of a change of the registry, for a caller in another process.
fn told(verdict: Verdict) -> Told {
    match verdict {
        Ok(changed) => Told::HotItemWritten(changed),
        Err(EnqueueError::HotItemChanged { version }) => Told::HotItemChanged(version),
        Err(_) => Told::TooManyHotItems,
    }
}

/// The tenure as the store of its bucket.
fn store(tenure: &Arc<dyn Tenure>) -> &dyn Store {
    &**tenure
}
