//! Another module, while requests come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cartgate_tests::paths;
use cartgate_tests::process::eventually;

use super::site::{Front, Plan, Site, order};

/// No request is lost over it, and what was counted is kept.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Istio: make test-istio"]
async fn a_new_module_loses_no_request() {
    let mut site = Plan::new(Front::Gateway, "gateway.yaml")
        .start_with(|mut manifests| {
            let mut settings = manifests.get("EnvoyFilter", "cartgate-filter").settings();
            settings["default_limit"] =
                serde_json::json!({"per_second": 100_000, "burst": 100_000});
            settings["limits"]["SLOW"] = serde_json::json!({"per_second": 1, "burst": 1_000});
            manifests.settings(&settings)
        })
        .await;
    assert_eq!(site.order("SLOW", 1_000).await.status(), 200);

    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (over, address) = (Arc::clone(&over), site.front.address());
            tokio::spawn(async move {
                let mut answers = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    let answer = order(address, "A", 1).await;
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    answers += 1;
                }
                answers
            })
        })
        .collect();

    // The other module is the one that tests can crash: it differs, and does the same.
    let other = paths::crashing_filter_module().unwrap();
    let image = site.registry.push("cartgate-filter-next", &other).await;
    let before = module(&site).await;
    site.apply(|manifests| manifests.image(&image));
    eventually("the other module", || async { (module(&site).await != before).then_some(()) })
        .await;
    let answered = site.passed();
    eventually("requests through the other module", || async {
        (site.passed() > answered + 200).then_some(())
    })
    .await;
    over.store(true, Ordering::Relaxed);
    let mut answers = 0;
    for caller in callers {
        answers += caller.await.unwrap();
    }
    // Each was passed on once.
    assert_eq!(site.passed() as u64, answers + 1);
    assert_eq!(site.order("SLOW", 500).await.status(), 429);
}

/// The file that the gateway's Envoy has its module from.
async fn module(site: &Site) -> String {
    let config = site.front.ask_admin("/config_dump?resource=ecds_filters").await;
    let line = config.lines().find(|line| line.contains("\"filename\""));
    line.unwrap_or_else(|| panic!("no module: {config}")).to_owned()
}
