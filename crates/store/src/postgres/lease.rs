//! Who may commit, and what was committed.

use std::collections::HashSet;

use sawpit_model::MessageId;

use super::{Pg, checked};
use crate::batch::Lease;
use crate::error::StoreError;
use crate::lookup::Lookup;

/// Two reads of few rows each, however long ago the messages were posted: see the migration of `ledger_wide`.
const COMMITTED: &str = "
    WITH near AS (
        SELECT ids, min_ms, max_ms FROM ledger WHERE max_ms >= $1 AND max_ms <= $4 AND min_ms <= $2
        UNION ALL
        SELECT ids, min_ms, max_ms FROM ledger WHERE max_ms - min_ms > 60000 AND max_ms > $4 AND min_ms <= $2
    )
    SELECT ids FROM near
    WHERE EXISTS (SELECT FROM UNNEST($3::bigint[]) AS ms WHERE ms BETWEEN min_ms AND max_ms)";

impl Pg {
    pub(crate) async fn lease(&self, owner: &str) -> Result<Lease, StoreError> {
        let ask = "INSERT INTO leases (owner, epoch) VALUES ($1, 1) \
                   ON CONFLICT (owner) DO UPDATE SET epoch = leases.epoch + 1 RETURNING epoch";
        let mut conn = self.acquire().await?;
        let answer = self.answer(sqlx::query_scalar(ask).bind(owner).fetch_one(&mut *conn)).await;
        Ok(Lease { owner: owner.to_owned(), epoch: checked(&mut conn, answer)? })
    }

    pub(crate) async fn fence(&self, owners: &[String]) -> Result<(), StoreError> {
        // Locked in one order, so that two who fence the same owners do not wait for each other.
        let ask = "WITH held AS (SELECT owner FROM leases WHERE owner = ANY($1) ORDER BY owner FOR UPDATE) \
                   UPDATE leases SET epoch = epoch + 1 FROM held WHERE leases.owner = held.owner";
        let mut conn = self.acquire().await?;
        let answer = self.answer(sqlx::query(ask).bind(owners).execute(&mut *conn)).await;
        checked(&mut conn, answer)?;
        Ok(())
    }

    pub(crate) async fn committed(&self, ids: &[MessageId]) -> Result<HashSet<MessageId>, StoreError> {
        let Some(lookup) = Lookup::new(ids) else { return Ok(HashSet::new()) };
        let answer = read!(self, conn => {
            let work = sqlx::query_scalar::<_, Vec<u8>>(COMMITTED).bind(lookup.min_ms).bind(lookup.max_ms);
            work.bind(&lookup.ms).bind(lookup.last_ms()).fetch_all(&mut **conn).await
        });
        lookup.found(&answer?)
    }
}
