//! What the answers were and how long they took.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sawpit_model::{MessageId, Timestamp};
use tokio::task::JoinHandle;

use super::post::{Answer, Answers};
use super::source::Body;
use super::{LoadSettings, Verify};

/// Significant digits of a latency: 0.1 percent is finer than any network repeats.
const LATENCY_DIGITS: u8 = 3;

/// What was answered `queued`.
#[derive(Default)]
pub struct Answered {
    /// The ids, by device.
    pub ids: HashMap<String, Vec<MessageId>>,
    /// When the first of them was received, by the clock of a host.
    pub since: Option<Timestamp>,
}

/// Counts, latencies and, to verify, the answered ids. Shared by all connections.
pub struct Report {
    requests: AtomicU64,
    queued: AtomicU64,
    dropped: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    put_off: AtomicU64,
    unanswered: AtomicU64,
    behind_lock: Mutex<Collected>,
    verify: Verify,
    bar: ProgressBar,
}

struct Collected {
    /// Microseconds from due to answered.
    latency: Histogram<u64>,
    answered: Answered,
    first_failure: Option<String>,
    first_rejection: Option<String>,
}

impl Report {
    /// # Errors
    /// Never with the constants in use; the histogram checks its own precision.
    pub fn new(settings: &LoadSettings) -> Result<Self> {
        let latency = Histogram::new(LATENCY_DIGITS)?;
        let bar = match settings.file {
            Some(_) => ProgressBar::new_spinner(),
            None => ProgressBar::new(settings.duration.as_millis().try_into().unwrap_or(u64::MAX)),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:30} {elapsed_precise} {msg}") {
            bar.set_style(style);
        }
        Ok(Self {
            requests: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            behind_lock: Mutex::new(Collected {
                latency,
                answered: Answered::default(),
                first_failure: None,
                first_rejection: None,
            }),
            verify: settings.verify,
            bar,
        })
    }

    /// Counts the answers of one request.
    pub fn record(&self, body: &Body, latency: Duration, answers: Answers) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.put_off.fetch_add(u64::from(answers.put_off), Ordering::Relaxed);
        self.unanswered.fetch_add(u64::from(answers.unanswered), Ordering::Relaxed);
        let mut collected = self.lock();
        let micros = latency.as_micros().try_into().unwrap_or(u64::MAX);
        // The histogram grows as it must; only one that is too large for the memory refuses a value.
        if collected.latency.record(micros).is_err() {
            collected.latency.saturating_record(micros);
        }
        if let Some(received_at) = answers.received_at {
            let since = &mut collected.answered.since;
            *since = Some(since.map_or(received_at, |earlier| earlier.min(received_at)));
        }
        for (device_id, answer) in body.device_ids.iter().zip(answers.logs) {
            self.count(&mut collected, device_id, answer);
        }
    }

    fn count(&self, collected: &mut Collected, device_id: &str, answer: Answer) {
        let counter = match answer {
            Answer::Queued(id) => {
                if self.verify != Verify::No {
                    collected.answered.ids.entry(device_id.to_owned()).or_default().push(id);
                }
                &self.queued
            }
            Answer::Dropped => &self.dropped,
            Answer::Rejected(why) => {
                collected.first_rejection.get_or_insert(why);
                &self.rejected
            }
            Answer::Failed(why) => {
                collected.first_failure.get_or_insert(why);
                &self.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Draws the progress a few times a second, on a terminal only.
    pub fn show_progress(self: Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tick.tick().await;
                let elapsed = self.bar.elapsed();
                self.bar.set_position(elapsed.as_millis().try_into().unwrap_or(u64::MAX));
                self.bar.set_message(format!("{:.0} logs/s", self.rate(elapsed)));
            }
        })
    }

    /// Prints the table.
    pub fn finish(&self, elapsed: Duration) {
        self.bar.finish_and_clear();
        let collected = self.lock();
        let millis = |quantile| collected.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lines = [
            format!("{} requests in {:.2} s", count(&self.requests), elapsed.as_secs_f64()),
            format!(
                "logs: {} queued, {} dropped, {} rejected, {} failed; {:.0} logs/s",
                count(&self.queued),
                count(&self.dropped),
                count(&self.rejected),
                count(&self.failed),
                self.rate(elapsed)
            ),
            format!(
                "put off by 429 or 503 and repeated: {} times; not answered and repeated: {} times",
                count(&self.put_off),
                count(&self.unanswered)
            ),
            format!(
                "latency ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
                millis(0.5),
                millis(0.9),
                millis(0.99),
                millis(0.999),
                millis(1.0)
            ),
        ];
        print_lines(lines.iter().map(String::as_str));
        for (what, why) in [("failure", &collected.first_failure), ("rejection", &collected.first_rejection)]
        {
            if let Some(why) = why {
                // A plugin's words may be those of a log, which must not steer the terminal.
                let why = why.replace(char::is_control, " ");
                print_lines([format!("first {what}: {why}").as_str()]);
            }
        }
    }

    /// Whether every log was answered, and not all of them by a rejection.
    pub fn is_clean(&self) -> bool {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let none_taken = count(&self.queued) + count(&self.dropped) == 0;
        count(&self.failed) == 0 && !(none_taken && count(&self.rejected) > 0)
    }

    /// The ids to verify.
    pub fn take_answered(&self) -> Answered {
        std::mem::take(&mut self.lock().answered)
    }

    fn rate(&self, elapsed: Duration) -> f64 {
        let answered = [&self.queued, &self.dropped, &self.rejected].map(|n| n.load(Ordering::Relaxed));
        answered.iter().sum::<u64>() as f64 / elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        // The counts stay true even if a holder panicked between two of them.
        self.behind_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of the command: it belongs on standard output.
#[allow(clippy::print_stdout)]
pub fn print_lines<'a>(lines: impl IntoIterator<Item = &'a str>) {
    for line in lines {
        println!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Unanswered, source::Shape};
    use super::*;

    fn settings() -> LoadSettings {
        LoadSettings {
            url: String::new(),
            ca: None,
            token: None,
            devices: 1,
            rate: None,
            duration: Duration::ZERO,
            file: None,
            batch: 1,
            connections: 1,
            unanswered: Unanswered::Fail,
            seed: 1,
            verify: Verify::Stored { patience: Duration::ZERO },
            started_at: Timestamp::from_micros(5_000),
        }
    }

    #[test]
    fn a_run_whose_logs_were_all_rejected_is_not_clean() {
        let report = Report::new(&settings()).unwrap();
        assert!(report.is_clean(), "nothing was posted, and nothing went wrong");
        let record = |answer| {
            let body = Body {
                json: "{}".into(),
                shape: Shape::Single,
                device_ids: vec!["d".to_owned()],
                due: Some(Instant::now()),
            };
            let answers = Answers { logs: vec![answer], received_at: None, put_off: 0, unanswered: 0 };
            report.record(&body, Duration::ZERO, answers);
        };
        record(Answer::Rejected("message is required".to_owned()));
        record(Answer::Rejected("another".to_owned()));
        assert!(!report.is_clean());
        assert_eq!(report.lock().first_rejection.as_deref(), Some("message is required"));
        record(Answer::Dropped);
        assert!(report.is_clean());
    }

    /// Two hosts, whose clocks are not ours: nothing is looked for by the time of the machine that posts.
    #[test]
    fn rows_are_looked_for_from_when_the_hosts_received_the_first() {
        let report = Report::new(&settings()).unwrap();
        assert_eq!(report.take_answered().since, None);
        for (ms, received_at) in [(1, Some(2_000)), (2, Some(1_000)), (3, Some(9_000)), (4, None)] {
            let body = Body {
                json: "{}".into(),
                shape: Shape::Single,
                device_ids: vec!["d".to_owned()],
                due: Some(Instant::now()),
            };
            let logs = vec![Answer::Queued(MessageId { ms, seq: 0 })];
            let received_at = received_at.map(Timestamp::from_micros);
            report.record(&body, Duration::ZERO, Answers { logs, received_at, put_off: 0, unanswered: 0 });
        }
        let answered = report.take_answered();
        assert_eq!(answered.since, Some(Timestamp::from_micros(1_000)));
        assert_eq!(answered.ids["d"].len(), 4);
    }
}
