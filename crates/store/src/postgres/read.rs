//! Reading back.

use std::collections::HashMap;

use sawpit_model::{MessageId, RawObject, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, Executor as _, Row as _};
use time::OffsetDateTime;

use super::{Pg, fault};
use crate::error::StoreError;
use crate::page::{LogQuery, Rows, StoredRow, Total};
use crate::room::{bytes_of, take_bytes};
use crate::stats::level_of;

/// The filters of both statements. `$1` is the device, `$2` to `$4` the first and last moment and the chains.
macro_rules! filtered {
    ($before:literal, $device:literal, $after:literal) => {
        concat!(
            $before,
            " WHERE ",
            $device,
            " AND received_at >= $2 AND received_at <= $3 AND ($4::integer[] IS NULL OR chain_id = ANY($4)) ",
            $after
        )
    };
}

/// Stops at the limit.
macro_rules! count {
    ($device:literal) => {
        filtered!(
            "SELECT count(*) FROM (SELECT FROM logs",
            $device,
            "AND log_level = ANY($5::smallint[]) LIMIT $6) found"
        )
    };
}

/// For each level the newest rows are read off an index, backwards from the cursor on, and these are merged: so
/// a rare level is found without reading the others. An index on time alone would read them all.
macro_rules! page {
    ($device:literal) => {
        filtered!(
            "SELECT l.received_at, l.ms, l.seq, l.part, l.log_level, l.device_id, l.message, l.log_data::text,
                    l.sources, coalesce(c.name, '') AS chain
             FROM (SELECT newest.* FROM UNNEST($5::smallint[]) AS wanted(log_level) CROSS JOIN LATERAL (
                 SELECT * FROM logs",
            $device,
            "AND logs.log_level = wanted.log_level AND (received_at, ms, seq, part) < ($6, $7, $8, $9)
                 ORDER BY received_at DESC, ms DESC, seq DESC, part DESC LIMIT $10) newest
             ORDER BY received_at DESC, ms DESC, seq DESC, part DESC LIMIT $10) l
             LEFT JOIN chains c ON c.id = l.chain_id
             ORDER BY l.received_at DESC, l.ms DESC, l.seq DESC, l.part DESC"
        )
    };
}

const COUNT_OF_DEVICE: &str = count!("device_id = $1");
const COUNT_OF_ALL: &str = count!("$1::text IS NULL");
const PAGE_OF_DEVICE: &str = page!("device_id = $1");
const PAGE_OF_ALL: &str = page!("$1::text IS NULL");

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
    pub(crate) async fn total(&self, query: &LogQuery) -> Result<Total, StoreError> {
        if query.is_in_totals() {
            return Ok(Total::known(self.kept_total(query).await?));
        }
        let chains = self.chains_with(query.plugin.as_ref()).await?;
        Ok(Total::counted(self.count(query, &chains).await?, query.count_limit))
    }

    pub(crate) async fn rows(&self, query: &LogQuery) -> Result<Rows, StoreError> {
        let chains = self.chains_with(query.plugin.as_ref()).await?;
        let (first, last) = (OffsetDateTime::from(query.first()), OffsetDateTime::from(query.page_last()));
        let (levels, bound) = (codes(query), query.bound());
        let ask = if query.device_id.is_some() { PAGE_OF_DEVICE } else { PAGE_OF_ALL };
        let answer = read!(self, conn => {
            let page = sqlx::query(ask).bind(&query.device_id).bind(first).bind(last).bind(&chains).bind(&levels);
            let page = page.bind(OffsetDateTime::from(bound.received_at)).bind(bound.ms).bind(bound.seq);
            let page = page.bind(bound.part).bind(query.fetched()).fetch(&mut **conn);
            take_bytes(page, query.page_bytes, row_bytes).await
        });
        let rows: Result<_, _> = answer?.iter().map(stored_row).collect();
        Ok(Rows::new(rows?, query))
    }

    async fn count(&self, query: &LogQuery, chains: &Option<Vec<i32>>) -> Result<i64, StoreError> {
        let (first, last) = (OffsetDateTime::from(query.first()), OffsetDateTime::from(query.last()));
        let ask = if query.device_id.is_some() { COUNT_OF_DEVICE } else { COUNT_OF_ALL };
        let levels = codes(query);
        read!(self, conn => {
            let count = sqlx::query_scalar(ask).bind(&query.device_id).bind(first).bind(last).bind(chains);
            count.bind(&levels).bind(query.counted()).fetch_one(&mut **conn).await
        })
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

/// The wanted levels, in the database's type.
pub(super) fn codes(query: &LogQuery) -> Vec<i16> {
    query.level_codes().into_iter().map(i16::from).collect()
}

/// Of a row as it came; one that cannot be read is told when it is.
pub(super) fn row_bytes(row: &PgRow) -> u64 {
    let text = |column| row.try_get::<&str, _>(column).unwrap_or_default();
    bytes_of(text("message"), text("log_data"))
}

pub(super) fn stored_row(row: &PgRow) -> Result<StoredRow, StoreError> {
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
