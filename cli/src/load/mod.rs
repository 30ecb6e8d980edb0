//! `sawpit load`: devices that post, simulated or replayed from a file.
//!
//! One task makes the bodies and gives each the moment at which it is due; `connections` tasks post them.
//! With a rate, a latency counts from the due moment, not from when a connection came free, so that a
//! server that stalls cannot hide it (coordinated omission).

mod devices;
mod post;
mod report;
mod source;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sawpit_model::Timestamp;
use sawpit_service::Shutdown;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use post::Poster;
use report::Report;
use source::Body;

/// What to post, how fast and where.
pub struct LoadSettings {
    /// Base address of the host or of the proxy, as in `http://127.0.0.1:8000`.
    pub url: String,
    /// The certificates of the only authorities to trust, PEM; those of the system unless given.
    pub ca: Option<PathBuf>,
    /// Sent with each request.
    pub token: Option<String>,
    /// How many devices are simulated.
    pub devices: u32,
    /// Logs per second in all; `None` is as fast as the answers come.
    pub rate: Option<u32>,
    /// How long simulated devices post.
    pub duration: Duration,
    /// Logs to replay, one body of `POST /api/log` a line, instead of simulated ones; `-` is standard input.
    pub file: Option<PathBuf>,
    /// Logs per request; 1 posts to `/api/log`.
    pub batch: usize,
    /// Requests in flight at once.
    pub connections: usize,
    /// What is done when no answer comes.
    pub unanswered: Unanswered,
    /// Seed of the simulated devices: the same seed posts the same logs.
    pub seed: u64,
    /// Whether the stored rows are compared with the answers.
    pub verify: Verify,
    /// When the run started, for keys that no other run has.
    pub started_at: Timestamp,
}

/// What is done about a request that got no answer: its logs may or may not have been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It counts as failed.
    Fail,
    /// It is posted again, as each request then has an `Idempotency-Key`.
    Repeat,
}

/// Whether a run ends with a look at what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Only the answers are counted.
    No,
    /// Every answered id must be stored exactly once; waits while rows still appear, and this long after the last.
    Stored {
        /// Time without a new row after which what is missing counts as lost.
        patience: Duration,
    },
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was answered, something was taken and, if asked for, verified.
    Clean,
    /// Requests failed, every log was rejected, or rows are missing or doubled.
    Faulty,
}

/// Posts until the time is over, the file is read or a shutdown is requested; then reports and verifies.
///
/// # Errors
/// The file cannot be read, or the address is not one.
pub async fn run(settings: LoadSettings, shutdown: Shutdown) -> Result<Outcome> {
    let poster = Poster::new(&settings)?;
    let report = Arc::new(Report::new(&settings)?);
    let (sender, bodies) = mpsc::channel::<Body>(settings.connections * 2);
    let bodies = Arc::new(Mutex::new(bodies));
    let mut posting = JoinSet::new();
    for _ in 0..settings.connections {
        posting.spawn(post_all(poster.clone(), Arc::clone(&bodies), Arc::clone(&report), shutdown.clone()));
    }
    drop(bodies);
    let ticker = report.clone().show_progress();
    let started = Instant::now();
    let produced = tokio::select! {
        produced = source::produce(&settings, sender) => produced,
        () = shutdown.requested() => Ok(()),
    };
    while posting.join_next().await.is_some() {}
    ticker.abort();
    report.finish(started.elapsed());
    produced.context("could not read the logs to post")?;
    let answered = report.take_answered();
    let verified = match settings.verify {
        Verify::No => Outcome::Clean,
        Verify::Stored { patience } => verify::run(&poster, answered, patience).await?,
    };
    Ok(if report.is_clean() { verified } else { Outcome::Faulty })
}

async fn post_all(
    poster: Poster,
    bodies: Arc<Mutex<mpsc::Receiver<Body>>>,
    report: Arc<Report>,
    shutdown: Shutdown,
) {
    loop {
        let next = bodies.lock().await.recv().await;
        let Some(body) = next else { return };
        if shutdown.is_requested() {
            return;
        }
        let due = body.due.unwrap_or_else(Instant::now);
        let answers = poster.post(&body).await;
        report.record(&body, due.elapsed(), answers);
    }
}
