//! What a worker does beside its batches: the store's maintenance, and how much waits and how much is dead.

use std::sync::Arc;

use sawpit_queue::QueueError;
use tokio::time::{MissedTickBehavior, interval};

use crate::work::Shared;

/// Measures the backlog and the dead letters again and again; runs until it is dropped.
pub(crate) async fn measure(shared: Arc<Shared>) {
    let mut ticks = interval(shared.parts.settings.backlog_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let queue = &shared.parts.queue;
        show("sawpit_queue_backlog", queue.backlog().await);
        show("sawpit_queue_dead_letters", queue.dead_count().await);
    }
}

fn show(gauge: &'static str, measured: Result<u64, QueueError>) {
    match measured {
        #[allow(clippy::cast_precision_loss, reason = "a gauge; exact to 2^53 messages")]
        Ok(messages) => metrics::gauge!(gauge).set(messages as f64),
        Err(error) => tracing::debug!(%error, gauge, "it could not be measured"),
    }
}

/// Makes partitions ahead and trims the ledger.
pub(crate) async fn maintain(shared: Arc<Shared>) {
    if let Err(error) = shared.parts.store.maintain(shared.parts.clock.now()).await {
        metrics::counter!("sawpit_worker_maintain_errors_total").increment(1);
        tracing::warn!(%error, "the store's maintenance failed; it is tried again at its next turn");
    }
}
