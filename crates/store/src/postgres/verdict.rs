//! What plugins made of logs: appended like the other counts, and folded with them (`rollup.rs`).

use sawpit_model::{PluginVerdicts, Tally};

use super::{Pg, checked};
use crate::error::StoreError;
use crate::verdict::{PLUGINS_SHOWN, VerdictRow, lines};

const ADD: &str = "
INSERT INTO rollup_pending (device_ids, log_levels, seconds, counts, plugins, versions, verdicts, verdict_counts)
VALUES ('{}', '{}', '{}', '{}', $1, $2, $3, $4)";

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
    /// Not tried again when the outcome is unknown: then it may be counted or not.
    pub(crate) async fn add_verdicts(&self, tally: &Tally) -> Result<(), StoreError> {
        let lines = VerdictLines::of(tally);
        let mut conn = self.acquire().await?;
        let add = sqlx::query(ADD).bind(&lines.plugins).bind(&lines.versions);
        let add = add.bind(&lines.verdicts).bind(&lines.counts).execute(&mut *conn);
        let answer = self.answer(add).await;
        checked(&mut conn, answer)?;
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
