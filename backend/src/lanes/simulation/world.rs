//! The engine and its customers: what happens to them, one thing after the other.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cartgate_ledger::{Command, CommandId, OnExpired, UnixMs};

use super::coverage::Coverage;
use super::history::{History, Setting};
use super::line::Event;
use super::op::{Key, Op};
use super::oracle::Oracle;
use super::registry::Registry;
use super::request::{Asked, Request};
use super::wish::{self, HOLD_MS_MAX, SKUS, Wish};
use super::{Checked, Violation};
use crate::lanes::rig::Rig;
use crate::lanes::{Answer, EnqueueError};
use crate::metrics::{command_name, outcome_name};
use crate::store::memory::Memory;

/// The time at which every history begins.
const BEGIN_MS: u64 = 10_000;

/// The engine, its customers, and who watches them.
pub(super) struct World<'a> {
    pub(super) setting: Setting,
    pub(super) rig: Rig,
    pub(super) requests: Vec<Request>,
    pub(super) registry: Registry,
    pub(super) oracle: Oracle,
    /// The ids of the reserve commands that wait, in order, by SKU.
    pub(super) lines: [Vec<CommandId>; SKUS.len()],
    pub(super) coverage: &'a mut Coverage,
    /// Whether the failure that is to come is the end of the process, at once.
    pub(super) dies: bool,
    pub(super) is_closed: bool,
    /// The commands that customers last sent under their keys.
    ids: BTreeMap<Key, CommandId>,
    made: u32,
}

/// Why answers that are not there yet will never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// They may still be.
    None,
    /// The engine was told to stop, and has.
    Stopped,
    /// The engine has failed.
    Failed,
}

impl<'a> World<'a> {
    /// Lets a history happen, from its beginning until all has come to rest. Says what is wrong, and
    /// after how many things it was.
    pub(super) fn run(
        history: &History,
        coverage: &'a mut Coverage,
    ) -> Result<(), (usize, Violation)> {
        let mut world = Self::new(history.setting, coverage);
        for (index, op) in history.ops.iter().enumerate() {
            world.happen(*op).map_err(|violation| (index, violation))?;
        }
        world.finish().map_err(|violation| (history.ops.len(), violation))?;
        let judged = std::mem::take(&mut world.oracle.coverage);
        world.coverage.add(judged);
        Ok(())
    }

    fn new(setting: Setting, coverage: &'a mut Coverage) -> Self {
        let store = Arc::new(Memory::new(setting.buckets));
        let mut rig = Rig::open(store, Arc::new(AtomicU64::new(BEGIN_MS)), setting.lanes);
        rig.owner.decider.limits = setting.limits;
        let (requests, registry, lines, ids) = Default::default();
        Self {
            setting,
            rig,
            requests,
            registry,
            oracle: Oracle::new(setting.lanes, UnixMs(BEGIN_MS)),
            lines,
            coverage,
            dies: false,
            is_closed: false,
            ids,
            made: 0,
        }
    }

    pub(super) fn now(&self) -> UnixMs {
        UnixMs(self.rig.now_ms.load(Ordering::SeqCst))
    }

    fn happen(&mut self, op: Op) -> Checked {
        self.coverage.count("op", op.name());
        match op {
            Op::Set { sku, units, expected } => {
                let version = self.oracle.books[sku].version();
                let expected_version = expected.map(|before| version.saturating_sub(before));
                self.submit(sku as Key, Command::Set { units, expected_version })
            }
            Op::Adjust { key } => {
                let adjust = Wish::of(key).adjust(self.rig.shared.buckets, self.made);
                self.submit(key, Command::Adjust(adjust))
            }
            Op::Reserve { key } => self.reserve(key, false),
            Op::ReserveOther { key } => self.reserve(key, true),
            Op::LoseRequest { .. } => Ok(()),
            Op::Confirm { key, units, reacquire } => {
                let on_expired = if reacquire { OnExpired::Reacquire } else { OnExpired::Refuse };
                let (id, quantity) = (self.id(key), units.and_then(NonZeroU32::new));
                self.submit(key, Command::Confirm { id, quantity, on_expired })
            }
            Op::Release { key } => self.submit(key, Command::Release { id: self.id(key) }),
            Op::Extend { key, ms } => {
                let (id, hold_ms_max) = (self.id(key), HOLD_MS_MAX);
                self.submit(key, Command::Extend { id, hold_ms: ms, hold_ms_max })
            }
            Op::Claim { key } => self.submit(key, Command::Claim { id: self.id(key) }),
            Op::Cancel { key, even_claimed } => self.cancel(key, even_claimed),
            Op::Hear { key } | Op::LoseResponse { key } => self.hear(key),
            Op::HearAll => self.hear_all(End::None),
            Op::HangUp { key } => self.hang_up(key),
            Op::EndWait { key } => self.end_wait(key),
            Op::Advance { ms } => self.advance(ms),
            Op::AdvanceToDue { more_ms } => {
                let due = self.oracle.next_due().map_or(0, |due| due.0 + more_ms);
                self.advance(due.saturating_sub(self.now().0 + 1))
            }
            Op::StepBack { ms } => self.step_back(ms),
            Op::Promote { sku, terms, expected } => {
                self.change_hot_item(sku, Some(terms.at(self.now())), expected)
            }
            Op::Demote { sku, expected } => self.change_hot_item(sku, None, expected),
            Op::Turn => self.turn().map(drop),
            Op::FailNextCommit { crash, dies } => {
                self.rig.store.crash_at_commit(crash);
                self.dies = dies;
                Ok(())
            }
            Op::Crash => self.crash(),
            Op::Close => {
                self.rig.shared.close();
                self.is_closed = true;
                Ok(())
            }
        }
    }

    /// The command that was last sent under a key.
    fn id(&self, key: Key) -> CommandId {
        let unsent = || Wish::of(key).id(self.rig.shared.buckets, u32::MAX);
        self.ids.get(&key).copied().unwrap_or_else(unsent)
    }

    fn reserve(&mut self, key: Key, is_other: bool) -> Checked {
        let wish = Wish::of(key);
        let id = wish.id(self.rig.shared.buckets, self.made);
        self.ids.insert(key, id);
        let reserve = wish.reserve(id, is_other && wish.is_repeatable, self.now());
        self.submit(key, Command::Reserve(reserve))
    }

    /// A cart gives a line back: the last attempt that it was told of.
    fn cancel(&mut self, key: Key, even_claimed: bool) -> Checked {
        if !Wish::of(key).is_tentative {
            return Ok(());
        }
        let id = self.id(key);
        let attempt = self.oracle.records.get(&id).map_or(1, |record| record.attempt);
        self.submit(key, Command::Cancel { id, attempt, even_claimed })
    }

    fn submit(&mut self, key: Key, command: Command) -> Checked {
        let wish = Wish::of(key);
        let sku = wish.sku;
        let record = command.id().and_then(|id| self.oracle.records.get_mut(&id));
        let promised_until =
            record.and_then(|record| record.open_taking()).and_then(|taking| taking.promised_until);
        let asked = Asked {
            number: self.made as usize,
            key,
            sku,
            command: command.clone(),
            latest: self.oracle.latest,
            promised_until,
            is_sku_known: self.oracle.books[sku].version() > 0,
        };
        self.made += 1;
        let id = asked.reserve_id();
        let waits = id.is_some_and(|id| self.lines[sku].contains(&id));
        let submitted = self.rig.submit(&wish::sku(sku), command).map(|waiter| {
            self.coverage.count_if(waits, "request", "joined one that waits");
            self.oracle.asked(&asked, wish);
            self.requests.push(Request::new(asked.clone(), waiter));
        });
        // Whether there was room or not, others who had gone may have been looked for.
        if let Some(id) = id.filter(|_| !self.is_closed) {
            let counting = self.counting();
            (0..SKUS.len()).try_for_each(|sku| self.check_line(sku, Event::Came(id), &counting))?;
        }
        match submitted {
            Ok(()) if waits => Ok(()),
            Ok(()) => self.check_room(sku, id.is_some()),
            Err(error) => self.check_refused(&asked, waits, error),
        }
    }

    /// The engine has taken no more than it has room for.
    fn check_room(&self, sku: usize, is_reserve: bool) -> Checked {
        let is_full = is_reserve && self.oracle.hold_count() >= self.setting.lanes.holds_max;
        ensure!(!is_full, "there are {} holds, and more are taken", self.oracle.hold_count());
        let name = wish::sku(sku);
        let lanes = self.rig.shared.lanes_of(&name);
        let (normal, hot) = lanes.depths(self.now());
        let own = hot.into_iter().find(|(of, _)| *of == name).map(|(_, depth)| depth);
        let depth = own.unwrap_or(normal);
        let bounds = &self.setting.lanes;
        let (count, max) = match (is_reserve, lanes.phase(&name)) {
            // While a lane is left there are two queues, each with its own bound.
            (true, Some("parking")) => (depth.reserve, 2 * bounds.reserve_queue_max),
            (true, _) => (depth.reserve, bounds.reserve_queue_max),
            (false, _) => (depth.settle, bounds.settle_queue_max),
        };
        ensure!(count <= max, "more than {max} wait: {depth:?}");
        Ok(())
    }

    fn check_refused(&mut self, asked: &Asked, waits: bool, error: EnqueueError) -> Checked {
        let lanes = &self.setting.lanes;
        let (name, is_right) = match error {
            EnqueueError::Full { depth } => match asked.reserve_id() {
                Some(_) => ("full", !waits && depth >= lanes.reserve_queue_max),
                None => ("full for settling", depth >= lanes.settle_queue_max),
            },
            EnqueueError::TooManyHolds => {
                ("too many holds", self.oracle.hold_count() >= lanes.holds_max)
            }
            EnqueueError::KeyReused => ("key reused while it waits", waits),
            EnqueueError::Stopped => ("stopped", self.is_closed),
            EnqueueError::TooManyHotItems { .. } => ("too many hot items", false),
            EnqueueError::HotItemChanged { .. } => ("a hot item of another version", false),
        };
        self.coverage.count("request", name);
        ensure!(is_right, "refused without a reason: {error:?}, {:?}", asked.command);
        Ok(())
    }

    /// The earliest answer to one of a key's requests arrives, if there is one.
    fn hear(&mut self, key: Key) -> Checked {
        for index in 0..self.requests.len() {
            if self.requests[index].asked.key == key
                && let Some(answer) = self.requests[index].poll()
            {
                let request = self.requests.remove(index);
                return self.judge(&request, answer, End::None);
            }
        }
        Ok(())
    }

    /// All answers that are there arrive. After an `end` all must be.
    pub(super) fn hear_all(&mut self, end: End) -> Checked {
        let (too_many, changed_since) = self.registry.hear(end)?;
        self.coverage.count_if(too_many > 0, "hot item", "too many");
        self.coverage.count_if(changed_since > 0, "hot item", "changed since");
        for mut request in std::mem::take(&mut self.requests) {
            match request.poll() {
                Some(answer) => self.judge(&request, answer, end)?,
                None => {
                    let asked = &request.asked;
                    ensure!(end == End::None, "waits for ever: {:?}", asked.command);
                    self.requests.push(request);
                }
            }
        }
        Ok(())
    }

    fn judge(
        &mut self,
        request: &Request,
        answer: Result<Answer, EnqueueError>,
        end: End,
    ) -> Checked {
        let asked = &request.asked;
        match answer {
            Ok(Answer::Outcome(outcome)) => {
                self.coverage.count(command_name(&asked.command), outcome_name(&outcome));
                self.oracle.heard(asked, &outcome, self.made as usize)
            }
            Ok(Answer::Ticket) => {
                self.coverage.count("reserve", "ticket");
                let at = request.ticket_asked_at.unwrap_or_default();
                self.oracle.heard_ticket(asked, at.plus_ms(self.setting.lanes.ticket_ttl_ms))
            }
            Err(_) => {
                self.coverage.count(command_name(&asked.command), "stopped");
                // What has a ticket is left for the next start, and nothing may overtake it.
                let mut line = self.lines[asked.sku].iter();
                let leaves_ticket = line.any(|id| self.oracle.ticketed.contains_key(id));
                let is_right = end == End::Failed
                    || (self.is_closed && leaves_ticket && asked.reserve_id().is_some());
                ensure!(is_right, "told for no reason to have stopped: {:?}", asked.command);
                Ok(())
            }
        }
    }

    fn hang_up(&mut self, key: Key) -> Checked {
        let Some(index) = self.requests.iter().rposition(|r| r.asked.key == key) else {
            return Ok(());
        };
        let mut request = self.requests.remove(index);
        if let Command::Claim { id } = request.asked.command {
            self.hang_up_claim(id, request.poll().is_some());
            return Ok(());
        }
        let Some(id) = request.asked.reserve_id() else { return Ok(()) };
        let moment = match (request.has_left_queue, request.ticket_asked_at) {
            (false, None) => "before the turn",
            (true, None) => "between the commit and the answer",
            (false, Some(_)) => "while a ticket is asked for, or given",
            (true, Some(_)) => "between the commit and the answer, with a ticket asked for",
        };
        self.coverage.count("hung up", moment);
        if let Some(record) = self.oracle.records.get_mut(&id) {
            record.wanted.hang_up = true;
        }
        Ok(())
    }

    fn hang_up_claim(&mut self, id: CommandId, is_decided: bool) {
        let moment = if is_decided {
            "a claim, between the commit and the answer"
        } else {
            "a claim, before its turn"
        };
        self.coverage.count("hung up", moment);
        // Its answer is lost, as on the wire.
        let taking = self.oracle.records.get_mut(&id).and_then(|record| record.open_taking());
        if let Some(taking) = taking.filter(|_| is_decided) {
            taking.is_known = true;
        }
    }

    fn end_wait(&mut self, key: Key) -> Checked {
        let now = self.now();
        let waits = |r: &Request| {
            r.asked.key == key && r.asked.reserve_id().is_some() && r.ticket_asked_at.is_none()
        };
        let Some(index) = self.requests.iter().position(waits) else { return Ok(()) };
        self.requests[index].end_wait(now);
        match self.requests[index].poll() {
            Some(answer) => {
                let request = self.requests.remove(index);
                self.judge(&request, answer, End::None)
            }
            None => Ok(()),
        }
    }

    pub(super) fn advance(&mut self, ms: u64) -> Checked {
        self.rig.advance(ms);
        self.oracle.latest = self.oracle.latest.max(self.now());
        Ok(())
    }

    fn step_back(&mut self, ms: u64) -> Checked {
        let now = self.now().0.saturating_sub(ms);
        self.rig.set_time(now);
        for request in &mut self.requests {
            request.ticket_asked_at = request.ticket_asked_at.map(|at| at.min(UnixMs(now)));
        }
        Ok(())
    }
}
