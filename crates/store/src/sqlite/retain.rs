//! Forgetting old logs, in steps between which the worker commits. The file keeps its size: what becomes free in it is
//! used for new logs.

use sawpit_model::{Level, Timestamp};
use sqlx::SqliteConnection;

use super::rollup::count_down;
use super::search::{forget_minutes, forget_rows};
use super::{Lite, checked};
use crate::error::StoreError;
use crate::retention::{Forgotten, STEP_ROWS, STEP_ROWS_SIGNED};

/// Oldest first, off the index.
const FORGET: &str = "DELETE FROM logs WHERE id IN (
    SELECT id FROM logs WHERE log_level = ?1 AND received_at < ?2 ORDER BY received_at LIMIT ?3
) RETURNING device_id, id";

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
        let mut tx = self.begin().await?;
        checked(forget_minutes(&mut tx, before).await)?;
        checked(tx.commit().await)?;
        Ok(forgotten)
    }
}

async fn forget_step(tx: &mut SqliteConnection, level: Level, before: Timestamp) -> sqlx::Result<u64> {
    let forget = sqlx::query_as(FORGET).bind(level.code()).bind(before.as_micros()).bind(STEP_ROWS_SIGNED);
    let gone: Vec<(String, i64)> = forget.fetch_all(&mut *tx).await?;
    let (mut devices, ids): (Vec<String>, Vec<i64>) = gone.into_iter().unzip();
    devices.sort_unstable();
    forget_rows(tx, &ids).await?;
    count_down(tx, level, &devices).await?;
    Ok(devices.len() as u64)
}
