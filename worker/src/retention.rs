//! What is too old to be kept, and by which time.
//!
//! A wall clock that goes forward by mistake would make everything too old at once. So it is believed only as far as
//! time has passed by the clock that nobody sets, until it has shown for a day that it goes on from there: then it was
//! the machine that slept, or the clock was wrong before. A database on another machine has a say as well.

use std::time::{Duration, Instant};

use sawpit_model::Timestamp;
use sawpit_store::{Forgotten, LogQuery, StoreError};

use crate::work::Shared;

/// What two clocks may differ by from one turn to the next: clocks that are kept right are moved by less.
const TOLERANCE: Duration = Duration::from_secs(60);
/// How long a clock that went forward must go on from there until it is believed.
const SETTLE: Duration = Duration::from_secs(24 * 60 * 60);

/// The wall clock's time at a moment of the clock that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Believed {
    wall: Timestamp,
    at: Instant,
    ahead: Option<Ahead>,
}

/// The wall clock went forward.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    by: Duration,
    since: Instant,
}

/// What to forget by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// The wall clock's time.
    Wall(Timestamp),
    /// The time that surely is: the wall clock is ahead of it by so much.
    Behind { believed: Timestamp, by: Duration },
}

impl Believed {
    const fn new(wall: Timestamp, at: Instant) -> Self {
        Self { wall, at, ahead: None }
    }

    fn now(&mut self, wall: Timestamp, at: Instant) -> Now {
        let believed = later(self.wall, at.saturating_duration_since(self.at));
        let by = between(believed, wall);
        let since = match self.ahead {
            Some(before) if by <= before.by + TOLERANCE => before.since,
            // Another step begins anew.
            _ => at,
        };
        if by <= TOLERANCE || at.saturating_duration_since(since) >= SETTLE {
            *self = Self::new(wall, at);
            return Now::Wall(wall);
        }
        self.ahead = Some(Ahead { by, since });
        Now::Behind { believed, by }
    }
}

/// Deletes what is older than the retention.
pub(crate) async fn forget(shared: &Shared, retention: Duration) {
    match try_to_forget(shared, retention).await {
        Ok(Forgotten { rows: 0, days: 0 }) => {}
        Ok(Forgotten { rows, days }) => {
            metrics::counter!("sawpit_worker_forgotten_logs_total").increment(rows);
            tracing::info!(rows, days, ?retention, "logs beyond the retention were deleted");
        }
        Err(error) => {
            metrics::counter!("sawpit_worker_maintain_errors_total").increment(1);
            tracing::warn!(%error, "logs beyond the retention could not be deleted; it is tried again at the next turn");
        }
    }
}

async fn try_to_forget(shared: &Shared, retention: Duration) -> Result<Forgotten, StoreError> {
    let store = &shared.parts.store;
    let wall = store.not_ahead(shared.parts.clock.now()).await?;
    let mut believed = shared.believed.lock().await;
    let now = match &mut *believed {
        Some(believed) => believed.now(wall, Instant::now()),
        first => first.insert(begin(shared, wall, retention).await?).now(wall, Instant::now()),
    };
    let now = match now {
        Now::Wall(now) => now,
        Now::Behind { believed, by } => {
            metrics::counter!("sawpit_worker_maintain_errors_total").increment(1);
            tracing::warn!(
                ?by,
                %believed,
                "the clock is ahead of the time that has passed: logs are forgotten by the latter until the clock has \
                 gone on from there for a day; set it right before that, or restart the worker if it is right"
            );
            believed
        }
    };
    store.forget(earlier(now, retention)).await
}

/// At the first turn nothing is known of the clock but what the rows say. When all of them are too old, it is as likely
/// wrong: then the newest is taken for what is surely past.
async fn begin(shared: &Shared, wall: Timestamp, retention: Duration) -> Result<Believed, StoreError> {
    let newest = LogQuery { limit: 1, ..LogQuery::default() };
    let newest = shared.parts.store.rows(&newest).await?.rows.first().map(|row| row.received_at);
    let past = newest.filter(|newest| *newest < earlier(wall, retention));
    Ok(Believed::new(past.unwrap_or(wall), Instant::now()))
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(time.as_micros().saturating_add(micros(by)))
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(time.as_micros().saturating_sub(micros(by)))
}

/// How much later the second is; nothing when it is not.
fn between(first: Timestamp, second: Timestamp) -> Duration {
    let micros = second.as_micros().saturating_sub(first.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

    fn start() -> (Timestamp, Instant) {
        (Timestamp::from_micros(1_795_000_000_000_000), Instant::now())
    }

    #[test]
    fn a_clock_that_goes_as_time_does_is_believed() {
        let (wall, at) = start();
        let mut believed = Believed::new(wall, at);
        for hours in 1..100 {
            let now = later(wall, HOUR * hours + TOLERANCE / 200 * hours);
            assert_eq!(believed.now(now, at + HOUR * hours), Now::Wall(now));
        }
    }

    #[test]
    fn one_that_steps_forward_is_believed_after_a_day() {
        let (wall, at) = start();
        let mut believed = Believed::new(wall, at);
        for hours in 1..=24 {
            let now = believed.now(later(wall, YEAR + HOUR * hours), at + HOUR * hours);
            assert_eq!(now, Now::Behind { believed: later(wall, HOUR * hours), by: YEAR });
        }
        let now = later(wall, YEAR + HOUR * 25);
        assert_eq!(believed.now(now, at + HOUR * 25), Now::Wall(now));
    }

    #[test]
    fn another_step_begins_the_day_anew() {
        let (wall, at) = start();
        let mut believed = Believed::new(wall, at);
        assert!(matches!(believed.now(later(wall, YEAR), at), Now::Behind { .. }));
        let hours = HOUR * 23;
        assert!(matches!(believed.now(later(wall, YEAR * 2 + hours), at + hours), Now::Behind { .. }));
        let hours = HOUR * 25;
        assert!(matches!(believed.now(later(wall, YEAR * 2 + hours), at + hours), Now::Behind { .. }));
    }

    #[test]
    fn one_that_is_set_back_is_believed_at_once() {
        let (wall, at) = start();
        let mut believed = Believed::new(wall, at);
        assert!(matches!(believed.now(later(wall, YEAR), at), Now::Behind { .. }));
        assert_eq!(believed.now(wall, at), Now::Wall(wall));
        let before = earlier(wall, YEAR);
        assert_eq!(believed.now(before, at), Now::Wall(before));
    }
}
