//! What all requests of one worker thread share, and the one thing they do with it: counting.

use std::cell::Cell;

use cartgate_policy::Sku;
use cartgate_policy::config::Config;
use cartgate_policy::extract::Line;
use cartgate_policy::gcra::{Decision, Limit, State};
use cartgate_policy::slots::{self, Slot};
use proxy_wasm::types::LogLevel;
use thiserror::Error;

use crate::count::{self, SharedStore as _, UpdateError};
use crate::host::{self, HostError, SharedData};
use crate::metrics::Metrics;

// Keys in shared data belong to a `vm_id`, which Istio leaves empty for every filter: hence our
// own prefix. The number is that of the values' layout, so that a later version, loaded into the
// same process, does not meet values it cannot read.
const SKU_KEY: &str = "cartgate/1/sku/";
const SLOTS_KEY: &str = "cartgate/1/slots/";
const SEED_KEY: &str = "cartgate/1/seed";

/// A worker thread's part of the edge: configured, and ready for requests.
pub(crate) struct Edge {
    /// The filter's configuration.
    pub(crate) config: Config,
    /// The counters.
    pub(crate) metrics: Metrics,
    slots_seed: [u8; 16],
    jitter: Cell<u64>,
    is_debug: Cell<bool>,
}

impl Edge {
    /// Makes an edge; the seed of its slots is the same in all worker threads of a process, and
    /// another in each process.
    ///
    /// # Errors
    /// Failure mode: the filter does not start, and Envoy refuses the listener or answers 5xx.
    pub(crate) fn new(config: Config) -> Result<Self, EdgeError> {
        let random = host::random::<16>()?;
        let seed = count::get_or_create(&SharedData, SEED_KEY, &random)?;
        let slots_seed = seed.try_into().map_err(|_| EdgeError::Seed)?;
        let jitter = Cell::new(u64::from_le_bytes(host::random()?));
        let is_debug = Cell::new(host::is_debug());
        Ok(Self { config, metrics: Metrics::define(), slots_seed, jitter, is_debug })
    }

    /// Charges a request to its SKU's limit. Only [`Decision::Admitted`] lets it through.
    ///
    /// # Errors
    /// Failure mode: deny. Without the stored state nobody knows what is admitted already.
    pub(crate) fn charge(&self, line: &Line) -> Result<Decision, EdgeError> {
        match self.config.limit_of(&line.sku) {
            Some(limit) => self.charge_listed(line, limit),
            None => self.charge_slot(line),
        }
    }

    /// The limit that a SKU is charged to.
    pub(crate) fn limit_of(&self, sku: &Sku) -> Limit {
        self.config.limit_of(sku).unwrap_or(self.config.default_limit())
    }

    /// Charges a SKU that has a limit, and so a key, of its own.
    fn charge_listed(&self, line: &Line, limit: Limit) -> Result<Decision, EdgeError> {
        let decision = count::update(&SharedData, &sku_key(&line.sku), |stored, now_ns| {
            let state = match stored {
                // Newly listed: it goes on with what it owes as one of the others.
                None => self.slot_state(&line.sku, now_ns)?,
                // Bytes that cannot be read hide an unknown debt: go on from an empty bucket.
                Some(bytes) => State::from_bytes(bytes).unwrap_or_else(|| limit.exhausted(now_ns)),
            };
            let (decision, after) = limit.charge(state, line.quantity, now_ns);
            let after = after.to_bytes();
            Ok((decision, (stored != Some(&after[..])).then(|| after.to_vec())))
        })?;
        Ok(decision)
    }

    fn slot_state(&self, sku: &Sku, now_ns: u64) -> Result<State, HostError> {
        let slot = self.slot(sku);
        let set = SharedData.get(&slots_key(slot))?.map(|(set, _)| set);
        Ok(slots::state(set.as_deref(), slot.fingerprint, self.config.default_limit(), now_ns))
    }

    fn charge_slot(&self, line: &Line) -> Result<Decision, EdgeError> {
        let limit = self.config.default_limit();
        let slot = self.slot(&line.sku);
        let charged = count::update(&SharedData, &slots_key(slot), |stored, now_ns| {
            let charged = slots::charge(stored, slot.fingerprint, limit, line.quantity, now_ns);
            Ok(((charged.decision, charged.overflowed), charged.set))
        });
        let (decision, overflowed) = charged?;
        if overflowed {
            self.metrics.count_overflow();
        }
        Ok(decision)
    }

    fn slot(&self, sku: &Sku) -> Slot {
        Slot::of(sku, &self.slots_seed, self.config.slot_sets_count())
    }

    /// A number to spread retries with: not secret, and without a host call.
    pub(crate) fn jitter(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let state = self.jitter.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.jitter.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Looks up Envoy's log level, which an administrator can change at any time.
    pub(crate) fn refresh_log_level(&self) {
        self.is_debug.set(host::is_debug());
    }

    /// Writes a line at debug, made only if somebody wants it.
    pub(crate) fn debug(&self, line: impl FnOnce() -> String) {
        if self.is_debug.get() {
            host::log(LogLevel::Debug, &line());
        }
    }
}

fn sku_key(sku: &Sku) -> String {
    format!("{SKU_KEY}{sku}")
}

fn slots_key(slot: Slot) -> String {
    format!("{SLOTS_KEY}{}", slot.set)
}

/// Why a request could not be counted.
#[derive(Debug, Error)]
pub(crate) enum EdgeError {
    /// Others kept changing the same value.
    #[error("the other worker threads kept changing the value")]
    Contended,
    /// Envoy refused a call.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Envoy gave headers in a form that is not the ABI's.
    #[error("the request's headers are not in the form of ABI 0.2.1")]
    Headers,
    /// Something else wrote to our key.
    #[error("the value under {SEED_KEY} is not a seed: another filter uses this vm_id and key")]
    Seed,
}

impl From<UpdateError<HostError>> for EdgeError {
    fn from(error: UpdateError<HostError>) -> Self {
        match error {
            UpdateError::Contended => Self::Contended,
            UpdateError::Store(error) => Self::Host(error),
        }
    }
}
