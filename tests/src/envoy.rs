//! The real Envoy as a child process, with the configuration we ship or one derived from it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::process::{Process, StartError};
use crate::{client, paths, ports};

/// The name of the cluster behind Envoy in every configuration we ship.
const CLUSTER: &str = "cartgate";

const WASM_FILTER: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// An Envoy configuration, as a document to change.
#[derive(Clone, Debug)]
pub struct EnvoyConfig(Value);

impl EnvoyConfig {
    /// `envoy/envoy.yaml`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn shipped() -> Result<Self, StartError> {
        Self::read(&shipped_path())
    }

    /// Any YAML file.
    ///
    /// # Errors
    /// It cannot be read, or is no YAML.
    pub fn read(path: &Path) -> Result<Self, StartError> {
        let error = |reason: String| StartError::Config { path: path.to_path_buf(), reason };
        let yaml = fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
        serde_saphyr::from_str(&yaml).map(Self).map_err(|e| error(e.to_string()))
    }

    /// Sends requests to `address` instead of the service's usual place.
    pub fn upstream(mut self, address: SocketAddr) -> Self {
        let clusters = self.0["static_resources"]["clusters"].as_array_mut();
        let ours = clusters.into_iter().flatten().find(|cluster| cluster["name"] == CLUSTER);
        let cluster = ours.unwrap_or_else(|| panic!("no cluster named {CLUSTER}"));
        for_each_object(cluster, &mut |object| {
            if object.contains_key("socket_address") {
                object.insert("socket_address".to_owned(), socket_address(address));
            }
        });
        self
    }

    /// Gives the filter another configuration, whatever it is.
    pub fn filter_configuration(self, configuration: &Value) -> Self {
        let value = json!({
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": configuration.to_string(),
        });
        self.each_filter(|filter| filter["config"]["configuration"] = value.clone())
    }

    /// Passes every path on, instead of the few that the shipped configuration lets through.
    pub fn route_everything(mut self) -> Self {
        let everything = json!({ "match": { "prefix": "/" }, "route": { "cluster": CLUSTER } });
        let host = json!({ "name": "all", "domains": ["*"], "routes": [everything] });
        for_each_object(&mut self.0, &mut |object| {
            if let Some(hosts) = object.get_mut("virtual_hosts") {
                *hosts = json!([host]);
            }
        });
        self
    }

    /// Replaces the filter's whole Envoy configuration, as `istio/` carries it.
    pub fn filter_typed_config(self, typed_config: &Value) -> Self {
        self.each_filter(|filter| *filter = typed_config.clone())
    }

    /// The filter's own configuration, in either of the forms that Envoy accepts.
    pub fn filter_settings(&self) -> Option<Value> {
        let mut found = None;
        self.clone().each_filter(|filter| {
            let settings = filter["config"]["configuration"]["value"].take();
            found = Some(match settings {
                Value::String(json) => serde_json::from_str(&json).unwrap_or_default(),
                object => object,
            });
        });
        found
    }

    /// Takes our filter out, for controls: what does Envoy do without it?
    pub fn without_filter(mut self) -> Self {
        for_each_object(&mut self.0, &mut |object| {
            if let Some(Value::Array(filters)) = object.get_mut("http_filters") {
                filters.retain(|filter| filter["typed_config"]["@type"] != WASM_FILTER);
            }
        });
        self
    }

    /// Sets members of the HTTP connection manager, as a patch of Istio's does, only that a nested
    /// member is replaced as a whole.
    pub fn merge_connection_manager(mut self, patch: &Value) -> Self {
        for_each_object(&mut self.0, &mut |object| {
            if object.get("@type") == patch.get("@type")
                && let Some(members) = patch.as_object()
            {
                object.extend(members.clone());
            }
        });
        self
    }

    /// The document.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    fn module(self, path: &Path) -> Self {
        let local = json!({ "local": { "filename": path } });
        self.each_filter(|filter| filter["config"]["vm_config"]["code"] = local.clone())
    }

    fn each_filter(mut self, mut change: impl FnMut(&mut Value)) -> Self {
        for_each_object(&mut self.0, &mut |object| {
            let typed_config = object.get_mut("typed_config");
            if let Some(filter) = typed_config.filter(|config| config["@type"] == WASM_FILTER) {
                change(filter);
            }
        });
        self
    }

    fn listener_mut(&mut self) -> &mut Value {
        &mut self.0["static_resources"]["listeners"][0]["address"]["socket_address"]
    }

    fn admin_mut(&mut self) -> &mut Value {
        &mut self.0["admin"]["address"]["socket_address"]
    }
}

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
        let mut config = config.module(&paths::filter_module()?);
        *config.listener_mut() = socket_address(address);
        *config.admin_mut() = socket_address(admin);
        let path = dir.join("envoy.json");
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&path, config.0.to_string()))
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

fn socket_address(address: SocketAddr) -> Value {
    json!({ "address": address.ip(), "port_value": address.port() })
}

fn port_of(socket_address: &Value) -> SocketAddr {
    let port = socket_address["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
    ports::loopback(port.expect("an address in envoy.yaml has a port"))
}

/// Visits every object in `value`, outermost first.
fn for_each_object(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|member| for_each_object(member, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| for_each_object(item, visit)),
        _ => {}
    }
}
