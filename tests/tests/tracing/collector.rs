//! A collector that takes OTLP over HTTP, or keeps whoever sends it something waiting.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::serve::Listener;
use cartgate_tests::process::eventually;
use cartgate_tests::redis::Certificate;
use cartgate_tests::tls::TlsListener;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;
use tokio::net::TcpListener;

/// A running collector; it ends with the test.
pub(crate) struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    taken: Arc<Mutex<Vec<Bytes>>>,
}

/// A span as it was exported.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace_id: String,
    pub(crate) id: String,
    /// Empty: it has none.
    pub(crate) parent: String,
    pub(crate) trace_state: String,
    pub(crate) is_server: bool,
    pub(crate) is_error: bool,
    /// When it began and ended, in nanoseconds since the epoch.
    pub(crate) times: (u64, u64),
    /// Its own.
    attributes: Vec<KeyValue>,
    /// Those of the process that it comes from.
    process: Vec<KeyValue>,
}

impl Span {
    /// An attribute, as text; empty if it has none of that name.
    pub(crate) fn get(&self, name: &str) -> String {
        text(&self.attributes, name)
    }

    /// An attribute of its process.
    pub(crate) fn of_process(&self, name: &str) -> String {
        text(&self.process, name)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|found| found.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

impl Collector {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        let (router, taken) = taking();
        Self { address: serve(listener().await, router), scheme: "http", taken }
    }

    /// The same, by TLS.
    pub(crate) async fn start_tls(certificate: &Certificate) -> Self {
        let (router, taken) = taking();
        let listener = TlsListener::bind(certificate).await;
        Self { address: serve(listener, router), scheme: "https", taken }
    }

    /// One that answers nobody.
    pub(crate) async fn start_hanging() -> Self {
        let router = Router::new().route("/v1/traces", post(async || pending::<()>().await));
        Self { address: serve(listener().await, router), scheme: "http", taken: Arc::default() }
    }

    /// Settings that send spans there, and sample so many of those whose callers do not say.
    pub(crate) fn settings(&self, sample: f64) -> String {
        format!("[tracing]\notlp = \"{}://{}\"\nsample = {sample:?}\n", self.scheme, self.address)
    }

    /// Everything that was sent to it, as it was sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.taken.lock().unwrap().concat()
    }

    /// All spans that it has.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let taken = self.taken.lock().unwrap();
        let requests = taken.iter().map(|body| ExportTraceServiceRequest::decode(&**body).unwrap());
        requests.flat_map(|request| request.resource_spans).flat_map(spans).collect()
    }

    /// The spans of a trace, when so many are there.
    pub(crate) async fn trace(&self, trace_id: &str, count: usize) -> Vec<Span> {
        eventually(&format!("{count} spans of {trace_id}"), || async {
            let mut spans = self.spans();
            spans.retain(|span| span.trace_id == trace_id);
            assert!(spans.len() <= count, "{spans:#?}");
            (spans.len() == count).then_some(spans)
        })
        .await
    }
}

/// What takes spans, and what it has taken.
fn taking() -> (Router, Arc<Mutex<Vec<Bytes>>>) {
    let taken = Arc::<Mutex<Vec<Bytes>>>::default();
    let take = async |State(taken): State<Arc<Mutex<Vec<Bytes>>>>, head: HeaderMap, body| {
        assert_eq!(head["content-type"], "application/x-protobuf");
        taken.lock().unwrap().push(body);
    };
    (Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&taken)), taken)
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn serve(listener: impl Listener<Addr = SocketAddr>, router: Router) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn spans(
    of_process: opentelemetry_proto::tonic::trace::v1::ResourceSpans,
) -> impl Iterator<Item = Span> {
    let process = of_process.resource.map(|resource| resource.attributes).unwrap_or_default();
    let spans = of_process.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
    spans.map(move |span| Span {
        name: span.name,
        trace_id: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        trace_state: span.trace_state,
        is_server: span.kind == 2,
        is_error: span.status.is_some_and(|status| status.code == 2),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        attributes: span.attributes,
        process: process.clone(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
