//! A mesh without Kubernetes: a real istiod that reads files, and real proxies that it configures, each with
//! the agent that a pod's sidecar has. What is in `istio/` goes to them as it stands.
//!
//! Each proxy has a loopback address of its own, so that all of them listen on the ports that the manifests
//! say. In place of the rules by which a pod's traffic comes to its sidecar, a `Sidecar` has it listen there.

mod authority;
mod istiod;
mod manifests;
mod proxy;
mod registry;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::StartError;

use authority::Authority;

pub use istiod::Istiod;
pub use manifests::{Manifest, Manifests};
pub use proxy::{Proxy, Workload};
pub use registry::Registry;

/// The name by which a mesh knows the service, in every manifest that we ship.
pub const SERVICE: &str = "cartgate.cartgate.svc.cluster.local";

/// The port of the service and of the gateway, in every manifest that we ship.
pub const PORT: u16 = 8080;

/// An istiod with its manifests, and an authority that says who is who. Stopped when dropped.
#[derive(Debug)]
pub struct Mesh {
    /// The control plane.
    pub istiod: Istiod,
    authority: Authority,
    dir: TempDir,
}

impl Mesh {
    /// Starts istiod with these manifests.
    ///
    /// # Errors
    /// Istio is not built (`make test-istio`), or does not start.
    pub async fn start(manifests: &Manifests) -> Result<Self, StartError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let istiod = Istiod::start(&dir.path().join("istiod"), manifests).await?;
        Ok(Self { istiod, authority: Authority::new(), dir })
    }

    /// Starts a proxy, and waits until it has its configuration.
    ///
    /// # Errors
    /// It does not start.
    pub async fn proxy(&self, workload: &Workload) -> Result<Proxy, StartError> {
        let dir = self.dir.path().join(workload.name());
        Proxy::start(&dir, workload, self.istiod.address(), &self.authority).await
    }

    /// A directory for whatever else a test starts.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A loopback address that this process gives out once, and other test processes seldom do.
///
/// # Panics
/// It has given out all that it has.
pub fn own_address() -> Ipv4Addr {
    static GIVEN: AtomicU8 = AtomicU8::new(1);
    let last = GIVEN.fetch_add(1, Ordering::Relaxed);
    assert!(last < u8::MAX, "no loopback address is left");
    let [.., high, low] = process::id().to_be_bytes();
    // 127.0.*.* is everybody's.
    Ipv4Addr::new(127, high | 0x80, low, last)
}

/// The service's sidecar, which stands in front of `app`.
pub fn service_pod(pod: &Workload, app: SocketAddr) -> Manifest {
    sidecar(
        pod,
        json!({
            "ingress": [{
                "port": {"number": PORT, "name": "http", "protocol": "HTTP"},
                "bind": pod.address(),
                "defaultEndpoint": app.to_string(),
                "captureMode": "NONE",
            }],
            // Nobody calls it there. It knows the services behind it, and one of them is whom it reports to.
            "egress": [egress(own_address())],
        }),
    )
}

/// The sidecar of a pod that calls others, through which it reaches every service.
pub fn calling_pod(pod: &Workload) -> Manifest {
    sidecar(pod, json!({"egress": [egress(pod.address())]}))
}

fn sidecar(pod: &Workload, mut spec: Value) -> Manifest {
    spec["workloadSelector"] = json!({"labels": pod.labels()});
    Manifest::new(json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": {"name": pod.name(), "namespace": pod.namespace()},
        "spec": spec,
    }))
}

/// A service by the name of its one pod's account, in the mesh.
pub fn service_of(pod: &Workload) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": pod.account(), "namespace": pod.namespace()},
        "spec": {
            "hosts": [format!("{}.{}.svc.cluster.local", pod.account(), pod.namespace())],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": PORT, "name": "http", "protocol": "HTTP"}],
            // Who has an account has a certificate, which callers are to ask for.
            "endpoints": [{"address": pod.address(), "serviceAccount": pod.account()}],
        },
    }))
}

/// A service in no pod, and in no mesh: nobody but this process knows where it is.
pub fn service_at(host: &str, port: u16, protocol: &str, address: SocketAddr) -> Manifest {
    let (name, _) = host.split_once('.').unwrap_or((host, ""));
    Manifest::new(json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": {
            "hosts": [host],
            "location": "MESH_EXTERNAL",
            "resolution": "STATIC",
            "ports": [
                {"number": port, "name": "main", "protocol": protocol, "targetPort": address.port()},
            ],
            "endpoints": [{"address": address.ip()}],
        },
    }))
}

fn egress(address: Ipv4Addr) -> Value {
    json!({
        "port": {"number": PORT, "name": "http", "protocol": "HTTP"},
        "bind": address,
        "captureMode": "NONE",
        "hosts": ["*/*"],
    })
}
