//! `POST /api/log`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use sawpit_model::{Entry, Failure, Log, MessageId, Timestamp, parse_log};
use sawpit_plugins::Ingested;
use sawpit_queue::OnceKey;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::{App, Shared};
use crate::body::Whole;
use crate::ingest::batch::DroppedMember;
use crate::ingest::errors;
use crate::ingest::once::{self, Answered, Received, Verdict};
use crate::problem::{FieldProblem, Kind, Problem};
use crate::routes;
use crate::traced::Traced;

/// The log is durably queued.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queued {
    /// Always `queued`.
    #[schema(value_type = String, example = "queued")]
    status: &'static str,
    /// The id that its row will carry.
    #[schema(value_type = String, example = "1760000000000-0")]
    message_id: MessageId,
    /// When the host took it.
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
}

/// A filter dropped the log: it is not stored, and need not be sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Dropped {
    /// Always `dropped`.
    #[schema(value_type = String, example = "dropped")]
    status: &'static str,
    /// The filter.
    plugin: String,
    /// Why.
    reason: String,
}

/// What a log posted alone is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum SingleAnswer {
    /// Queued.
    Queued(Queued),
    /// Dropped.
    Dropped(Dropped),
}

/// Posts one log.
///
/// 202 once the log is durably queued, or dropped by a filter's decision.
#[utoipa::path(
    post, path = "/api/log", tag = "ingest",
    params(crate::openapi::IdempotencyKey),
    request_body(content = crate::openapi::LogBody, content_type = "application/json"),
    responses(
        (
            status = 202, description = "Queued, or dropped by a filter", body = SingleAnswer,
            headers(("Idempotency-Replayed" = String, description = "`true` on the answer to a repeat")),
        ),
        crate::openapi::IngestErrors,
    ),
)]
pub(crate) async fn post_log(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let answered = match once::receive(&app, routes::LOG, &parts, body).await? {
        Received::Again(answered) => answered,
        Received::New(body, once) => take(&app, &parts, body, once).await?,
    };
    Ok(answered.respond(answer))
}

async fn take(app: &Shared, parts: &Parts, body: Whole, once: Option<OnceKey>) -> Result<Answered, Problem> {
    let received_at = app.clock.now();
    let limits = app.settings.limits;
    let log = app.parse(&body, move |bytes| parse_log(bytes, &limits, received_at)).await?;
    let held = Arc::new(body.parsed());
    let log = log.map_err(errors::of_body)?;
    if !once::caller(parts).may_post_for(&log.device_id) {
        return Err(Problem::fields(Kind::Forbidden, vec![FieldProblem::new("device_id", NOT_ITS_DEVICE)]));
    }
    let traced = Traced::of(parts);
    let done = app.ingest(vec![log], traced.is_sampled(), &held).await?;
    traced.calls(done.calls);
    let Some(outcome) = done.outcomes.into_iter().next() else {
        return Err(Problem::internal("the plugin chain answered for no log"));
    };
    let mut verdict = Verdict::new(received_at, 1);
    let append = traced.append(app, usize::from(is_kept(&outcome)));
    let entries = match outcome {
        Ingested::Accepted(log) => vec![entry(log, &done.chain, append.traceparent())],
        Ingested::Quarantined { plugin, error, log } => {
            vec![quarantined(log, plugin, error, append.traceparent())]
        }
        Ingested::Dropped { plugin, reason } => {
            verdict.dropped.push(DroppedMember { index: 0, plugin, reason });
            Vec::new()
        }
        Ingested::Rejected { plugin, reason } => return Err(rejected(plugin, reason)),
        Ingested::Failed { plugin, error } => return Err(failed(app, plugin, &error)),
    };
    once::append(app, once, verdict, entries, append).await
}

fn answer(verdict: Verdict, ids: Vec<MessageId>) -> SingleAnswer {
    let Verdict { received_at, dropped, .. } = verdict;
    match (ids.first(), dropped.into_iter().next()) {
        (None, Some(DroppedMember { plugin, reason, .. })) => {
            SingleAnswer::Dropped(Dropped { status: "dropped", plugin, reason })
        }
        (id, _) => SingleAnswer::Queued(Queued {
            status: "queued",
            message_id: id.copied().unwrap_or_default(),
            received_at,
        }),
    }
}

/// The rule of a token that is bound to devices.
pub(crate) const NOT_ITS_DEVICE: &str = "is not one that this token may post for";

/// Whether the log goes into the queue.
pub(crate) const fn is_kept(outcome: &Ingested) -> bool {
    matches!(outcome, Ingested::Accepted(_) | Ingested::Quarantined { .. })
}

/// A log as the plugins left it.
pub(crate) fn entry(log: Log, chain: &str, traceparent: Option<String>) -> Entry {
    Entry { log, chain: chain.to_owned(), traceparent, failure: None }
}

/// A log that a plugin failed on. It goes through the queue, so that it is kept as surely as any other, counts in the
/// same backlog and has an id; a worker then puts it among the dead letters.
pub(crate) fn quarantined(log: Log, plugin: String, error: String, traceparent: Option<String>) -> Entry {
    metrics::counter!("sawpit_host_quarantined_total", "plugin" => name_of(&plugin)).increment(1);
    Entry { log, chain: String::new(), traceparent, failure: Some(Failure { plugin, error }) }
}

/// Of `name@version#hash`.
fn name_of(plugin: &str) -> String {
    plugin.split('@').next().unwrap_or_default().to_owned()
}

fn rejected(plugin: String, reason: String) -> Problem {
    Problem::new(Kind::RefusedByFilter, detail(&plugin, &reason)).plugin(plugin, Some(reason))
}

/// A plugin's failure is not the device's fault, so it is a 503: the device keeps the log and sends it again, by when
/// the operator may have replaced the plugin. (`on_error = "pass"` lets logs through instead.)
fn failed(app: &Shared, plugin: String, error: &str) -> Problem {
    // The runtime warns, at most once a second; a line per log would bury everything else.
    tracing::debug!(%plugin, %error, "a plugin failed on a log");
    app.come_back(Kind::PluginFailed, "The plugin failed; the log was not taken, send it again later.")
        .plugin(plugin, None)
}

/// The plugin's own words, after its name.
fn detail(plugin: &str, reason: &str) -> String {
    if reason.is_empty() {
        format!("{plugin} refused it and gave no reason.")
    } else {
        format!("{plugin}: {reason}")
    }
}
