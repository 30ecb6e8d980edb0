//! `POST /api/logs/batch`.
//!
//! Bad members do not spoil the rest; what is left is appended at once, all or none, so that a 503 never means that
//! a part was stored.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use sawpit_model::{Entry, FieldError, Log, MessageId, Timestamp, parse_batch};
use sawpit_plugins::Ingested;
use sawpit_queue::OnceKey;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Caller;
use crate::app::{App, Shared};
use crate::body::Whole;
use crate::gather::Done;
use crate::ingest::errors;
use crate::ingest::once::{self, Answered, Received, Verdict};
use crate::ingest::single::{NOT_ITS_DEVICE, entry, is_kept, quarantined};
use crate::problem::{FieldProblem, Kind, Problem, Rejected};
use crate::routes;
use crate::traced::{Append, Traced};

/// A log of a batch that a filter dropped.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DroppedMember {
    /// Its place in the batch, from 0.
    pub(crate) index: usize,
    /// The filter.
    pub(crate) plugin: String,
    /// Why.
    pub(crate) reason: String,
}

/// What became of each log of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    /// `queued`; `dropped` when filters dropped all that was not refused.
    #[schema(value_type = String, example = "queued")]
    status: &'static str,
    /// How many logs were queued.
    count: usize,
    /// One per log of the batch, in its order: the id, or null for a log that was not queued.
    #[schema(value_type = Vec<Option<String>>)]
    message_ids: Vec<Option<MessageId>>,
    /// When the host took the batch.
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    /// The logs that were refused.
    rejected: Vec<Rejected>,
    /// The logs that filters dropped.
    dropped: Vec<DroppedMember>,
}

/// Posts 1 to 1,000 logs.
///
/// 202 when at least one of them was queued or dropped; what was queued is durable, and was queued at once.
#[utoipa::path(
    post, path = "/api/logs/batch", tag = "ingest",
    params(crate::openapi::IdempotencyKey),
    request_body(content = crate::openapi::BatchBody, content_type = "application/json"),
    responses(
        (
            status = 202, description = "What became of each log", body = BatchAnswer,
            headers(("Idempotency-Replayed" = String, description = "`true` on the answer to a repeat")),
        ),
        crate::openapi::IngestErrors,
    ),
)]
pub(crate) async fn post_batch(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let answered = match once::receive(&app, routes::BATCH, &parts, body).await? {
        Received::Again(answered) => answered,
        Received::New(body, once) => take(&app, &parts, body, once).await?,
    };
    Ok(answered.respond(answer))
}

async fn take(app: &Shared, parts: &Parts, body: Whole, once: Option<OnceKey>) -> Result<Answered, Problem> {
    let received_at = app.clock.now();
    let limits = app.settings.limits;
    let members = app.parse(&body, move |bytes| parse_batch(bytes, &limits, received_at)).await?;
    let held = Arc::new(body.parsed());
    let members = members.map_err(errors::of_body)?;
    let caller = once::caller(parts);
    caller.charge_batch(members.len());
    let mut verdict = Verdict::new(received_at, members.len());
    let (indices, logs) = verdict.valid(members, &caller);
    let traced = Traced::of(parts);
    let (chain, outcomes) = if logs.is_empty() {
        Default::default()
    } else {
        let Done { chain, outcomes, calls } = app.ingest(logs, traced.is_sampled(), &held).await?;
        traced.calls(calls);
        (chain, outcomes)
    };
    let append = traced.append(app, outcomes.iter().filter(|outcome| is_kept(outcome)).count());
    let entries = verdict.outcomes(&indices, &chain, outcomes, &append);
    verdict.check_all_refused(app)?;
    once::append(app, once, verdict, entries, append).await
}

fn answer(verdict: Verdict, ids: Vec<MessageId>) -> BatchAnswer {
    BatchAnswer {
        status: if ids.is_empty() { "dropped" } else { "queued" },
        count: ids.len(),
        message_ids: verdict.message_ids(&ids),
        received_at: verdict.received_at,
        rejected: verdict.rejected,
        dropped: verdict.dropped,
    }
}

impl Verdict {
    /// The logs that break no rule and are of the caller's devices, with their places.
    fn valid(
        &mut self,
        members: Vec<Result<Log, Vec<FieldError>>>,
        caller: &Caller,
    ) -> (Vec<usize>, Vec<Log>) {
        let (mut indices, mut logs) = (Vec::with_capacity(members.len()), Vec::with_capacity(members.len()));
        for (index, member) in members.into_iter().enumerate() {
            match member {
                Ok(log) if !caller.may_post_for(&log.device_id) => self.rejected.push(not_its_device(index)),
                Ok(log) => {
                    indices.push(index);
                    logs.push(log);
                }
                Err(errors) => self.rejected.push(invalid(index, errors)),
            }
        }
        (indices, logs)
    }

    /// The entries to append, after the plugins' verdicts.
    fn outcomes(
        &mut self,
        indices: &[usize],
        chain: &str,
        outcomes: Vec<Ingested>,
        append: &Append,
    ) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(indices.len());
        for (&index, outcome) in indices.iter().zip(outcomes) {
            match outcome {
                Ingested::Accepted(log) => {
                    entries.push(entry(log, chain, append.traceparent()));
                }
                Ingested::Quarantined { plugin, error, log } => {
                    entries.push(quarantined(log, plugin, error, append.traceparent()));
                }
                Ingested::Dropped { plugin, reason } => {
                    self.dropped.push(DroppedMember { index, plugin, reason });
                }
                Ingested::Rejected { plugin, reason } => {
                    self.rejected.push(refused(index, plugin, reason, false));
                }
                Ingested::Failed { plugin, error } => {
                    // The runtime warns, at most once a second; a line per log would bury everything else.
                    tracing::debug!(%plugin, %error, "a plugin failed on a log of a batch");
                    self.rejected.push(refused(index, plugin, "the plugin failed on this log".into(), true));
                }
            }
        }
        self.rejected.sort_unstable_by_key(|rejected| rejected.index);
        entries
    }

    /// 422 when nothing is left, or 503 when sending the same batch again may help.
    fn check_all_refused(&mut self, app: &Shared) -> Result<(), Problem> {
        if self.rejected.len() < self.total {
            return Ok(());
        }
        let rejected = std::mem::take(&mut self.rejected);
        let problem = if rejected.iter().all(|rejected| rejected.retry) {
            app.come_back(
                Kind::PluginFailed,
                "A plugin failed on every log; nothing was taken, send it again later.",
            )
        } else {
            Problem::new(Kind::AllRefused, "Every log of the batch was refused; rejected says why.")
        };
        Err(problem.rejected(rejected))
    }
}

fn invalid(index: usize, errors: Vec<FieldError>) -> Rejected {
    let errors = errors::fields(errors);
    let reason = errors.iter().map(|e| format!("{} {}", e.field, e.rule)).collect::<Vec<_>>().join("; ");
    Rejected { index, plugin: None, reason, errors, retry: false }
}

fn not_its_device(index: usize) -> Rejected {
    let error = FieldProblem::new(format!("logs[{index}].device_id"), NOT_ITS_DEVICE);
    let reason = format!("{} {}", error.field, error.rule);
    Rejected { index, plugin: None, reason, errors: vec![error], retry: false }
}

fn refused(index: usize, plugin: String, reason: String, retry: bool) -> Rejected {
    Rejected { index, plugin: Some(plugin), reason, errors: Vec::new(), retry }
}
