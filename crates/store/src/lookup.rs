//! Finding message ids in the ledger.

use std::collections::HashSet;
use std::time::Duration;

use sawpit_model::{MessageId, Timestamp};

use crate::error::StoreError;
use crate::ids;

/// A batch whose messages are so far apart, in milliseconds, is in an index of its own (`ledger_wide`), so that the others
/// are found by their last message. It stands in the migrations and in the questions as well.
pub(crate) const WIDE_MS: i64 = 60_000;

/// What is looked for, and the span in which a batch that holds any of it must overlap.
#[derive(Debug)]
pub(crate) struct Lookup {
    wanted: HashSet<MessageId>,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    /// The milliseconds of the ids.
    pub(crate) ms: Vec<i64>,
}

impl Lookup {
    /// `None` when none of the ids could be in a ledger.
    pub(crate) fn new(ids: &[MessageId]) -> Option<Self> {
        let wanted: HashSet<_> = ids.iter().copied().collect();
        // An id that does not fit was never committed.
        let ms: Vec<i64> = wanted.iter().filter_map(|id| i64::try_from(id.ms).ok()).collect();
        Some(Self { min_ms: *ms.iter().min()?, max_ms: *ms.iter().max()?, wanted, ms })
    }

    /// Where the last message of a batch that is not wide is at the latest.
    pub(crate) fn last_ms(&self) -> i64 {
        self.max_ms.saturating_add(WIDE_MS)
    }

    /// Those of the wanted ids that the given ledger entries name.
    pub(crate) fn found(&self, entries: &[Vec<u8>]) -> Result<HashSet<MessageId>, StoreError> {
        let mut found = HashSet::new();
        for entry in entries {
            let ids = ids::decode(entry).ok_or_else(|| StoreError::unreadable("a ledger entry"))?;
            found.extend(ids.into_iter().filter(|id| self.wanted.contains(id)));
        }
        Ok(found)
    }
}

/// Which batches the ledger may forget: all of these must be true of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgettable {
    /// Each of its messages has an earlier id. A message that waited for long is old when it is committed.
    pub(crate) messages_before_ms: i64,
    /// It was committed before this,
    pub(crate) committed_before: Timestamp,
    /// and so long before the newest commit: while nobody commits, nobody redelivers either.
    pub(crate) keep: Duration,
}

impl Forgettable {
    /// What is in the queue may be delivered again, however long ago it was committed: workers that were stopped for days,
    /// and clocks that stepped, make a commit old and change nothing in the queue.
    pub(crate) fn of(now: Timestamp, keep: Duration, oldest: Option<MessageId>) -> Self {
        let committed_before = before(now, keep);
        let queued = oldest.map_or(i64::MAX, |id| i64::try_from(id.ms).unwrap_or(i64::MAX));
        let messages_before_ms = queued.min(committed_before.as_millis().cast_signed());
        Self { messages_before_ms, committed_before, keep }
    }
}

/// The time `span` before `now`.
pub(crate) fn before(now: Timestamp, span: Duration) -> Timestamp {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(span))
}
