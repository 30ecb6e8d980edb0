//! How long to wait before the next try: exponential with full jitter, so that many processes that lost
//! the same server do not come back in step. The random number is the caller's.

use std::time::Duration;

/// The waits of one operation that is tried again and again. The n-th wait is drawn evenly from
/// 0 to `min(max, base * 2^n)`.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    /// The first wait is at most `base`, no wait is longer than `max`.
    #[must_use]
    pub const fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, tries: 0 }
    }

    /// The next wait; `random` is drawn evenly from 0 to 1 (values outside are clamped).
    pub fn next(&mut self, random: f64) -> Duration {
        let factor = 1u32.checked_shl(self.tries.min(31)).unwrap_or(u32::MAX);
        let ceiling = self.base.saturating_mul(factor).min(self.max);
        self.tries = self.tries.saturating_add(1);
        let random = if random.is_nan() { 1.0 } else { random.clamp(0.0, 1.0) };
        ceiling.mul_f64(random)
    }

    /// Starts over, after a success.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Where random numbers come from: the operating system's entropy, or a seed in tests. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// Seeded by the operating system.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self(fastrand::Rng::new())
    }

    /// The same numbers for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number drawn evenly from 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..6).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(50));
    }

    #[test]
    fn a_thousand_tries_neither_overflow_nor_pass_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_secs(3), Duration::from_secs(60));
        let mut random = Random::seeded(7);
        for _ in 0..1_000 {
            assert!(backoff.next(random.unit()) <= Duration::from_secs(60));
        }
        assert_eq!(backoff.tries, 1_000);
    }

    #[test]
    fn bad_random_numbers_are_clamped() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(backoff.next(f64::NAN), Duration::from_secs(1));
        assert_eq!(backoff.next(-3.0), Duration::ZERO);
        assert_eq!(backoff.next(9.0), Duration::from_secs(1));
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Random::seeded(1), Random::seeded(1));
        assert_eq!(a.bits(), b.bits());
        assert_ne!(a.bits(), Random::seeded(2).bits());
    }
}
