//! The loop around the leader: it reads the registry and how its items stand, and changes the registry by
//! what the leader decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cartgate_policy::Sku;
use thiserror::Error;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};

use super::detector::Noticed;
use super::post::{Counts, What};
use super::{Control, together};
use crate::clock::every;
use crate::engine::HotState;
use crate::hot_items::{HotItem, Note, Origin, Reason};
use crate::lanes::EnqueueError;
use crate::store::StoreError;
use crate::trouble::Trouble;

/// How often it is said anew what each edge is to have.
const PLAN_EVERY: Duration = Duration::from_millis(50);

/// How often the registry is looked at, if nobody says that it was changed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a change of the registry is waited for: a bucket may have no owner for a while, and edges are not
/// to wait for it.
const CHANGE_WITHIN: Duration = Duration::from_millis(500);

/// How often it is taken note of what this process was asked for.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// How often metrics are brought up to date.
const GAUGE_EVERY: Duration = Duration::from_secs(1);

/// Why not all of the registry was looked after.
#[derive(Debug, Error)]
enum LookError {
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be changed.
    #[error(transparent)]
    Change(#[from] EnqueueError),
}

/// The tasks of [`Control::start`]. Dropping it ends them.
pub struct Looking(Vec<AbortHandle>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Control {
    /// Begins to answer edges, as soon as the registry can be read, or somebody else leads, in the tokio
    /// runtime that this is called in.
    pub fn start(self: &Arc<Self>) -> Looking {
        let control = || Arc::clone(self);
        let mut tasks = vec![tokio::spawn(plan(control())), tokio::spawn(look(control()))];
        if let Some(post) = &self.post {
            let post = || Arc::clone(post);
            tasks.push(tokio::spawn(together::hear_answers(post())));
            tasks.push(tokio::spawn(together::echo(control(), post())));
            if self.may_lead {
                tasks.push(tokio::spawn(together::lead(control(), post())));
                tasks.push(tokio::spawn(together::hear_asked(control(), post())));
            }
        }
        Looking(tasks.iter().map(JoinHandle::abort_handle).collect())
    }
}

async fn plan(control: Arc<Control>) {
    let (mut ticks, mut gauged_at) = (every(PLAN_EVERY), Instant::now());
    loop {
        ticks.tick().await;
        let now_ms = control.now_ms();
        control.lead(|leader| leader.plan(now_ms));
        if gauged_at.elapsed() >= GAUGE_EVERY {
            gauged_at = Instant::now();
            control.metrics.set_fleet(control.lead(|leader| leader.view()));
        }
    }
}

async fn look(control: Arc<Control>) {
    let (mut ticks, mut counted_at) = (every(LOOK_EVERY), Instant::now());
    let mut trouble = Trouble::new("hot items cannot be looked after");
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = control.changed.notified() => {}
        }
        if counted_at.elapsed() >= COUNT_EVERY {
            let counts = control.take_counts(counted_at.elapsed());
            counted_at = Instant::now();
            control.pass_on(counts).await;
        }
        trouble.tell(control.look().await);
    }
}

impl Control {
    /// Tells the leader what this process was asked for.
    async fn pass_on(&self, counts: Counts) {
        match &self.post {
            Some(post) if !self.leads() => {
                if !(counts.heavy.is_empty() && counts.reserves.is_empty()) {
                    // What does not come is missing: edges count as well.
                    let _ = post.tell(What::Counts(counts)).await;
                }
            }
            _ => drop(self.lead(|leader| self.tell(leader, What::Counts(counts)))),
        }
    }

    async fn look(&self) -> Result<(), LookError> {
        let incarnation = self.seat().incarnation(std::time::Instant::now());
        let Some(incarnation) = incarnation else { return Ok(()) };
        let registry = self.engine.hot_states().await?;
        let (now, now_ms) = ((self.clock)(), self.now_ms());
        {
            let mut seat = self.seat();
            let new = || self.new_leader(incarnation);
            let leader = seat.begin(incarnation, std::time::Instant::now(), new);
            let Some(leader) = leader else { return Ok(()) };
            leader.take_up(&registry, now, now_ms);
        }
        // What cannot be done for one item keeps no other waiting.
        let ended = self.end_expired(&registry).await;
        let asked = self.ask_stock(&registry).await;
        let registered = self.register(&registry).await;
        let let_go = self.let_go(&registry).await;
        asked?;
        Ok(ended.and(registered).and(let_go)?)
    }

    /// Takes out of the registry what has been there as long as it was to be.
    async fn end_expired(&self, registry: &BTreeMap<Sku, HotState>) -> Result<(), EnqueueError> {
        let (now, mut done) = ((self.clock)(), Ok(()));
        let is_over = |item: HotItem| item.expires_at.is_some_and(|at| at <= now);
        for (sku, HotState { item, .. }) in registry.iter().filter(|(_, s)| is_over(s.item)) {
            let note = Note { has_expired: true, ..Self::note(*item, None) };
            if is_done(self.change(sku, None, note).await, &mut done) {
                tracing::info!(%sku, "hot item expired");
                self.metrics.expired.inc();
            }
        }
        done
    }

    /// Finds out which SKUs are in stock that may be hot.
    async fn ask_stock(&self, registry: &BTreeMap<Sku, HotState>) -> Result<(), StoreError> {
        let to_ask = self.lead(|leader| leader.to_ask(registry, self.now_ms()));
        for sku in to_ask.unwrap_or_default() {
            let is_in_stock = self.engine.stock(&sku).await?.is_some();
            self.lead(|leader| leader.learn(&sku, is_in_stock, self.now_ms()));
        }
        Ok(())
    }

    /// Registers what has turned hot.
    async fn register(&self, registry: &BTreeMap<Sku, HotState>) -> Result<(), EnqueueError> {
        let mut done = Ok(());
        let noticed = self.lead(|leader| leader.noticed(registry, self.now_ms()));
        for noticed in noticed.unwrap_or_default() {
            let reason = noticed.to_string();
            let Noticed { sku, per_s, threshold_per_s, past_per_s } = noticed;
            let note = Note {
                origin: Origin::Detected,
                reason: Reason::new(reason).ok(),
                // If somebody has registered it meanwhile, that counts.
                expected_version: Some(0),
                has_expired: false,
            };
            let changed = self.change(&sku, Some(self.rules.detection.entry()), note).await;
            if is_done(changed, &mut done) {
                tracing::info!(%sku, per_s, threshold_per_s, past_per_s, "hot item detected");
                self.metrics.detected.inc();
            }
        }
        done
    }

    /// Takes out of the registry what was noticed, and is calm.
    async fn let_go(&self, registry: &BTreeMap<Sku, HotState>) -> Result<(), EnqueueError> {
        let mut done = Ok(());
        let calmed = self.lead(|leader| leader.calmed(registry, self.now_ms()));
        for calmed in calmed.unwrap_or_default() {
            let reason = Reason::new(calmed.to_string()).ok();
            let Some(HotState { item, .. }) = registry.get(&calmed.sku) else { continue };
            let changed = self.change(&calmed.sku, None, Self::note(*item, reason)).await;
            if is_done(changed, &mut done) {
                let (sku, below_per_s, for_ms) = (&calmed.sku, calmed.below_per_s, calmed.for_ms);
                tracing::info!(%sku, below_per_s, for_ms, "hot item let go");
                self.metrics.let_go.inc();
            }
        }
        done
    }

    /// What is noted of the end of an entry, if it is still that one.
    fn note(item: HotItem, reason: Option<Reason>) -> Note {
        let expected_version = Some(item.version);
        Note { origin: item.origin, reason, expected_version, has_expired: false }
    }

    /// Changes the registry. Whether that was done: what somebody else has changed meanwhile stays. What takes
    /// long may be done later, and is asked for again until then.
    async fn change(
        &self,
        sku: &Sku,
        item: Option<HotItem>,
        note: Note,
    ) -> Result<bool, EnqueueError> {
        let level = Arc::default();
        let changing = self.engine.change_hot_item(sku.clone(), item, note, &level);
        let Ok(changed) = timeout(CHANGE_WITHIN, changing).await else { return Ok(false) };
        match changed {
            Ok(changed) => {
                self.changed.notify_one();
                Ok(changed.kind.is_some())
            }
            Err(EnqueueError::HotItemChanged { .. } | EnqueueError::TooManyHotItems { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a change was done. Of those that fail the first is kept.
fn is_done(changed: Result<bool, EnqueueError>, first: &mut Result<(), EnqueueError>) -> bool {
    changed.unwrap_or_else(|error| {
        if first.is_ok() {
            *first = Err(error);
        }
        false
    })
}
