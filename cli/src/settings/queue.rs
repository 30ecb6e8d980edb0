//! The queue and the cache.

use std::time::Duration;

use sawpit_queue::{CacheSettings, MOST_PARTITIONS, QueueSettings, is_cluster};
use sawpit_service::settings::Resolver;
use sawpit_service::{ByteSize, SettingSpec};

use crate::parts::CachePart;

/// The backlog's limit, which the host announces and the queue keeps.
pub const BACKLOG_LIMIT: SettingSpec =
    SettingSpec::new("backlog-limit", "N", "Messages waiting for workers at which posts are answered 503")
        .default("100000");

pub const QUEUE: SettingSpec = SettingSpec::new(
    "queue",
    "URL",
    "redis://HOST:PORT/DB, redis+cluster://HOST:PORT,HOST:PORT, by TLS rediss: and rediss+cluster:, or a folder for the embedded queue of one process",
);

pub const CACHE: SettingSpec = SettingSpec::new(
    "cache",
    "URL",
    "As --queue on Redis, shared by hosts and workers; the queue's Redis unless given",
);

/// Partitions of a Redis Cluster unless said otherwise: some for each of a few servers.
const CLUSTER_PARTITIONS: u16 = 16;

pub const SPECS: &[SettingSpec] = &[
    BACKLOG_LIMIT,
    SettingSpec::new(
        "dead-limit",
        "N",
        "Dead letters at which no more are buried; what would be stays queued",
    )
    .default("100000"),
    SettingSpec::new(
        "partitions",
        "N",
        "Streams on Redis that logs are spread over by device; 1 unless given, 16 in a cluster",
    ),
    SettingSpec::new(
        "min-replicas",
        "N",
        "Replicas of a Redis that must have a log before it is answered `queued`",
    )
    .default("0"),
    SettingSpec::new("queue-connections", "N", "Connections to each Redis that share the appends")
        .default("4"),
    SettingSpec::new("append-timeout", "TIME", "Longest wait for an append").default("2s"),
    SettingSpec::new("idempotency-ttl", "TIME", "How long an Idempotency-Key is remembered").default("24h"),
    SettingSpec::new(
        "idempotency-keys",
        "N",
        "Most Idempotency-Keys that the embedded queue remembers; Redis's memory limits its own",
    )
    .default("1000000"),
    SettingSpec::new(
        "queue-group-bytes",
        "SIZE",
        "Bytes with which a transaction of the embedded queue is full; further appends go into the next",
    )
    .default("16MiB"),
    SettingSpec::new(
        "queue-waiting-bytes",
        "SIZE",
        "Most bytes of appends that wait for the embedded queue's disk; beyond it 503",
    )
    .default("256MiB"),
    SettingSpec::new("cache-memory-bytes", "SIZE", "Most bytes of a cache in memory (memory:)")
        .default("64MiB"),
    SettingSpec::new(
        "cache-timeout",
        "TIME",
        "Longest wait for a cache on Redis; beyond it the database is asked",
    )
    .default("50ms"),
    SettingSpec::new("batch", "N", "Messages that a worker reads at once").default("100"),
    SettingSpec::new("block", "TIME", "Longest wait of a worker for a message").default("5s"),
    SettingSpec::new(
        "isolate-tries",
        "N",
        "Deliveries from which a message comes alone, in case it is what ends the worker",
    )
    .default("3"),
    SettingSpec::new("reclaim-idle", "TIME", "Time after which a batch of a silent worker goes to another")
        .default("60s"),
];

/// What is asked for under the same names by host and worker, as they share the queue.
pub fn resolve(resolver: &mut Resolver, url: Option<String>) -> Option<QueueSettings> {
    let backlog_limit = resolver.get_in("backlog-limit", 1..=u64::MAX);
    let dead_limit = resolver.get_in("dead-limit", 1..=u64::MAX);
    let partitions = partitions(resolver, url.as_deref());
    let min_replicas = resolver.get_in("min-replicas", 0..=16);
    let connections = resolver.get_in("queue-connections", 1..=256);
    let append_timeout = resolver.get_time("append-timeout", super::TIMES);
    let a_year = Duration::from_secs(366 * 24 * 60 * 60);
    let once_ttl = resolver.get_time("idempotency-ttl", Duration::from_secs(1)..=a_year);
    let once_limit = resolver.get_in("idempotency-keys", 1..=u64::MAX);
    let batch = resolver.get_in("batch", 1..=10_000);
    let isolate_tries = resolver.get_in("isolate-tries", 2..=1_000);
    let mut size = |name| resolver.get_in(name, ByteSize(1)..=ByteSize(1 << 40)).map(ByteSize::as_usize);
    let (group_bytes, waiting_bytes) = (size("queue-group-bytes"), size("queue-waiting-bytes"));
    let mut time = |name| resolver.get_time(name, super::TIMES);
    let (block, reclaim_idle) = (time("block"), time("reclaim-idle"));
    if let (Some(block), Some(idle)) = (block, reclaim_idle) {
        let rule = "reclaim-idle must exceed block, or a worker that merely waits is robbed";
        resolver.check(idle > block, &["reclaim-idle", "block"], rule);
    }
    Some(QueueSettings {
        url: url?,
        partitions: Some(partitions?),
        min_replicas: min_replicas?,
        connections: connections?,
        batch: batch?,
        block: block?,
        reclaim_idle: reclaim_idle?,
        isolate_tries: isolate_tries?,
        backlog_limit: backlog_limit?,
        dead_limit: dead_limit?,
        append_timeout: append_timeout?,
        once_ttl: once_ttl?,
        once_limit: once_limit?,
        group_bytes: group_bytes?,
        waiting_bytes: waiting_bytes?,
        ..QueueSettings::default()
    })
}

/// The cache at this URL.
pub fn cache(resolver: &mut Resolver, url: String) -> Option<CachePart> {
    let bytes = resolver.get_in("cache-memory-bytes", ByteSize(0)..=ByteSize(1 << 40));
    let timeout = resolver.get_time("cache-timeout", super::TIMES);
    Some(CachePart { url, settings: CacheSettings { capacity_bytes: bytes?.0, timeout: timeout? } })
}

fn partitions(resolver: &mut Resolver, url: Option<&str>) -> Option<u16> {
    let given = resolver.optional::<u16>("partitions");
    if let Some(Some(given)) = given {
        resolver.check((1..=MOST_PARTITIONS).contains(&given), &["partitions"], "must be 1 to 1024");
    }
    let cluster = url.is_some_and(is_cluster);
    Some(given?.unwrap_or(if cluster { CLUSTER_PARTITIONS } else { 1 }))
}

#[cfg(test)]
mod tests {
    use clap::Command;
    use sawpit_service::settings::{SettingsErrors, args};

    use super::*;

    fn resolved(url: &str, given: &[(&str, &str)]) -> Result<QueueSettings, SettingsErrors> {
        let flags = Command::new("test").args(args(SPECS)).get_matches_from(["test"]);
        let env =
            |name: &str| given.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut resolver = Resolver::new(SPECS, &[], &flags, env);
        let settings = resolve(&mut resolver, Some(url.to_owned()));
        resolver.finish(settings)
    }

    #[test]
    fn partitions_are_1_to_1024_and_a_cluster_has_some_unless_told() {
        let of = |url: &str, given: &[(&str, &str)]| resolved(url, given).ok().and_then(|one| one.partitions);
        assert_eq!(of("redis://h", &[]), Some(1));
        assert_eq!(of("redis+cluster://h", &[]), Some(16));
        for (given, taken) in [("0", None), ("1", Some(1)), ("1024", Some(1024)), ("1025", None), ("x", None)]
        {
            assert_eq!(of("redis+cluster://h", &[("SAWPIT_PARTITIONS", given)]), taken, "{given}");
        }
    }

    #[test]
    fn replicas_to_wait_for_are_0_to_16() {
        for (given, taken) in [("0", Some(0)), ("16", Some(16)), ("17", None)] {
            let found = resolved("redis://h", &[("SAWPIT_MIN_REPLICAS", given)]).ok();
            assert_eq!(found.map(|one| one.min_replicas), taken, "{given}");
        }
    }
}
