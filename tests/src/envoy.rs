//! The real Envoy as a child process, with the configuration we ship or one derived from it.

mod config;
mod envoy_filter;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::process::{Process, StartError};
use crate::{client, paths, ports};

pub use config::EnvoyConfig;
pub use envoy_filter::{EnvoyFilter, FilterFile};

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    /// The process, to stop or wait for.
    pub process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    access_log: PathBuf,
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
        let (address, admin) = (ports::free_address(), ports::free_address());
        let mut config = config.find_module()?;
        *config.listener_mut() = socket_address(address);
        *config.admin_mut() = socket_address(admin);
        let path = dir.join("envoy.json");
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&path, config.as_value().to_string()))
            .map_err(|e| StartError::Config { path: path.clone(), reason: e.to_string() })?;
        let mut command = command(&path)?;
        command.arg("--concurrency").arg(concurrency.to_string());
        Self::run(command, dir, address, admin).await
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
        Self::run(command, dir, address, admin).await
    }

    async fn run(
        command: Command,
        dir: &Path,
        address: SocketAddr,
        admin: SocketAddr,
    ) -> Result<Self, StartError> {
        let (log, access_log) = (dir.join("log/envoy.log"), dir.join("log/access.log"));
        let mut process = Process::spawn("Envoy", command, &log, Some(&access_log))?;
        let client = client::http();
        let ready = || async {
            let answer = client.get(format!("http://{admin}/ready")).send().await.ok()?;
            answer.status().is_success().then_some(())
        };
        process.until_ready(ready).await?;
        Ok(Self { process, address, admin, access_log })
    }

    /// Where its listener is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its administration is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// `http://` and where it listens and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything in its access log: one JSON object per line.
    pub fn access_log(&self) -> String {
        fs::read_to_string(&self.access_log).unwrap_or_default()
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
        let stats = self.ask_admin("/stats").await;
        let named = stats.lines().filter_map(|line| line.split_once(": "));
        named.filter(|(name, _)| matches(name)).filter_map(|(_, n)| n.parse::<u64>().ok()).sum()
    }

    async fn ask_admin(&self, path: &str) -> String {
        let answer = client::http().get(format!("http://{}{path}", self.admin)).send().await;
        answer.expect("Envoy's administration answers").text().await.expect("with text")
    }
}

fn shipped_path() -> PathBuf {
    paths::repo_root().join("envoy/envoy.yaml")
}

fn command(config: &Path) -> Result<Command, StartError> {
    let mut command = Command::new(paths::envoy()?);
    command.current_dir(paths::repo_root());
    // Hot restart shares memory between the Envoys of a machine; tests share nothing.
    command.arg("--disable-hot-restart").arg("--config-path").arg(config);
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
