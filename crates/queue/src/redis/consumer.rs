//! Reading. What others leave behind is taken over in `takeover`.
//!
//! Every worker reads from every partition: the consumer groups give each message to one of them, so a worker that
//! comes or goes moves no partition, and one that is busy takes less. One server is asked with a read that blocks.
//! Several are asked again and again instead: a blocked read that one server has answered could not be called off at
//! the others, and what they deliver after the answer was given would be nobody's, and older than the lease that it
//! is then stored under.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use redis::{ErrorKind, RedisError, Value};
use sawpit_model::MessageId;

use super::part::Part;
use super::reader::{Guard, New, Reader, Reading};
use super::reply::StreamEntry;
use super::{Keeper, Redis};
use crate::delivery::InHand;
use crate::{Delivery, QueueError, ReadError};

/// Wait between two looks at servers that had nothing; doubled until the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Reads under one name.
pub(crate) struct Consumer {
    pub(super) redis: Arc<Redis>,
    pub(super) name: Arc<str>,
    pub(super) readers: Vec<Reader>,
    pub(super) in_hand: InHand,
    /// Where a former process of our name may have left messages: look at those from this id on.
    pub(super) own: BTreeMap<Part, MessageId>,
    /// Whom messages were taken from, or may have been when the answer never came, and nobody was told yet. It
    /// outlives a reclaim that fails or is dropped on the way: an owner that is never fenced may store what
    /// another stores as well.
    pub(super) untold: Vec<String>,
    guard: Guard,
    /// How often was read: where to begin when there are more partitions than messages in a batch.
    turn: usize,
}

/// A server that serves a stream, and that the consumer's owner has not heard of.
#[derive(Clone, Debug)]
pub(crate) struct Stranger {
    pub(crate) stream: String,
    pub(crate) incarnation: String,
    part: Part,
}

/// What one round of reading is asked for.
struct Round {
    parts: BTreeSet<Part>,
    /// Messages of each.
    each: usize,
    block: Option<Duration>,
}

impl Consumer {
    pub(crate) async fn open(redis: Arc<Redis>, name: &str) -> Result<Self, QueueError> {
        let mut consumer = Self {
            name: Arc::from(name),
            readers: Vec::new(),
            in_hand: InHand::default(),
            own: redis.parts().into_iter().map(|part| (part, MessageId::default())).collect(),
            untold: Vec::new(),
            guard: Guard::Nobody,
            turn: 0,
            redis,
        };
        consumer.arrange();
        let reading = Reading { redis: &consumer.redis, name: &consumer.name };
        let ready = consumer.readers.iter_mut().map(|reader| reader.meet(reading));
        try_join_all(ready).await.map_err(QueueError::unavailable)?;
        Ok(consumer)
    }

    pub(crate) fn set_guard(&mut self) {
        self.guard = Guard::TheConsumersOwner;
    }

    /// Connects where it can, and says who is there that its owner has not heard of.
    pub(crate) async fn strangers(&mut self) -> Result<Vec<Stranger>, ReadError> {
        self.redis.recount_when_old().await;
        self.arrange();
        let cluster = self.redis.servers.is_cluster();
        let reading = Reading { redis: &self.redis, name: &self.name };
        let strange = self
            .readers
            .iter_mut()
            .filter(|reader| reader.is_strange(self.guard) && !(cluster && reader.is_away()));
        let met =
            join_all(strange.map(|reader| async { reader.meet(reading).await.map_err(|e| (e, reader)) }));
        let mut strangers = Vec::new();
        for met in met.await {
            match met {
                Ok(None) => {}
                Ok(Some((incarnation, parts))) => {
                    let stream = |part| (self.redis.stream(part), part);
                    strangers.extend(parts.into_iter().map(stream).map(|(stream, part)| Stranger {
                        stream,
                        incarnation: incarnation.clone(),
                        part,
                    }));
                }
                // The other servers are gone on with.
                Err((error, reader)) if cluster => {
                    self.redis.servers.note(&error);
                    reader.set_away();
                }
                Err((error, _)) => return Err(ReadError::new(error)),
            }
        }
        Ok(strangers)
    }

    pub(crate) fn let_in(&mut self, strangers: &[Stranger]) {
        for Stranger { part, incarnation, .. } in strangers {
            self.readers.iter_mut().for_each(|reader| reader.let_in(*part, incarnation));
        }
    }

    pub(crate) fn disconnect(&mut self) {
        self.readers.iter_mut().for_each(Reader::disconnect);
    }

    /// Whether a server waits to be heard of, which is then worth more than waiting for messages of others.
    fn has_strangers(&self) -> bool {
        let away = |reader: &Reader| self.redis.servers.is_cluster() && reader.is_away();
        self.readers.iter().any(|reader| reader.is_strange(self.guard) && !away(reader))
    }

    pub(crate) fn queue(&self) -> Arc<Redis> {
        Arc::clone(&self.redis)
    }

    pub(crate) fn keeper(&self) -> Keeper {
        Keeper::new(Arc::clone(&self.redis), Arc::clone(&self.name), self.in_hand.clone())
    }

    /// One reader for each server that has partitions, with these.
    pub(super) fn arrange(&mut self) {
        let mut of_node = BTreeMap::new();
        for part in self.redis.parts() {
            // A partition that no server is known to have now is arranged with the next call.
            if let Ok(node) = self.redis.servers.master(&self.redis.stream(part)) {
                let entry = of_node.entry(node.address.clone()).or_insert_with(|| (node, Vec::new()));
                entry.1.push(part);
            }
        }
        self.readers.retain(|reader| {
            of_node.get(&reader.node.address).is_some_and(|(node, _)| Arc::ptr_eq(node, &reader.node))
        });
        for (node, parts) in of_node.into_values() {
            if let Some(reader) = self.readers.iter_mut().find(|reader| Arc::ptr_eq(&reader.node, &node)) {
                reader.assign(parts);
                continue;
            }
            let mut reader = Reader::new(node);
            reader.assign(parts);
            self.readers.push(reader);
        }
    }

    pub(crate) async fn read(&mut self) -> Result<Vec<Delivery>, ReadError> {
        let until = Instant::now() + self.redis.settings.block;
        let mut pause = FIRST_PAUSE;
        loop {
            self.redis.recount_when_old().await;
            self.arrange();
            let round = self.first_round();
            let blocked = round.block.is_some();
            let read = self.read_batch(round).await.map_err(ReadError::new)?;
            if blocked || !read.is_empty() || self.has_strangers() || Instant::now() >= until {
                return Ok(read);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A fair share of a batch from every partition, or one message from as many as a batch holds.
    fn first_round(&mut self) -> Round {
        let batch = self.redis.settings.batch.max(1);
        let parts: Vec<Part> = self.readers.iter().flat_map(|reader| reader.parts.iter().copied()).collect();
        self.turn = self.turn.wrapping_add(1);
        let begin = if parts.len() > batch { self.turn.wrapping_mul(batch) % parts.len() } else { 0 };
        let all = parts.len() <= batch;
        let each = (batch / parts.len().max(1)).max(1);
        let parts: BTreeSet<Part> =
            parts.iter().cycle().skip(begin).take(parts.len().min(batch)).copied().collect();
        let may_block = all && !self.redis.servers.is_cluster();
        Round { parts, each, block: may_block.then_some(self.redis.settings.block) }
    }

    /// In the order of their ids, which is that of their appends, over all partitions.
    async fn read_batch(&mut self, round: Round) -> Result<Vec<Delivery>, RedisError> {
        let mut read = self.read_rounds(round).await?;
        read.sort_unstable_by_key(|delivery| delivery.id);
        Ok(read)
    }

    /// Reads, and again from the partitions that had more, until a batch is full.
    async fn read_rounds(&mut self, mut round: Round) -> Result<Vec<Delivery>, RedisError> {
        let batch = self.redis.settings.batch.max(1);
        let mut read = self.read_round(&round).await?;
        loop {
            let mut of_part: BTreeMap<Part, usize> = BTreeMap::new();
            read.1.iter().for_each(|part| *of_part.entry(*part).or_default() += 1);
            let room = batch.saturating_sub(read.0.len());
            let more = of_part.into_iter().filter(|(_, count)| *count >= round.each).map(|(part, _)| part);
            round.parts = more.take(room).collect();
            if round.parts.is_empty() {
                return Ok(read.0);
            }
            round.each = room / round.parts.len();
            round.block = None;
            // What was read so far is in hand; an error will come again.
            let Ok((next, parts)) = self.read_round(&round).await else { return Ok(read.0) };
            read.0.extend(next);
            read.1 = parts;
        }
    }

    /// Deliveries, and the partition of each; an error when no server answered.
    async fn read_round(&mut self, round: &Round) -> Result<(Vec<Delivery>, Vec<Part>), RedisError> {
        let cluster = self.redis.servers.is_cluster();
        let guard = self.guard;
        let reading = Reading { redis: &self.redis, name: &self.name };
        let may = |reader: &&mut Reader| !(reader.is_strange(guard) || cluster && reader.is_away());
        let able = self.readers.iter_mut().filter(may);
        let asked = able.map(|reader| read_from(reader, reading, round));
        let (mut deliveries, mut parts, mut answers, mut cause) = (Vec::new(), Vec::new(), 0, None);
        for read in join_all(asked).await {
            match read {
                Ok(read) => {
                    answers += 1;
                    for New { part, entry, doubtful } in read {
                        parts.push(part);
                        deliveries.extend(self.deliver(part, entry, 1, doubtful));
                    }
                }
                Err(error) => cause = Some(error),
            }
        }
        match cause {
            Some(error) if answers == 0 => Err(error),
            None if answers == 0 => {
                Err((ErrorKind::ClusterConnectionNotFound, "no server can be asked").into())
            }
            _ => Ok((deliveries, parts)),
        }
    }

    /// An entry that was deleted while it was pending carries nothing: it was settled.
    pub(super) fn deliver(
        &self,
        part: Part,
        entry: StreamEntry,
        tries: u32,
        doubtful: bool,
    ) -> Option<Delivery> {
        let body = StreamEntry::body(entry.fields?);
        let hold = self.in_hand.hold(entry.id, part, &self.name);
        let suspect = tries >= self.redis.settings.isolate_tries;
        Some(Delivery { id: entry.id, tries, suspect, redelivered: tries > 1 || doubtful, body, hold })
    }

    /// Runs a command at the server of a partition.
    pub(super) async fn run(&mut self, part: Part, command: &redis::Cmd) -> Result<Value, RedisError> {
        let reading = Reading { redis: &self.redis, name: &self.name };
        let cluster = self.redis.servers.is_cluster();
        let its = self.readers.iter_mut().find(|reader| reader.parts.contains(&part));
        // Not asked is not a failure: else who is asked often would stay away for ever.
        let may = |reader: &&mut Reader| !(reader.is_strange(self.guard) || cluster && reader.is_away());
        let Some(reader) = its.filter(may) else {
            return Err((ErrorKind::ClusterConnectionNotFound, "its server is away").into());
        };
        let answer = reader.run(reading, command, Duration::ZERO).await;
        if answer.as_ref().is_err_and(|error| error.code() != Some("NOGROUP")) {
            reader.set_away();
        }
        answer
    }
}

/// New messages; an error only when there are none for its sake.
async fn read_from(reader: &mut Reader, reading: Reading<'_>, round: &Round) -> Result<Vec<New>, RedisError> {
    let parts: Vec<Part> = reader.parts.iter().filter(|part| round.parts.contains(part)).copied().collect();
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let (found, failed) = reader.read(reading, &parts, round.each, round.block).await;
    match failed {
        // Somebody flushed the database under us: what is missing is made anew at the next read.
        Some(error) if error.code() != Some("NOGROUP") => {
            reading.redis.servers.note(&error);
            if found.is_empty() {
                reader.set_away();
                return Err(error);
            }
            Ok(found)
        }
        _ => Ok(found),
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("name", &self.name).finish_non_exhaustive()
    }
}
