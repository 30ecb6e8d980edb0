//! Waits until nothing is left to be done, then ends those who could still do something: what is read afterwards is
//! final.
//!
//! An empty backlog does not say so. A worker that was thought dead may hold a batch whose messages another one has
//! settled since, and send it to the store at any time: the store must refuse it, and a reader who came before would
//! not see that it did not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sawpit_queue::Queue;

use crate::system::System;

/// Time without a message settled after which the backlog counts as stuck.
const STUCK: Duration = Duration::from_secs(90);
/// Wait between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the store may take over what it was asked by those who have ended.
const LAST_WORDS: Duration = Duration::from_secs(60);
/// Connections but this one.
const CONNECTED: &str = "select count(*) from pg_stat_activity \
                         where backend_type = 'client backend' and pid <> pg_backend_pid()";

/// Returns when nobody can change the store any more: how many messages were never settled. `tend` is called while the
/// workers are waited for. To be called before the caller opens the store.
///
/// # Errors
/// The queue does not answer, though nothing disturbs it, or somebody stays connected to the store.
pub async fn wait(system: &Arc<System>, queue: &Queue, tend: impl FnMut()) -> Result<u64> {
    let stuck = drain(queue, tend).await?;
    let ending = Arc::clone(system);
    let ended = tokio::task::spawn_blocking(move || ending.stop_clients()).await;
    ended.context("hosts and workers could not be stopped; the words are above")?;
    let deadline = Instant::now() + LAST_WORDS;
    while system.count(CONNECTED)? > 0 {
        anyhow::ensure!(
            Instant::now() < deadline,
            "somebody is connected to PostgreSQL {LAST_WORDS:?} after all hosts and workers have ended"
        );
        tokio::time::sleep(PAUSE).await;
    }
    Ok(stuck)
}

/// Waits while the backlog shrinks; how many messages are left when it does not.
async fn drain(queue: &Queue, mut tend: impl FnMut()) -> Result<u64> {
    let mut least = u64::MAX;
    let mut moved = Instant::now();
    loop {
        tend();
        let left = queue.backlog().await?;
        if left < least {
            (least, moved) = (left, Instant::now());
        }
        if left == 0 || moved.elapsed() > STUCK {
            return Ok(left);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
