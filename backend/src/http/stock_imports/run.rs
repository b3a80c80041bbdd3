//! An import, from its first line to its last.
//!
//! ```text
//! Content::window ─> Plan::make ─> Records::put ─> Plan::apply ─> Results::send ─┐
//!        ^            where SKUs     the window     commands, and    waits for   │
//!        │            stand          begins         their outcomes   the client  │
//!        └── the next one is read while this one is applied <────────────────────┘
//! ```

use std::collections::VecDeque;

use tracing::Instrument as _;

use super::apply::Plan;
use super::content::{Content, Window};
use super::ended::Ended;
use super::results::Results;
use super::seats::Taken;
use super::tries::{Tries, unless_over};
use crate::http::call::Call;
use crate::http::refused::Refused;
use crate::metrics::Metrics;
use crate::store::imports::{ContentDigest, Counts, Record, RunId};

/// An import that is under way.
pub(super) struct Import {
    call: Call,
    seat: Taken,
    run: RunId,
    digest: Option<ContentDigest>,
    content: Content,
    results: Results,
    /// How far it is.
    record: Record,
    /// Of the lines from here on that may have been applied before: at which version their SKUs stood.
    undecided: VecDeque<u64>,
    /// Whether what is stored of it is not less than what is here.
    is_noted: bool,
}

impl Import {
    pub(super) fn new(
        call: Call,
        seat: Taken,
        digest: Option<ContentDigest>,
        content: Content,
        results: Results,
    ) -> Self {
        let (run, record, undecided) =
            (RunId(crate::random::bytes()), <_>::default(), <_>::default());
        Self { call, seat, run, digest, content, results, record, undecided, is_noted: true }
    }

    /// Runs it in a task of its own: what is under way when its client goes is decided first.
    pub(super) fn start(mut self) {
        let run = async move {
            let ended = self.run().await.err();
            self.end(ended).await;
        };
        tokio::spawn(run.in_current_span());
    }

    async fn run(&mut self) -> Result<(), Ended> {
        self.resume().await?;
        self.results.send().await?;
        let mut next = unless_over(&self.seat, &self.call.app, self.content.window()).await?;
        while let Some(window) = next {
            next = self.apply(window).await?;
            unless_over(&self.seat, &self.call.app, self.results.send()).await?;
        }
        let is_as_said = self.digest.is_none_or(|digest| digest == self.content.digest());
        if is_as_said { Ok(()) } else { Err(Ended::Digest) }
    }

    /// Goes on where an earlier request has ended.
    async fn resume(&mut self) -> Result<(), Ended> {
        let Some(digest) = self.digest else { return Ok(()) };
        let records = &self.call.app.import_records;
        let record = records.get(digest).await.map_err(Ended::Store)?.unwrap_or_default();
        let lines = record.lines;
        if lines > 0 {
            let prefix = unless_over(&self.seat, &self.call.app, self.content.skip(lines)).await?;
            if prefix != record.prefix {
                return Err(Ended::OtherContent { lines });
            }
            self.results.resumed(lines, record.counts, &record.refusals);
        }
        records.take(digest, self.run, &record).await.map_err(Ended::Store)?;
        self.undecided = record.window.iter().copied().collect();
        self.record = record;
        Ok(())
    }

    /// Applies a window, and reads the next one meanwhile.
    async fn apply(&mut self, window: Window) -> Result<Option<Window>, Ended> {
        let (first, prefix) = (window.first, window.prefix);
        let mut tries = Tries::new(&self.call.app, &self.seat);
        let plan = Plan::make(&self.call, window, &mut self.undecided, &mut tries).await?;
        self.record.window = plan.versions.iter().chain(&self.undecided).copied().collect();
        self.note().await?;
        let mut tries = Tries::new(&self.call.app, &self.seat);
        let apply = plan.apply(&self.call, &mut tries);
        let read = unless_over(&self.seat, &self.call.app, self.content.window());
        let (verdicts, next) = tokio::join!(apply, read);
        let (record, verdicts) = (&mut self.record, verdicts?);
        let before = record.counts;
        self.results.decided(first, &verdicts, &mut record.counts, &mut record.refusals);
        count(&self.call.app.metrics, before, record.counts);
        record.lines = first + verdicts.len() as u64 - 1;
        record.prefix = prefix;
        record.window = self.undecided.iter().copied().collect();
        self.is_noted = false;
        next
    }

    /// Writes down how far it is.
    async fn note(&mut self) -> Result<(), Ended> {
        let Some(digest) = self.digest else { return Ok(()) };
        let records = &self.call.app.import_records;
        // Only the last run writes, however often it does.
        let (run, record) = (self.run, &self.record);
        let put = || async move { records.put(digest, run, record).await.map_err(Ended::Store) };
        self.is_noted = Tries::new(&self.call.app, &self.seat).until_done(put).await?;
        if self.is_noted { Ok(()) } else { Err(Ended::TakenOver) }
    }

    async fn end(mut self, ended: Option<Ended>) {
        let noted = match (&ended, self.digest) {
            // What is remembered is of something else than what its name says.
            (Some(Ended::Digest), Some(digest)) => {
                let forgotten = self.call.app.import_records.forget(digest, self.run).await;
                forgotten.map_err(Ended::Store)
            }
            _ if self.is_noted => Ok(()),
            _ => self.note().await,
        };
        let ended = ended.or(noted.err());
        let (lines, counts) = (self.record.lines, self.record.counts);
        let why = ended.as_ref().map(tracing::field::display);
        tracing::info!(lines, ?counts, why, "stock import ended");
        let problem = ended.map(|ended| Refused::from(ended).0);
        self.results.end(lines, counts, problem.as_ref());
        // If nobody is there, nobody hears of it.
        let _ = self.results.send().await;
    }
}

fn count(metrics: &Metrics, before: Counts, now: Counts) {
    metrics.count_import_lines("set", now.set - before.set);
    metrics.count_import_lines("unchanged", now.unchanged - before.unchanged);
    metrics.count_import_lines("refused", now.refused - before.refused);
}
