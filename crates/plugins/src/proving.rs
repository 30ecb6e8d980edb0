//! Files are proved apart from each other, each on a thread of its own: one that is slow delays no other, no
//! removal and no rollback. Here is who waits, who is at it, and whose outcome still counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::registry::Watched;
use crate::reload::Attempt;
use crate::scan::Stamp;

/// Most proofs of one file at once: a slow one, and that of what came in its place. More wait, so that a file
/// that changes all the time does not take the turns of the others.
const OF_ONE_FILE: usize = 2;

/// The proofs that wait and those under way.
#[derive(Default)]
pub(crate) struct Proving {
    waiting: BTreeMap<String, Stamp>,
    files: HashMap<String, Underway>,
    threads: usize,
    begun: u64,
}

#[derive(Default)]
struct Underway {
    proofs: Vec<(u64, Stamp)>,
    /// Outcomes of proofs up to this one no longer count.
    settled: u64,
}

/// A proof that begins.
pub(crate) struct Proof {
    file: String,
    stamp: Stamp,
    number: u64,
}

/// Whether the outcome of a proof still says something of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing newer was settled: put it into the file's slot.
    Counts,
    /// The file is gone, or a newer proof was quicker: forget it.
    Overtaken,
}

impl Proving {
    /// What the file was when the newest of its proofs was asked for.
    pub fn newest(&self, file: &str) -> Option<Stamp> {
        let underway = || self.files.get(file)?.proofs.last().map(|(_, stamp)| *stamp);
        self.waiting.get(file).copied().or_else(underway)
    }

    /// The files that wait or are being proved.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.waiting.keys().chain(self.files.keys()).map(String::as_str)
    }

    /// Asks for a proof of the file as it is now, in the place of one that waits.
    pub fn ask(&mut self, file: &str, stamp: Stamp) {
        self.waiting.insert(file.to_owned(), stamp);
    }

    /// The file is gone: what waits or is under way of it no longer counts.
    pub fn forget(&mut self, file: &str) {
        self.waiting.remove(file);
        if let Some(underway) = self.files.get_mut(file) {
            underway.settled = self.begun;
        }
    }

    /// The next proof to begin, in the order of file names; none: the thread that asks for it ends.
    fn next(&mut self) -> Option<Proof> {
        let Some(file) = self.waiting.keys().find(|file| self.may_begin(file)).cloned() else {
            self.threads -= 1;
            return None;
        };
        let stamp = self.waiting.remove(&file)?;
        self.begun += 1;
        self.files.entry(file.clone()).or_default().proofs.push((self.begun, stamp));
        Some(Proof { file, stamp, number: self.begun })
    }

    fn may_begin(&self, file: &str) -> bool {
        self.files.get(file).is_none_or(|underway| underway.proofs.len() < OF_ONE_FILE)
    }

    /// Takes a proof that ended off the list.
    fn end(&mut self, file: &str, number: u64) -> Standing {
        let Some(underway) = self.files.get_mut(file) else { return Standing::Overtaken };
        underway.proofs.retain(|(other, _)| *other != number);
        let standing = if number > underway.settled { Standing::Counts } else { Standing::Overtaken };
        underway.settled = underway.settled.max(number);
        if underway.proofs.is_empty() {
            self.files.remove(file);
        }
        standing
    }

    /// How many threads to add for what waits and may begin, at most `most` in all; they count from now on. What may
    /// not is taken up by the thread whose proof of the same file ends.
    fn hire(&mut self, most: usize) -> usize {
        let ready = self.waiting.keys().filter(|file| self.may_begin(file)).count();
        let more = ready.min(most.saturating_sub(self.threads));
        self.threads += more;
        more
    }
}

impl Watched {
    /// Proves all of them, as many at once as may be, and waits for that.
    pub(crate) fn prove_all(&self, files: Vec<(String, Stamp)>) -> Vec<Attempt> {
        let most = self.settings.proving.min(files.len());
        let (left, done) = (Mutex::new(files.into_iter()), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((file, stamp)) = next else { return };
                let attempt = self.attempt(&file, stamp, None);
                done.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
            }
        };
        thread::scope(|scope| {
            for _ in 1..most {
                // Without a thread the others do its work.
                let _ = builder().spawn_scoped(scope, work);
            }
            work();
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that what waits is proved.
    pub(crate) fn prove_waiting(self: &Arc<Self>) {
        let more = self.proving().hire(self.settings.proving);
        for _ in 0..more {
            let watched = Arc::clone(self);
            if let Err(error) = builder().spawn(move || watched.work()) {
                tracing::warn!("no thread to prove plugins: {error}");
                self.proving().threads -= 1;
            }
        }
    }

    /// Whether something waits and no thread is there to come to it.
    pub(crate) fn is_stuck(&self) -> bool {
        let proving = self.proving();
        proving.threads == 0 && !proving.waiting.is_empty()
    }

    /// One proof after the other, until none waits.
    fn work(&self) {
        loop {
            let next = self.proving().next();
            let Some(Proof { file, stamp, number }) = next.filter(|_| !self.is_closed()) else { break };
            let before = self.slots().get(&file).cloned();
            self.end(number, self.attempt(&file, stamp, before.as_ref()));
        }
        self.waker.wake();
    }

    /// Puts what came of it into the slot, if it still counts, and swaps the chain.
    fn end(&self, number: u64, attempt: Attempt) {
        let _one_at_a_time = self.changing();
        if self.proving().end(&attempt.file, number) == Standing::Overtaken {
            return;
        }
        let before = self.slots().get(&attempt.file).cloned();
        let served = before.as_ref().is_some_and(|slot| slot.serving.is_some());
        let slot = self.settled(before, attempt);
        let serves = slot.serving.is_some();
        self.slots().insert(slot.file.clone(), slot);
        if served || serves {
            self.swap();
        }
    }
}

fn builder() -> thread::Builder {
    thread::Builder::new().name("plugin-prove".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("a.wasm"), "x").unwrap();
        crate::scan::scan(folder.path()).unwrap().files.remove("a.wasm").unwrap()
    }

    /// As after these were asked for and begun, one after the other.
    fn begun(files: &[&str]) -> (Proving, Vec<u64>) {
        let (mut proving, stamp) = (Proving { threads: 9, ..Proving::default() }, stamp());
        let begin = |file: &&str| {
            proving.ask(file, stamp);
            proving.next().unwrap().number
        };
        let numbers = files.iter().map(begin).collect();
        (proving, numbers)
    }

    #[test]
    fn there_are_at_most_so_many_threads() {
        let (mut proving, stamp) = (Proving::default(), stamp());
        ["a", "b", "c"].iter().for_each(|file| proving.ask(file, stamp));
        assert_eq!((proving.hire(2), proving.hire(2), proving.hire(9)), (2, 0, 3));
    }

    #[test]
    fn a_file_has_two_proofs_at_most_and_does_not_hold_up_the_others() {
        let (mut proving, numbers) = begun(&["a", "a"]);
        ["a", "b"].iter().for_each(|file| proving.ask(file, stamp()));
        assert_eq!(proving.next().unwrap().file, "b");
        assert_eq!(proving.hire(99), 0, "nobody could do anything");
        assert!(proving.next().is_none(), "a third of a");
        assert_eq!(proving.end("a", numbers[0]), Standing::Counts);
        assert_eq!(proving.next().unwrap().file, "a");
    }

    #[test]
    fn an_older_outcome_counts_only_before_a_newer_one() {
        let (mut proving, numbers) = begun(&["a", "a", "b", "b"]);
        let ends = [("a", 0), ("a", 1), ("b", 3), ("b", 2)].map(|(file, at)| proving.end(file, numbers[at]));
        assert_eq!(ends, [Standing::Counts, Standing::Counts, Standing::Counts, Standing::Overtaken]);
        assert!(proving.files.is_empty());
    }

    #[test]
    fn nothing_counts_of_a_file_that_is_gone_and_what_comes_after_does() {
        let (mut proving, before) = begun(&["a"]);
        proving.ask("a", stamp());
        proving.forget("a");
        assert!(proving.waiting.is_empty());
        let now = stamp();
        proving.ask("a", now);
        let after = proving.next().unwrap().number;
        assert_eq!(proving.newest("a"), Some(now));
        assert_eq!(proving.end("a", before[0]), Standing::Overtaken);
        assert_eq!(proving.end("a", after), Standing::Counts);
        assert_eq!(proving.newest("a"), None);
    }
}
