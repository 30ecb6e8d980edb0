//! Finding rows by their terms, off a GIN index.

use std::time::Duration;

use sawpit_model::Timestamp;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use time::OffsetDateTime;

use super::read::{row_bytes, stored_row};
use super::{Pg, fault};
use crate::error::StoreError;
use crate::page::{Cursor, LogQuery, StoredRow};
use crate::room::take_bytes;
use crate::search::{Index, Indexable, Span, Whole, device_term, level_term};

/// A span's rows. The levels are among the terms only: with a filter as well the planner may take the index on levels and
/// times, and read all rows of the span. Those that have the terms are collected and sorted: the spans bound how many that
/// are.
macro_rules! search {
    ($device:literal) => {
        concat!(
            "SELECT l.received_at, l.ms, l.seq, l.part, l.log_level, l.device_id, l.message, l.log_data::text,
                    l.sources, coalesce(c.name, '') AS chain
             FROM (SELECT * FROM logs WHERE ",
            $device,
            " AND received_at >= $2 AND received_at <= $3 AND ($4::integer[] IS NULL OR chain_id = ANY($4))
                 AND (received_at, ms, seq, part) < ($5, $6, $7, $8) AND terms @@ $10::tsquery
                 ORDER BY received_at DESC, ms DESC, seq DESC, part DESC LIMIT $9) l
             LEFT JOIN chains c ON c.id = l.chain_id
             ORDER BY l.received_at DESC, l.ms DESC, l.seq DESC, l.part DESC"
        )
    };
}

const OF_DEVICE: &str = search!("device_id = $1");
const OF_ALL: &str = search!("$1::text IS NULL");

const KEPT: &str = "SELECT name, since FROM search_indexes";

const NOTE: &str = "INSERT INTO search_indexes (name, since) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";

const FORGET: &str = "DELETE FROM search_indexes WHERE name = $1";

/// The bounds let the planner leave out the other partitions; the index on devices finds the rows.
const SET_TERMS: &str = "
UPDATE logs l SET terms = u.terms::tsvector
FROM UNNEST($1::text[], $2::smallint[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::int[], $7::text[])
    AS u(device_id, log_level, received_at, ms, seq, part, terms)
WHERE l.device_id = u.device_id AND l.log_level = u.log_level AND l.received_at = u.received_at
    AND l.ms = u.ms AND l.seq = u.seq AND l.part = u.part AND l.received_at >= $8 AND l.received_at <= $9";

const NOTE_SINCE: &str = "UPDATE search_indexes SET since = $1 WHERE since > $1";

impl Pg {
    /// Indexes rows that are stored, newest first. Doing it again changes nothing.
    pub(crate) async fn set_terms(&self, rows: &[Indexable]) -> Result<(), StoreError> {
        let (Some(newest), Some(oldest)) = (rows.first(), rows.last()) else { return Ok(()) };
        let devices: Vec<&str> = rows.iter().map(|it| it.row.device_id.as_str()).collect();
        let levels: Vec<i16> = rows.iter().map(|it| it.row.log_level.code().into()).collect();
        let times: Vec<OffsetDateTime> = rows.iter().map(|it| it.row.received_at.into()).collect();
        let places: Vec<Cursor> = rows.iter().map(|it| it.row.cursor()).collect();
        let (ms, seq): (Vec<i64>, Vec<i64>) = places.iter().map(|place| (place.ms, place.seq)).unzip();
        let parts: Vec<i32> = places.iter().map(|place| place.part).collect();
        let terms: Vec<&str> = rows.iter().map(|it| it.terms.as_str()).collect();
        let [first, last] = [oldest, newest].map(|it| OffsetDateTime::from(it.row.received_at));
        read!(self, conn => {
            let work = sqlx::query(SET_TERMS).bind(&devices).bind(&levels).bind(&times).bind(&ms).bind(&seq);
            let work = work.bind(&parts).bind(&terms).bind(first).bind(last);
            work.persistent(false).execute(&mut **conn).await
        })?;
        Ok(())
    }

    /// Notes that rows are found from this time on, where they were not.
    pub(crate) async fn note_since(&self, since: Timestamp) -> Result<(), StoreError> {
        let since = OffsetDateTime::from(since);
        read!(self, conn => sqlx::query(NOTE_SINCE).bind(since).execute(&mut **conn).await)?;
        Ok(())
    }

    /// The rows of a span that have the terms, newest first, one more than the page holds.
    pub(crate) async fn search(&self, query: &LogQuery, span: &Span) -> Result<Vec<StoredRow>, StoreError> {
        let chains = self.chains_with(query.plugin.as_ref()).await?;
        let (first, last) = (OffsetDateTime::from(span.first), OffsetDateTime::from(span.last));
        let (bound, terms) = (query.bound(), tsquery(query));
        let ask = if query.device_id.is_some() { OF_DEVICE } else { OF_ALL };
        let answer = read!(self, conn => {
            let rows = sqlx::query(ask).bind(&query.device_id).bind(first).bind(last).bind(&chains);
            let rows = rows.bind(OffsetDateTime::from(bound.received_at)).bind(bound.ms).bind(bound.seq);
            let rows = rows.bind(bound.part).bind(query.fetched()).bind(&terms);
            let mut tx = conn.begin_with(AssertSqlSafe(begin(span.time))).await?;
            // Planned anew each time: how long the span is and how many rows have the terms decides the plan.
            let rows = rows.persistent(false).fetch(&mut *tx);
            match take_bytes(rows, span.bytes, row_bytes).await {
                Err(error) if fault::is_timeout(&error) => Ok(None),
                rows => {
                    tx.rollback().await?;
                    rows.map(Some)
                }
            }
        });
        let Some(rows) = answer? else { return Err(StoreError::TooLong { limit: query.time_limit }) };
        rows.iter().map(stored_row).collect()
    }

    pub(crate) async fn kept_indexes(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let rows = read!(self, conn => sqlx::query(KEPT).fetch_all(&mut **conn).await)?;
        let failed = |e: sqlx::Error| StoreError::new(fault::of(&e), e);
        let kept = rows.iter().map(|row| {
            let since: OffsetDateTime = row.try_get("since")?;
            Ok((row.try_get("name")?, since.into()))
        });
        kept.collect::<sqlx::Result<_>>().map_err(failed)
    }

    pub(crate) async fn note_index(&self, index: Index, now: Timestamp) -> Result<(), StoreError> {
        // Doing it again changes nothing, so it may be tried again like a read.
        read!(self, conn => {
            let work = if index.is_kept(&self.index) {
                sqlx::query(NOTE).bind(index.name()).bind(OffsetDateTime::from(now))
            } else {
                sqlx::query(FORGET).bind(index.name())
            };
            work.execute(&mut **conn).await
        })?;
        Ok(())
    }
}

/// The server ends what takes longer: were only we to stop waiting, it would go on. In one message, so one round trip.
fn begin(time: Duration) -> String {
    format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", time.as_millis().clamp(1, 1 << 30))
}

/// Terms hold no operator of PostgreSQL's.
fn tsquery(query: &LogQuery) -> String {
    let term = |term: &crate::search::Term| match term.whole {
        Whole::Word => term.text.clone(),
        Whole::Prefix => format!("{}:*", term.text),
    };
    let device = query.device_id.iter().map(|device| device_term(device));
    let levels: Vec<String> = query.levels.iter().map(|level| level_term(*level)).collect();
    let levels = (!levels.is_empty()).then(|| format!("({})", levels.join(" | ")));
    query.search.terms().iter().map(term).chain(device).chain(levels).collect::<Vec<_>>().join(" & ")
}
