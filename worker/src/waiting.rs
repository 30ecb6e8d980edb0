//! Whether batches wait for the database, so that the worker's readiness says so, and why.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The present wait of a worker, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Option<Wait>>);

#[derive(Debug)]
struct Wait {
    since: Instant,
    cause: String,
}

impl Waiting {
    /// A try failed and another will follow.
    pub(crate) fn goes_on(&self, cause: &str, now: Instant) {
        let mut wait = self.wait();
        let since = wait.as_ref().map_or(now, |wait| wait.since);
        *wait = Some(Wait { since, cause: cause.to_owned() });
    }

    /// The database did what it was asked.
    pub(crate) fn is_over(&self) {
        *self.wait() = None;
    }

    /// Whether a batch waits.
    pub(crate) fn is_on(&self) -> bool {
        self.wait().is_some()
    }

    /// How long a batch waits, if one does.
    pub(crate) fn lasts(&self, now: Instant) -> Option<Duration> {
        self.wait().as_ref().map(|wait| now.duration_since(wait.since))
    }

    /// An error once this lasts longer than `patience`.
    pub(crate) fn check(&self, patience: Duration, now: Instant) -> Result<(), String> {
        let wait = self.wait();
        let Some(Wait { since, cause }) = wait.as_ref() else { return Ok(()) };
        let waited = now.duration_since(*since);
        if waited < patience {
            return Ok(());
        }
        Err(format!(
            "no batch could be stored for {} s, and nothing is lost by that: {cause}",
            waited.as_secs()
        ))
    }

    fn wait(&self) -> MutexGuard<'_, Option<Wait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_when_it_is_long() {
        let (waiting, start) = (Waiting::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let check = |seconds| waiting.check(Duration::from_secs(10), after(seconds));
        assert_eq!(check(0), Ok(()));
        assert!(!waiting.is_on());
        waiting.goes_on("first", after(0));
        assert!(waiting.is_on());
        assert_eq!(waiting.lasts(after(3)), Some(Duration::from_secs(3)));
        waiting.goes_on("permission denied", after(8));
        assert_eq!(check(9), Ok(()));
        let told = check(11).unwrap_err();
        assert!(told.contains("for 11 s") && told.ends_with("permission denied"), "{told}");
        waiting.is_over();
        assert_eq!(check(12), Ok(()));
        waiting.goes_on("again", after(12));
        assert_eq!(check(13), Ok(()));
    }
}
