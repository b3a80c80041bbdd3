//! What all requests of one worker thread share: the configuration, the metrics, the counts.

use std::cell::Cell;

use cartgate_policy::client::{Client, ClientSource};
use cartgate_policy::config::{ClientLimit, Config};
use cartgate_policy::extract::{ExtractError, Head, Line};
use cartgate_policy::gcra::{Decision, Limit};
use thiserror::Error;

use crate::count::{self, UpdateError};
use crate::counter::{Charge, Counter, Subject};
use crate::host::{self, HostError, LogLevel, SharedData};
use crate::metrics::Metrics;

// As the counts' keys, in `counter`.
const SEED_KEY: &str = "cartgate/1/seed";

/// A worker thread's part of the edge: configured, and ready for requests.
pub(crate) struct Edge {
    /// The filter's configuration.
    pub(crate) config: Config,
    /// The counters.
    pub(crate) metrics: Metrics,
    seed: [u8; 16],
    counter: Counter<SharedData>,
    jitter: Cell<u64>,
    is_debug: Cell<bool>,
}

/// Why a request is not admitted, by a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// Never that it is admitted.
    pub(crate) decision: Decision,
    /// The limit.
    pub(crate) limit: Limit,
    /// Whether it is one per client.
    pub(crate) is_per_client: bool,
}

impl Edge {
    /// Makes an edge; its seed is the same in all worker threads of a process, and another in each
    /// process.
    ///
    /// # Errors
    /// Failure mode: the filter does not start, and Envoy refuses the listener or answers 5xx.
    pub(crate) fn new(config: Config) -> Result<Self, EdgeError> {
        let random = host::random::<16>()?;
        let seed = count::get_or_create(&SharedData, SEED_KEY.as_bytes(), &random)?;
        let seed = seed.try_into().map_err(|_| EdgeError::Seed)?;
        let jitter = Cell::new(u64::from_le_bytes(host::random()?));
        let is_debug = Cell::new(host::is_debug());
        let (metrics, counter) = (Metrics::define(), Counter::new(SharedData, seed));
        Ok(Self { config, metrics, seed, counter, jitter, is_debug })
    }

    /// Whose request it is, for each of the limits per client.
    ///
    /// # Errors
    /// Failure mode: the request is refused, since nobody knows whose limit it is to be charged to.
    pub(crate) fn clients(&self, head: &Head<'_>) -> Result<Vec<Client>, ClientsError> {
        let limits = self.config.client_limits();
        let is_by_address = |limit: &ClientLimit| *limit.client() == ClientSource::SourceAddress;
        let address = match limits.iter().any(is_by_address) {
            true => host::source_address()?,
            false => Vec::new(),
        };
        let client = |client: &ClientSource| client.client(head, &address, &self.seed);
        Ok(limits.iter().map(|limit| client(limit.client())).collect::<Result<_, _>>()?)
    }

    /// Charges a request to its SKU's limit and to its clients', and counts what came of it.
    ///
    /// # Errors
    /// Failure mode: deny. Without the stored state nobody knows what is admitted already.
    pub(crate) fn charge(
        &self,
        line: &Line,
        clients: &[Client],
    ) -> Result<Result<(), Refused>, EdgeError> {
        let charges = self.charges(line, clients);
        let verdict = self.counter.charge(&charges)?;
        if verdict.overflowed {
            self.metrics.count_overflow();
        }
        Ok(verdict.refused.map_or(Ok(()), |(n, decision)| {
            let limit = charges.get(n).map_or(self.config.default_limit(), |charge| charge.limit);
            Err(Refused { decision, limit, is_per_client: n > 0 })
        }))
    }

    /// The SKU's limit first, which most are refused by.
    fn charges<'a>(&'a self, line: &'a Line, clients: &[Client]) -> Vec<Charge<'a>> {
        let (sku, cost) = (&line.sku, line.quantity);
        let (others, sets_count) = (self.config.default_limit(), self.config.slot_sets_count());
        let of_sku = match self.config.limit_of(sku) {
            Some(limit) => {
                Charge { subject: Subject::Listed { sku, others, sets_count }, limit, cost }
            }
            None => Charge { subject: Subject::Sku { sku, sets_count }, limit: others, cost },
        };
        let limits = self.config.client_limits().iter().zip(clients);
        let of_clients = limits.map(|(limit, client)| {
            let (source, client, sets_count) = (limit.client(), *client, limit.slot_sets_count());
            let subject = Subject::Client { sku, client, source, sets_count };
            Charge { subject, limit: limit.limit(), cost }
        });
        std::iter::once(of_sku).chain(of_clients).collect()
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
    /// Envoy brought a request under a configuration that it did not bring.
    #[error("no configuration is known for the request")]
    Unconfigured,
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

/// Why nobody knows whose request it is.
#[derive(Debug, Error)]
pub(crate) enum ClientsError {
    /// Envoy did not say where it came from.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The request is ambiguous.
    #[error(transparent)]
    Extract(#[from] ExtractError),
}
