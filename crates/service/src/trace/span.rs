//! A span, and what spans are made under.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

pub use opentelemetry::Value;

/// What a child does, as seen from the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something within the process.
    Internal,
    /// It asks another system and waits for the answer.
    Client,
    /// It sends messages that somebody takes up later.
    Producer,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Internal => Self::Internal,
            Kind::Client => Self::Client,
            Kind::Producer => Self::Producer,
        }
    }
}

/// A sampled span that has begun. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    span: opentelemetry_sdk::trace::Span,
    context: TraceContext,
}

/// What children are made under; it may outlive its span. Clones are one.
#[derive(Clone, Debug)]
pub struct TraceContext {
    tracer: SdkTracer,
    context: Context,
}

/// Something that is over, to be told as a span.
#[derive(Clone, Debug)]
pub struct Past {
    /// What it was.
    pub name: Cow<'static, str>,
    /// What it did, as seen from the outside.
    pub kind: Kind,
    /// When it began.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// The class of its error (`error.type`), if it failed.
    pub error: Option<Cow<'static, str>>,
}

impl Past {
    /// Without attributes, and a success.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind, started: Instant, took: Duration) -> Self {
        Self { name: name.into(), kind, started, took, attributes: Vec::new(), error: None }
    }

    /// With an attribute more.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }
}

impl Span {
    /// None when it is not sampled.
    pub(super) fn recording(span: opentelemetry_sdk::trace::Span, tracer: &SdkTracer) -> Option<Self> {
        if !span.is_recording() {
            return None;
        }
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        Some(Self { span, context: TraceContext { tracer: tracer.clone(), context } })
    }

    /// What its children are made under.
    #[must_use]
    pub const fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Names it anew.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        self.span.update_name(name);
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.span.set_attribute(KeyValue::new(key, value));
    }

    /// Marks it as failed; `class` is its `error.type`, one of few.
    pub fn fail(&mut self, class: impl Into<Cow<'static, str>>) {
        fail(&mut self.span, class.into());
    }

    /// Points to another trace.
    pub fn link(&mut self, other: &TraceContext) {
        self.span.add_link(other.span_context(), Vec::new());
    }
}

impl TraceContext {
    /// A span that begins now.
    #[must_use]
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Option<Span> {
        let builder = SpanBuilder::from_name(name).with_kind(kind.into());
        Span::recording(self.tracer.build_with_context(builder, &self.context), &self.tracer)
    }

    /// Tells of something that is over.
    pub fn past(&self, past: Past) {
        // The SDK's own clock, as for the spans that begin and end by themselves.
        let start = opentelemetry::time::now() - past.started.elapsed();
        let attributes = past.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
        let builder = SpanBuilder::from_name(past.name)
            .with_kind(past.kind.into())
            .with_start_time(start)
            .with_attributes(attributes);
        let mut span = self.tracer.build_with_context(builder, &self.context);
        if let Some(class) = past.error {
            fail(&mut span, class);
        }
        span.end_with_timestamp(start + past.took);
    }

    /// The W3C header under which others make spans.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let context = self.span_context();
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags())
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.span_context().trace_id().to_string()
    }

    fn span_context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }
}

fn fail(span: &mut opentelemetry_sdk::trace::Span, class: Cow<'static, str>) {
    span.set_attribute(KeyValue::new("error.type", class));
    span.set_status(Status::error(""));
}
