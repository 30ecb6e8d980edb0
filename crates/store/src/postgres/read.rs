//! Reading back.

use std::collections::HashMap;

use sawpit_model::{MessageId, RawObject, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, Executor as _, Row as _};
use time::OffsetDateTime;

use super::{Pg, fault};
use crate::error::StoreError;
use crate::page::{DeviceQuery, Page, StoredRow};
use crate::stats::{Line, Stats, TOP_DEVICES, level_of, minute_before};

/// The filters of both statements; the bit set of levels spares an array.
macro_rules! filtered {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " WHERE device_id = $1 AND received_at >= $2 AND received_at <= $3 AND (1 << log_level) & $4 <> 0",
            " AND ($5::integer[] IS NULL OR chain_id = ANY($5)) ",
            $after
        )
    };
}

const COUNT: &str = filtered!("SELECT count(*) FROM logs", "");

/// The index `logs_by_device` read backwards, from the cursor on.
const PAGE: &str = filtered!(
    "SELECT l.received_at, l.ms, l.seq, l.part, l.log_level, l.device_id, l.message, l.log_data::text, l.sources,
            coalesce(c.name, '') AS chain
     FROM (SELECT * FROM logs",
    "AND (received_at, ms, seq, part) < ($6, $7, $8, $9)
     ORDER BY received_at DESC, ms DESC, seq DESC, part DESC LIMIT $10) l
     LEFT JOIN chains c ON c.id = l.chain_id
     ORDER BY l.received_at DESC, l.ms DESC, l.seq DESC, l.part DESC"
);

const STATS: &str = "
WITH counted AS MATERIALIZED (SELECT device_id, log_level, count(*) AS n FROM logs GROUP BY 1, 2)
(SELECT log_level::int AS level, NULL AS device, sum(n)::bigint AS n FROM counted GROUP BY log_level)
UNION ALL
(SELECT NULL, device_id, sum(n)::bigint AS n FROM counted GROUP BY device_id ORDER BY n DESC, device_id LIMIT $1)";

const LAST_MINUTE: &str = "SELECT count(*) FROM logs WHERE received_at > $1 AND received_at <= $2";

/// Many ids are looked for in many rows, of which there may be no statistics yet: a nested loop, which is then
/// thought to be cheap, takes minutes where a hash takes a second.
const NO_LOOPS: &str = "SET LOCAL enable_nestloop = off";

/// Rows made from one message name it in their key, the others in `sources`.
const STORED_IDS: &str = "
SELECT w.ms, w.seq, count(*) FROM UNNEST($1::bigint[], $2::bigint[]) AS w(ms, seq)
    JOIN logs l ON l.ms = w.ms AND l.seq = w.seq AND l.sources IS NULL AND l.received_at >= $3
    GROUP BY 1, 2
UNION ALL
SELECT w.ms, w.seq, count(*) FROM UNNEST($1::bigint[], $2::bigint[]) AS w(ms, seq)
    JOIN (SELECT unnest(sources) AS id FROM logs WHERE sources IS NOT NULL AND received_at >= $3) s
        ON s.id = w.ms || '-' || w.seq
    GROUP BY 1, 2";

impl Pg {
    pub(crate) async fn query(&self, query: &DeviceQuery) -> Result<Page, StoreError> {
        let (first, last) = (OffsetDateTime::from(query.first()), OffsetDateTime::from(query.last()));
        let (device, levels, bound) = (query.device_id.as_str(), query.level_bits(), query.bound());
        let chains = self.chains_with(query.plugin.as_ref()).await?;
        let answer = read!(self, conn => {
            let count = sqlx::query_scalar(COUNT).bind(device).bind(first).bind(last).bind(levels);
            let total = count.bind(&chains).fetch_one(&mut **conn).await?;
            let page = sqlx::query(PAGE).bind(device).bind(first).bind(last).bind(levels).bind(&chains);
            let page = page.bind(OffsetDateTime::from(bound.received_at)).bind(bound.ms).bind(bound.seq);
            Ok((total, page.bind(bound.part).bind(query.fetched()).fetch_all(&mut **conn).await?))
        });
        let (total, rows) = answer?;
        let rows: Result<_, _> = rows.iter().map(stored_row).collect();
        Ok(Page::new(total, rows?, query.limit))
    }

    pub(crate) async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        let top = i64::try_from(TOP_DEVICES).unwrap_or(i64::MAX);
        let (from, to) = (OffsetDateTime::from(minute_before(now)), OffsetDateTime::from(now));
        let answer = read!(self, conn => {
            let lines: Vec<Line> = sqlx::query_as(STATS).bind(top).fetch_all(&mut **conn).await?;
            let recent = sqlx::query_scalar(LAST_MINUTE).bind(from).bind(to);
            Ok((lines, recent.fetch_one(&mut **conn).await?))
        });
        let (lines, recent) = answer?;
        Stats::new(lines, recent)
    }

    pub(crate) async fn stored_ids(
        &self,
        ids: &[MessageId],
        since: Timestamp,
    ) -> Result<HashMap<MessageId, u64>, StoreError> {
        let fit = ids.iter().filter_map(|id| Some((i64::try_from(id.ms).ok()?, i64::try_from(id.seq).ok()?)));
        let (ms, seq): (Vec<i64>, Vec<i64>) = fit.unzip();
        let since = OffsetDateTime::from(since);
        let answer = read!(self, conn => {
            let mut tx = conn.begin().await?;
            tx.execute(NO_LOOPS).await?;
            let rows = sqlx::query_as(STORED_IDS).bind(&ms).bind(&seq).bind(since).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            Ok(rows)
        });
        let lines: Vec<(i64, i64, i64)> = answer?;
        let mut counts = HashMap::new();
        for (ms, seq, count) in lines {
            let id = MessageId { ms: ms.cast_unsigned(), seq: seq.cast_unsigned() };
            *counts.entry(id).or_default() += count.cast_unsigned();
        }
        Ok(counts)
    }
}

fn stored_row(row: &PgRow) -> Result<StoredRow, StoreError> {
    let failed = |e: sqlx::Error| StoreError::new(fault::of(&e), e);
    let sources: Option<Vec<String>> = row.try_get("sources").map_err(failed)?;
    let sources: Result<_, _> = sources.unwrap_or_default().iter().map(|id| id.parse()).collect();
    Ok(StoredRow {
        message_id: MessageId {
            ms: row.try_get::<i64, _>("ms").map_err(failed)?.cast_unsigned(),
            seq: row.try_get::<i64, _>("seq").map_err(failed)?.cast_unsigned(),
        },
        sources: sources.map_err(StoreError::unreadable)?,
        part: row.try_get::<i32, _>("part").map_err(failed)?.cast_unsigned(),
        device_id: row.try_get("device_id").map_err(failed)?,
        log_level: level_of(row.try_get::<i16, _>("log_level").map_err(failed)?.into())?,
        message: row.try_get("message").map_err(failed)?,
        log_data: RawObject::from_trusted(row.try_get::<String, _>("log_data").map_err(failed)?),
        received_at: row.try_get::<OffsetDateTime, _>("received_at").map_err(failed)?.into(),
        chain: row.try_get("chain").map_err(failed)?,
    })
}
