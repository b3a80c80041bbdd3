//! The real Envoy as a child process, with the configuration we ship or one derived from it.

mod config;
mod envoy_filter;
mod hot_restart;
mod options;
mod wall_clock;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client;
use reqwest::header::CONNECTION;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time;

use crate::process::{Process, StartError, eventually};
use crate::{client, paths, ports};

pub use config::{EnvoyConfig, REPORTS};
pub use envoy_filter::{EnvoyFilter, FilterFile};
pub use options::EnvoyOptions;
pub use wall_clock::WallClock;

use hot_restart::Generation;

/// How long Envoy may take to say that it is ready, before it is asked again.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    /// The process, to stop or wait for.
    pub process: Process,
    place: Place,
    access_log: PathBuf,
}

/// Where an Envoy is.
#[derive(Debug)]
struct Place {
    address: SocketAddr,
    admin: SocketAddr,
    generation: Option<Generation>,
}

impl Envoy {
    /// Starts Envoy with `config` on free ports and waits until it is ready. Its files go below
    /// `dir`: `envoy.json`, `log/envoy.log` and, since the shipped configuration writes the access
    /// log to stdout, `log/access.log`.
    ///
    /// # Errors
    /// Envoy or the filter is not built, or Envoy does not become ready (it refuses the
    /// configuration, for one); the error carries the end of its log.
    pub async fn start(
        dir: &Path,
        config: EnvoyConfig,
        concurrency: u32,
    ) -> Result<Self, StartError> {
        Self::start_with(dir, config, &EnvoyOptions::workers(concurrency)).await
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn start_with(
        dir: &Path,
        config: EnvoyConfig,
        options: &EnvoyOptions,
    ) -> Result<Self, StartError> {
        let place = Place {
            address: ports::free_address(),
            admin: ports::free_address(),
            generation: options.is_restartable.then(|| Generation::first(dir)),
        };
        Self::start_at(place, dir, config, options).await
    }

    /// Starts the Envoy that takes over from this one: a hot restart. New connections are its own
    /// from then on; this one goes on with those that it has, until it is stopped.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    ///
    /// # Panics
    /// This one was not started as [`restartable`](EnvoyOptions::restartable).
    pub async fn start_next(
        &self,
        dir: &Path,
        config: EnvoyConfig,
        options: &EnvoyOptions,
    ) -> Result<Self, StartError> {
        let Place { address, admin, ref generation } = self.place;
        let generation = Some(generation.as_ref().expect("a restartable Envoy").next());
        Self::start_at(Place { address, admin, generation }, dir, config, options).await
    }

    async fn start_at(
        place: Place,
        dir: &Path,
        config: EnvoyConfig,
        options: &EnvoyOptions,
    ) -> Result<Self, StartError> {
        let mut config = config.find_module()?;
        *config.listener_mut() = socket_address(place.address);
        *config.admin_mut() = socket_address(place.admin);
        let path = dir.join("envoy.json");
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&path, config.as_value().to_string()))
            .map_err(|e| StartError::Config { path: path.clone(), reason: e.to_string() })?;
        let mut command = command(&path)?;
        command.arg("--concurrency").arg(options.workers.to_string());
        if let Some(clock) = &options.wall_clock {
            clock.give(&mut command);
        }
        Self::run(command, dir, place).await
    }

    /// Starts Envoy with `envoy/envoy.yaml` as it stands, in a process group of its own, for a
    /// parent that answers the terminal's Ctrl-C by stopping it in order. Logs go below `dir`.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn start_as_shipped(dir: &Path) -> Result<Self, StartError> {
        paths::filter_module()?;
        let mut config = EnvoyConfig::shipped()?;
        let address = port_of(config.listener_mut());
        let admin = port_of(config.admin_mut());
        let mut command = command(&shipped_path())?;
        command.process_group(0);
        Self::run(command, dir, Place { address, admin, generation: None }).await
    }

    async fn run(mut command: Command, dir: &Path, place: Place) -> Result<Self, StartError> {
        match &place.generation {
            Some(generation) => generation.give(&mut command),
            // Hot restart shares memory between the Envoys of a machine; tests share nothing.
            None => drop(command.arg("--disable-hot-restart")),
        }
        let (log, access_log) = (dir.join("log/envoy.log"), dir.join("log/access.log"));
        let mut process = Process::spawn("Envoy", command, &log, Some(&access_log))?;
        let client = client::http();
        let ready = || async {
            // A call that came while one Envoy gave way to the next may never be answered.
            time::timeout(PROBE_WITHIN, place.is_ready(&client)).await.ok()?
        };
        process.until_ready(ready).await?;
        Ok(Self { process, place, access_log })
    }

    /// Where its listener is.
    pub fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// Where its administration is.
    pub fn admin(&self) -> SocketAddr {
        self.place.admin
    }

    /// `http://` and where it listens and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.place.address)
    }

    /// Everything in its access log: one JSON object per line.
    pub fn access_log(&self) -> String {
        fs::read_to_string(&self.access_log).unwrap_or_default()
    }

    /// The lines of its access log, once there are as many as these requests.
    ///
    /// # Panics
    /// There are fewer.
    pub async fn logged(&self, requests: usize) -> Vec<Value> {
        eventually("the requests in the access log", || async {
            let log = self.access_log();
            let log: Option<Vec<_>> = log.lines().map(|l| serde_json::from_str(l).ok()).collect();
            log.filter(|log| log.len() >= requests)
        })
        .await
    }

    /// Its metrics, as Prometheus reads them.
    ///
    /// # Panics
    /// The administration does not answer.
    pub async fn metrics(&self) -> String {
        self.ask_admin("/stats/prometheus").await
    }

    /// The sum of all its counters and gauges whose dotted name `matches`.
    ///
    /// # Panics
    /// The administration does not answer.
    pub async fn stat(&self, matches: impl Fn(&str) -> bool) -> u64 {
        sum_of(&self.ask_admin("/stats").await, matches)
    }

    async fn ask_admin(&self, path: &str) -> String {
        self.place.ask_admin(&client::http(), path).await.expect("Envoy's administration answers")
    }
}

impl Place {
    /// Whether the Envoy of this generation is, and not the one before.
    async fn is_ready(&self, client: &Client) -> Option<()> {
        self.ask_admin(client, "/ready").await?;
        let epoch = self.generation.as_ref().map_or(0, |generation| generation.epoch);
        let stats = self.ask_admin(client, "/stats").await?;
        stats.contains(&format!("\nserver.hot_restart_epoch: {epoch}\n")).then_some(())
    }

    async fn ask_admin(&self, client: &Client, path: &str) -> Option<String> {
        let ask = client.get(format!("http://{}{path}", self.admin));
        // On a connection of its own: one to the Envoy before would stay with that.
        let answer = ask.header(CONNECTION, "close").send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }
}

/// The sum of those of an Envoy's statistics whose dotted name `matches`.
pub(crate) fn sum_of(stats: &str, matches: impl Fn(&str) -> bool) -> u64 {
    let named = stats.lines().filter_map(|line| line.split_once(": "));
    named.filter(|(name, _)| matches(name)).filter_map(|(_, n)| n.parse::<u64>().ok()).sum()
}

fn shipped_path() -> PathBuf {
    paths::repo_root().join("envoy/envoy.yaml")
}

fn command(config: &Path) -> Result<Command, StartError> {
    let mut command = Command::new(paths::envoy()?);
    command.current_dir(paths::repo_root());
    command.arg("--config-path").arg(config);
    // Envoy would keep the access log to itself for ten seconds.
    command.arg("--file-flush-interval-msec").arg("100");
    Ok(command)
}

pub(crate) fn socket_address(address: SocketAddr) -> Value {
    json!({ "address": address.ip(), "port_value": address.port() })
}

fn port_of(socket_address: &Value) -> SocketAddr {
    let port = socket_address["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
    ports::loopback(port.expect("an address in envoy.yaml has a port"))
}
