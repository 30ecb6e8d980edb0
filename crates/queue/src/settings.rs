//! Where the queue is and how it is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sawpit_model::Timestamp;

use crate::redis::shown;

/// Most streams that messages are spread over: their ids have room for so many.
pub const MOST_PARTITIONS: u16 = crate::redis::MOST;

/// Where the embedded queue takes the time from, for its ids.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the queue is used. Every field is a setting of the program but the three names on Redis, which are part of what is
/// fixed to the outside. Its `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// `redis://user:password@host:port/db`, `redis+cluster://user:password@host:port,host:port` of some members, or
    /// the folder of the embedded queue.
    pub url: String,
    /// Consumer group on Redis.
    pub group: String,
    /// Name of the stream on Redis.
    pub stream: String,
    /// Name of the stream of dead letters on Redis.
    pub dead: String,
    /// How many streams the messages are spread over, by device, on Redis: 1 to 1,024. `None` for who only looks: it
    /// reads as many as others have, and appends nothing new to a cluster.
    pub partitions: Option<u16>,
    /// Replicas that must have an append before it is confirmed, on Redis; 0 to ask none.
    pub min_replicas: u16,
    /// Connections to each Redis that appends and acknowledgements share, at least 1.
    pub connections: usize,
    /// Most messages that a read returns, at least 1.
    pub batch: usize,
    /// Longest wait of a read for a first message.
    pub block: Duration,
    /// A message unsettled for this long is taken from its owner. Longer than a batch ever takes, else it is
    /// worked on twice (the store then refuses one of the two). On Redis only: in one process nobody is silent.
    pub reclaim_idle: Duration,
    /// From this many deliveries on, at least 2, a message is delivered alone, as it may be what ends those who take it.
    pub isolate_tries: u32,
    /// Messages waiting, delivered ones included, at which appends are refused.
    pub backlog_limit: u64,
    /// Dead letters at which no more are buried: what is to be buried then stays in the queue.
    pub dead_limit: u64,
    /// Longest wait for the answer to an append; also for a connection.
    pub append_timeout: Duration,
    /// How long an append that is to happen once is remembered.
    pub once_ttl: Duration,
    /// Most such appends that the embedded queue remembers; beyond it the oldest are forgotten. Redis's memory is its
    /// own limit: it evicts them like its cache.
    pub once_limit: u64,
    /// Bytes with which a transaction of the embedded queue is full: further appends go into the next.
    pub group_bytes: usize,
    /// Most bytes of appends that wait for the disk of the embedded queue, beyond it they are refused: a disk that
    /// stands still must not fill the memory with what nobody waits for any more. One always fits.
    pub waiting_bytes: usize,
}

impl fmt::Debug for QueueSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart, so that a new field is not forgotten here.
        let Self {
            url,
            group,
            stream,
            dead,
            partitions,
            min_replicas,
            connections,
            batch,
            block,
            reclaim_idle,
            isolate_tries,
            backlog_limit,
            dead_limit,
            append_timeout,
            once_ttl,
            once_limit,
            group_bytes,
            waiting_bytes,
        } = self;
        f.debug_struct("QueueSettings")
            .field("url", &shown(url))
            .field("group", group)
            .field("stream", stream)
            .field("dead", dead)
            .field("partitions", partitions)
            .field("min_replicas", min_replicas)
            .field("connections", connections)
            .field("batch", batch)
            .field("block", block)
            .field("reclaim_idle", reclaim_idle)
            .field("isolate_tries", isolate_tries)
            .field("backlog_limit", backlog_limit)
            .field("dead_limit", dead_limit)
            .field("append_timeout", append_timeout)
            .field("once_ttl", once_ttl)
            .field("once_limit", once_limit)
            .field("group_bytes", group_bytes)
            .field("waiting_bytes", waiting_bytes)
            .finish()
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            url: "sawpit-data/queue".to_owned(),
            group: "log_workers".to_owned(),
            stream: "logs:stream".to_owned(),
            dead: "logs:dead".to_owned(),
            partitions: Some(1),
            min_replicas: 0,
            connections: 4,
            batch: 100,
            block: Duration::from_secs(5),
            reclaim_idle: Duration::from_secs(60),
            isolate_tries: 3,
            backlog_limit: 100_000,
            dead_limit: 100_000,
            append_timeout: Duration::from_secs(2),
            once_ttl: Duration::from_secs(24 * 60 * 60),
            once_limit: 1_000_000,
            group_bytes: 16 * 1024 * 1024,
            waiting_bytes: 256 * 1024 * 1024,
        }
    }
}
