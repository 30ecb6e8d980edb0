//! The trace of a request: what it tells of itself, of the plugins' calls, and of its way into the queue.
//!
//! Attributes name routes, plugins, ids and counts; never what a device sent.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use sawpit_model::MessageId;
use sawpit_plugins::RecordedCall;
use sawpit_queue::AppendError;
use sawpit_service::trace::{Kind, Past, RemoteContext, Span};
use sawpit_service::{TraceContext, Tracer};

use crate::app::Shared;
use crate::routes;

/// Which trace a request is part of (W3C Trace Context).
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The stream, as OpenTelemetry's conventions for messaging call it: the destination.
const DESTINATION: &str = "logs:stream";

/// What is asked every few seconds by machines, and would bury everything else.
const NOT_TRACED: [&str; 3] = [routes::LIVE, routes::READY, routes::METRICS];

/// The `traceparent` header, if it is well-formed. Of versions that may carry more, the rest is not passed on.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<(&str, RemoteContext)> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    // Version, trace id, parent id and flags, with hyphens between them.
    Some((text.get(..55)?, RemoteContext::parse(text)?))
}

/// The server's span of a request, if it is sampled.
pub(crate) fn begin(
    tracer: &Tracer,
    method: &'static str,
    route: &'static str,
    parent: Option<&RemoteContext>,
) -> Option<Span> {
    if !tracer.is_on() || NOT_TRACED.contains(&route) {
        return None;
    }
    let mut span = tracer.server(parent)?;
    span.rename(format!("{method} {route}"));
    span.set("http.request.method", if method == "other" { "_OTHER" } else { method });
    span.set("http.route", route);
    Some(span)
}

/// How the request was answered. Only our own errors make a server's span a failure.
pub(crate) fn answered(span: &mut Span, status: StatusCode) {
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
}

/// The trace that a request is part of.
pub(crate) struct Traced {
    /// Under which spans are made; none unless it is sampled.
    context: Option<TraceContext>,
    /// What the client sent.
    given: Option<String>,
}

impl Traced {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self {
            context: parts.extensions.get().cloned(),
            given: traceparent(&parts.headers).map(|(text, _)| text.to_owned()),
        }
    }

    pub(crate) const fn is_sampled(&self) -> bool {
        self.context.is_some()
    }

    /// Tells of the calls that the request's logs were in.
    pub(crate) fn calls(&self, calls: Vec<RecordedCall>) {
        let Some(context) = &self.context else { return };
        calls.into_iter().for_each(|call| context.past(told(call)));
    }

    /// Begins the append of so many messages.
    pub(crate) fn append(&self, app: &Shared, messages: usize) -> Append {
        let span = self.context.as_ref().filter(|_| messages > 0);
        let span = span.and_then(|context| context.child(format!("send {DESTINATION}"), Kind::Producer));
        let span = span.map(|mut span| {
            span.set("messaging.system", app.queue_kind());
            span.set("messaging.destination.name", DESTINATION);
            span.set("messaging.operation.name", "send");
            span.set("messaging.operation.type", "send");
            span
        });
        let traceparent = match &span {
            Some(span) => Some(span.context().traceparent()),
            None => self.given.clone(),
        };
        Append { span, traceparent }
    }
}

fn told(call: RecordedCall) -> Past {
    let (verdict, logs) = (call.verdict(), call.logs.len() as i64);
    let past = Past::new(format!("plugin {}", call.plugin), Kind::Internal, call.started, call.took)
        .with("sawpit.plugin.name", call.plugin)
        .with("sawpit.plugin.version", call.version)
        .with("sawpit.plugin.stage", call.stage.as_str())
        .with("sawpit.plugin.verdict", verdict)
        .with("sawpit.plugin.logs", logs)
        .with("sawpit.plugin.call.logs", call.size as i64);
    Past { error: call.error.map(Into::into), ..past }
}

/// The producer's span, while messages are appended.
pub(crate) struct Append {
    span: Option<Span>,
    traceparent: Option<String>,
}

impl Append {
    /// What the messages carry, so that a worker's spans are found from here.
    pub(crate) fn traceparent(&self) -> Option<String> {
        self.traceparent.clone()
    }

    pub(crate) fn queued(self, ids: &[MessageId]) {
        let Some(mut span) = self.span else { return };
        match ids {
            [id] => span.set("messaging.message.id", id.to_string()),
            ids => span.set("messaging.batch.message_count", ids.len() as i64),
        }
    }

    pub(crate) fn failed(self, error: &AppendError) {
        let Some(mut span) = self.span else { return };
        span.fail(match error {
            AppendError::Full { .. } => "full",
            AppendError::Unknown { .. } => "unknown",
            _ => "refused",
        });
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_is_taken() {
        let parse = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(text));
            traceparent(&headers).map(|(text, _)| text.to_owned())
        };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse(good).as_deref(), Some(good));
        let longer = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x";
        assert_eq!(parse(longer).as_deref(), longer.strip_suffix("-x"));
        for bad in ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "00-00-00-01"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
