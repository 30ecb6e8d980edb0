//! Reading and taking over.
//!
//! XAUTOCLAIM would take messages without saying whose they were, and our own ones that are merely slow. So
//! XPENDING lists what is idle, and a script takes it, only where it is idle still and still its owner's: so of
//! several workers only one gets a message, and nobody is robbed of one who was not fenced. The owners are fenced in
//! the store between the two: fenced after the taking, an owner would go free if we died in between, because by then
//! Redis names us. What we had ourselves need not be idle first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, Value};
use sawpit_model::MessageId;

use super::Redis;
use super::reply::{self, Pending, StreamEntry};
use crate::delivery::InHand;
use crate::{Delivery, QueueError, ReadError, Reclaimed};

/// How much longer than it blocks a read may take before the connection counts as lost.
const READ_MARGIN: Duration = Duration::from_secs(5);

/// Reads under one name, over a connection of its own.
pub(crate) struct Consumer {
    redis: Arc<Redis>,
    name: Arc<str>,
    connection: Option<MultiplexedConnection>,
    in_hand: InHand,
    own: Own,
    /// Whom messages were taken from, or may have been when the answer never came, and nobody was told yet. It
    /// outlives a reclaim that fails or is dropped on the way: an owner that is never fenced may store what
    /// another stores as well.
    untold: Vec<String>,
}

/// Messages that nobody has settled for long, found and not taken.
#[derive(Debug)]
pub(crate) struct Silent {
    /// With their owners.
    messages: BTreeMap<MessageId, String>,
    pub(crate) owners: Vec<String>,
    /// Before they were asked for.
    found_at: Instant,
}

/// Whether a former process of our name may have left messages.
enum Own {
    /// Look at those from this id on.
    From(MessageId),
    Taken,
}

/// Takes messages that are idle this long and still their owner's, with the count of their deliveries before.
const TAKE: &str = r"
local taken = {}
for i = 4, #ARGV, 2 do
    local id, owner = ARGV[i], ARGV[i + 1]
    local found = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], id, id, 1, owner)
    if #found == 1 then
        local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], id)
        if claimed[1] then taken[#taken + 1] = {found[1][4], claimed[1]} end
    end
end
return taken
";

impl Consumer {
    pub(crate) async fn open(redis: Arc<Redis>, name: &str) -> Result<Self, QueueError> {
        let mut consumer = Self {
            redis,
            name: Arc::from(name),
            connection: None,
            in_hand: InHand::default(),
            own: Own::From(MessageId::default()),
            untold: Vec::new(),
        };
        consumer.make_group().await.map_err(QueueError::unavailable)?;
        Ok(consumer)
    }

    pub(crate) fn queue(&self) -> Arc<Redis> {
        Arc::clone(&self.redis)
    }

    pub(crate) async fn read(&mut self) -> Result<Vec<Delivery>, ReadError> {
        match self.read_new().await {
            Err(error) if error.code() == Some("NOGROUP") => {
                // Somebody flushed the database under us.
                self.make_group().await.map_err(ReadError::new)?;
                Ok(Vec::new())
            }
            Err(error) => Err(ReadError::new(error)),
            Ok(value) => {
                let entries = reply::read(value).ok_or_else(|| ReadError::new(other_form()))?;
                Ok(entries.into_iter().filter_map(|entry| self.deliver(entry, 1)).collect())
            }
        }
    }

    async fn read_new(&mut self) -> Result<Value, RedisError> {
        let settings = &self.redis.settings;
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&settings.group).arg(&*self.name);
        command.arg("COUNT").arg(settings.batch).arg("BLOCK").arg(millis(settings.block).max(1));
        command.arg("STREAMS").arg(&settings.stream).arg(">");
        self.run(&command).await
    }

    /// The first page of what nobody has settled for long; `None` when there is nothing, or when what a former
    /// process of our name left goes first.
    pub(crate) async fn silent(&mut self) -> Result<Option<Silent>, ReadError> {
        match self.find_silent().await {
            Err(error) if error.code() == Some("NOGROUP") => {
                // As in `read`; and who looks here first would never get there.
                self.make_group().await.map_err(ReadError::new)?;
                Ok(None)
            }
            found => found.map_err(ReadError::new),
        }
    }

    pub(crate) async fn take_over(&mut self, silent: Option<Silent>) -> Result<Reclaimed, ReadError> {
        self.take_pending(silent).await.map_err(ReadError::new)
    }

    async fn take_pending(&mut self, silent: Option<Silent>) -> Result<Reclaimed, RedisError> {
        let mut reclaimed = Reclaimed::default();
        self.take_former_life(&mut reclaimed).await?;
        if reclaimed.deliveries.is_empty() {
            if let Some(silent) = silent {
                self.take_silent(silent, &mut reclaimed).await?;
            }
            self.take_returned(&mut reclaimed).await?;
        }
        if !reclaimed.deliveries.is_empty() {
            reclaimed.former_owners = std::mem::take(&mut self.untold);
        }
        Ok(reclaimed)
    }

    /// What a former process of our name had in hand need not grow old: it is dead, or we would not run.
    async fn take_former_life(&mut self, into: &mut Reclaimed) -> Result<(), RedisError> {
        while let Own::From(first) = self.own {
            if !into.deliveries.is_empty() {
                break;
            }
            let page = self.pending(Duration::ZERO, true, first).await?;
            let ids = page.iter().map(|pending| pending.id).filter(|id| !self.in_hand.contains(id)).collect();
            self.take_own(ids, into).await?;
            self.own = page.last().map_or(Own::Taken, |last| Own::From(last.id.next()));
        }
        Ok(())
    }

    /// A page that is all in our own hand is passed over.
    async fn find_silent(&mut self) -> Result<Option<Silent>, RedisError> {
        if let Own::From(first) = self.own {
            if !self.pending(Duration::ZERO, true, first).await?.is_empty() {
                return Ok(None);
            }
            self.own = Own::Taken;
        }
        let mut first = MessageId::default();
        loop {
            let found_at = Instant::now();
            let page = self.pending(self.redis.settings.reclaim_idle, false, first).await?;
            let Some(last) = page.last() else { return Ok(None) };
            first = last.id.next();
            let others = page.into_iter().filter(|pending| !self.in_hand.contains(&pending.id));
            let messages: BTreeMap<_, _> = others.map(|pending| (pending.id, pending.owner)).collect();
            if !messages.is_empty() {
                let mut owners: Vec<_> = messages.values().cloned().collect();
                owners.sort_unstable();
                owners.dedup();
                return Ok(Some(Silent { messages, owners, found_at }));
            }
        }
    }

    /// Takes what is silent still and still its owner's. The owner may have taken it anew since we looked, after the
    /// fence, and be silent since: that takes the idle time at least, so what was found longer ago is left for the
    /// next look.
    async fn take_silent(&mut self, silent: Silent, into: &mut Reclaimed) -> Result<(), RedisError> {
        let idle = self.redis.settings.reclaim_idle;
        if silent.found_at.elapsed() >= idle {
            return Ok(());
        }
        self.take(silent.messages, idle, into).await
    }

    /// What we dropped ourselves need not grow old first.
    async fn take_returned(&mut self, into: &mut Reclaimed) -> Result<(), RedisError> {
        let room = self.redis.settings.batch.saturating_sub(into.deliveries.len());
        let returned = self.in_hand.take_returned(room);
        let ids = returned.iter().map(|(id, _)| *id).collect();
        let taken = self.take_own(ids, into).await;
        if taken.is_err() {
            self.in_hand.give_back(returned);
        }
        taken
    }

    /// A page of pending messages that are idle this long, from an id on.
    async fn pending(
        &mut self,
        idle: Duration,
        only_mine: bool,
        first: MessageId,
    ) -> Result<Vec<Pending>, RedisError> {
        let settings = &self.redis.settings;
        let mut command = redis::cmd("XPENDING");
        command.arg(&settings.stream).arg(&settings.group).arg("IDLE").arg(millis(idle));
        command.arg(first.to_string()).arg("+").arg(settings.batch.max(1));
        if only_mine {
            command.arg(&*self.name);
        }
        reply::pending(self.run(&command).await?).ok_or_else(other_form)
    }

    async fn take_own(&mut self, ids: Vec<MessageId>, into: &mut Reclaimed) -> Result<(), RedisError> {
        let wanted = ids.into_iter().map(|id| (id, self.name.to_string())).collect();
        self.take(wanted, Duration::ZERO, into).await
    }

    /// Takes those messages that their owners still have and that are idle still.
    async fn take(
        &mut self,
        wanted: BTreeMap<MessageId, String>,
        idle: Duration,
        into: &mut Reclaimed,
    ) -> Result<(), RedisError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let settings = &self.redis.settings;
        let mut command = redis::cmd("EVAL");
        command
            .arg(TAKE)
            .arg(1)
            .arg(&settings.stream)
            .arg(&settings.group)
            .arg(&*self.name)
            .arg(millis(idle));
        for (id, owner) in &wanted {
            command.arg(id.to_string()).arg(owner);
        }
        let told_apart = self.untold.len();
        wanted.values().for_each(|owner| self.tell_of(owner));
        let taken = reply::taken(self.run(&command).await?).ok_or_else(other_form)?;
        // The answer is here, so only those count that something was taken from.
        self.untold.truncate(told_apart);
        for (tries, entry) in taken {
            let Some(owner) = wanted.get(&entry.id) else { continue };
            self.add(entry, tries, owner, into);
        }
        Ok(())
    }

    fn add(&mut self, entry: StreamEntry, tries_before: u32, owner: &str, into: &mut Reclaimed) {
        self.tell_of(owner);
        into.deliveries.extend(self.deliver(entry, tries_before.saturating_add(1)));
    }

    fn tell_of(&mut self, owner: &str) {
        if !self.untold.iter().any(|other| other == owner) {
            self.untold.push(owner.to_owned());
        }
    }

    /// An entry that was deleted while it was pending carries nothing: it was settled.
    fn deliver(&self, entry: StreamEntry, tries: u32) -> Option<Delivery> {
        let body = StreamEntry::body(entry.fields?);
        let hold = self.in_hand.hold(entry.id, &self.name);
        Some(Delivery { id: entry.id, tries, redelivered: tries > 1, body, hold })
    }

    async fn make_group(&mut self) -> Result<(), RedisError> {
        let settings = &self.redis.settings;
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(&settings.stream).arg(&settings.group).arg("0").arg("MKSTREAM");
        match self.run(&command).await {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
            _ => Ok(()),
        }
    }

    /// Runs a command on the consumer's own connection; one that broke is made anew next time.
    async fn run(&mut self, command: &redis::Cmd) -> Result<Value, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let answer = command.query_async(&mut connection).await;
        let lost = answer.as_ref().is_err_and(|error: &RedisError| error.code().is_none());
        if !lost {
            self.connection = Some(connection);
        }
        answer
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let settings = &self.redis.settings;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.append_timeout))
            .set_response_timeout(Some(settings.block + READ_MARGIN));
        self.redis.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("name", &self.name).finish_non_exhaustive()
    }
}

fn other_form() -> RedisError {
    (ErrorKind::Parse, "an answer of another form").into()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
