//! What is stored, in numbers.

use std::collections::BTreeMap;

use sawpit_model::{Level, PluginVerdicts, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::rollup::second_of;

/// How many devices [`Stats::top_devices`] names.
pub const TOP_DEVICES: usize = 10;

/// How many minutes [`Stats::per_minute`] shows: three hours.
pub const STATS_MINUTES: usize = 180;

/// The span over which [`Stats::last_minute_rate`] is taken, in seconds.
const RATE_SPAN: i64 = 60;

/// Counts over all that is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// All logs.
    pub total: u64,
    /// Logs of each level; all five are there.
    pub per_level: BTreeMap<Level, u64>,
    /// The devices with most logs, most first, at most [`TOP_DEVICES`].
    pub top_devices: Vec<(String, u64)>,
    /// Logs received in the 60 seconds that end with the second that was asked for.
    pub last_minute: u64,
    /// The same per second.
    pub last_minute_rate: f64,
    /// Logs received in each of the last [`STATS_MINUTES`] minutes, oldest first; the last one is not over yet.
    pub per_minute: Vec<Minute>,
    /// What each version of a plugin made of the logs that it was given, those with most logs first, at most 100. What
    /// transform plugins did is counted with the batch, what hosts' plugins did some seconds later.
    #[serde(default)]
    pub plugins: Vec<PluginVerdicts>,
}

/// The logs of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// When it began.
    pub minute: Timestamp,
    /// Logs received in it.
    pub count: u64,
}

/// One line of the answer of the statistics query, with one of: a level's code, a device's name, a second.
pub(crate) type Line = (Option<i32>, Option<String>, Option<i64>, i64);

/// The span of seconds that the statistics show, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Shown {
    pub(crate) fn until(now: Timestamp) -> Self {
        let last = second_of(now);
        let minutes = i64::try_from(STATS_MINUTES).unwrap_or(i64::MAX);
        Self { first: (last.div_euclid(60) - (minutes - 1)) * 60, last }
    }

    fn minute_of(self, second: i64) -> Option<usize> {
        if second > self.last { None } else { usize::try_from((second - self.first).div_euclid(60)).ok() }
    }

    fn minutes(self) -> Vec<Minute> {
        let starts = (0_i64..).map(|n| (self.first + n * 60).saturating_mul(1_000_000));
        let minute = |micros| Minute { minute: Timestamp::from_micros(micros), count: 0 };
        starts.take(STATS_MINUTES).map(minute).collect()
    }
}

impl Stats {
    pub(crate) fn new(
        lines: Vec<Line>,
        plugins: Vec<PluginVerdicts>,
        shown: Shown,
    ) -> Result<Self, StoreError> {
        let per_level = Level::ALL.map(|level| (level, 0)).into();
        let mut stats = Self { per_level, per_minute: shown.minutes(), plugins, ..Self::default() };
        for (level, device, second, count) in lines {
            let count = u64::try_from(count).unwrap_or(0);
            match (level, device, second) {
                (Some(code), _, _) => stats.add_level(code, count)?,
                (_, Some(device), _) => stats.top_devices.push((device, count)),
                (_, _, Some(second)) => stats.add_second(second, count, shown),
                (None, None, None) => {}
            }
        }
        stats.last_minute_rate = stats.last_minute as f64 / RATE_SPAN as f64;
        Ok(stats)
    }

    fn add_level(&mut self, code: i32, count: u64) -> Result<(), StoreError> {
        self.per_level.insert(level_of(code)?, count);
        self.total += count;
        Ok(())
    }

    fn add_second(&mut self, second: i64, count: u64, shown: Shown) {
        if let Some(minute) = shown.minute_of(second).and_then(|n| self.per_minute.get_mut(n)) {
            minute.count += count;
        }
        if second <= shown.last && second > shown.last - RATE_SPAN {
            self.last_minute += count;
        }
    }
}

/// The level of a stored code.
pub(crate) fn level_of(code: i32) -> Result<Level, StoreError> {
    let level = u8::try_from(code).ok().and_then(Level::from_code);
    level.ok_or_else(|| StoreError::unreadable(format_args!("level {code}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_whole_and_end_with_the_present_one() {
        let now: Timestamp = "2026-11-23T12:00:30.5Z".parse().unwrap();
        let shown = Shown::until(now);
        let lines = [(-30, 1), (0, 2), (30, 4), (31, 8), (-60, 16), (-31, 32), (-10_800, 64)];
        let start = second_of("2026-11-23T12:00:00Z".parse().unwrap());
        let lines = lines.map(|(second, n)| (None, None, Some(start + second), n)).into();
        let stats = Stats::new(lines, Vec::new(), shown).unwrap();
        let [.., before, present] = stats.per_minute.as_slice() else { panic!("{stats:?}") };
        assert_eq!(stats.per_minute.len(), STATS_MINUTES);
        assert_eq!((present.minute.to_string().as_str(), present.count), ("2026-11-23T12:00:00.000000Z", 6));
        assert_eq!((before.minute.to_string().as_str(), before.count), ("2026-11-23T11:59:00.000000Z", 49));
        assert_eq!(stats.per_minute[0].minute.to_string(), "2026-11-23T09:01:00.000000Z");
        assert_eq!(stats.per_minute.iter().map(|minute| minute.count).sum::<u64>(), 55);
        // Those of 11:59:30 are 60 seconds before 12:00:30, which is outside.
        assert_eq!(stats.last_minute, 6);
    }
}
