//! Consumers that are no more. Each start of a worker with a name of its own leaves one in the group.

use std::time::Duration;

use futures_util::future::join_all;
use redis::RedisError;

use super::Redis;
use super::node::Call;
use super::part::Part;
use super::reader::millis;
use crate::QueueError;

impl Redis {
    /// Deletes the group's consumers that were given nothing this long and have nothing in hand; how many. (Before Redis
    /// 7.2 asking in vain is no sign of life.) One that lives after all is made anew with its next entry. A partition whose server is away keeps its own until the next time.
    pub(crate) async fn forget_consumers(&self, idle: Duration) -> Result<u64, QueueError> {
        let parts = self.parts();
        let forgotten = join_all(parts.iter().map(|part| self.forget_in(*part, idle))).await;
        let (mut count, mut failed) = (0, None);
        for answer in forgotten {
            match answer {
                Ok(consumers) => count += consumers,
                Err(error) => {
                    tracing::debug!(%error, "consumers of a partition could not be looked at");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if count == 0 => Err(QueueError::unavailable(error)),
            _ => Ok(count),
        }
    }

    async fn forget_in(&self, part: Part, idle: Duration) -> Result<u64, RedisError> {
        let stream = self.stream(part);
        let mut call = self.scripts.forget.key(&stream);
        call.arg(&self.settings.group).arg(millis(idle));
        match self.at_master(&stream, Call::Script(&call)).await {
            // Nobody has read from it yet.
            Err(error) if is_unused(&error) => Ok(0),
            answer => answer,
        }
    }
}

fn is_unused(error: &RedisError) -> bool {
    let text = error.to_string();
    text.contains("NOGROUP") || text.contains("no such key")
}
