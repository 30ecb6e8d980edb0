//! The embedded queue: one redb file, one thread that writes it.
//!
//! An append is answered after the transaction that holds it is on disk. One thread takes everything that
//! waits into one transaction (group commit), so a hundred requests cost one flush. Which message is next is
//! known by the last id handed out, so reading never passes what was delivered before.
//!
//! After a failed write the library refuses everything until the file is opened anew. So the thread does that, again and
//! again: a disk that was full goes on where it was once there is space.
//!
//! Who reads is in this process; a message that was in somebody's hands when the process died is found again
//! because it is still in the file. It counts as delivered before, since nobody can say.

mod careful;
mod consumer;
mod file;
mod once;
mod work;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use sawpit_model::{Entry, MessageId, Timestamp};
use tokio::sync::{Notify, oneshot};

pub(crate) use consumer::Consumer;
use file::{DEAD, MESSAGES};
use work::{Answer, Job, Work};
use writer::{Found, Last};

use crate::delivery::InHand;
use crate::{
    AppendError, Clock, DeadLetter, DeadReason, Delivery, Once, OnceKey, OpenError, QueueError, QueueSettings,
};

/// The file in the queue's folder.
const FILE: &str = "queue.redb";

/// An open file and the thread that writes it.
pub(crate) struct Embedded {
    jobs: mpsc::Sender<Job>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: QueueSettings,
    clock: Clock,
}

/// What writer and consumers share.
pub(crate) struct Shared {
    /// None while it is being opened anew.
    database: RwLock<Option<Arc<Database>>>,
    /// Messages in the file and on their way into it.
    backlog: AtomicU64,
    /// Bytes of appends on their way into the file.
    waiting_bytes: AtomicUsize,
    /// Messages that were settled since the file was opened.
    left: AtomicU64,
    /// Told after each transaction with new messages.
    pub(crate) arrived: Notify,
    /// The last message that was handed out for the first time.
    pub(crate) cursor: Mutex<MessageId>,
    /// The last message that was there when the file was opened: up to it, all may have been delivered before.
    pub(crate) boundary: MessageId,
    pub(crate) in_hand: InHand,
    /// As in the settings.
    pub(crate) isolate_tries: u32,
    /// Why the file cannot be written, if so.
    failure: Mutex<Option<String>>,
}

impl Embedded {
    pub(crate) async fn open(settings: QueueSettings, clock: Clock) -> Result<Self, OpenError> {
        // Opening may have to repair what a crash left, which reads the whole file.
        let opened = tokio::task::spawn_blocking(move || Self::open_file(settings, clock)).await;
        opened.unwrap_or_else(|error| {
            Err(OpenError::File { path: FILE.to_owned(), cause: format!("opening it broke: {error}") })
        })
    }

    fn open_file(settings: QueueSettings, clock: Clock) -> Result<Self, OpenError> {
        let path = Path::new(&settings.url).join(FILE);
        let opened = file::open(&path)?;
        let found = Found { path, messages: opened.messages, last: Last::of(&opened) };
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(Arc::new(opened.database))),
            backlog: AtomicU64::new(opened.messages),
            waiting_bytes: AtomicUsize::new(0),
            left: AtomicU64::new(0),
            arrived: Notify::new(),
            cursor: Mutex::new(MessageId::default()),
            boundary: opened.last_id,
            in_hand: InHand::default(),
            isolate_tries: settings.isolate_tries,
            failure: Mutex::new(None),
        });
        let (jobs, waiting) = mpsc::channel();
        writer::start(Arc::clone(&shared), waiting, Arc::clone(&clock), found, &settings)?;
        Ok(Self { jobs, shared, settings, clock })
    }

    pub(crate) async fn append_batch(&self, entries: &[Entry]) -> Result<Vec<MessageId>, AppendError> {
        let entries = encoded(entries)?;
        let reserved = self.reserve(&entries, 0)?;
        match self.appending(Work::Append(entries, reserved)).await? {
            Answer::Ids(ids) => Ok(ids),
            _ => Err(other_answer()),
        }
    }

    pub(crate) async fn append_once(
        &self,
        once: &OnceKey,
        note: Vec<u8>,
        entries: &[Entry],
    ) -> Result<Once, AppendError> {
        let entries = encoded(entries)?;
        let reserved = self.reserve(&entries, note.len())?;
        match self.appending(Work::AppendOnce { once: once.clone(), note, entries, reserved }).await? {
            Answer::Ids(ids) => Ok(Once::First(ids)),
            Answer::Known(known) => Ok(Once::Known(known)),
            _ => Err(other_answer()),
        }
    }

    async fn appending(&self, work: Work) -> Result<Answer, AppendError> {
        let ended = tokio::time::timeout(self.settings.append_timeout, self.work(work)).await;
        match ended.unwrap_or_else(|_| Err(Fault::Unknown("the disk did not answer in time".to_owned()))) {
            Ok(answer) => Ok(answer),
            Err(Fault::NotDone(cause)) => Err(AppendError::Refused { cause }),
            Err(Fault::Unknown(cause)) => Err(AppendError::Unknown { cause }),
        }
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Takes room in the backlog and in memory. It goes with the work, not with the caller: one that hangs up, or waited
    /// long enough, has its message appended all the same, and until then it is held.
    fn reserve(&self, entries: &[Vec<u8>], note: usize) -> Result<Reserved, AppendError> {
        let messages = entries.len() as u64;
        let limit = self.settings.backlog_limit;
        let fits = |waiting: u64| waiting.checked_add(messages).filter(|sum| *sum <= limit);
        let backlog = &self.shared.backlog;
        backlog
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits)
            .map_err(|_| AppendError::Full { limit })?;
        let reserved = Reserved { shared: Arc::clone(&self.shared), messages, bytes: 0 };
        self.hold_bytes(reserved, work::size(entries) + note)
    }

    /// One append fits however large it is, if no other waits: else it never would.
    fn hold_bytes(&self, mut reserved: Reserved, bytes: usize) -> Result<Reserved, AppendError> {
        let limit = self.settings.waiting_bytes;
        let fits = |waiting: usize| waiting.checked_add(bytes).filter(|sum| waiting == 0 || *sum <= limit);
        match self.shared.waiting_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits) {
            Ok(_) => {
                reserved.bytes = bytes;
                Ok(reserved)
            }
            Err(waiting) => Err(AppendError::Refused {
                cause: format!("{waiting} bytes wait for the disk (--queue-waiting-bytes {limit}B)"),
            }),
        }
    }

    pub(crate) async fn ack(&self, ids: &[MessageId]) -> Result<(), QueueError> {
        self.settle(Work::Settle { ids: ids.to_vec(), letters: Vec::new() }).await
    }

    pub(crate) async fn bury(&self, dead: &[(Delivery, DeadReason)]) -> Result<u64, QueueError> {
        let now = (self.clock)();
        let letters = dead.iter().map(|(delivery, why)| letter(delivery, why, now)).collect();
        let ids = dead.iter().map(|(delivery, _)| delivery.id).collect();
        match self.work(Work::Settle { ids, letters }).await? {
            Answer::DeadFull => Err(QueueError::DeadFull { limit: self.settings.dead_limit }),
            _ => Ok(dead.len() as u64),
        }
    }

    pub(crate) async fn count_tries(&self, tries: Vec<(MessageId, u32)>) -> Result<(), QueueError> {
        self.settle(Work::Tries(tries)).await
    }

    async fn settle(&self, work: Work) -> Result<(), QueueError> {
        self.work(work).await.map(drop).map_err(QueueError::from)
    }

    async fn work(&self, work: Work) -> Result<Answer, Fault> {
        let (reply, answer) = oneshot::channel();
        let gone = || Fault::NotDone("the thread that writes the queue has ended".to_owned());
        self.jobs.send(Job { work, reply }).map_err(|_| gone())?;
        answer
            .await
            .unwrap_or_else(|_| Err(Fault::Unknown("the thread that writes the queue broke".to_owned())))
    }

    pub(crate) fn backlog(&self) -> u64 {
        self.shared.backlog.load(Ordering::SeqCst)
    }

    pub(crate) fn left(&self) -> u64 {
        self.shared.left.load(Ordering::Relaxed)
    }

    pub(crate) fn ping(&self) -> Result<(), QueueError> {
        match self.shared.failure() {
            None => Ok(()),
            Some(cause) => Err(QueueError::unavailable(cause)),
        }
    }

    pub(crate) async fn oldest(&self) -> Result<Option<MessageId>, QueueError> {
        let shared = Arc::clone(&self.shared);
        let read = move || shared.oldest().map_err(QueueError::unavailable);
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(QueueError::unavailable(error)))
    }

    pub(crate) async fn dead_count(&self) -> Result<u64, QueueError> {
        let shared = Arc::clone(&self.shared);
        let count = move || shared.dead_count().map_err(QueueError::unavailable);
        tokio::task::spawn_blocking(count).await.unwrap_or_else(|error| Err(QueueError::unavailable(error)))
    }

    pub(crate) async fn dead_list(
        &self,
        first: MessageId,
        count: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        let shared = Arc::clone(&self.shared);
        let read = move || shared.dead_from(first, count).map_err(QueueError::unavailable);
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(QueueError::unavailable(error)))
    }

    pub(crate) async fn dead_replay(&self, id: MessageId) -> Result<MessageId, QueueError> {
        let letter = self.dead_list(id, 1).await?.into_iter().find(|letter| letter.id == id);
        let letter = letter.ok_or(QueueError::NoSuchLetter { id })?;
        let entry = Entry::from_fields(letter.fields)
            .map_err(|error| QueueError::NotALog { id, cause: error.to_string() })?;
        let bytes = file::encode(&entry).map_err(QueueError::unavailable)?;
        match self.work(Work::Replay { id, bytes }).await? {
            Answer::Ids(ids) => ids.first().copied().ok_or(QueueError::NoSuchLetter { id }),
            _ => Err(QueueError::NoSuchLetter { id }),
        }
    }

    pub(crate) async fn dead_purge(&self, id: MessageId) -> Result<(), QueueError> {
        match self.work(Work::Purge(id)).await? {
            Answer::Ids(_) => Ok(()),
            _ => Err(QueueError::NoSuchLetter { id }),
        }
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("folder", &self.settings.url).finish_non_exhaustive()
    }
}

impl Shared {
    fn oldest(&self) -> Result<Option<MessageId>, redb::Error> {
        let database = self.database()?;
        let messages = database.begin_read()?.open_table(MESSAGES)?;
        Ok(messages.first()?.map(|(key, _)| key.value()).map(|(ms, seq)| MessageId { ms, seq }))
    }

    fn dead_count(&self) -> Result<u64, redb::Error> {
        let database = self.database()?;
        Ok(database.begin_read()?.open_table(DEAD)?.len()?)
    }

    fn dead_from(&self, first: MessageId, count: usize) -> Result<Vec<DeadLetter>, redb::Error> {
        let database = self.database()?;
        let transaction = database.begin_read()?;
        let dead = transaction.open_table(DEAD)?;
        let mut letters = Vec::new();
        for found in dead.range((first.ms, first.seq)..)?.take(count) {
            let (_, bytes) = found?;
            letters.extend(postcard::from_bytes::<DeadLetter>(bytes.value()).ok());
        }
        Ok(letters)
    }

    /// To be held no longer than what is read through it.
    fn database(&self) -> Result<Arc<Database>, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner).clone();
        database
            .ok_or_else(|| redb::Error::Io(std::io::Error::other("the queue's file is being opened anew")))
    }

    /// Puts another in its place, or none.
    fn replace(&self, database: Option<Database>) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = database.map(Arc::new);
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, cause: &str) {
        tracing::error!(cause, "the queue's file cannot be written: free disk space; it is tried again");
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.to_owned());
    }
}

impl Shared {
    fn mended(&self) {
        tracing::info!("the queue's file can be written again");
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Why a piece of work was not done, or may not have been.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    NotDone(String),
    Unknown(String),
}

impl From<Fault> for QueueError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotDone(cause) | Fault::Unknown(cause) => Self::unavailable(cause),
        }
    }
}

/// Room for messages that are being appended: in the backlog, given back unless it is kept, and in memory.
pub(crate) struct Reserved {
    shared: Arc<Shared>,
    messages: u64,
    bytes: usize,
}

impl Reserved {
    /// The messages are in the file.
    pub(crate) fn keep(&mut self) {
        self.messages = 0;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shared.backlog.fetch_sub(self.messages, Ordering::SeqCst);
        self.shared.waiting_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

fn encoded(entries: &[Entry]) -> Result<Vec<Vec<u8>>, AppendError> {
    let bytes: Result<Vec<_>, _> = entries.iter().map(file::encode).collect();
    bytes.map_err(|error| AppendError::Refused { cause: error.to_string() })
}

fn other_answer() -> AppendError {
    AppendError::Unknown { cause: "another answer than expected".to_owned() }
}

fn letter(delivery: &Delivery, why: &DeadReason, now: Timestamp) -> DeadLetter {
    DeadLetter {
        id: MessageId::default(),
        message_id: delivery.id,
        reason: why.reason.clone(),
        plugin: why.plugin.clone(),
        tries: delivery.tries,
        buried_at: now,
        fields: delivery.fields(),
    }
}
