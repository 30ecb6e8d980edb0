//! Redis streams: one entry a log, one consumer group, XACK and XDEL after the commit, so that the stream's
//! length is the backlog.
//!
//! Appends of many requests share a few multiplexed connections, which put concurrent commands into one
//! write. A batch is one MULTI/EXEC, so it is there whole or not at all. Reading blocks, so each consumer has
//! a connection of its own.

mod consumer;
mod dead;
mod estimate;
mod flow;
mod once;
mod reply;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ErrorKind, IntoConnectionInfo, Pipeline, RedisError};
use sawpit_model::{Entry, MessageId};

pub(crate) use consumer::{Consumer, Silent};
use estimate::{Estimate, UnderWay};

use crate::{AppendError, OpenError, QueueError, QueueSettings};

/// Tries to connect anew within one command; the next command tries again.
const CONNECT_RETRIES: usize = 1;
/// Wait between these.
const CONNECT_WAIT: Duration = Duration::from_millis(100);

/// Commands that wait in a connection to be sent. While Redis is silent these stay in memory although nobody waits for
/// them any more, so they are few: at most this many bodies for each connection.
const WAITING_COMMANDS: usize = 16;

/// Age at which the estimate of the backlog is asked for anew: what other producers append meanwhile is all
/// that can go over the limit.
const ESTIMATE_MS: u64 = 100;

/// Time without an acknowledgement of what was sent after which the connection is given up and made anew. A
/// machine that vanished says nothing, and by default the kernel would go on sending for a quarter of an hour.
#[cfg(target_os = "linux")]
const SILENT: Duration = Duration::from_secs(10);

/// The connections and names of one queue.
pub(crate) struct Redis {
    pub(crate) client: Client,
    connections: Vec<ConnectionManager>,
    turn: AtomicUsize,
    estimate: Estimate,
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
        let client = client(&settings.url).map_err(bad)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(CONNECT_RETRIES)
            .set_min_delay(CONNECT_WAIT)
            .set_pipeline_buffer_size(WAITING_COMMANDS)
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
            estimate: Estimate::default(),
            opened: Instant::now(),
            estimate_until: AtomicU64::new(0),
            settings,
        };
        redis.ping().await.map_err(|error| away(error.to_string()))?;
        Ok(redis)
    }

    pub(crate) async fn append(&self, entry: &Entry) -> Result<MessageId, AppendError> {
        let command = self.xadd(entry);
        let append = self.appending(async |connection| command.query_async(connection).await);
        let id: Vec<u8> = self.admitted(1, append).await?;
        parse_id(&id)
    }

    pub(crate) async fn append_batch(&self, entries: &[Entry]) -> Result<Vec<MessageId>, AppendError> {
        let mut transaction = Pipeline::with_capacity(entries.len());
        transaction.atomic();
        for entry in entries {
            transaction.add_command(self.xadd(entry));
        }
        let append = self.appending(async |connection| transaction.query_async(connection).await);
        let ids: Vec<Vec<u8>> = self.admitted(entries.len() as u64, append).await?;
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

    /// Looks at the backlog, then appends, both within the one time-out.
    async fn admitted<T>(
        &self,
        messages: u64,
        append: impl Future<Output = Result<T, AppendError>>,
    ) -> Result<T, AppendError> {
        let begun = AtomicBool::new(false);
        let steps = async {
            let _under_way = self.admit(messages).await?;
            begun.store(true, Ordering::Relaxed);
            append.await
        };
        let cause = "no answer in time".to_owned();
        match tokio::time::timeout(self.settings.append_timeout, steps).await {
            Ok(ended) => ended,
            Err(_) if begun.into_inner() => Err(AppendError::Unknown { cause }),
            Err(_) => Err(AppendError::Refused { cause }),
        }
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
    async fn admit(&self, messages: u64) -> Result<UnderWay<'_>, AppendError> {
        let limit = self.settings.backlog_limit;
        if !self.estimate_is_old()
            && let Some(under_way) = self.estimate.let_in(messages, limit)
        {
            return Ok(under_way);
        }
        self.backlog().await.map_err(|error| AppendError::Refused { cause: error.to_string() })?;
        self.estimate.let_in(messages, limit).ok_or(AppendError::Full { limit })
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
        let look = self.estimate.look();
        let length = self.command(redis::cmd("XLEN").arg(&self.settings.stream)).await?;
        self.estimate.found(&look, length);
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
        self.in_time(command.query_async(&mut self.connection())).await
    }

    async fn run(&self, transaction: &Pipeline) -> Result<(), QueueError> {
        self.in_time(transaction.query_async(&mut self.connection())).await
    }

    /// The connection may have to be made first, which has a time-out of its own.
    async fn in_time<T>(&self, ask: impl Future<Output = Result<T, RedisError>>) -> Result<T, QueueError> {
        match tokio::time::timeout(self.settings.append_timeout, ask).await {
            Ok(answer) => answer.map_err(QueueError::unavailable),
            Err(_) => Err(QueueError::unavailable("no answer in time")),
        }
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("url", &shown(&self.settings.url)).finish_non_exhaustive()
    }
}

/// What Redis says is cut to this many characters.
const CAUSE_CHARS: usize = 300;

/// A reply that says no means that nothing was appended, and so does a connection that was refused. Of
/// everything else nobody knows.
fn append_error(error: &RedisError) -> AppendError {
    // A transaction's error names each of its commands.
    let cause: String = error.to_string().chars().take(CAUSE_CHARS).collect();
    let said_no = error.code().is_some();
    if said_no || error.is_connection_refusal() || error.kind() == ErrorKind::AuthenticationFailed {
        AppendError::Refused { cause }
    } else {
        AppendError::Unknown { cause }
    }
}

fn parse_id(id: &[u8]) -> Result<MessageId, AppendError> {
    reply::id(id).ok_or_else(|| AppendError::Unknown { cause: "Redis gave no id".to_owned() })
}

/// A client that sends what is written at once, and notices when nobody is there any more.
pub(crate) fn client(url: &str) -> Result<Client, RedisError> {
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(SILENT);
    Client::open(url.into_connection_info()?.set_tcp_settings(tcp))
}

/// The URL without its password; the path of a folder as it is.
pub(crate) fn shown(url: &str) -> String {
    if !url.contains("://") && !url.starts_with("redis") {
        return url.to_owned();
    }
    match (url.split_once(':'), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_password() {
        assert_eq!(shown("redis://me:p@ss@host:1/0"), "redis://…@host:1/0");
        assert_eq!(shown("redis:me:secret@host"), "redis://…@host");
        assert_eq!(shown("redis://host:1"), "redis://host:1");
        assert_eq!(shown("data/a:b@c"), "data/a:b@c");
    }

    fn said(wire: &str) -> AppendError {
        let answer = redis::parse_redis_value(wire.as_bytes()).and_then(redis::Value::extract_error);
        append_error(&answer.expect_err("an error"))
    }

    /// Whatever Redis says in the place of an id, it has appended nothing.
    #[test]
    fn a_no_is_a_refusal() {
        let no = [
            "-OOM command not allowed when used memory > 'maxmemory'.",
            "-LOADING Redis is loading the dataset in memory",
            "-MISCONF Errors writing to the AOF file: No space left on device",
            "-READONLY You can't write against a read only replica.",
            "-EXECABORT Transaction discarded because of previous errors.",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
            "-NOAUTH Authentication required.",
            "-NOPERM this user has no permissions to run the 'xadd' command",
            "-BUSY Redis is busy running a script.",
            "-ERR max number of clients reached",
        ];
        for wire in no {
            let error = said(&format!("{wire}\r\n"));
            assert!(matches!(error, AppendError::Refused { .. }), "{wire}: {error:?}");
        }
    }

    #[test]
    fn a_lost_connection_leaves_it_unknown_and_a_refused_one_does_not() {
        use std::io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof};
        for kind in [BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof] {
            let error = append_error(&std::io::Error::from(kind).into());
            assert!(matches!(error, AppendError::Unknown { .. }), "{kind}: {error:?}");
        }
        let error = append_error(&std::io::Error::from(ConnectionRefused).into());
        assert!(matches!(error, AppendError::Refused { .. }), "{error:?}");
    }
}
