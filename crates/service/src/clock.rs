//! The only place that reads the wall clock, so that tests can set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sawpit_model::Timestamp;

/// Tells the time: the machine's, or one that a test sets. Clones of a manual clock share their time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until it is told otherwise.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.as_micros()))))
    }

    /// The time now, to the microsecond.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst)),
        }
    }

    /// This clock as a function, for crates that know nothing of this one.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }

    /// Moves a manual clock forward; the machine's clock is not moved.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(micros) = &self.0 {
            micros.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_until_moved_and_is_shared_by_its_clones() {
        let clock = Clock::manual(Timestamp::from_micros(5));
        let other = clock.clone();
        assert_eq!(other.now().as_micros(), 5);
        clock.advance(Duration::from_millis(2));
        assert_eq!(other.now().as_micros(), 2_005);
    }

    #[test]
    fn the_system_clock_moves_and_is_past_2020() {
        let clock = Clock::system();
        assert!(clock.now().as_micros() > 1_577_836_800_000_000);
        clock.advance(Duration::from_secs(1_000_000_000));
        assert!(clock.now().as_micros() < 1_577_836_800_000_000 + 900_000_000_000_000);
    }
}
