//! How batches are taken through.

use std::ops::RangeInclusive;
use std::time::Duration;

use sawpit_queue::QueueSettings;
use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;
use sawpit_worker::WorkerSettings;

pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new(
        "worker-name",
        "NAME",
        "Name among the workers; must differ from the others'; made up unless given",
    ),
    SettingSpec::new("batches-in-flight", "N", "Batches of a worker at once").default("4"),
    SettingSpec::new("worker-threads", "N", "Threads that run transforms; one per core unless given"),
    SettingSpec::new("retry-base", "TIME", "Longest first wait before a failed commit is tried again")
        .default("100ms"),
    SettingSpec::new("retry-max", "TIME", "Longest wait between two tries").default("5s"),
    SettingSpec::new("max-tries", "N", "Deliveries after which a message is buried").default("10"),
    SettingSpec::new("maintain-every", "TIME", "How often partitions are made ahead").default("1h"),
    SettingSpec::new(
        "ledger-keep",
        "TIME",
        "How long a batch that left the queue is known, should the queue forget that and deliver it again",
    )
    .default("24h"),
    SettingSpec::new(
        "consumer-keep",
        "TIME",
        "How long a worker that is gone stays among the queue's consumers",
    )
    .default("1d"),
    SettingSpec::new(
        "unready-after",
        "TIME",
        "How long batches may wait for the database until the worker is not ready",
    )
    .default("10s"),
    SettingSpec::new("retention", "TIME", "How long logs are kept, as in 30d; for ever unless given"),
];

/// Days are dropped whole, and the statistics show the last hours.
const SHORTEST_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// A failover takes longer than a minute to be over, and in a year nothing is delivered that left before.
const LEDGER_KEEP: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(366 * 24 * 60 * 60);

/// A worker that is gone for longer does not come back.
const LONGEST_KEEP: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What a worker shares with the other parts.
pub struct Shared<'a> {
    /// The process's: the worker's part of the drain gets as long.
    pub drain_timeout: Option<Duration>,
    /// Twice in its `reclaim_idle` a worker looks for messages of silent ones.
    pub queue: Option<&'a QueueSettings>,
    /// The hosts': so long a worker's mark that a cached answer is stale must live.
    pub cache_ttl: Option<Duration>,
}

pub fn resolve(resolver: &mut Resolver, shared: &Shared<'_>) -> Option<WorkerSettings> {
    let name = resolver.optional::<String>("worker-name");
    let in_flight = resolver.get_in("batches-in-flight", 1..=1_000);
    let threads = super::threads(resolver, "worker-threads");
    let mut time = |name| resolver.get_time(name, super::TIMES);
    let (retry_base, retry_max) = (time("retry-base"), time("retry-max"));
    let (maintain_every, unready_after) = (time("maintain-every"), time("unready-after"));
    let consumer_keep = resolver.get_time("consumer-keep", Duration::from_secs(1)..=LONGEST_KEEP);
    let max_tries = resolver.get_in("max-tries", 1..=1_000);
    if let (Some(isolate), Some(most)) = (shared.queue.map(|queue| queue.isolate_tries), max_tries) {
        let rule =
            "isolate-tries must not exceed max-tries, or what merely came with a culprit is buried with it";
        resolver.check(isolate <= most, &["isolate-tries", "max-tries"], rule);
    }
    let ledger_keep = ledger_keep(resolver, shared.queue.map(|queue| queue.reclaim_idle));
    let retention = resolver.optional::<Duration>("retention");
    if let Some(Some(retention)) = retention {
        resolver.check(retention >= SHORTEST_RETENTION, &["retention"], "must be a day (1d) at least");
    }
    if let (Some(base), Some(most)) = (retry_base, retry_max) {
        resolver.check(base <= most, &["retry-base", "retry-max"], "the first wait is over the longest");
    }
    Some(WorkerSettings {
        in_flight: in_flight?,
        threads: threads?.unwrap_or(0),
        drain_deadline: shared.drain_timeout?,
        retry_base: retry_base?,
        retry_max: retry_max?,
        max_tries: max_tries?,
        maintain_every: maintain_every?,
        ledger_keep: ledger_keep?,
        consumer_keep: consumer_keep?,
        unready_after: unready_after?,
        retention: retention?,
        reclaim_every: shared.queue?.reclaim_idle / 2,
        cache_ttl: shared.cache_ttl?,
        #[cfg(debug_assertions)]
        acknowledge_first: is_broken("ack-first"),
        #[cfg(debug_assertions)]
        forget_committed: is_broken("no-ledger"),
        ..WorkerSettings::new(name?.unwrap_or_else(made_up_name))
    })
}

/// A message whose worker died is taken over after 1.5 times `reclaim_idle` at the latest, and then looked up.
fn ledger_keep(resolver: &mut Resolver, reclaim_idle: Option<Duration>) -> Option<Duration> {
    let keep = resolver.get_if("ledger-keep", |keep| LEDGER_KEEP.contains(keep), "must be 1m to 366d");
    if let (Some(keep), Some(idle)) = (keep, reclaim_idle) {
        let rule = "ledger-keep must be more than twice reclaim-idle: what is stored must still be known when it comes \
                    again after its worker died, or it is stored twice";
        resolver.check(keep > idle.saturating_mul(2), &["ledger-keep", "reclaim-idle"], rule);
    }
    keep
}

/// How many threads run transforms.
pub fn threads(settings: &WorkerSettings) -> usize {
    if settings.threads == 0 { super::plugins::cores() } else { settings.threads }
}

/// What `cargo xtask chaos --break` asks for. Not a setting: nobody is to find it in `--help`, and release
/// builds do not have it.
#[cfg(debug_assertions)]
fn is_broken(what: &str) -> bool {
    std::env::var_os("SAWPIT_BREAK").is_some_and(|asked| asked == what)
}

/// Host, process and a random number: what restarts under the same pid in a new container must differ, too.
fn made_up_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}-{:08x}", host.trim(), std::process::id(), fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use clap::Command;
    use sawpit_service::settings::{SettingsErrors, args};

    use super::*;

    fn resolved_with(
        queue: &QueueSettings,
        given: &[(&str, &str)],
    ) -> Result<WorkerSettings, SettingsErrors> {
        let flags = Command::new("test").args(args(SPECS)).get_matches_from(["test"]);
        let env =
            |name: &str| given.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut resolver = Resolver::new(SPECS, &[], &flags, env);
        let second = Some(Duration::from_secs(1));
        let shared = Shared { drain_timeout: second, queue: Some(queue), cache_ttl: second };
        let settings = resolve(&mut resolver, &shared);
        resolver.finish(settings)
    }

    fn resolved(reclaim_idle: Duration, keep: Option<&str>) -> Result<WorkerSettings, SettingsErrors> {
        let queue = QueueSettings { reclaim_idle, ..QueueSettings::default() };
        let given: Vec<_> = keep.into_iter().map(|keep| ("SAWPIT_LEDGER_KEEP", keep)).collect();
        resolved_with(&queue, &given)
    }

    #[test]
    fn a_message_comes_alone_before_it_is_buried() {
        let queue = QueueSettings { isolate_tries: 3, ..QueueSettings::default() };
        assert!(resolved_with(&queue, &[("SAWPIT_MAX_TRIES", "3")]).is_ok());
        let text = resolved_with(&queue, &[("SAWPIT_MAX_TRIES", "2")]).unwrap_err().to_string();
        assert!(text.contains("isolate-tries must not exceed max-tries"), "{text}");
    }

    #[test]
    fn the_ledger_remembers_more_than_twice_as_long_as_messages_lie_idle() {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        for (idle, keep, taken) in [
            (hours(1), None, Some(hours(24))),
            (hours(12), None, None),
            (hours(30), None, None),
            (hours(30), Some("61h"), Some(hours(61))),
            (hours(30), Some("60h"), None),
            (Duration::from_secs(1), Some("59s"), None),
            (Duration::from_secs(1), Some("1m"), Some(Duration::from_secs(60))),
            (Duration::from_secs(1), Some("367d"), None),
        ] {
            let found = resolved(idle, keep).ok().map(|settings| settings.ledger_keep);
            assert_eq!(found, taken, "{idle:?} {keep:?}");
        }
        let text = resolved(hours(30), None).unwrap_err().to_string();
        assert!(text.contains("ledger-keep") && text.contains("stored twice"), "{text}");
    }
}
