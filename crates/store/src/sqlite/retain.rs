//! Forgetting old logs, in steps between which the worker commits. The file keeps its size: what becomes free in it is
//! used for new logs.

use sawpit_model::{Level, Timestamp};
use sqlx::SqliteConnection;

use super::rollup::count_down;
use super::{Lite, checked};
use crate::error::StoreError;
use crate::retention::{Forgotten, STEP_ROWS, STEP_ROWS_SIGNED};

/// Oldest first, off the index.
const FORGET: &str = "DELETE FROM logs WHERE rowid IN (
    SELECT rowid FROM logs WHERE log_level = ?1 AND received_at < ?2 ORDER BY received_at LIMIT ?3
) RETURNING device_id";

impl Lite {
    pub(crate) async fn forget(&self, before: Timestamp) -> Result<Forgotten, StoreError> {
        let mut forgotten = Forgotten::default();
        for level in Level::ALL {
            loop {
                let mut tx = self.begin().await?;
                let rows = checked(forget_step(&mut tx, level, before).await)?;
                checked(tx.commit().await)?;
                forgotten.rows += rows;
                if rows < STEP_ROWS {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(forgotten)
    }
}

async fn forget_step(tx: &mut SqliteConnection, level: Level, before: Timestamp) -> sqlx::Result<u64> {
    let forget =
        sqlx::query_scalar(FORGET).bind(level.code()).bind(before.as_micros()).bind(STEP_ROWS_SIGNED);
    let mut devices: Vec<String> = forget.fetch_all(&mut *tx).await?;
    devices.sort_unstable();
    count_down(tx, level, &devices).await?;
    Ok(devices.len() as u64)
}
