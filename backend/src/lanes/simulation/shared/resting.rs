//! How everything comes to rest.

use super::process::Stays;
use super::world::SharedWorld;
use crate::lanes::simulation::{Checked, Violation};

/// The most rounds that anything may take to come to rest.
const ROUNDS_MAX: usize = 3_000;

impl SharedWorld<'_> {
    /// Everything comes to rest: everybody has an answer, and in the end nothing is left.
    pub(super) fn finish(&mut self) -> Checked {
        self.store.set_fault(None);
        self.deliver()?;
        (0..2).try_for_each(|process| self.post(process))?;
        self.rest()?;
        for process in &self.processes {
            let waits = process.callers.values().find(|caller| caller.stays != Stays::Gone);
            ensure!(waits.is_none(), "waits for ever: {:?}", waits.map(|c| &c.asked.command));
            ensure!(process.changers.is_empty(), "a change of a hot item waits for ever");
        }
        self.check_rest()?;
        for _ in 0..4 {
            self.advance(self.setting.lanes.retention.holds_ms + 1_000)?;
            self.rest()?;
        }
        self.oracle.check_end()?;
        let judged = std::mem::take(&mut self.oracle.coverage);
        self.coverage.add(judged);
        Ok(())
    }

    /// Rounds of turns, and time between them, until nothing waits and nothing is held.
    pub(super) fn rest(&mut self) -> Checked {
        for _ in 0..ROUNDS_MAX {
            // First, so that what is posted by those who hear of it is decided in this round.
            self.listen()?;
            for process in 0..2 {
                self.read_answers(process)?;
                self.hear_all(process)?;
            }
            let mut is_idle = true;
            for bucket in self.buckets.all() {
                if !self.is_owner(0, bucket)? {
                    // The first worker is the one that is awake.
                    self.workers[0].remove(&bucket);
                    self.store.lapse(bucket);
                    is_idle = false;
                }
                let commits = self.store.commits(bucket);
                self.turn(0, bucket)?;
                is_idle &= commits == self.store.commits(bucket);
                is_idle &= self.workers[0].contains_key(&bucket);
            }
            if is_idle {
                let expects = |id| {
                    let mut processes = self.processes.iter();
                    self.orphans.contains(&id) || processes.any(|process| process.expects(id))
                };
                self.oracle.check_rest(self.store.now(), expects)?;
                let waits = self.lines.iter().any(|line| !line.is_empty());
                if !waits && self.oracle.hold_count() == 0 {
                    return Ok(());
                }
                self.advance(50)?;
            }
        }
        Err(Violation(format!("no rest after {ROUNDS_MAX} rounds")))
    }
}
