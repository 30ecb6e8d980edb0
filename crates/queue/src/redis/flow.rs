//! How fast the stream empties.

use futures_util::future::try_join_all;
use redis::{FromRedisValue, RedisError, Value};

use super::Redis;
use super::node::Call;
use super::part::Part;
use crate::QueueError;

impl Redis {
    /// How many entries were ever deleted, in all partitions: those ever added, which Redis counts since 7.0, less those
    /// there.
    pub(crate) async fn left(&self) -> Result<Option<u64>, QueueError> {
        let parts = self.parts();
        let counts = try_join_all(parts.iter().map(|part| self.left_of(*part))).await;
        Ok(counts.map_err(QueueError::unavailable)?.into_iter().sum())
    }

    async fn left_of(&self, part: Part) -> Result<Option<u64>, RedisError> {
        let key = self.stream(part);
        let facts: Value =
            match self.at_master(&key, Call::Command(redis::cmd("XINFO").arg("STREAM").arg(&key))).await {
                Ok(facts) => facts,
                // Nothing was ever appended.
                Err(error) if error.to_string().contains("no such key") => return Ok(Some(0)),
                Err(error) => return Err(error),
            };
        let (added, length) = (number(&facts, "entries-added"), number(&facts, "length"));
        Ok(added.zip(length).map(|(added, length)| added.saturating_sub(length)))
    }
}

/// A number of an answer of names and values in turn.
fn number(facts: &Value, name: &str) -> Option<u64> {
    let Value::Array(items) = facts else { return None };
    let mut items = items.iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        if String::from_redis_value_ref(key).is_ok_and(|key| key == name) {
            return u64::from_redis_value_ref(value).ok();
        }
    }
    None
}
