//! Posting one body until it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Client, StatusCode, Url, header};
use sawpit_model::{MessageId, Timestamp};
use sawpit_service::http::{self, Trust};
use serde::Deserialize;

use super::source::{Body, Shape};
use super::{LoadSettings, Unanswered};

/// How often a body that was refused for the moment (429, 503) or not answered is posted again.
const MAX_TRIES: u32 = 30;
/// Longest wait between two tries, whatever `Retry-After` asks for.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Wait before what was not answered is posted again.
const UNANSWERED_WAIT: Duration = Duration::from_millis(500);
/// A request without an answer in this time has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The answer for one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It will be stored under this id.
    Queued(MessageId),
    /// A filter does not want it.
    Dropped,
    /// It breaks a rule or a filter refused it, for this reason.
    Rejected(String),
    /// No usable answer: it may or may not have been taken.
    Failed(String),
}

/// Answers of a request, one per log, and how often it was asked to come back later.
pub struct Answers {
    /// In the order of the body.
    pub logs: Vec<Answer>,
    /// When the host received them, by its clock; none where nothing was queued.
    pub received_at: Option<Timestamp>,
    /// Answers 429 and 503 before the last one.
    pub put_off: u32,
    /// Posts before the last one that were not answered.
    pub unanswered: u32,
}

/// Posts over kept-alive connections.
#[derive(Clone)]
pub struct Poster {
    client: Client,
    base: Url,
    keys: Option<Arc<Keys>>,
}

/// Makes a key for each request, different from those of other runs.
struct Keys {
    run: String,
    next: AtomicU64,
}

impl Keys {
    /// As the header wants it: in quotes.
    fn next(&self) -> String {
        format!("\"{}-{:x}\"", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Deserialize)]
struct SingleAnswer {
    status: String,
    message_id: Option<MessageId>,
    received_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct BatchAnswer {
    message_ids: Vec<Option<MessageId>>,
    received_at: Option<Timestamp>,
    dropped: Vec<Index>,
    #[serde(default)]
    rejected: Vec<RejectedMember>,
}

/// What is answered when no log of a request was taken.
#[derive(Default, Deserialize)]
struct ProblemAnswer {
    #[serde(default)]
    detail: String,
    #[serde(default)]
    rejected: Vec<RejectedMember>,
}

#[derive(Deserialize)]
struct RejectedMember {
    index: usize,
    plugin: Option<String>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Index {
    index: usize,
}

/// The header that names the token, if there is one.
fn authorization(settings: &LoadSettings) -> Result<header::HeaderMap> {
    let mut headers = header::HeaderMap::new();
    if let Some(token) = &settings.token {
        let value = header::HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.context("--token has characters that no token has")?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(headers)
}

impl Poster {
    /// # Errors
    /// The address is not a URL.
    pub fn new(settings: &LoadSettings) -> Result<Self> {
        let base = Url::parse(&settings.url).with_context(|| format!("--url {}", settings.url))?;
        let trust = Trust::of(&settings.url, settings.ca.as_deref());
        let client = http::client(&trust).context("--ca")?;
        let client = client.timeout(TIMEOUT).pool_max_idle_per_host(settings.connections);
        let client = client.default_headers(authorization(settings)?).build()?;
        let run = format!("load-{:x}-{:x}", settings.started_at.as_micros(), std::process::id());
        let keys = match settings.unanswered {
            Unanswered::Fail => None,
            Unanswered::Repeat => Some(Arc::new(Keys { run, next: AtomicU64::new(0) })),
        };
        Ok(Self { client, base, keys })
    }

    /// The HTTP client, for the queries of `--verify`.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The address of a path of segments, each percent-encoded as it needs.
    ///
    /// # Errors
    /// The base address cannot have a path.
    pub fn address(&self, segments: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("--url {}: expected http://host:port", self.base))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    /// Posts; comes back later when told so, and when not answered if repeats are wanted.
    pub async fn post(&self, body: &Body) -> Answers {
        let key = self.keys.as_ref().map(|keys| keys.next());
        let (mut put_off, mut unanswered) = (0, 0);
        let fail = |why: String| (vec![Answer::Failed(why); body.device_ids.len()], None);
        loop {
            let may_repeat = put_off + unanswered < MAX_TRIES;
            let (logs, received_at) = match self.post_once(body, key.as_deref()).await {
                Ok(Posted::Answered(logs, received_at)) => (logs, received_at),
                Ok(Posted::ComeBack(wait)) if may_repeat => {
                    put_off += 1;
                    tokio::time::sleep(wait.min(MAX_WAIT)).await;
                    continue;
                }
                Ok(Posted::ComeBack(_)) => fail("still refused after the last try".to_owned()),
                Err(_) if may_repeat && key.is_some() => {
                    unanswered += 1;
                    tokio::time::sleep(UNANSWERED_WAIT).await;
                    continue;
                }
                Err(error) => fail(format!("{error:#}")),
            };
            return Answers { logs, received_at, put_off, unanswered };
        }
    }

    async fn post_once(&self, body: &Body, key: Option<&str>) -> Result<Posted> {
        let path: &[&str] = match body.shape {
            Shape::Single => &["api", "log"],
            Shape::Batch => &["api", "logs", "batch"],
        };
        let mut request = self.client.post(self.address(path)?);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response =
            request.header(header::CONTENT_TYPE, "application/json").body(body.json.clone()).send().await?;
        let status = response.status();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return Ok(Posted::ComeBack(retry_after(response.headers())));
        }
        let answer = response.bytes().await?;
        match (status, body.shape) {
            (StatusCode::ACCEPTED, Shape::Single) => single(&answer),
            (StatusCode::ACCEPTED, Shape::Batch) => batch(&answer, body.device_ids.len()),
            (StatusCode::UNPROCESSABLE_ENTITY, _) => Ok(refused(&answer, body.device_ids.len())),
            _ => anyhow::bail!("answered {status}: {}", String::from_utf8_lossy(&answer)),
        }
    }
}

enum Posted {
    Answered(Vec<Answer>, Option<Timestamp>),
    ComeBack(Duration),
}

fn retry_after(headers: &header::HeaderMap) -> Duration {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

fn single(answer: &[u8]) -> Result<Posted> {
    let answer: SingleAnswer = serde_json::from_slice(answer).context("unexpected answer")?;
    let log = match (answer.status.as_str(), answer.message_id) {
        ("queued", Some(id)) => Answer::Queued(id),
        ("dropped", _) => Answer::Dropped,
        (status, _) => anyhow::bail!("unexpected answer: status {status:?}"),
    };
    Ok(Posted::Answered(vec![log], answer.received_at))
}

fn batch(answer: &[u8], sent: usize) -> Result<Posted> {
    let answer: BatchAnswer = serde_json::from_slice(answer).context("unexpected answer")?;
    anyhow::ensure!(answer.message_ids.len() == sent, "{} ids for {sent} logs", answer.message_ids.len());
    let unknown = || Answer::Rejected(String::new());
    let mut logs: Vec<_> =
        answer.message_ids.into_iter().map(|id| id.map_or_else(unknown, Answer::Queued)).collect();
    reject(&mut logs, answer.rejected);
    for Index { index } in answer.dropped {
        if let Some(log) = logs.get_mut(index) {
            *log = Answer::Dropped;
        }
    }
    Ok(Posted::Answered(logs, answer.received_at))
}

/// All of `sent` logs, each for its own reason where the answer has one.
fn refused(answer: &[u8], sent: usize) -> Posted {
    // Who answers on the way may use other words; refused it is all the same.
    let ProblemAnswer { detail, rejected } = serde_json::from_slice(answer).unwrap_or_default();
    let mut logs = vec![Answer::Rejected(detail); sent];
    reject(&mut logs, rejected);
    Posted::Answered(logs, None)
}

fn reject(logs: &mut [Answer], members: Vec<RejectedMember>) {
    for RejectedMember { index, plugin, reason } in members {
        let why = match plugin {
            Some(plugin) => format!("{plugin}: {reason}"),
            None => reason,
        };
        if let Some(log) = logs.get_mut(index) {
            *log = Answer::Rejected(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(posted: Posted) -> (Vec<Answer>, Option<Timestamp>) {
        match posted {
            Posted::Answered(logs, received_at) => (logs, received_at),
            Posted::ComeBack(_) => panic!("put off"),
        }
    }

    #[test]
    fn a_batch_answer_is_read_log_by_log() {
        let answer = br#"{"status":"queued","count":1,"message_ids":[null,"7-0",null],"received_at":"1970-01-01T00:00:01.500000Z",
            "dropped":[{"index":0,"plugin":"p","reason":"r"}],"rejected":[{"index":2,"plugin":null,"reason":"logs[2].message is required","errors":[]}]}"#;
        let (logs, received_at) = answered(batch(answer, 3).unwrap());
        let rejected = Answer::Rejected("logs[2].message is required".to_owned());
        assert_eq!(logs, [Answer::Dropped, Answer::Queued(MessageId { ms: 7, seq: 0 }), rejected]);
        assert_eq!(received_at, Some(Timestamp::from_micros(1_500_000)));
    }

    #[test]
    fn a_refusal_gives_each_log_its_reason() {
        let reasons = |answer: &str, sent| {
            let (logs, _) = answered(refused(answer.as_bytes(), sent));
            logs.into_iter().map(|log| match log {
                Answer::Rejected(why) => why,
                other => panic!("{other:?}"),
            })
        };
        let one = r#"{"title":"The log breaks a rule","detail":"message is required"}"#;
        assert!(reasons(one, 1).eq(["message is required"]));
        let all = r#"{"detail":"see rejected","rejected":[{"index":1,"plugin":"p","reason":"hot"},{"index":0,"reason":"r"}]}"#;
        assert!(reasons(all, 3).eq(["r", "p: hot", "see rejected"]));
        assert!(reasons("<html>", 2).eq(["", ""]));
    }

    #[test]
    fn an_answer_with_too_few_ids_is_an_error() {
        assert!(batch(br#"{"message_ids":[],"dropped":[]}"#, 1).is_err());
        assert!(single(br#"{"status":"queued"}"#).is_err());
    }
}
