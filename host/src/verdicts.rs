//! What this host's plugins made of logs, on its way into the statistics.
//!
//! A log that a plugin refuses or drops never reaches a worker, so nobody but the host can count it. Counts are kept here
//! and written every few seconds, not with each request: a host that is killed loses those of the last seconds. Each write
//! has a number, and the store counts it once however often it is tried.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sawpit_model::Tally;
use sawpit_service::{Clock, Random};
use sawpit_store::{Store, StoreError, VerdictWrite};

/// How often the counts are written.
const WRITTEN_EVERY: Duration = Duration::from_secs(5);

/// Counts that are not written yet; a handle.
#[derive(Clone)]
pub struct Verdicts(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    /// Not given to a write yet.
    counted: Mutex<Tally>,
    /// The write that was not answered, if its tally is not empty; else the last one. Written again as it is, it is counted
    /// once.
    write: tokio::sync::Mutex<VerdictWrite>,
}

impl Verdicts {
    /// Must be called within a tokio runtime: it starts the task that writes, which ends when the last handle is dropped.
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        let writer = format!("{:016x}", Random::from_entropy().bits());
        let write = tokio::sync::Mutex::new(VerdictWrite { writer, ..VerdictWrite::default() });
        let inner = Arc::new(Inner { store, clock, counted: Mutex::default(), write });
        tokio::spawn(write_now_and_then(Arc::downgrade(&inner)));
        Self(inner)
    }

    pub(crate) fn add(&self, tally: &Tally) {
        if !tally.is_empty() {
            self.0.counted().merge(tally);
        }
    }

    /// Writes what was counted so far. To be called once more when the last request was answered.
    ///
    /// # Errors
    /// When the database does not answer: the counts are kept for the next time.
    pub async fn write(&self) -> Result<(), StoreError> {
        self.0.write().await
    }
}

impl Inner {
    fn counted(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First what was not answered, then what was counted since.
    async fn write(&self) -> Result<(), StoreError> {
        let mut write = self.write.lock().await;
        if !write.tally.is_empty() {
            self.send(&mut write).await?;
        }
        write.tally = std::mem::take(&mut *self.counted());
        if write.tally.is_empty() {
            return Ok(());
        }
        write.number += 1;
        self.send(&mut write).await
    }

    async fn send(&self, write: &mut VerdictWrite) -> Result<(), StoreError> {
        write.written_at = self.clock.now();
        self.store.add_verdicts(write).await?;
        write.tally = Tally::default();
        Ok(())
    }
}

async fn write_now_and_then(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(WRITTEN_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.write().await {
            tracing::debug!(%error, "the plugins' verdicts are not written yet");
        }
    }
}
