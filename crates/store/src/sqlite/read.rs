//! Reading back.

use std::collections::HashMap;

use sawpit_model::{MessageId, RawObject, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::rollup::kept_total;
use super::{Lite, checked};
use crate::error::StoreError;
use crate::page::{LogQuery, Rows, StoredRow, Total};
use crate::room::{bytes_of, take_bytes};
use crate::stats::level_of;

/// The filters that all queries share.
pub(super) const FILTERS: &str = "received_at >= ?2 AND received_at <= ?3 \
                       AND (?4 IS NULL OR chain_id IN (SELECT value FROM json_each(?4)))";

pub(super) const ORDER: &str = "ORDER BY received_at DESC, ms DESC, seq DESC, part DESC";

pub(super) fn device_filter(query: &LogQuery) -> &'static str {
    if query.device_id.is_some() { "device_id = ?1" } else { "?1 IS NULL" }
}

/// Stops at the limit.
fn count_of(query: &LogQuery) -> String {
    let (device, levels) = (device_filter(query), query.level_codes());
    let levels: Vec<String> = levels.iter().map(u8::to_string).collect();
    let levels = levels.join(",");
    format!(
        "SELECT count(*) FROM (SELECT 1 FROM logs WHERE {device} AND {FILTERS} AND log_level IN ({levels}) LIMIT ?5)"
    )
}

/// For each level the newest rows are read off an index, backwards from the cursor on, and these are merged: so a
/// rare level is found without reading the others. Only our own words and numbers go into the text.
fn page_of(query: &LogQuery) -> String {
    let device = device_filter(query);
    let newest = |level: u8| {
        format!(
            "SELECT * FROM (SELECT * FROM logs WHERE {device} AND {FILTERS} AND log_level = {level} \
             AND (received_at, ms, seq, part) < (?5, ?6, ?7, ?8) {ORDER} LIMIT ?9)"
        )
    };
    let levels: Vec<String> = query.level_codes().into_iter().map(newest).collect();
    format!(
        "SELECT received_at, ms, seq, part, log_level, device_id, message, log_data, sources, \
         coalesce((SELECT name FROM chains WHERE id = chain_id), '') AS chain \
         FROM ({}) {ORDER} LIMIT ?9",
        levels.join(" UNION ALL ")
    )
}

/// Rows made from one message name it in their key, the others in `sources`.
const STORED_IDS: &str = "
WITH wanted (id, ms, seq) AS MATERIALIZED (
    SELECT value, CAST(substr(value, 1, instr(value, '-') - 1) AS INTEGER),
           CAST(substr(value, instr(value, '-') + 1) AS INTEGER)
    FROM json_each(?1)
)
SELECT w.id, count(*) FROM wanted w
    JOIN logs l ON l.ms = w.ms AND l.seq = w.seq AND l.sources IS NULL AND l.received_at >= ?2
    GROUP BY w.id
UNION ALL
SELECT w.id, count(*) FROM logs l, json_each(l.sources) s JOIN wanted w ON w.id = s.value
    WHERE l.sources IS NOT NULL AND l.received_at >= ?2
    GROUP BY w.id";

impl Lite {
    pub(crate) async fn total(&self, query: &LogQuery) -> Result<Total, StoreError> {
        if query.is_in_totals() {
            return Ok(Total::known(kept_total(&mut *self.reader().await?, query).await?));
        }
        let chains = self.chains_with(query.plugin.as_ref()).await?;
        let count = count(&mut *self.reader().await?, query, &chains).await?;
        Ok(Total::counted(count, query.count_limit))
    }

    pub(crate) async fn rows(&self, query: &LogQuery) -> Result<Rows, StoreError> {
        let chains = self.chains_with(query.plugin.as_ref()).await?;
        let (bound, text) = (query.bound(), page_of(query));
        let page = sqlx::query(AssertSqlSafe(text)).bind(&query.device_id).bind(query.first().as_micros());
        let page = page.bind(query.page_last().as_micros()).bind(&chains);
        let page = page.bind(bound.received_at.as_micros()).bind(bound.ms).bind(bound.seq);
        let page = page.bind(bound.part).bind(query.fetched());
        let mut conn = self.reader().await?;
        let rows = checked(take_bytes(page.fetch(&mut *conn), query.page_bytes, row_bytes).await)?;
        let rows: Result<_, _> = rows.iter().map(stored_row).collect();
        Ok(Rows::new(rows?, query))
    }

    pub(crate) async fn stored_ids(
        &self,
        ids: &[MessageId],
        since: Timestamp,
    ) -> Result<HashMap<MessageId, u64>, StoreError> {
        let wanted: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
        let work = sqlx::query_as(STORED_IDS).bind(format!("[{}]", wanted.join(","))).bind(since.as_micros());
        let lines: Vec<(String, i64)> = checked(work.fetch_all(&mut *self.reader().await?).await)?;
        let mut counts = HashMap::new();
        for (id, count) in lines {
            let id = id.parse().map_err(StoreError::unreadable)?;
            *counts.entry(id).or_default() += count.cast_unsigned();
        }
        Ok(counts)
    }
}

async fn count(
    conn: &mut SqliteConnection,
    query: &LogQuery,
    chains: &Option<String>,
) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar(AssertSqlSafe(count_of(query))).bind(&query.device_id);
    let count = count.bind(query.first().as_micros()).bind(query.last().as_micros());
    checked(count.bind(chains).bind(query.counted()).fetch_one(conn).await)
}

/// Of a row as it came; one that cannot be read is told when it is.
pub(super) fn row_bytes(row: &SqliteRow) -> u64 {
    let text = |column| row.try_get::<&str, _>(column).unwrap_or_default();
    bytes_of(text("message"), text("log_data"))
}

pub(super) fn stored_row(row: &SqliteRow) -> Result<StoredRow, StoreError> {
    let sources: Option<String> = checked(row.try_get("sources"))?;
    let sources = sources.map(|text| serde_json::from_str(&text)).transpose();
    Ok(StoredRow {
        message_id: MessageId {
            ms: checked(row.try_get::<i64, _>("ms"))?.cast_unsigned(),
            seq: checked(row.try_get::<i64, _>("seq"))?.cast_unsigned(),
        },
        sources: sources.map_err(StoreError::unreadable)?.unwrap_or_default(),
        part: checked(row.try_get::<i32, _>("part"))?.cast_unsigned(),
        device_id: checked(row.try_get("device_id"))?,
        log_level: level_of(checked(row.try_get("log_level"))?)?,
        message: checked(row.try_get("message"))?,
        log_data: RawObject::from_trusted(checked(row.try_get::<String, _>("log_data"))?),
        received_at: Timestamp::from_micros(checked(row.try_get("received_at"))?),
        chain: checked(row.try_get("chain"))?,
    })
}
