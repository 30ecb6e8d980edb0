//! Reading back.

use std::collections::HashMap;

use sawpit_model::{MessageId, RawObject, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Lite, checked};
use crate::error::StoreError;
use crate::page::{DeviceQuery, Page, StoredRow};
use crate::stats::{Line, Stats, TOP_DEVICES, level_of, minute_before};

/// The filters of both statements.
macro_rules! filtered {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " WHERE device_id = ?1 AND received_at >= ?2 AND received_at <= ?3 AND (1 << log_level) & ?4 <> 0",
            " AND (?5 IS NULL OR chain_id IN (SELECT value FROM json_each(?5))) ",
            $after
        )
    };
}

const COUNT: &str = filtered!("SELECT count(*) FROM logs", "");

/// The index `logs_by_device` read backwards, from the cursor on.
const PAGE: &str = filtered!(
    "SELECT received_at, ms, seq, part, log_level, device_id, message, log_data, sources,
            coalesce((SELECT name FROM chains WHERE id = chain_id), '') AS chain
     FROM logs",
    "AND (received_at, ms, seq, part) < (?6, ?7, ?8, ?9)
     ORDER BY received_at DESC, ms DESC, seq DESC, part DESC LIMIT ?10"
);

const STATS: &str = "
WITH counted AS MATERIALIZED (SELECT device_id, log_level, count(*) AS n FROM logs GROUP BY 1, 2)
SELECT log_level AS level, NULL AS device, sum(n) AS n FROM counted GROUP BY log_level
UNION ALL
SELECT * FROM (SELECT NULL, device_id, sum(n) AS n FROM counted GROUP BY device_id ORDER BY n DESC, device_id LIMIT ?1)";

const LAST_MINUTE: &str = "SELECT count(*) FROM logs WHERE received_at > ?1 AND received_at <= ?2";

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
    pub(crate) async fn query(&self, query: &DeviceQuery) -> Result<Page, StoreError> {
        let chains = self.chains_with(query.plugin.as_ref()).await?;
        let mut conn = self.reader().await?;
        let (first, last) = (query.first().as_micros(), query.last().as_micros());
        let (device, levels) = (query.device_id.as_str(), query.level_bits());
        let count = sqlx::query_scalar(COUNT).bind(device).bind(first).bind(last).bind(levels);
        let total = checked(count.bind(&chains).fetch_one(&mut *conn).await)?;
        let bound = query.bound();
        let page = sqlx::query(PAGE).bind(device).bind(first).bind(last).bind(levels).bind(&chains);
        let page = page.bind(bound.received_at.as_micros()).bind(bound.ms).bind(bound.seq);
        let page = page.bind(bound.part).bind(query.fetched());
        let rows = checked(page.fetch_all(&mut *conn).await)?;
        let rows: Result<_, _> = rows.iter().map(stored_row).collect();
        Ok(Page::new(total, rows?, query.limit))
    }

    pub(crate) async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        let mut conn = self.reader().await?;
        let top = i64::try_from(TOP_DEVICES).unwrap_or(i64::MAX);
        let lines: Vec<Line> = checked(sqlx::query_as(STATS).bind(top).fetch_all(&mut *conn).await)?;
        let recent = sqlx::query_scalar(LAST_MINUTE).bind(minute_before(now).as_micros());
        let recent = checked(recent.bind(now.as_micros()).fetch_one(&mut *conn).await)?;
        Stats::new(lines, recent)
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

fn stored_row(row: &SqliteRow) -> Result<StoredRow, StoreError> {
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
