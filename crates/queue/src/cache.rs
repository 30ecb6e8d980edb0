//! Answers kept for a while: in Redis, shared by all hosts, or in memory.
//!
//! A cache that is away makes answers slower, never wrong and never absent: every failure is a miss.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use moka::Expiry;
use redis::{FromRedisValue, Pipeline, RedisError};

use crate::OpenError;
use crate::feed::Feed;
use crate::redis::{Call, Manner, Node, Servers, is_redis, shown};

/// At most one warning in this time while the cache is away.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How the cache is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Most bytes in the memory cache; Redis has its own limit.
    pub capacity_bytes: u64,
    /// Longest wait for Redis; beyond it the answer comes from the database.
    pub timeout: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { capacity_bytes: 64 * 1024 * 1024, timeout: Duration::from_millis(50) }
    }
}

/// A cache; a handle that is cheap to clone.
#[derive(Clone)]
pub struct Cache(Kind);

/// Whether values were kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// All of them.
    All,
    /// The cache, or a server of it, did not say so in time: whoever needs them there sets them again.
    Unsure,
}

#[derive(Clone)]
enum Kind {
    Redis(Arc<Remote>, Feed),
    Memory(moka::future::Cache<String, Kept>, Feed),
}

/// The cache's servers, and how long they are waited for.
pub(crate) struct Remote {
    servers: Servers,
    timeout: Duration,
    opened: Instant,
    /// Milliseconds after `opened` at which the next warning may come.
    warn_at: AtomicI64,
}

#[derive(Clone)]
struct Kept {
    value: Bytes,
    ttl: Duration,
}

/// The cache did not answer in time. That was counted, and logged now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache did not answer")]
pub struct CacheAway;

/// Keys, each with its place among those that were asked for.
type Places<'a> = Vec<(usize, &'a str)>;

/// Each value says how long it lives.
struct ByValue;

impl Expiry<String, Kept> for ByValue {
    fn expire_after_create(&self, _: &String, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.ttl)
    }

    fn expire_after_update(
        &self,
        _: &String,
        kept: &Kept,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(kept.ttl)
    }
}

impl Cache {
    /// Opens `redis://host:port/db`, `redis+cluster://host:port,host:port` or `memory:`. Redis need not be there yet.
    ///
    /// # Errors
    /// The URL names no cache.
    pub async fn open(url: &str, settings: CacheSettings) -> Result<Self, OpenError> {
        if url == "memory:" {
            return Ok(Self(Kind::Memory(memory(settings.capacity_bytes), Feed::here())));
        }
        let bad = |why: String| OpenError::Url { url: shown(url), why };
        if !is_redis(url) {
            let known = "redis://host:port/db, redis+cluster://host:port,host:port or memory:";
            return Err(bad(format!("a cache is {known}")));
        }
        let manner = Manner { connections: 1, time_out: settings.timeout, retries: 0 };
        let servers = Servers::new(url, manner).map_err(|error| bad(error.to_string()))?;
        let (opened, warn_at) = (Instant::now(), AtomicI64::new(0));
        let remote = Arc::new(Remote { servers, timeout: settings.timeout, opened, warn_at });
        Ok(Self(Kind::Redis(Arc::clone(&remote), Feed::over(remote))))
    }

    /// What is new, told over the cache's server: it needs no more promises than a cache.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        match &self.0 {
            Kind::Redis(_, feed) | Kind::Memory(_, feed) => feed,
        }
    }

    /// The value of a key that is there and not too old.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        self.get_many(&[key]).await.ok()?.into_iter().next().flatten()
    }

    /// The values of several keys, in one round trip; as many as keys.
    ///
    /// # Errors
    /// A server of any of the keys did not answer.
    pub async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>, CacheAway> {
        match &self.0 {
            Kind::Redis(remote, _) => remote.get_many(keys).await,
            Kind::Memory(memory, _) => {
                let mut found = Vec::with_capacity(keys.len());
                for key in keys {
                    found.push(memory.get(*key).await.map(|kept| kept.value));
                }
                Ok(found)
            }
        }
    }

    /// The value of a key, which is `value` where it has none yet: of several who ask at once, one sets it. What it
    /// lives stays as it was set.
    ///
    /// # Errors
    /// The server of the key did not answer: nobody else knows of `value`.
    pub async fn get_or_set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<Bytes, CacheAway> {
        match &self.0 {
            Kind::Redis(remote, _) => {
                let mut pipeline = Pipeline::with_capacity(2);
                let set = pipeline.cmd("SET").arg(key).arg(value.as_ref()).arg("PX").arg(millis(ttl));
                set.arg("NX").ignore().cmd("GET").arg(key);
                let node = remote.master(key).ok_or(CacheAway)?;
                let found: Option<(Option<Vec<u8>>,)> = remote.ask(&node, &pipeline).await;
                found.and_then(|(found,)| found).map(Bytes::from).ok_or(CacheAway)
            }
            Kind::Memory(memory, _) => {
                let kept = Kept { value, ttl };
                Ok(memory.entry_by_ref(key).or_insert(kept).await.into_value().value)
            }
        }
    }

    /// Keeps a value for `ttl`.
    pub async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Set {
        self.set_many(vec![(key.to_owned(), value)], ttl).await
    }

    /// Keeps several values for `ttl`, in one round trip.
    pub async fn set_many(&self, values: Vec<(String, Bytes)>, ttl: Duration) -> Set {
        match &self.0 {
            Kind::Redis(remote, _) => {
                let keys = values.iter().map(|(key, _)| key.as_str());
                let servers = remote.by_server(keys);
                let reached: usize = servers.iter().map(|(_, keys)| keys.len()).sum();
                let by_server = servers.into_iter().map(|(node, keys)| {
                    let mut pipeline = Pipeline::with_capacity(keys.len());
                    for (at, key) in keys {
                        let value = values.get(at).map(|(_, value)| value.as_ref()).unwrap_or_default();
                        pipeline.cmd("SET").arg(key).arg(value).arg("PX").arg(millis(ttl)).ignore();
                    }
                    remote.set(node, pipeline)
                });
                let all = join_all(by_server).await.into_iter().all(|set| set == Set::All);
                if all && reached == values.len() { Set::All } else { Set::Unsure }
            }
            Kind::Memory(memory, _) => {
                for (key, value) in values {
                    memory.insert(key, Kept { value, ttl }).await;
                }
                Set::All
            }
        }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Redis(..) => "Cache(redis)",
            Kind::Memory(..) => "Cache(memory)",
        })
    }
}

/// A time to live, as Redis takes it.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn memory(capacity_bytes: u64) -> moka::future::Cache<String, Kept> {
    moka::future::Cache::builder()
        .max_capacity(capacity_bytes)
        .weigher(|key: &String, kept: &Kept| {
            u32::try_from(key.len() + kept.value.len() + 64).unwrap_or(u32::MAX)
        })
        .expire_after(ByValue)
        .build()
}

impl Remote {
    /// The server of a key, or of a channel: in a cluster, who publishes learns of listeners at the same server only.
    pub(crate) fn master(&self, key: &str) -> Option<Arc<Node>> {
        self.servers.master(key).inspect_err(|error| self.failed(&error.to_string())).ok()
    }

    /// The keys of each server, each with its place. Those that no server has at the moment are left out.
    fn by_server<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Vec<(Arc<Node>, Places<'a>)> {
        let mut servers: Vec<(Arc<Node>, Places<'a>)> = Vec::new();
        for (at, key) in keys.enumerate() {
            let Some(node) = self.master(key) else { continue };
            match servers.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &node)) {
                Some((_, keys)) => keys.push((at, key)),
                None => servers.push((node, vec![(at, key)])),
            }
        }
        servers
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>, CacheAway> {
        let by_server = self.by_server(keys.iter().copied());
        if by_server.iter().map(|(_, keys)| keys.len()).sum::<usize>() < keys.len() {
            return Err(CacheAway);
        }
        let mut values = vec![None; keys.len()];
        for found in join_all(by_server.into_iter().map(|(node, keys)| self.get(node, keys))).await {
            for (at, value) in found? {
                if let Some(place) = values.get_mut(at) {
                    *place = value.map(Bytes::from);
                }
            }
        }
        Ok(values)
    }

    /// The values that one server has, each with its place.
    async fn get(
        &self,
        node: Arc<Node>,
        keys: Places<'_>,
    ) -> Result<Vec<(usize, Option<Vec<u8>>)>, CacheAway> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for (_, key) in &keys {
            pipeline.cmd("GET").arg(key);
        }
        let values: Vec<Option<Vec<u8>>> = self.ask(&node, &pipeline).await.ok_or(CacheAway)?;
        Ok(keys.into_iter().map(|(at, _)| at).zip(values).collect())
    }

    async fn set(&self, node: Arc<Node>, values: Pipeline) -> Set {
        self.ask::<()>(&node, &values).await.map_or(Set::Unsure, |()| Set::All)
    }

    /// The answer, or `None` when there is none in time.
    pub(crate) async fn ask<T: FromRedisValue>(&self, node: &Node, commands: &Pipeline) -> Option<T> {
        let asked: Result<Result<T, RedisError>, _> =
            tokio::time::timeout(self.timeout, node.call(Call::Pipeline(commands))).await;
        let cause = match asked {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => {
                self.servers.note(&error);
                error.to_string()
            }
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        self.failed(&cause);
        None
    }

    fn failed(&self, cause: &str) {
        metrics::counter!("sawpit_cache_errors_total").increment(1);
        self.warn(cause);
    }

    fn warn(&self, cause: &str) {
        let now = i64::try_from(self.opened.elapsed().as_millis()).unwrap_or(i64::MAX);
        let due = self.warn_at.load(Ordering::Relaxed);
        let next = now.saturating_add(i64::try_from(WARN_EVERY.as_millis()).unwrap_or(i64::MAX));
        let mine = || self.warn_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now >= due && mine() {
            tracing::warn!(cause, "the cache is away; answers come from the database");
        }
    }
}
