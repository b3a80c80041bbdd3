//! The engine's turns, its ends and its starts, and what is checked after each.

use std::collections::BTreeSet;
use std::sync::Arc;

use cartgate_ledger::{Cause, CommandId};

use super::line::{self, Event};
use super::wish::{self, SKUS};
use super::world::{End, World};
use super::{Checked, Violation};
use crate::hot_items::{HotItem, Note};
use crate::lanes::EnqueueError;
use crate::lanes::owner::Next;
use crate::lanes::registry::Wanted;
use crate::lanes::rig::Rig;
use crate::store::{Commit, EndedKind, Store};

/// The most turns that anything may take to come to rest.
const TURNS_MAX: usize = 10_000;

impl World<'_> {
    /// The commands that must not vanish: somebody waits for them, or they have a ticket.
    pub(super) fn counting(&self) -> BTreeSet<CommandId> {
        let waits = |request: &super::request::Request| {
            request.asked.reserve_id().filter(|id| request.waits_for(*id))
        };
        let waiting = self.requests.iter().filter_map(waits);
        waiting.chain(self.oracle.ticketed.keys().copied()).collect()
    }

    /// Looks at what waits of a SKU, and whether it may, after what was `counting` before.
    pub(super) fn check_line(
        &mut self,
        sku: usize,
        event: Event,
        counting: &BTreeSet<CommandId>,
    ) -> Checked {
        let name = wish::sku(sku);
        let after = self.rig.shared.lanes_of(&name).waiting(&name);
        let before = std::mem::take(&mut self.lines[sku]);
        line::check_line(&before, &after, event, |id| counting.contains(&id))?;
        for request in self.requests.iter_mut().filter(|request| request.asked.sku == sku) {
            let id = request.asked.reserve_id();
            request.has_left_queue |= id.is_some_and(|id| !after.contains(&id));
        }
        // What is left for the next start keeps its place.
        let is_left = |id: &CommandId| self.oracle.ticketed.contains_key(id);
        self.lines[sku] = match event {
            Event::LastTurn => {
                before.into_iter().filter(|id| after.contains(id) || is_left(id)).collect()
            }
            Event::Came(_) | Event::Turn => after,
        };
        Ok(())
    }

    /// The owner takes a turn. If that ends the engine, it is started again.
    pub(super) fn turn(&mut self) -> Result<Next, Violation> {
        let counting = self.counting();
        self.count_phases("turn");
        let next = self.rig.owner.turn();
        let commit = self.rig.store.take_written();
        if let Some(commit) = &commit {
            self.written(commit, &counting)?;
        }
        let Ok(next) = next else {
            self.coverage.count("failed", if commit.is_some() { "after" } else { "before" });
            self.fail()?;
            return Ok(Next::Turn);
        };
        let event = if self.is_closed { Event::LastTurn } else { Event::Turn };
        for sku in 0..SKUS.len() {
            let first = self.lines[sku].first().copied();
            self.check_line(sku, event, &counting)?;
            let stayed = first.is_some() && first == self.lines[sku].first().copied();
            let expired = commit.as_ref().map_or(0, |commit| expired(commit, sku));
            let is_deferred = stayed && expired >= self.setting.limits.expire_max;
            self.coverage.count_if(is_deferred, "turn", "a reservation is deferred");
        }
        self.check_registry()?;
        if next != Next::Turn {
            self.check_put_back()?;
            let on_its_way = |id| self.requests.iter().any(|r| r.asked.hears_of(id));
            self.oracle.check_rest(self.now(), on_its_way)?;
        }
        if next == Next::Stop {
            self.hear_all(End::Stopped)?;
            self.restart()?;
            return Ok(Next::Turn);
        }
        Ok(next)
    }

    fn written(&mut self, commit: &Commit, counting: &BTreeSet<CommandId>) -> Checked {
        self.oracle.committed(commit, self.now())?;
        self.registry.committed(commit)?;
        for sku in 0..SKUS.len() {
            let decided = line::decided(commit, &wish::sku(sku));
            let is_ticketed = |id| self.oracle.ticketed.contains_key(&id);
            let counts = |id| counting.contains(&id);
            line::check_decided(&decided, &self.lines[sku], counts, is_ticketed)?;
        }
        for entry in commit.skus.iter().flat_map(|changed| &changed.entries) {
            self.coverage.count("journal", cause_name(entry.cause));
        }
        for end in &commit.forgotten {
            self.coverage.count("forgotten", kind_name(end.kind));
        }
        self.coverage.count_if(!commit.superseded.is_empty(), "commit", "an end is superseded");
        self.coverage.count_if(!commit.unticketed.is_empty(), "commit", "a ticket is decided");
        Ok(())
    }

    /// The process dies. Nobody hears anything more.
    pub(super) fn crash(&mut self) -> Checked {
        self.registry.crash();
        self.restart()
    }

    /// A write has failed: the engine stops itself.
    fn fail(&mut self) -> Checked {
        if self.dies {
            return self.crash();
        }
        self.rig.shared.discard();
        self.hear_all(End::Failed)?;
        self.restart()
    }

    fn restart(&mut self) -> Checked {
        self.count_phases("restart");
        let has_tickets = !self.oracle.ticketed.is_empty();
        self.coverage.count_if(has_tickets, "restart", "with tickets");
        self.requests.clear();
        let (store, now_ms) = (Arc::clone(&self.rig.store), Arc::clone(&self.rig.now_ms));
        self.rig = Rig::open(store, now_ms, self.setting.lanes);
        self.rig.owner.decider.limits = self.setting.limits;
        self.oracle.life += 1;
        self.is_closed = false;
        for sku in 0..SKUS.len() {
            let name = wish::sku(sku);
            let after = self.rig.shared.lanes_of(&name).waiting(&name);
            self.lines[sku].retain(|id| self.oracle.ticketed.contains_key(id));
            ensure!(after == self.lines[sku], "{after:?} wait again, not {:?}", self.lines[sku]);
        }
        self.check_registry()
    }

    fn check_registry(&self) -> Checked {
        let registry = self.rig.shared.registry();
        let says = |sku| registry.get(&wish::sku(sku)).copied();
        let max = self.setting.lanes.hot_items_max;
        self.registry.check(says, max)?;
        let phases = (0..SKUS.len()).map(|sku| (sku, self.phase(sku)));
        let hot: Vec<_> = phases.filter(|(_, phase)| phase.is_some()).collect();
        ensure!(hot.len() <= max, "more than {max} lanes of hot items: {hot:?}");
        // The mark is on its way, behind nothing but what waited when it set out.
        let stays = hot.iter().find(|(sku, phase)| says(*sku).is_none() && *phase == Some("open"));
        ensure!(stays.is_none(), "a lane that nobody wants is not being left: {stays:?}");
        Ok(())
    }

    /// What had its turn, and was put back for another, waits for nothing but that one: the owner
    /// does not rest before.
    fn check_put_back(&self) -> Checked {
        for sku in 0..SKUS.len() {
            let name = wish::sku(sku);
            let waits = self.rig.shared.lanes_of(&name).has_put_back(&name);
            ensure!(!waits, "the owner rests, and what it has put back waits: {name}");
        }
        Ok(())
    }

    fn phase(&self, sku: usize) -> Option<&'static str> {
        let name = wish::sku(sku);
        self.rig.shared.lanes_of(&name).phase(&name)
    }

    /// Asks for a change of a SKU's entry; with `expected`, of the one so many versions before the last.
    pub(super) fn change_hot_item(
        &mut self,
        sku: usize,
        item: Option<HotItem>,
        expected: Option<u64>,
    ) -> Checked {
        let version = self.registry.version(sku);
        let expected_version = expected.map(|before| version.saturating_sub(before));
        let note = Note { expected_version, ..Note::default() };
        match self.rig.shared.change_hot_item(Wanted { sku: wish::sku(sku), item, note }) {
            Ok(verdict) => {
                self.registry.asked(sku, item, expected_version, verdict);
                Ok(())
            }
            Err(EnqueueError::Stopped) if self.is_closed => Ok(()),
            Err(error) => Err(Violation(format!("refused without a reason: {error}"))),
        }
    }

    fn count_phases(&mut self, moment: &'static str) {
        for sku in 0..SKUS.len() {
            if let Some(phase) = self.phase(sku) {
                self.coverage.count(moment, phase);
            }
        }
    }

    /// Everything comes to rest: everybody has an answer, and in the end nothing is left.
    pub(super) fn finish(&mut self) -> Checked {
        self.rig.store.calm();
        self.rest()?;
        self.hear_all(End::None)?;
        ensure!(self.requests.is_empty(), "{} wait for ever", self.requests.len());
        // Whatever is kept for a while is not kept for long.
        for _ in 0..4 {
            self.advance(self.setting.lanes.retention.holds_ms + 1_000)?;
            self.rest()?;
        }
        self.oracle.check_end()?;
        for kind in [EndedKind::Refusal, EndedKind::Hold, EndedKind::Adjustment] {
            let ended = self.rig.store.ended(kind, Default::default(), self.now(), 1);
            let ended = ended.map_err(|error| Violation(error.to_string()))?;
            ensure!(ended.is_empty(), "kept for ever: {ended:?}");
        }
        Ok(())
    }

    /// Turns, and time between them, until nothing waits and nothing is held.
    fn rest(&mut self) -> Checked {
        for _ in 0..TURNS_MAX {
            let is_closed = self.is_closed;
            if let Next::Sleep(sleep) = self.turn()? {
                let waits = is_closed || self.lines.iter().any(|line| !line.is_empty());
                if !waits && self.oracle.hold_count() == 0 {
                    return Ok(());
                }
                self.advance(u64::try_from(sleep.as_millis()).unwrap_or(1).max(1))?;
            }
        }
        Err(Violation(format!("no rest after {TURNS_MAX} turns")))
    }
}

fn expired(commit: &Commit, sku: usize) -> usize {
    let entries = commit.skus.iter().filter(|changed| changed.sku.as_str() == SKUS[sku]);
    entries.flat_map(|changed| &changed.entries).filter(|e| e.cause == Cause::Expire).count()
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Set => "set",
        Cause::Reserve => "reserve",
        Cause::Confirm => "confirm",
        Cause::Release => "release",
        Cause::Expire => "expire",
        Cause::Adjust => "adjust",
        Cause::Cancel => "cancel",
    }
}

fn kind_name(kind: EndedKind) -> &'static str {
    match kind {
        EndedKind::Refusal => "refusal",
        EndedKind::Hold => "hold",
        EndedKind::Adjustment => "adjustment",
    }
}
