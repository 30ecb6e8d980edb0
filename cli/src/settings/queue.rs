//! The queue and the cache.

use std::time::Duration;

use sawpit_queue::{MOST_PARTITIONS, QueueSettings, is_cluster};
use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;

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
    let append_timeout = resolver.get("append-timeout");
    let once_ttl = resolver.get_if(
        "idempotency-ttl",
        |ttl| (Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 60 * 60)).contains(ttl),
        "must be 1s to 366d",
    );
    let once_limit = resolver.get_in("idempotency-keys", 1..=u64::MAX);
    let batch = resolver.get_in("batch", 1..=10_000);
    let isolate_tries = resolver.get_in("isolate-tries", 2..=1_000);
    let (block, reclaim_idle) = (resolver.get::<Duration>("block"), resolver.get::<Duration>("reclaim-idle"));
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
        ..QueueSettings::default()
    })
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
