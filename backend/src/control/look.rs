//! The loop around the leader: it reads the registry and how its items stand, and changes the registry by
//! what the leader decides.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cartgate_policy::Sku;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Control;
use super::detector::{Noticed, Source};
use crate::engine::HotState;
use crate::hot_items::{HotItem, Note, Origin, Reason};
use crate::lanes::EnqueueError;
use crate::store::StoreError;

/// How often it is said anew what each edge is to have.
const PLAN_EVERY: Duration = Duration::from_millis(50);

/// How often the registry is looked at, if nobody says that it was changed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often it is taken note of what this process was asked for.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// How often metrics are brought up to date.
const GAUGE_EVERY: Duration = Duration::from_secs(1);

/// The tasks of [`Control::start`]. Dropping it ends them.
pub struct Looking([AbortHandle; 2]);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Control {
    /// Begins to answer edges, as soon as the registry can be read, in the tokio runtime that this is
    /// called in.
    pub fn start(self: &Arc<Self>) -> Looking {
        let planning = tokio::spawn(plan(Arc::clone(self)));
        let looking = tokio::spawn(look(Arc::clone(self)));
        Looking([planning, looking].map(|task| task.abort_handle()))
    }
}

async fn plan(control: Arc<Control>) {
    let (mut ticks, mut gauged_at) = (every(PLAN_EVERY), Instant::now());
    loop {
        ticks.tick().await;
        let now_ms = control.now_ms();
        let mut leader = control.leader();
        let Some(leader) = &mut *leader else { continue };
        leader.plan(now_ms);
        if gauged_at.elapsed() >= GAUGE_EVERY {
            gauged_at = Instant::now();
            let (view, metrics) = (leader.view(), &control.metrics);
            metrics.set_fleet(view.edges, view.behind, view.version.revision);
        }
    }
}

async fn look(control: Arc<Control>) {
    let mut ticks = every(LOOK_EVERY);
    let (mut counted_at, mut is_well) = (Instant::now(), true);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = control.changed.notified() => {}
        }
        if counted_at.elapsed() >= COUNT_EVERY {
            control.take_counts(counted_at.elapsed());
            counted_at = Instant::now();
        }
        let looked = control.look().await;
        if let Err(error) = &looked
            && is_well
        {
            let error: &dyn Error = &**error;
            tracing::warn!(error, "hot items cannot be looked after");
        }
        is_well = looked.is_ok();
    }
}

impl Control {
    /// Tells the leader what this process was asked for.
    fn take_counts(&self, over: Duration) {
        let heavy = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        if let Some(leader) = &mut *self.leader() {
            leader.note(Source::Api, &heavy, over_ms, self.now_ms());
        }
    }

    async fn look(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let registry = self.engine.hot_states().await?;
        let (now, now_ms) = ((self.clock)(), self.now_ms());
        self.leader().get_or_insert_with(|| self.new_leader()).take_up(&registry, now, now_ms);
        self.end_expired(&registry).await?;
        self.ask(&registry).await?;
        self.register(&registry).await?;
        self.let_go(&registry).await
    }

    /// Takes out of the registry what has been there as long as it was to be.
    async fn end_expired(
        &self,
        registry: &BTreeMap<Sku, HotState>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let now = (self.clock)();
        let is_over = |item: HotItem| item.expires_at.is_some_and(|at| at <= now);
        for (sku, HotState { item, .. }) in registry.iter().filter(|(_, s)| is_over(s.item)) {
            let note = Note { has_expired: true, ..Self::note(*item, None) };
            if self.change(sku, None, note).await? {
                tracing::info!(%sku, "hot item expired");
                self.metrics.expired.inc();
            }
        }
        Ok(())
    }

    /// Finds out which SKUs are in stock that may be hot.
    async fn ask(&self, registry: &BTreeMap<Sku, HotState>) -> Result<(), StoreError> {
        let to_ask = match &*self.leader() {
            Some(leader) => leader.to_ask(registry, self.now_ms()),
            None => Vec::new(),
        };
        for sku in to_ask {
            let is_in_stock = self.engine.stock(&sku).await?.is_some();
            if let Some(leader) = &mut *self.leader() {
                leader.learn(&sku, is_in_stock, self.now_ms());
            }
        }
        Ok(())
    }

    /// Registers what has turned hot.
    async fn register(
        &self,
        registry: &BTreeMap<Sku, HotState>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let noticed = match &mut *self.leader() {
            Some(leader) => leader.noticed(registry, self.now_ms()),
            None => Vec::new(),
        };
        for noticed in noticed {
            let reason = noticed.to_string();
            let Noticed { sku, per_s, threshold_per_s, past_per_s } = noticed;
            let note = Note {
                origin: Origin::Detected,
                reason: Reason::new(reason).ok(),
                // If somebody has registered it meanwhile, that counts.
                expected_version: Some(0),
                has_expired: false,
            };
            if self.change(&sku, Some(self.rules.entry), note).await? {
                tracing::info!(%sku, per_s, threshold_per_s, past_per_s, "hot item detected");
                self.metrics.detected.inc();
            }
        }
        Ok(())
    }

    /// Takes out of the registry what was noticed, and is calm.
    async fn let_go(
        &self,
        registry: &BTreeMap<Sku, HotState>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let calmed = match &mut *self.leader() {
            Some(leader) => leader.calmed(registry, self.now_ms()),
            None => Vec::new(),
        };
        for calmed in calmed {
            let reason = Reason::new(calmed.to_string()).ok();
            let Some(HotState { item, .. }) = registry.get(&calmed.sku) else { continue };
            if self.change(&calmed.sku, None, Self::note(*item, reason)).await? {
                let (sku, below_per_s, for_ms) = (&calmed.sku, calmed.below_per_s, calmed.for_ms);
                tracing::info!(%sku, below_per_s, for_ms, "hot item let go");
                self.metrics.let_go.inc();
            }
        }
        Ok(())
    }

    /// What is noted of the end of an entry, if it is still that one.
    fn note(item: HotItem, reason: Option<Reason>) -> Note {
        let expected_version = Some(item.version);
        Note { origin: item.origin, reason, expected_version, has_expired: false }
    }

    /// Changes the registry. Whether that was done: what somebody else has changed meanwhile stays.
    async fn change(
        &self,
        sku: &Sku,
        item: Option<HotItem>,
        note: Note,
    ) -> Result<bool, EnqueueError> {
        let changed = self.engine.change_hot_item(sku.clone(), item, note, &Arc::default()).await;
        match changed {
            Ok(changed) => {
                self.changed();
                Ok(changed.kind.is_some())
            }
            Err(EnqueueError::HotItemChanged { .. } | EnqueueError::TooManyHotItems { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
