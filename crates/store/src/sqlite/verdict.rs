//! What plugins made of logs.

use sawpit_model::{PluginVerdicts, Tally};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{Lite, checked};
use crate::error::StoreError;
use crate::verdict::{Line, PLUGINS_SHOWN, VerdictRow, VerdictWrite, lines};

/// Lines of one INSERT: 4 columns each stay far below SQLite's 32,766 parameters.
const LINES_PER_INSERT: usize = 100;

const VERDICTS: &str = "
SELECT plugin, version,
    coalesce(sum(n) FILTER (WHERE verdict = 0), 0), coalesce(sum(n) FILTER (WHERE verdict = 1), 0),
    coalesce(sum(n) FILTER (WHERE verdict = 2), 0), coalesce(sum(n) FILTER (WHERE verdict = 3), 0)
FROM plugin_totals GROUP BY plugin, version ORDER BY sum(n) DESC, plugin, version LIMIT ?1";

/// Changes nothing when this write was counted before.
const FIRST: &str = "INSERT INTO verdict_writers (writer, number, written_at) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (writer) DO UPDATE SET number = excluded.number, written_at = excluded.written_at \
                     WHERE number < excluded.number";

/// Adds a tally to the totals, in a transaction.
pub(super) async fn count_verdicts(tx: &mut SqliteConnection, tally: &Tally) -> sqlx::Result<()> {
    let lines: Vec<Line<'_>> = lines(tally).collect();
    for lines in lines.chunks(LINES_PER_INSERT) {
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT INTO plugin_totals (plugin, version, verdict, n) ");
        insert.push_values(lines, |mut row, line| {
            row.push_bind(line.plugin).push_bind(line.version).push_bind(line.verdict).push_bind(line.n);
        });
        insert.push(" ON CONFLICT DO UPDATE SET n = n + excluded.n");
        insert.build().persistent(false).execute(&mut *tx).await?;
    }
    Ok(())
}

impl Lite {
    pub(crate) async fn add_verdicts(&self, write: &VerdictWrite) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let first =
            sqlx::query(FIRST).bind(&write.writer).bind(write.number).bind(write.written_at.as_micros());
        if checked(first.execute(&mut *tx).await)?.rows_affected() > 0 {
            checked(count_verdicts(&mut tx, &write.tally).await)?;
        }
        checked(tx.commit().await)
    }

    pub(super) async fn verdicts(&self) -> Result<Vec<PluginVerdicts>, StoreError> {
        let ask = sqlx::query_as(VERDICTS).bind(PLUGINS_SHOWN);
        let rows: Vec<VerdictRow> = checked(ask.fetch_all(&mut *self.reader().await?).await)?;
        Ok(rows.into_iter().map(crate::verdict::shown).collect())
    }
}
