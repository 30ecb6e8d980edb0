//! Which servers the queue was met at.

use sqlx::{Connection, PgConnection};

use super::{Pg, checked};
use crate::error::StoreError;
use crate::server::{Met, QueueServer};

/// In a statement of its own, so that the next one sees the leases of all who met the former server meanwhile.
const LOCK: &str = "SELECT stream FROM queue_servers WHERE stream = ANY($1) ORDER BY stream FOR UPDATE";

/// In one transaction, so that nobody sees a server as known before all are fenced. A second one who meets the same
/// server waits for the first. Leases are locked in one order, as in a fence.
const MEET: &str = "
WITH changed AS (
    INSERT INTO queue_servers (stream, incarnation)
    SELECT stream, incarnation FROM UNNEST($1::text[], $2::text[]) AS met(stream, incarnation) ORDER BY stream
    ON CONFLICT (stream) DO UPDATE SET incarnation = excluded.incarnation
    WHERE queue_servers.incarnation <> excluded.incarnation
    RETURNING stream
), held AS (
    SELECT owner FROM leases WHERE EXISTS (SELECT FROM changed) ORDER BY owner FOR UPDATE
), raised AS (
    UPDATE leases SET epoch = epoch + 1 FROM held WHERE leases.owner = held.owner
)
SELECT count(*) FROM changed";

impl Pg {
    pub(crate) async fn meet(&self, servers: &[QueueServer]) -> Result<Met, StoreError> {
        let (streams, incarnations): (Vec<_>, Vec<_>) =
            servers.iter().map(|server| (&*server.stream, &*server.incarnation)).unzip();
        let mut conn = self.acquire().await?;
        let answer = self.answer(fence_for_new(&mut conn, &streams, &incarnations)).await;
        Ok(Met::of(checked(&mut conn, answer)?))
    }
}

/// How many of the servers are new; if any is, all leases are fenced.
async fn fence_for_new(
    conn: &mut PgConnection,
    streams: &[&str],
    incarnations: &[&str],
) -> sqlx::Result<i64> {
    let mut tx = conn.begin().await?;
    sqlx::query(LOCK).bind(streams).execute(&mut *tx).await?;
    let new = sqlx::query_scalar(MEET).bind(streams).bind(incarnations).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(new)
}
