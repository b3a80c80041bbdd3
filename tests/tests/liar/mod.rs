//! A proxy between clients and the service that lies in one way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use cartgate_tests::client;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// Leaves an entry out of each journal.
    DropEntry,
    /// Gives some orders without a key to the service twice, and shows one answer.
    ApplyTwice,
    /// Has two orders of the same quantity the wrong way round in each journal.
    SwapOrders,
}

/// A running liar. It stops when dropped.
#[derive(Debug)]
pub(crate) struct Liar {
    address: SocketAddr,
    server: JoinHandle<()>,
}

struct Between {
    service: SocketAddr,
    client: reqwest::Client,
    lie: Lie,
    orders: AtomicU64,
}

impl Liar {
    /// Starts between clients and `service`.
    pub(crate) async fn start(service: SocketAddr, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let orders = AtomicU64::new(0);
        let between = Between { service, client: client::http(), lie, orders };
        let router = Router::new().fallback(pass_on).with_state(Arc::new(between));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, server }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass_on(
    State(between): State<Arc<Between>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_order = method == Method::POST && uri.path() == "/v1/reservations";
    let is_keyed = headers.contains_key("idempotency-key");
    if between.lie == Lie::ApplyTwice && is_order && !is_keyed {
        let order = between.orders.fetch_add(1, Ordering::Relaxed);
        if order % 10 == 3 {
            between.ask(&method, &uri, &headers, &body).await;
        }
    }
    let (status, body) = between.ask(&method, &uri, &headers, &body).await;
    if !uri.path().ends_with("/journal") {
        return (status, body).into_response();
    }
    let mut page: Value = serde_json::from_slice(&body).unwrap();
    between.falsify(page["entries"].as_array_mut().unwrap());
    (status, page.to_string()).into_response()
}

impl Between {
    async fn ask(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> (StatusCode, Bytes) {
        let url = format!("http://{}{uri}", self.service);
        let request = self.client.request(method.clone(), url).headers(headers.clone());
        match request.body(body.clone()).send().await {
            Ok(answer) => (answer.status(), answer.bytes().await.unwrap_or_default()),
            Err(_) => (StatusCode::BAD_GATEWAY, Bytes::new()),
        }
    }

    fn falsify(&self, entries: &mut Vec<Value>) {
        let orders = |entries: &[Value]| {
            let is_order = |place: &usize| {
                entries[*place]["cause"] == "reserve" && entries[*place]["quantity"] == 1
            };
            (0..entries.len()).filter(is_order).collect::<Vec<_>>()
        };
        match (self.lie, &orders(entries)[..]) {
            (Lie::DropEntry, [_, second, _, ..]) => drop(entries.remove(*second)),
            (Lie::SwapOrders, [first, .., last]) => {
                let id = entries[*first]["reservation_id"].take();
                let other = std::mem::replace(&mut entries[*last]["reservation_id"], id);
                entries[*first]["reservation_id"] = other;
            }
            _ => {}
        }
    }
}
