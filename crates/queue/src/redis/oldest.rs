//! The oldest message: up to it, everything is settled.

use futures_util::future::try_join_all;
use redis::Value;
use sawpit_model::MessageId;

use super::node::Call;
use super::part::Part;
use super::{Redis, reply};
use crate::QueueError;

impl Redis {
    /// Of all partitions, those of a former count included; one whose server is away could have an older one.
    pub(crate) async fn oldest(&self) -> Result<Option<MessageId>, QueueError> {
        self.recount_when_old().await;
        let parts = self.parts();
        let oldest = try_join_all(parts.iter().map(|part| self.oldest_of(*part))).await?;
        Ok(oldest.into_iter().flatten().min())
    }

    async fn oldest_of(&self, part: Part) -> Result<Option<MessageId>, QueueError> {
        let stream = self.stream(part);
        let mut command = redis::cmd("XRANGE");
        command.arg(&stream).arg("-").arg("+").arg("COUNT").arg(1);
        let value: Value =
            self.at_master(&stream, Call::Command(&command)).await.map_err(QueueError::unavailable)?;
        let entries =
            reply::entries(value).ok_or_else(|| QueueError::unavailable("an answer of another form"))?;
        Ok(entries.first().map(|entry| entry.id))
    }
}
