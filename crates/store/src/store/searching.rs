//! Searching, and the indexes that it needs.

use std::time::Instant;

use sawpit_model::Timestamp;

use super::{Backend, Store};
use crate::error::StoreError;
use crate::page::{LogQuery, Rows, StoredRow};
use crate::search::{Index, Indexed, IndexedRows, OlderRows, Search, Span, Spans};

impl Store {
    /// What a search finds, a span of time after the other.
    pub(super) async fn found(&self, query: &LogQuery) -> Result<Rows, StoreError> {
        let mut found: Vec<StoredRow> = Vec::new();
        let wanted = usize::try_from(query.fetched()).unwrap_or(usize::MAX);
        let (started, mut bytes) = (Instant::now(), query.page_bytes);
        for (first, last) in self.spans(query).await? {
            let (first, last) = (Timestamp::from_micros(first), Timestamp::from_micros(last));
            let time = query.time_limit.saturating_sub(started.elapsed());
            if time.is_zero() {
                return Err(StoreError::TooLong { limit: query.time_limit });
            }
            let span = Span { first, last, time, bytes };
            let rows = on!(self, backend => backend.search(query, &span).await)?;
            let full = rows.iter().map(StoredRow::bytes).fold(0, u64::saturating_add) > bytes;
            bytes = rows.iter().map(StoredRow::bytes).fold(bytes, u64::saturating_sub);
            found.extend(rows);
            if found.len() >= wanted || (full && found.len() > 1) {
                break;
            }
        }
        found.truncate(wanted);
        Ok(Rows::new(found, query))
    }

    /// Where to search, from the newest row on that the other filters let through.
    async fn spans(&self, query: &LogQuery) -> Result<Spans, StoreError> {
        let newest = LogQuery { search: Search::default(), limit: 1, ..query.clone() };
        let newest = on!(self, backend => backend.rows(&newest).await)?;
        let newest = newest.rows.first().map_or(i64::MIN, |row| row.received_at.as_micros());
        Ok(Spans::new(query.first().as_micros(), newest))
    }

    /// Since when the indexes are kept that a search needs. Ask before [`Store::query`]: without them it finds nothing.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn indexed(&self, search: &Search) -> Result<Indexed, StoreError> {
        let kept = self.kept_indexes().await?;
        let mut since = Timestamp::from_micros(i64::MIN);
        for index in search.indexes() {
            match kept.iter().find(|(name, _)| name == index.name()) {
                Some((_, from)) => since = since.max(*from),
                None => return Ok(Indexed::Missing(index)),
            }
        }
        Ok(Indexed::Since(since))
    }

    /// Notes since when the indexes of [`StoreSettings::index`] are kept, and that the others are not. Every worker
    /// does so before it commits.
    ///
    /// # Errors
    /// When the database does not answer: note it again.
    pub async fn note_indexes(&self, now: Timestamp) -> Result<(), StoreError> {
        for index in Index::ALL {
            on!(self, backend => backend.note_index(index, now).await)?;
        }
        Ok(())
    }

    /// The rows that were stored before the workers kept the indexes that they keep now, of each at most so many `terms`;
    /// none where they keep no index.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn older_rows(&self, terms: usize) -> Result<Option<OlderRows>, StoreError> {
        let kept = self.kept_indexes().await?;
        Ok(OlderRows::of(&kept, terms))
    }

    /// Indexes the next of them, at most so many. Call it until there are none.
    ///
    /// # Errors
    /// When the database does not answer: some of the rows may be indexed, and the same step may be done again.
    pub async fn index_older(&self, older: &mut OlderRows, rows: u32) -> Result<IndexedRows, StoreError> {
        let Some(query) = older.query(rows) else { return Ok(IndexedRows::None) };
        let Rows { rows, next_cursor } = on!(self, backend => backend.rows(&query).await)?;
        let Some(oldest) = rows.last().map(|row| row.received_at) else { return Ok(IndexedRows::None) };
        let looked_at = rows.len() as u64;
        let indexable = older.indexable(rows);
        on!(self, backend => backend.set_terms(&indexable).await)?;
        let since = older.came_to(oldest, next_cursor);
        on!(self, backend => backend.note_since(since).await)?;
        Ok(IndexedRows::Some { rows: looked_at, since })
    }

    /// Keeps those of the indexes that workers keep: were one to store rows without them, searches would miss those rows.
    pub(super) async fn adopt(&mut self, undecided: &[Index]) -> Result<(), StoreError> {
        if undecided.is_empty() {
            return Ok(());
        }
        let kept = self.kept_indexes().await?;
        let settings = match &mut self.0 {
            Backend::Postgres(pg) => &mut pg.index,
            Backend::Sqlite(lite) => &mut lite.index,
        };
        for index in undecided.iter().filter(|index| kept.iter().any(|(name, _)| name == index.name())) {
            index.keep(settings);
            tracing::info!(setting = index.setting(), "keeps an index, as the workers before it do");
        }
        Ok(())
    }

    /// The indexes that workers keep, and since when.
    async fn kept_indexes(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        on!(self, backend => backend.kept_indexes().await)
    }
}
