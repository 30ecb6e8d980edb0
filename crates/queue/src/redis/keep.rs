//! Keeping what a worker has in hand while it waits for something that is nobody's fault: else others would take it for
//! silent, and each taking over would count as a try of a message that nothing refused.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::RedisError;
use sawpit_model::MessageId;

use super::Redis;
use super::node::Call;
use super::part::Part;
use crate::QueueError;
use crate::delivery::InHand;

/// Messages of one call of the script, which Redis runs while nobody else is served.
const AT_ONCE: usize = 500;

/// Keeps what one consumer has in hand.
#[derive(Clone)]
pub(crate) struct Keeper {
    redis: Arc<Redis>,
    name: Arc<str>,
    in_hand: InHand,
}

impl Keeper {
    pub(crate) const fn new(redis: Arc<Redis>, name: Arc<str>, in_hand: InHand) -> Self {
        Self { redis, name, in_hand }
    }

    pub(crate) async fn keep(&self) -> Result<(), QueueError> {
        let held = self.in_hand.held();
        let kept =
            held.iter().flat_map(|(part, ids)| ids.chunks(AT_ONCE).map(|ids| self.keep_in(*part, ids)));
        let failed = join_all(kept).await.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |error| Err(QueueError::unavailable(error)))
    }

    async fn keep_in(&self, part: Part, ids: &[MessageId]) -> Result<(), RedisError> {
        let stream = self.redis.stream(part);
        let mut call = self.redis.scripts.keep.key(&stream);
        call.arg(&self.redis.settings.group).arg(&*self.name);
        for id in ids {
            call.arg(id.to_string());
        }
        self.redis.at_master::<u64>(&stream, Call::Script(&call)).await.map(drop)
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("name", &self.name).finish_non_exhaustive()
    }
}
