//! The counts behind the statistics, counted up by each commit.

use sawpit_model::{Level, Timestamp};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{Lite, checked};
use crate::error::StoreError;
use crate::lookup::before;
use crate::page::LogQuery;
use crate::rollup::{Counts, forgotten_before};
use crate::stats::{Line, Shown, Stats, TOP_DEVICES};
use crate::verdict::WRITERS_KEPT;

/// Lines of one INSERT: 3 columns each stay far below SQLite's 32,766 parameters.
const LINES_PER_INSERT: usize = 100;

const TOTAL: &str = "SELECT coalesce(sum(n), 0) FROM device_totals WHERE device_id = ?1 \
                     AND log_level IN (SELECT value FROM json_each(?2))";

const TOTAL_OF_ALL: &str = "SELECT coalesce(sum(n), 0) FROM level_totals WHERE ?1 IS NULL \
                            AND log_level IN (SELECT value FROM json_each(?2))";

/// `?1` devices, and the seconds from `?2` to `?3`.
const STATS: &str = "
SELECT log_level AS level, NULL AS device, NULL AS second, n FROM level_totals
UNION ALL
SELECT * FROM (SELECT NULL, device_id, NULL, sum(n) AS n FROM device_totals
    GROUP BY device_id HAVING sum(n) > 0 ORDER BY n DESC, device_id LIMIT ?1)
UNION ALL
SELECT * FROM (SELECT NULL, NULL, second, sum(n) FROM second_totals WHERE second BETWEEN ?2 AND ?3 GROUP BY second)";

/// Adds a batch to the totals, in its transaction.
pub(super) async fn count_up(tx: &mut SqliteConnection, counts: &Counts<'_>) -> sqlx::Result<()> {
    let levels = counts.by(|line| line.log_level);
    let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO level_totals (log_level, n) ");
    if !levels.is_empty() {
        insert.push_values(&levels, |mut line, (level, n)| {
            line.push_bind(*level).push_bind(*n);
        });
        insert.push(" ON CONFLICT DO UPDATE SET n = n + excluded.n");
        insert.build().persistent(false).execute(&mut *tx).await?;
    }
    for lines in counts.by(|line| (line.device_id, line.log_level)).chunks(LINES_PER_INSERT) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO device_totals (device_id, log_level, n) ");
        insert.push_values(lines, |mut line, ((device, level), n)| {
            line.push_bind(*device).push_bind(*level).push_bind(*n);
        });
        insert.push(" ON CONFLICT DO UPDATE SET n = n + excluded.n");
        insert.build().persistent(lines.len() == LINES_PER_INSERT).execute(&mut *tx).await?;
    }
    for lines in counts.by(|line| (line.second, line.log_level)).chunks(LINES_PER_INSERT) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO second_totals (second, log_level, n) ");
        insert.push_values(lines, |mut line, ((second, level), n)| {
            line.push_bind(*second).push_bind(*level).push_bind(*n);
        });
        insert.push(" ON CONFLICT DO UPDATE SET n = n + excluded.n");
        insert.build().persistent(false).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Takes rows of one level out of the totals; `devices` has each row's, sorted. The seconds are not touched: they are
/// younger than what is forgotten.
pub(super) async fn count_down(
    tx: &mut SqliteConnection,
    level: Level,
    devices: &[String],
) -> sqlx::Result<()> {
    let down = "UPDATE level_totals SET n = n - ?2 WHERE log_level = ?1";
    let rows = i64::try_from(devices.len()).unwrap_or(i64::MAX);
    sqlx::query(down).bind(level.code()).bind(rows).execute(&mut *tx).await?;
    for rows in devices.chunk_by(|a, b| a == b) {
        let n = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let down = "UPDATE device_totals SET n = n - ?3 WHERE device_id = ?1 AND log_level = ?2";
        sqlx::query(down).bind(rows.first()).bind(level.code()).bind(n).execute(&mut *tx).await?;
    }
    sqlx::query("DELETE FROM device_totals WHERE n = 0").execute(tx).await?;
    Ok(())
}

pub(super) async fn kept_total(conn: &mut SqliteConnection, query: &LogQuery) -> Result<i64, StoreError> {
    let ask = if query.device_id.is_some() { TOTAL } else { TOTAL_OF_ALL };
    let levels = format!("{:?}", query.level_codes());
    checked(sqlx::query_scalar(ask).bind(&query.device_id).bind(levels).fetch_one(conn).await)
}

impl Lite {
    pub(crate) async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        let top = i64::try_from(TOP_DEVICES).unwrap_or(i64::MAX);
        let shown = Shown::until(now);
        let ask = sqlx::query_as(STATS).bind(top).bind(shown.first).bind(shown.last);
        let lines: Vec<Line> = checked(ask.fetch_all(&mut *self.reader().await?).await)?;
        Stats::new(lines, self.verdicts().await?, shown)
    }

    pub(crate) async fn trim_rollups(&self, now: Timestamp) -> Result<(), StoreError> {
        let trim = sqlx::query("DELETE FROM second_totals WHERE second < ?1").bind(forgotten_before(now));
        let mut tx = self.begin().await?;
        checked(trim.execute(&mut *tx).await)?;
        let gone = before(now, WRITERS_KEPT).as_micros();
        let trim = sqlx::query("DELETE FROM verdict_writers WHERE written_at < ?1").bind(gone);
        checked(trim.execute(&mut *tx).await)?;
        checked(tx.commit().await)
    }
}
