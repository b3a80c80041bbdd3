//! What all requests of one worker thread share: the configuration, the metrics, the counts, the hot items.

use std::cell::Cell;

use cartgate_policy::client::{Client, ClientSource};
use cartgate_policy::config::{ClientLimit, Config, Service};
use cartgate_policy::extract::Head;
use cartgate_policy::fleet::Report;
use thiserror::Error;

use crate::bodies::Bodies;
use crate::count::{self, UpdateError};
use crate::counter::Counter;
use crate::fleet::Fleet;
use crate::host::{self, HostError, LogLevel, SharedData};
use crate::metrics::Metrics;

/// With every so many ticks Envoy is told what was counted.
const TELL_TICKS: u32 = 2;

// As the counts' keys, in `counter`.
const SEED_KEY: &str = "cartgate/1/seed";

/// A worker thread's part of the edge: configured, and ready for requests.
pub(crate) struct Edge {
    /// The filter's configuration.
    pub(crate) config: Config,
    /// The counters.
    pub(crate) metrics: Metrics,
    seed: [u8; 16],
    pub(crate) counter: Counter<SharedData>,
    /// `None`: there is no service to report to.
    pub(crate) fleet: Option<Fleet<SharedData>>,
    /// Whether bodies come to those that wait for one.
    pub(crate) bodies: Bodies,
    jitter: Cell<u64>,
    ticks: Cell<u32>,
    is_debug: Cell<bool>,
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
        let names = (u64::from_le_bytes(host::random()?), u64::from_le_bytes(host::random()?));
        let fleet = |service: &Service| Fleet::new(SharedData, service.cluster(), seed, names);
        let fleet = config.service().map(fleet).transpose()?;
        let jitter = Cell::new(u64::from_le_bytes(host::random()?));
        let is_debug = Cell::new(host::is_debug());
        let (metrics, counter) = (Metrics::define(), Counter::new(SharedData, seed));
        metrics.show_config(config.version());
        let (bodies, ticks) = (Bodies::default(), Cell::new(0));
        Ok(Self { config, metrics, seed, counter, fleet, bodies, jitter, ticks, is_debug })
    }

    /// Whose request it is, for each of the limits per client.
    ///
    /// # Errors
    /// Failure mode: the route's, for `uncounted`: nobody knows whose limit it is to be charged to.
    pub(crate) fn clients(&self, head: &Head<'_>) -> Result<Vec<Client>, HostError> {
        let limits = self.config.client_limits();
        let is_by_address = |limit: &ClientLimit| *limit.client() == ClientSource::SourceAddress;
        let address = match limits.iter().any(is_by_address) {
            true => host::source_address()?,
            false => Vec::new(),
        };
        let client = |client: &ClientSource| client.client(head, &address, &self.seed);
        Ok(limits.iter().map(|limit| client(limit.client())).collect())
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

    /// Does what is to be done every so often: tells Envoy what was counted, looks up its log level, which an
    /// administrator can change at any time, and keeps in step with the service.
    pub(crate) fn tick(&self) {
        self.ticks.set(self.ticks.get().wrapping_add(1));
        if self.ticks.get().is_multiple_of(TELL_TICKS) {
            self.is_debug.set(host::is_debug());
            self.metrics.tell();
        }
        if let Some(line) = self.bodies.tick(self.config.body_mode()) {
            host::log(LogLevel::Error, line);
        }
        if let (Some(fleet), Some(service)) = (&self.fleet, self.config.service()) {
            self.keep_in_step(fleet, service);
        }
    }

    fn keep_in_step(&self, fleet: &Fleet<SharedData>, service: &Service) {
        let ticked = match fleet.tick() {
            Ok(ticked) => ticked,
            Err(error) => {
                fleet.start_over();
                // Shares may have changed: that is said but once.
                self.counter.forget_denials();
                return self.debug(|| format!("cannot tick error=\"{}\"", EdgeError::from(error)));
            }
        };
        if ticked.have_shares_changed {
            self.counter.forget_denials();
        }
        if let Some((contact, hot_items)) = ticked.contact {
            self.metrics.show_fleet(contact, hot_items);
        }
        if let Some(report) = ticked.report {
            // The service is to say so if its form is another.
            let sku_form = Some(self.config.sku().fingerprint());
            let report = Report { sku_form, ..report };
            let call = send(&report, fleet.edge, service);
            fleet.sent(call.as_ref().ok().copied(), self.jitter());
            self.metrics.count_report();
            if let Err(error) = call {
                self.metrics.count_failed_report();
                self.debug(|| format!("cannot report error=\"{error}\""));
            }
        }
    }

    /// Takes what came of a report: `body_len` bytes of an answer.
    pub(crate) fn report_answered(&self, call: u32, body_len: usize) {
        let Some(fleet) = &self.fleet else { return };
        let status = host::call_status();
        let body = if status == b"200" { host::call_body(body_len).ok() } else { None };
        let reply = body.and_then(|body| serde_json::from_slice(&body).ok());
        if reply.is_none() {
            self.metrics.count_failed_report();
            let status = String::from_utf8_lossy(&status);
            self.debug(|| format!("report not answered status={status} body_bytes={body_len}"));
        }
        if let Err(error) = fleet.answered(call, reply, self.jitter()) {
            // What was taken of it may not be written down.
            fleet.start_over();
            self.debug(|| format!("cannot take the answer error=\"{}\"", EdgeError::from(error)));
        }
    }

    /// Writes a line at debug, made only if somebody wants it.
    pub(crate) fn debug(&self, line: impl FnOnce() -> String) {
        if self.is_debug.get() {
            host::log(LogLevel::Debug, &line());
        }
    }
}

/// Sends a report. Gives the number of the call.
fn send(report: &Report, edge: u64, service: &Service) -> Result<u32, HostError> {
    let path = format!("/v1/edges/{edge:016x}/reports");
    let authorization = service.token().map(|token| format!("Bearer {token}"));
    let mut headers: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"POST"),
        (b":path", path.as_bytes()),
        (b":authority", b"cartgate"),
        (b"content-type", b"application/json"),
    ];
    headers.extend(authorization.as_ref().map(|value| (&b"authorization"[..], value.as_bytes())));
    // No failure is possible: it has no maps but by text. If one were, the service would refuse it.
    let body = serde_json::to_vec(report).unwrap_or_default();
    host::call(service.cluster(), &headers, &body, service.timeout_ms())
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
