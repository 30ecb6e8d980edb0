//! Around every route: request id, time-out, panics, counts and durations.
//!
//! Metrics name the route's pattern, never the path, or each device would make a series of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use sawpit_model::Timestamp;
use sawpit_service::{Throttle, Tracer, in_trace};
use tracing::Instrument;

use crate::app::Shared;
use crate::come_back::ComeBack;
use crate::problem::{self, Kind, Problem};
use crate::{routes, traced};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest `x-request-id` that is taken from a client, in bytes.
const REQUEST_ID_BYTES: usize = 128;

/// Makes ids that nobody else makes, for requests that bring none: unique among hosts by start time and process, within one by a count.
pub(crate) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(started: Timestamp) -> Self {
        Self {
            prefix: format!("{:x}-{:x}", started.as_micros(), std::process::id()),
            next: AtomicU64::new(0),
        }
    }

    /// A text that no other call gave, on any host.
    pub(crate) fn text(&self) -> String {
        format!("{}-{:x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn make(&self) -> HeaderValue {
        HeaderValue::try_from(self.text()).unwrap_or(HeaderValue::from_static("none"))
    }

    /// The client's id if it is short and printable, since it is written to logs; else one of ours.
    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(REQUEST_ID) {
            Some(id)
                if (1..=REQUEST_ID_BYTES).contains(&id.len())
                    && id.as_bytes().iter().all(u8::is_ascii_graphic) =>
            {
                id.clone()
            }
            _ => self.make(),
        }
    }
}

/// What the middleware needs, of a host or of another process with pages for operators.
pub(crate) struct Around {
    pub(crate) request_ids: Arc<RequestIds>,
    pub(crate) tracer: Tracer,
    /// Longest time from a request's head to its answer's.
    pub(crate) limit: Duration,
    pub(crate) come_back: Arc<ComeBack>,
    /// Lines of the log about errors of ours.
    pub(crate) errors: Throttle,
}

/// At most one line about an error of ours in this time.
pub(crate) const ERRORS_EVERY: Duration = Duration::from_secs(1);

impl Around {
    pub(crate) fn of(app: &Shared) -> Arc<Self> {
        Arc::new(Self {
            request_ids: Arc::clone(&app.request_ids),
            tracer: app.tracer.clone(),
            limit: app.settings.request_timeout,
            come_back: Arc::clone(&app.come_back),
            errors: Throttle::new(ERRORS_EVERY),
        })
    }
}

/// The middleware of all routes and of the fallbacks.
pub(crate) async fn observe(State(around): State<Arc<Around>>, mut request: Request, next: Next) -> Response {
    let (id, method) = (around.request_ids.of(request.headers()), request.method().clone());
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("unmatched", |path| routes::pattern(path.as_str(), &method));
    let methods = matched.map(|path| routes::methods(path.as_str()));
    let parent = traced::traceparent(request.headers()).map(|(_, parent)| parent);
    let mut span = traced::begin(&around.tracer, name(&method), route, parent.as_ref());
    if let Some(span) = &mut span {
        span.set("sawpit.request.id", id.to_str().unwrap_or_default().to_owned());
        request.extensions_mut().insert(span.context().clone());
    }
    let trace_id = span.as_ref().map(|span| span.context().trace_id());
    let work = observed(&around, &id, &method, route, request, next);
    let mut response = match trace_id.or_else(|| parent.map(|parent| parent.trace_id())) {
        Some(trace_id) => work.instrument(in_trace(&trace_id)).await,
        None => work.await,
    };
    if let Some(span) = &mut span {
        traced::answered(span, response.status());
    }
    response.headers_mut().insert(REQUEST_ID, id);
    let is_asked = method == Method::OPTIONS || response.status() == StatusCode::METHOD_NOT_ALLOWED;
    if let Some(methods) = methods.filter(|_| is_asked) {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    }
    response
}

async fn observed(
    around: &Around,
    id: &HeaderValue,
    method: &Method,
    route: &'static str,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let _in_flight = InFlightGauge::up();
    let response = answer(around, request, next).await;
    record(route, method, response.status(), started.elapsed());
    if response.status().is_server_error() && !is_not_ready(route, &response) {
        let (id, status) = (id.to_str().unwrap_or(""), response.status().as_u16());
        // While a queue is away each request would write one; the others show at the level debug.
        match around.errors.admit(Instant::now()) {
            Some(untold) => tracing::warn!(%method, route, status, id, untold, "answered an error of ours"),
            None => tracing::debug!(%method, route, status, id, "answered an error of ours"),
        }
    }
    response
}

/// Not being ready is an answer, and asked for every few seconds; that it could not be told is an error.
fn is_not_ready(route: &str, response: &Response) -> bool {
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|kind| *kind == problem::CONTENT);
    route == routes::READY && !is_problem
}

async fn answer(around: &Around, request: Request, next: Next) -> Response {
    let limit = around.limit;
    let guarded = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, guarded).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::internal("a handler panicked").into_response(),
        Err(_) => Problem::new(
            Kind::RequestTimeout,
            format!(
                "No answer within {} s. What was posted may have been stored: send it again with the same \
                 Idempotency-Key; without one it may be stored twice.",
                limit.as_secs_f32()
            ),
        )
        .retry_after(around.come_back.seconds())
        .into_response(),
    }
}

fn record(route: &'static str, method: &Method, status: StatusCode, took: Duration) {
    let status = status.as_str().to_owned();
    metrics::counter!("sawpit_http_requests_total", "route" => route, "method" => name(method), "status" => status)
        .increment(1);
    metrics::histogram!("sawpit_http_request_duration_seconds", "route" => route).record(took.as_secs_f64());
}

/// Methods are open-ended, and a label must not be.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// One request in flight, also when its future is dropped because the client left.
struct InFlightGauge;

impl InFlightGauge {
    fn up() -> Self {
        metrics::gauge!("sawpit_http_in_flight").increment(1);
        Self
    }
}

impl Drop for InFlightGauge {
    fn drop(&mut self) {
        metrics::gauge!("sawpit_http_in_flight").decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_choose_an_id_that_is_long_or_unprintable() {
        let ids = RequestIds::new(Timestamp::from_micros(255));
        let of = |value: HeaderValue| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, value);
            ids.of(&headers)
        };
        assert_eq!(of(HeaderValue::from_static("abc-1")), "abc-1");
        assert_ne!(of(HeaderValue::from_static("a b")), "a b");
        let (longest, longer) = ("x".repeat(REQUEST_ID_BYTES), "x".repeat(REQUEST_ID_BYTES + 1));
        assert_eq!(of(HeaderValue::try_from(&longest).unwrap()), longest);
        assert_ne!(of(HeaderValue::try_from(&longer).unwrap()), longer);
        assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
    }
}
