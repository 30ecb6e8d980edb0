//! Devices that post while things go wrong, and remember what they were answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use sawpit_model::MessageId;
use serde_json::Value;

use crate::system::{HOST_TRAPS_ON, WORKER_TRAPS_ON};

const DEVICES: u64 = 8;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest pause between two posts, in milliseconds.
const PAUSE_MS: u64 = 300;
/// Most logs in a batch.
const BATCH: usize = 40;

/// What the devices were answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// Logs that were posted.
    pub posted: u64,
    /// The ids of those that were answered as queued.
    pub queued: Vec<MessageId>,
    /// Logs that a filter dropped or refused, as the answer says.
    pub refused: u64,
    /// Posts that were answered otherwise, or not at all, by how.
    pub failed: BTreeMap<String, u64>,
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.posted += other.posted;
        self.queued.extend(other.queued);
        self.refused += other.refused;
        for (how, count) in other.failed {
            *self.failed.entry(how).or_default() += count;
        }
    }

    fn fail(&mut self, how: impl Into<String>) {
        *self.failed.entry(how.into()).or_default() += 1;
    }

    /// What an answer says of each log.
    fn note(&mut self, status: StatusCode, answer: &Value) {
        let one = answer.get("message_id").into_iter();
        let many = answer.get("message_ids").and_then(Value::as_array).into_iter().flatten();
        let ids: Vec<MessageId> =
            one.chain(many).filter_map(|id| id.as_str().and_then(|id| id.parse().ok())).collect();
        let of = |name: &str| answer.get(name).and_then(Value::as_array).map_or(0, |list| list.len() as u64);
        let is_dropped = answer.get("status").is_some_and(|status| status == "dropped") && of("dropped") == 0;
        self.refused += of("rejected") + of("dropped") + u64::from(is_dropped);
        if !status.is_success() {
            let kind = answer.get("type").and_then(Value::as_str).and_then(|kind| kind.rsplit('/').next());
            self.fail(format!("{} {}", status.as_u16(), kind.unwrap_or("without a type")));
        }
        self.queued.extend(ids);
    }
}

/// Posts to `urls` until told to stop.
pub async fn drive(urls: Vec<String>, seed: u64, stop: Arc<AtomicBool>) -> Answers {
    let urls: Arc<[String]> = urls.into();
    let devices: Vec<_> = (0..DEVICES)
        .map(|device| tokio::spawn(post_on(device, Arc::clone(&urls), seed, Arc::clone(&stop))))
        .collect();
    let mut answers = Answers::default();
    for device in devices {
        match device.await {
            Ok(one) => answers.add(one),
            Err(error) => answers.fail(format!("a device broke: {error}")),
        }
    }
    answers
}

async fn post_on(device: u64, urls: Arc<[String]>, seed: u64, stop: Arc<AtomicBool>) -> Answers {
    let mut random = fastrand::Rng::with_seed(seed ^ (device + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (mut answers, mut number) = (Answers::default(), 0);
    let client = Client::builder().timeout(TIMEOUT).build().unwrap_or_default();
    while !stop.load(Ordering::Relaxed) {
        let Some(url) = random.choice(urls.iter()) else { break };
        let logs = if random.bool() { 1 } else { random.usize(2..=BATCH) };
        let bodies: Vec<String> = (0..logs).map(|at| log(device, number + at as u64, &mut random)).collect();
        number += logs as u64;
        answers.posted += logs as u64;
        let (path, body) = match bodies.as_slice() {
            [one] => ("/api/log", one.clone()),
            many => ("/api/logs/batch", format!("{{\"logs\":[{}]}}", many.join(","))),
        };
        post(&client, format!("{url}{path}"), body, &mut answers).await;
        tokio::time::sleep(Duration::from_millis(random.u64(..PAUSE_MS))).await;
    }
    answers
}

async fn post(client: &Client, url: String, body: String, answers: &mut Answers) {
    let sent = client.post(url).header("content-type", "application/json").body(body).send().await;
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return answers.fail("no answer in time"),
        Err(error) if error.is_connect() => return answers.fail("no connection"),
        Err(_) => return answers.fail("connection lost"),
    };
    let status = answer.status();
    match answer.bytes().await.map(|bytes| serde_json::from_slice::<Value>(&bytes)) {
        Ok(Ok(json)) => answers.note(status, &json),
        Ok(Err(_)) => answers.fail(format!("{} without JSON", status.as_u16())),
        Err(_) => answers.fail("connection lost"),
    }
}

/// One log; some repeat within a batch and are folded into one row, some make a plugin trap.
fn log(device: u64, number: u64, random: &mut fastrand::Rng) -> String {
    let message = match random.u8(..100) {
        0 => format!("{HOST_TRAPS_ON} {number}"),
        1 => format!("{WORKER_TRAPS_ON} {number}"),
        2..30 => "heartbeat".to_owned(),
        _ => format!("reading {number} for someone{number}@example.com"),
    };
    format!(
        r#"{{"device_id":"sensor-{device}","log_level":"INFO","message":"{message}","log_data":{{"temperature":{}.5,"n":{number}}}}}"#,
        number % 60
    )
}
