//! The queue and the cache.

use std::time::Duration;

use sawpit_queue::QueueSettings;
use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;

/// The backlog's limit, which the host announces and the queue keeps.
pub const BACKLOG_LIMIT: SettingSpec =
    SettingSpec::new("backlog-limit", "N", "Messages waiting for workers at which posts are answered 503")
        .default("100000");

pub const QUEUE: SettingSpec = SettingSpec::new(
    "queue",
    "URL",
    "redis://HOST:PORT/DB, or a folder for the embedded queue of one process",
);

pub const CACHE: SettingSpec =
    SettingSpec::new("cache", "URL", "redis://HOST:PORT/DB or memory: ; the queue's Redis unless given");

pub const SPECS: &[SettingSpec] = &[
    BACKLOG_LIMIT,
    SettingSpec::new(
        "dead-limit",
        "N",
        "Dead letters at which no more are buried; what would be stays queued",
    )
    .default("100000"),
    SettingSpec::new("queue-connections", "N", "Connections to Redis that share the appends").default("4"),
    SettingSpec::new("append-timeout", "TIME", "Longest wait for an append").default("2s"),
    SettingSpec::new("idempotency-ttl", "TIME", "How long an Idempotency-Key is remembered").default("24h"),
    SettingSpec::new(
        "idempotency-keys",
        "N",
        "Most Idempotency-Keys that the embedded queue remembers; Redis's memory limits its own",
    )
    .default("1000000"),
    SettingSpec::new("batch", "N", "Messages that a worker reads at once").default("100"),
    SettingSpec::new("block", "TIME", "Longest wait of a worker for a message").default("5s"),
    SettingSpec::new("reclaim-idle", "TIME", "Time after which a batch of a silent worker goes to another")
        .default("60s"),
];

/// What is asked for under the same names by host and worker, as they share the queue.
pub fn resolve(resolver: &mut Resolver, url: Option<String>) -> Option<QueueSettings> {
    let backlog_limit = resolver.get_in("backlog-limit", 1..=u64::MAX);
    let dead_limit = resolver.get_in("dead-limit", 1..=u64::MAX);
    let connections = resolver.get_in("queue-connections", 1..=256);
    let append_timeout = resolver.get("append-timeout");
    let once_ttl = resolver.get_if(
        "idempotency-ttl",
        |ttl| (Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 60 * 60)).contains(ttl),
        "must be 1s to 366d",
    );
    let once_limit = resolver.get_in("idempotency-keys", 1..=u64::MAX);
    let batch = resolver.get_in("batch", 1..=10_000);
    let (block, reclaim_idle) = (resolver.get::<Duration>("block"), resolver.get::<Duration>("reclaim-idle"));
    if let (Some(block), Some(idle)) = (block, reclaim_idle) {
        let rule = "reclaim-idle must exceed block, or a worker that merely waits is robbed";
        resolver.check(idle > block, &["reclaim-idle", "block"], rule);
    }
    Some(QueueSettings {
        url: url?,
        connections: connections?,
        batch: batch?,
        block: block?,
        reclaim_idle: reclaim_idle?,
        backlog_limit: backlog_limit?,
        dead_limit: dead_limit?,
        append_timeout: append_timeout?,
        once_ttl: once_ttl?,
        once_limit: once_limit?,
        ..QueueSettings::default()
    })
}
