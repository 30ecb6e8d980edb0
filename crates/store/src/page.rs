//! Asking for the logs of one device.

use std::fmt;
use std::str::FromStr;

use sawpit_model::{Level, MessageId, RawObject, Timestamp};
use serde::{Deserialize, Serialize};

use crate::provenance::PluginFilter;

/// Which logs of a device are wanted. The store takes `limit` as it is given: the host bounds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceQuery {
    /// The device.
    pub device_id: String,
    /// Only these levels; empty for all.
    pub levels: Vec<Level>,
    /// Only logs received at this time or later.
    pub since: Option<Timestamp>,
    /// Only logs received before this time.
    pub until: Option<Timestamp>,
    /// Only logs whose chain held this plugin.
    pub plugin: Option<PluginFilter>,
    /// Go on after the page that gave this cursor.
    pub cursor: Option<Cursor>,
    /// Most rows in the page.
    pub limit: u32,
}

impl DeviceQuery {
    /// The levels as a set of bits, bit n for the level of code n.
    pub(crate) fn level_bits(&self) -> i32 {
        let all = [Level::ALL.as_slice(), self.levels.as_slice()];
        let [all, some] = all.map(|levels| levels.iter().fold(0, |bits, level| bits | 1 << level.code()));
        if self.levels.is_empty() { all } else { some }
    }

    pub(crate) fn first(&self) -> Timestamp {
        self.since.unwrap_or(Timestamp::from_micros(i64::MIN))
    }

    /// The last microsecond that is still wanted.
    pub(crate) fn last(&self) -> Timestamp {
        let end = self.until.map_or(i64::MAX, |until| until.as_micros().saturating_sub(1));
        Timestamp::from_micros(end)
    }

    /// Rows come before this, in the index's order.
    pub(crate) fn bound(&self) -> Cursor {
        self.cursor.unwrap_or(Cursor {
            received_at: Timestamp::from_micros(i64::MAX),
            ms: i64::MAX,
            seq: i64::MAX,
            part: i32::MAX,
        })
    }

    /// One row more than the page holds tells whether there is a next page.
    pub(crate) fn fetched(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

/// Where a page ended. Opaque text outside; inside, the place in the order of `logs_by_device`, so that rows
/// stored meanwhile neither shift the next page nor double in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) received_at: Timestamp,
    pub(crate) ms: i64,
    pub(crate) seq: i64,
    pub(crate) part: i32,
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor: use the next_cursor of the page before, unchanged")]
pub struct ParseCursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}_{}", self.received_at.as_micros(), self.ms, self.seq, self.part)
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('_');
        let mut number = || parts.next().and_then(|part| part.parse::<i64>().ok()).ok_or(ParseCursorError);
        let cursor = Self {
            received_at: Timestamp::from_micros(number()?),
            ms: number()?,
            seq: number()?,
            part: i32::try_from(number()?).map_err(|_| ParseCursorError)?,
        };
        // Only the text that we gave out: no sign, no leading zeros, no time that was clamped.
        if cursor.to_string() == text { Ok(cursor) } else { Err(ParseCursorError) }
    }
}

/// One page of a device's logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many logs the filters match, on all pages.
    pub total: u64,
    /// Newest first.
    pub rows: Vec<StoredRow>,
    /// Asks for the next page; `None` on the last.
    pub next_cursor: Option<Cursor>,
}

impl Page {
    /// Makes a page of up to `limit` rows from up to `limit + 1`.
    pub(crate) fn new(total: i64, mut rows: Vec<StoredRow>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(StoredRow::cursor);
        Self { total: u64::try_from(total).unwrap_or(0), rows, next_cursor }
    }
}

/// A log as it is stored, and as the API answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRow {
    /// The message that it was made from; the first of them when there were several.
    pub message_id: MessageId,
    /// All messages that it was made from, when there were several; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<MessageId>,
    /// Tells the rows apart that one message was split into; left out of the JSON where it is 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub part: u32,
    /// Who sent it.
    pub device_id: String,
    /// How grave it is.
    pub log_level: Level,
    /// For a person to read.
    pub message: String,
    /// For a program to read. PostgreSQL gives the object back with its own spacing and order of keys.
    pub log_data: RawObject,
    /// When the host took it.
    pub received_at: Timestamp,
    /// The plugin chain that made it.
    pub chain: String,
}

/// Most messages are stored as one row, which needs no number.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(part: &u32) -> bool {
    *part == 0
}

impl StoredRow {
    fn cursor(&self) -> Cursor {
        Cursor {
            received_at: self.received_at,
            ms: i64::try_from(self.message_id.ms).unwrap_or(i64::MAX),
            seq: i64::try_from(self.message_id.seq).unwrap_or(i64::MAX),
            part: i32::try_from(self.part).unwrap_or(i32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for (micros, ms, seq, part) in
            [(0, 0, 0, 0), (-1, 2, 3, 4), (1_760_000_000_000_000, i64::MAX, 7, i32::MAX)]
        {
            let cursor = Cursor { received_at: Timestamp::from_micros(micros), ms, seq, part };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn other_texts_are_no_cursors() {
        for text in [
            "",
            "1_2_3",
            "1_2_3_4_5",
            "a_b_c_d",
            "01_2_3_4",
            "+1_2_3_4",
            "1_2_3_99999999999",
            "1_2_3_4 ",
            "9223372036854775807_0_0_0",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(ParseCursorError), "{text:?}");
        }
    }
}
