//! The thread that owns the buckets: it alone changes their stock, one turn after the other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cartgate_ledger::UnixMs;

use super::lane::{Commands, Lane, Taken};
use super::retention::Forgetting;
use super::stocks::Stocks;
use super::turn::{Decided, Turn};
use super::{Buckets, LaneSettings, Shared};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{Commit, Store, StoreError};

/// How long the owner sleeps at most when nothing is to be done and nobody wakes it.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The owner of all buckets, with their stock in memory.
pub(super) struct Owner {
    pub(super) shared: Arc<Shared>,
    store: Arc<dyn Store>,
    stocks: Stocks,
    forgetting: Forgetting,
    metrics: Arc<Metrics>,
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
        let loaded = store.load()?;
        let (skus, holds) = (loaded.stocks.len(), loaded.holds.len());
        let tickets = loaded.ticketed.len();
        let buckets = Buckets::new(store.buckets());
        let lanes = buckets.all().map(|_| Lane::new(settings)).collect();
        let shared = Arc::new(Shared {
            lanes,
            buckets,
            clock,
            holds_max: settings.holds_max,
            hold_count: AtomicUsize::new(holds),
            has_work: AtomicBool::new(false),
            owner: OnceLock::new(),
        });
        for ticketed in loaded.ticketed {
            shared.lane(buckets.of_sku(&ticketed.sku)).restore(ticketed);
        }
        tracing::info!(skus, holds, tickets, "store read back and verified");
        metrics.set_holds(holds);
        let stocks = Stocks::restore(loaded.stocks, loaded.holds);
        let forgetting = Forgetting::restore(settings.retention, loaded.refusals);
        let ticket_ttl_ms = settings.ticket_ttl_ms;
        Ok(Self { shared, store, stocks, forgetting, metrics, ticket_ttl_ms })
    }

    /// Takes turns until the lanes are closed and drained.
    ///
    /// # Errors
    /// The store failed. After a failed commit nobody knows what is written, so the memory goes with
    /// the owner; the process is to end, and its next start reads the store back.
    pub(super) fn run(mut self) -> Result<(), StoreError> {
        loop {
            match self.turn() {
                Ok(Next::Turn) => {}
                Ok(Next::Sleep(duration)) => std::thread::park_timeout(duration),
                Ok(Next::Stop) => return Ok(()),
                Err(error) => {
                    let cause: &dyn std::error::Error = &error;
                    tracing::error!(error = cause, "the store failed, the engine stops");
                    return Err(error);
                }
            }
        }
    }

    /// Takes what the lanes have to give, decides it, writes it, answers.
    ///
    /// The time is read before the lanes are looked at, and commands are stamped under their
    /// lane's lock. So each settle command that is stamped before `now` is in this turn or an
    /// earlier one, and is judged before anything expires at `now`: nobody who paid in time loses
    /// a hold to a queue.
    pub(super) fn turn(&mut self) -> Result<Next, StoreError> {
        // Before the lanes are looked at: what comes after that makes another turn.
        self.shared.has_work.store(false, Ordering::SeqCst);
        let now = (self.shared.clock)();
        let taken = self.take(now);
        let (mut commit, decided) = self.decide(taken.commands, now)?;
        commit.ticketed = taken.ticketed;
        commit.forgotten = self.forgetting.turn(&*self.store, &commit.ended, now)?;
        if decided.is_empty() && commit.is_empty() && taken.tickets.is_empty() {
            return Ok(self.rest(taken.paced_ms));
        }
        self.commit(&commit)?;
        decided.answer(&self.metrics);
        for ticket in taken.tickets {
            // A caller that has gone can still ask for its ticket's outcome, if it kept the key.
            let _ = ticket.send(());
        }
        Ok(Next::Turn)
    }

    fn take(&self, now: UnixMs) -> Taken {
        let ticket_until = now.plus_ms(self.ticket_ttl_ms);
        let mut all = Taken::default();
        for lane in &self.shared.lanes {
            lane.take(now, ticket_until, &mut all);
        }
        self.metrics.hung_up.inc_by(all.hung_up);
        all
    }

    fn decide(&mut self, commands: Commands, now: UnixMs) -> Result<(Commit, Decided), StoreError> {
        let mut turn = Turn::new(&*self.store, &mut self.stocks);
        for queued in commands.settle {
            let enqueued_at = queued.enqueued_at;
            turn.decide(queued, enqueued_at)?;
        }
        turn.expire(now);
        for queued in commands.reserve {
            turn.decide(queued, now)?;
        }
        let (commit, decided) = turn.finish();
        if !decided.is_empty() {
            self.metrics.batch_size.observe(decided.len() as f64);
        }
        Ok((commit, decided))
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if commit.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.store.commit(commit)?;
        self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.set_holds(self.stocks.hold_count());
        self.shared.hold_count.store(self.stocks.hold_count(), Ordering::Relaxed);
        Ok(())
    }

    /// What to do after a turn that found nothing to do.
    fn rest(&self, paced_ms: Option<u64>) -> Next {
        // Should a library have parked this thread and swallowed the wake-up, this still tells.
        if self.shared.has_work.load(Ordering::SeqCst) {
            return Next::Turn;
        }
        if self.shared.lanes.iter().all(Lane::is_drained) {
            return Next::Stop;
        }
        let now = (self.shared.clock)();
        let due_ms = self.stocks.next_due().map(|(due, _)| due.0.saturating_sub(now.0));
        let ms = [paced_ms, due_ms].into_iter().flatten().min();
        Next::Sleep(ms.map_or(SLEEP_MAX, Duration::from_millis).min(SLEEP_MAX))
    }
}
