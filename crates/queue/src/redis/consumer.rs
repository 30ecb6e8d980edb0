//! Reading and taking over.
//!
//! XAUTOCLAIM would take messages without saying whose they were, and our own ones that are merely slow. So
//! XPENDING lists what is idle, and XCLAIM takes it: its minimum idle time makes sure that of several workers
//! only one gets a message, and the former owners' names go to the store, which fences them.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, Value};

use super::Redis;
use super::reply::{self, Pending, StreamEntry};
use crate::delivery::InHand;
use crate::{Delivery, QueueError, ReadError, Reclaimed};

/// How much longer than it blocks a read may take before the connection counts as lost.
const READ_MARGIN: Duration = Duration::from_secs(5);

/// Reads under one name, over a connection of its own.
pub(crate) struct Consumer {
    redis: Arc<Redis>,
    name: String,
    connection: Option<MultiplexedConnection>,
    in_hand: InHand,
    own: Own,
}

/// Whether a former process of our name may have left messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Unseen,
    Taken,
}

impl Consumer {
    pub(crate) async fn open(redis: Arc<Redis>, name: &str) -> Result<Self, QueueError> {
        let mut consumer = Self {
            redis,
            name: name.to_owned(),
            connection: None,
            in_hand: InHand::default(),
            own: Own::Unseen,
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
                let entries =
                    reply::read(value).ok_or_else(|| ReadError::new("an answer of another form"))?;
                Ok(entries.into_iter().filter_map(|entry| self.deliver(entry, 1)).collect())
            }
        }
    }

    async fn read_new(&mut self) -> Result<Value, RedisError> {
        let settings = &self.redis.settings;
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&settings.group).arg(&self.name);
        command.arg("COUNT").arg(settings.batch).arg("BLOCK").arg(millis(settings.block).max(1));
        command.arg("STREAMS").arg(&settings.stream).arg(">");
        self.run(&command).await
    }

    pub(crate) async fn reclaim(&mut self) -> Result<Reclaimed, ReadError> {
        let mut reclaimed = Reclaimed::default();
        if self.own == Own::Unseen {
            let mine = self.pending(Duration::ZERO, true).await?;
            if mine.is_empty() {
                self.own = Own::Taken;
            } else {
                self.take(mine, Duration::ZERO, &mut reclaimed).await?;
                return Ok(reclaimed);
            }
        }
        let idle = self.redis.settings.reclaim_idle;
        let silent = self.pending(idle, false).await?;
        self.take(silent, idle, &mut reclaimed).await?;
        self.take_returned(&mut reclaimed).await?;
        Ok(reclaimed)
    }

    /// What we dropped ourselves need not grow old first.
    async fn take_returned(&mut self, reclaimed: &mut Reclaimed) -> Result<(), ReadError> {
        let room = self.redis.settings.batch.saturating_sub(reclaimed.deliveries.len());
        let returned = self.in_hand.take_returned(room);
        let mine = |id| Pending { id, owner: self.name.clone(), tries: 1 };
        let mine = returned.into_iter().filter(|id| !self.in_hand.contains(id)).map(mine).collect();
        self.take(mine, Duration::ZERO, reclaimed).await
    }

    /// Pending messages that are idle this long, those in our own hand left out.
    async fn pending(&mut self, idle: Duration, only_mine: bool) -> Result<Vec<Pending>, ReadError> {
        let settings = &self.redis.settings;
        let mut command = redis::cmd("XPENDING");
        command.arg(&settings.stream).arg(&settings.group).arg("IDLE").arg(millis(idle)).arg("-").arg("+");
        command.arg(settings.batch);
        if only_mine {
            command.arg(&self.name);
        }
        let value = self.run(&command).await.map_err(ReadError::new)?;
        let pending = reply::pending(value).ok_or_else(|| ReadError::new("an answer of another form"))?;
        Ok(pending.into_iter().filter(|pending| !self.in_hand.contains(&pending.id)).collect())
    }

    async fn take(
        &mut self,
        pending: Vec<Pending>,
        idle: Duration,
        into: &mut Reclaimed,
    ) -> Result<(), ReadError> {
        if pending.is_empty() {
            return Ok(());
        }
        let settings = &self.redis.settings;
        let mut command = redis::cmd("XCLAIM");
        command.arg(&settings.stream).arg(&settings.group).arg(&self.name).arg(millis(idle));
        for message in &pending {
            command.arg(message.id.to_string());
        }
        let value = self.run(&command).await.map_err(ReadError::new)?;
        let entries = reply::entries(value).ok_or_else(|| ReadError::new("an answer of another form"))?;
        for entry in entries {
            let Some(before) = pending.iter().find(|pending| pending.id == entry.id) else { continue };
            if !into.former_owners.contains(&before.owner) {
                into.former_owners.push(before.owner.clone());
            }
            into.deliveries.extend(self.deliver(entry, before.tries.saturating_add(1)));
        }
        Ok(())
    }

    /// An entry that was deleted while it was pending carries nothing: it was settled.
    fn deliver(&self, entry: StreamEntry, tries: u32) -> Option<Delivery> {
        let body = StreamEntry::body(entry.fields?);
        let hold = self.in_hand.hold(entry.id);
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
