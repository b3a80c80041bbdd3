//! A shop in a mesh: a gateway or a frontend, the service's pod, and what its sidecar stands in front of.

use std::net::SocketAddr;

use cartgate_tests::client::exchange;
use cartgate_tests::http1::Message;
use cartgate_tests::istio::{
    Manifests, Mesh, Proxy, Registry, SERVICE, Workload, calling_pod, service_pod,
};
use cartgate_tests::process::eventually;
use cartgate_tests::{Upstream, paths};
use serde_json::json;

/// A shop. Stopped when dropped.
pub(crate) struct Site {
    /// Where requests come in: the gateway, or the frontend's sidecar.
    pub(crate) front: Proxy,
    /// The service's sidecar.
    pub(crate) back: Proxy,
    /// What is behind that, unless a test has put another there.
    pub(crate) upstream: Upstream,
    /// What istiod was given.
    pub(crate) manifests: Manifests,
    /// Where the module came from.
    pub(crate) registry: Registry,
    /// The control plane.
    pub(crate) mesh: Mesh,
    _dir: tempfile::TempDir,
}

/// Where requests come in.
#[derive(Clone, Copy)]
pub(crate) enum Front {
    /// By the ingress gateway.
    Gateway,
    /// From a pod of the mesh.
    Frontend,
}

/// What a site is made of.
pub(crate) struct Plan {
    front: Front,
    placement: &'static str,
    app: Option<SocketAddr>,
    registry_hangs: bool,
}

impl Plan {
    /// The filter where `placement`, a file of `istio/edge`, puts it.
    pub(crate) fn new(front: Front, placement: &'static str) -> Self {
        Self { front, placement, app: None, registry_hangs: false }
    }

    /// With a registry that hangs until it is resumed.
    pub(crate) fn registry_hangs(mut self) -> Self {
        self.registry_hangs = true;
        self
    }

    /// With `app` behind the service's sidecar.
    pub(crate) fn app(mut self, app: SocketAddr) -> Self {
        self.app = Some(app);
        self
    }

    /// Starts it.
    pub(crate) async fn start(self) -> Site {
        self.start_with(|manifests| manifests).await
    }

    /// Starts it, with manifests changed.
    pub(crate) async fn start_with(self, change: impl FnOnce(Manifests) -> Manifests) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(dir.path()).await.unwrap();
        let image = registry.push("cartgate-filter", &paths::filter_module().unwrap()).await;
        if self.registry_hangs {
            registry.process.pause();
        }
        let upstream = Upstream::start().await;
        let workload = match self.front {
            Front::Gateway => Workload::gateway().workers(2),
            Front::Frontend => Workload::frontend(),
        };
        let service = Workload::service();
        let app = self.app.unwrap_or(upstream.address());
        let files = [
            "edge/filter.yaml",
            "edge/routes.yaml",
            "edge/service.yaml",
            "edge/service-outside.yaml",
            self.placement,
        ];
        let manifests = Manifests::edited(&files, |yaml| reported_from(self.placement, yaml))
            .unwrap()
            .placed(service.address(), workload.address())
            .image(&image)
            .with(service_pod(&service, app));
        let manifests = match self.front {
            Front::Gateway => manifests,
            Front::Frontend => manifests.with(calling_pod(&workload)),
        };
        let manifests = change(manifests);
        let mesh = Mesh::start(&manifests).await.unwrap();
        let (front, back) = tokio::join!(mesh.proxy(&workload), mesh.proxy(&service));
        let (front, back) = (front.unwrap(), back.unwrap());
        front.knows(back.address()).await;
        Site { front, back, upstream, manifests, registry, mesh, _dir: dir }
    }
}

impl Site {
    /// Changes what istiod has, as `kubectl apply` does.
    pub(crate) fn apply(&mut self, change: impl FnOnce(Manifests) -> Manifests) {
        self.manifests = change(std::mem::take(&mut self.manifests));
        self.mesh.istiod.apply(&self.manifests);
    }

    /// How many requests have come through, without the reports of edges.
    pub(crate) fn passed(&self) -> usize {
        let seen = self.upstream.seen().requests;
        seen.iter().filter(|request| !request.start_line.contains("/v1/edges/")).count()
    }

    /// Orders so many units of a product, by JSON.
    pub(crate) async fn order(&self, sku: &str, quantity: u32) -> Message {
        order(self.front.address(), sku, quantity).await
    }

    /// Orders until the answer is of this status.
    pub(crate) async fn order_until(&self, sku: &str, quantity: u32, status: u16) -> Message {
        let what = format!("{status} for {quantity} of {sku}");
        eventually(&what, || async {
            let answer = self.order(sku, quantity).await;
            (answer.status() == status).then_some(answer)
        })
        .await
    }
}

/// `service.yaml` as it is to be for a filter in a sidecar: as the comments there say.
fn reported_from(placement: &str, yaml: String) -> String {
    let Some(file) = placement.strip_prefix("edge/sidecar-") else { return yaml };
    let instead = format!(" # with sidecar-{file} instead");
    let lines = yaml.lines().filter(|line| !line.ends_with(" # with gateway.yaml"));
    let lines = lines.map(|line| match line.strip_suffix(&instead) {
        Some(entry) => entry.replace("# - ", "- "),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Orders so many units at `address`.
pub(crate) async fn order(address: SocketAddr, sku: &str, quantity: u32) -> Message {
    let body = json!({"sku": sku, "quantity": quantity}).to_string();
    let head = format!(
        "POST /v1/reservations HTTP/1.1\r\nhost: {SERVICE}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    exchange(address, head + &body).await
}

/// The status of a request without a body.
pub(crate) async fn ask(by: &Proxy, host: &str, what: &str) -> u16 {
    ask_with(by, host, what, "").await
}

/// The same, with more lines in its head.
pub(crate) async fn ask_with(by: &Proxy, host: &str, what: &str, lines: &str) -> u16 {
    let request =
        format!("{what}?sku=A HTTP/1.1\r\nhost: {host}\r\n{lines}content-length: 0\r\n\r\n");
    exchange(by.address(), request).await.status()
}

/// With a limit for `SLOW` that one order uses up, and that stays so however slow a test is: a thousand units take
/// a thousand seconds to come back.
pub(crate) fn slow(mut manifests: Manifests) -> Manifests {
    let mut settings = manifests.get("EnvoyFilter", "cartgate-filter").settings();
    settings["limits"]["SLOW"] = json!({"per_second": 1, "burst": 1_000});
    manifests.settings(&settings)
}

/// All requests, whatever their path, go to the service, by the route that the filter is on for.
pub(crate) fn every_request(mut manifests: Manifests) -> Manifests {
    for service in ["shop", "cartgate"] {
        *manifests.get("VirtualService", service).at("/spec/http/0/match") =
            json!([{"uri": {"prefix": "/"}}]);
    }
    let orders = manifests.get("AuthorizationPolicy", "cartgate-orders");
    *orders.at("/spec/rules/0/to/0/operation/paths") = json!(["/*"]);
    manifests
}
