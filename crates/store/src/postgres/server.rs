//! Which servers the queue was met at.

use super::{Pg, checked};
use crate::error::StoreError;
use crate::server::{Met, QueueServer};

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
        let ask = sqlx::query_scalar::<_, i64>(MEET).bind(streams).bind(incarnations).fetch_one(&mut *conn);
        let answer = self.answer(ask).await;
        Ok(Met::of(checked(&mut conn, answer)?))
    }
}
