//! The streams of dead letters, one for each partition.

use std::collections::BTreeMap;

use futures_util::future::{join_all, try_join_all};
use redis::Value;
use sawpit_model::{Entry, MessageId, Timestamp};

use super::Redis;
use super::node::Call;
use super::part::Part;
use super::reply::{self, StreamEntry};
use crate::{DeadLetter, DeadReason, Delivery, QueueError};

/// What we add to a message's own fields. The prefix keeps them apart.
const MESSAGE_ID: &str = "dead:message_id";
const REASON: &str = "dead:reason";
const PLUGIN: &str = "dead:plugin";
const TRIES: &str = "dead:tries";
const PREFIX: &str = "dead:";

impl Redis {
    /// Moves messages to the dead letters of their partitions, in one step each; how many were still ours to move.
    pub(crate) async fn bury(&self, dead: &[(Delivery, DeadReason)]) -> Result<u64, QueueError> {
        let mut of_part: BTreeMap<Part, Vec<&(Delivery, DeadReason)>> = BTreeMap::new();
        for letter in dead {
            of_part.entry(letter.0.hold.part()).or_default().push(letter);
        }
        let mut buried = 0;
        for (part, dead) in of_part {
            buried += self.bury_in(part, &dead).await?;
        }
        Ok(buried)
    }

    async fn bury_in(&self, part: Part, dead: &[&(Delivery, DeadReason)]) -> Result<u64, QueueError> {
        let (stream, letters) = (self.stream(part), part.key(&self.settings.dead));
        let room = self.dead_room(part).await;
        let mut call = self.scripts.bury.key(&stream);
        call.key(&letters).arg(&self.settings.group).arg(room).arg(dead.len()).arg(part.argument());
        for (delivery, why) in dead {
            let texts = letter_fields(delivery, why);
            call.arg(delivery.id.to_string()).arg(delivery.hold.owner()).arg(texts.len()).arg(texts);
        }
        let buried: i64 =
            self.at_master(&stream, Call::Script(&call)).await.map_err(QueueError::unavailable)?;
        u64::try_from(buried).map_err(|_| QueueError::DeadFull { limit: self.settings.dead_limit })
    }

    /// Letters that one partition may have: a script sees only its own, so those of the others are counted before. Two
    /// workers that bury in different partitions at the same moment may go over the limit by what they bury.
    async fn dead_room(&self, part: Part) -> u64 {
        let parts = self.parts();
        let others = parts.iter().filter(|other| **other != part);
        let counts = join_all(others.map(|other| self.length(*other, &self.settings.dead))).await;
        self.settings.dead_limit.saturating_sub(counts.into_iter().flatten().sum())
    }

    pub(crate) async fn dead_count(&self) -> Result<u64, QueueError> {
        self.recount_when_old().await;
        let parts = self.parts();
        let counts = parts.iter().map(|part| self.length(*part, &self.settings.dead));
        Ok(try_join_all(counts).await.map_err(QueueError::unavailable)?.into_iter().sum())
    }

    /// The oldest of all partitions.
    pub(crate) async fn dead_list(
        &self,
        first: MessageId,
        count: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        self.recount_when_old().await;
        let parts = self.parts();
        let lists = parts.iter().map(|part| self.dead_list_of(*part, first, count));
        let mut letters: Vec<_> = try_join_all(lists).await?.into_iter().flatten().collect();
        letters.sort_unstable_by_key(|letter| letter.id);
        letters.truncate(count);
        Ok(letters)
    }

    async fn dead_list_of(
        &self,
        part: Part,
        first: MessageId,
        count: usize,
    ) -> Result<Vec<DeadLetter>, QueueError> {
        let key = part.key(&self.settings.dead);
        let mut command = redis::cmd("XRANGE");
        command.arg(&key).arg(first.to_string()).arg("+").arg("COUNT").arg(count);
        let value: Value =
            self.at_master(&key, Call::Command(&command)).await.map_err(QueueError::unavailable)?;
        let entries =
            reply::entries(value).ok_or_else(|| QueueError::unavailable("an answer of another form"))?;
        Ok(entries.into_iter().map(letter).collect())
    }

    pub(crate) async fn dead_show(&self, id: MessageId) -> Result<DeadLetter, QueueError> {
        let found = self.dead_list_of(Part::of_id(id), id, 1).await?.into_iter().next();
        found.filter(|letter| letter.id == id).ok_or(QueueError::NoSuchLetter { id })
    }

    /// Back into the partition that it came from.
    pub(crate) async fn dead_replay(&self, id: MessageId) -> Result<MessageId, QueueError> {
        let letter = self.dead_show(id).await?;
        Entry::from_fields(letter.fields)
            .map_err(|error| QueueError::NotALog { id, cause: error.to_string() })?;
        let part = Part::of_id(id);
        let (stream, letters) = (self.stream(part), part.key(&self.settings.dead));
        let mut call = self.scripts.replay.key(&letters);
        call.key(&stream).arg(id.to_string()).arg(part.argument());
        let new: Option<Vec<u8>> =
            self.at_master(&stream, Call::Script(&call)).await.map_err(QueueError::unavailable)?;
        new.and_then(|new| reply::id(&new)).ok_or(QueueError::NoSuchLetter { id })
    }

    pub(crate) async fn dead_purge(&self, id: MessageId) -> Result<(), QueueError> {
        let key = Part::of_id(id).key(&self.settings.dead);
        let mut command = redis::cmd("XDEL");
        command.arg(&key).arg(id.to_string());
        let deleted: u64 =
            self.at_master(&key, Call::Command(&command)).await.map_err(QueueError::unavailable)?;
        match deleted {
            0 => Err(QueueError::NoSuchLetter { id }),
            _ => Ok(()),
        }
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
