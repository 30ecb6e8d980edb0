//! When a client that is refused for the moment should come back: what `Retry-After` says.
//!
//! A full backlog opens as fast as the workers empty it, so that is measured. And whoever is refused now must not come
//! back all at one moment, so the times are spread: by a sequence that fills an interval evenly (multiples of the
//! golden ratio), which is better than chance and needs none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::settings::HostSettings;

/// The rate is that of this time.
const WINDOW: Duration = Duration::from_secs(10);
/// Over less than this nothing is measured.
const LEAST: Duration = Duration::from_millis(900);
/// A backlog that is full is to be emptied by this part of its limit before it is asked again.
const ROOM: f64 = 0.1;
/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Measures, and spreads.
pub(crate) struct ComeBack {
    usual: Duration,
    longest: Duration,
    limit: u64,
    turn: AtomicU64,
    seen: Mutex<VecDeque<(Instant, u64)>>,
}

impl ComeBack {
    pub(crate) fn new(settings: &HostSettings) -> Self {
        Self {
            usual: settings.retry_after,
            longest: settings.retry_after_max,
            limit: settings.backlog_limit,
            turn: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    /// What `Retry-After` says where nothing can be measured, in whole seconds.
    pub(crate) fn seconds(&self) -> u64 {
        self.spread(self.usual.as_secs_f64())
    }

    /// What it says while so many messages wait, at the limit.
    pub(crate) fn seconds_at(&self, waiting: u64) -> u64 {
        let above = waiting as f64 - self.limit as f64 * (1.0 - ROOM);
        self.spread(match self.rate() {
            None => self.usual.as_secs_f64(),
            // Nobody takes any: the longest.
            Some(rate) => above.max(1.0) / rate,
        })
    }

    /// Notes how many messages have ever left the queue. Fewer than before is another queue.
    pub(crate) fn saw(&self, at: Instant, left: u64) {
        let mut seen = self.seen();
        if seen.back().is_some_and(|(_, before)| *before > left) {
            seen.clear();
        }
        seen.push_back((at, left));
        // The oldest one stays just outside the window.
        while seen.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= WINDOW) {
            seen.pop_front();
        }
    }

    /// Messages that leave in a second, if that is known.
    fn rate(&self) -> Option<f64> {
        let seen = self.seen();
        let ((first, before), (last, left)) = (seen.front()?, seen.back()?);
        let time = last.duration_since(*first);
        (time >= LEAST).then(|| (left - before) as f64 / time.as_secs_f64())
    }

    /// Between this and twice this, in whole seconds, at least 1 and at most the longest.
    fn spread(&self, least: f64) -> u64 {
        let longest = self.longest.as_secs_f64();
        let least = least.min(longest / 2.0);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let part = turn.wrapping_mul(GOLDEN) as f64 / u64::MAX as f64;
        let seconds = (least * (1.0 + part)).round().clamp(1.0, longest.floor().max(1.0));
        // From 1 to the longest, which is a setting of seconds.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
        let seconds = seconds as u64;
        seconds
    }

    fn seen(&self) -> MutexGuard<'_, VecDeque<(Instant, u64)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come_back() -> ComeBack {
        ComeBack::new(&HostSettings { backlog_limit: 1_000, ..HostSettings::default() })
    }

    fn all(times: usize, one: impl Fn() -> u64) -> (u64, u64) {
        let said: Vec<u64> = (0..times).map(|_| one()).collect();
        (*said.iter().min().unwrap(), *said.iter().max().unwrap())
    }

    #[test]
    fn without_a_measure_it_is_the_usual_time_spread() {
        let come_back = come_back();
        assert_eq!(all(100, || come_back.seconds()), (2, 4));
        assert_eq!(all(100, || come_back.seconds_at(1_000)), (2, 4));
        come_back.saw(Instant::now(), 7);
        assert_eq!(all(100, || come_back.seconds_at(1_000)), (2, 4));
    }

    #[test]
    fn it_is_the_time_that_the_workers_need() {
        let (come_back, start) = (come_back(), Instant::now());
        // 10 a second: 100 of 1,000 take 10 s; with 100 more, 20 s.
        for second in 0..30 {
            come_back.saw(start + Duration::from_secs(second), second * 10);
        }
        let (least, most) = all(100, || come_back.seconds_at(1_000));
        assert!(least >= 10 && most <= 20 && most - least >= 8, "{least} to {most}");
        let (least, most) = all(100, || come_back.seconds_at(1_100));
        assert!(least >= 20 && most <= 40, "{least} to {most}");
        // Faster: the last ten seconds count.
        for second in 30..50 {
            come_back.saw(start + Duration::from_secs(second), second * 1_000);
        }
        assert_eq!(all(100, || come_back.seconds_at(1_000)), (1, 1));
    }

    #[test]
    fn workers_that_stand_still_make_it_the_longest_and_it_is_spread_still() {
        let (come_back, start) = (come_back(), Instant::now());
        for second in 0..5 {
            come_back.saw(start + Duration::from_secs(second), 42);
        }
        let (least, most) = all(200, || come_back.seconds_at(1_000));
        assert!(least >= 30 && most <= 60 && most - least >= 25, "{least} to {most}");
    }

    #[test]
    fn another_queue_is_measured_anew() {
        let (come_back, start) = (come_back(), Instant::now());
        come_back.saw(start, 1_000_000);
        come_back.saw(start + Duration::from_secs(5), 5);
        assert_eq!(come_back.rate(), None);
        come_back.saw(start + Duration::from_secs(6), 15);
        assert_eq!(come_back.rate(), Some(10.0));
    }

    #[test]
    fn it_is_never_less_than_a_second_nor_more_than_the_longest() {
        let settings = HostSettings {
            retry_after: Duration::ZERO,
            retry_after_max: Duration::from_secs(3),
            ..HostSettings::default()
        };
        let come_back = ComeBack::new(&settings);
        assert_eq!(all(100, || come_back.seconds()), (1, 1));
        let start = Instant::now();
        come_back.saw(start, 1);
        come_back.saw(start + Duration::from_secs(1), 1);
        assert_eq!(all(100, || come_back.seconds_at(u64::MAX)), (2, 3));
    }
}
