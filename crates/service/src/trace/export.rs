//! The way of ended spans to the collector, with every span accounted for: sent, or dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};

use super::sampling::Sampling;
use super::{OtlpEndpoint, TraceError, TraceSettings};
use crate::http::{Trust, blocking_client};

/// Most spans in one request to the collector, as the specification of the SDK has it.
const BATCH_SPANS: usize = 512;

/// Longest time that a span waits for others to be sent with.
const SEND_EVERY: Duration = Duration::from_secs(1);

/// What makes spans and sends them.
pub fn provider(settings: &TraceSettings, endpoint: &OtlpEndpoint) -> Result<SdkTracerProvider, TraceError> {
    let endpoint = endpoint.traces();
    let refused = |cause: &dyn std::fmt::Display| TraceError::Exporter {
        endpoint: endpoint.clone(),
        cause: cause.to_string(),
    };
    let client = blocking_client(&Trust::of(&endpoint, None)).map_err(|error| refused(&error))?;
    let client = client.timeout(settings.timeout).build().map_err(|error| refused(&error))?;
    let exporter = OtlpExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&endpoint)
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| refused(&error))?;
    tracing::info!(endpoint, sample = settings.sample, "sending traces");
    let queue = Queue::new(exporter, settings.queue_spans, endpoint);
    Ok(SdkTracerProvider::builder()
        .with_span_processor(queue)
        .with_sampler(Sampling::new(settings.sample))
        .with_resource(resource(settings.service))
        .build())
}

/// Who sends the spans. The SDK adds what OTEL_RESOURCE_ATTRIBUTES says.
fn resource(service: &'static str) -> Resource {
    Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build()
}

/// A bounded queue before the SDK's processor. That one's own queue drops in silence; so it is given one as large as
/// this, which therefore never is full.
#[derive(Debug)]
struct Queue {
    inner: BatchSpanProcessor,
    /// Spans that wait or are on their way.
    held: Arc<AtomicUsize>,
    most: usize,
}

impl Queue {
    fn new<E: SpanExporter + 'static>(exporter: E, most: usize, endpoint: String) -> Self {
        let held = Arc::new(AtomicUsize::new(0));
        let exporter =
            Counted { inner: exporter, held: Arc::clone(&held), failing: AtomicBool::new(false), endpoint };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(most)
            .with_max_export_batch_size(BATCH_SPANS)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        Self { inner: BatchSpanProcessor::new(exporter, config), held, most }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let more = |held| (held < self.most).then_some(held + 1);
        match self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => self.inner.on_end(span),
            Err(_) => dropped("queue", 1),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// An exporter whose spans are counted.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    held: Arc<AtomicUsize>,
    /// Whether the last export failed, so that only a change is logged.
    failing: AtomicBool,
    endpoint: String,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        self.held.fetch_sub(spans, Ordering::Relaxed);
        let failed = result.is_err();
        let failed_before = self.failing.swap(failed, Ordering::Relaxed);
        match &result {
            Ok(()) => metrics::counter!("sawpit_trace_spans_sent_total").increment(spans as u64),
            Err(_) => dropped("export", spans),
        }
        match &result {
            Err(error) if !failed_before => {
                tracing::warn!(%error, endpoint = self.endpoint, "the collector takes no spans; they are dropped");
            }
            Ok(()) if failed_before => {
                tracing::info!(endpoint = self.endpoint, "the collector takes spans again")
            }
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

fn dropped(reason: &'static str, spans: usize) {
    metrics::counter!("sawpit_trace_spans_dropped_total", "reason" => reason).increment(spans as u64);
}
