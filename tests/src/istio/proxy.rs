//! A workload's proxy: Istio's agent, and the Envoy that it starts.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::authority::Authority;
use super::{PORT, own_address};
use crate::envoy::sum_of;
use crate::process::{Process, StartError, eventually};
use crate::{client, paths, ports};

/// Whose proxy it is.
#[derive(Clone, Debug)]
pub struct Workload {
    kind: &'static str,
    namespace: &'static str,
    account: &'static str,
    labels: Value,
    address: Ipv4Addr,
    workers: u32,
}

impl Workload {
    /// The service's pod.
    pub fn service() -> Self {
        Self::new("sidecar", "cartgate", "cartgate", json!({"app": "cartgate"}))
    }

    /// The legacy frontend's pod.
    pub fn frontend() -> Self {
        Self::new("sidecar", "shop", "legacy-frontend", json!({"app": "legacy-frontend"}))
    }

    /// The ingress gateway.
    pub fn gateway() -> Self {
        let labels = json!({"istio": "ingressgateway"});
        Self::new("router", "istio-system", "istio-ingressgateway", labels)
    }

    fn new(
        kind: &'static str,
        namespace: &'static str,
        account: &'static str,
        labels: Value,
    ) -> Self {
        Self { kind, namespace, account, labels, address: own_address(), workers: 1 }
    }

    /// Another pod, whose label is the name of its service account.
    pub fn pod(namespace: &'static str, account: &'static str) -> Self {
        Self::new("sidecar", namespace, account, json!({"app": account}))
    }

    /// The same, whose Envoy has so many worker threads.
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    pub(super) fn namespace(&self) -> &'static str {
        self.namespace
    }

    pub(super) fn account(&self) -> &'static str {
        self.account
    }

    pub(super) fn labels(&self) -> &Value {
        &self.labels
    }

    /// Its pod's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its pod's name.
    pub fn name(&self) -> String {
        format!("{}-{}", self.account, self.address)
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    /// The agent; its log has Envoy's in it.
    pub agent: Process,
    address: SocketAddr,
    admin: SocketAddr,
    status: SocketAddr,
    access_log: PathBuf,
}

impl Proxy {
    pub(super) async fn start(
        dir: &Path,
        workload: &Workload,
        istiod: SocketAddr,
        authority: &Authority,
    ) -> Result<Self, StartError> {
        let [admin, status, prometheus, agent_status] = [(); 4].map(|()| ports::free_address());
        let bootstrap = dir.join("bootstrap.json");
        prepare(dir, &bootstrap, workload, authority)
            .map_err(|e| StartError::Config { path: dir.to_owned(), reason: e.to_string() })?;
        let config = json!({
            "binaryPath": paths::envoy()?,
            "configPath": dir.join("proxy"),
            "discoveryAddress": istiod.to_string(),
            "controlPlaneAuthPolicy": "NONE",
            "proxyAdminPort": admin.port(),
            "statusPort": agent_status.port(),
            "concurrency": workload.workers,
            "fileFlushInterval": "0.1s",
            "terminationDrainDuration": "0s",
        });

        let mut command = Command::new(paths::istio("pilot-agent")?);
        command.env_clear().current_dir(dir).envs([
            ("PROXY_CONFIG", config.to_string()),
            ("ISTIO_BOOTSTRAP", bootstrap.display().to_string()),
            ("POD_NAME", workload.name()),
            ("POD_NAMESPACE", workload.namespace.to_owned()),
            ("SERVICE_ACCOUNT", workload.account.to_owned()),
            ("INSTANCE_IP", workload.address.to_string()),
            ("ISTIO_METAJSON_LABELS", workload.labels.to_string()),
            ("ISTIO_META_INTERCEPTION_MODE", "NONE".to_owned()),
            ("ENVOY_STATUS_PORT", status.port().to_string()),
            ("ENVOY_PROMETHEUS_PORT", prometheus.port().to_string()),
            // The registry of a test has no certificate.
            ("WASM_INSECURE_REGISTRIES", "*".to_owned()),
        ]);
        command.args(["proxy", workload.kind, "--domain"]);
        command.arg(format!("{}.svc.cluster.local", workload.namespace));

        let (log, access_log) = (dir.join("log/proxy.log"), dir.join("log/access.log"));
        let mut agent = Process::spawn("proxy", command, &log, Some(&access_log))?;
        let client = client::http();
        let ready = || async {
            let answer = client.get(format!("http://{admin}/ready")).send().await.ok()?;
            answer.status().is_success().then_some(())
        };
        agent.until_ready(ready).await?;
        let address = (workload.address, PORT).into();
        Ok(Self { agent, address, admin, status: agent_status, access_log })
    }

    /// Where it listens for requests.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its Envoy's process, while it runs.
    pub fn envoy(&self) -> Option<u32> {
        let envoy = children(self.agent.id()?).into_iter().next()?;
        u32::try_from(envoy.as_raw_nonzero().get()).ok()
    }

    /// Ends it, and waits for it: Envoy first, whose CPU time is its agent's then, and the agent's is ours.
    ///
    /// # Errors
    /// The operating system cannot tell how it ended.
    pub async fn stop(mut self) -> io::Result<()> {
        self.kill_envoy();
        self.agent.stop().await.map(drop)
    }

    fn kill_envoy(&self) {
        for envoy in self.agent.id().map(children).into_iter().flatten() {
            // An error means that it has ended already.
            let _ = kill_process(envoy, Signal::KILL);
        }
    }

    /// What its access log has so far: one JSON object per line.
    pub fn access_log(&self) -> Vec<Value> {
        let log = fs::read_to_string(&self.access_log).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until it knows that somebody is at `address`, which istiod tells it a moment after the rest, and
    /// takes connections.
    ///
    /// # Panics
    /// It is not told.
    pub async fn knows(&self, address: SocketAddr) {
        let healthy = format!("::{address}::health_flags::healthy");
        eventually("an endpoint", || async {
            self.ask_admin("/clusters").await.contains(&healthy).then_some(())
        })
        .await;
        // Clusters are there before the listeners that lead to them.
        eventually("a listener", || async {
            TcpStream::connect(self.address()).await.ok().map(drop)
        })
        .await;
    }

    /// What its Envoy and its agent have logged. The agent's lines are among those of the access log.
    pub fn log(&self) -> String {
        let logs = [self.agent.log(), &self.access_log];
        logs.map(|log| fs::read_to_string(log).unwrap_or_default()).concat()
    }

    /// Waits until its log has `text`.
    ///
    /// # Panics
    /// It does not come.
    pub async fn logs(&self, text: &str) {
        eventually(text, || async { self.log().contains(text).then_some(()) }).await;
    }

    /// What its Envoy's administration says.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn ask_admin(&self, path: &str) -> String {
        let answer = client::http().get(format!("http://{}{path}", self.admin)).send().await;
        answer.expect("an answer").text().await.expect("text")
    }

    /// The sum of a metric's series, as its agent tells Prometheus; `None`: it has none.
    ///
    /// # Panics
    /// The agent does not answer.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let url = format!("http://{}/stats/prometheus", self.status);
        let answer = client::http().get(url).send().await.expect("an answer");
        let page = answer.text().await.expect("text");
        let series = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
            rest.rsplit_once(' ')?.1.parse::<u64>().ok()
        });
        series.reduce(|sum, value| sum + value)
    }

    /// The sum of all its counters and gauges whose dotted name `matches`.
    ///
    /// # Panics
    /// The administration does not answer.
    pub async fn stat(&self, matches: impl Fn(&str) -> bool) -> u64 {
        sum_of(&self.ask_admin("/stats").await, matches)
    }
}

impl Drop for Proxy {
    /// The agent, when it is killed, leaves its Envoy behind.
    fn drop(&mut self) {
        self.kill_envoy();
    }
}

/// The processes that this one started.
fn children(id: u32) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children"));
    let lists: Vec<_> = threads.filter_map(|thread| of_thread(thread).ok()).collect();
    let ids = lists.iter().flat_map(|list| list.split_whitespace());
    ids.filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}

/// The annotation that istio/README.md tells to set, as an agent reads its pod's.
const ANNOTATIONS: &str =
    "sidecar.istio.io/statsInclusionPrefixes=\"extension_config_discovery\"\n";

fn prepare(
    dir: &Path,
    bootstrap: &Path,
    workload: &Workload,
    authority: &Authority,
) -> io::Result<()> {
    authority.certify(dir, workload.namespace, workload.account)?;
    // Where the agent keeps modules.
    fs::create_dir_all(dir.join("var/lib/istio/data"))?;
    let pod = dir.join("etc/istio/pod");
    fs::create_dir_all(&pod)?;
    fs::write(pod.join("annotations"), ANNOTATIONS)?;
    let template = paths::istio("envoy_bootstrap.json").map_err(io::Error::other)?;
    // Its own listeners, for metrics and health, are on loopback here.
    let template = fs::read_to_string(template)?.replace("{{ .wildcard }}", "{{ .localhost }}");
    fs::write(bootstrap, template)
}
