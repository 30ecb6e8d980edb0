//! The handle of who settles what was delivered.

use crate::queue::Backend;
use crate::{DeadReason, Delivery, QueueError};

/// Settles deliveries; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Settler(Backend);

impl Settler {
    pub(crate) fn new(backend: Backend) -> Self {
        Self(backend)
    }

    /// Acknowledges: the messages are done with and leave the queue. Call it after their commit.
    ///
    /// # Errors
    /// The queue is away; the messages will be delivered again, and the ledger knows them.
    pub async fn ack(&self, deliveries: Vec<Delivery>) -> Result<(), QueueError> {
        if deliveries.is_empty() {
            return Ok(());
        }
        match &self.0 {
            Backend::Redis(redis) => {
                let ids: Vec<_> = deliveries.iter().map(|one| (one.hold.part(), one.id)).collect();
                redis.ack(&ids).await?;
            }
            Backend::Embedded(file) => {
                let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
                file.ack(&ids).await?;
            }
        }
        deliveries.into_iter().for_each(|delivery| delivery.hold.settle());
        Ok(())
    }

    /// Moves messages to the dead letters, in one step. One that another consumer has taken over is left to it.
    ///
    /// # Errors
    /// The queue is away; the messages will be delivered again.
    pub async fn bury(&self, dead: Vec<(Delivery, DeadReason)>) -> Result<(), QueueError> {
        if dead.is_empty() {
            return Ok(());
        }
        let buried = match &self.0 {
            Backend::Redis(redis) => redis.bury(&dead).await?,
            Backend::Embedded(file) => file.bury(&dead).await?,
        };
        metrics::counter!("sawpit_queue_buried_total").increment(buried);
        dead.into_iter().for_each(|(delivery, _)| delivery.hold.settle());
        Ok(())
    }
}
