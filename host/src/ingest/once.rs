//! From body to answer, once: a request that comes again with its `Idempotency-Key` is answered what the first was.
//!
//! Every 202 is remembered, in the step that appends. Errors are not: nothing was stored, so a repeat is judged anew,
//! and may pass once the cause is mended. The key is looked up before the backlog and the plugins are asked, so that
//! neither can answer a repeat otherwise than the first; of two that come at once, the append decides.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sawpit_model::{Entry, MessageId, Timestamp};
use sawpit_queue::{Kept, Known, Once, OnceKey};
use serde::{Deserialize, Serialize};

use crate::access::Caller;
use crate::app::Shared;
use crate::body::{self, Whole};
use crate::ingest::batch::DroppedMember;
use crate::ingest::{errors, key};
use crate::problem::{Kind, Problem, Rejected};
use crate::traced::Append;

/// On an answer that was given before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request whose body has arrived.
pub(crate) enum Received {
    /// To be worked on.
    New(Whole, Option<OnceKey>),
    /// It was answered before.
    Again(Answered),
}

/// What became of a request, but for the ids.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) received_at: Timestamp,
    /// How many logs it had.
    pub(crate) total: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<Rejected>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dropped: Vec<DroppedMember>,
}

/// What a request is answered with: 202.
pub(crate) struct Answered {
    pub(crate) verdict: Verdict,
    /// Of the logs that are neither rejected nor dropped, in their order.
    pub(crate) ids: Vec<MessageId>,
    replayed: bool,
}

/// Reads a request that is let in.
pub(crate) async fn receive(
    app: &Arc<Shared>,
    path: &'static str,
    parts: &Parts,
    body: Body,
) -> Result<Received, Problem> {
    let key = match let_in(app, &parts.headers).await {
        Ok(key) => key,
        Err(problem) => {
            body::discard(app, &parts.headers, body).await;
            return Err(problem);
        }
    };
    let body = body::read(app, &parts.headers, body).await?;
    let Some(key) = key else { return Ok(Received::New(body, None)) };
    let scope = caller(parts).id().to_owned();
    let once = app.parse(&body, move |bytes| key::once(&scope, &key, path, bytes)).await?;
    match app.producer.recall(&once).await {
        Ok(Some(known)) => again(known).map(Received::Again),
        Ok(None) => {
            app.admit().await?;
            Ok(Received::New(body, Some(once)))
        }
        Err(error) => Err(errors::of_recall(app, &error)),
    }
}

/// Who makes the request.
pub(crate) fn caller(parts: &Parts) -> Caller {
    parts.extensions.get::<Caller>().cloned().unwrap_or_default()
}

/// Judges by the head: the key of the request, if it has one. A repeat needs no room, so then that is asked later.
async fn let_in(app: &Shared, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    body::check_headers(headers, &app.settings)?;
    let key = key::of(headers, app.settings.idempotency_key_bytes)?;
    if key.is_none() {
        app.admit().await?;
    }
    Ok(key)
}

/// Appends the entries of a request, if any, unless it is a repeat after all.
pub(crate) async fn append(
    app: &Shared,
    once: Option<OnceKey>,
    verdict: Verdict,
    entries: Vec<Entry>,
    append: Append,
) -> Result<Answered, Problem> {
    let appended = match once {
        None => first(app, entries).await.map(Once::First),
        Some(once) => {
            let note = verdict.note(app.settings.idempotency_note_bytes)?;
            app.producer.append_once(&once, note, entries).await
        }
    };
    match appended {
        Ok(Once::First(ids)) => {
            append.queued(&ids);
            app.backlog.appended(ids.len());
            Ok(Answered { verdict, ids, replayed: false })
        }
        Ok(Once::Known(known)) => again(known),
        Err(error) => {
            append.failed(&error);
            Err(errors::of_append(app, &error))
        }
    }
}

async fn first(app: &Shared, mut entries: Vec<Entry>) -> Result<Vec<MessageId>, sawpit_queue::AppendError> {
    match (entries.len(), entries.pop()) {
        (1, Some(entry)) => Ok(vec![app.producer.append(entry).await?]),
        (_, last) => {
            entries.extend(last);
            app.producer.append_batch(entries).await
        }
    }
}

fn again(known: Known) -> Result<Answered, Problem> {
    let outcome = if known == Known::Other { "reused" } else { "replayed" };
    metrics::counter!("sawpit_http_idempotent_total", "outcome" => outcome).increment(1);
    match known {
        Known::Same(Kept { note, ids }) => {
            let verdict = serde_json::from_slice(&note).map_err(Problem::internal)?;
            Ok(Answered { verdict, ids, replayed: true })
        }
        Known::Other => Err(Problem::new(
            Kind::IdempotencyKeyReused,
            "Another request had this Idempotency-Key: make a new key for each request, and keep it only for repeats of \
             the very same body to the same path.",
        )),
    }
}

impl Verdict {
    pub(crate) fn new(received_at: Timestamp, total: usize) -> Self {
        Self { received_at, total, rejected: Vec::new(), dropped: Vec::new() }
    }

    /// As it is kept. The plugins' and the rules' words are left out where they make it too long.
    fn note(&self, most_bytes: usize) -> Result<Vec<u8>, Problem> {
        let note = serde_json::to_vec(self).map_err(Problem::internal)?;
        if note.len() <= most_bytes {
            return Ok(note);
        }
        serde_json::to_vec(&self.without_reasons()).map_err(Problem::internal)
    }

    fn without_reasons(&self) -> Self {
        let rejected = self.rejected.iter().map(|rejected| Rejected {
            index: rejected.index,
            plugin: rejected.plugin.clone(),
            reason: String::new(),
            errors: Vec::new(),
            retry: rejected.retry,
        });
        let dropped = self.dropped.iter().map(|dropped| DroppedMember {
            index: dropped.index,
            plugin: dropped.plugin.clone(),
            reason: String::new(),
        });
        Self {
            received_at: self.received_at,
            total: self.total,
            rejected: rejected.collect(),
            dropped: dropped.collect(),
        }
    }

    /// One per log, in their order: its id, or none where it was rejected or dropped.
    pub(crate) fn message_ids(&self, ids: &[MessageId]) -> Vec<Option<MessageId>> {
        let mut queued = vec![true; self.total];
        let others = self.rejected.iter().map(|it| it.index).chain(self.dropped.iter().map(|it| it.index));
        for index in others {
            if let Some(queued) = queued.get_mut(index) {
                *queued = false;
            }
        }
        let mut ids = ids.iter().copied();
        queued.into_iter().map(|queued| if queued { ids.next() } else { None }).collect()
    }
}

impl Answered {
    /// 202, made by `body` of the verdict and the ids.
    pub(crate) fn respond<T: Serialize>(self, body: impl FnOnce(Verdict, Vec<MessageId>) -> T) -> Response {
        let mut response = (StatusCode::ACCEPTED, Json(body(self.verdict, self.ids))).into_response();
        if self.replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict() -> Verdict {
        let rejected = Rejected {
            index: 2,
            plugin: None,
            reason: "too long".to_owned(),
            errors: vec![crate::problem::FieldProblem::new("logs[2].message", "must be short")],
            retry: false,
        };
        let dropped = DroppedMember { index: 0, plugin: "filter".to_owned(), reason: "sampled".to_owned() };
        Verdict {
            received_at: Timestamp::from_micros(1_795_000_000_123_456),
            total: 4,
            rejected: vec![rejected],
            dropped: vec![dropped],
        }
    }

    #[test]
    fn ids_go_to_the_logs_that_are_left() {
        let ids: Vec<MessageId> = ["5-0", "5-1"].map(|id| id.parse().unwrap()).to_vec();
        assert_eq!(verdict().message_ids(&ids), [None, Some(ids[0]), None, Some(ids[1])]);
        assert!(verdict().message_ids(&[]).iter().all(Option::is_none));
    }

    #[test]
    fn a_note_is_kept_whole_up_to_its_limit_and_without_words_beyond() {
        let whole = serde_json::to_vec(&verdict()).unwrap();
        let note = |most| String::from_utf8(verdict().note(most).unwrap()).unwrap();
        assert_eq!(note(whole.len()).as_bytes(), whole);
        let cut: Verdict = serde_json::from_str(&note(whole.len() - 1)).unwrap();
        assert_eq!((cut.rejected[0].index, cut.rejected[0].reason.as_str()), (2, ""));
        assert_eq!((cut.dropped[0].plugin.as_str(), cut.dropped[0].reason.as_str()), ("filter", ""));
        assert_eq!(cut.message_ids(&[]).len(), 4);
    }

    #[test]
    fn a_note_reads_back() {
        let note = verdict().note(10_000).unwrap();
        let read: Verdict = serde_json::from_slice(&note).unwrap();
        assert_eq!(serde_json::to_vec(&read).unwrap(), note);
    }
}
