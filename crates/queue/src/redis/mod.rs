//! Redis streams: one entry a log, one consumer group, XACK and XDEL after the commit, so that the stream's
//! length is the backlog.
//!
//! Appends of many requests share a few multiplexed connections, which put concurrent commands into one
//! write. A batch is one transaction or one script, so it is there whole or not at all. Reading has connections of its
//! own, because it blocks.
//!
//! - `part` names the partitions, `servers` knows who has them, `cluster` learns it, `node` is one server;
//! - `append` and `estimate` append within the backlog's limit, `replicas` waits for them, `once` does it once,
//!   `flow` tells how fast the streams empty, `script` is what runs inside Redis;
//! - `consumer` reads, `takeover` takes over, and `keep` keeps others from that, through one `reader` for each server;
//! - `dead` is the dead letters.

mod append;
mod cluster;
mod consumer;
mod dead;
mod estimate;
mod flow;
mod keep;
mod node;
mod oldest;
mod once;
mod part;
mod reader;
mod replicas;
mod reply;
mod script;
mod servers;
mod takeover;
mod tidy;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::join_all;
use redis::{ErrorKind, FromRedisValue, RedisError};
use sawpit_model::MessageId;

pub(crate) use consumer::{Consumer, Stranger};
use estimate::Estimate;
pub(crate) use keep::Keeper;
pub(crate) use node::{Call, Manner, Node};
pub(crate) use part::{MOST, Part};
use script::Scripts;
use servers::Next;
pub(crate) use servers::Servers;
pub use servers::{is_cluster, is_redis};
pub(crate) use takeover::Silent;

use crate::{OpenError, QueueError, QueueSettings};

/// Age at which the count of partitions is asked for anew: others may have raised it.
const COUNT_MS: u64 = 1_000;

/// The connections and names of one queue.
pub(crate) struct Redis {
    pub(crate) servers: Servers,
    scripts: Scripts,
    estimate: Estimate,
    opened: Instant,
    /// Milliseconds after `opened` at which the estimate is too old.
    estimate_until: AtomicU64,
    /// As many numbered partitions as there are for anybody.
    count: AtomicU16,
    /// Milliseconds after `opened` at which the count is too old.
    count_until: AtomicU64,
    /// As last seen.
    lengths: Mutex<BTreeMap<Part, u64>>,
    pub(crate) settings: QueueSettings,
}

impl Redis {
    pub(crate) async fn open(settings: QueueSettings) -> Result<Self, OpenError> {
        let url = shown(&settings.url);
        let bad = |error: RedisError| OpenError::Url { url: url.clone(), why: error.to_string() };
        let away = |cause: String| OpenError::Unreachable { url: url.clone(), cause };
        let manner = Manner::new(settings.connections, settings.append_timeout);
        let servers = Servers::new(&settings.url, manner).map_err(bad)?;
        servers.connect().await.map_err(|error| away(error.to_string()))?;
        let redis = Self {
            servers,
            scripts: Scripts::new(),
            estimate: Estimate::default(),
            opened: Instant::now(),
            estimate_until: AtomicU64::new(0),
            count: AtomicU16::new(0),
            count_until: AtomicU64::new(0),
            lengths: Mutex::default(),
            settings,
        };
        redis.count.store(redis.own_count(), Ordering::Relaxed);
        redis.recount().await.map_err(|error| away(error.to_string()))?;
        Ok(redis)
    }

    /// Numbered partitions that this process appends to; none when there is only the plain one, or when it only looks.
    fn own_count(&self) -> u16 {
        match self.settings.partitions {
            Some(1) if !self.servers.is_cluster() => 0,
            count => count.unwrap_or(0).min(MOST),
        }
    }

    /// All partitions that anybody appends to or appended to: what a smaller count left must be read as well.
    pub(crate) fn parts(&self) -> Vec<Part> {
        // The plain stream and its dead letters are in two slots, so a cluster has none.
        let plain = (!self.servers.is_cluster()).then_some(Part::PLAIN);
        plain.into_iter().chain((0..self.count.load(Ordering::Relaxed)).map(Part::numbered)).collect()
    }

    /// Learns how many partitions there are when that was long ago. Who cannot learn it goes on with those it knows.
    pub(crate) async fn recount_when_old(&self) {
        if self.is_old(&self.count_until, COUNT_MS)
            && let Err(error) = self.recount().await
        {
            tracing::debug!(%error, "nobody tells how many partitions there are");
        }
    }

    /// Notes in Redis how many partitions this process has, and learns how many others have.
    async fn recount(&self) -> Result<(), RedisError> {
        let key = format!("{}:partitions", self.settings.stream);
        let mut call = self.scripts.raise.key(&key);
        call.arg(self.own_count());
        let found: u16 = self.at_master(&key, Call::Script(&call)).await?;
        self.count.fetch_max(found.min(MOST), Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn stream(&self, part: Part) -> String {
        part.key(&self.settings.stream)
    }

    /// Asks the server of a key; another one when the first surely did nothing and the key has moved.
    async fn at_master<T: FromRedisValue>(&self, key: &str, call: Call<'_>) -> Result<T, RedisError> {
        let first = match self.servers.master(key) {
            Ok(node) => node.call(call).await,
            Err(error) => Err(error),
        };
        match first {
            Err(error) if self.servers.heed(&error).await == Next::Again => {
                self.servers.master(key)?.call(call).await
            }
            answer => answer,
        }
    }

    /// Messages in all partitions. Of a server that does not answer the last known count; an error when none does.
    pub(crate) async fn backlog(&self) -> Result<u64, QueueError> {
        self.recount_when_old().await;
        let look = self.estimate.look();
        let parts = self.parts();
        let asked = parts.iter().map(|part| self.length(*part, &self.settings.stream));
        let found = join_all(asked).await;
        let mut lengths = self.lengths.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut answers, mut cause) = (0, None);
        for (part, length) in parts.into_iter().zip(found) {
            match length {
                Ok(length) => {
                    answers += 1;
                    lengths.insert(part, length);
                }
                Err(error) => cause = Some(error),
            }
        }
        match cause {
            Some(error) if answers == 0 => Err(QueueError::unavailable(error)),
            _ => {
                let length = lengths.values().sum();
                self.estimate.found(&look, length);
                Ok(length)
            }
        }
    }

    /// Entries of one partition's stream of this name.
    async fn length(&self, part: Part, name: &str) -> Result<u64, RedisError> {
        let key = part.key(name);
        self.at_master(&key, Call::Command(redis::cmd("XLEN").arg(&key))).await
    }

    /// In a cluster it is enough that one server answers: the others' partitions may be failing over.
    pub(crate) async fn ping(&self) -> Result<(), QueueError> {
        let ping = redis::cmd("PING");
        let masters = self.servers.masters();
        let pings = masters.iter().map(|node| node.call::<()>(Call::Command(&ping)));
        let mut cause = RedisError::from((ErrorKind::ClusterConnectionNotFound, "no master is known"));
        for answer in join_all(pings).await {
            match answer {
                Ok(()) => return Ok(()),
                Err(error) => cause = error,
            }
        }
        self.servers.note(&cause);
        Err(QueueError::unavailable(cause))
    }

    /// XACK and XDEL in one transaction: an entry that is acknowledged but still in the stream would count as
    /// backlog for ever. One transaction for each partition; when one fails, its messages come again.
    pub(crate) async fn ack(&self, ids: &[(Part, MessageId)]) -> Result<(), QueueError> {
        let mut of_part: BTreeMap<Part, Vec<String>> = BTreeMap::new();
        for (part, id) in ids {
            of_part.entry(*part).or_default().push(id.to_string());
        }
        let settled = of_part.iter().map(|(part, ids)| self.settle(*part, ids));
        // Not the first error alone: who fails must not stop the others halfway.
        let failed = join_all(settled).await.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |error| Err(QueueError::unavailable(error)))
    }

    async fn settle(&self, part: Part, ids: &[String]) -> Result<(), RedisError> {
        let stream = self.stream(part);
        let mut transaction = redis::pipe();
        transaction.atomic();
        transaction.cmd("XACK").arg(&stream).arg(&self.settings.group).arg(ids).ignore();
        transaction.cmd("XDEL").arg(&stream).arg(ids).ignore();
        self.at_master(&stream, Call::Pipeline(&transaction)).await
    }

    /// True for one caller each time that what was due is due again: that one asks.
    fn is_old(&self, until: &AtomicU64, every_ms: u64) -> bool {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = until.load(Ordering::Relaxed);
        let next = now.saturating_add(every_ms);
        let mine = || until.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        now >= due && mine().is_ok()
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("url", &shown(&self.settings.url)).finish_non_exhaustive()
    }
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
}
