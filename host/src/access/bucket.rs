//! How often a token was used lately: a bucket that fills with time.

use std::time::{Duration, Instant};

/// Holds at most what one second fills.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: u32, now: Instant) -> Self {
        let per_second = f64::from(rate.max(1));
        Self { per_second, level: per_second, at: now }
    }

    /// Takes so much if anything is there, and may owe the rest: a batch is let in whole or not at all. Else how long it
    /// takes until something is there.
    pub(super) fn take(&mut self, count: u32, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        if self.level < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.level) / self.per_second));
        }
        self.level -= f64::from(count);
        Ok(())
    }

    pub(super) fn owe(&mut self, count: u32, now: Instant) {
        self.fill(now);
        self.level -= f64::from(count);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.at = now.max(self.at);
        self.level = (self.level + passed.as_secs_f64() * self.per_second).min(self.per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, start);
        for _ in 0..10 {
            assert_eq!(bucket.take(1, start), Ok(()));
        }
        let wait = bucket.take(1, start).unwrap_err();
        assert!((wait.as_secs_f64() - 0.1).abs() < 1e-6, "{wait:?}");
        assert_eq!(bucket.take(1, start + Duration::from_millis(101)), Ok(()));
        assert!(bucket.take(1, start + Duration::from_millis(102)).is_err());
        // Hours of rest make no more than one second's worth.
        let later = start + Duration::from_secs(7_200);
        assert_eq!((0..100).filter(|_| bucket.take(1, later).is_ok()).count(), 10);
    }

    #[test]
    fn a_batch_is_let_in_whole_and_owed_for() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, start);
        assert_eq!(bucket.take(1, start), Ok(()));
        bucket.owe(99, start);
        let wait = bucket.take(1, start).unwrap_err();
        assert!((wait.as_secs_f64() - 9.1).abs() < 1e-6, "{wait:?}");
        assert!(bucket.take(1, start + Duration::from_secs(9)).is_err());
        assert_eq!(bucket.take(1, start + Duration::from_millis(9_101)), Ok(()));
    }
}
