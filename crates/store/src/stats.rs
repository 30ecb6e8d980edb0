//! What is stored, in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use sawpit_model::{Level, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// How many devices [`Stats::top_devices`] names.
pub const TOP_DEVICES: usize = 10;

/// The span over which [`Stats::last_minute_rate`] is taken.
pub(crate) const RATE_SPAN: Duration = Duration::from_secs(60);

/// Counts over all that is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// All logs.
    pub total: u64,
    /// Logs of each level; all five are there.
    pub per_level: BTreeMap<Level, u64>,
    /// The devices with most logs, most first, at most [`TOP_DEVICES`].
    pub top_devices: Vec<(String, u64)>,
    /// Logs received in the 60 seconds before the time that was asked for.
    pub last_minute: u64,
    /// The same per second.
    pub last_minute_rate: f64,
}

/// When the last minute before `now` began.
pub(crate) fn minute_before(now: Timestamp) -> Timestamp {
    let span = i64::try_from(RATE_SPAN.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(span))
}

/// One line of the answer of the statistics query: a level's code or a device's name, and a count.
pub(crate) type Line = (Option<i32>, Option<String>, i64);

impl Stats {
    pub(crate) fn new(lines: Vec<Line>, last_minute: i64) -> Result<Self, StoreError> {
        let mut stats = Self { per_level: Level::ALL.map(|level| (level, 0)).into(), ..Self::default() };
        for (level, device, count) in lines {
            let count = u64::try_from(count).unwrap_or(0);
            if let Some(device) = device {
                stats.top_devices.push((device, count));
            } else if let Some(code) = level {
                stats.per_level.insert(level_of(code)?, count);
                stats.total += count;
            }
        }
        stats.last_minute = u64::try_from(last_minute).unwrap_or(0);
        stats.last_minute_rate = stats.last_minute as f64 / RATE_SPAN.as_secs_f64();
        Ok(stats)
    }
}

/// The level of a stored code.
pub(crate) fn level_of(code: i32) -> Result<Level, StoreError> {
    let level = u8::try_from(code).ok().and_then(Level::from_code);
    level.ok_or_else(|| StoreError::unreadable(format_args!("level {code}")))
}
