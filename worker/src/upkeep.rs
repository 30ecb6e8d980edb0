//! What a worker does beside its batches: the store's maintenance, and how much waits and how much is dead.

use std::sync::Arc;

use sawpit_queue::QueueError;
use tokio::time::{MissedTickBehavior, interval};

use crate::retention;
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

/// Makes partitions ahead, trims the ledger, and forgets workers that are gone and what is too old.
pub(crate) async fn maintain(shared: Arc<Shared>) {
    let now = shared.parts.clock.now();
    if let Err(error) = shared.parts.store.maintain(now).await {
        metrics::counter!("sawpit_worker_maintain_errors_total").increment(1);
        tracing::warn!(%error, "the store's maintenance failed; it is tried again at its next turn");
    }
    let keep = shared.parts.settings.consumer_keep;
    match shared.parts.queue.forget_consumers(keep).await {
        Ok(0) => {}
        Ok(consumers) => tracing::info!(consumers, "workers that were given nothing for long left the group"),
        Err(error) => tracing::debug!(%error, "workers that are gone stay in the group"),
    }
    if let Some(retention) = shared.parts.settings.retention {
        retention::forget(&shared, retention).await;
    }
}
