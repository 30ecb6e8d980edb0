//! Traces, sent to a collector by OTLP over HTTP/protobuf.
//!
//! The key decision: without `--otlp-endpoint` a [`Tracer`] is a `None`, so that a request pays for one branch. With it,
//! whether a request is sampled is decided once, at its head, and who is not sampled is `None` from then on. This is the
//! only crate that names OpenTelemetry; others have [`Span`] and [`TraceContext`].
//!
//! Nobody waits for the collector: ended spans lie in a bounded queue, which a thread of its own sends in batches. What
//! does not fit, or is not taken, is dropped and counted.

mod export;
mod remote;
mod sampling;
mod settings;
mod span;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{Link, SpanBuilder, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, trace::TraceContextExt};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

pub use remote::RemoteContext;
pub use settings::{OtlpEndpoint, SETTINGS, TraceSettings};
pub use span::{Kind, Past, Span, TraceContext, Value};

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The exporter refused its settings, or the system gave no thread.
    #[error("traces cannot be sent to {endpoint}: {cause}; check --otlp-endpoint, or leave it out")]
    Exporter {
        /// Where they were to go.
        endpoint: String,
        /// What the exporter says.
        cause: String,
    },
}

/// Makes spans, or none. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    timeout: Duration,
}

impl Tracer {
    /// Makes no spans.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts the thread that sends spans; off where there is no endpoint.
    ///
    /// # Errors
    /// When the exporter cannot be made. A collector that is away is no error.
    pub fn start(settings: &TraceSettings) -> Result<Self, TraceError> {
        let Some(endpoint) = &settings.endpoint else { return Ok(Self::off()) };
        let provider = export::provider(settings, endpoint)?;
        let tracer = provider.tracer("sawpit");
        Ok(Self(Some(Arc::new(On { tracer, provider, timeout: settings.timeout }))))
    }

    /// Whether spans are made at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The span of a request: a child of the client's context where it brought one. None unless it is sampled, which a
    /// client that brought a context has decided, and otherwise chance does.
    #[must_use]
    pub fn server(&self, parent: Option<&RemoteContext>) -> Option<Span> {
        self.root(SpanBuilder::from_name("request").with_kind(SpanKind::Server), parent)
    }

    /// The span of who takes messages up that were sent under `parent`. None unless that is sampled.
    #[must_use]
    pub fn consumer(&self, name: impl Into<String>, parent: &RemoteContext) -> Option<Span> {
        self.root(SpanBuilder::from_name(name.into()).with_kind(SpanKind::Consumer), Some(parent))
    }

    /// The span of who takes a batch up: a trace of its own, linked to where each message was sent. None unless one of
    /// these is sampled.
    #[must_use]
    pub fn batch_consumer(&self, name: impl Into<String>, linked: &[RemoteContext]) -> Option<Span> {
        if !linked.iter().any(RemoteContext::is_sampled) {
            return None;
        }
        let links = linked.iter().map(|remote| Link::with_context(remote.context().clone())).collect();
        let builder = SpanBuilder::from_name(name.into()).with_kind(SpanKind::Consumer);
        self.root(builder.with_links(links), None)
    }

    fn root(&self, builder: SpanBuilder, parent: Option<&RemoteContext>) -> Option<Span> {
        let on = self.0.as_ref()?;
        let context = match parent {
            Some(parent) if !parent.is_sampled() => return None,
            Some(parent) => Context::new().with_remote_span_context(parent.context().clone()),
            None => Context::new(),
        };
        Span::recording(on.tracer.build_with_context(builder, &context), &on.tracer)
    }

    /// Sends what waits, for as long as an export may take; what is left then is lost. Blocks. No span is made after it.
    pub fn shutdown(&self) {
        let Some(on) = &self.0 else { return };
        if let Err(error) = on.provider.shutdown_with_timeout(on.timeout) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}
