//! Applies a window: what its lines ask for, as commands.

use std::collections::VecDeque;
use std::time::Duration;

use cartgate_ledger::{Command, Outcome, Refusal};
use cartgate_policy::Sku;
use tokio::time::sleep;

use super::content::{Window, sku};
use super::ended::Ended;
use super::tries::Tries;
use super::wanted::{Read, Wanted};
use crate::engine::Engine;
use crate::http::call::Call;
use crate::http::refused::Refused;
use crate::lanes::EnqueueError;
use crate::store::{StockRow, StoreError};

/// How long to wait when all that is left found its lanes full.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How many entries of a journal are looked at together.
const ENTRIES: usize = 1_000;

/// What became of a line.
pub(super) enum Verdict {
    /// It says nothing.
    Nothing,
    Set,
    Unchanged,
    Refused(Box<Refused>),
}

/// What is to be done with a window.
pub(super) struct Plan {
    /// Of each line: at which version its SKU stood before any of this was done; 0, if it names none.
    pub(super) versions: Vec<u64>,
    steps: Vec<Step>,
}

enum Step {
    Done(Verdict),
    Set(Wanted),
}

impl Plan {
    /// Decides what needs no command. Of lines that may have been applied before, `undecided` has the
    /// versions at which their SKUs stood then.
    pub(super) async fn make(
        call: &Call,
        window: Window,
        undecided: &mut VecDeque<u64>,
        tries: &mut Tries<'_>,
    ) -> Result<Self, Ended> {
        let engine = &*call.app.engine;
        let skus: Vec<_> = window.lines.iter().filter_map(sku).collect();
        if !undecided.is_empty() {
            tries.until_done(|| until_decided(call, &skus)).await?;
        }
        let mut rows = tries.until_done(|| stocks(engine, &skus)).await?.into_iter();
        let (mut versions, mut steps) = (Vec::with_capacity(window.lines.len()), Vec::new());
        for line in window.lines {
            let row = sku(&line).and_then(|_| rows.next().flatten());
            let version = row.map_or(0, |row| row.version);
            let before = undecided.pop_front();
            versions.push(before.unwrap_or(version));
            steps.push(match line {
                Read::Nothing => Step::Done(Verdict::Nothing),
                Read::Wrong(error) => Step::refused(Refused::invalid(error)),
                Read::Wanted(wanted) if before.is_none_or(|before| before == version) => {
                    Step::of(wanted, row)
                }
                Read::Wanted(wanted) => {
                    let before = before.unwrap_or_default();
                    tries.until_done(|| Step::again(engine, &wanted, before)).await?
                }
            });
        }
        Ok(Self { versions, steps })
    }

    /// Does it. All commands are under way at once, and decided when this ends, in whatever way.
    pub(super) async fn apply(
        mut self,
        call: &Call,
        tries: &mut Tries<'_>,
    ) -> Result<Vec<Verdict>, Ended> {
        loop {
            let mut waiters = Vec::new();
            let (mut are_full, mut failed) = (false, None);
            for (place, step) in self.steps.iter().enumerate() {
                let Step::Set(Wanted { sku, units }) = step else { continue };
                let set = Command::Set { units: *units, expected_version: None };
                match call.submit(sku, set) {
                    Ok(waiter) => waiters.push((place, waiter)),
                    Err(EnqueueError::Full { .. }) => are_full = true,
                    Err(error) => failed = Some(error),
                }
            }
            let were_none = waiters.is_empty();
            for (place, waiter) in waiters {
                match waiter.outcome().await {
                    Ok(outcome) => self.decide(place, outcome),
                    Err(EnqueueError::Full { .. }) => are_full = true,
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                tries.pause_after(Ended::Engine(error)).await?;
                while let Err(error) = self.look_again(call).await {
                    tries.pause_after(error).await?;
                }
                continue;
            }
            if !are_full {
                return Ok(self.verdicts());
            }
            if were_none {
                sleep(AGAIN_AFTER).await;
            }
        }
    }

    /// Nobody knows what became of the lines that are left: finds out, once the engine decides again.
    async fn look_again(&mut self, call: &Call) -> Result<(), Ended> {
        let is_left = |(place, step): (usize, &Step)| match step {
            Step::Set(wanted) => Some((place, wanted.clone())),
            Step::Done(_) => None,
        };
        let left: Vec<_> = self.steps.iter().enumerate().filter_map(is_left).collect();
        let skus: Vec<_> = left.iter().map(|(_, wanted)| &wanted.sku).collect();
        let engine = &*call.app.engine;
        until_decided(call, &skus).await?;
        let rows = stocks(engine, &skus).await?;
        for ((place, wanted), row) in left.into_iter().zip(rows) {
            let before = self.versions[place];
            self.steps[place] = match row.map_or(0, |row| row.version) == before {
                true => Step::of(wanted, row),
                false => Step::again(engine, &wanted, before).await?,
            };
        }
        Ok(())
    }

    fn decide(&mut self, place: usize, outcome: Outcome) {
        let step = &mut self.steps[place];
        let Step::Set(wanted) = step else { return };
        *step = match outcome {
            Outcome::Stock { .. } => Step::Done(Verdict::Set),
            Outcome::Refused(refusal) => Step::refused(Refused::by_ledger(refusal, &wanted.sku)),
            // Nothing else comes of a set.
            _ => Step::refused(Refused::unavailable()),
        };
    }

    fn verdicts(self) -> Vec<Verdict> {
        let verdict = |step| match step {
            Step::Done(verdict) => verdict,
            // Everything was decided.
            Step::Set(_) => Verdict::Nothing,
        };
        self.steps.into_iter().map(verdict).collect()
    }
}

impl Step {
    fn refused(refused: Refused) -> Self {
        Self::Done(Verdict::Refused(Box::new(refused)))
    }

    fn of(wanted: Wanted, row: Option<StockRow>) -> Self {
        let is_so = row.is_some_and(|row| row.counters.total() == wanted.units);
        if is_so { Self::Done(Verdict::Unchanged) } else { Self::Set(wanted) }
    }

    /// Of a line that may have been applied when its SKU stood at `before`, and stands elsewhere now: if
    /// it had as many units at any time since, it was, or there was nothing to do then.
    async fn again(engine: &Engine, wanted: &Wanted, before: u64) -> Result<Self, Ended> {
        let mut after = before.saturating_sub(1);
        loop {
            let sku = wanted.sku.clone();
            let entries = match engine.journal(sku, after, ENTRIES).await {
                Ok((entries, _)) => entries,
                // So much has happened since that nobody knows any more.
                Err(StoreError::JournalTrimmed { first, .. }) => {
                    let refusal = Refusal::VersionDiffers { version: first };
                    return Ok(Self::refused(Refused::by_ledger(refusal, &wanted.sku)));
                }
                Err(error) => return Err(Ended::Store(error)),
            };
            if entries.iter().any(|entry| entry.after.total() == wanted.units) {
                return Ok(Self::Done(Verdict::Set));
            }
            match entries.last() {
                Some(last) => after = last.version,
                None => return Ok(Self::Set(wanted.clone())),
            }
        }
    }
}

/// Waits until all is decided that was posted for these SKUs before, perhaps by a process that died:
/// commands come to their turn in order, and these do nothing.
async fn until_decided(call: &Call, skus: &[&Sku]) -> Result<(), Ended> {
    let nothing = |sku| Command::Release { id: call.app.ids.fresh(sku) };
    let submitted = skus.iter().map(|sku| call.submit(sku, nothing(sku)));
    // All of them at once, before the first is waited for.
    for waiter in submitted.collect::<Vec<_>>() {
        waiter.map_err(Ended::Engine)?.outcome().await.map_err(Ended::Engine)?;
    }
    Ok(())
}

async fn stocks(engine: &Engine, skus: &[&Sku]) -> Result<Vec<Option<StockRow>>, Ended> {
    engine.stocks(skus).await.map_err(Ended::Store)
}
