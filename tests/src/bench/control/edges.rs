//! Four Envoys and a service.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::run::Run;
use crate::envoy::{EnvoyOptions, REPORTS, WallClock};
use crate::process::eventually;
use crate::{Answer, Envoy, EnvoyConfig, Service, Shop, client, filter};

/// How far the edges' wall clocks are ahead of the service's.
const AHEAD_S: [i64; 4] = [0, 5, -5, 2];

/// How many edges there are.
pub(super) const EDGES: usize = AHEAD_S.len();

/// How many worker threads each has: what one hears, the other has to know.
const WORKERS: u32 = 2;

/// A service and its edges.
pub(super) struct Fleet {
    pub(super) service: Service,
    pub(super) shop: Shop,
    pub(super) envoys: Vec<Envoy>,
}

impl Fleet {
    /// Starts a service with these settings, and edges with this default limit, in a directory of their own.
    pub(super) async fn start(run: &Run, name: &str, settings: &str, default: (u32, u32)) -> Self {
        let service = run.start(&run.service_options(&format!("{name}/service"), settings)).await;
        let shop = Shop::at(service.address());
        let mut envoys = Vec::new();
        for (number, ahead_s) in AHEAD_S.iter().enumerate() {
            let dir = run.dir().join(format!("{name}/edge-{number}"));
            std::fs::create_dir_all(&dir).expect("a directory");
            let clock = WallClock::new(&dir).await.expect("a wall clock");
            clock.set(*ahead_s).expect("a wall clock");
            let options = EnvoyOptions::workers(WORKERS).wall_clock(&clock);
            let config = config(service.address(), default, true);
            let envoy = run.cores.for_server(Envoy::start_with(&dir, config, &options)).await;
            envoys.push(envoy.expect("Envoy"));
        }
        let fleet = Self { service, shop, envoys };
        fleet.until_all_report().await;
        fleet
    }

    /// Where the edges are.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.envoys.iter().map(Envoy::address).collect()
    }

    /// Registers a hot item, or changes it.
    pub(super) async fn register(&self, sku: &str, item: Value) {
        let url = self.service.url(&format!("/v1/hot-items/{sku}"));
        let answer = Answer::to(client::http().put(url).json(&item)).await.expect("an answer");
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }

    /// Puts units up for sale.
    pub(super) async fn set_stock(&self, sku: &str, quantity: u64) {
        let answer = self.shop.set_stock(sku, quantity).await.expect("an answer");
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }

    /// Waits until every edge has said that it knows of the item.
    pub(super) async fn until_known(&self, sku: &str) {
        eventually("all edges know the item", || async {
            let item = self.shop.get(&format!("/v1/hot-items/{sku}")).await.ok()?;
            let edges = item.body.get("edges")?;
            let counts = ["reporting", "acknowledged"].map(|name| edges[name].as_u64());
            (counts == [Some(EDGES as u64); 2]).then_some(())
        })
        .await;
    }

    /// Ends all of it.
    pub(super) async fn stop(self) {
        for mut envoy in self.envoys {
            envoy.process.kill().await.expect("it ends");
        }
        let mut service = self.service;
        service.process.kill().await.expect("it ends");
    }

    async fn until_all_report(&self) {
        eventually("all edges report", || async {
            let edges = self.shop.get("/v1/edges").await.ok()?;
            (edges.body["edges"] == EDGES).then_some(())
        })
        .await;
    }
}

/// What each edge runs: it answers 200 to what the filter admits. With or without reporting to a service.
pub(super) fn config(service: SocketAddr, default: (u32, u32), reports: bool) -> EnvoyConfig {
    let mut settings = filter::configuration(default, &[]);
    if reports {
        settings["service"] = json!({ "cluster": REPORTS });
    }
    let shipped = EnvoyConfig::shipped().expect("the configuration that we ship");
    let shipped = shipped.answer_everything(200).upstream(service).set("access_log", &json!([]));
    shipped.filter_configuration(&settings)
}
