//! Lines of the log that would bury all others.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets a line through now and then, and counts what it holds back. For what happens as often as requests come.
#[derive(Debug)]
pub struct Throttle {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    untold: u64,
}

impl Throttle {
    /// At most one line in this time.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self { every, state: Mutex::default() }
    }

    /// If a line may be written: how many were held back since the last one. `now` never goes back.
    #[must_use]
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.every) {
            state.untold += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_each_time_tells_of_those_that_were_held_back() {
        let (throttle, start) = (Throttle::new(Duration::from_secs(1)), Instant::now());
        let at = |millis| throttle.admit(start + Duration::from_millis(millis));
        assert_eq!([at(0), at(1), at(999), at(1_000), at(1_001)], [Some(0), None, None, Some(2), None]);
    }
}
