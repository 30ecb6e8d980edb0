//! Who may commit, what was committed, and forgetting it.
//!
//! SQLite has one writer at a time, so a fence cannot happen within another's commit.

use std::collections::HashSet;

use sawpit_model::MessageId;

use super::{Lite, checked};
use crate::batch::Lease;
use crate::error::StoreError;
use crate::lookup::{Forgettable, Lookup};
use crate::retention::{STEP_ROWS, STEP_ROWS_SIGNED};

/// Two reads of few rows each, however long ago the messages were posted: see the migration of `ledger_wide`.
const COMMITTED: &str = "
    SELECT ids FROM ledger WHERE max_ms >= ?1 AND max_ms <= ?3 AND min_ms <= ?2
    UNION ALL
    SELECT ids FROM ledger WHERE max_ms - min_ms > 60000 AND max_ms > ?3 AND min_ms <= ?2";

/// Which commits may be forgotten, once for all steps: it reads the whole ledger.
const FORGETTABLE: &str = "SELECT min(?1, coalesce(max(committed_at) - ?2, ?1)) FROM ledger";

/// One step, between which the worker commits.
const TRIM: &str = "
    DELETE FROM ledger WHERE rowid IN (
        SELECT rowid FROM ledger WHERE max_ms < ?1 AND committed_at < ?2 ORDER BY max_ms LIMIT ?3
    )";

impl Lite {
    pub(crate) async fn lease(&self, owner: &str) -> Result<Lease, StoreError> {
        let ask = "INSERT INTO leases (owner, epoch) VALUES (?1, 1) \
                   ON CONFLICT (owner) DO UPDATE SET epoch = epoch + 1 RETURNING epoch";
        let mut tx = self.begin().await?;
        let epoch = checked(sqlx::query_scalar(ask).bind(owner).fetch_one(&mut *tx).await)?;
        checked(tx.commit().await)?;
        Ok(Lease { owner: owner.to_owned(), epoch })
    }

    pub(crate) async fn fence(&self, owners: &[String]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for owner in owners {
            let raise = sqlx::query("UPDATE leases SET epoch = epoch + 1 WHERE owner = ?1").bind(owner);
            checked(raise.execute(&mut *tx).await)?;
        }
        checked(tx.commit().await)
    }

    pub(crate) async fn committed(&self, ids: &[MessageId]) -> Result<HashSet<MessageId>, StoreError> {
        let Some(lookup) = Lookup::new(ids) else { return Ok(HashSet::new()) };
        let work = sqlx::query_scalar::<_, Vec<u8>>(COMMITTED).bind(lookup.min_ms).bind(lookup.max_ms);
        let work = work.bind(lookup.last_ms());
        lookup.found(&checked(work.fetch_all(&mut *self.reader().await?).await)?)
    }

    /// "Now" is at most the newest commit.
    pub(crate) async fn trim_ledger(&self, forgettable: Forgettable) -> Result<(), StoreError> {
        let Forgettable { messages_before_ms, committed_before, keep } = forgettable;
        let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        let newest = sqlx::query_scalar(FORGETTABLE).bind(committed_before.as_micros()).bind(keep);
        let before: i64 = checked(newest.fetch_one(&mut *self.reader().await?).await)?;
        loop {
            let mut tx = self.begin().await?;
            let trim = sqlx::query(TRIM).bind(messages_before_ms).bind(before).bind(STEP_ROWS_SIGNED);
            let step = checked(trim.execute(&mut *tx).await)?;
            checked(tx.commit().await)?;
            if step.rows_affected() < STEP_ROWS {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}
