//! Forgetting old logs: whole days at once, and what lies outside of the days in steps.
//!
//! Nothing is counted while a day goes: how many logs of which devices it has stands in `day_totals`. Days of which rows
//! were stored before that table was there are counted once, without a lock.

use std::time::Duration;

use sawpit_model::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use time::{Date, OffsetDateTime};

use super::maintain::{LOCK_WAIT, PARTITIONS_LOCK};
use super::rollup::{ROLLUP_LOCK, fold_within};
use super::{Pg, checked};
use crate::days::Day;
use crate::error::StoreError;
use crate::retention::{Forgotten, STEP_ROWS, STEP_ROWS_SIGNED};

/// Longest time to count a day that was stored before its totals were kept. At 100,000 rows a second these are two
/// billion; a connection that broke meanwhile must not be waited for without end.
const COUNT_LIMIT: Duration = Duration::from_secs(6 * 60 * 60);

/// Our own limit is [`COUNT_LIMIT`].
const COUNT_SETTINGS: &str = "SET LOCAL statement_timeout = 0";

const DAYS: &str = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                    WHERE i.inhparent = 'logs'::regclass";

/// Read from the tables: `to_regclass` may answer from a cache that does not know yet what another session dropped.
const IS_DAY: &str = "SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                      WHERE i.inhparent = 'logs'::regclass AND c.relname = $1)";

const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

const UNCOUNTED: &str = "SELECT day FROM uncounted_days";

/// Of several workers one counts a day.
const TAKE_UNCOUNTED: &str =
    "SELECT EXISTS (SELECT FROM uncounted_days WHERE day = $1 FOR UPDATE SKIP LOCKED)";

/// What a day has, less what its totals know by now: one statement sees rows, totals and what is pending at one moment,
/// and the difference is the same at any moment. So it may be added to totals that have changed since.
macro_rules! count_day {
    () => {
        "INSERT INTO day_totals AS t
         SELECT $1, device_id, log_level, sum(n)::bigint FROM (
             SELECT device_id, log_level, count(*) AS n FROM {table} GROUP BY 1, 2
             UNION ALL
             SELECT device_id, log_level, -n FROM day_totals WHERE day = $1
             UNION ALL
             SELECT l.device_id, l.log_level, -l.n
             FROM rollup_pending, UNNEST(device_ids, log_levels, seconds, counts) AS l(device_id, log_level, second, n)
             WHERE day_of_second(l.second) = $1
         ) counted
         GROUP BY 2, 3 HAVING sum(n) <> 0 ORDER BY 2, 3
         ON CONFLICT (day, device_id, log_level) DO UPDATE SET n = t.n + excluded.n"
    };
}

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

const FORGET_DAY: &str =
    subtracted!("gone AS (DELETE FROM day_totals WHERE day = $1 RETURNING device_id, log_level, n)");

const FORGET_STEP: &str = subtracted!(
    "old AS (
        DELETE FROM logs_default WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM logs_default WHERE received_at < $1 LIMIT $2)) RETURNING device_id, log_level, received_at
    ), days AS (
        INSERT INTO day_totals AS t
            SELECT (received_at AT TIME ZONE 'UTC')::date, device_id, log_level, -count(*)
            FROM old GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (day, device_id, log_level) DO UPDATE SET n = t.n + excluded.n
    ), gone AS MATERIALIZED (SELECT device_id, log_level, count(*) AS n FROM old GROUP BY 1, 2)"
);

/// Whether a day's totals are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// They are now.
    Whole,
    /// Another worker is counting, or has just done so: look at the day again at the next call.
    ByAnother,
}

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
        let uncounted = self.uncounted_days().await?;
        for day in self.days_over(before).await? {
            if uncounted.contains(&day.date()) && self.count_day(day).await? == Counted::ByAnother {
                continue;
            }
            // So that little is pending while others wait.
            self.fold().await?;
            let mut conn = self.acquire().await?;
            let answer = self.answer(forget_day(&mut conn, day)).await;
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

    async fn uncounted_days(&self) -> Result<Vec<Date>, StoreError> {
        read!(self, conn => sqlx::query_scalar(UNCOUNTED).fetch_all(&mut **conn).await)
    }

    /// Makes the totals of a day whole of which rows were stored before there were any.
    async fn count_day(&self, day: Day) -> Result<Counted, StoreError> {
        let mut conn = self.acquire().await?;
        let answer = tokio::time::timeout(COUNT_LIMIT, count_day(&mut conn, day)).await;
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "counting a day's rows");
        checked(&mut conn, answer.unwrap_or_else(|_| Err(sqlx::Error::Io(late))))
    }
}

async fn count_day(conn: &mut PgConnection, day: Day) -> sqlx::Result<Counted> {
    let mut tx = conn.begin().await?;
    tx.execute(COUNT_SETTINGS).await?;
    let ours: bool = sqlx::query_scalar(TAKE_UNCOUNTED).bind(day.date()).fetch_one(&mut *tx).await?;
    if !ours {
        return Ok(Counted::ByAnother);
    }
    // Only digits and our own words go into the text: names cannot be parameters.
    let count = format!(count_day!(), table = day.table());
    sqlx::query(AssertSqlSafe(count)).bind(day.date()).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM uncounted_days WHERE day = $1").bind(day.date()).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Counted::Whole)
}

/// How many rows went; none where another worker has dropped the day meanwhile. Costs what the number of devices costs,
/// however many the rows are.
async fn forget_day(conn: &mut PgConnection, day: Day) -> sqlx::Result<Option<i64>> {
    let table = day.table();
    let mut tx = conn.begin().await?;
    tx.execute(LOCK_WAIT).await?;
    sqlx::query(LOCK).bind(PARTITIONS_LOCK).execute(&mut *tx).await?;
    sqlx::query(LOCK).bind(ROLLUP_LOCK).execute(&mut *tx).await?;
    let there: bool = sqlx::query_scalar(IS_DAY).bind(&table).fetch_one(&mut *tx).await?;
    if !there {
        return Ok(None);
    }
    // Waits for the commits that have late rows for the day, and keeps others out until it is gone: what they counted is
    // pending or folded then, and folded here.
    let lock = format!("LOCK TABLE {table} IN SHARE MODE");
    tx.execute(sqlx::raw_sql(AssertSqlSafe(lock))).await?;
    fold_within(&mut tx).await?;
    let rows: i64 = sqlx::query_scalar(FORGET_DAY).bind(day.date()).fetch_one(&mut *tx).await?;
    tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {table}")))).await?;
    tx.execute("DELETE FROM device_totals WHERE n = 0").await?;
    tx.commit().await?;
    Ok(Some(rows))
}

/// Rows that came later than a day after their day, or from a clock that is behind.
async fn forget_step(conn: &mut PgConnection, before: Timestamp) -> sqlx::Result<i64> {
    let mut tx = conn.begin().await?;
    sqlx::query(LOCK).bind(ROLLUP_LOCK).execute(&mut *tx).await?;
    let before = OffsetDateTime::from(before);
    let step = sqlx::query_scalar(FORGET_STEP).bind(before).bind(STEP_ROWS_SIGNED);
    let rows = step.fetch_one(&mut *tx).await?;
    let empty = "DELETE FROM day_totals WHERE day <= $1 AND n = 0";
    sqlx::query(empty).bind(before.date()).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(rows)
}
