//! Every error of every route, as RFC 9457 `application/problem+json`.
//!
//! The kinds are one closed list, so that a client can switch on `type` and a person can look each up. What went
//! wrong inside (a database's message, a panic) goes to the log with the request id, never to the device.

use std::borrow::Cow;

use axum::Json;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The content type of problems.
pub(crate) const CONTENT: &str = "application/problem+json";

/// Problems that an answer tells of at most: who sends more mistakes than these mends them by reading the manual, and an
/// answer is not many times as long as its request.
const MOST_ERRORS: usize = 50;

/// What kind of error, which decides `type`, `title` and `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MalformedJson,
    BadQuery,
    BadPath,
    BadIdempotencyKey,
    IdempotencyKeyReused,
    UnknownRoute,
    UnknownChain,
    UnknownPlugin,
    WrongMethod,
    Unauthorized,
    Forbidden,
    RateLimited,
    BodyTimeout,
    BodyTooLarge,
    WrongContentType,
    WrongContentEncoding,
    InvalidLog,
    InvalidBatch,
    RefusedByFilter,
    AllRefused,
    BodyUnreadable,
    PluginFailed,
    BacklogFull,
    Busy,
    NotQueued,
    MaybeQueued,
    StoreUnavailable,
    QueryTooLong,
    RequestTimeout,
    Internal,
}

impl Kind {
    /// Slug, title and status.
    const fn facts(self) -> (&'static str, &'static str, StatusCode) {
        use StatusCode as S;
        match self {
            Self::MalformedJson => ("malformed-json", "The body is not valid JSON", S::BAD_REQUEST),
            Self::BadQuery => ("bad-query", "A query parameter is not valid", S::BAD_REQUEST),
            Self::BadPath => ("bad-path", "The path is not valid", S::BAD_REQUEST),
            Self::BadIdempotencyKey => {
                ("bad-idempotency-key", "The Idempotency-Key is not valid", S::BAD_REQUEST)
            }
            Self::IdempotencyKeyReused => (
                "idempotency-key-reused",
                "The Idempotency-Key was used for another request",
                S::UNPROCESSABLE_ENTITY,
            ),
            Self::BodyUnreadable => ("body-unreadable", "The body did not arrive whole", S::BAD_REQUEST),
            Self::UnknownRoute => ("unknown-route", "There is nothing at this path", S::NOT_FOUND),
            Self::UnknownChain => ("unknown-chain", "There is no such chain", S::NOT_FOUND),
            Self::UnknownPlugin => ("unknown-plugin", "There is no such plugin", S::NOT_FOUND),
            Self::WrongMethod => {
                ("wrong-method", "The path does not take this method", S::METHOD_NOT_ALLOWED)
            }
            Self::Unauthorized => ("unauthorized", "A valid token is needed", S::UNAUTHORIZED),
            Self::Forbidden => ("forbidden", "The token does not cover this", S::FORBIDDEN),
            Self::RateLimited => ("rate-limited", "The token was used too often", S::TOO_MANY_REQUESTS),
            Self::BodyTimeout => ("body-timeout", "The body took too long to arrive", S::REQUEST_TIMEOUT),
            Self::BodyTooLarge => ("body-too-large", "The body is too large", S::PAYLOAD_TOO_LARGE),
            Self::WrongContentType => {
                ("wrong-content-type", "The body must be JSON", S::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::WrongContentEncoding => (
                "wrong-content-encoding",
                "The body's Content-Encoding is not supported",
                S::UNSUPPORTED_MEDIA_TYPE,
            ),
            Self::InvalidLog => ("invalid-log", "The log breaks a rule", S::UNPROCESSABLE_ENTITY),
            Self::InvalidBatch => ("invalid-batch", "The batch breaks a rule", S::UNPROCESSABLE_ENTITY),
            Self::RefusedByFilter => {
                ("refused-by-filter", "A filter refused the log", S::UNPROCESSABLE_ENTITY)
            }
            Self::AllRefused => {
                ("all-refused", "Every log of the batch was refused", S::UNPROCESSABLE_ENTITY)
            }
            Self::PluginFailed => ("plugin-failed", "A plugin failed on the log", S::SERVICE_UNAVAILABLE),
            Self::BacklogFull => ("backlog-full", "The backlog is at its limit", S::SERVICE_UNAVAILABLE),
            Self::Busy => ("busy", "The host is at its limit", S::SERVICE_UNAVAILABLE),
            Self::NotQueued => ("not-queued", "The queue did not take it", S::SERVICE_UNAVAILABLE),
            Self::MaybeQueued => {
                ("maybe-queued", "The queue did not confirm in time", S::SERVICE_UNAVAILABLE)
            }
            Self::StoreUnavailable => {
                ("store-unavailable", "The database did not answer", S::SERVICE_UNAVAILABLE)
            }
            Self::QueryTooLong => ("query-too-long", "The query took too long", S::SERVICE_UNAVAILABLE),
            Self::RequestTimeout => ("request-timeout", "The request took too long", S::SERVICE_UNAVAILABLE),
            Self::Internal => ("internal", "The host failed", S::INTERNAL_SERVER_ERROR),
        }
    }
}

/// A field that breaks a rule.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// The field's path in the body, or the parameter's name.
    #[schema(example = "device_id")]
    pub field: String,
    /// The rule that it breaks, as a sentence whose subject is the field.
    #[schema(example = "must be 1 to 64 bytes of UTF-8, but has 65")]
    pub rule: String,
}

impl FieldProblem {
    pub(crate) fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }

    /// Of a parameter that is none. Its name is the client's, so only so much of it is told.
    pub(crate) fn unknown(name: &str, rule: &str) -> Self {
        Self::new(name.chars().take(64).collect::<String>(), rule)
    }
}

/// A log of a batch that was not taken.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The plugin that refused it or failed on it; null when the log itself breaks a rule.
    pub plugin: Option<String>,
    /// Why.
    pub reason: String,
    /// The rules it breaks, when there is no plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// True when the plugin failed, so that the same log may pass later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
}

/// An error as it is answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// `urn:sawpit:problem:` and the kind.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:sawpit:problem:invalid-log")]
    kind: String,
    /// The kind for a person, the same at each occurrence.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time and what to do.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    /// The fields at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
    /// How many more problems there are than `errors` tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    more_errors: Option<usize>,
    /// The plugin that refused or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    /// Its reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Line of malformed JSON, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// Column of malformed JSON, in bytes from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// The logs of a batch that was refused as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Rejected>,
    #[serde(skip)]
    retry_after: Option<u64>,
    #[serde(skip)]
    accept_encoding: Option<&'static str>,
    #[serde(skip)]
    code: StatusCode,
}

/// An error on its way to be answered; boxed, because results of every handler carry it.
#[derive(Debug)]
pub(crate) struct Problem(Box<ProblemBody>);

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let (slug, title, code) = kind.facts();
        Self(Box::new(ProblemBody {
            kind: format!("urn:sawpit:problem:{slug}"),
            title,
            status: code.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            more_errors: None,
            plugin: None,
            reason: None,
            line: None,
            column: None,
            rejected: Vec::new(),
            retry_after: None,
            accept_encoding: None,
            code,
        }))
    }

    /// One that names fields; the detail lists them for a reader of the log of a device.
    pub(crate) fn fields(kind: Kind, mut errors: Vec<FieldProblem>) -> Self {
        let more = errors.len().saturating_sub(MOST_ERRORS);
        errors.truncate(MOST_ERRORS);
        let mut listed: Vec<String> = errors.iter().map(|e| format!("{} {}", e.field, e.rule)).collect();
        if more > 0 {
            listed.push(format!("and {more} more problems, which are not told"));
        }
        let mut problem = Self::new(kind, listed.join("; "));
        problem.0.errors = errors;
        problem.0.more_errors = (more > 0).then_some(more);
        problem
    }

    /// A failure of ours. The cause is logged, not answered.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            Kind::Internal,
            "Nothing is wrong with the request; the host's log has the cause under its request id.",
        )
    }

    pub(crate) fn plugin(mut self, plugin: impl Into<String>, reason: Option<String>) -> Self {
        self.0.plugin = Some(plugin.into());
        self.0.reason = reason;
        self
    }

    pub(crate) fn at(mut self, line: usize, column: usize) -> Self {
        self.0.line = Some(line);
        self.0.column = Some(column);
        self
    }

    pub(crate) fn rejected(mut self, rejected: Vec<Rejected>) -> Self {
        self.0.rejected = rejected;
        self
    }

    /// Tells the client to come back in so many seconds.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Tells the client how a body may be compressed (RFC 9110, section 12.5.3).
    pub(crate) fn accept_encoding(mut self, codings: &'static str) -> Self {
        self.0.accept_encoding = Some(codings);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, retry_after, codings) = (self.0.code, self.0.retry_after, self.0.accept_encoding);
        let mut response = (code, Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(codings) = codings {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        if code == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sawpit\""));
        }
        response
    }
}
