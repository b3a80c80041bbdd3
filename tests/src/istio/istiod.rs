//! istiod, which reads files instead of asking Kubernetes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::Manifests;
use crate::process::{Process, StartError};
use crate::{paths, ports};

/// A running `pilot-discovery`.
#[derive(Debug)]
pub struct Istiod {
    /// The process.
    pub process: Process,
    config: PathBuf,
    grpc: SocketAddr,
}

impl Istiod {
    pub(super) async fn start(dir: &Path, manifests: &Manifests) -> Result<Self, StartError> {
        let [http, grpc, monitoring, introspection] = [(); 4].map(|()| ports::free_address());
        let (config, mesh) = (dir.join("config"), dir.join("mesh.yaml"));
        let written = fs::create_dir_all(&config)
            .and_then(|()| fs::write(&mesh, mesh_config().to_string()))
            .and_then(|()| manifests.iter().try_for_each(|manifest| manifest.write(&config)));
        written.map_err(|e| StartError::Config { path: config.clone(), reason: e.to_string() })?;

        let mut command = Command::new(paths::istio("pilot-discovery")?);
        // What else is in the environment would be its settings, too.
        command.env_clear().current_dir(dir).envs([
            // Istio's own filters, which are in its build of Envoy alone. One tells the other side who calls,
            // for metrics; the other chooses a name of the protocol within TLS.
            ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
            ("PILOT_ENABLE_ALPN_FILTER", "false"),
            // As istio/README.md has it: proxies answer `Expect: 100-continue` themselves.
            ("ENABLE_100_CONTINUE_HEADERS", "false"),
        ]);
        command.args(["discovery", "--registries=", "--secureGRPCAddr=", "--httpsAddr="]);
        command.args(["--namespace=istio-system", "--profile=false", "--shutdownDuration=0s"]);
        command.arg(format!("--configDir={}", config.display()));
        command.arg(format!("--meshConfig={}", mesh.display()));
        command.arg(format!("--httpAddr={http}"));
        command.arg(format!("--grpcAddr={grpc}"));
        command.arg(format!("--monitoringAddr={monitoring}"));
        command.arg(format!("--ctrlz_address={}", introspection.ip()));
        command.arg(format!("--ctrlz_port={}", introspection.port()));

        let mut process = Process::spawn("istiod", command, &dir.join("log/istiod.log"), None)?;
        // It never calls itself ready: it waits for its webhooks, which only Kubernetes calls. It takes
        // proxies once it has read everything.
        process.until_ready(async || TcpStream::connect(grpc).await.ok()).await?;
        Ok(Self { process, config, grpc })
    }

    /// Where proxies ask it.
    pub(super) fn address(&self) -> SocketAddr {
        self.grpc
    }

    /// Changes these, as `kubectl apply` does: istiod sees that the files have changed.
    ///
    /// # Panics
    /// They cannot be written.
    pub fn apply(&self, manifests: &Manifests) {
        for manifest in manifests.iter() {
            manifest.write(&self.config).expect("a manifest is written");
        }
    }

    /// Takes these away, as `kubectl delete` does.
    ///
    /// # Panics
    /// They are not there.
    pub fn delete(&self, manifests: &Manifests) {
        for manifest in manifests.iter() {
            manifest.remove(&self.config).expect("the manifest is there");
        }
    }
}

fn mesh_config() -> serde_json::Value {
    json!({
        "rootNamespace": "istio-system",
        "trustDomain": "cluster.local",
        // As istio/README.md has it.
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "accessLogFormat": json!({
            "path": "%REQ(:PATH)%",
            "status": "%RESPONSE_CODE%",
            "details": "%RESPONSE_CODE_DETAILS%",
            "verdict": "%FILTER_STATE(wasm.cartgate_verdict:PLAIN)%",
            "lines": "%FILTER_STATE(wasm.cartgate_lines:PLAIN)%",
            "peer": "%DOWNSTREAM_PEER_URI_SAN%",
        }).to_string(),
    })
}
