//! Partitions ahead of time, and a ledger that does not grow for ever.

use sawpit_model::Timestamp;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use time::OffsetDateTime;

use super::{Pg, checked};
use crate::days::Day;
use crate::error::StoreError;
use crate::lookup::Forgettable;
use crate::retention::{STEP_ROWS, STEP_ROWS_SIGNED};

/// Advisory lock of partition making: of several workers one makes them. An arbitrary constant.
pub(super) const PARTITIONS_LOCK: i64 = 0x5a77_7069_7400_0001;

/// Making and dropping a partition locks a table for a moment. While others read for long it is put off to the next turn:
/// commits and queries queue up behind a lock that waits.
pub(super) const LOCK_WAIT: &str = "SET LOCAL lock_timeout = '2s'";

/// Which commits may be forgotten, once for all steps: it reads the whole ledger.
const FORGETTABLE: &str = "SELECT LEAST($1, max(committed_at) - make_interval(secs => $2)) FROM ledger";

/// One step, each a transaction: after a long time there may be millions, and a statement has a time limit.
const TRIM: &str = "
    DELETE FROM ledger WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM ledger WHERE max_ms < $1 AND committed_at < $2 ORDER BY max_ms LIMIT $3
    ))";

impl Pg {
    /// Makes the missing partitions. Routine calls find them all there and lock nothing.
    pub(crate) async fn make_partitions(&self, now: Timestamp) -> Result<(), StoreError> {
        let days = Day::around(now);
        let mut conn = self.acquire().await?;
        let answer = self.answer(make_missing(&mut conn, &days)).await;
        checked(&mut conn, answer)
    }

    /// "Now" is at most the newest commit.
    pub(crate) async fn trim_ledger(&self, forgettable: Forgettable) -> Result<(), StoreError> {
        let Forgettable { messages_before_ms, committed_before, keep } = forgettable;
        let mut conn = self.acquire().await?;
        let newest = sqlx::query_scalar(FORGETTABLE).bind(OffsetDateTime::from(committed_before));
        let answer = self.answer(newest.bind(keep.as_secs_f64()).fetch_one(&mut *conn)).await;
        let before: OffsetDateTime = checked(&mut conn, answer)?;
        loop {
            let step = sqlx::query(TRIM).bind(messages_before_ms).bind(before).bind(STEP_ROWS_SIGNED);
            let answer = self.answer(step.execute(&mut *conn)).await;
            if checked(&mut conn, answer)?.rows_affected() < STEP_ROWS {
                return Ok(());
            }
        }
    }
}

async fn make_missing(conn: &mut PgConnection, days: &[Day]) -> sqlx::Result<()> {
    if missing(conn, days).await?.is_empty() {
        return Ok(());
    }
    let mut tx = conn.begin().await?;
    tx.execute(LOCK_WAIT).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(PARTITIONS_LOCK).execute(&mut *tx).await?;
    // Again, under the lock: another worker may just have made them.
    for day in missing(&mut tx, days).await? {
        make(&mut tx, day).await?;
    }
    tx.commit().await
}

async fn missing(conn: &mut PgConnection, days: &[Day]) -> sqlx::Result<Vec<Day>> {
    let names: Vec<String> = days.iter().map(|day| day.table()).collect();
    let ask = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
               WHERE i.inhparent = 'logs'::regclass AND c.relname = ANY($1)";
    let made: Vec<String> = sqlx::query_scalar(ask).bind(&names).fetch_all(conn).await?;
    Ok(days.iter().filter(|day| !made.contains(&day.table())).copied().collect())
}

/// Makes the table apart and attaches it: unlike `PARTITION OF`, that leaves readers and writers of the other
/// partitions alone. Rows of the day that already went to the default partition move first, and the lock
/// keeps others from following them there; an insert that it holds up is tried again (see `fault`).
async fn make(conn: &mut PgConnection, day: Day) -> sqlx::Result<()> {
    let (table, start) = (day.table(), day.start());
    let end = day.end().unwrap_or_else(|| "infinity".to_owned());
    // Only digits and our own words go into the text: names and bounds cannot be parameters.
    let script = format!(
        "LOCK TABLE ONLY logs IN SHARE UPDATE EXCLUSIVE MODE;
         LOCK TABLE logs_default IN ACCESS EXCLUSIVE MODE;
         CREATE TABLE {table} (LIKE logs INCLUDING DEFAULTS);
         WITH moved AS (
             DELETE FROM logs_default WHERE received_at >= '{start}' AND received_at < '{end}' RETURNING *
         ) INSERT INTO {table} SELECT * FROM moved;
         ALTER TABLE logs ATTACH PARTITION {table} FOR VALUES FROM ('{start}') TO ('{end}');"
    );
    conn.execute(sqlx::raw_sql(AssertSqlSafe(script))).await?;
    Ok(())
}
