//! Configurations in the real Envoy: what we ship loads and limits, and what is wrong is refused
//! with a message that names the field.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use cartgate_tests::envoy::EnvoyFilter;
use cartgate_tests::{Edge, EnvoyConfig, Order, Shop, filter};
use serde_json::{Value, json};

/// Loads a configuration with `value` at `field`; Envoy must refuse it and name `message`.
async fn check_refused(pointer: &str, value: Value, message: &str) {
    let mut configuration = filter::configuration(filter::SLOW, &[]);
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = configuration.pointer_mut(parent).unwrap();
    match parent.as_array_mut() {
        Some(items) => items[key.parse::<usize>().unwrap()] = value,
        None => parent[key] = value,
    }
    let refused = Edge::with_filter(&configuration).await;
    let error = refused.err().unwrap_or_else(|| panic!("{configuration} was accepted"));
    assert!(error.to_string().contains(message), "{message:?} is not in:\n{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_by_name() {
    check_refused("/rate_limit", json!(1), "rate_limit").await;
    check_refused("/default_limit/burst", json!(0), "default_limit.burst").await;
    check_refused("/routes/3/sku/0", json!({ "json": "sku" }), "routes[3].sku[0].json").await;
    check_refused("/limits", json!({ "A B": {"per_second": 1, "burst": 1} }), "A B").await;
    check_refused("/default_limit", json!([1, 3]), "default_limit").await;
    check_refused("/body_mode", json!("lax"), "body_mode").await;
    check_refused("/routes", json!([]), "routes").await;
}

/// `envoy/envoy.yaml` as it stands, but for ports: it loads, and it limits the limited product.
#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_envoy_configuration_limits() {
    check_limits(EnvoyConfig::shipped().unwrap()).await;
}

/// What `istio/edge` does to the sidecar in front of the service, done to a plain Envoy. Only that the filter,
/// which a mesh sends by ADS, comes from a file.
#[tokio::test(flavor = "multi_thread")]
async fn the_envoyfilters_limit() {
    let (config, filter) = (EnvoyConfig::shipped().unwrap(), EnvoyFilter::shipped().unwrap());
    // Everywhere in a mesh the service has one name.
    let but_for_the_service = |settings: Option<Value>| {
        let mut settings = settings.unwrap();
        (settings["service"].take(), settings)
    };
    let (service, mut istio) = but_for_the_service(filter.settings());
    assert_eq!(istio.as_object_mut().unwrap().remove("version"), Some(json!(1)));
    // Inside of a mesh there are carts, too; envoy.yaml passes none on.
    assert_eq!(istio["routes"].as_array_mut().unwrap().pop().unwrap()["path"], "/v1/carts");
    let cluster = "outbound|8080||cartgate.cartgate.svc.cluster.local";
    assert_eq!(service, json!({ "cluster": cluster }));
    let (_, envoy) = but_for_the_service(config.filter_settings());
    assert_eq!(istio, envoy, "one configuration");
    let dir = tempfile::tempdir().unwrap();
    let (config, _file) = filter.apply(config, dir.path()).unwrap();
    check_limits(config).await;
}

/// Ten orders at once for the product that the demo limits: some pass, some do not.
async fn check_limits(config: EnvoyConfig) {
    let edge = Edge::start(config, 1).await.unwrap();
    let front = Shop::at(edge.envoy.address());
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let order = Order::one("LIMITED-SNEAKER");
        statuses.push(front.reserve_by_form(&order).await.unwrap().status);
        statuses.push(front.reserve(&order).await.unwrap().status);
    }
    assert_eq!(&statuses[..2], [200, 200], "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
}
