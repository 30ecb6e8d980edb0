//! How fast the stream empties.

use redis::{FromRedisValue, Value};

use super::Redis;
use crate::QueueError;

impl Redis {
    /// How many entries were ever deleted: those ever added, which Redis counts since 7.0, less those there.
    pub(crate) async fn left(&self) -> Result<Option<u64>, QueueError> {
        let facts: Value = self.command(redis::cmd("XINFO").arg("STREAM").arg(&self.settings.stream)).await?;
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
