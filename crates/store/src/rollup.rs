//! What a batch adds to the counts that statistics are read from.

use std::collections::BTreeMap;

use sawpit_model::Timestamp;

use crate::batch::Row;

/// How long the logs of a second are remembered; statistics show fewer minutes than that.
pub(crate) const SECONDS_KEPT: i64 = 24 * 60 * 60;

/// So many logs of this device and level, received in this second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line<'a> {
    pub(crate) device_id: &'a str,
    pub(crate) log_level: u8,
    pub(crate) second: i64,
}

/// The lines of a batch, in order: workers that write the same counts then wait for each other, and never in a circle.
#[derive(Debug, Default)]
pub(crate) struct Counts<'a>(BTreeMap<Line<'a>, i64>);

impl<'a> Counts<'a> {
    pub(crate) fn of(rows: &'a [Row]) -> Self {
        let mut counts = Self::default();
        for Row { log, .. } in rows {
            let (device_id, log_level) = (log.device_id.as_str(), log.log_level.code());
            let line = Line { device_id, log_level, second: second_of(log.received_at) };
            *counts.0.entry(line).or_default() += 1;
        }
        counts
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = (Line<'a>, i64)> {
        self.0.iter().map(|(line, n)| (*line, *n))
    }

    /// Summed up by a part of the line.
    pub(crate) fn by<K: Ord>(&self, part: impl Fn(&Line<'a>) -> K) -> Vec<(K, i64)> {
        let mut sums = BTreeMap::new();
        for (line, n) in &self.0 {
            *sums.entry(part(line)).or_default() += n;
        }
        sums.into_iter().collect()
    }
}

/// The second in which a time lies, since 1970.
pub(crate) fn second_of(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

/// Seconds before this one are forgotten.
pub(crate) fn forgotten_before(now: Timestamp) -> i64 {
    second_of(now).saturating_sub(SECONDS_KEPT)
}

#[cfg(test)]
mod tests {
    use sawpit_model::{Level, Log, MessageId, RawObject};

    use super::*;

    fn row(device: &str, log_level: Level, micros: i64) -> Row {
        let log = Log {
            device_id: device.to_owned(),
            log_level,
            message: "m".to_owned(),
            log_data: RawObject::from_trusted("{}"),
            received_at: Timestamp::from_micros(micros),
        };
        Row { sources: vec![MessageId::default()], part: 0, log, chain: String::new() }
    }

    #[test]
    fn rows_of_one_device_level_and_second_make_one_line() {
        let rows = [
            row("b", Level::Info, 1_999_999),
            row("a", Level::Error, 1_000_000),
            row("b", Level::Info, 1_000_000),
            row("b", Level::Info, 2_000_000),
            row("b", Level::Error, -1),
        ];
        let counts = Counts::of(&rows);
        let lines: Vec<_> =
            counts.lines().map(|(it, n)| (it.device_id, it.log_level, it.second, n)).collect();
        assert_eq!(lines, [("a", 3, 1, 1), ("b", 1, 1, 2), ("b", 1, 2, 1), ("b", 3, -1, 1)]);
        assert_eq!(counts.by(|line| line.log_level), [(1, 3), (3, 2)]);
    }
}
