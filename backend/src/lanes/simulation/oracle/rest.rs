//! What must be so when nothing happens any more.

use cartgate_ledger::{Claim, CommandId, UnixMs};

use super::Oracle;
use crate::lanes::simulation::Checked;

impl Oracle {
    /// Nothing is left to do at `now`: no hold is due, and each is known to somebody or will go back
    /// soon. `is_on_its_way`: somebody may yet hear of a command.
    pub(in super::super) fn check_rest(
        &self,
        now: UnixMs,
        is_on_its_way: impl Fn(CommandId) -> bool,
    ) -> Checked {
        for record in self.records.values() {
            let (Some(hold), Some(taking)) = (record.held(), record.takings.last()) else {
                continue;
            };
            ensure!(hold.due_at().is_some_and(|due| due > now), "due at rest: {hold:?}");
            let is_known = taking.is_known || is_on_its_way(hold.id);
            // Who was told in an earlier life of the engine, nobody can know.
            let is_excused = is_known || taking.life < self.life;
            let is_right = match hold.claim {
                Claim::Awaited => is_excused,
                Claim::Claimed => {
                    // On a shared store either may have come before the hold was taken.
                    let is_asked_for = record.times > 1 || record.wanted.extend;
                    is_excused || taking.was_repeated || (self.is_shared && is_asked_for)
                }
                Claim::Unclaimed { until } => {
                    until <= self.latest.plus_ms(self.settings.unclaimed_ms)
                }
                Claim::Forgone => false,
            };
            ensure!(is_right, "nobody knows of {hold:?}");
        }
        Ok(())
    }

    /// So much time has passed that nothing is left.
    pub(in super::super) fn check_end(&self) -> Checked {
        let kept = self.records.values().find_map(|record| record.stands.as_ref());
        ensure!(kept.is_none(), "kept for ever: {kept:?}");
        let kept = self.adjustments.values().find_map(|record| record.stands.as_ref());
        ensure!(kept.is_none(), "kept for ever: {kept:?}");
        ensure!(self.ticketed.is_empty(), "tickets for ever: {:?}", self.ticketed);
        Ok(())
    }
}
