//! Which servers the queue was met at.

use super::{Lite, checked};
use crate::error::StoreError;
use crate::server::{Met, QueueServer};

const MEET: &str = "INSERT INTO queue_servers (stream, incarnation) VALUES (?1, ?2) \
                    ON CONFLICT (stream) DO UPDATE SET incarnation = excluded.incarnation \
                    WHERE incarnation <> excluded.incarnation RETURNING 1";

impl Lite {
    pub(crate) async fn meet(&self, servers: &[QueueServer]) -> Result<Met, StoreError> {
        let (mut tx, mut changed) = (self.begin().await?, 0);
        for server in servers {
            let ask = sqlx::query_scalar(MEET).bind(&server.stream).bind(&server.incarnation);
            changed += checked(ask.fetch_optional(&mut *tx).await)?.unwrap_or(0_i64);
        }
        if changed > 0 {
            checked(sqlx::query("UPDATE leases SET epoch = epoch + 1").execute(&mut *tx).await)?;
        }
        checked(tx.commit().await)?;
        Ok(Met::of(changed))
    }
}
