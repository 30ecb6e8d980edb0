//! Storing a batch: one statement, which is one transaction and one round trip.
//!
//! UNNEST against COPY (which needs six round trips), rows/s by `examples/insert_bench.rs` with fsync on, a debug
//! build on two cores that others were using, so ranges of two runs; first one batch in flight, then four:
//!
//! | rows a batch | UNNEST, TCP   | COPY, TCP  | UNNEST, socket | COPY, socket    |
//! |--------------|---------------|------------|----------------|-----------------|
//! | 100          | 14–15k 33–37k | 1.9k 7.2k  | 16–18k 20–38k  | 17–19k 12–22k   |
//! | 1,000        | 29k 52–58k    | 28–29k 64k | 14–17k 20–56k  | 22–58k 44–102k  |
//!
//! Over TCP COPY waits for delayed acknowledgements, because sqlx does not set TCP_NODELAY. A worker's batch is
//! 100, so UNNEST it is; should many batches ever share a transaction, COPY is worth another look.

use sawpit_model::Timestamp;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use time::OffsetDateTime;

use super::rollup::Lines;
use super::verdict::VerdictLines;
use super::{Pg, fault, retire_broken};
use crate::batch::{Batch, Entry, Lease, Row, RowKey};
use crate::error::{CommitError, Fault, StoreError};
use crate::rollup::Counts;
use crate::search::{IndexSettings, Terms};

/// `held` locks the lease against a fence until the end of the transaction, and is empty when the epoch is
/// another: then nothing is inserted, and the count is 0.
const COMMIT: &str = "
WITH held AS MATERIALIZED (
    SELECT 1 FROM leases WHERE owner = $1 AND epoch = $2 FOR SHARE
), booked AS (
    INSERT INTO ledger (max_ms, max_seq, min_ms, committed_at, owner, ids)
    SELECT $3, $4, $5, $6, $1, $7 FROM held
), stored AS (
    INSERT INTO logs (received_at, ms, seq, part, chain_id, log_level, device_id, message, log_data, sources,
                      terms)
    SELECT r.received_at, r.ms, r.seq, r.part, r.chain_id, r.log_level, r.device_id, r.message,
           r.log_data::jsonb, r.sources::text[], r.terms::tsvector
    FROM held, UNNEST($8::timestamptz[], $9::bigint[], $10::bigint[], $11::int[], $12::int[], $13::smallint[],
                $14::text[], $15::text[], $16::text[], $17::text[], $22::text[])
        AS r(received_at, ms, seq, part, chain_id, log_level, device_id, message, log_data, sources, terms)
), counted AS (
    INSERT INTO rollup_pending (device_ids, log_levels, seconds, counts, plugins, versions, verdicts, verdict_counts)
    SELECT $18, $19, $20, $21, $23, $24, $25, $26 FROM held
    WHERE cardinality($18::text[]) > 0 OR cardinality($23::text[]) > 0
)
SELECT count(*) FROM held";

/// The rows as one array per column.
#[derive(Default)]
struct Columns<'a> {
    received_at: Vec<OffsetDateTime>,
    ms: Vec<i64>,
    seq: Vec<i64>,
    part: Vec<i32>,
    chain_id: Vec<i32>,
    log_level: Vec<i16>,
    device_id: Vec<&'a str>,
    message: Vec<&'a str>,
    log_data: Vec<&'a str>,
    sources: Vec<Option<String>>,
    terms: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, row: &'a Row, chain_id: i32, index: &IndexSettings) -> Result<(), CommitError> {
        let key = RowKey::of(row)?;
        self.received_at.push(row.log.received_at.into());
        self.ms.push(key.ms);
        self.seq.push(key.seq);
        self.part.push(key.part);
        self.chain_id.push(chain_id);
        self.log_level.push(i16::from(row.log.log_level.code()));
        self.device_id.push(&row.log.device_id);
        self.message.push(&row.log.message);
        self.log_data.push(row.log.log_data.as_str());
        self.sources.push(array_text(&key));
        let terms = Terms::of(&row.log.message, &row.log.log_data, index);
        self.terms.push(terms.of_row(&row.log.device_id, row.log.log_level));
        Ok(())
    }
}

/// The sources as the text of an array: UNNEST would flatten an array of arrays.
fn array_text(key: &RowKey) -> Option<String> {
    let ids: Vec<String> = key.sources.iter().map(ToString::to_string).collect();
    if ids.is_empty() { None } else { Some(format!("{{{}}}", ids.join(","))) }
}

fn statement<'a>(
    lease: &'a Lease,
    entry: &'a Entry,
    at: Timestamp,
    rows: &'a Columns<'a>,
    lines: &'a Lines<'a>,
    verdicts: &'a VerdictLines<'a>,
) -> Query<'a, Postgres, PgArguments> {
    sqlx::query(COMMIT)
        .bind(&lease.owner)
        .bind(lease.epoch)
        .bind(entry.max_ms)
        .bind(entry.max_seq)
        .bind(entry.min_ms)
        .bind(OffsetDateTime::from(at))
        .bind(&entry.ids)
        .bind(&rows.received_at)
        .bind(&rows.ms)
        .bind(&rows.seq)
        .bind(&rows.part)
        .bind(&rows.chain_id)
        .bind(&rows.log_level)
        .bind(&rows.device_id)
        .bind(&rows.message)
        .bind(&rows.log_data)
        .bind(&rows.sources)
        .bind(&lines.device_ids)
        .bind(&lines.log_levels)
        .bind(&lines.seconds)
        .bind(&lines.counts)
        .bind(&rows.terms)
        .bind(&verdicts.plugins)
        .bind(&verdicts.versions)
        .bind(&verdicts.verdicts)
        .bind(&verdicts.counts)
}

impl Pg {
    pub(crate) async fn commit(&self, lease: &Lease, batch: &Batch) -> Result<(), CommitError> {
        let entry = Entry::of(batch)?;
        let (rows, lines) = (self.columns(&batch.rows).await?, Lines::of(&Counts::of(&batch.rows)));
        let verdicts = VerdictLines::of(&batch.verdicts);
        let mut conn = self.acquire().await?;
        let work =
            statement(lease, &entry, batch.committed_at, &rows, &lines, &verdicts).fetch_one(&mut *conn);
        let answer = self.answer(work).await;
        retire_broken(&mut conn, &answer);
        let held = match answer.and_then(|row| sqlx::Row::try_get::<i64, _>(&row, 0)) {
            Ok(held) => held,
            Err(error) => match fault::of(&error) {
                Fault::InLedger => return self.explain(&entry).await,
                fault => return Err(CommitError::new(fault, error)),
            },
        };
        if held != 1 {
            return Err(CommitError::Fenced);
        }
        self.committed_one();
        Ok(())
    }

    async fn columns<'a>(&self, rows: &'a [Row]) -> Result<Columns<'a>, CommitError> {
        let mut columns = Columns::default();
        for row in rows {
            columns.push(row, self.chain_id(&row.chain).await?, &self.index)?;
        }
        Ok(columns)
    }

    /// The ledger knows a batch that ends with the same message: this one, committed by a try whose outcome
    /// was unknown, or another.
    async fn explain(&self, entry: &Entry) -> Result<(), CommitError> {
        let mut conn = self.acquire().await?;
        let ask = "SELECT ids FROM ledger WHERE max_ms = $1 AND max_seq = $2";
        let work = sqlx::query_scalar::<_, Vec<u8>>(ask).bind(entry.max_ms).bind(entry.max_seq);
        let answer = self.answer(work.fetch_optional(&mut *conn)).await;
        let known = super::checked(&mut conn, answer)?;
        if known.as_ref() == Some(&entry.ids) { Ok(()) } else { Err(CommitError::Overlap) }
    }

    /// The id of a chain, which is stored first, on its own, when it is new: a chain without rows does no harm.
    async fn chain_id(&self, name: &str) -> Result<i32, StoreError> {
        if let Some(id) = self.chains.get(name) {
            return Ok(id);
        }
        let mut conn = self.acquire().await?;
        // Selected first: a conflict would use up an id each time a process starts.
        let select = sqlx::query_scalar("SELECT id FROM chains WHERE name = $1").bind(name);
        let answer = self.answer(select.fetch_optional(&mut *conn)).await;
        let known: Option<i32> = super::checked(&mut conn, answer)?;
        let id = match known {
            Some(id) => id,
            None => {
                let insert = "INSERT INTO chains (name) VALUES ($1) \
                              ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id";
                let work = sqlx::query_scalar(insert).bind(name).fetch_one(&mut *conn);
                let answer = self.answer(work).await;
                super::checked(&mut conn, answer)?
            }
        };
        self.chains.set(name, id);
        Ok(id)
    }
}
