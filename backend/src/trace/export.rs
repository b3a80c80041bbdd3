//! Spans on their way to a collector.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::KeyValue;
use opentelemetry_http::HttpClient;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    Protocol, SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::SpanExporter as _;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{OtlpUrl, Spans, TracingConfig};
use crate::clock::every;
use crate::random;
use crate::trouble::Trouble;

/// How often spans are sent. Nobody is woken for any of them: whoever records one does that and no more.
const EVERY: Duration = Duration::from_millis(200);

/// The most spans that are sent at once.
const BATCH_MAX: usize = 512;

/// How long a collector may take for a batch, with all attempts.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

/// How long the last spans are waited for at the end.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Why spans cannot be exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The machine names nobody whose certificates are believed.
    #[error("no certificate authority is known here: install ca-certificates, or use http://")]
    Roots(#[source] std::io::Error),
    /// The client of the collector refuses its settings.
    #[error("the exporter cannot be made")]
    Client(#[source] opentelemetry_otlp::ExporterBuildError),
}

/// Sends spans to a collector, in a task of its own. What it cannot send is dropped and counted; no request
/// waits for it.
pub struct Exporter {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Starts it, if there is somewhere to send spans to.
    ///
    /// # Errors
    /// It cannot be made as it is configured. Whether the collector is there is not asked.
    pub fn start(config: &TracingConfig, spans: &Arc<Spans>) -> Result<Option<Self>, ExportError> {
        let Some(url) = &config.otlp else { return Ok(None) };
        let sending = Sending {
            otlp: otlp(url, &config.service_name)?,
            spans: Arc::clone(spans),
            trouble: Trouble::new("the collector does not take spans"),
        };
        let (stop, stopped) = oneshot::channel();
        tracing::info!(otlp = %url, sample = config.sample, "spans are exported");
        Ok(Some(Self { stop, task: tokio::spawn(sending.run(stopped)) }))
    }

    /// Sends what is left, as far as that goes quickly.
    pub async fn stop(mut self) {
        // Nobody hears it if the task has panicked.
        let _ = self.stop.send(());
        if timeout(STOP_WITHIN, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("the last spans were not exported in time");
        }
    }
}

struct Sending {
    otlp: Otlp,
    spans: Arc<Spans>,
    trouble: Trouble,
}

impl Sending {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut ticks = every(EVERY);
        let mut is_last = false;
        while !is_last {
            is_last = tokio::select! {
                _ = &mut stop => true,
                _ = ticks.tick() => false,
            };
            while self.send_batch().await {}
        }
    }

    /// Sends some of what waits. Whether there may be more for a collector that takes it.
    async fn send_batch(&mut self) -> bool {
        let batch = self.spans.take(BATCH_MAX);
        if batch.is_empty() {
            return false;
        }
        let count = batch.len();
        let sent = timeout(EXPORT_WITHIN, self.otlp.export(batch)).await;
        let sent = sent.unwrap_or(Err(OTelSdkError::Timeout(EXPORT_WITHIN)));
        let is_sent = self.trouble.tell(sent).is_some();
        if is_sent {
            self.spans.count_exported(count);
        } else {
            self.spans.count_dropped("not-taken", count);
        }
        is_sent
    }
}

fn otlp(url: &OtlpUrl, service_name: &str) -> Result<Otlp, ExportError> {
    let exporter = Otlp::builder()
        .with_http()
        .with_shared_http_client(client(url)?)
        .with_endpoint(url.traces())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_WITHIN);
    let mut exporter = exporter.build().map_err(ExportError::Client)?;
    let instance = format!("{:032x}", u128::from_be_bytes(random::bytes()));
    let resource =
        Resource::builder().with_service_name(service_name.to_owned()).with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
        ]);
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

fn client(url: &OtlpUrl) -> Result<Arc<dyn HttpClient>, ExportError> {
    if !url.is_tls() {
        return Ok(Arc::new(HyperClient::with_default_connector(EXPORT_WITHIN, None)));
    }
    let provider = rustls::crypto::ring::default_provider();
    let connector = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
    let connector = connector.map_err(ExportError::Roots)?.https_only().enable_http1().build();
    Ok(Arc::new(HyperClient::new(connector, EXPORT_WITHIN, None)))
}
