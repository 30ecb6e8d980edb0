//! What is in the file.

use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use sawpit_model::{Entry, Log, MessageId};
use serde::Deserialize;

use super::careful::Careful;
use super::once;
use crate::OpenError;

/// Ids as keys: milliseconds, sequence.
pub(crate) type Key = (u64, u64);

/// Messages that are not settled.
pub(crate) const MESSAGES: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("messages");
/// How often a message was delivered, where that is more than once.
pub(crate) const TRIES: TableDefinition<'_, Key, u32> = TableDefinition::new("tries");
/// Dead letters.
pub(crate) const DEAD: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("dead");
/// The last ids given out, so that none is given twice although messages leave.
pub(crate) const LAST: TableDefinition<'_, &str, Key> = TableDefinition::new("last");

/// Records of appends that are to happen once, by their key.
pub(crate) const ONCE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("once");
/// The keys of [`ONCE`] by age.
pub(crate) const ONCE_AGE: TableDefinition<'_, Key, &str> = TableDefinition::new("once_age");

/// Keys of [`LAST`].
pub(crate) const LAST_MESSAGE: &str = "message";
pub(crate) const LAST_DEAD: &str = "dead";

/// The first byte of a value: the form of the rest.
const VERSION: u8 = 2;
/// The form before an entry could have a failure.
const FIRST_VERSION: u8 = 1;

/// An entry in the first form.
#[derive(Deserialize)]
struct FirstEntry {
    log: Log,
    chain: String,
    traceparent: Option<String>,
}

impl From<FirstEntry> for Entry {
    fn from(FirstEntry { log, chain, traceparent }: FirstEntry) -> Self {
        Self { log, chain, traceparent, failure: None }
    }
}

/// What the library keeps of the file in memory. A queue is read once, soon after it was written.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// How long to wait for who has the file open: a queue that was just dropped ends its last transaction first.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Between two looks.
const CLOSE_LOOK: Duration = Duration::from_millis(10);

/// A file as it was found.
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) messages: u64,
    pub(crate) last_id: MessageId,
    pub(crate) last_dead: MessageId,
    /// The age of the youngest record of an append.
    pub(crate) last_once: MessageId,
}

/// Opens the file, or makes it. One that is not ours, or broken beyond repair, is left as it is.
pub(crate) fn open(path: &Path) -> Result<Opened, OpenError> {
    let name = path.display().to_string();
    let unusable = |cause: String| OpenError::File { path: name.clone(), cause };
    if let Some(folder) = path.parent() {
        make_folder(folder).map_err(|error| unusable(error.to_string()))?;
    }
    let (database, file) = match create(path) {
        Ok(opened) => opened,
        Err(DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::InUse { path: name }),
        Err(error) => return Err(unusable(error.to_string())),
    };
    prepare(&database).map_err(|error| unusable(error.to_string()))?;
    let (messages, last_id, last_dead) = state(&database).map_err(|error| unusable(error.to_string()))?;
    let last_once = once::youngest(&database).map_err(|error| unusable(error.to_string()))?;
    file.release().map_err(|error| unusable(error.to_string()))?;
    Ok(Opened { database, messages, last_id, last_dead, last_once })
}

/// Makes a folder that is missing for its owner alone: logs are nobody else's business. One that is there stays as it is.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Nothing is written before [`Careful::release`].
fn create(path: &Path) -> Result<(Database, Careful), DatabaseError> {
    let deadline = Instant::now() + CLOSE_WAIT;
    loop {
        let file = Careful::open(path)?;
        match Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(file.clone()) {
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                std::thread::sleep(CLOSE_LOOK);
            }
            opened => return Ok((opened?, file)),
        }
    }
}

/// Makes the tables, so that reading finds them.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(MESSAGES)?;
    transaction.open_table(TRIES)?;
    transaction.open_table(DEAD)?;
    transaction.open_table(LAST)?;
    transaction.open_table(ONCE)?;
    transaction.open_table(ONCE_AGE)?;
    transaction.commit()?;
    Ok(())
}

fn state(database: &Database) -> Result<(u64, MessageId, MessageId), redb::Error> {
    let transaction = database.begin_read()?;
    let last = transaction.open_table(LAST)?;
    let last_of = |name| -> Result<MessageId, redb::Error> {
        Ok(last.get(name)?.map(|key| id(key.value())).unwrap_or_default())
    };
    Ok((transaction.open_table(MESSAGES)?.len()?, last_of(LAST_MESSAGE)?, last_of(LAST_DEAD)?))
}

pub(crate) fn key(id: MessageId) -> Key {
    (id.ms, id.seq)
}

pub(crate) fn id((ms, seq): Key) -> MessageId {
    MessageId { ms, seq }
}

/// An entry as it is kept.
pub(crate) fn encode(entry: &Entry) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(entry, vec![VERSION])
}

/// The entry in a value, or why there is none.
pub(crate) fn decode(bytes: &[u8]) -> Result<Entry, String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| error.to_string()),
        Some((&FIRST_VERSION, rest)) => {
            postcard::from_bytes::<FirstEntry>(rest).map(Entry::from).map_err(|error| error.to_string())
        }
        Some((version, _)) => Err(format!("form {version} is not known to this version of sawpit")),
        None => Err("it is empty".to_owned()),
    }
}
