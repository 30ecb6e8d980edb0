//! What plugins made of logs: appended like the other counts, and folded with them (`rollup.rs`).

use sawpit_model::{PluginVerdicts, Tally};
use time::OffsetDateTime;

use super::Pg;
use crate::error::StoreError;
use crate::verdict::{PLUGINS_SHOWN, VerdictRow, VerdictWrite, lines};

/// `first` is empty when this write was counted before; while it is still being counted, this waits for its end.
const ADD: &str = "
WITH first AS (
    INSERT INTO verdict_writers AS w (writer, number, written_at) VALUES ($5, $6, $7)
    ON CONFLICT (writer) DO UPDATE SET number = excluded.number, written_at = excluded.written_at
        WHERE w.number < excluded.number
    RETURNING 1
)
INSERT INTO rollup_pending (device_ids, log_levels, seconds, counts, plugins, versions, verdicts, verdict_counts)
SELECT '{}', '{}', '{}', '{}', $1, $2, $3, $4 FROM first";

const VERDICTS: &str = "
SELECT plugin, version,
    coalesce(sum(n) FILTER (WHERE verdict = 0), 0)::bigint, coalesce(sum(n) FILTER (WHERE verdict = 1), 0)::bigint,
    coalesce(sum(n) FILTER (WHERE verdict = 2), 0)::bigint, coalesce(sum(n) FILTER (WHERE verdict = 3), 0)::bigint
FROM (
    SELECT plugin, version, verdict, n FROM plugin_totals
    UNION ALL
    SELECT l.* FROM rollup_pending, UNNEST(plugins, versions, verdicts, verdict_counts) AS l(plugin, version, verdict, n)
) counted
GROUP BY plugin, version ORDER BY sum(n) DESC, plugin, version LIMIT $1";

/// The lines of a tally as one array per column.
#[derive(Default)]
pub(super) struct VerdictLines<'a> {
    pub(super) plugins: Vec<&'a str>,
    pub(super) versions: Vec<&'a str>,
    pub(super) verdicts: Vec<i16>,
    pub(super) counts: Vec<i64>,
}

impl<'a> VerdictLines<'a> {
    pub(super) fn of(tally: &'a Tally) -> Self {
        let mut columns = Self::default();
        for line in lines(tally) {
            columns.plugins.push(line.plugin);
            columns.versions.push(line.version);
            columns.verdicts.push(line.verdict.into());
            columns.counts.push(line.n);
        }
        columns
    }
}

impl Pg {
    /// Counted once, so it is tried again like a read.
    pub(crate) async fn add_verdicts(&self, write: &VerdictWrite) -> Result<(), StoreError> {
        let lines = VerdictLines::of(&write.tally);
        read!(self, conn => {
            let add = sqlx::query(ADD).bind(&lines.plugins).bind(&lines.versions).bind(&lines.verdicts);
            let add = add.bind(&lines.counts).bind(&write.writer).bind(write.number);
            add.bind(OffsetDateTime::from(write.written_at)).execute(&mut **conn).await
        })?;
        self.committed_one();
        Ok(())
    }

    pub(super) async fn verdicts(&self) -> Result<Vec<PluginVerdicts>, StoreError> {
        let answer = read!(self, conn => {
            sqlx::query_as(VERDICTS).bind(PLUGINS_SHOWN).fetch_all(&mut **conn).await
        });
        let rows: Vec<VerdictRow> = answer?;
        Ok(rows.into_iter().map(crate::verdict::shown).collect())
    }
}
