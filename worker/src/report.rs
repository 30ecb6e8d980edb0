//! What the operator and the hosts learn of a batch: metrics, and marks in the cache.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sawpit_model::Timestamp;
use sawpit_store::{Batch, Row, StoredRow};

use crate::stale::{self, Newest};
use crate::work::Shared;

/// What others learn of rows once they are committed.
pub(crate) struct Stored {
    devices: Newest,
    rows: usize,
    oldest: Option<Timestamp>,
}

impl Stored {
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut devices = Newest::new();
        for row in rows {
            let newest = row.sources.iter().max().copied().unwrap_or_default();
            stale::note(&mut devices, &row.log.device_id, newest);
        }
        Self { devices, rows: rows.len(), oldest: rows.iter().map(|row| row.log.received_at).min() }
    }

    /// Counts the batch, marks its devices' cached answers as stale, and tells its rows to whoever follows.
    pub(crate) async fn publish(self, shared: &Shared, stored: &Batch) {
        batch("committed");
        metrics::counter!("sawpit_worker_rows_total").increment(self.rows as u64);
        if let Some(oldest) = self.oldest {
            metrics::histogram!("sawpit_worker_lag_seconds")
                .record(seconds_between(oldest, stored.committed_at));
        }
        if let Some(cache) = &shared.parts.cache {
            shared.marks.set(cache, self.devices, shared.parts.settings.cache_ttl).await;
            cache.feed().publish(|| lines(&stored.rows)).await;
        }
    }
}

/// A row's JSON a line, as `GET /api/tail` hands it on.
fn lines(rows: &[Row]) -> Bytes {
    let mut text = Vec::new();
    for row in rows {
        // Writing into memory fails for no row that was stored.
        let _ = StoredRow::from(row).write_line(&mut text);
    }
    text.into()
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    let micros = to.as_micros().saturating_sub(from.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
}

/// A batch ended: `committed`, `abandoned` or `panicked`.
pub(crate) fn batch(outcome: &'static str) {
    metrics::counter!("sawpit_worker_batches_total", "outcome" => outcome).increment(1);
}

/// Messages were settled: `committed`, `known` (committed before) or `buried`.
pub(crate) fn logs(outcome: &'static str, count: usize) {
    metrics::counter!("sawpit_worker_logs_total", "outcome" => outcome).increment(count as u64);
}

/// Messages were buried, each for its plugin (`name@version#hash`), if one was at fault.
pub(crate) fn buried(plugins: Vec<Option<String>>) {
    logs("buried", plugins.len());
    for plugin in plugins {
        let name = plugin.as_deref().and_then(|plugin| plugin.split('@').next()).unwrap_or("none").to_owned();
        metrics::counter!("sawpit_worker_dead_letters_total", "plugin" => name).increment(1);
    }
}

/// Messages were delivered together.
#[allow(clippy::cast_precision_loss, reason = "a histogram of at most some hundreds")]
pub(crate) fn arrived(count: usize) {
    metrics::histogram!("sawpit_worker_batch_logs").record(count as f64);
}

/// A commit took so long.
pub(crate) fn committed_in(took: Duration) {
    metrics::histogram!("sawpit_worker_commit_seconds").record(took);
}

/// The store is away and is waited for.
pub(crate) fn retry(shared: &Shared, cause: &str, after: Duration) {
    shared.waiting.goes_on(cause, Instant::now());
    metrics::counter!("sawpit_worker_retries_total").increment(1);
    tracing::warn!(cause, ?after, "the store is away, trying again");
}

/// Logs that transform plugins dropped by their own verdict.
pub(crate) fn dropped(by_plugin: &HashMap<String, u64>) {
    for (plugin, count) in by_plugin {
        metrics::counter!("sawpit_dropped_total", "plugin" => plugin.clone()).increment(*count);
    }
}
