//! Forgetting old logs: whole days at once, and what lies outside of the days in steps.

use std::time::Duration;

use sawpit_model::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use time::OffsetDateTime;

use super::maintain::PARTITIONS_LOCK;
use super::rollup::ROLLUP_LOCK;
use super::{Pg, checked};
use crate::days::Day;
use crate::error::StoreError;
use crate::retention::{Forgotten, STEP_ROWS, STEP_ROWS_SIGNED};

/// Longest time for one day: its rows are counted before they go.
const DAY_LIMIT: Duration = Duration::from_secs(600);

/// Dropping a partition locks the table for a moment. While others read for long it is put off: commits queue up
/// behind a lock that waits.
const DROP_SETTINGS: &str = "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = 0";

const DAYS: &str = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                    WHERE i.inhparent = 'logs'::regclass";

/// Read from the tables: `to_regclass` may answer from a cache that does not know yet what another session dropped.
const IS_DAY: &str = "SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                      WHERE i.inhparent = 'logs'::regclass AND c.relname = $1)";

const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

/// Takes what `gone` holds out of the totals. Those of seconds are not touched: they are younger.
macro_rules! subtracted {
    ($gone:literal) => {
        concat!(
            "WITH ",
            $gone,
            ", levels AS (
                INSERT INTO level_totals AS t SELECT log_level, -sum(n)::bigint FROM gone GROUP BY 1 ORDER BY 1
                ON CONFLICT (log_level) DO UPDATE SET n = t.n + excluded.n
            ), devices AS (
                INSERT INTO device_totals AS t SELECT device_id, log_level, -n FROM gone ORDER BY 1, 2
                ON CONFLICT (device_id, log_level) DO UPDATE SET n = t.n + excluded.n
            )
            SELECT coalesce(sum(n), 0)::bigint FROM gone"
        )
    };
}

const FORGET_STEP: &str = subtracted!(
    "old AS (
        DELETE FROM logs_default WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM logs_default WHERE received_at < $1 LIMIT $2)) RETURNING device_id, log_level
    ), gone AS MATERIALIZED (SELECT device_id, log_level, count(*) AS n FROM old GROUP BY 1, 2)"
);

impl Pg {
    pub(crate) async fn not_ahead(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        let ask = "SELECT least($1, now())";
        let now = OffsetDateTime::from(now);
        let earlier: OffsetDateTime =
            read!(self, conn => sqlx::query_scalar(ask).bind(now).fetch_one(&mut **conn).await)?;
        Ok(earlier.into())
    }

    pub(crate) async fn forget(&self, before: Timestamp) -> Result<Forgotten, StoreError> {
        let mut forgotten = Forgotten::default();
        for day in self.days_over(before).await? {
            let mut conn = self.acquire().await?;
            let work = tokio::time::timeout(DAY_LIMIT, forget_day(&mut conn, day));
            let answer = work.await.unwrap_or_else(|_| {
                Err(sqlx::Error::Io(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    "counting a day's rows",
                )))
            });
            if let Some(rows) = checked(&mut conn, answer)? {
                forgotten.days += 1;
                forgotten.rows += rows.cast_unsigned();
            }
        }
        loop {
            let mut conn = self.acquire().await?;
            let answer = self.answer(forget_step(&mut conn, before)).await;
            let rows = checked(&mut conn, answer)?.cast_unsigned();
            forgotten.rows += rows;
            if rows < STEP_ROWS {
                return Ok(forgotten);
            }
        }
    }

    /// The days whose last moment is before this time, oldest first.
    async fn days_over(&self, before: Timestamp) -> Result<Vec<Day>, StoreError> {
        let names: Vec<String> = read!(self, conn => sqlx::query_scalar(DAYS).fetch_all(&mut **conn).await)?;
        let mut days: Vec<Day> = names.iter().filter_map(|name| Day::of_table(name)).collect();
        days.retain(|day| day.is_over(before));
        days.sort_unstable();
        Ok(days)
    }
}

/// How many rows went; none where another worker has dropped the day meanwhile.
async fn forget_day(conn: &mut PgConnection, day: Day) -> sqlx::Result<Option<i64>> {
    let table = day.table();
    let mut tx = conn.begin().await?;
    tx.execute(DROP_SETTINGS).await?;
    sqlx::query(LOCK).bind(PARTITIONS_LOCK).execute(&mut *tx).await?;
    sqlx::query(LOCK).bind(ROLLUP_LOCK).execute(&mut *tx).await?;
    let there: bool = sqlx::query_scalar(IS_DAY).bind(&table).fetch_one(&mut *tx).await?;
    if !there {
        return Ok(None);
    }
    // Only digits and our own words go into the text: names cannot be parameters. The lock keeps late rows out
    // between the count and the drop.
    let lock = format!("LOCK TABLE {table} IN SHARE MODE");
    tx.execute(sqlx::raw_sql(AssertSqlSafe(lock))).await?;
    let subtract = format!(
        subtracted!(
            "gone AS MATERIALIZED (SELECT device_id, log_level, count(*) AS n FROM {table} GROUP BY 1, 2)"
        ),
        table = table
    );
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(subtract)).fetch_one(&mut *tx).await?;
    tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {table}")))).await?;
    tx.execute("DELETE FROM device_totals WHERE n = 0").await?;
    tx.commit().await?;
    Ok(Some(rows))
}

/// Rows that came later than a day after their day, or from a clock that is behind.
async fn forget_step(conn: &mut PgConnection, before: Timestamp) -> sqlx::Result<i64> {
    let mut tx = conn.begin().await?;
    sqlx::query(LOCK).bind(ROLLUP_LOCK).execute(&mut *tx).await?;
    let step = sqlx::query_scalar(FORGET_STEP).bind(OffsetDateTime::from(before)).bind(STEP_ROWS_SIGNED);
    let rows = step.fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(rows)
}
