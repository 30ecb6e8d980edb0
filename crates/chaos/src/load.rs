//! Devices that post, through nginx and past it, one by one and in batches, and remember what they were answered. Every
//! second request has an `Idempotency-Key`, and is sent again, through another door each time, until it is answered.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use reqwest::{Client, StatusCode};
use sawpit_model::MessageId;
use sawpit_service::http::{self, Trust};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::logs::{Draft, Fate, draft};

/// A device gives up waiting for an answer after this long. Longer than a host's own limit for an append, so that
/// most of its refusals are heard.
const PATIENCE: Duration = Duration::from_secs(6);
/// Devices at each door that post one log at a time.
const SINGLES: usize = 4;
/// Wait of those between two posts.
const SINGLE_PAUSE: Duration = Duration::from_millis(60);
/// Wait of the one at each door that posts batches.
const BATCH_PAUSE: Duration = Duration::from_millis(250);
/// How often a request with a key is sent again when nobody knows what became of it.
const REPEATS: usize = 8;
/// Wait before it is.
const REPEAT_PAUSE: Duration = Duration::from_millis(400);
/// Largest batch.
const BATCH: usize = 40;

/// A log that was answered `queued`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What it was answered with.
    pub id: MessageId,
    /// The number it carries.
    pub number: Option<u64>,
    /// What is to become of it.
    pub fate: Fate,
}

/// All answers of a run.
#[derive(Debug, Default)]
pub struct Answers {
    /// Logs posted.
    pub posted: u64,
    /// Answered `queued`.
    pub queued: Vec<Queued>,
    /// Answered `dropped` by a filter.
    pub dropped: u64,
    /// Numbers of logs of which it was said that they were not queued.
    pub refused: HashSet<u64>,
    /// Requests that were sent again, and then answered.
    pub repeated: u64,
    /// Of these, those that had been taken before.
    pub replayed: u64,
    /// Logs by the kind of error.
    pub errors: BTreeMap<String, u64>,
}

/// Devices that post until they are told to end.
pub struct Load {
    devices: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    doors: Vec<String>,
    seed: u64,
    next_request: AtomicU64,
    ended: AtomicBool,
    next_number: AtomicU64,
    answers: Mutex<Answers>,
}

impl Load {
    /// Starts devices at each door.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn start(doors: &[String], seed: u64) -> Result<Self> {
        let shared = Arc::new(Shared {
            client: http::client(&Trust::Nobody)?.timeout(PATIENCE).build()?,
            doors: doors.to_vec(),
            seed,
            next_request: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            next_number: AtomicU64::new(0),
            answers: Mutex::new(Answers::default()),
        });
        let mut devices = JoinSet::new();
        let mut random = Rng::with_seed(seed);
        for door in 0..doors.len() {
            for _ in 0..SINGLES {
                devices.spawn(post_singles(Arc::clone(&shared), door, random.fork()));
            }
            devices.spawn(post_batches(Arc::clone(&shared), door, random.fork()));
        }
        Ok(Self { devices, shared })
    }

    /// Ends the posting, and what was answered.
    pub async fn end(mut self) -> Answers {
        self.shared.ended.store(true, Ordering::Relaxed);
        while self.devices.join_next().await.is_some() {}
        std::mem::take(&mut *self.shared.answers())
    }
}

impl Shared {
    fn draft(&self, random: &mut Rng) -> Draft {
        draft(random, self.next_number.fetch_add(1, Ordering::Relaxed))
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn post(&self, door: usize, path: &str, body: String) -> Answer {
        let number = self.next_request.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(2) {
            return self.post_once(door, path, body, None).await.0;
        }
        let key = format!("\"chaos-{}-{number}\"", self.seed);
        let mut answer = self.post_once(door, path, body.clone(), Some(&key)).await.0;
        for repeat in 1..=REPEATS {
            if !matches!(answer, Answer::Unknown(_)) {
                break;
            }
            tokio::time::sleep(REPEAT_PAUSE).await;
            let (again, replayed) = self.post_once(door + repeat, path, body.clone(), Some(&key)).await;
            if let Answer::Taken(_) = again {
                let mut answers = self.answers();
                answers.repeated += 1;
                answers.replayed += u64::from(replayed);
            }
            answer = match again {
                // Of this post; of those before nobody knows.
                Answer::Refused(kind) => Answer::Unknown(format!("{kind} after one that is unknown")),
                again => again,
            };
        }
        answer
    }

    /// What it is answered, and whether that is the answer of an earlier post.
    async fn post_once(&self, door: usize, path: &str, body: String, key: Option<&str>) -> (Answer, bool) {
        let door = self.doors.get(door % self.doors.len().max(1)).map_or("", String::as_str);
        let mut request =
            self.client.post(format!("{door}{path}")).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = match request.body(body).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return (Answer::Refused("not reached".to_owned()), false),
            Err(error) if error.is_timeout() => {
                return (Answer::Unknown("no answer in time".to_owned()), false);
            }
            Err(_) => return (Answer::Unknown("connection lost".to_owned()), false),
        };
        let (status, replayed) = (answer.status(), answer.headers().contains_key("idempotency-replayed"));
        let answer = match answer.bytes().await {
            Ok(body) => Answer::of(status, &serde_json::from_slice(&body).unwrap_or(Value::Null)),
            Err(_) => Answer::Unknown("answer lost".to_owned()),
        };
        (answer, replayed)
    }
}

async fn post_singles(shared: Arc<Shared>, door: usize, mut random: Rng) {
    while !shared.ended.load(Ordering::Relaxed) {
        let draft = shared.draft(&mut random);
        let answer = shared.post(door, "/api/log", draft.body.clone()).await;
        shared.answers().note(std::slice::from_ref(&draft), &answer);
        tokio::time::sleep(SINGLE_PAUSE.mul_f64(2.0 * random.f64())).await;
    }
}

async fn post_batches(shared: Arc<Shared>, door: usize, mut random: Rng) {
    while !shared.ended.load(Ordering::Relaxed) {
        let drafts: Vec<_> = (0..random.usize(2..=BATCH)).map(|_| shared.draft(&mut random)).collect();
        let members: Vec<_> = drafts.iter().map(|draft| &*draft.body).collect();
        let answer =
            shared.post(door, "/api/logs/batch", format!(r#"{{"logs":[{}]}}"#, members.join(","))).await;
        shared.answers().note(&drafts, &answer);
        tokio::time::sleep(BATCH_PAUSE.mul_f64(2.0 * random.f64())).await;
    }
}

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Log by log.
    Taken(Vec<Taken>),
    /// Nothing was queued.
    Refused(String),
    /// Some of it may have been queued.
    Unknown(String),
}

/// What became of one log of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Taken {
    Queued(MessageId),
    Dropped,
    Rejected,
}

impl Answer {
    fn of(status: StatusCode, body: &Value) -> Self {
        if status == StatusCode::ACCEPTED {
            return taken(body)
                .map_or_else(|| Self::Unknown(format!("unreadable answer {body}")), Self::Taken);
        }
        let kind = body.get("type").and_then(Value::as_str).unwrap_or_default();
        let kind = kind.rsplit(':').next().unwrap_or_default();
        let named = format!("{} {kind}", status.as_u16());
        // What is not certain is not held against the host.
        match kind {
            "" | "maybe-queued" | "request-timeout" | "internal" => Self::Unknown(named),
            _ => Self::Refused(named),
        }
    }
}

fn taken(body: &Value) -> Option<Vec<Taken>> {
    let Some(ids) = body.get("message_ids") else {
        return match body.get("status")?.as_str()? {
            "queued" => Some(vec![Taken::Queued(id(body.get("message_id")?)?)]),
            "dropped" => Some(vec![Taken::Dropped]),
            _ => None,
        };
    };
    let dropped: HashSet<usize> = body.get("dropped")?.as_array()?.iter().filter_map(index).collect();
    let member = |(place, value): (usize, &Value)| match value {
        Value::Null if dropped.contains(&place) => Some(Taken::Dropped),
        Value::Null => Some(Taken::Rejected),
        value => id(value).map(Taken::Queued),
    };
    ids.as_array()?.iter().enumerate().map(member).collect()
}

fn id(value: &Value) -> Option<MessageId> {
    value.as_str()?.parse().ok()
}

fn index(member: &Value) -> Option<usize> {
    usize::try_from(member.get("index")?.as_u64()?).ok()
}

impl Answers {
    fn note(&mut self, drafts: &[Draft], answer: &Answer) {
        self.posted += drafts.len() as u64;
        match answer {
            Answer::Taken(members) if members.len() == drafts.len() => {
                drafts.iter().zip(members).for_each(|(draft, taken)| self.note_taken(draft, taken));
            }
            Answer::Taken(members) => {
                self.failed(&format!("{} answers for {}", members.len(), drafts.len()), drafts.len());
            }
            Answer::Refused(kind) => {
                self.refused.extend(drafts.iter().filter_map(|draft| draft.number));
                self.failed(kind, drafts.len());
            }
            Answer::Unknown(kind) => self.failed(kind, drafts.len()),
        }
    }

    fn note_taken(&mut self, draft: &Draft, taken: &Taken) {
        match taken {
            Taken::Queued(id) => {
                self.queued.push(Queued { id: *id, number: draft.number, fate: draft.fate });
                return;
            }
            Taken::Dropped => self.dropped += 1,
            Taken::Rejected => self.failed("rejected in a batch", 1),
        }
        self.refused.extend(draft.number);
    }

    fn failed(&mut self, kind: &str, logs: usize) {
        *self.errors.entry(kind.to_owned()).or_default() += logs as u64;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: u16, body: Value) -> Answer {
        Answer::of(StatusCode::from_u16(status).unwrap(), &body)
    }

    #[test]
    fn answers_are_read_log_by_log() {
        let id = |ms| Taken::Queued(MessageId { ms, seq: 0 });
        let single = of(202, json!({"status": "queued", "message_id": "5-0"}));
        assert_eq!(single, Answer::Taken(vec![id(5)]));
        assert_eq!(of(202, json!({"status": "dropped"})), Answer::Taken(vec![Taken::Dropped]));
        let batch =
            json!({"status": "queued", "message_ids": ["5-0", null, null, "6-0"], "dropped": [{"index": 2}]});
        assert_eq!(of(202, batch), Answer::Taken(vec![id(5), Taken::Rejected, Taken::Dropped, id(6)]));
        assert!(matches!(of(202, json!({})), Answer::Unknown(_)));
    }

    #[test]
    fn what_may_have_been_queued_is_no_refusal() {
        let problem = |kind: &str| json!({ "type": format!("urn:sawpit:problem:{kind}") });
        assert_eq!(of(503, problem("not-queued")), Answer::Refused("503 not-queued".to_owned()));
        assert_eq!(of(503, problem("maybe-queued")), Answer::Unknown("503 maybe-queued".to_owned()));
        assert!(matches!(of(502, Value::Null), Answer::Unknown(_)));
    }

    #[test]
    fn what_is_refused_is_remembered_by_its_number() {
        let mut answers = Answers::default();
        let drafts: Vec<_> =
            (0..3).map(|n| Draft { body: String::new(), number: Some(n), fate: Fate::Kept }).collect();
        answers.note(&drafts[..1], &Answer::Refused("503 busy".to_owned()));
        answers.note(&drafts[1..], &Answer::Taken(vec![Taken::Dropped, Taken::Queued(MessageId::MAX)]));
        answers.note(&drafts[2..], &Answer::Unknown("lost".to_owned()));
        assert_eq!(answers.refused, HashSet::from([0, 1]));
        assert_eq!((answers.posted, answers.dropped, answers.queued.len()), (4, 1, 1));
        assert_eq!(answers.errors, BTreeMap::from([("503 busy".to_owned(), 1), ("lost".to_owned(), 1)]));
    }
}
