//! The system that is drilled: one that the drill starts, or one that runs already.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::cast::Assortment;
use super::scenario::Scenario;
use super::verdict::Limit;
use crate::process::StartError;
use crate::shop::Called;
use crate::{Envoy, EnvoyConfig, Service, ServiceOptions, Shop};

/// Envoy's worker threads: two, since a limit must hold across threads.
const ENVOY_WORKERS: u32 = 2;

/// How many products are put in stock at a time: the service commits them together.
const STOCKING_AT_ONCE: usize = 32;

/// The system.
#[derive(Debug)]
pub struct Target {
    edge: SocketAddr,
    service: SocketAddr,
    /// Stopped when dropped.
    own: Option<(Envoy, Service)>,
}

impl Target {
    /// Starts a service without data, and Envoy with the scenario's limits in front of it. Their
    /// data and logs go below `dir`.
    ///
    /// # Errors
    /// What was there cannot be cleared away, or one of them does not start.
    pub async fn start(scenario: &Scenario, dir: &Path) -> Result<Self, TargetError> {
        clear(dir)?;
        let options = ServiceOptions::new(dir).settings(&scenario.service.to_toml());
        let service = Service::start(&options).await?;
        let shipped = EnvoyConfig::shipped()?;
        let mut filter = shipped.filter_settings().unwrap_or_default();
        filter["default_limit"] = limit(scenario.default_limit);
        filter["limits"] = json!({ scenario.hot.sku.as_str(): limit(scenario.hot.limit) });
        let config = shipped.upstream(service.address()).filter_configuration(&filter);
        let envoy = Envoy::start(dir, config, ENVOY_WORKERS).await?;
        let (edge, address) = (envoy.address(), service.address());
        Ok(Self { edge, service: address, own: Some((envoy, service)) })
    }

    /// A system that runs already.
    ///
    /// # Errors
    /// A URL is none that the drill can use.
    pub async fn at(edge: &str, service: &str) -> Result<Self, TargetError> {
        let (edge, service) = (resolve(edge).await?, resolve(service).await?);
        Ok(Self { edge, service, own: None })
    }

    /// Where customers go.
    pub fn edge(&self) -> SocketAddr {
        self.edge
    }

    /// Where the shop itself goes.
    pub fn service(&self) -> SocketAddr {
        self.service
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
    pub async fn stop(self) -> io::Result<()> {
        if let Some((mut envoy, mut service)) = self.own {
            envoy.process.stop().await?;
            service.process.stop().await?;
        }
        Ok(())
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

/// Removes what an earlier drill left, and nothing else that may lie there.
fn clear(dir: &Path) -> Result<(), TargetError> {
    for name in ["data", "log"] {
        let path = dir.join(name);
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(TargetError::Clear { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn limit(Limit { per_second, burst }: Limit) -> Value {
    json!({ "per_second": per_second, "burst": burst })
}

/// `http://host:port` as an address.
async fn resolve(url: &str) -> Result<SocketAddr, TargetError> {
    let error = || TargetError::Url { url: url.to_owned() };
    let host = url.strip_prefix("http://").ok_or_else(error)?.trim_end_matches('/');
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    lookup_host(host).await.map_err(|_| error())?.next().ok_or_else(error)
}

/// Why there is nothing to drill.
#[derive(Debug, Error)]
pub enum TargetError {
    /// A part does not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The rest of an earlier drill is in the way.
    #[error("cannot remove {}: {source}", path.display())]
    Clear {
        /// What is in the way.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
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
            let found = resolve(url).await.ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{url}");
        };
        check("http://127.0.0.1:10000", Some("127.0.0.1:10000")).await;
        check("http://127.0.0.1/", Some("127.0.0.1:80")).await;
        check("https://127.0.0.1:443", None).await;
        check("127.0.0.1:80", None).await;
        check("http://127.0.0.1:10000/path", None).await;
    }
}
