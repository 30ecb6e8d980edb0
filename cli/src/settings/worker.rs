//! How batches are taken through.

use std::time::Duration;

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

/// `drain_timeout` is the process's: the worker's part of the drain gets as long. `reclaim_idle` is the queue's: twice
/// in that time a worker looks for messages of silent ones.
pub fn resolve(
    resolver: &mut Resolver,
    drain_timeout: Option<Duration>,
    reclaim_idle: Option<Duration>,
) -> Option<WorkerSettings> {
    let name = resolver.optional::<String>("worker-name");
    let in_flight = resolver.get_in("batches-in-flight", 1..=1_000);
    let threads = resolver.optional("worker-threads");
    let (retry_base, retry_max) = (resolver.get("retry-base"), resolver.get("retry-max"));
    let max_tries = resolver.get_in("max-tries", 1..=1_000);
    let maintain_every = resolver.get("maintain-every");
    let (consumer_keep, unready_after) = (resolver.get("consumer-keep"), resolver.get("unready-after"));
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
        drain_deadline: drain_timeout?,
        retry_base: retry_base?,
        retry_max: retry_max?,
        max_tries: max_tries?,
        maintain_every: maintain_every?,
        consumer_keep: consumer_keep?,
        unready_after: unready_after?,
        retention: retention?,
        reclaim_every: reclaim_idle? / 2,
        #[cfg(debug_assertions)]
        acknowledge_first: acknowledges_first(),
        ..WorkerSettings::new(name?.unwrap_or_else(made_up_name))
    })
}

/// What `cargo xtask chaos --break ack-first` asks for. Not a setting: nobody is to find it in `--help`, and release
/// builds do not have it.
#[cfg(debug_assertions)]
fn acknowledges_first() -> bool {
    std::env::var_os("SAWPIT_BREAK").is_some_and(|what| what == "ack-first")
}

/// Host, process and a random number: what restarts under the same pid in a new container must differ, too.
fn made_up_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}-{:08x}", host.trim(), std::process::id(), fastrand::u32(..))
}
