//! Where the queue is and how it is used.

use std::sync::Arc;
use std::time::Duration;

use sawpit_model::Timestamp;

/// Where the embedded queue takes the time from, for its ids.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the queue is used. Every field is a setting of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// `redis://user:password@host:port/db`, or the folder of the embedded queue.
    pub url: String,
    /// Consumer group on Redis.
    pub group: String,
    /// Name of the stream on Redis.
    pub stream: String,
    /// Name of the stream of dead letters on Redis.
    pub dead: String,
    /// Connections to Redis that appends and acknowledgements share, at least 1.
    pub connections: usize,
    /// Most messages that a read returns, at least 1.
    pub batch: usize,
    /// Longest wait of a read for a first message.
    pub block: Duration,
    /// A message unsettled for this long is taken from its owner. Longer than a batch ever takes, else it is
    /// worked on twice (the store then refuses one of the two). On Redis only: in one process nobody is silent.
    pub reclaim_idle: Duration,
    /// Messages waiting, delivered ones included, at which appends are refused.
    pub backlog_limit: u64,
    /// Longest wait for the answer to an append; also for a connection.
    pub append_timeout: Duration,
    /// Most bytes in one transaction of the embedded queue; appends beyond it go into the next.
    pub group_bytes: usize,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            url: "sawpit-data/queue".to_owned(),
            group: "log_workers".to_owned(),
            stream: "logs:stream".to_owned(),
            dead: "logs:dead".to_owned(),
            connections: 4,
            batch: 100,
            block: Duration::from_secs(5),
            reclaim_idle: Duration::from_secs(60),
            backlog_limit: 100_000,
            append_timeout: Duration::from_secs(2),
            group_bytes: 16 * 1024 * 1024,
        }
    }
}
