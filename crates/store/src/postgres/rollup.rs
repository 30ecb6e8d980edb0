//! The counts behind the statistics: appended by each commit, folded now and then, read with what is pending.

use std::sync::atomic::{AtomicU32, Ordering};

use sawpit_model::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use time::OffsetDateTime;

use super::read::codes;
use super::{Pg, checked};
use crate::error::StoreError;
use crate::lookup::before;
use crate::page::LogQuery;
use crate::rollup::{Counts, forgotten_before};
use crate::stats::{Line, Shown, Stats, TOP_DEVICES};
use crate::verdict::WRITERS_KEPT;

/// Commits of one process after which it folds: enough that folding costs little, few enough that whoever reads has
/// little to add up.
const FOLD_AFTER: u32 = 64;

/// Most pending rows folded in one statement.
const FOLDED: i64 = 1_000;

/// Of several that want to change totals one does. An arbitrary constant.
pub(super) const ROLLUP_LOCK: i64 = 0x5a77_7069_7400_0002;

const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1)";

/// In order, so that a fold and whoever else changes totals do not wait for each other in a circle. A trigger adds what is
/// taken to the totals of the days (migration 7).
const FOLD: &str = "
WITH taken AS (
    DELETE FROM rollup_pending WHERE id IN (SELECT id FROM rollup_pending ORDER BY id LIMIT $1)
    RETURNING device_ids, log_levels, seconds, counts, plugins, versions, verdicts, verdict_counts
), lines AS MATERIALIZED (
    SELECT l.* FROM taken, UNNEST(device_ids, log_levels, seconds, counts) AS l(device_id, log_level, second, n)
), levels AS (
    INSERT INTO level_totals AS t SELECT log_level, sum(n)::bigint FROM lines GROUP BY 1 ORDER BY 1
    ON CONFLICT (log_level) DO UPDATE SET n = t.n + excluded.n
), devices AS (
    INSERT INTO device_totals AS t SELECT device_id, log_level, sum(n)::bigint FROM lines GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (device_id, log_level) DO UPDATE SET n = t.n + excluded.n
), seconds AS (
    INSERT INTO second_totals AS t SELECT second, log_level, sum(n)::bigint FROM lines GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (second, log_level) DO UPDATE SET n = t.n + excluded.n
), plugins AS (
    INSERT INTO plugin_totals AS t SELECT l.plugin, l.version, l.verdict, sum(l.n)::bigint
        FROM taken, UNNEST(plugins, versions, verdicts, verdict_counts) AS l(plugin, version, verdict, n)
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (plugin, version, verdict) DO UPDATE SET n = t.n + excluded.n
)
SELECT count(*) FROM taken";

/// Most pending rows name other devices: they are not unfolded.
const TOTAL_OF_DEVICE: &str = "
SELECT coalesce(sum(n), 0)::bigint FROM (
    SELECT n FROM device_totals WHERE device_id = $1 AND log_level = ANY($2)
    UNION ALL
    SELECT l.n FROM rollup_pending, UNNEST(device_ids, log_levels, counts) AS l(device_id, log_level, n)
        WHERE $1 = ANY(device_ids) AND l.device_id = $1 AND l.log_level = ANY($2)
) counted";

const TOTAL_OF_ALL: &str = "
SELECT coalesce(sum(n), 0)::bigint FROM (
    SELECT n FROM level_totals WHERE $1::text IS NULL AND log_level = ANY($2)
    UNION ALL
    SELECT l.n FROM rollup_pending, UNNEST(log_levels, counts) AS l(log_level, n) WHERE l.log_level = ANY($2)
) counted";

/// `$1` devices, and the seconds from `$2` to `$3`.
const STATS: &str = "
WITH pending AS MATERIALIZED (
    SELECT l.* FROM rollup_pending, UNNEST(device_ids, log_levels, seconds, counts)
        AS l(device_id, log_level, second, n)
)
(SELECT log_level::int AS level, NULL AS device, NULL::bigint AS second, sum(n)::bigint AS n FROM (
    SELECT log_level, n FROM level_totals UNION ALL SELECT log_level, n FROM pending) l GROUP BY log_level)
UNION ALL
(SELECT NULL, device_id, NULL, sum(n)::bigint AS n FROM (
    SELECT device_id, n FROM device_totals UNION ALL SELECT device_id, n FROM pending) d
    GROUP BY device_id HAVING sum(n) > 0 ORDER BY n DESC, device_id LIMIT $1)
UNION ALL
(SELECT NULL, NULL, second, sum(n)::bigint FROM (
    SELECT second, n FROM second_totals UNION ALL SELECT second, n FROM pending) s
    WHERE second BETWEEN $2 AND $3 GROUP BY second)";

/// The lines of a batch as one array per column.
#[derive(Default)]
pub(super) struct Lines<'a> {
    pub(super) device_ids: Vec<&'a str>,
    pub(super) log_levels: Vec<i16>,
    pub(super) seconds: Vec<i64>,
    pub(super) counts: Vec<i64>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(counts: &Counts<'a>) -> Self {
        let mut lines = Self::default();
        for (line, n) in counts.lines() {
            lines.device_ids.push(line.device_id);
            lines.log_levels.push(line.log_level.into());
            lines.seconds.push(line.second);
            lines.counts.push(n);
        }
        lines
    }
}

/// When it is time to fold.
#[derive(Debug, Default)]
pub(super) struct Folding(AtomicU32);

impl Folding {
    /// Counts a commit; whether a fold is due, which one caller is told.
    fn is_due(&self) -> bool {
        let commits = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        commits >= FOLD_AFTER && self.0.swap(0, Ordering::Relaxed) >= FOLD_AFTER
    }
}

impl Pg {
    /// To be called after each commit. Folds beside the commits, so that none of them waits for it.
    pub(super) fn committed_one(&self) {
        if !self.folding.is_due() {
            return;
        }
        let pg = self.clone();
        tokio::spawn(async move {
            if let Err(error) = pg.fold().await {
                tracing::debug!(%error, "counts were not folded; the next fold takes them too");
            }
        });
    }

    /// Adds what is pending to the totals, unless another is doing so.
    pub(super) async fn fold(&self) -> Result<(), StoreError> {
        let mut conn = self.acquire().await?;
        let answer = self.answer(fold_all(&mut conn)).await;
        checked(&mut conn, answer)
    }

    pub(crate) async fn trim_rollups(&self, now: Timestamp) -> Result<(), StoreError> {
        self.fold().await?;
        let mut conn = self.acquire().await?;
        let trim = sqlx::query("DELETE FROM second_totals WHERE second < $1").bind(forgotten_before(now));
        let answer = self.answer(trim.execute(&mut *conn)).await;
        checked(&mut conn, answer)?;
        let gone = OffsetDateTime::from(before(now, WRITERS_KEPT));
        let trim = sqlx::query("DELETE FROM verdict_writers WHERE written_at < $1").bind(gone);
        let answer = self.answer(trim.execute(&mut *conn)).await;
        checked(&mut conn, answer).map(drop)
    }

    pub(super) async fn kept_total(&self, query: &LogQuery) -> Result<i64, StoreError> {
        let ask = if query.device_id.is_some() { TOTAL_OF_DEVICE } else { TOTAL_OF_ALL };
        let levels = codes(query);
        read!(self, conn => {
            sqlx::query_scalar(ask).bind(&query.device_id).bind(&levels).fetch_one(&mut **conn).await
        })
    }

    pub(crate) async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        let top = i64::try_from(TOP_DEVICES).unwrap_or(i64::MAX);
        let shown = Shown::until(now);
        let answer = read!(self, conn => {
            sqlx::query_as(STATS).bind(top).bind(shown.first).bind(shown.last).fetch_all(&mut **conn).await
        });
        let lines: Vec<Line> = answer?;
        Stats::new(lines, self.verdicts().await?, shown)
    }
}

/// Adds all that is pending to the totals, in the caller's transaction, which holds [`ROLLUP_LOCK`].
pub(super) async fn fold_within(tx: &mut PgConnection) -> sqlx::Result<()> {
    loop {
        let taken: i64 = sqlx::query_scalar(FOLD).bind(FOLDED).fetch_one(&mut *tx).await?;
        if taken < FOLDED {
            return Ok(());
        }
    }
}

async fn fold_all(conn: &mut PgConnection) -> sqlx::Result<()> {
    loop {
        let mut tx = conn.begin().await?;
        let alone: bool = sqlx::query_scalar(TRY_LOCK).bind(ROLLUP_LOCK).fetch_one(&mut *tx).await?;
        if !alone {
            return tx.rollback().await;
        }
        // A flush for the sake of counts that are only moved: the commits wait for none.
        tx.execute("SET LOCAL synchronous_commit = off").await?;
        let taken: i64 = sqlx::query_scalar(FOLD).bind(FOLDED).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        if taken < FOLDED {
            return Ok(());
        }
    }
}
