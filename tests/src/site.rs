//! Whole chains: Envoy in front of the real service, or in front of an upstream that only looks.

use serde_json::Value;
use tempfile::TempDir;

use crate::envoy::EnvoyOptions;
use crate::process::StartError;
use crate::{Envoy, EnvoyConfig, Service, ServiceOptions, Shop, StoreKind, Upstream};

/// Envoy with the filter, and the service behind it. Stopped when dropped.
#[derive(Debug)]
pub struct Site {
    /// Envoy.
    pub envoy: Envoy,
    /// The service.
    pub service: Service,
    // Last, so that the directory outlives those who write into it.
    _dir: TempDir,
}

impl Site {
    /// Starts both, on the store that [`StoreKind::from_env`] says. `settings` are the service's, in TOML;
    /// `config` is Envoy's, which gets one worker thread.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(settings: &str, config: EnvoyConfig) -> Result<Self, StartError> {
        Self::start_with(settings, config, 1).await
    }

    /// The same, with so many worker threads.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start_with(
        settings: &str,
        config: EnvoyConfig,
        workers: u32,
    ) -> Result<Self, StartError> {
        let dir = temp_dir();
        let options = ServiceOptions::new(dir.path()).own_store(StoreKind::from_env());
        let service = Service::start(&options.settings(settings)).await?;
        let config = config.upstream(service.address());
        let envoy = Envoy::start(dir.path(), config, workers).await?;
        Ok(Self { envoy, service, _dir: dir })
    }

    /// What shoppers use: Envoy.
    pub fn front(&self) -> Shop {
        Shop::at(self.envoy.address())
    }

    /// What the shop itself uses: the service.
    pub fn back(&self) -> Shop {
        Shop::at(self.service.address())
    }
}

/// Envoy with the filter, and an upstream that notes what reaches it. Stopped when dropped.
#[derive(Debug)]
pub struct Edge {
    /// Envoy.
    pub envoy: Envoy,
    /// The upstream.
    pub upstream: Upstream,
    // Last, as in `Site`.
    _dir: TempDir,
}

impl Edge {
    /// Starts Envoy with one worker and the filter configured by `filter`, which sees every path.
    ///
    /// # Errors
    /// Envoy does not start.
    pub async fn with_filter(filter: &Value) -> Result<Self, StartError> {
        let config = EnvoyConfig::shipped()?.route_everything().filter_configuration(filter);
        Self::start(config, 1).await
    }

    /// Starts both. Envoy gets `config` and as many worker threads as `concurrency` says.
    ///
    /// # Errors
    /// Envoy does not start.
    pub async fn start(config: EnvoyConfig, concurrency: u32) -> Result<Self, StartError> {
        Self::start_with(config, &EnvoyOptions::workers(concurrency)).await
    }

    /// Starts both. Envoy gets `config`, and is started as `options` say.
    ///
    /// # Errors
    /// Envoy does not start.
    pub async fn start_with(
        config: EnvoyConfig,
        options: &EnvoyOptions,
    ) -> Result<Self, StartError> {
        let dir = temp_dir();
        let upstream = Upstream::start().await;
        let config = config.upstream(upstream.address());
        let envoy = Envoy::start_with(dir.path(), config, options).await?;
        Ok(Self { envoy, upstream, _dir: dir })
    }
}

fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
