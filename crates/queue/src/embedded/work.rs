//! What the thread that writes is given to do.

use std::sync::mpsc;

use sawpit_model::MessageId;
use tokio::sync::oneshot;

use super::{Fault, Reserved};
use crate::{DeadLetter, Known, OnceKey};

/// Most pieces of work in one transaction.
const GROUP_JOBS: usize = 8_192;

/// Something to do, and who waits for it.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Result<Answer, Fault>>,
}

/// What can be done to the file.
pub(crate) enum Work {
    /// Append these, in order; room for them is reserved.
    Append(Vec<Vec<u8>>, Reserved),
    /// The same, unless it was done before under this key; with a note to keep.
    AppendOnce { once: OnceKey, note: Vec<u8>, entries: Vec<Vec<u8>>, reserved: Reserved },
    /// Remove these, and keep these letters.
    Settle { ids: Vec<MessageId>, letters: Vec<DeadLetter> },
    /// Note how often these were delivered.
    Tries(Vec<(MessageId, u32)>),
    /// Move this letter back among the messages.
    Replay { id: MessageId, bytes: Vec<u8> },
    /// Delete this letter.
    Purge(MessageId),
}

/// What came of it. [`Answer::Done`] of a replay or a purge: there was no such letter.
pub(crate) enum Answer {
    Ids(Vec<MessageId>),
    /// It was done before, or the key was used for something else; nothing was done.
    Known(Known),
    Done,
    /// There is no room for the letters; nothing was done.
    DeadFull,
}

/// Takes all that waits with the first, up to the limits.
pub(super) fn group(first: Job, jobs: &mpsc::Receiver<Job>, group_bytes: usize) -> Vec<Job> {
    let mut group = vec![first];
    let mut bytes = group.iter().map(|job| job.work.bytes()).sum::<usize>();
    while group.len() < GROUP_JOBS && bytes < group_bytes {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job.work.bytes();
        group.push(job);
    }
    group
}

/// What entries take in memory, in bytes.
pub(super) fn size(entries: &[Vec<u8>]) -> usize {
    entries.iter().map(|entry| entry.len() + size_of::<Vec<u8>>()).sum()
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Append(entries, _) => size(entries),
            Self::AppendOnce { note, entries, .. } => note.len() + size(entries),
            Self::Settle { ids, .. } => ids.len() * size_of::<MessageId>(),
            Self::Tries(_) | Self::Replay { .. } | Self::Purge(_) => 0,
        }
    }

    /// What was appended keeps its room.
    pub(super) fn done(&mut self, answer: &Answer) {
        if let (Self::Append(_, reserved) | Self::AppendOnce { reserved, .. }, Answer::Ids(_)) =
            (self, answer)
        {
            reserved.keep();
        }
    }
}

/// Room that was taken is given back before anybody hears of it.
pub(super) fn refuse(group: Vec<Job>, fault: &Fault) {
    for Job { work, reply } in group {
        drop(work);
        let _ = reply.send(Err(fault.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(ids: usize) -> Job {
        let work = Work::Settle { ids: vec![MessageId::default(); ids], letters: Vec::new() };
        Job { work, reply: oneshot::channel().0 }
    }

    /// How many jobs each group has, when so many wait, each of so many ids.
    fn groups(jobs: usize, ids: usize, group_bytes: usize) -> Vec<usize> {
        let (sender, waiting) = mpsc::channel();
        for _ in 0..jobs {
            sender.send(job(ids)).unwrap();
        }
        std::iter::from_fn(|| Some(group(waiting.try_recv().ok()?, &waiting, group_bytes).len())).collect()
    }

    #[test]
    fn what_waits_goes_into_one_transaction_until_its_bytes_are_full() {
        let four = 4 * size_of::<MessageId>();
        assert_eq!(groups(6, 4, usize::MAX), [6]);
        assert_eq!(groups(6, 4, 6 * four), [6], "full with the last");
        assert_eq!(groups(6, 4, 6 * four - 1), [6], "a piece that begins below the limit is in");
        assert_eq!(groups(6, 4, 5 * four), [5, 1]);
        assert_eq!(groups(3, 4, 1), [1, 1, 1], "one always fits");
    }

    #[test]
    fn what_waits_goes_into_one_transaction_until_its_pieces_are_as_many_as_may_be() {
        assert_eq!(groups(GROUP_JOBS, 0, usize::MAX), [GROUP_JOBS]);
        assert_eq!(groups(GROUP_JOBS + 1, 0, usize::MAX), [GROUP_JOBS, 1]);
    }
}
