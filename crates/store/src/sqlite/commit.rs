//! Storing a batch.

use sawpit_model::Timestamp;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::rollup::count_up;
use super::search::{index_rows, next_id};
use super::verdict::count_verdicts;
use super::{Lite, fault};
use crate::batch::{Batch, Entry, Lease, Row, RowKey};
use crate::error::{CommitError, Fault};
use crate::rollup::Counts;

/// Rows of one INSERT. 11 columns each stay far below SQLite's 32,766 parameters, and a worker's batch is one.
const ROWS_PER_INSERT: usize = 100;

const INSERT: &str = "INSERT INTO logs (id, received_at, ms, seq, part, chain_id, log_level, device_id, message, \
                      log_data, sources) ";

/// A row, checked before the write lock is taken.
struct Keyed<'a> {
    row: &'a Row,
    key: RowKey,
}

impl Lite {
    pub(crate) async fn commit(&self, lease: &Lease, batch: &Batch) -> Result<(), CommitError> {
        let entry = Entry::of(batch)?;
        let keyed = batch.rows.iter().map(|row| Ok(Keyed { row, key: RowKey::of(row)? }));
        let keyed = keyed.collect::<Result<Vec<_>, CommitError>>()?;
        let mut tx = self.begin().await?;
        if !holds(&mut tx, lease).await? {
            return Err(CommitError::Fenced);
        }
        if let Err(error) = book(&mut tx, lease, &entry, batch.committed_at).await {
            return match fault::of(&error) {
                Fault::InLedger => explain(&mut tx, &entry).await,
                _ => Err(before_commit(error)),
            };
        }
        let mut next = next_id(&mut tx).await.map_err(before_commit)?;
        for rows in keyed.chunks(ROWS_PER_INSERT) {
            next = self.insert(&mut tx, rows, next).await.map_err(before_commit)?;
        }
        count_up(&mut tx, &Counts::of(&batch.rows)).await.map_err(before_commit)?;
        count_verdicts(&mut tx, &batch.verdicts).await.map_err(before_commit)?;
        tx.commit().await.map_err(|e| CommitError::new(fault::of(&e), fault::told(&e)))
    }

    /// Stores rows under the keys from `first_id` on; the key after theirs.
    async fn insert(
        &self,
        tx: &mut SqliteConnection,
        rows: &[Keyed<'_>],
        first_id: i64,
    ) -> sqlx::Result<i64> {
        let mut chain_ids = Vec::with_capacity(rows.len());
        for row in rows {
            chain_ids.push(self.chain_id(tx, &row.row.chain).await?);
        }
        let mut insert = QueryBuilder::<Sqlite>::new(INSERT);
        let keyed = (first_id..).zip(rows).zip(chain_ids);
        insert.push_values(keyed, |mut values, ((id, Keyed { row, key }), chain_id)| {
            let log = &row.log;
            values.push_bind(id).push_bind(log.received_at.as_micros()).push_bind(key.ms).push_bind(key.seq);
            values.push_bind(key.part).push_bind(chain_id).push_bind(log.log_level.code());
            values.push_bind(log.device_id.as_str()).push_bind(log.message.as_str());
            values.push_bind(log.log_data.as_str()).push_bind(array_text(key));
        });
        // Only the full size comes again and again.
        insert.build().persistent(rows.len() == ROWS_PER_INSERT).execute(&mut *tx).await?;
        if self.index.any() {
            let rows: Vec<&Row> = rows.iter().map(|keyed| keyed.row).collect();
            index_rows(tx, &rows, first_id, &self.index).await?;
        }
        Ok(first_id.saturating_add(i64::try_from(rows.len()).unwrap_or(i64::MAX)))
    }

    /// Remembered only when it was found: an id that was just made is gone if the transaction fails.
    async fn chain_id(&self, tx: &mut SqliteConnection, name: &str) -> sqlx::Result<i32> {
        if let Some(id) = self.chains.get(name) {
            return Ok(id);
        }
        let select = sqlx::query_scalar("SELECT id FROM chains WHERE name = ?1").bind(name);
        if let Some(id) = select.fetch_optional(&mut *tx).await? {
            self.chains.set(name, id);
            return Ok(id);
        }
        let insert = sqlx::query_scalar("INSERT INTO chains (name) VALUES (?1) RETURNING id").bind(name);
        insert.fetch_one(tx).await
    }
}

async fn holds(tx: &mut SqliteConnection, lease: &Lease) -> Result<bool, CommitError> {
    let ask = sqlx::query_scalar("SELECT epoch FROM leases WHERE owner = ?1").bind(&lease.owner);
    let epoch: Option<i64> = ask.fetch_optional(tx).await.map_err(before_commit)?;
    Ok(epoch == Some(lease.epoch))
}

async fn book(tx: &mut SqliteConnection, lease: &Lease, entry: &Entry, at: Timestamp) -> sqlx::Result<()> {
    let ask =
        "INSERT INTO ledger (max_ms, max_seq, min_ms, committed_at, owner, ids) VALUES (?1,?2,?3,?4,?5,?6)";
    let insert = sqlx::query(ask).bind(entry.max_ms).bind(entry.max_seq).bind(entry.min_ms);
    insert.bind(at.as_micros()).bind(&lease.owner).bind(&entry.ids).execute(tx).await?;
    Ok(())
}

/// The ledger knows a batch that ends with the same message: this one, committed by a try whose outcome was
/// unknown, or another.
async fn explain(tx: &mut SqliteConnection, entry: &Entry) -> Result<(), CommitError> {
    let ask = sqlx::query_scalar("SELECT ids FROM ledger WHERE max_ms = ?1 AND max_seq = ?2");
    let known = ask.bind(entry.max_ms).bind(entry.max_seq).fetch_optional(tx).await;
    let known: Option<Vec<u8>> = known.map_err(before_commit)?;
    if known.as_ref() == Some(&entry.ids) { Ok(()) } else { Err(CommitError::Overlap) }
}

/// Before COMMIT was said nothing is stored, whatever failed.
fn before_commit(error: sqlx::Error) -> CommitError {
    let fault = match fault::of(&error) {
        Fault::Unknown => Fault::Away,
        fault => fault,
    };
    CommitError::new(fault, fault::told(&error))
}

fn array_text(key: &RowKey) -> Option<String> {
    let ids: Vec<String> = key.sources.iter().map(|id| format!("\"{id}\"")).collect();
    if ids.is_empty() { None } else { Some(format!("[{}]", ids.join(","))) }
}
