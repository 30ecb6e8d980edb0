//! Redis streams: one entry a log, one consumer group, XACK and XDEL after the commit, so that the stream's
//! length is the backlog.
//!
//! Appends of many requests share a few multiplexed connections, which put concurrent commands into one
//! write. A batch is one MULTI/EXEC, so it is there whole or not at all. Reading blocks, so each consumer has
//! a connection of its own.

mod consumer;
mod dead;
mod reply;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind};
use sawpit_model::{Entry, MessageId};

pub(crate) use consumer::Consumer;

use crate::{AppendError, OpenError, QueueError, QueueSettings};

/// Tries to connect anew within one command; the next command tries again.
const CONNECT_RETRIES: usize = 1;
/// Wait between these.
const CONNECT_WAIT: Duration = Duration::from_millis(100);

/// Age at which the estimate of the backlog is asked for anew: what other producers append meanwhile is all
/// that can go over the limit.
const ESTIMATE_MS: u64 = 100;

/// The connections and names of one queue.
pub(crate) struct Redis {
    pub(crate) client: Client,
    connections: Vec<ConnectionManager>,
    turn: AtomicUsize,
    /// The backlog as last seen, plus what was appended here since.
    estimate: AtomicU64,
    opened: Instant,
    /// Milliseconds after `opened` at which the estimate is too old.
    estimate_until: AtomicU64,
    pub(crate) settings: QueueSettings,
}

impl Redis {
    pub(crate) async fn open(settings: QueueSettings) -> Result<Self, OpenError> {
        let url = shown(&settings.url);
        let bad = |error: RedisError| OpenError::Url { url: url.clone(), why: error.to_string() };
        let away = |cause: String| OpenError::Unreachable { url: url.clone(), cause };
        let client = Client::open(settings.url.as_str()).map_err(bad)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(CONNECT_RETRIES)
            .set_min_delay(CONNECT_WAIT)
            .set_connection_timeout(Some(settings.append_timeout))
            .set_response_timeout(Some(settings.append_timeout));
        let mut connections = Vec::new();
        for _ in 0..settings.connections.max(1) {
            let connection = ConnectionManager::new_with_config(client.clone(), config.clone()).await;
            connections.push(connection.map_err(|error| away(error.to_string()))?);
        }
        let redis = Self {
            client,
            connections,
            turn: AtomicUsize::new(0),
            estimate: AtomicU64::new(0),
            opened: Instant::now(),
            estimate_until: AtomicU64::new(0),
            settings,
        };
        redis.ping().await.map_err(|error| away(error.to_string()))?;
        Ok(redis)
    }

    pub(crate) async fn append(&self, entry: &Entry) -> Result<MessageId, AppendError> {
        self.admit(1).await?;
        let command = self.xadd(entry);
        let id: Vec<u8> = self.appending(async |connection| command.query_async(connection).await).await?;
        parse_id(&id)
    }

    pub(crate) async fn append_batch(&self, entries: &[Entry]) -> Result<Vec<MessageId>, AppendError> {
        self.admit(entries.len() as u64).await?;
        let mut transaction = Pipeline::with_capacity(entries.len());
        transaction.atomic();
        for entry in entries {
            transaction.add_command(self.xadd(entry));
        }
        let ids: Vec<Vec<u8>> =
            self.appending(async |connection| transaction.query_async(connection).await).await?;
        ids.iter().map(|id| parse_id(id)).collect()
    }

    fn xadd(&self, entry: &Entry) -> Cmd {
        let mut command = redis::cmd("XADD");
        command.arg(&self.settings.stream).arg("*");
        for (name, value) in entry.to_fields() {
            command.arg(name).arg(value.as_bytes());
        }
        command
    }

    /// Runs an append within the time-out, and says of a failure whether it may have been carried out.
    async fn appending<T>(
        &self,
        append: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, AppendError> {
        let mut connection = self.connection();
        match tokio::time::timeout(self.settings.append_timeout, append(&mut connection)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(append_error(&error)),
            Err(_) => Err(AppendError::Unknown { cause: "no answer in time".to_owned() }),
        }
    }

    /// Refuses at the backlog's limit. The estimate counts what was appended here, and is asked for anew when it
    /// is old, and before anything is refused.
    async fn admit(&self, messages: u64) -> Result<(), AppendError> {
        let limit = self.settings.backlog_limit;
        if !self.estimate_is_old() {
            let before = self.estimate.fetch_add(messages, Ordering::Relaxed);
            if before.saturating_add(messages) <= limit {
                return Ok(());
            }
        }
        let waiting =
            self.backlog().await.map_err(|error| AppendError::Refused { cause: error.to_string() })?;
        if waiting.saturating_add(messages) > limit {
            return Err(AppendError::Full { limit });
        }
        self.estimate.fetch_add(messages, Ordering::Relaxed);
        Ok(())
    }

    /// True for one caller each time that the estimate has grown old: that one asks.
    fn estimate_is_old(&self) -> bool {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let until = self.estimate_until.load(Ordering::Relaxed);
        let next = now.saturating_add(ESTIMATE_MS);
        let mine = || self.estimate_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed);
        now >= until && mine().is_ok()
    }

    pub(crate) async fn backlog(&self) -> Result<u64, QueueError> {
        let length: u64 = self.command(redis::cmd("XLEN").arg(&self.settings.stream)).await?;
        self.estimate.store(length, Ordering::Relaxed);
        Ok(length)
    }

    pub(crate) async fn ping(&self) -> Result<(), QueueError> {
        self.command(&redis::cmd("PING")).await
    }

    /// XACK and XDEL in one transaction: an entry that is acknowledged but still in the stream would count as
    /// backlog for ever.
    pub(crate) async fn ack(&self, ids: &[MessageId]) -> Result<(), QueueError> {
        let mut transaction = redis::pipe();
        transaction.atomic();
        self.add_settle(&mut transaction, ids);
        self.run(&transaction).await
    }

    fn add_settle(&self, transaction: &mut Pipeline, ids: &[MessageId]) {
        let ids: Vec<String> = ids.iter().map(MessageId::to_string).collect();
        transaction.cmd("XACK").arg(&self.settings.stream).arg(&self.settings.group).arg(&ids).ignore();
        transaction.cmd("XDEL").arg(&self.settings.stream).arg(&ids).ignore();
    }

    /// The next connection in turn.
    pub(crate) fn connection(&self) -> ConnectionManager {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len().max(1);
        // `open` made at least one.
        #[allow(clippy::indexing_slicing, reason = "the turn is below the length, which is at least one")]
        self.connections[turn].clone()
    }

    async fn command<T: redis::FromRedisValue>(&self, command: &Cmd) -> Result<T, QueueError> {
        command.query_async(&mut self.connection()).await.map_err(QueueError::unavailable)
    }

    async fn run(&self, transaction: &Pipeline) -> Result<(), QueueError> {
        transaction.query_async(&mut self.connection()).await.map_err(QueueError::unavailable)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("url", &shown(&self.settings.url)).finish_non_exhaustive()
    }
}

/// A reply that says no means that nothing was appended, and so does a connection that was refused. Of
/// everything else nobody knows.
fn append_error(error: &RedisError) -> AppendError {
    let cause = error.to_string();
    let said_no = matches!(error.kind(), ErrorKind::Server(kind) if kind != ServerErrorKind::ResponseError)
        || error.code().is_some();
    if said_no || error.is_connection_refusal() || error.kind() == ErrorKind::AuthenticationFailed {
        AppendError::Refused { cause }
    } else {
        AppendError::Unknown { cause }
    }
}

fn parse_id(id: &[u8]) -> Result<MessageId, AppendError> {
    reply::id(id).ok_or_else(|| AppendError::Unknown { cause: "Redis gave no id".to_owned() })
}

/// The URL without its password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn shows_no_password() {
        assert_eq!(super::shown("redis://me:p@ss@host:1/0"), "redis://…@host:1/0");
        assert_eq!(super::shown("redis://host:1"), "redis://host:1");
    }
}
