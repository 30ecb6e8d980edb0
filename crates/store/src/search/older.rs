//! Indexing rows that were stored before their indexes were kept: newest first, in steps, beside the workers.
//!
//! After each step it is noted how far back rows are found now, so that it may be ended at any time and goes on from there.
//! A row that is indexed again stays as it is.

use sawpit_model::Timestamp;

use super::{Index, IndexSettings, Terms};
use crate::page::{Cursor, LogQuery, StoredRow};

/// So much of what was stored since the index is kept is looked at too, in microseconds: workers that are restarted one
/// after another to keep an index do not all begin at the same time.
const OVERLAP: i64 = 3_600 * 1_000_000;

/// Rows that are to be indexed, and how far that has come. Made by [`crate::Store::older_rows`].
#[derive(Clone, Debug)]
pub struct OlderRows {
    index: IndexSettings,
    until: Timestamp,
    cursor: Option<Cursor>,
    ended: bool,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexedRows {
    /// It looked at so many rows, and all that were received at this time or later are found now.
    Some {
        /// Rows that it looked at.
        rows: u64,
        /// When the oldest of them was received.
        since: Timestamp,
    },
    /// There are no more.
    None,
}

/// A row and its terms.
pub(crate) struct Indexable {
    pub(crate) row: StoredRow,
    pub(crate) terms: String,
}

impl OlderRows {
    /// Of what the database says it keeps; none where that is nothing.
    pub(crate) fn of(kept: &[(String, Timestamp)], terms: usize) -> Option<Self> {
        let keeps = |index: Index| kept.iter().any(|(name, _)| name == index.name());
        let index = IndexSettings { text: keeps(Index::Text), data: keeps(Index::Data), terms };
        let since = kept.iter().map(|(_, since)| *since).max()?;
        let until = Timestamp::from_micros(since.as_micros().saturating_add(OVERLAP));
        Some(Self { index, until, cursor: None, ended: false })
    }

    /// Asks for the next rows; none at the end.
    pub(crate) fn query(&self, rows: u32) -> Option<LogQuery> {
        let (until, cursor) = (Some(self.until), self.cursor);
        (!self.ended).then(|| LogQuery { until, cursor, limit: rows, ..LogQuery::default() })
    }

    /// Those of a page that have terms.
    pub(crate) fn indexable(&self, rows: Vec<StoredRow>) -> Vec<Indexable> {
        let terms = |row: &StoredRow| {
            Terms::of(&row.message, &row.log_data, &self.index).of_row(&row.device_id, row.log_level)
        };
        rows.into_iter().filter_map(|row| Some(Indexable { terms: terms(&row)?, row })).collect()
    }

    /// To be told when a page is indexed that ended with this time. Since when all rows are found now: others of the same
    /// instant may be on the next page.
    pub(crate) fn came_to(&mut self, oldest: Timestamp, next: Option<Cursor>) -> Timestamp {
        (self.cursor, self.ended) = (next, next.is_none());
        Timestamp::from_micros(oldest.as_micros().saturating_add(i64::from(next.is_some())))
    }
}
