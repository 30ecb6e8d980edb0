//! The stream of dead letters.

use redis::{Script, Value};
use sawpit_model::{Entry, MessageId, Timestamp};

use super::Redis;
use super::reply::{self, StreamEntry};
use crate::{DeadLetter, DeadReason, Delivery, QueueError};

/// What we add to a message's own fields. The prefix keeps them apart.
const MESSAGE_ID: &str = "dead:message_id";
const REASON: &str = "dead:reason";
const PLUGIN: &str = "dead:plugin";
const TRIES: &str = "dead:tries";
const PREFIX: &str = "dead:";

/// Back into the stream and out of the dead letters in one step, so that two replays append one message.
const REPLAY: &str = r"
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return false end
local fields = found[1][2]
local kept = {}
for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 5) ~= 'dead:' then
        kept[#kept + 1] = fields[i]
        kept[#kept + 1] = fields[i + 1]
    end
end
local id = redis.call('XADD', KEYS[2], '*', unpack(kept))
redis.call('XDEL', KEYS[1], ARGV[1])
return id
";

/// Out of the stream and into the dead letters in one step; only what is still its owner's. A worker that
/// stalled must not bury what another has stored meanwhile, or is about to. Arguments: the group, the most letters, how many come, then for each
/// message its id, its owner, how many texts follow, and these. Answers -1 when there is no room: nothing is trimmed.
const BURY: &str = r"
local buried = 0
local at = 4
if redis.call('XLEN', KEYS[2]) + tonumber(ARGV[3]) > tonumber(ARGV[2]) then return -1 end
while at <= #ARGV do
    local id, owner, last = ARGV[at], ARGV[at + 1], at + 2 + tonumber(ARGV[at + 2])
    if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, owner) == 1 then
        redis.call('XADD', KEYS[2], '*', unpack(ARGV, at + 3, last))
        redis.call('XACK', KEYS[1], ARGV[1], id)
        redis.call('XDEL', KEYS[1], id)
        buried = buried + 1
    end
    at = last + 1
end
return buried
";

impl Redis {
    /// Moves messages to the dead letters, in one step; how many were still ours to move.
    pub(crate) async fn bury(&self, dead: &[(Delivery, DeadReason)]) -> Result<u64, QueueError> {
        let script = Script::new(BURY);
        let mut call = script.key(&self.settings.stream);
        let limit = self.settings.dead_limit;
        call.key(&self.settings.dead).arg(&self.settings.group).arg(limit).arg(dead.len());
        for (delivery, why) in dead {
            let texts = letter_fields(delivery, why);
            call.arg(delivery.id.to_string()).arg(delivery.hold.owner()).arg(texts.len()).arg(texts);
        }
        let buried: i64 = call.invoke_async(&mut self.connection()).await.map_err(QueueError::unavailable)?;
        u64::try_from(buried).map_err(|_| QueueError::DeadFull { limit })
    }

    pub(crate) async fn dead_count(&self) -> Result<u64, QueueError> {
        self.command(redis::cmd("XLEN").arg(&self.settings.dead)).await
    }

    pub(crate) async fn dead_list(
        &self,
        first: MessageId,
        count: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.settings.dead).arg(first.to_string()).arg("+").arg("COUNT").arg(count);
        let value: Value = self.command(&command).await?;
        let entries =
            reply::entries(value).ok_or_else(|| QueueError::unavailable("an answer of another form"))?;
        Ok(entries.into_iter().map(letter).collect())
    }

    pub(crate) async fn dead_replay(&self, id: MessageId) -> Result<MessageId, QueueError> {
        let letter = self.dead_list(id, 1).await?.into_iter().find(|letter| letter.id == id);
        let letter = letter.ok_or(QueueError::NoSuchLetter { id })?;
        Entry::from_fields(letter.fields)
            .map_err(|error| QueueError::NotALog { id, cause: error.to_string() })?;
        let script = Script::new(REPLAY);
        let mut call = script.key(&self.settings.dead);
        call.key(&self.settings.stream).arg(id.to_string());
        let new: Option<Vec<u8>> =
            call.invoke_async(&mut self.connection()).await.map_err(QueueError::unavailable)?;
        new.and_then(|new| reply::id(&new)).ok_or(QueueError::NoSuchLetter { id })
    }

    pub(crate) async fn dead_purge(&self, id: MessageId) -> Result<(), QueueError> {
        let mut command = redis::cmd("XDEL");
        let deleted: u64 = self.command(command.arg(&self.settings.dead).arg(id.to_string())).await?;
        if deleted == 0 { Err(QueueError::NoSuchLetter { id }) } else { Ok(()) }
    }
}

/// Names and values of a dead letter, in turn.
fn letter_fields(delivery: &Delivery, why: &DeadReason) -> Vec<String> {
    let ours = [
        (MESSAGE_ID, Some(delivery.id.to_string())),
        (REASON, Some(why.reason.clone())),
        (TRIES, Some(delivery.tries.to_string())),
        (PLUGIN, why.plugin.clone()),
    ];
    let ours = ours.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    ours.chain(delivery.fields()).flat_map(|(name, value)| [name, value]).collect()
}

fn letter(entry: StreamEntry) -> DeadLetter {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let all = entry.fields.unwrap_or_default().into_iter().map(|(name, value)| (text(name), text(value)));
    let (ours, fields): (Vec<_>, Vec<_>) = all.partition(|(name, _)| name.starts_with(PREFIX));
    let ours = |wanted: &str| ours.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    DeadLetter {
        id: entry.id,
        message_id: ours(MESSAGE_ID).and_then(|id| id.parse().ok()).unwrap_or_default(),
        reason: ours(REASON).unwrap_or_default(),
        plugin: ours(PLUGIN),
        tries: ours(TRIES).and_then(|tries| tries.parse().ok()).unwrap_or_default(),
        buried_at: Timestamp::from_micros(
            i64::try_from(entry.id.ms.saturating_mul(1_000)).unwrap_or(i64::MAX),
        ),
        fields,
    }
}
