//! The handle of who appends.

use std::time::Instant;

use sawpit_model::{Entry, MessageId};

use crate::queue::Backend;
use crate::{AppendError, Known, Once, OnceKey, QueueError};

/// Appends messages; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Producer(Backend);

impl Producer {
    pub(crate) fn new(backend: Backend) -> Self {
        Self(backend)
    }

    /// Appends one message; answers its id once the queue has it.
    ///
    /// # Errors
    /// It was not confirmed; the variant says whether it may have been appended.
    pub async fn append(&self, entry: Entry) -> Result<MessageId, AppendError> {
        let started = Instant::now();
        let appended = match &self.0 {
            Backend::Redis(redis) => redis.append(entry).await,
            Backend::Embedded(file) => file.append_batch(&[entry]).await.and_then(|ids| first(&ids)),
        };
        measure(started, 1, outcome(appended.as_ref().err()));
        appended
    }

    /// Appends all of them, in order, or none; answers their ids once the queue has them.
    ///
    /// # Errors
    /// They were not confirmed; the variant says whether they may have been appended.
    pub async fn append_batch(&self, entries: Vec<Entry>) -> Result<Vec<MessageId>, AppendError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let appended = match &self.0 {
            Backend::Redis(redis) => redis.append_batch(&entries).await,
            Backend::Embedded(file) => file.append_batch(&entries).await,
        };
        measure(started, entries.len(), outcome(appended.as_ref().err()));
        appended
    }

    /// Appends all of them, in order, or none, unless that was done before under this key, by whichever producer: then
    /// nothing is appended, and what is known of the key is answered. `note` is kept with the key, for whoever comes
    /// again. The entries may be none; the note is kept all the same.
    ///
    /// The key is remembered in the same step, for [`QueueSettings::once_ttl`] at most: after an error that leaves it
    /// unknown, calling again with the same key cannot append twice.
    ///
    /// # Errors
    /// They were not confirmed; the variant says whether they may have been appended.
    pub async fn append_once(
        &self,
        once: &OnceKey,
        note: Vec<u8>,
        entries: Vec<Entry>,
    ) -> Result<Once, AppendError> {
        let started = Instant::now();
        let appended = match &self.0 {
            Backend::Redis(redis) => redis.append_once(once, &note, &entries).await,
            Backend::Embedded(file) => file.append_once(once, note, &entries).await,
        };
        let appended = match appended {
            // There need be no room for what is there already.
            Err(AppendError::Full { limit }) => match self.recall(once).await {
                Ok(Some(known)) => Ok(Once::Known(known)),
                _ => Err(AppendError::Full { limit }),
            },
            appended => appended,
        };
        let known = matches!(appended, Ok(Once::Known(_)));
        measure(started, entries.len(), if known { "known" } else { outcome(appended.as_ref().err()) });
        appended
    }

    /// What is known of a key. A first append may be under way that is not known yet: only
    /// [`Producer::append_once`] decides.
    ///
    /// # Errors
    /// The queue is away, or too few replicas have what the key stands for.
    pub async fn recall(&self, once: &OnceKey) -> Result<Option<Known>, QueueError> {
        match &self.0 {
            Backend::Redis(redis) => redis.recall(once).await,
            Backend::Embedded(file) => file.recall(once).await,
        }
    }
}

fn first(ids: &[MessageId]) -> Result<MessageId, AppendError> {
    ids.first().copied().ok_or_else(|| AppendError::Unknown { cause: "the queue gave no id".to_owned() })
}

fn outcome(error: Option<&AppendError>) -> &'static str {
    match error {
        None => "queued",
        Some(AppendError::Full { .. }) => "full",
        Some(AppendError::Refused { .. }) => "refused",
        Some(AppendError::Unknown { .. }) => "unknown",
    }
}

fn measure(started: Instant, messages: usize, outcome: &'static str) {
    metrics::counter!("sawpit_queue_append_total", "outcome" => outcome).increment(messages as u64);
    metrics::histogram!("sawpit_queue_append_seconds").record(started.elapsed().as_secs_f64());
}
