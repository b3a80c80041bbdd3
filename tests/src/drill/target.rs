//! The system that is drilled: one that the drill starts, or one that runs already.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::http::uri::Authority;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::cast::Assortment;
use super::connection::{CallError, Pool};
use super::fleet::{Fleet, FleetError, FleetPlan, GroundKind};
use super::record::{Answer, Call};
use super::scenario::Scenario;
use super::verdict::Limit;
use super::wire;
use crate::process::StartError;
use crate::shop::Called;
use crate::{Envoy, EnvoyConfig, Service, ServiceOptions, Shop, StoreKind};

/// Envoy's worker threads: two, since a limit must hold across threads.
const ENVOY_WORKERS: u32 = 2;

/// How many products are put in stock at a time: the service commits them together.
const STOCKING_AT_ONCE: usize = 32;

/// How long the edge may take to answer the first question.
const PROBE_WITHIN: Duration = Duration::from_secs(10);

/// A ticket that nobody has: ids are random.
const NO_TICKET: &str = "00000000000000000000000000000000";

/// The most characters of a strange answer that are shown.
const SHOWN_MAX: usize = 200;

/// The system.
#[derive(Debug)]
pub struct Target {
    /// Where customers go: to any of these.
    edges: Vec<SocketAddr>,
    /// The edge, as its URL names it.
    host: String,
    service: SocketAddr,
    /// Stopped when dropped.
    own: Option<(Envoy, Back)>,
}

/// What the drill has started behind the edge.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few of them at most")]
enum Back {
    Alone(Service),
    Fleet(Fleet),
}

impl Back {
    /// Starts a service with a store of its own; or, on Redis, one that answers callers and two that
    /// own buckets, with the server.
    async fn start(store: StoreKind, settings: String, dir: &Path) -> Result<Self, TargetError> {
        match store {
            StoreKind::Embedded => {
                let options = ServiceOptions::new(dir).settings(&settings);
                Ok(Self::Alone(Service::start(&options).await?))
            }
            StoreKind::Redis => {
                let (ground, apis, workers, buckets) = (GroundKind::Single, 1, 2, 64);
                let plan = FleetPlan { ground, apis, workers, buckets, settings };
                Ok(Self::Fleet(Fleet::start(&plan, &dir.join("data")).await?))
            }
        }
    }

    /// Where callers go.
    fn address(&self) -> SocketAddr {
        match self {
            Self::Alone(service) => service.address(),
            Self::Fleet(fleet) => fleet.addresses()[0],
        }
    }
}

impl Target {
    /// Starts a service without data, and Envoy with the scenario's limits in front of it. Their
    /// data and logs go below `dir`. On Redis, the service is several processes.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(
        store: StoreKind,
        scenario: &Scenario,
        dir: &Path,
    ) -> Result<Self, TargetError> {
        let back = Back::start(store, scenario.service_toml(), dir).await?;
        let service = back.address();
        let shipped = EnvoyConfig::shipped()?;
        let mut filter = shipped.filter_settings().unwrap_or_default();
        filter["default_limit"] = limit(scenario.default_limit);
        // Of a product that is to be noticed nobody has told the edge.
        filter["limits"] = match scenario.hot.limit {
            Some(own) => json!({ scenario.hot.sku.as_str(): limit(own) }),
            None => json!({}),
        };
        let config = shipped.upstream(service).filter_configuration(&filter);
        let envoy = Envoy::start(dir, config, ENVOY_WORKERS).await?;
        let edge = envoy.address();
        let host = edge.to_string();
        Ok(Self { edges: vec![edge], host, service, own: Some((envoy, back)) })
    }

    /// A system that runs already.
    ///
    /// # Errors
    /// A URL is none that the drill can use.
    pub async fn at(edge: &str, service: &str) -> Result<Self, TargetError> {
        let (host, edge) = resolve(edge).await?;
        let (_, service) = resolve(service).await?;
        Ok(Self { edges: vec![edge], host, service, own: None })
    }

    /// Processes of one system that run already, with no edge before them: `service`, and others.
    pub fn processes(service: SocketAddr, others: &[SocketAddr]) -> Self {
        let edges = [&[service], others].concat();
        Self { edges, host: service.to_string(), service, own: None }
    }

    /// Where customers go: to any of these.
    pub fn edges(&self) -> &[SocketAddr] {
        &self.edges
    }

    /// What customers call it: `host:port` as the URL has it, for gateways that route by name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where the shop itself goes.
    pub fn service(&self) -> SocketAddr {
        self.service
    }

    /// Sees that the edge leads to cartgate, before a crowd is sent there: it is asked for a ticket
    /// that nobody has. Only the service knows the answer to that.
    ///
    /// # Errors
    /// No answer comes through the edge, or another one.
    pub async fn probe(&self) -> Result<(), TargetError> {
        let call = Call::Ticket { id: NO_TICKET.to_owned() };
        let host = self.host.clone();
        let asked = timeout(PROBE_WITHIN, self.ask_edge(&call)).await;
        let asked = asked.unwrap_or(Err(CallError::Late { within: PROBE_WITHIN }));
        let (status, body) = match asked {
            Ok(answered) => answered,
            Err(source) => return Err(TargetError::SilentEdge { host, source }),
        };
        match wire::answer(&call, status, &body) {
            Answer::Refused { status: 404, problem } if problem == "unknown-ticket" => Ok(()),
            _ => {
                let body = String::from_utf8_lossy(&body).chars().take(SHOWN_MAX).collect();
                Err(TargetError::StrangeEdge { host, status, body })
            }
        }
    }

    async fn ask_edge(&self, call: &Call) -> Result<(StatusCode, Bytes), CallError> {
        let mut lease = Pool::new(&self.edges, None, 1).lease().ok_or(CallError::NotConnected)?;
        lease.connect().await?;
        let request = wire::request(&self.host, call, false).map_err(CallError::Request)?;
        lease.ask(request).await
    }

    /// Puts everything up for sale. Gives the versions that the journals had before: what is later
    /// belongs to this drill.
    ///
    /// # Errors
    /// The service does not answer, or refuses.
    pub async fn stock(
        &self,
        scenario: &Scenario,
        assortment: &Assortment,
    ) -> Result<HashMap<String, u64>, TargetError> {
        let shop = Shop::at(self.service);
        let places = Arc::new(Semaphore::new(STOCKING_AT_ONCE));
        let mut tasks = JoinSet::<Result<_, TargetError>>::new();
        for sku in assortment.skus() {
            let is_hot = sku == assortment.hot;
            let units = if is_hot { scenario.hot.stock } else { scenario.catalogue.stock_each };
            let (shop, sku, places) = (shop.clone(), sku.to_owned(), places.clone());
            tasks.spawn(async move {
                // Nobody closes it; without a place it would only be less orderly.
                let _place = places.acquire_owned().await;
                stock_one(&shop, &sku, units).await.map(|version| (sku, version))
            });
        }
        let mut versions = HashMap::new();
        while let Some(stocked) = tasks.join_next().await {
            versions.extend([stocked.map_err(TargetError::Task)??]);
        }
        Ok(versions)
    }

    /// Stops what the drill has started, in order: no request finds the service gone.
    ///
    /// # Errors
    /// The operating system cannot tell how they ended.
    pub async fn stop(self) -> Result<(), FleetError> {
        let Some((mut envoy, back)) = self.own else { return Ok(()) };
        envoy.process.stop().await.map_err(FleetError::Stop)?;
        match back {
            Back::Alone(mut service) => {
                service.process.stop().await.map(drop).map_err(FleetError::Stop)
            }
            Back::Fleet(mut fleet) => fleet.stop().await,
        }
    }

    /// What happens to the system in the middle of a sale: if there are several workers one of them
    /// is killed, and does not come back.
    pub fn mishap(
        &mut self,
        after: Duration,
    ) -> impl Future<Output = Result<(), FleetError>> + use<> {
        let doomed = match &mut self.own {
            Some((_, Back::Fleet(fleet))) => fleet.workers.pop(),
            _ => None,
        };
        async move {
            let Some(mut doomed) = doomed else { return Ok(()) };
            sleep(after).await;
            eprintln!("killing a worker");
            doomed.kill().await
        }
    }
}

/// Makes `units` of a SKU available, beside what is held or sold already. Gives the version before.
async fn stock_one(shop: &Shop, sku: &str, units: u64) -> Result<u64, TargetError> {
    let found = shop.stock(sku).await?;
    let number = |name: &str| found.body[name].as_u64().unwrap_or_default();
    let total = match found.status {
        404 => units,
        200 => units + number("held") + number("confirmed"),
        status => return Err(TargetError::Refused { sku: sku.to_owned(), status }),
    };
    let set: Called = shop.set_stock(sku, total).await;
    match set?.status {
        200 => Ok(number("version")),
        status => Err(TargetError::Refused { sku: sku.to_owned(), status }),
    }
}

fn limit(Limit { per_second, burst }: Limit) -> Value {
    json!({ "per_second": per_second, "burst": burst })
}

/// The `host:port` of `http://host:port`, as it is written, and where it leads.
async fn resolve(url: &str) -> Result<(String, SocketAddr), TargetError> {
    let error = || TargetError::Url { url: url.to_owned() };
    let host = url.strip_prefix("http://").ok_or_else(error)?.trim_end_matches('/');
    // Neither a Host header nor a name to look up has a user in it.
    let authority = host.parse::<Authority>().ok().filter(|_| !host.contains('@'));
    let authority = authority.ok_or_else(error)?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(80);
    let found = lookup_host((name, port)).await.map_err(|_| error())?;
    // The bots' addresses are IPv4's, and `localhost` is often both.
    let address = found.min_by_key(SocketAddr::is_ipv6).ok_or_else(error)?;
    Ok((host.to_owned(), address))
}

/// Why there is nothing to drill.
#[derive(Debug, Error)]
pub enum TargetError {
    /// A part does not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// One of several processes does not start.
    #[error("{0}")]
    Fleet(#[from] FleetError),
    /// Nobody is at the edge.
    #[error(
        "the edge {host} does not answer: {source}. Is it running, and is this its shoppers' port?"
    )]
    SilentEdge {
        /// The edge.
        host: String,
        /// Why.
        source: CallError,
    },
    /// Somebody is at the edge, but not the service.
    #[error(
        "the edge {host} does not lead to cartgate: GET /v1/tickets/{NO_TICKET} got {status} \
         {body:?} instead of 404 unknown-ticket. Is this its shoppers' port, do its routes lead to \
         the service for this host name, and is the service running?"
    )]
    StrangeEdge {
        /// The edge.
        host: String,
        /// What it answered.
        status: StatusCode,
        /// The beginning of what came with it.
        body: String,
    },
    /// A URL that the drill cannot use.
    #[error(
        "{url:?} does not lead anywhere: give http://host:port, without a path and without TLS"
    )]
    Url {
        /// The URL.
        url: String,
    },
    /// The service does not answer.
    #[error("the service does not answer: {0}")]
    Call(#[from] reqwest::Error),
    /// The service answers, and refuses.
    #[error("the service refuses stock for {sku}: status {status}")]
    Refused {
        /// The product.
        sku: String,
        /// The answer's status.
        status: u16,
    },
    /// A task of the drill broke down.
    #[error("the drill broke down: {0}")]
    Task(#[source] JoinError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urls_lead_somewhere() {
        let check = async |url: &str, expected: Option<&str>| {
            let found = resolve(url).await.ok();
            let found = found.map(|(host, address)| format!("{host} at {address}"));
            assert_eq!(found.as_deref(), expected, "{url}");
        };
        check("http://127.0.0.1:10000", Some("127.0.0.1:10000 at 127.0.0.1:10000")).await;
        check("http://127.0.0.1/", Some("127.0.0.1 at 127.0.0.1:80")).await;
        check("http://[::1]:81", Some("[::1]:81 at [::1]:81")).await;
        check("http://user@127.0.0.1:80", None).await;
        check("https://127.0.0.1:443", None).await;
        check("127.0.0.1:80", None).await;
        check("http://127.0.0.1:10000/path", None).await;
    }
}
