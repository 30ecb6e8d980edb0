//! Answers kept for a while: in Redis, shared by all hosts, or in memory.
//!
//! A cache that is away makes answers slower, never wrong and never absent: every failure is a miss.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::Expiry;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Pipeline};

use crate::OpenError;
use crate::feed::Feed;
use crate::redis::{client, shown};

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

#[derive(Clone)]
enum Kind {
    Redis(Arc<Remote>, Feed),
    Memory(moka::future::Cache<String, Kept>, Feed),
}

/// The cache's server, and how long it is waited for.
pub(crate) struct Remote {
    pub(crate) client: Client,
    connection: ConnectionManager,
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
    /// Opens `redis://host:port/db` or `memory:`. Redis need not be there yet.
    ///
    /// # Errors
    /// The URL names no cache.
    pub async fn open(url: &str, settings: CacheSettings) -> Result<Self, OpenError> {
        if url == "memory:" {
            return Ok(Self(Kind::Memory(memory(settings.capacity_bytes), Feed::here())));
        }
        let bad = |why: String| OpenError::Url { url: shown(url), why };
        if !url.starts_with("redis:") {
            return Err(bad("a cache is redis://host:port/db or memory:".to_owned()));
        }
        let client = client(url).map_err(|error| bad(error.to_string()))?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(settings.timeout))
            .set_response_timeout(Some(settings.timeout));
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)
            .map_err(|error| bad(error.to_string()))?;
        let remote = Arc::new(Remote {
            client,
            connection,
            timeout: settings.timeout,
            opened: Instant::now(),
            warn_at: AtomicI64::new(0),
        });
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
        self.get_many(&[key]).await.into_iter().next().flatten()
    }

    /// The values of several keys, in one round trip; as many as keys.
    pub async fn get_many(&self, keys: &[&str]) -> Vec<Option<Bytes>> {
        if keys.is_empty() {
            return Vec::new();
        }
        match &self.0 {
            Kind::Redis(remote, _) => {
                let mut command = redis::cmd("MGET");
                let found =
                    remote.ask(async |connection| command.arg(keys).query_async(connection).await).await;
                let found: Vec<Option<Vec<u8>>> = found.unwrap_or_default();
                let mut found: Vec<_> = found.into_iter().map(|value| value.map(Bytes::from)).collect();
                found.resize(keys.len(), None);
                found
            }
            Kind::Memory(memory, _) => {
                let mut found = Vec::with_capacity(keys.len());
                for key in keys {
                    found.push(memory.get(*key).await.map(|kept| kept.value));
                }
                found
            }
        }
    }

    /// The value of a key, which is `value` where it has none yet: of several who ask at once, one sets it. What it
    /// lives stays as it was set.
    pub async fn get_or_set(&self, key: &str, value: Bytes, ttl: Duration) -> Bytes {
        match &self.0 {
            Kind::Redis(remote, _) => {
                let mut pipeline = Pipeline::with_capacity(2);
                let set = pipeline.cmd("SET").arg(key).arg(value.as_ref()).arg("PX").arg(millis(ttl));
                set.arg("NX").ignore().cmd("GET").arg(key);
                let found = remote.ask(async |connection| pipeline.query_async(connection).await).await;
                let found: Option<(Option<Vec<u8>>,)> = found;
                found.and_then(|(found,)| found).map_or(value, Bytes::from)
            }
            Kind::Memory(memory, _) => {
                let kept = Kept { value, ttl };
                memory.entry_by_ref(key).or_insert(kept).await.into_value().value
            }
        }
    }

    /// Keeps a value for `ttl`.
    pub async fn set(&self, key: &str, value: Bytes, ttl: Duration) {
        self.set_many(vec![(key.to_owned(), value)], ttl).await;
    }

    /// Keeps several values for `ttl`, in one round trip.
    pub async fn set_many(&self, values: Vec<(String, Bytes)>, ttl: Duration) {
        match &self.0 {
            Kind::Redis(remote, _) => {
                let mut pipeline = Pipeline::with_capacity(values.len());
                for (key, value) in &values {
                    pipeline.cmd("SET").arg(key).arg(value.as_ref()).arg("PX").arg(millis(ttl)).ignore();
                }
                remote.ask(async |connection| pipeline.query_async::<()>(connection).await).await;
            }
            Kind::Memory(memory, _) => {
                for (key, value) in values {
                    memory.insert(key, Kept { value, ttl }).await;
                }
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
    /// The answer, or `None` when there is none in time.
    pub(crate) async fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, redis::RedisError>,
    ) -> Option<T> {
        let mut connection = self.connection.clone();
        let cause = match tokio::time::timeout(self.timeout, ask(&mut connection)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        metrics::counter!("sawpit_cache_errors_total").increment(1);
        self.warn(&cause);
        None
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
