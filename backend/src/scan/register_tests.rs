//! Registering at a service that answers as these tests want it to.

use std::io;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::arguments::RegisterArguments;
use super::logs::Lines;
use super::peaks::Found;
use super::register::{Outcome, Registration, register};
use super::report::{Asked, Report};
use crate::client::ServiceArguments;

const NOW: UnixMs = UnixMs(1_795_946_400_000);

/// What changes something, as it came: `PUT`, where to, at which version, what.
type Calls = Arc<Mutex<Vec<(Uri, Option<String>, Value)>>>;

/// Answers for each SKU as its name says.
async fn answer(
    State(calls): State<Calls>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let problem = |status: u16, name: &str, title: &str| {
        let body = json!({ "type": format!("urn:cartgate:problem:{name}"), "title": title });
        (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
    };
    assert_eq!(headers[header::AUTHORIZATION], "Bearer cg_token");
    let version = headers.get(header::IF_MATCH).map(|tag| tag.to_str().unwrap().to_owned());
    let sku = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    if method == Method::PUT {
        let body = serde_json::from_slice(&body).unwrap();
        calls.lock().unwrap().push((uri, version, body));
    }
    match (method, sku.as_str()) {
        (Method::GET, "NEW" | "BAD") => problem(404, "unknown-hot-item", ""),
        (Method::GET, "STRANGER") => problem(404, "nothing-of-ours", "Nothing here"),
        (Method::GET, "BY-HAND") => Json(json!({ "origin": "manual" })).into_response(),
        (Method::GET, _) => {
            let item = json!({ "origin": "detected", "customer_cap": 2, "version": 7 });
            ([(header::ETAG, "\"7\"")], Json(item)).into_response()
        }
        (_, "RACE") => problem(412, "hot-item-changed", "Changed"),
        (_, "BAD") => problem(409, "too-many-hot-items", "There are too many hot items"),
        // More than anybody wants to hear.
        (_, "BROKEN") => "x".repeat(100_000).into_response(),
        _ => Json(json!({})).into_response(),
    }
}

async fn service() -> io::Result<(ServiceArguments, Calls)> {
    let calls = Calls::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/shop/", listener.local_addr()?);
    let app = Router::new().fallback(answer).with_state(calls.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((at(&url), calls))
}

fn at(url: &str) -> ServiceArguments {
    ServiceArguments::new(url.parse().unwrap(), Some("cg_token".parse().unwrap()))
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    register: RegisterArguments,
}

/// Registers these at a service, and says what became of each.
async fn outcomes(service: &ServiceArguments, skus: &[&str], line: &str) -> Vec<Outcome> {
    let found: Vec<Found> = skus
        .iter()
        .map(|sku| Found {
            sku: Sku::parse(sku).unwrap(),
            requests: 9,
            denied: 0,
            peak: 9,
            peak_at: NOW,
            requests_missed_max: 0,
            peak_missed_max: 0,
        })
        .collect();
    let asked = Asked { window_ms: 1_000, threshold_per_s: 1, late_ms: 0, items_max: 9 };
    let report = Report::new(asked, Lines::default(), None, &found, (0, 0));
    let words = ["scan", "--register", "http://unused"].into_iter();
    let arguments = Command::parse_from(words.chain(line.split_whitespace())).register;
    let registrations = register(&report, service, &arguments, NOW).await;
    registrations.into_iter().map(|Registration { outcome, .. }| outcome).collect()
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed { reason: reason.to_owned() }
}

#[tokio::test]
async fn each_is_registered_by_itself() {
    let (service, calls) = service().await.unwrap();
    let skus = ["NEW", "BY-HAND", "BAD", "STRANGER", "RACE", "OLD"];
    assert_eq!(
        outcomes(&service, &skus, "").await,
        [
            Outcome::Registered,
            Outcome::LeftAlone { origin: "manual".to_owned() },
            failed("409 There are too many hot items"),
            failed("404 Nothing here"),
            Outcome::ChangedMeanwhile,
            Outcome::Renewed,
        ]
    );
    let calls = std::mem::take(&mut *calls.lock().unwrap());
    let [new, bad, race, old] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!((new.0.path(), &new.1), ("/shop/v1/hot-items/NEW", &None));
    let reason = "access log: 9/s over 1 s at 2026-11-29T09:59:59.001Z, threshold 1/s";
    let expected = json!({
        "origin": "detected", "reason": reason, "expires_at": "2026-11-29T11:00:00.000Z",
    });
    assert_eq!((&new.2, &bad.2), (&expected, &expected));
    // Only what was looked at is changed, and what it had stays.
    assert_eq!((race.1.as_deref(), old.1.as_deref()), (Some("\"7\""), Some("\"7\"")));
    assert_eq!(old.2["customer_cap"], 2);
}

#[tokio::test]
async fn after_one_without_an_answer_no_other_is_tried() {
    let (service, calls) = service().await.unwrap();
    let outcomes = outcomes(&service, &["NEW", "BROKEN", "OLD"], "").await;
    let [Outcome::Registered, Outcome::Failed { reason }, Outcome::NotTried] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(reason.ends_with("whether it was done is not known"), "{reason}");
    assert_eq!(calls.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_dry_run_sends_nothing() {
    let (service, calls) = service().await.unwrap();
    let outcomes = outcomes(&service, &["OLD", "BY-HAND"], "--dry-run --limit-per-second 5").await;
    let [Outcome::WouldPut { path, body }, Outcome::LeftAlone { .. }] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(path, "/v1/hot-items/OLD");
    assert_eq!(body["limit"], json!({ "per_second": 5, "burst": 5 }));
    assert_eq!(*calls.lock().unwrap(), []);
}

#[tokio::test]
async fn a_service_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = at(&format!("http://{}", listener.local_addr().unwrap()));
    drop(listener);
    let outcomes = outcomes(&url, &["NEW", "OLD"], "").await;
    let [Outcome::Failed { reason }, Outcome::NotTried] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(reason.starts_with("nobody is there"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_nothing_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = at(&format!("http://{}", listener.local_addr().unwrap()));
    let outcomes = outcomes(&url, &["NEW", "OLD"], "").await;
    assert!(matches!(outcomes[..], [Outcome::Failed { .. }, Outcome::NotTried]), "{outcomes:?}");
}
