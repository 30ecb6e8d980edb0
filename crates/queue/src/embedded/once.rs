//! Appending once: the records are in the file, and written in the transaction that appends.
//!
//! They are trimmed as new ones are written, oldest first: those past their time, and those over the limit.

use std::time::Duration;

use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};
use sawpit_model::MessageId;
use serde::{Deserialize, Serialize};

use super::file::{Key, ONCE, ONCE_AGE, id, key};
use super::{Embedded, Shared};
use crate::once::Runs;
use crate::{Kept, Known, OnceKey, QueueError};

/// Most records that go for each that comes: enough that their number falls, and no transaction takes long.
const TRIM: usize = 4;

/// What is kept of an append. The first byte before it is its form.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Its place in [`ONCE_AGE`]: when it was written, in ms of the queue's clock, and a number.
    age: Key,
    fingerprint: [u8; 16],
    runs: Runs,
    note: Vec<u8>,
}

/// The form of a record.
const VERSION: u8 = 1;

/// How long records are kept, and how many.
#[derive(Clone, Copy)]
pub(super) struct Keeping {
    pub(super) ttl: Duration,
    pub(super) limit: u64,
}

/// When a record is written.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now_ms: u64,
    /// Not before those of other records, whatever the clock does.
    pub(super) age: MessageId,
}

impl Embedded {
    pub(crate) async fn recall(&self, once: &OnceKey) -> Result<Option<Known>, QueueError> {
        let (shared, once, ttl) = (self.shared(), once.clone(), self.settings.once_ttl);
        let now_ms = (self.clock)().as_millis();
        let find = move || shared.recall(&once, ttl, now_ms).map_err(QueueError::unavailable);
        tokio::task::spawn_blocking(find).await.unwrap_or_else(|error| Err(QueueError::unavailable(error)))
    }
}

impl Shared {
    fn recall(&self, once: &OnceKey, ttl: Duration, now_ms: u64) -> Result<Option<Known>, redb::Error> {
        let database = self.database()?;
        let records = database.begin_read()?.open_table(ONCE)?;
        let found = records.get(once.key.as_str())?;
        Ok(found.and_then(|bytes| decode(bytes.value())).and_then(|record| record.known(once, ttl, now_ms)))
    }
}

/// What is known of the key at the start of an append.
pub(super) fn find(
    transaction: &WriteTransaction,
    once: &OnceKey,
    ttl: Duration,
    now_ms: u64,
) -> Result<Option<Known>, redb::Error> {
    let records = transaction.open_table(ONCE)?;
    let found = records.get(once.key.as_str())?;
    Ok(found.and_then(|bytes| decode(bytes.value())).and_then(|record| record.known(once, ttl, now_ms)))
}

/// Keeps a record, in the place of one that is past its time, and lets old ones go.
pub(super) fn keep(
    transaction: &WriteTransaction,
    once: &OnceKey,
    note: &[u8],
    ids: &[MessageId],
    (moment, keeping): (Moment, Keeping),
) -> Result<(), redb::Error> {
    let (age, fingerprint) = (key(moment.age), once.fingerprint);
    let record = Record { age, fingerprint, runs: Runs::of(ids), note: note.to_vec() };
    let bytes = postcard::to_extend(&record, vec![VERSION])
        .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
    let (mut records, mut ages) = (transaction.open_table(ONCE)?, transaction.open_table(ONCE_AGE)?);
    if let Some(old) = records.insert(once.key.as_str(), bytes.as_slice())?
        && let Some(old) = decode(old.value())
    {
        ages.remove(old.age)?;
    }
    ages.insert(age, once.key.as_str())?;
    for _ in 0..TRIM {
        let Some((oldest, name)) = ages.first()?.map(|(at, name)| (at.value(), name.value().to_owned()))
        else {
            break;
        };
        if !is_past(oldest, keeping.ttl, moment.now_ms) && ages.len()? <= keeping.limit {
            break;
        }
        ages.remove(oldest)?;
        records.remove(name.as_str())?;
    }
    Ok(())
}

/// The place of the youngest record.
pub(super) fn youngest(database: &redb::Database) -> Result<MessageId, redb::Error> {
    let ages = database.begin_read()?.open_table(ONCE_AGE)?;
    Ok(ages.last()?.map(|(at, _)| id(at.value())).unwrap_or_default())
}

impl Record {
    fn known(self, once: &OnceKey, ttl: Duration, now_ms: u64) -> Option<Known> {
        if is_past(self.age, ttl, now_ms) {
            return None;
        }
        if self.fingerprint != once.fingerprint {
            return Some(Known::Other);
        }
        Some(Known::Same(Kept { ids: self.runs.ids(), note: self.note }))
    }
}

/// A clock that stepped back makes none older.
fn is_past((written_ms, _): Key, ttl: Duration, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(written_ms)) >= ttl.as_millis()
}

/// One that is not readable counts as none: it is of a newer version, and was replaced by an older one.
fn decode(bytes: &[u8]) -> Option<Record> {
    let rest = bytes.strip_prefix(&[VERSION])?;
    postcard::from_bytes(rest).ok()
}
