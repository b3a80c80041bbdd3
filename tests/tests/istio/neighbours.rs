//! Who shares the shop's gateway: other hosts by HTTP, and what it passes on by TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use cartgate_tests::Upstream;
use cartgate_tests::istio::{Manifest, Manifests, service_at};
use cartgate_tests::process::eventually;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::site::{Front, Plan, ask};

const BY_HTTP: &str = "by-http.istio-system.svc.cluster.local";
const BY_TLS: &str = "by-tls.istio-system.svc.cluster.local";
const TLS_PORT: u16 = 8_443;

/// The policy that keeps shoppers from reporting is about the shop's own host and port, and nothing else.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn they_are_left_alone() {
    let (by_http, by_tls) = (Upstream::start().await, anything().await);
    let change = |mut manifests: Manifests| {
        let gateway = manifests.get("Gateway", "shop").at("/spec/servers/0/bind").clone();
        manifests
            .and(neighbours(&gateway))
            .with(service_at(BY_HTTP, 8_090, "HTTP", by_http.address()))
            .with(service_at(BY_TLS, 8_091, "TLS", by_tls))
    };
    let mut site = Plan::new(Front::Gateway, "edge/gateway.yaml").start_with(change).await;
    for (host, expected) in [("neighbour.example", 200), ("shop.example", 403)] {
        assert_eq!(ask(&site.front, host, "GET /v1/edges").await, expected, "{host}");
    }
    let tls = SocketAddr::new(site.front.address().ip(), TLS_PORT);
    assert!(is_passed_on(tls).await);

    // At the very same port it wants one word more, as is said there.
    let rule = |rule: Value| {
        move |mut manifests: Manifests| {
            let policy = manifests.get("AuthorizationPolicy", "cartgate-no-reports-from-outside");
            let shipped = policy.at("/spec/rules/0").as_object_mut().unwrap();
            shipped.extend(rule.as_object().unwrap().clone());
            shipped["to"][0]["operation"]["ports"] = json!([TLS_PORT.to_string()]);
            manifests
        }
    };
    site.apply(rule(json!({})));
    let is_cut_off = async || (!is_passed_on(tls).await).then_some(());
    eventually("TLS is cut off", is_cut_off).await;
    site.apply(rule(json!({"when": [{"key": "connection.sni", "values": ["shop.example"]}]})));
    eventually("TLS is passed on", async || is_passed_on(tls).await.then_some(())).await;
}

/// What the gateway has beside the shop.
fn neighbours(bind: &Value) -> Manifests {
    let server = |port: u16, protocol: &str, host: &str| {
        json!({
            "port": {"number": port, "name": protocol, "protocol": protocol},
            "bind": bind,
            "hosts": [host],
        })
    };
    let mut by_tls = server(TLS_PORT, "TLS", "tls.example");
    by_tls["tls"] = json!({"mode": "PASSTHROUGH"});
    let by_http = server(8_080, "HTTP", "neighbour.example");
    let route = |name: &str, host: &str, routes: Value| {
        let mut spec = json!({"hosts": [host], "gateways": ["istio-system/neighbours"]});
        spec.as_object_mut().unwrap().extend(routes.as_object().unwrap().clone());
        resource("VirtualService", name, spec)
    };
    let to = |host: &str| json!([{"destination": {"host": host}}]);
    let by_sni = json!([{"match": [{"sniHosts": ["tls.example"]}], "route": to(BY_TLS)}]);
    let gateway = json!({"selector": {"istio": "ingressgateway"}, "servers": [by_http, by_tls]});
    Manifests::default()
        .with(resource("Gateway", "neighbours", gateway))
        .with(route("by-http", "neighbour.example", json!({"http": [{"route": to(BY_HTTP)}]})))
        .with(route("by-tls", "tls.example", json!({"tls": by_sni})))
}

fn resource(kind: &str, name: &str, spec: Value) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": spec,
    }))
}

/// Whether what a client of TLS says first comes to `anything`.
async fn is_passed_on(gateway: SocketAddr) -> bool {
    let roots = RootCertStore::empty();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = "tls.example".try_into().unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    // Whoever is cut off may find out by an error.
    let _ = stream.read_to_end(&mut answer).await;
    answer == ANSWER
}

const ANSWER: &[u8] = b"reached";

/// A server that has one answer to anything.
async fn anything() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // It has read all: what is left unread would make closing an error at the other end.
            let read = stream.read(&mut [0; 4_096]).await;
            if matches!(read, Ok(1..)) && stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    });
    address
}
