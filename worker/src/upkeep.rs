//! What a worker does beside its batches: the store's maintenance, and how much waits and how much is dead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sawpit_model::Timestamp;
use sawpit_queue::QueueError;
use tokio::time::{MissedTickBehavior, interval};

use crate::retention;
use crate::stale::Newest;
use crate::work::Shared;

/// Measures the backlog and the dead letters again and again, and sets marks that could not be set before; runs until it is
/// dropped.
pub(crate) async fn measure(shared: Arc<Shared>) {
    let mut ticks = interval(shared.parts.settings.backlog_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let queue = &shared.parts.queue;
        show("sawpit_queue_backlog", queue.backlog().await);
        show("sawpit_queue_dead_letters", queue.dead_count().await);
        if let Some(cache) = &shared.parts.cache {
            shared.marks.set(cache, Newest::new(), shared.parts.settings.cache_ttl).await;
        }
    }
}

/// For how many times `reclaim_every` a worker that waits for the store keeps what it has in hand. Then it may be the only
/// one that does not reach the store, and another shall have it; that costs the messages one try.
const KEEP_TURNS: u32 = 20;

/// While batches wait for the store, keeps what is in hand from being taken for silent: others would take it over, and over
/// again, until it counts as tried too often, though nothing refused it. Runs until it is dropped.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut ticks = interval(shared.parts.settings.reclaim_every / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if keeps(shared.waiting.lasts(Instant::now()), shared.parts.settings.reclaim_every)
            && let Err(error) = shared.keeper.keep().await
        {
            tracing::debug!(%error, "what waits for the store may be taken over by others");
        }
    }
}

fn keeps(waited: Option<Duration>, reclaim_every: Duration) -> bool {
    waited.is_some_and(|waited| waited < reclaim_every.saturating_mul(KEEP_TURNS))
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
    trim_ledger(&shared, now).await;
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

/// While a part of the queue does not say what its oldest message is, nothing is forgotten: that message may have been
/// committed, and then only the ledger knows.
async fn trim_ledger(shared: &Shared, now: Timestamp) {
    let oldest = match shared.parts.queue.oldest().await {
        Ok(oldest) => oldest,
        Err(error) => {
            tracing::debug!(%error, "the ledger is not trimmed: the oldest message is unknown");
            return;
        }
    };
    let keep = shared.parts.settings.ledger_keep;
    if let Err(error) = shared.parts.store.trim_ledger(now, keep, oldest).await {
        metrics::counter!("sawpit_worker_maintain_errors_total").increment(1);
        tracing::warn!(%error, "the ledger could not be trimmed; it is tried again at the next turn");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_kept_for_so_many_looks_of_others_and_no_longer() {
        let every = Duration::from_secs(2);
        assert!(!keeps(None, every), "nothing waits");
        assert!(keeps(Some(Duration::ZERO), every));
        assert!(keeps(Some(every * KEEP_TURNS - Duration::from_millis(1)), every));
        assert!(!keeps(Some(every * KEEP_TURNS), every));
    }
}
