//! What a limit per product costs at a mesh's gateway: ours, the mesh's own way, and none (`make bench-istio`).
//!
//! Each is a real gateway that a real istiod has configured from the manifests in `istio/`. They are asked for
//! the same products, named in a header, which is where Envoy's own filter can find them; ours once more as it
//! is shipped: product and quantity in a JSON body, and a service that it reports to. The gateway passes on to
//! an upstream that costs next to nothing. No limit is reached.

use std::time::Duration;

use serde_json::json;

use super::closed::{self, Caller};
use super::cpu;
use super::edge::upstream;
use super::figures::Figure;
use super::request::{Skus, Template};
use super::run::{Run, progress};
use super::statistics::Series;
use crate::istio::{Manifests, Mesh, Proxy, Registry, SERVICE, Workload, service_at};
use crate::paths;
use crate::process::StartError;
use crate::ratelimit::{REDIS_SETTINGS, RatelimitService};
use crate::redis::{Redis, RedisOptions};
use crate::service::Service;

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 6;
const CATALOGUE: Skus = Skus::Zipf(10_000);
const HOST: &str = "shop.example";

/// One way to limit, or none.
struct Way {
    name: &'static str,
    mesh: Mesh,
    gateway: Proxy,
    /// Processes that take part, beside the gateway.
    asked: Vec<u32>,
    template: Template,
}

/// Measures all.
///
/// # Panics
/// Istio, envoyproxy/ratelimit or the filter is not built, or something is answered otherwise than it should be.
pub async fn measure(run: &mut Run) {
    let dir = run.dir().join("istio");
    std::fs::create_dir_all(&dir).expect("a directory");
    let cores = run.cores.apart();
    let redis = RedisOptions::new(&dir.join("redis")).settings(REDIS_SETTINGS);
    let mut redis = cores.for_server(Redis::start(&redis)).await.expect("Redis");
    let ratelimit = cores.for_server(RatelimitService::start(&dir, &redis)).await;
    let mut ratelimit = ratelimit.expect("envoyproxy/ratelimit");
    let asked = [&redis.process, &ratelimit.process].map(|it| it.id().expect("it runs")).to_vec();
    let registry = Registry::start(&dir).await.expect("a registry");

    let options = run.service_options("istio/service", "");
    let mut service = cores.for_server(Service::start(&options)).await.expect("the service");

    let upstream = upstream::start().await;
    let base = || shop().map(|it| it.with(service_at(UPSTREAM, 8_080, "HTTP", upstream)));
    let theirs = base().and_then(|base| theirs(base, &ratelimit)).expect("manifests");
    let module = paths::filter_module().expect("the filter");
    let image = registry.push("cartgate-filter", &module).await;
    let ours = || base().and_then(|base| ours(base, &image)).expect("manifests");
    let known = service_at(SERVICE, 8_080, "HTTP", service.address());
    let shipped = ours().with(known);
    let ours = by_header(ours());
    let none = base().expect("manifests");
    let mut ways = Vec::new();
    let by_body = vec![service.process.id().expect("it runs")];
    for (name, manifests, asked) in [
        ("none", none, vec![]),
        ("ours", ours, vec![]),
        ("theirs", theirs, asked),
        ("shipped", shipped, by_body),
    ] {
        ways.push(cores.for_server(start(name, manifests, asked)).await.expect("a gateway"));
    }
    let mut series = Series::default();
    let rounds = if run.extent.is_smoke { 1 } else { ROUNDS };
    for round in 1..=rounds {
        progress(&format!("the gateway, round {round} of {rounds}"));
        for way in &ways {
            load(run, way, &mut series).await;
        }
    }
    // What they used is ours only once they have ended.
    for Way { gateway, mut mesh, .. } in ways {
        gateway.stop().await.expect("it ends");
        mesh.istiod.process.kill().await.expect("it ends");
    }
    ratelimit.process.kill().await.expect("it ends");
    redis.kill().await.expect("it ends");
    service.process.kill().await.expect("it ends");
    report(run, &series);
}

const UPSTREAM: &str = "upstream.istio-system.svc.cluster.local";

/// What shoppers reach, as shipped, but that it is somebody else's.
fn shop() -> Result<Manifests, StartError> {
    let mut manifests = Manifests::shipped(&["edge/routes.yaml"])?;
    for route in [0, 1] {
        let destination = format!("/spec/http/{route}/route/0/destination/host");
        *manifests.get("VirtualService", "shop").at(&destination) = UPSTREAM.into();
    }
    Ok(manifests)
}

fn theirs(base: Manifests, ratelimit: &RatelimitService) -> Result<Manifests, StartError> {
    let entry =
        service_at("ratelimit.default.svc.cluster.local", 8_081, "GRPC", ratelimit.address());
    Ok(base.and(Manifests::shipped(&["comparison/ratelimit.yaml"])?).with(entry))
}

/// As shipped, but for its limits.
fn ours(base: Manifests, image: &str) -> Result<Manifests, StartError> {
    let shipped = Manifests::shipped(&["edge/filter.yaml", "edge/gateway.yaml"])?;
    let mut manifests = base.and(shipped).image(image);
    let mut settings = manifests.get("EnvoyFilter", "cartgate-filter").settings();
    settings["default_limit"] = json!({"per_second": 1_000_000, "burst": 1_000_000});
    Ok(manifests.settings(&settings))
}

/// With the product where Envoy's own filter finds it, too, and without a service.
fn by_header(mut manifests: Manifests) -> Manifests {
    let mut settings = manifests.get("EnvoyFilter", "cartgate-filter").settings();
    settings["routes"][0]["sku"] = json!([{"header": "x-sku"}]);
    settings["routes"][0]["quantity"] = json!([]);
    settings.as_object_mut().expect("an object").remove("service");
    manifests.settings(&settings)
}

async fn start(
    name: &'static str,
    mut manifests: Manifests,
    asked: Vec<u32>,
) -> Result<Way, StartError> {
    let workload = Workload::gateway();
    manifests.get("Gateway", "shop").at("/spec/servers/0")["bind"] = json!(workload.address());
    let mesh = Mesh::start(&manifests).await?;
    let gateway = mesh.proxy(&workload).await?;
    let template = match name {
        "shipped" => Template::reservation_at(HOST, CATALOGUE),
        _ => Template::new(
            &format!(
                "POST /v1/reservations HTTP/1.1\r\nhost: {HOST}\r\nx-sku: SKU-$$$$$\r\n\
                 content-length: 0\r\n\r\n"
            ),
            CATALOGUE,
        ),
    };
    Ok(Way { name, mesh, gateway, asked, template })
}

/// One phase: callers in a closed loop, and the CPU time of whoever takes part.
async fn load(run: &Run, way: &Way, series: &mut Series) {
    let address = way.gateway.address();
    let envoy = way.gateway.envoy().expect("Envoy runs");
    let used = |pids: &[u32]| pids.iter().map(|pid| cpu::of_process(*pid)).sum::<Duration>();
    let callers = Caller::connect_asking(address, &way.template, CONNECTIONS).await;
    let before = (used(&[envoy]), used(&way.asked));
    let tally = closed::run(callers, &way.template, &run.numbers, run.extent.phase).await;
    let after = (used(&[envoy]), used(&way.asked));
    assert_eq!(tally.count(200), tally.total(), "{}: {:?}", way.name, tally.statuses);
    let us = |time: Duration| time.as_secs_f64() * 1e6 / tally.total() as f64;
    series.note((way.name, "per_s"), tally.per_s(200));
    series.note((way.name, "p99_us"), tally.p99_us());
    series.note((way.name, "gateway_us"), us(after.0.saturating_sub(before.0)));
    series.note((way.name, "asked_us"), us(after.1.saturating_sub(before.1)));
}

fn report(run: &mut Run, series: &Series) {
    for name in ["ours", "theirs", "shipped"] {
        let note = format!(
            "{:.0}/s beside {:.0}/s; {:.1} us of the gateway's CPU a request beside {:.1}, and {:.1} us of \
             those that it asks; p99 {:.0} us beside {:.0}",
            series.median((name, "per_s")),
            series.median(("none", "per_s")),
            series.median((name, "gateway_us")),
            series.median(("none", "gateway_us")),
            series.median((name, "asked_us")),
            series.median((name, "p99_us")),
            series.median(("none", "p99_us")),
        );
        let ratio = series.ratio((name, "per_s"), ("none", "per_s"));
        run.add(Figure::new(format!("gateway_{name}_vs_none"), ratio, "x").note(note));
    }
    let ratio = series.ratio(("ours", "per_s"), ("theirs", "per_s"));
    run.add(Figure::new("gateway_ours_vs_theirs", ratio, "x").at_least(1.0));
}
