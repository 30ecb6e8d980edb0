//! The one thread that writes.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use sawpit_model::MessageId;

use super::file::{self, DEAD, LAST, LAST_DEAD, LAST_MESSAGE, MESSAGES, Opened, TRIES, key};
use super::once::{self, Keeping, Moment};
use super::work::{Answer, Job, Work, group, refuse};
use super::{Fault, Shared};
use crate::{Clock, DeadLetter, OpenError, QueueSettings};

/// Between a failed write and the first try to open the file anew, which may have to read all of it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Between two tries at most.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The last ids given out.
#[derive(Clone, Copy)]
pub(crate) struct Last {
    pub(crate) id: MessageId,
    pub(crate) dead: MessageId,
    /// The age of the youngest record of an append.
    pub(crate) once: MessageId,
}

impl Last {
    pub(crate) fn of(opened: &Opened) -> Self {
        Self { id: opened.last_id, dead: opened.last_dead, once: opened.last_once }
    }

    /// What either knows: none is given twice, although a commit that failed may be there after all.
    fn or_later(self, other: Self) -> Self {
        Self { id: self.id.max(other.id), dead: self.dead.max(other.dead), once: self.once.max(other.once) }
    }
}

/// The file as it was opened.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) messages: u64,
    pub(crate) last: Last,
}

/// A file that a write failed on.
struct Broken {
    cause: String,
    try_at: Instant,
}

struct Writer {
    shared: Arc<Shared>,
    clock: Clock,
    path: PathBuf,
    /// Messages in the file.
    messages: u64,
    broken: Option<Broken>,
    /// Before the next try to open it anew.
    wait: Duration,
    last: Last,
    dead_limit: u64,
    keeping: Keeping,
}

/// What a transaction changed, for after its commit.
#[derive(Default)]
struct Change {
    appended: u64,
    /// Appended without room having been reserved for them.
    replayed: u64,
    removed: u64,
}

/// Starts the thread. It ends when the queue is dropped, after everything that waits is done.
pub(crate) fn start(
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    clock: Clock,
    found: Found,
    settings: &QueueSettings,
) -> Result<(), OpenError> {
    let group_bytes = settings.group_bytes;
    let keeping = Keeping { ttl: settings.once_ttl, limit: settings.once_limit };
    let Found { path, messages, last } = found;
    let dead_limit = settings.dead_limit;
    let mut writer =
        Writer { shared, clock, path, messages, broken: None, wait: FIRST_WAIT, last, dead_limit, keeping };
    let run = move || {
        let _watch = Watch(Arc::clone(&writer.shared));
        loop {
            match writer.next_group(&jobs, group_bytes) {
                Next::Group(group) => writer.commit(group),
                Next::Mend => drop(writer.mend()),
                Next::End => return,
            }
        }
    };
    let started = std::thread::Builder::new().name("queue-writer".to_owned()).spawn(run);
    started
        .map(drop)
        .map_err(|error| OpenError::File { path: "queue.redb".to_owned(), cause: error.to_string() })
}

/// Tells that nothing can be written any more should the thread break, so that readiness shows it.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the thread that writes the queue broke");
        }
    }
}

/// What the thread does next.
enum Next {
    Group(Vec<Job>),
    /// Nobody wants anything; see to the file.
    Mend,
    End,
}

impl Writer {
    /// Waits for work; while the file is broken, no longer than until the next try to mend it.
    fn next_group(&self, jobs: &mpsc::Receiver<Job>, group_bytes: usize) -> Next {
        let first = match &self.broken {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(broken) => jobs.recv_timeout(broken.try_at.saturating_duration_since(Instant::now())),
        };
        match first {
            Ok(first) => Next::Group(group(first, jobs, group_bytes)),
            Err(RecvTimeoutError::Timeout) => Next::Mend,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// Opens a broken file anew, once it is time; says why it is still broken.
    fn mend(&mut self) -> Result<(), String> {
        let Some(broken) = &self.broken else { return Ok(()) };
        if Instant::now() < broken.try_at {
            return Err(broken.cause.clone());
        }
        // One lock on the file for all handles of it: the old one goes first.
        self.shared.replace(None);
        match self.open_anew() {
            Ok(opened) => {
                self.adopt(opened);
                Ok(())
            }
            Err(cause) => {
                self.broken = Some(Broken { cause: cause.clone(), try_at: Instant::now() + self.longer() });
                Err(cause)
            }
        }
    }

    fn open_anew(&self) -> Result<Opened, String> {
        if !self.path.exists() {
            // Opening would make an empty one in its place.
            return Err(format!("{} is gone; put it back", self.path.display()));
        }
        file::open(&self.path).map_err(|error| error.to_string())
    }

    /// What is in the file counts, whatever the failed commit was answered.
    fn adopt(&mut self, opened: Opened) {
        self.last = self.last.or_later(Last::of(&opened));
        let backlog = &self.shared.backlog;
        backlog.fetch_add(opened.messages.saturating_sub(self.messages), Ordering::SeqCst);
        backlog.fetch_sub(self.messages.saturating_sub(opened.messages), Ordering::SeqCst);
        self.messages = opened.messages;
        self.shared.replace(Some(opened.database));
        self.broken = None;
        self.shared.mended();
        self.shared.arrived.notify_waiters();
    }

    /// The wait before the next try, each time twice as long until a commit succeeds.
    fn longer(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        wait
    }

    fn commit(&mut self, group: Vec<Job>) {
        if let Err(cause) = self.mend() {
            let fault = Fault::NotDone(cause);
            return refuse(group, &fault);
        }
        metrics::histogram!("sawpit_queue_group_logs").record(group.len() as f64);
        let before = self.last;
        match self.try_commit(&group) {
            Ok((answers, change)) => {
                self.wait = FIRST_WAIT;
                self.publish(&change);
                for (Job { mut work, reply }, answer) in group.into_iter().zip(answers) {
                    work.done(&answer);
                    drop(work);
                    // Who no longer waits has its message all the same.
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(fault) => {
                self.last = before;
                let (Fault::NotDone(cause) | Fault::Unknown(cause)) = &fault;
                self.shared.fail(cause);
                self.broken = Some(Broken { cause: cause.clone(), try_at: Instant::now() + self.longer() });
                refuse(group, &fault);
            }
        }
    }

    fn try_commit(&mut self, group: &[Job]) -> Result<(Vec<Answer>, Change), Fault> {
        let not_done = |error: redb::Error| Fault::NotDone(error.to_string());
        let database = self.shared.database().map_err(not_done)?;
        let begun = database.begin_write();
        let transaction = begun.map_err(|error| not_done(error.into()))?;
        let mut change = Change::default();
        let applied: Result<Vec<_>, _> =
            group.iter().map(|job| self.apply(&transaction, &job.work, &mut change)).collect();
        let answers = applied.map_err(not_done)?;
        self.note_last(&transaction).map_err(not_done)?;
        transaction.commit().map_err(|error| Fault::Unknown(error.to_string()))?;
        Ok((answers, change))
    }

    fn apply(
        &mut self,
        transaction: &WriteTransaction,
        work: &Work,
        change: &mut Change,
    ) -> Result<Answer, redb::Error> {
        match work {
            Work::Append(entries, _) => {
                let ids = self.insert(transaction, entries)?;
                change.appended += ids.len() as u64;
                Ok(Answer::Ids(ids))
            }
            Work::AppendOnce { once, note, entries, .. } => {
                let now_ms = (self.clock)().as_millis();
                if let Some(known) = once::find(transaction, once, self.keeping.ttl, now_ms)? {
                    return Ok(Answer::Known(known));
                }
                let ids = self.insert(transaction, entries)?;
                change.appended += ids.len() as u64;
                self.last.once = following(self.last.once, now_ms);
                let moment = Moment { now_ms, age: self.last.once };
                once::keep(transaction, once, note, &ids, (moment, self.keeping))?;
                Ok(Answer::Ids(ids))
            }
            Work::Settle { ids, letters } => {
                if !self.has_room(transaction, letters.len() as u64)? {
                    return Ok(Answer::DeadFull);
                }
                change.removed += remove(transaction, ids)?;
                self.keep(transaction, letters)?;
                Ok(Answer::Done)
            }
            Work::Tries(tries) => {
                let mut table = transaction.open_table(TRIES)?;
                for (id, count) in tries {
                    table.insert(key(*id), count)?;
                }
                Ok(Answer::Done)
            }
            Work::Replay { id, bytes } => {
                if transaction.open_table(DEAD)?.remove(key(*id))?.is_none() {
                    return Ok(Answer::Done);
                }
                let ids = self.insert(transaction, std::slice::from_ref(bytes))?;
                (change.appended, change.replayed) = (change.appended + 1, change.replayed + 1);
                Ok(Answer::Ids(ids))
            }
            Work::Purge(id) => {
                let found = transaction.open_table(DEAD)?.remove(key(*id))?.is_some();
                Ok(if found { Answer::Ids(vec![*id]) } else { Answer::Done })
            }
        }
    }

    fn insert(
        &mut self,
        transaction: &WriteTransaction,
        entries: &[Vec<u8>],
    ) -> Result<Vec<MessageId>, redb::Error> {
        let mut messages = transaction.open_table(MESSAGES)?;
        let mut ids = Vec::with_capacity(entries.len());
        for bytes in entries {
            self.last.id = following(self.last.id, (self.clock)().as_millis());
            messages.insert(key(self.last.id), bytes.as_slice())?;
            ids.push(self.last.id);
        }
        Ok(ids)
    }

    /// Acknowledging needs none.
    fn has_room(&self, transaction: &WriteTransaction, letters: u64) -> Result<bool, redb::Error> {
        Ok(letters == 0 || transaction.open_table(DEAD)?.len()? + letters <= self.dead_limit)
    }

    fn keep(&mut self, transaction: &WriteTransaction, letters: &[DeadLetter]) -> Result<(), redb::Error> {
        let mut dead = transaction.open_table(DEAD)?;
        for letter in letters {
            self.last.dead = following(self.last.dead, letter.buried_at.as_millis());
            let letter = DeadLetter { id: self.last.dead, ..letter.clone() };
            let bytes =
                postcard::to_stdvec(&letter).map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            dead.insert(key(self.last.dead), bytes.as_slice())?;
        }
        Ok(())
    }

    fn note_last(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut last = transaction.open_table(LAST)?;
        for (name, id) in [(LAST_MESSAGE, self.last.id), (LAST_DEAD, self.last.dead)] {
            let noted = last.get(name)?.map(|key| key.value());
            if noted != Some(key(id)) {
                last.insert(name, key(id))?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, change: &Change) {
        self.messages = (self.messages + change.appended).saturating_sub(change.removed);
        let backlog = &self.shared.backlog;
        backlog.fetch_add(change.replayed, Ordering::SeqCst);
        backlog.fetch_sub(change.removed, Ordering::SeqCst);
        self.shared.left.fetch_add(change.removed, Ordering::Relaxed);
        if change.appended > 0 {
            self.shared.arrived.notify_waiters();
        }
    }
}

/// How many of them were there.
fn remove(transaction: &WriteTransaction, ids: &[MessageId]) -> Result<u64, redb::Error> {
    let (mut messages, mut tries) = (transaction.open_table(MESSAGES)?, transaction.open_table(TRIES)?);
    let mut removed = 0;
    for id in ids {
        removed += u64::from(messages.remove(key(*id))?.is_some());
        tries.remove(key(*id))?;
    }
    Ok(removed)
}

/// The next id at this time. A clock that stepped back does not take the ids back with it.
fn following(last: MessageId, now_ms: u64) -> MessageId {
    if now_ms > last.ms { MessageId { ms: now_ms, seq: 0 } } else { last.next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_also_when_the_clock_steps_back() {
        let first = following(MessageId::default(), 1_000);
        assert_eq!(first, MessageId { ms: 1_000, seq: 0 });
        assert_eq!(following(first, 1_000), MessageId { ms: 1_000, seq: 1 });
        assert_eq!(following(first, 5), MessageId { ms: 1_000, seq: 1 });
        assert_eq!(following(first, 1_001), MessageId { ms: 1_001, seq: 0 });
    }
}
