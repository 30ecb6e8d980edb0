//! What a worker commits.

use sawpit_model::{Log, MessageId, Tally, Timestamp};

use crate::error::CommitError;
use crate::ids::IdList;

/// What one commit stores and settles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Every message that this settles, also those that were dropped or merged.
    pub ids: Vec<MessageId>,
    /// The rows to store; may be empty when all was dropped.
    pub rows: Vec<Row>,
    /// What the transform plugins made of the logs behind it.
    pub verdicts: Tally,
    /// The time, for the ledger.
    pub committed_at: Timestamp,
}

/// One row to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The messages that it was made from, at least one; the first is the row's `message_id`.
    pub sources: Vec<MessageId>,
    /// Tells the rows apart that a transform split one log into, from 0.
    pub part: u32,
    /// What is stored.
    pub log: Log,
    /// Id of the plugin chain that made it.
    pub chain: String,
}

impl Row {
    /// All sources, each once; empty when there is only one.
    pub(crate) fn several_sources(&self) -> Vec<MessageId> {
        let mut sources = Vec::new();
        for id in &self.sources {
            if !sources.contains(id) {
                sources.push(*id);
            }
        }
        if sources.len() == 1 { Vec::new() } else { sources }
    }
}

/// The right of one worker to commit, until another fences it. See [`crate::Store::lease`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub(crate) owner: String,
    pub(crate) epoch: i64,
}

impl Lease {
    /// The worker's name, as it was given.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// How often the owner's right was taken or given anew, this time included: a lease and a fence raise it by
    /// one each, so a gap between two leases of one process shows that another fenced it in between.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }
}

/// The ledger row of a batch, in the database's types.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) max_seq: i64,
    pub(crate) ids: Vec<u8>,
}

impl Entry {
    pub(crate) fn of(batch: &Batch) -> Result<Self, CommitError> {
        let Some(list) = IdList::new(&batch.ids) else {
            return Err(refused("it has rows but names no messages"));
        };
        Ok(Self {
            min_ms: signed(list.first().ms)?,
            max_ms: signed(list.last().ms)?,
            max_seq: signed(list.last().seq)?,
            ids: list.encode(),
        })
    }
}

/// What names a row, in the database's types.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowKey {
    pub(crate) ms: i64,
    pub(crate) seq: i64,
    pub(crate) part: i32,
    /// All sources, each once; empty when there is only one.
    pub(crate) sources: Vec<MessageId>,
}

impl RowKey {
    pub(crate) fn of(row: &Row) -> Result<Self, CommitError> {
        let Some(first) = row.sources.first() else {
            return Err(refused("a row names no message that it was made from"));
        };
        let part = i32::try_from(row.part).map_err(|_| refused(format!("part {} is too large", row.part)))?;
        Ok(Self { ms: signed(first.ms)?, seq: signed(first.seq)?, part, sources: row.several_sources() })
    }
}

/// Databases have no unsigned numbers. A queue whose clock is right stays far below the limit.
fn signed(value: u64) -> Result<i64, CommitError> {
    i64::try_from(value).map_err(|_| refused(format!("the message id part {value} exceeds {}", i64::MAX)))
}

fn refused(cause: impl Into<String>) -> CommitError {
    CommitError::Refused { cause: cause.into() }
}
