//! Who may ask for what.

use std::path::Path;
use std::process::Command;

use cartgate_tests::client::http;
use cartgate_tests::issuer::Issuer;
use cartgate_tests::process::eventually;
use cartgate_tests::tokens::{self, create};
use cartgate_tests::{Answer, Service, ServiceOptions, paths};
use reqwest::Method;
use serde_json::{Value, json};

use super::assert_problem;

const MESH: &str = "spiffe://cluster.local/ns/shop/sa/legacy-cart";

/// A service that asks everybody who they are.
async fn closed(dir: &Path, file: &Path) -> Service {
    let mesh = format!("[access.mesh]\n\"{MESH}\" = [\"reserve\"]\n");
    let access = format!("{}{mesh}", tokens::setting(file));
    let options = ServiceOptions::new(dir).settings(&access);
    Service::start(&options).await.unwrap()
}

async fn ask(service: &Service, method: &str, path: &str, token: Option<&str>) -> Answer {
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
    let request = http().request(method, service.url(path)).json(&json!({}));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    Answer::to(request).await.unwrap()
}

/// The document says what opens each route, and so it is: route by route, scope by scope.
#[tokio::test(flavor = "multi_thread")]
async fn each_route_is_opened_by_its_scopes_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let scopes = ["reserve", "stock", "hot-items", "edge", "read", "admin"];
    let all = scopes.map(|scope| create(&file, scope, scope));
    let service = closed(dir.path(), &file).await;
    let document = Command::new(paths::service().unwrap()).arg("openapi").output().unwrap();
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    let mut routes = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let at = path.replace("{sku}", "X").replace("{id}", "0").replace("{edge}", &"0".repeat(16));
        for (method, operation) in operations.as_object().unwrap() {
            routes += 1;
            let security = operation["security"].as_array().unwrap();
            let wanted: Vec<&str> =
                security.iter().filter_map(|one| one["token"][0].as_str()).collect();
            let without = ask(&service, method, &at, None).await;
            if wanted.is_empty() {
                assert_eq!(without.status, 200, "{method} {path}");
                continue;
            }
            assert_problem(&without, 401, "unauthenticated");
            assert_eq!(without.header("www-authenticate"), Some("Bearer"));
            for (scope, token) in scopes.iter().zip(&all) {
                let answer = ask(&service, method, &at, Some(token)).await;
                if wanted.contains(scope) || *scope == "admin" {
                    assert!(![401, 403].contains(&answer.status), "{method} {path} {scope}");
                } else {
                    assert_problem(&answer, 403, "insufficient-scope");
                    assert_eq!(answer.body["scopes"], json!(wanted), "{method} {path}");
                }
            }
        }
    }
    assert!(routes > 20, "{routes}");
    // What is not there is nobody's secret; nobody gets in by another spelling or method.
    assert_problem(&ask(&service, "get", "/nowhere", None).await, 404, "not-found");
    assert_problem(&ask(&service, "delete", "/v1/carts", None).await, 401, "unauthenticated");
    assert_problem(&ask(&service, "delete", "/live", None).await, 405, "method-not-allowed");
    let head = http().head(service.url("/v1/edges")).send().await.unwrap();
    assert_eq!(head.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_rotated_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let first = create(&file, "shop", "stock");
    let service = closed(dir.path(), &file).await;
    let status = async |token: &str| ask(&service, "get", "/v1/skus/X", Some(token)).await.status;
    assert_eq!(status(&first).await, 404);
    let second = create(&file, "shop", "stock");
    let is_in = async || (status(&second).await == 404).then_some(());
    eventually("the second token to be good", is_in).await;
    assert_eq!(status(&first).await, 404, "both are good meanwhile");
    let listed: Value = serde_json::from_str(&tokens::ask(&file, &["list"])).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!((&listed[0]["client"], &listed[1]["scopes"]), (&json!("shop"), &json!(["stock"])));
    tokens::ask(&file, &["revoke", id]);
    let is_out = async || (status(&first).await == 401).then_some(());
    eventually("the first token to be no good", is_out).await;
    assert_eq!(status(&second).await, 404);
    // Nobody who breaks the file locks everybody out.
    std::fs::write(&file, "token = 1").unwrap();
    let log = async || service.log().contains("what it said before goes on").then_some(());
    eventually("the service to complain", log).await;
    assert_eq!(status(&second).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_the_mesh_is_known_by_its_sidecar() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    create(&file, "shop", "stock");
    let service = closed(dir.path(), &file).await;
    let ask = async |path: &str, forwarded: &str| {
        let request = http().get(service.url(path)).header("x-forwarded-client-cert", forwarded);
        Answer::to(request).await.unwrap()
    };
    let own = format!("By=spiffe://x;Hash=00;URI={MESH}");
    assert_problem(&ask("/v1/tickets/0", &own).await, 404, "unknown-ticket");
    assert_problem(&ask("/v1/skus/X", &own).await, 403, "insufficient-scope");
    let others = format!("{own},By=x;URI=spiffe://cluster.local/ns/shop/sa/other");
    assert_problem(&ask("/v1/tickets/0", &others).await, 401, "unauthenticated");
}

/// An issuer changes its keys, and nobody tells the service; while it is away, what it said goes on.
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_an_issuer_are_fetched_where_it_publishes_them() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(dir.path()).await;
    let first = issuer.rotate("first");
    let options = ServiceOptions::new(dir.path()).settings(&issuer.setting("cartgate"));
    let service = Service::start(&options.trusting(issuer.certificate())).await.unwrap();
    let ask = async |token: &str| ask(&service, "get", "/v1/skus/X", Some(token)).await;
    let good = issuer.sign(&first, "cartgate", "stock openid");
    assert_problem(&ask(&good).await, 404, "unknown-sku");
    assert_problem(
        &ask(&issuer.sign(&first, "cartgate", "reserve")).await,
        403,
        "insufficient-scope",
    );
    assert_problem(&ask(&issuer.sign(&first, "other", "stock")).await, 401, "unauthenticated");
    assert_eq!(issuer.asked(), 1);
    let second = issuer.rotate("second");
    let new = issuer.sign(&second, "cartgate", "stock");
    let is_known = async || (ask(&new).await.status == 404).then_some(());
    eventually("the new key to be known", is_known).await;
    assert_eq!(issuer.asked(), 2, "once, however often it was asked");
    // Attempts may have used up what is told to each.
    let is_out = async || (ask(&good).await.status == 401).then_some(());
    eventually("the first key to be no good", is_out).await;
    drop(issuer);
    assert_problem(&ask(&new).await, 404, "unknown-sku");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_issuer_waits_for_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(dir.path()).await;
    let key = issuer.rotate("first");
    let good = issuer.sign(&key, "cartgate", "stock");
    // It answers, but nobody who does not know its certificate believes it.
    let options = ServiceOptions::new(dir.path()).settings(&issuer.setting("cartgate"));
    let service = Service::start(&options.trusting(&paths::service().unwrap())).await.unwrap();
    let refused = ask(&service, "get", "/v1/skus/X", Some(&good)).await;
    assert_problem(&refused, 503, "unavailable");
    assert!(refused.header("retry-after").is_some());
    assert!(service.log().contains("keys cannot be fetched"), "{}", service.log());
    assert_eq!(http().get(service.url("/live")).send().await.unwrap().status(), 200);
}

/// Whoever tries and tries is told to come later; who has a token is not.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_and_limited() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let good = create(&file, "shop", "stock");
    let service = closed(dir.path(), &file).await;
    let mut last = None;
    for _ in 0..5_000 {
        let answer = ask(&service, "get", "/v1/skus/X", Some("cg_0_0")).await;
        if answer.status == 429 {
            last = Some(answer);
            break;
        }
        assert_problem(&answer, 401, "unauthenticated");
    }
    let refused = last.expect("the service told to come later");
    assert_problem(&refused, 429, "too-many-attempts");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(ask(&service, "get", "/v1/skus/X", Some(&good)).await.status, 404);
    let read = create(&file, "prometheus", "read");
    let counted = async || {
        let metrics = http().get(service.url("/metrics")).bearer_auth(&read).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        metrics.contains(r#"status="429",problem="too-many-attempts""#).then_some(())
    };
    eventually("attempts to be told", counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn development_mode_says_so_in_each_answer() {
    let (_dir, service, _shop) = super::service("").await;
    for path in ["/live", "/v1/edges", "/nowhere"] {
        let answer = http().get(service.url(path)).send().await.unwrap();
        assert_eq!(answer.headers()["cartgate-access"], "development", "{path}");
    }
    assert!(service.log().contains("everybody who reaches"), "{}", service.log());
}
