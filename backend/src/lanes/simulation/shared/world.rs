//! Workers, API processes and customers: what happens to them, one thing after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use cartgate_ledger::{Command, CommandId, OnExpired, Outcome, Reservation, UnixMs};

use super::check::Waiting;
use super::owning::{Owned, wrong};
use super::process::{Caller, Heard, Process, Stays, cancel, posted, unheard};
use super::{Event, What};
use crate::hot_items::HotItem;
use crate::lanes::Buckets;
use crate::lanes::pacer::PACE_CLOCK;
use crate::lanes::simulation::coverage::Coverage;
use crate::lanes::simulation::history::Setting;
use crate::lanes::simulation::op::{Key, Op};
use crate::lanes::simulation::oracle::Oracle;
use crate::lanes::simulation::registry::{check_expected, is_as_asked};
use crate::lanes::simulation::wish::{self, HOLD_MS_MAX, SKUS, Wish};
use crate::lanes::simulation::{Checked, Violation};
use crate::metrics::{command_name, outcome_name};
use crate::store::memory::Crash;
use crate::store::post::{Post, PostReply, TicketFor};
use crate::store::shared_memory::{Fault, SharedMemory};
use crate::store::tenure::{Answer, Posted, PostedTicket, ReplyTo, Told};

const BEGIN_MS: u64 = 10_000;

/// The engine, its customers, and who watches them.
pub(super) struct SharedWorld<'a> {
    pub(super) setting: Setting,
    pub(super) store: Arc<SharedMemory>,
    pub(super) buckets: Buckets,
    /// What each worker believes to own.
    pub(super) workers: [Owned; 2],
    pub(super) processes: [Process; 2],
    pub(super) next_process: u64,
    pub(super) oracle: Oracle,
    pub(super) lines: [Vec<Waiting>; SKUS.len()],
    /// Hot items as they are written, and all that ever were.
    pub(super) registry: BTreeMap<usize, HotItem>,
    pub(super) registered: Vec<(usize, Option<HotItem>)>,
    /// The changes of it that were asked for, in order.
    pub(super) changes: Vec<AskedChange>,
    /// What was known when the replica had everything.
    pub(super) past: Past,
    pub(super) failovers: u64,
    pub(super) hung_up: BTreeSet<ReplyTo>,
    /// Whose commands found no room for another hold.
    pub(super) turned_away: BTreeSet<ReplyTo>,
    /// For which commands tickets were ever asked, until when, and who did.
    pub(super) wishes: BTreeMap<ReplyTo, (CommandId, UnixMs)>,
    /// Commands whose customers may never hear of them, or of what they did with their holds: their
    /// process has died, or a failover brought back what they were answered.
    pub(super) orphans: BTreeSet<CommandId>,
    pub(super) coverage: &'a mut Coverage,
    pub(super) ids: BTreeMap<Key, CommandId>,
    pub(super) made: u32,
}

/// A change of the registry that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedChange {
    pub(super) sku: usize,
    pub(super) item: Option<HotItem>,
    pub(super) expected_version: Option<u64>,
}

/// What was known at some moment.
#[derive(Clone)]
pub(super) struct Past {
    pub(super) oracle: Oracle,
    pub(super) registry: BTreeMap<usize, HotItem>,
    pub(super) lines: [Vec<Waiting>; SKUS.len()],
}

impl<'a> SharedWorld<'a> {
    pub(super) fn new(setting: Setting, coverage: &'a mut Coverage) -> Self {
        let mut oracle = Oracle::new(setting.lanes, UnixMs(BEGIN_MS));
        oracle.is_shared = true;
        let (registry, registered, ids) = Default::default();
        let lines = <[Vec<_>; SKUS.len()]>::default();
        let past = Past { oracle: oracle.clone(), registry: BTreeMap::new(), lines: lines.clone() };
        Self {
            setting,
            store: Arc::new(SharedMemory::new(setting.buckets, UnixMs(BEGIN_MS))),
            buckets: Buckets::new(setting.buckets),
            workers: Default::default(),
            processes: [1, 2].map(|id| Process::new(id, setting.buckets)),
            next_process: 3,
            past,
            oracle,
            lines,
            registry,
            registered,
            changes: Vec::new(),
            failovers: 0,
            hung_up: BTreeSet::new(),
            turned_away: BTreeSet::new(),
            wishes: BTreeMap::new(),
            orphans: BTreeSet::new(),
            coverage,
            ids,
            made: 0,
        }
    }

    pub(super) fn happen(&mut self, Event { who, what }: Event) -> Checked {
        let process = usize::from(who & 1);
        match what {
            What::Op(op) => self.happen_op(who, op),
            What::Sleep => {
                self.coverage.count("tenure", "slept");
                self.store.lapse(u16::from(who) % self.setting.buckets);
                Ok(())
            }
            What::Delay => {
                self.store.set_fault(Some(Fault::Late));
                Ok(())
            }
            What::Deliver => self.deliver(),
            What::Replicate => {
                self.store.replicate();
                let (oracle, registry) = (self.oracle.clone(), self.registry.clone());
                self.past = Past { oracle, registry, lines: self.lines.clone() };
                Ok(())
            }
            What::FailOver => {
                self.store.fail_over();
                self.written()
            }
            What::FailOverAtCommit => {
                self.store.set_fault(Some(Fault::FailOver));
                Ok(())
            }
            What::KillProcess => {
                self.coverage.count("lost", "a process");
                let new = Process::new(self.next_process, self.setting.buckets);
                let dead = std::mem::replace(&mut self.processes[process], new);
                // Also of those who claim or extend a hold.
                let ids = dead.callers.values().filter_map(|caller| caller.asked.command.id());
                self.orphans.extend(ids);
                self.next_process += 1;
                self.oracle.life += 1;
                Ok(())
            }
            What::LoseAnswers => {
                let lost = self.store.heard();
                self.coverage.count_if(!lost.is_empty(), "lost", "answers");
                Ok(())
            }
            What::ReadAnswers => self.read_answers(process),
            What::Post => self.post(process),
        }
    }

    pub(super) fn happen_op(&mut self, who: u8, op: Op) -> Checked {
        let process = usize::from(who & 1);
        match op {
            Op::Set { sku, units, expected } => {
                let version = self.oracle.books[sku].version();
                let expected_version = expected.map(|before| version.saturating_sub(before));
                self.submit(who, sku as Key, Command::Set { units, expected_version })
            }
            Op::Adjust { key } => {
                let adjust = Wish::of(key).adjust(self.buckets, self.made);
                self.submit(who, key, Command::Adjust(adjust))
            }
            Op::Reserve { key } => self.reserve(who, key, false),
            Op::ReserveOther { key } => self.reserve(who, key, true),
            Op::LoseRequest { .. } => Ok(()),
            Op::Confirm { key, units, reacquire } => {
                let on_expired = if reacquire { OnExpired::Reacquire } else { OnExpired::Refuse };
                let (id, quantity) = (self.id(key), units.and_then(NonZeroU32::new));
                self.submit(who, key, Command::Confirm { id, quantity, on_expired })
            }
            Op::Release { key } => self.submit(who, key, Command::Release { id: self.id(key) }),
            Op::Extend { key, ms } => {
                let (id, hold_ms_max) = (self.id(key), HOLD_MS_MAX);
                self.submit(who, key, Command::Extend { id, hold_ms: ms, hold_ms_max })
            }
            Op::Claim { key } => self.submit(who, key, Command::Claim { id: self.id(key) }),
            Op::Cancel { key, even_claimed } => self.cancel(who, key, even_claimed),
            Op::Hear { key } | Op::LoseResponse { key } => {
                self.listen()?;
                match self.processes[process].caller_of(key, false, |c| c.told.is_some()) {
                    Some(number) => self.judge(process, number),
                    None => Ok(()),
                }
            }
            Op::HearAll => {
                self.listen()?;
                (0..2).try_for_each(|process| self.hear_all(process))
            }
            Op::HangUp { key } => self.hang_up(process, key),
            Op::EndWait { key } => self.end_wait(process, key),
            Op::Advance { ms } => self.advance(ms),
            Op::AdvanceToDue { more_ms } => {
                let due = self.oracle.next_due().map_or(0, |due| due.0 + more_ms);
                self.advance(due.saturating_sub(self.store.now().0 + 1))
            }
            Op::StepBack { ms } => {
                self.store.set_now(UnixMs(self.store.now().0.saturating_sub(ms)));
                Ok(())
            }
            Op::Promote { sku, terms, expected } => {
                let item = Some(terms.at(self.store.now()));
                self.change_hot_item(process, sku, item, expected)
            }
            Op::Demote { sku, expected } => self.change_hot_item(process, sku, None, expected),
            Op::Turn => self.turn(process, u16::from(who >> 1) % self.setting.buckets),
            Op::FailNextCommit { crash, .. } => {
                let is_before = crash == Crash::Before;
                self.store.set_fault(Some(if is_before { Fault::Before } else { Fault::After }));
                Ok(())
            }
            Op::Crash => {
                self.workers[process].clear();
                Ok(())
            }
            Op::Close => {
                for (_, (tenure, _)) in std::mem::take(&mut self.workers[process]) {
                    self.coverage.count("tenure", "given back");
                    tenure.release().map_err(wrong)?;
                }
                Ok(())
            }
        }
    }

    pub(super) fn id(&self, key: Key) -> CommandId {
        let unsent = || Wish::of(key).id(self.buckets, u32::MAX);
        self.ids.get(&key).copied().unwrap_or_else(unsent)
    }

    pub(super) fn bucket(&self, sku: usize) -> u16 {
        self.buckets.of_sku(&wish::sku(sku))
    }

    pub(super) fn reserve(&mut self, who: u8, key: Key, is_other: bool) -> Checked {
        let wish = Wish::of(key);
        let id = wish.id(self.buckets, self.made);
        self.ids.insert(key, id);
        let reserve = wish.reserve(id, is_other && wish.is_repeatable, self.store.now());
        self.submit(who, key, Command::Reserve(reserve))
    }

    pub(super) fn cancel(&mut self, who: u8, key: Key, even_claimed: bool) -> Checked {
        if !Wish::of(key).is_tentative {
            return Ok(());
        }
        let id = self.id(key);
        let attempt = self.oracle.records.get(&id).map_or(1, |record| record.attempt);
        self.submit(who, key, Command::Cancel { id, attempt, even_claimed })
    }

    /// Everything that was published is heard.
    pub(super) fn listen(&mut self) -> Checked {
        let heard = self.store.heard();
        heard.into_iter().try_for_each(|answer| self.hear_one(answer))
    }

    pub(super) fn hear_one(&mut self, answer: Answer) -> Checked {
        let is_its = |process: &&mut Process| process.id == answer.reply.process;
        let Some(process) = self.processes.iter_mut().find(is_its) else { return Ok(()) };
        match process.hear(answer).map_err(Violation)? {
            Heard::Nothing => Ok(()),
            Heard::Ghost(sku, outcome) => self.give_back(sku, &outcome),
            Heard::LostClaim(id) => {
                self.lose_claim(id);
                Ok(())
            }
            Heard::Ticket(asked, until) => {
                self.coverage.count("reserve", "ticket");
                self.oracle.heard_ticket(&asked, until)
            }
            Heard::TooManyHolds => {
                self.coverage.count("request", "too many holds");
                Ok(())
            }
            Heard::Change(index, told) => self.hear_change(index, &told),
        }
    }

    fn hear_change(&mut self, index: usize, told: &Told) -> Checked {
        let asked = self.changes[index];
        let name = match told {
            Told::HotItemWritten(changed) => {
                let is_right = is_as_asked(changed.item, asked.item);
                ensure!(is_right, "{asked:?}, and is said to be {changed:?}");
                check_expected(asked.expected_version, changed)?;
                // Or another that came later: then that one counts.
                let mut later = self.changes[index..].iter().filter(|later| later.sku == asked.sku);
                let was_written = later.any(|later| {
                    let is_later = |(sku, item): &(usize, _)| {
                        *sku == later.sku && is_as_asked(*item, later.item)
                    };
                    self.registered.iter().any(is_later)
                });
                let is_written = was_written || changed.kind.is_none();
                ensure!(is_written, "said to be written, and is not: {asked:?}");
                if changed.kind.is_some() { "written" } else { "as it was" }
            }
            Told::HotItemChanged(version) => {
                let expected = asked.expected_version;
                let is_right = expected.is_some_and(|expected| version.unwrap_or(0) != expected);
                ensure!(is_right, "{expected:?} was expected, and {version:?} is another");
                "changed since"
            }
            _ => "too many",
        };
        self.coverage.count("hot item", name);
        Ok(())
    }

    /// A hold stays claimed for somebody who has gone.
    fn lose_claim(&mut self, id: CommandId) {
        self.coverage.count("hung up", "a claim");
        let record = self.oracle.records.get_mut(&id);
        if let Some(taking) = record.and_then(|record| record.open_taking()) {
            taking.is_known = true;
        }
    }

    /// Gives back a hold that nobody hears of. No front has its callers for as long as outcomes are
    /// kept: by then the id may be another hold's.
    pub(super) fn give_back(&mut self, sku: usize, outcome: &Outcome) -> Checked {
        let (now, kept_ms) = (self.store.now(), self.setting.lanes.retention.holds_ms);
        let is_kept = |hold: &Reservation| hold.decided_at.plus_ms(kept_ms) > now;
        let Some(command) = unheard(outcome).filter(|hold| is_kept(hold)).map(cancel) else {
            return Ok(());
        };
        self.coverage.count("hung up", "unheard of, and given back");
        self.post_settle(sku, posted(wish::sku(sku), command, None, 0))
    }

    pub(super) fn read_answers(&mut self, process: usize) -> Checked {
        for bucket in self.buckets.all() {
            let read = &mut self.processes[process].read[usize::from(bucket)];
            let (last, answers) = self.store.answers(bucket, *read);
            *read = last.max(*read);
            let id = self.processes[process].id;
            let its = answers.into_iter().filter(|answer| answer.reply.process == id);
            its.collect::<Vec<_>>().into_iter().try_for_each(|answer| self.hear_one(answer))?;
        }
        Ok(())
    }

    pub(super) fn hear_all(&mut self, process: usize) -> Checked {
        let told = self.processes[process].callers.iter().filter(|(_, c)| c.told.is_some());
        let told: Vec<_> = told.map(|(number, _)| *number).collect();
        told.into_iter().try_for_each(|number| self.judge(process, number))
    }

    /// A customer hears what its process has heard.
    pub(super) fn judge(&mut self, process: usize, number: u64) -> Checked {
        let caller = self.processes[process].callers.remove(&number);
        let Some(Caller { asked, told: Some(outcome), .. }) = caller else { return Ok(()) };
        self.coverage.count(command_name(&asked.command), outcome_name(&outcome));
        self.made += 1;
        self.oracle.heard(&asked, &outcome, self.made as usize)
    }

    pub(super) fn hang_up(&mut self, process: usize, key: Key) -> Checked {
        let Some(number) = self.processes[process].caller_of(key, true, |_| true) else {
            return Ok(());
        };
        let Some(caller) = self.processes[process].callers.get_mut(&number) else { return Ok(()) };
        let (sku, id) = (caller.asked.sku, caller.asked.reserve_id());
        caller.stays = Stays::Gone;
        let told = caller.told.take();
        if let (Command::Claim { id }, Some(_)) = (&caller.asked.command, &told) {
            let id = *id;
            self.lose_claim(id);
        }
        let Some(id) = id else { return Ok(()) };
        if let Some(record) = self.oracle.records.get_mut(&id) {
            record.wanted.hang_up = true;
        }
        if let Some(outcome) = told {
            self.processes[process].callers.remove(&number);
            return self.give_back(sku, &outcome);
        }
        self.coverage.count("hung up", "waiting");
        let reply = ReplyTo { process: self.processes[process].id, number };
        self.hung_up.insert(reply);
        self.post_settle(sku, Posted::HangUp { sku: wish::sku(sku), id, reply })
    }

    pub(super) fn end_wait(&mut self, process: usize, key: Key) -> Checked {
        let waits = |c: &Caller| c.asked.reserve_id().is_some() && c.stays == Stays::Waits;
        let Some(number) = self.processes[process].caller_of(key, false, waits) else {
            return Ok(());
        };
        let reply = ReplyTo { process: self.processes[process].id, number };
        let Some(caller) = self.processes[process].callers.get_mut(&number) else { return Ok(()) };
        if caller.told.is_some() {
            return self.judge(process, number);
        }
        let Command::Reserve(reserve) = &caller.asked.command else { return Ok(()) };
        let (id, claim_by) = (reserve.id, reserve.claim_by);
        let until = self.setting.lanes.ticket_until(claim_by);
        let (sku, stream, place) =
            (wish::sku(caller.asked.sku), caller.stream.clone(), caller.place);
        let bucket = self.buckets.of_sku(&sku);
        let ticket = PostedTicket { sku, id, until, stream, place, reply };
        let tickets = vec![TicketFor { ticket, nonce: caller.nonce, claim_by }];
        let posting = self.store.post(bucket, Post { tickets, ..Post::default() });
        if !matches!(posting, PostReply::Posted { tickets, .. } if tickets == [true]) {
            self.coverage.count("ticket", "too late");
            return Ok(());
        }
        self.coverage.count("ticket", "asked for");
        // Its owner is to say that it is good.
        caller.stays = Stays::WantsTicket(until);
        self.wishes.insert(reply, (id, until));
        self.oracle.asked_ticket(id, until);
        self.check_posted()
    }

    pub(super) fn advance(&mut self, ms: u64) -> Checked {
        let now = self.store.now().plus_ms(ms);
        self.store.set_now(now);
        PACE_CLOCK.with(|clock| clock.advance(Duration::from_millis(ms)));
        self.oracle.latest = self.oracle.latest.max(now);
        Ok(())
    }
}
