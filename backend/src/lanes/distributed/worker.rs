//! A worker process: it owns some of the buckets, a thread for each, and looks after its share.
//!
//! ```text
//! supervisor   every 0.4 s: reports, works out its plan, acquires, asks owners to give back
//! owner        one for each bucket: turns, until asked to stop, or something fails; gives back
//! keeper       one for each bucket: renews the lease every 0.4 s, also while the owner reads
//! ```
//!
//! An owner that has failed is no reason to stop: its bucket is free again, and whoever takes it
//! begins with what the store has.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::assignment::Assignment;
use super::owner::Owner;
use crate::lanes::LaneSettings;
use crate::metrics::Metrics;
use crate::random;
use crate::store::StoreError;
use crate::store::tenure::{SharedStore, Tenure, WorkerId, WorkerReport};
use crate::trouble::Trouble;

/// How often leases are renewed and shares are looked after: a lease may be missed three times.
const EVERY: Duration = Duration::from_millis(400);

/// The worker of this process. Dropping it gives its buckets back, and waits until that is done.
pub struct Worker {
    stop: Arc<Bell>,
    supervisor: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts to own buckets of `store`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        store: Arc<dyn SharedStore>,
        settings: LaneSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, std::io::Error> {
        let id = WorkerId(u64::from_be_bytes(random::bytes()));
        let stop = Arc::new(Bell::default());
        let supervisor = Supervisor {
            id,
            assignment: Assignment::new(id, store.buckets()),
            reports: Vec::new(),
            store,
            settings,
            metrics,
            holdings: BTreeMap::new(),
            looked_at: Instant::now(),
            trouble: Trouble::new("not all of the store can be reached"),
        };
        let bell = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("supervisor".into());
        let supervisor = thread.spawn(move || supervisor.run(&bell))?;
        Ok(Self { stop, supervisor: Some(supervisor) })
    }

    /// Tells it to give its buckets back. Its owners finish their turns first.
    pub fn stop(&self) {
        self.stop.ring();
    }

    /// Waits until all buckets are given back, told to or not.
    pub fn join(mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            // A panic in there has been reported by the panic hook.
            let _ = supervisor.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
        self.wait();
    }
}

struct Supervisor {
    id: WorkerId,
    assignment: Assignment,
    /// This worker's, and what the others were last heard to say.
    reports: Vec<WorkerReport>,
    store: Arc<dyn SharedStore>,
    settings: LaneSettings,
    metrics: Arc<Metrics>,
    holdings: BTreeMap<u16, Holding>,
    looked_at: Instant,
    trouble: Trouble,
}

/// A bucket that this worker has.
struct Holding {
    owner: JoinHandle<()>,
    stop: Arc<Bell>,
    /// Commands decided since this was last looked at.
    decided: Arc<AtomicU64>,
    per_s: f64,
}

impl Supervisor {
    fn run(mut self, stop: &Bell) {
        loop {
            let looked = self.look();
            self.trouble.tell(looked);
            if stop.is_rung_within(EVERY) {
                return self.give_all_back();
            }
        }
    }

    /// Looks after this worker's share of the buckets.
    fn look(&mut self) -> Result<(), StoreError> {
        self.holdings.retain(|_, holding| !holding.owner.is_finished());
        self.measure();
        let compared = compare_past(&*self.store, &self.metrics);
        let heard = self.hear();
        let plan = self.assignment.plan(&self.reports);
        // Who does not hear that a bucket is free does not come for it.
        for bucket in plan.give.iter().filter(|_| heard.is_ok()) {
            self.holdings.get(bucket).inspect(|holding| holding.stop.ring());
        }
        let held = self.holdings.len();
        let mut taken = heard.and(compared);
        for bucket in plan.take {
            // After an error the others: they may be in a part of the store that can be reached.
            taken = self.take(bucket).and(taken);
        }
        if self.holdings.len() > held {
            // At once: should it die before its next look, the others must not think that it never came
            // for them.
            taken = self.hear().and(taken);
        }
        taken
    }

    /// Reports, and hears what the others do. If the list cannot be reached, the buckets may be: what
    /// they were last heard to say still counts.
    fn hear(&mut self) -> Result<(), StoreError> {
        let load = |(bucket, holding): (&u16, &Holding)| {
            // A float beyond what fits becomes the largest there is.
            (*bucket, holding.per_s as u32)
        };
        let buckets = self.holdings.iter().map(load).collect();
        let report = WorkerReport { worker: self.id, buckets };
        match self.store.report(&report) {
            Ok(reports) => {
                self.reports = reports;
                Ok(())
            }
            Err(error) => {
                self.reports.retain(|other| other.worker != self.id);
                self.reports.push(report);
                Err(error)
            }
        }
    }

    fn take(&mut self, bucket: u16) -> Result<(), StoreError> {
        if !self.holdings.contains_key(&bucket)
            && let Some(tenure) = self.store.acquire(bucket, self.id)?
        {
            self.hold(tenure);
        }
        Ok(())
    }

    /// Measures what its buckets have to do.
    fn measure(&mut self) {
        let seconds = self.looked_at.elapsed().as_secs_f64().max(0.001);
        self.looked_at = Instant::now();
        for holding in self.holdings.values_mut() {
            let per_s = holding.decided.swap(0, Ordering::Relaxed) as f64 / seconds;
            // Over some seconds: what a burst does to one of them moves no bucket.
            holding.per_s += (per_s - holding.per_s) / 8.0;
        }
    }

    fn hold(&mut self, tenure: Arc<dyn Tenure>) {
        let bucket = tenure.bucket();
        let (stop, decided) = (Arc::new(Bell::default()), Arc::new(AtomicU64::new(0)));
        let (settings, metrics) = (self.settings, Arc::clone(&self.metrics));
        let (bell, counter) = (Arc::clone(&stop), Arc::clone(&decided));
        let store = Arc::clone(&self.store);
        let run = move || {
            own(&tenure, &settings, &metrics, &bell, &counter);
            drop(tenure);
            // At once: nobody knows how long this process lives. Otherwise the supervisor does it.
            let _ = compare_past(&*store, &metrics);
        };
        let thread = std::thread::Builder::new().name(format!("owner-{bucket}"));
        match thread.spawn(run) {
            Ok(owner) => {
                let holding = Holding { owner, stop, decided, per_s: 0.0 };
                self.holdings.insert(bucket, holding);
            }
            // Its lease ends by itself.
            Err(error) => tracing::error!(bucket, %error, "there is no thread for an owner"),
        }
    }

    fn give_all_back(self) {
        self.holdings.values().for_each(|holding| holding.stop.ring());
        for holding in self.holdings.into_values() {
            let _ = holding.owner.join();
        }
        // Otherwise the others find out a little later.
        let _ = self.store.retire(self.id);
    }
}

fn compare_past(store: &dyn SharedStore, metrics: &Metrics) -> Result<(), StoreError> {
    let (lost, compared) = store.compare_past();
    metrics.lost.inc_by(lost as u64);
    compared
}

/// Owns a bucket until it is told to stop or something fails, and gives it back.
fn own(
    tenure: &Arc<dyn Tenure>,
    settings: &LaneSettings,
    metrics: &Arc<Metrics>,
    stop: &Bell,
    decided: &AtomicU64,
) {
    let bucket = tenure.bucket();
    tracing::info!(bucket, takeover = tenure.is_takeover(), "tenure begins");
    metrics.tenures_begun.inc();
    metrics.takeovers.inc_by(tenure.is_takeover().into());
    let (turns, is_kept) = std::thread::scope(|scope| {
        // However this ends, also by a panic, the keeper does not keep what has no owner.
        let ended = RingAtEnd(stop);
        let keeper = scope.spawn(|| keep(&**tenure, stop));
        let turns = take_turns(tenure, settings, metrics, stop, decided);
        drop(ended);
        (turns, keeper.join().unwrap_or(false))
    });
    let reason = match &turns {
        Ok(()) if is_kept => "given-back",
        Ok(()) => "lease-lost",
        Err(StoreError::TenureOver { reason, .. }) => reason,
        Err(_) => "failed",
    };
    metrics.count_tenure_end(reason);
    let error = turns.as_ref().err().map(|error| error as &dyn std::error::Error);
    if reason == "given-back" {
        tracing::info!(bucket, reason, "tenure ends");
    } else {
        tracing::warn!(bucket, reason, error, "tenure ends");
    }
    // Should this fail, the lease ends by itself.
    let _ = tenure.release();
}

fn take_turns(
    tenure: &Arc<dyn Tenure>,
    settings: &LaneSettings,
    metrics: &Arc<Metrics>,
    stop: &Bell,
    decided: &AtomicU64,
) -> Result<(), StoreError> {
    let mut owner = Owner::begin(Arc::clone(tenure), settings, Arc::clone(metrics))?;
    while !stop.is_rung() {
        decided.fetch_add(owner.turn()? as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Keeps the lease until told to stop. If it is lost, tells the owner to stop, and returns `false`.
fn keep(tenure: &dyn Tenure, stop: &Bell) -> bool {
    while !stop.is_rung_within(EVERY) {
        // An error may mean that the store is another since a failover.
        if !matches!(tenure.renew(), Ok(true)) {
            stop.ring();
            return false;
        }
    }
    true
}

/// Rings once, for all who listen.
#[derive(Default)]
struct Bell {
    is_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.is_rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rings.notify_all();
    }

    fn is_rung(&self) -> bool {
        *self.is_rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for it to ring, but no longer than `wait`.
    fn is_rung_within(&self, wait: Duration) -> bool {
        let is_rung = self.is_rung.lock().unwrap_or_else(PoisonError::into_inner);
        let rung = self.rings.wait_timeout_while(is_rung, wait, |is_rung| !*is_rung);
        *rung.unwrap_or_else(PoisonError::into_inner).0
    }
}

struct RingAtEnd<'a>(&'a Bell);

impl Drop for RingAtEnd<'_> {
    fn drop(&mut self) {
        self.0.ring();
    }
}
