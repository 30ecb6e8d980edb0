//! Finding rows by their terms, off an FTS5 table that names rows by their key.

use std::time::{Duration, Instant};

use sawpit_model::Timestamp;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, SqliteConnection};

use super::read::{FILTERS, ORDER, device_filter, row_bytes, stored_row};
use super::{Lite, checked, fault};
use crate::batch::Row;
use crate::error::StoreError;
use crate::page::{LogQuery, StoredRow};
use crate::room::take_bytes;
use crate::search::{Index, IndexSettings, Indexable, Span, Terms, Whole, device_term, level_term};

const MINUTE: i64 = 60_000_000;

/// Steps of SQLite's machine between two looks at the clock. To read a page of the index takes some, and a page holds
/// thousands of rows.
const LOOK_AFTER: i32 = 200;

/// Which keys the rows from `?1` to `?2` (minutes) can have.
const KEYS: &str =
    "SELECT min(first_id), max(last_id) FROM search_minutes WHERE minute >= ?1 AND minute <= ?2";

const KEPT: &str = "SELECT name, since FROM search_indexes";

const NOTE: &str = "INSERT INTO search_indexes (name, since) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";

const FORGET: &str = "DELETE FROM search_indexes WHERE name = ?1";

const WIDEN: &str = "INSERT INTO search_minutes (minute, first_id, last_id) VALUES (?1, ?2, ?2) \
                     ON CONFLICT (minute) DO UPDATE SET first_id = min(first_id, excluded.first_id), \
                     last_id = max(last_id, excluded.last_id)";

/// The rows that have the terms come first, each is then read by its key and filtered: `CROSS JOIN` keeps SQLite from
/// going the other way. Only our own words and numbers go into the text.
fn search_of(query: &LogQuery) -> String {
    let (device, levels) = (device_filter(query), query.level_codes());
    let levels: Vec<String> = levels.iter().map(u8::to_string).collect();
    let levels = levels.join(",");
    format!(
        "SELECT received_at, ms, seq, part, log_level, device_id, message, log_data, sources, \
         coalesce((SELECT name FROM chains WHERE id = chain_id), '') AS chain \
         FROM search CROSS JOIN logs ON logs.id = search.rowid \
         WHERE search MATCH ?10 AND search.rowid >= ?11 AND search.rowid <= ?12 AND {device} AND {FILTERS} \
         AND log_level IN ({levels}) AND (received_at, ms, seq, part) < (?5, ?6, ?7, ?8) {ORDER} LIMIT ?9"
    )
}

/// The key of a row, off the index on devices.
const KEY: &str = "SELECT id FROM logs WHERE device_id = ?1 AND log_level = ?2 AND received_at = ?3 \
                   AND ms = ?4 AND seq = ?5 AND part = ?6";

const SET_TERMS: &str = "INSERT OR REPLACE INTO search (rowid, terms) VALUES (?1, ?2)";

const NOTE_SINCE: &str = "UPDATE search_indexes SET since = ?1 WHERE since > ?1";

impl Lite {
    /// Indexes rows that are stored. Doing it again changes nothing.
    pub(crate) async fn set_terms(&self, rows: &[Indexable]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for Indexable { row, terms } in rows {
            checked(set_terms_of(&mut tx, row, terms).await)?;
        }
        checked(tx.commit().await)
    }

    /// Notes that rows are found from this time on, where they were not.
    pub(crate) async fn note_since(&self, since: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        checked(sqlx::query(NOTE_SINCE).bind(since.as_micros()).execute(&mut *tx).await)?;
        checked(tx.commit().await)
    }

    /// The rows of a span that have the terms, newest first, one more than the page holds.
    pub(crate) async fn search(&self, query: &LogQuery, span: &Span) -> Result<Vec<StoredRow>, StoreError> {
        let Span { first, last, .. } = *span;
        let chains = self.chains_with(query.plugin.as_ref()).await?;
        let mut conn = self.reader().await?;
        let keys = sqlx::query_as(KEYS).bind(minute_of(first)).bind(minute_of(last));
        let keys: (Option<i64>, Option<i64>) = checked(keys.fetch_one(&mut *conn).await)?;
        let (Some(first_id), Some(last_id)) = keys else { return Ok(Vec::new()) };
        let (bound, text) = (query.bound(), search_of(query));
        let rows = sqlx::query(AssertSqlSafe(text)).bind(&query.device_id).bind(first.as_micros());
        let rows = rows.bind(last.as_micros()).bind(&chains);
        let rows = rows.bind(bound.received_at.as_micros()).bind(bound.ms).bind(bound.seq).bind(bound.part);
        let rows = rows.bind(query.fetched()).bind(fts_query(query)).bind(first_id).bind(last_id);
        checked(end_after(&mut conn, span.time).await)?;
        match take_bytes(rows.fetch(&mut *conn), span.bytes, row_bytes).await {
            Err(error) if fault::is_interrupted(&error) => {
                Err(StoreError::TooLong { limit: query.time_limit })
            }
            rows => checked(rows)?.iter().map(stored_row).collect(),
        }
    }

    pub(crate) async fn kept_indexes(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let kept = sqlx::query_as(KEPT).fetch_all(&mut *self.reader().await?).await;
        let kept: Vec<(String, i64)> = checked(kept)?;
        Ok(kept.into_iter().map(|(name, since)| (name, Timestamp::from_micros(since))).collect())
    }

    pub(crate) async fn note_index(&self, index: Index, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let work = if index.is_kept(&self.index) {
            sqlx::query(NOTE).bind(index.name()).bind(now.as_micros())
        } else {
            sqlx::query(FORGET).bind(index.name())
        };
        checked(work.execute(&mut *tx).await)?;
        checked(tx.commit().await)
    }
}

/// Ends what the connection does after this time. Reset when the connection is given back: see [`super::pool`].
async fn end_after(conn: &mut SqliteConnection, time: Duration) -> sqlx::Result<()> {
    let until = Instant::now() + time;
    conn.lock_handle().await?.set_progress_handler(LOOK_AFTER, move || Instant::now() < until);
    Ok(())
}

/// A row that is gone by now is left out.
async fn set_terms_of(tx: &mut SqliteConnection, row: &StoredRow, terms: &str) -> sqlx::Result<()> {
    let place = row.cursor();
    let key = sqlx::query_scalar(KEY).bind(&row.device_id).bind(row.log_level.code());
    let key = key.bind(row.received_at.as_micros()).bind(place.ms).bind(place.seq).bind(place.part);
    let Some(id) = key.fetch_optional(&mut *tx).await? else { return Ok(()) };
    let id: i64 = id;
    sqlx::query(SET_TERMS).bind(id).bind(terms).execute(&mut *tx).await?;
    sqlx::query(WIDEN).bind(minute_of(row.received_at)).bind(id).execute(tx).await?;
    Ok(())
}

/// The key after the last one. The transaction has the write lock, so nobody else takes it.
pub(super) async fn next_id(tx: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT coalesce(max(id), 0) + 1 FROM logs").fetch_one(tx).await
}

/// Indexes rows that were stored with the keys from `first_id` on.
pub(super) async fn index_rows(
    tx: &mut SqliteConnection,
    rows: &[&Row],
    first_id: i64,
    settings: &IndexSettings,
) -> sqlx::Result<()> {
    let ids = first_id..;
    let terms = rows.iter().zip(ids.clone()).filter_map(|(row, id)| {
        let terms = Terms::of(&row.log.message, &row.log.log_data, settings);
        Some((id, terms.of_row(&row.log.device_id, row.log.log_level)?))
    });
    let terms: Vec<(i64, String)> = terms.collect();
    if terms.is_empty() {
        return Ok(());
    }
    let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO search (rowid, terms) ");
    insert.push_values(&terms, |mut line, (id, terms)| {
        line.push_bind(*id).push_bind(terms);
    });
    insert.build().persistent(false).execute(&mut *tx).await?;
    // Rows of one minute have neighbouring keys, so the first and the last of each run are enough.
    let mut known = None;
    for ((row, id), next) in rows.iter().zip(ids).zip(rows.iter().skip(1).map(Some).chain([None])) {
        let minute = minute_of(row.log.received_at);
        let ends = next.is_none_or(|next| minute_of(next.log.received_at) != minute);
        if known != Some(minute) || ends {
            sqlx::query(WIDEN).bind(minute).bind(id).execute(&mut *tx).await?;
        }
        known = Some(minute);
    }
    Ok(())
}

/// Takes rows out that are deleted.
pub(super) async fn forget_rows(tx: &mut SqliteConnection, ids: &[i64]) -> sqlx::Result<()> {
    let forget = "DELETE FROM search WHERE rowid IN (SELECT value FROM json_each(?1))";
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    sqlx::query(forget).bind(format!("[{}]", ids.join(","))).execute(tx).await?;
    Ok(())
}

/// Forgets where the minutes are that have no rows any more.
pub(super) async fn forget_minutes(tx: &mut SqliteConnection, before: Timestamp) -> sqlx::Result<()> {
    let forget = sqlx::query("DELETE FROM search_minutes WHERE minute < ?1").bind(minute_of(before));
    forget.execute(tx).await?;
    Ok(())
}

const fn minute_of(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(MINUTE)
}

/// Terms hold no quotation marks.
fn fts_query(query: &LogQuery) -> String {
    let term = |term: &crate::search::Term| match term.whole {
        Whole::Word => format!("\"{}\"", term.text),
        Whole::Prefix => format!("\"{}\" *", term.text),
    };
    let device = query.device_id.iter().map(|device| format!("\"{}\"", device_term(device)));
    let levels: Vec<String> =
        query.levels.iter().map(|level| format!("\"{}\"", level_term(*level))).collect();
    let levels = (!levels.is_empty()).then(|| format!("({})", levels.join(" OR ")));
    query.search.terms().iter().map(term).chain(device).chain(levels).collect::<Vec<_>>().join(" AND ")
}
