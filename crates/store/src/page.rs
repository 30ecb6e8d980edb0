//! Asking for logs, of one device or of all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sawpit_model::{Level, MessageId, RawObject, Timestamp};
use serde::{Deserialize, Serialize};

use crate::batch::Row;
use crate::provenance::PluginFilter;
use crate::room::bytes_of;
use crate::search::Search;

/// Rows counted for [`Page::total`] at most, unless the query says otherwise.
pub const COUNT_LIMIT: u64 = 100_000;

/// Longest time of one search, unless the query says otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Which logs are wanted. The store takes the limits as they are given: the host bounds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Only this device's.
    pub device_id: Option<String>,
    /// Only these levels; empty for all.
    pub levels: Vec<Level>,
    /// Only logs received at this time or later.
    pub since: Option<Timestamp>,
    /// Only logs received before this time.
    pub until: Option<Timestamp>,
    /// Only logs whose chain held this plugin.
    pub plugin: Option<PluginFilter>,
    /// Only logs that this finds. See [`crate::Store::indexed`].
    pub search: Search,
    /// Go on after the page that gave this cursor.
    pub cursor: Option<Cursor>,
    /// Most rows in the page.
    pub limit: u32,
    /// Most bytes of messages and `log_data` in the page; a row that is larger is a page of its own.
    pub page_bytes: u64,
    /// Most rows counted for the total, where it must be counted; none are where this is 0.
    pub count_limit: u64,
    /// Longest time that a search may take, beyond it [`crate::StoreError::TooLong`]. What is no search is read off an
    /// index, and costs what its page costs.
    pub time_limit: Duration,
}

/// All logs, 100 at a time.
impl Default for LogQuery {
    fn default() -> Self {
        Self {
            device_id: None,
            levels: Vec::new(),
            since: None,
            until: None,
            plugin: None,
            search: Search::default(),
            cursor: None,
            limit: 100,
            page_bytes: u64::MAX,
            count_limit: COUNT_LIMIT,
            time_limit: TIME_LIMIT,
        }
    }
}

impl LogQuery {
    /// The codes of the wanted levels, each once.
    pub(crate) fn level_codes(&self) -> Vec<u8> {
        let wanted = |level: &Level| self.levels.is_empty() || self.levels.contains(level);
        Level::ALL.into_iter().filter(wanted).map(Level::code).collect()
    }

    /// Whether the totals know the answer: they are kept by device and level.
    pub(crate) fn is_in_totals(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.plugin.is_none()
    }

    pub(crate) fn first(&self) -> Timestamp {
        self.since.unwrap_or(Timestamp::from_micros(i64::MIN))
    }

    /// The last microsecond that is still wanted.
    pub(crate) fn last(&self) -> Timestamp {
        let end = self.until.map_or(i64::MAX, |until| until.as_micros().saturating_sub(1));
        Timestamp::from_micros(end)
    }

    /// The last microsecond that may be in the page.
    pub(crate) fn page_last(&self) -> Timestamp {
        self.cursor.map_or_else(|| self.last(), |cursor| cursor.received_at.min(self.last()))
    }

    /// Rows come before this, in the order of the answer.
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

    /// One row more than is counted tells that there are more.
    pub(crate) fn counted(&self) -> i64 {
        i64::try_from(self.count_limit).unwrap_or(i64::MAX).saturating_add(1)
    }
}

/// How many logs match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// So many.
    Exact(u64),
    /// More than so many: [`LogQuery::count_limit`] of them were counted.
    AtLeast(u64),
}

impl Total {
    /// Of a count that went one beyond the limit.
    pub(crate) fn counted(count: i64, limit: u64) -> Self {
        let count = u64::try_from(count).unwrap_or(0);
        if count > limit { Self::AtLeast(limit) } else { Self::Exact(count) }
    }

    /// Of totals that are kept.
    pub(crate) fn known(count: i64) -> Self {
        Self::Exact(u64::try_from(count).unwrap_or(0))
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u64 {
        match self {
            Self::Exact(count) | Self::AtLeast(count) => count,
        }
    }
}

/// Where a page ended. Opaque text outside; inside, the place in the order of the answer, so that rows
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
        // Only a text that we may have given out: no leading zeros, no time that was clamped, no place that no row has.
        // Only a time may be below zero: before 1970.
        let is_place = cursor.ms >= 0 && cursor.seq >= 0 && cursor.part >= 0;
        if is_place && cursor.to_string() == text { Ok(cursor) } else { Err(ParseCursorError) }
    }
}

/// One page of logs, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many logs the filters match, on all pages.
    pub total: Total,
    /// Newest first.
    pub rows: Vec<StoredRow>,
    /// Asks for the next page; `None` on the last.
    pub next_cursor: Option<Cursor>,
}

/// One page of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Newest first.
    pub rows: Vec<StoredRow>,
    /// Asks for the next page; `None` on the last.
    pub next_cursor: Option<Cursor>,
}

impl Rows {
    /// Makes a page of the rows that fit into it from those and one more.
    pub(crate) fn new(mut rows: Vec<StoredRow>, query: &LogQuery) -> Self {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let mut bytes = 0_u64;
        let fit = rows.iter().take_while(|row| {
            bytes = bytes.saturating_add(row.bytes());
            bytes <= query.page_bytes
        });
        let fit = fit.count().max(1).min(limit);
        let more = rows.len() > fit;
        rows.truncate(fit);
        let next_cursor = rows.last().filter(|_| more).map(StoredRow::cursor);
        Self { rows, next_cursor }
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

impl StoredRow {
    /// Appends its JSON as one line. `log_data` is as its sender wrote it, so it may have line breaks, between its tokens
    /// and nowhere else; were they left, a part of it could pass for a row of its own.
    ///
    /// # Errors
    /// Those of serde_json; writing into memory has none.
    pub fn write_line(&self, text: &mut Vec<u8>) -> serde_json::Result<()> {
        let start = text.len();
        serde_json::to_writer(&mut *text, self)?;
        let breaks = text.iter_mut().skip(start).filter(|byte| matches!(**byte, b'\n' | b'\r'));
        breaks.for_each(|byte| *byte = b' ');
        text.push(b'\n');
        Ok(())
    }
}

/// Most messages are stored as one row, which needs no number.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(part: &u32) -> bool {
    *part == 0
}

/// As it is read back, but for the spacing of `log_data`.
impl From<&Row> for StoredRow {
    fn from(row: &Row) -> Self {
        let log = row.log.clone();
        Self {
            message_id: row.sources.first().copied().unwrap_or_default(),
            sources: row.several_sources(),
            part: row.part,
            device_id: log.device_id,
            log_level: log.log_level,
            message: log.message,
            log_data: log.log_data,
            received_at: log.received_at,
            chain: row.chain.clone(),
        }
    }
}

impl StoredRow {
    pub(crate) fn bytes(&self) -> u64 {
        bytes_of(&self.message, self.log_data.as_str())
    }

    /// Its place in the order of the answer.
    pub(crate) fn cursor(&self) -> Cursor {
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
    fn a_row_is_one_line_however_its_sender_wrote_its_data() {
        let row = StoredRow {
            message_id: MessageId { ms: 1, seq: 0 },
            sources: Vec::new(),
            part: 0,
            device_id: "d".to_owned(),
            log_level: Level::Info,
            message: "two\nlines".to_owned(),
            log_data: RawObject::from_trusted("{\"x\":\n{\"message_id\":\"1-0\"}\r\n}"),
            received_at: Timestamp::from_micros(0),
            chain: String::new(),
        };
        let mut text = b"before\n".to_vec();
        row.write_line(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\r'), "{text}");
        let read: StoredRow = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(
            (read.message, read.log_data.as_str()),
            (row.message, "{\"x\": {\"message_id\":\"1-0\"}  }")
        );
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
            "-1_-1_-1_-1",
            "1_-2_3_4",
            "1_2_-3_4",
            "1_2_3_-4",
            "9223372036854775807_0_0_0",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(ParseCursorError), "{text:?}");
        }
    }
}
