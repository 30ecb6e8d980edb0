//! What this host's plugins made of logs, on its way into the statistics.
//!
//! A log that a plugin refuses or drops never reaches a worker, so nobody but the host can count it. Counts are kept here
//! and written every few seconds, not with each request: a host that is killed loses those of the last seconds.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sawpit_model::Tally;
use sawpit_store::{Store, StoreError};

/// How often the counts are written.
const WRITTEN_EVERY: Duration = Duration::from_secs(5);

/// Counts that are not written yet; a handle.
#[derive(Clone)]
pub struct Verdicts(Arc<Inner>);

struct Inner {
    store: Store,
    unwritten: Mutex<Tally>,
}

impl Verdicts {
    /// Must be called within a tokio runtime: it starts the task that writes, which ends when the last handle is dropped.
    pub(crate) fn new(store: Store) -> Self {
        let inner = Arc::new(Inner { store, unwritten: Mutex::default() });
        tokio::spawn(write_now_and_then(Arc::downgrade(&inner)));
        Self(inner)
    }

    pub(crate) fn add(&self, tally: &Tally) {
        if !tally.is_empty() {
            self.0.add(tally);
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
    fn add(&self, tally: &Tally) {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).merge(tally);
    }

    async fn write(&self) -> Result<(), StoreError> {
        let tally = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        // An answer that was lost may count them twice: rare, and no row depends on it.
        self.store.add_verdicts(&tally).await.inspect_err(|_| self.add(&tally))
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
