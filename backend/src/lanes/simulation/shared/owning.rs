//! How workers own buckets, and what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cartgate_ledger::{CommandId, UnixMs};
use cartgate_policy::Sku;

use super::check::streams;
use super::world::{Past, SharedWorld};
use crate::hot_items::HotItem;
use crate::lanes::distributed::owner::Owner;
use crate::lanes::simulation::registry::check_histories;
use crate::lanes::simulation::wish::{self};
use crate::lanes::simulation::{Checked, Violation};
use crate::metrics::Metrics;
use crate::store::shared_memory::Written;
use crate::store::tenure::{
    Answer, Posted, ReplyTo, Route, SharedStore as _, Tenure, Told, TurnCommit, WorkerId,
};
use crate::store::{Store as _, StoreError};

/// The buckets that a worker believes to own.
pub(super) type Owned = BTreeMap<u16, (Arc<dyn Tenure>, Owner)>;

impl SharedWorld<'_> {
    /// A worker takes a turn with a bucket that it believes to own, or tries to get it.
    pub(super) fn turn(&mut self, worker: usize, bucket: u16) -> Checked {
        let id = WorkerId(worker as u64);
        if let Some((tenure, owner)) = self.workers[worker].get_mut(&bucket) {
            // It may be too late for that: whoever has slept does not know.
            tenure.renew().map_err(wrong)?;
            if let Err(error) = owner.turn() {
                self.coverage.count("tenure", reason(&error));
                self.workers[worker].remove(&bucket);
            }
            return self.written();
        }
        let Some(tenure) = self.store.acquire(bucket, id).map_err(wrong)? else { return Ok(()) };
        self.coverage.count("tenure", "begun");
        let metrics = Arc::new(Metrics::default());
        let mut owner =
            Owner::begin(Arc::clone(&tenure), &self.setting.lanes, metrics).map_err(wrong)?;
        owner.decider.limits = self.setting.limits;
        self.workers[worker].insert(bucket, (tenure, owner));
        Ok(())
    }

    pub(super) fn is_owner(&self, worker: usize, bucket: u16) -> Result<bool, Violation> {
        let owner = self.workers[worker].get(&bucket);
        owner.map_or(Ok(false), |(tenure, _)| tenure.renew().map_err(wrong))
    }

    pub(super) fn deliver(&mut self) -> Checked {
        let (some, some_not) = self.store.deliver();
        self.coverage.count_if(some, "commit", "late, and written");
        self.coverage.count_if(some_not, "commit", "late, and refused");
        self.written()
    }

    /// Looks at what has been written.
    pub(super) fn written(&mut self) -> Checked {
        let written = self.store.take_written();
        let has_failed_over = self.look_for_failover();
        if written.is_empty() && !has_failed_over {
            return Ok(());
        }
        let mut ended_tickets = Vec::new();
        for Written { bucket, at, turn } in &written {
            turn.tickets.iter().for_each(|(id, _, given)| self.oracle.ticket(*id, given.until));
            self.promise_tickets(turn, *at)?;
            self.turn_away(*bucket, &turn.answers)?;
            let is_good =
                |id: &&CommandId| self.oracle.ticketed.get(id).is_some_and(|until| *until >= *at);
            let is_promised = |id: &&CommandId| self.oracle.promised.contains(id);
            ended_tickets.extend(turn.commit.unticketed.iter().filter(is_good).filter(is_promised));
            for id in &turn.commit.unticketed {
                let is_decided = turn.commit.reservations.iter().any(|(_, r)| r.id == *id);
                let name = if is_decided { "a ticket is decided" } else { "a void ticket" };
                self.coverage.count("commit", name);
            }
            self.oracle.committed(&turn.commit, *at)?;
            self.check_tickets(*bucket, turn)?;
            check_histories(&turn.commit)?;
            for (sku, item) in &turn.commit.hot_items {
                self.register(sku, *item);
            }
            for change in &turn.routes {
                self.coverage.count("route", route_name(change.route));
            }
        }
        self.check_written(&written, &ended_tickets)
    }

    /// Nobody is turned away while there is room for another hold.
    fn turn_away(&mut self, bucket: u16, answers: &[Answer]) -> Checked {
        let holds = self.oracle.hold_count_of(|sku| self.bucket(sku) == bucket);
        for answer in answers.iter().filter(|answer| answer.told == Told::TooManyHolds) {
            ensure!(holds >= self.setting.lanes.holds_max, "turned away, with {holds} holds");
            self.turned_away.insert(answer.reply);
        }
        Ok(())
    }

    fn promise_tickets(&mut self, turn: &TurnCommit, at: UnixMs) -> Checked {
        let ticketed = turn.answers.iter().filter(|answer| answer.told == Told::Ticketed);
        for (id, own) in ticketed.filter_map(|answer| self.wishes.get(&answer.reply)) {
            let wishes = self.wishes.values().filter(|(of, _)| of == id);
            let until = wishes.map(|(_, until)| *until).max();
            ensure!(
                until.is_some_and(|until| until >= at),
                "the ticket of {id} is called good at {at:?}, and was until {until:?}"
            );
            // One that ends with the turn that gives it is not written.
            if turn.commit.unticketed.contains(id) {
                let known = self.oracle.ticketed.get(id).copied().unwrap_or_default();
                self.oracle.ticket(*id, known.max(*own));
            }
            self.oracle.promise(*id);
        }
        Ok(())
    }

    /// Whoever is told that a ticket is good can ask for the outcome, before it is there and then; or
    /// is told the outcome as well. Who has hung up by then is told nothing.
    fn check_tickets(&self, bucket: u16, turn: &TurnCommit) -> Checked {
        let has_gone = |answer: &&Answer| self.hung_up.contains(&answer.reply);
        let ticketed = turn.answers.iter().filter(|answer| answer.told == Told::Ticketed);
        for good in ticketed.filter(|answer| !has_gone(answer)) {
            let Some((id, _)) = self.wishes.get(&good.reply) else { continue };
            let is_told = turn.answers.iter().any(|answer| {
                answer.reply == good.reply && matches!(answer.told, Told::Outcome(_))
            });
            // A commit that came late may have been followed by one that forgets.
            let is_written = turn.commit.reservations.iter().any(|(_, written)| written.id == *id);
            let is_kept = self.store.data(bucket).reservation(*id).map_err(wrong)?.is_some();
            let leads = is_told || is_written || is_kept || self.oracle.ticketed.contains_key(id);
            ensure!(leads, "the ticket of {id} is said to be good, and leads nowhere");
        }
        Ok(())
    }

    pub(super) fn register(&mut self, sku: &Sku, item: Option<HotItem>) {
        let sku = wish::number_of(sku);
        self.registered.push((sku, item));
        match item {
            Some(item) => drop(self.registry.insert(sku, item)),
            None => drop(self.registry.remove(&sku)),
        }
    }

    /// What the replica does not have is lost: nobody can be held to it.
    pub(super) fn look_for_failover(&mut self) -> bool {
        if std::mem::replace(&mut self.failovers, self.store.failovers()) == self.failovers {
            return false;
        }
        self.coverage.count("lost", "the end of a history");
        self.store.heard();
        let Past { oracle, registry, lines } = self.past.clone();
        self.oracle.roll_back(oracle);
        (self.registry, self.lines) = (registry, lines);
        for process in &mut self.processes {
            for caller in process.callers.values_mut() {
                caller.told = None;
                caller.asked.promised_until = None;
                caller.asked.is_sku_known = false;
            }
        }
        self.forget_the_lost();
        true
    }

    /// Callers whose commands were lost wait in vain: their processes tell them so after a while.
    pub(super) fn forget_the_lost(&mut self) {
        let replies = self.replies();
        for process in &mut self.processes {
            let is_there = |number: &u64| {
                replies.contains_key(&ReplyTo { process: process.id, number: *number })
            };
            process.callers.retain(|number, _| is_there(number));
            process.changers.retain(|number, _| is_there(number));
            process.read.fill(0);
        }
        let waits = |reply: &ReplyTo| self.processes.iter().any(|process| process.waits(*reply));
        let revived = replies.into_iter().filter(|(reply, _)| !waits(reply));
        self.orphans.extend(revived.filter_map(|(_, id)| id));
    }

    /// Whoever waits for something that is in the store, and if it is not decided, for what.
    pub(super) fn replies(&self) -> BTreeMap<ReplyTo, Option<CommandId>> {
        let mut replies = BTreeMap::new();
        for bucket in self.buckets.all() {
            for stream in streams() {
                self.store.each_undecided(bucket, &stream, |_, _, posted| match posted {
                    Posted::Command(command) => {
                        let id = command.command.id();
                        replies.extend(command.reply.map(|reply| (reply, id)));
                    }
                    Posted::HotItem { reply, .. } => drop(replies.insert(*reply, None)),
                    Posted::Handoff(_) | Posted::Ticket(_) | Posted::HangUp { .. } => {}
                });
            }
            let (_, answers) = self.store.answers(bucket, 0);
            let last = answers.into_iter().filter(|answer| answer.told != Told::Ticketed);
            replies.extend(last.map(|answer| (answer.reply, None)));
        }
        replies
    }
}

pub(super) fn wrong(error: StoreError) -> Violation {
    Violation(error.to_string())
}

fn reason(error: &StoreError) -> &'static str {
    match error {
        StoreError::TenureOver { reason, .. } => reason,
        _ => "lost",
    }
}

fn route_name(route: Option<Route>) -> &'static str {
    match route {
        Some(Route::Joining) => "joining",
        Some(Route::Open) => "open",
        Some(Route::Leaving) => "leaving",
        None => "gone",
    }
}
