//! The plugin runtime and the folder that it watches.

use std::path::PathBuf;
use std::time::Duration;

use sawpit_model::Limits;
use sawpit_plugins::{RegistrySettings, RuntimeSettings, TrustedKeys, Watch};
use sawpit_service::settings::{Resolver, one_of};
use sawpit_service::{ByteSize, Clock, FromSetting, SettingSpec};

use crate::parts::PluginSettings;

pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new("plugin-timeout", "TIME", "Longest call of a plugin whose manifest does not say")
        .default("50ms"),
    SettingSpec::new("plugin-memory-mib", "N", "Memory of an instance whose manifest does not say, in MiB")
        .default("64"),
    SettingSpec::new("plugin-memory-mib-max", "N", "Most memory that a manifest may ask for, in MiB")
        .default("1024"),
    SettingSpec::new(
        "plugin-instances",
        "N",
        "Most instances at once, of all plugins together; by the cores unless given",
    ),
    SettingSpec::new("plugin-instance-calls", "N", "Calls after which an instance is replaced")
        .default("100000"),
    SettingSpec::new(
        "plugin-instance-memory-percent",
        "N",
        "Share of its memory limit at which an instance is replaced",
    )
    .default("50"),
    SettingSpec::new("plugin-start-timeout", "TIME", "Longest start of an instance, and its configure")
        .default("1s"),
    SettingSpec::new(
        "plugin-proving-timeout",
        "TIME",
        "Longest proving of a version after it is compiled: start, trial, golden cases and cost",
    )
    .default("30s"),
    SettingSpec::new("plugin-proving", "N", "Most plugins that are proved at once").default("16"),
    SettingSpec::new(
        "plugin-isolate-timeout",
        "TIME",
        "Longest search for the culprit, log by log, after a call of many logs failed",
    )
    .default("1s"),
    SettingSpec::new(
        "plugin-suspect-devices",
        "N",
        "Most devices of a plugin that are called apart because it used up its deadline on their logs",
    )
    .default("1000"),
    SettingSpec::new("plugin-tick", "TIME", "How finely deadlines are kept, 1ms to 5ms").default("2ms"),
    SettingSpec::new("plugin-file-bytes", "SIZE", "Largest .wasm file").default("64MiB"),
    SettingSpec::new("plugin-files", "N", "Most .wasm files in the folder; those beyond are refused")
        .default("20000"),
    SettingSpec::new("plugin-manifest-bytes", "SIZE", "Largest manifest").default("1MiB"),
    SettingSpec::new("plugin-cases-bytes", "SIZE", "Largest file of golden cases").default("4MiB"),
    SettingSpec::new("plugin-call-logs", "N", "Most logs in one call of a plugin").default("1000"),
    SettingSpec::new("plugin-call-bytes", "SIZE", "Most text in one call; one log always fits")
        .default("4MiB"),
    SettingSpec::new("plugin-answer-bytes", "SIZE", "Most that one call may hand back").default("64MiB"),
    SettingSpec::new("plugin-outputs-per-input", "N", "Most logs that a transformer may make of one")
        .default("16"),
    SettingSpec::new("plugin-text-bytes", "SIZE", "Reasons, errors and lines of a plugin are cut to this")
        .default("1KiB"),
    SettingSpec::new("plugin-log-lines", "N", "Lines that one call may write to the log").default("100"),
    SettingSpec::new(
        "plugin-cache-bytes",
        "SIZE",
        "Most compiled plugins that are kept; beyond it those go that were not used for longest",
    )
    .default("1GiB"),
    SettingSpec::new(
        "plugin-settle",
        "TIME",
        "How long a file that was just written must rest before it is loaded",
    )
    .default("75ms"),
    SettingSpec::new(
        "plugin-watch",
        "HOW",
        "What tells of changes: events of the system, or poll: looking alone",
    )
    .default("events"),
    SettingSpec::new(
        "plugin-poll",
        "TIME",
        "Look at the folder this often as well, 10ms to 1h; for file systems that tell nothing",
    ),
    SettingSpec::new("require-signature", "BOOL", "Refuse plugins that no trusted key signed").switch(),
    // Not secret, but the secret key is easily given in its place, and must not get into a log.
    SettingSpec::new("trusted-keys", "KEY|FILE", "minisign public keys, or files of them").list().secret(),
];

/// One thread per core, as the plugin calls are pure computation.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The runtime and the folder that it watches.
pub fn resolve(
    resolver: &mut Resolver,
    limits: Option<Limits>,
    compiled: Option<PathBuf>,
) -> Option<PluginSettings> {
    let folder = resolver.get("plugins");
    let runtime = runtime(resolver, limits, compiled);
    let registry = registry(resolver);
    Some(PluginSettings { folder: folder?, runtime: runtime?, registry: registry? })
}

/// How the folder is watched.
fn registry(resolver: &mut Resolver) -> Option<RegistrySettings> {
    let watch = resolver.get::<WatchBy>("plugin-watch");
    let poll = resolver.optional::<Duration>("plugin-poll");
    if let Some(Some(poll)) = poll {
        let polls = Duration::from_millis(10)..=Duration::from_secs(3_600);
        resolver.check(polls.contains(&poll), &["plugin-poll"], "must be 10ms to 1h");
    }
    let settle =
        resolver.get_if("plugin-settle", |time| *time <= Duration::from_secs(60), "must be at most 60s");
    let (files, proving) =
        (resolver.get_in("plugin-files", 1..=1_000_000), resolver.get_in("plugin-proving", 1..=1_000));
    let (poll, settle) = (poll?, settle?);
    Some(RegistrySettings { watch: watch?.0, poll, settle, files: files?, proving: proving? })
}

/// As `plugin-watch` is written.
struct WatchBy(Watch);

impl FromSetting for WatchBy {
    fn from_setting(text: &str) -> Result<Self, String> {
        one_of(text, &[("events", Watch::Events), ("poll", Watch::Poll)]).map(Self)
    }
}

/// The same for a process where so many threads call plugins, as the settings `names` say: as many instances may be
/// idle, and there are more than that unless it was given how many.
pub fn with_threads(
    resolver: &mut Resolver,
    settings: Option<PluginSettings>,
    threads: Option<usize>,
    names: &[&str],
) -> Option<PluginSettings> {
    let (mut settings, threads) = (settings?, threads?);
    let runtime = &mut settings.runtime;
    runtime.threads = threads;
    if !resolver.is_given("plugin-instances") {
        runtime.instances = RuntimeSettings::instances_for(threads);
    }
    let rule = "there must be an instance for each thread that calls plugins";
    let enough = usize::try_from(runtime.instances).is_ok_and(|instances| instances >= threads);
    resolver.check(enough && threads > 0, &[&["plugin-instances"], names].concat(), rule);
    Some(settings)
}

/// The runtime alone, for commands that work on one file.
pub fn runtime(
    resolver: &mut Resolver,
    limits: Option<Limits>,
    compiled: Option<PathBuf>,
) -> Option<RuntimeSettings> {
    let timeout = resolver.get_if(
        "plugin-timeout",
        |time| (Duration::from_millis(1)..=Duration::from_secs(60)).contains(time),
        "must be 1ms to 60s",
    );
    let memory_mib_max = resolver.get_in("plugin-memory-mib-max", 1..=4_096);
    let memory_mib = resolver.get_in("plugin-memory-mib", 1..=4_096);
    let instances = resolver.optional::<u32>("plugin-instances");
    if let Some(Some(instances)) = instances {
        resolver.check((1..=1_000).contains(&instances), &["plugin-instances"], "must be 1 to 1000");
    }
    let by_cores = RuntimeSettings::new(Clock::system().reader());
    let instance_calls = resolver.get_in("plugin-instance-calls", 1..=u64::MAX);
    let tick = resolver.get_if(
        "plugin-tick",
        |time| (Duration::from_millis(1)..=Duration::from_millis(5)).contains(time),
        "must be 1ms to 5ms",
    );
    let most_instances = by_cores.instances;
    let cache_bytes = resolver.get_in("plugin-cache-bytes", ByteSize(0)..=ByteSize(1 << 50));
    let calls = calls(resolver, by_cores);
    let trusted = trusted(resolver);
    if let (Some(most), Some(default)) = (memory_mib_max, memory_mib) {
        resolver.check(
            default <= most,
            &["plugin-memory-mib", "plugin-memory-mib-max"],
            "the default is over the maximum",
        );
    }
    let instances = instances?.unwrap_or(most_instances);
    Some(RuntimeSettings {
        limits: limits?,
        // What calls plugins is known later; one command calls them by itself.
        threads: cores().min(usize::try_from(instances).unwrap_or(usize::MAX)),
        instances,
        timeout: timeout?,
        memory_mib: memory_mib?,
        memory_mib_max: memory_mib_max?,
        tick: tick?,
        instance_calls: instance_calls?,
        trusted: trusted?,
        cache_dir: compiled,
        cache_bytes: cache_bytes?.0,
        ..calls?
    })
}

/// The limits of files, starts and calls.
fn calls(resolver: &mut Resolver, others: RuntimeSettings) -> Option<RuntimeSettings> {
    let mut time = |name| {
        let times = Duration::from_millis(1)..=Duration::from_secs(60);
        resolver.get_if(name, |time| times.contains(time), "must be 1ms to 60s")
    };
    let (start_timeout, isolate_timeout) = (time("plugin-start-timeout"), time("plugin-isolate-timeout"));
    let proving_timeout = resolver.get_if(
        "plugin-proving-timeout",
        |time| (Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(time),
        "must be 1ms to 1h",
    );
    let mut size =
        |name, least| resolver.get_in(name, ByteSize(least)..=ByteSize(1 << 30)).map(|size| size.0);
    let files =
        (size("plugin-file-bytes", 1), size("plugin-manifest-bytes", 1), size("plugin-cases-bytes", 1));
    let bytes = (size("plugin-call-bytes", 1), size("plugin-answer-bytes", 1), size("plugin-text-bytes", 64));
    let instance_memory_percent = resolver.get_in("plugin-instance-memory-percent", 1..=100_u16);
    let suspect_devices = resolver.get_in("plugin-suspect-devices", 1..=1_000_000);
    let call_logs = resolver.get_in("plugin-call-logs", 1..=1_000);
    let outputs_per_input = resolver.get_in("plugin-outputs-per-input", 1..=1_000_000);
    let log_lines = resolver.get("plugin-log-lines");
    let (call_bytes, answer_bytes, text_bytes) = bytes;
    let usize_of = |bytes: Option<u64>| bytes.and_then(|bytes| usize::try_from(bytes).ok());
    Some(RuntimeSettings {
        start_timeout: start_timeout?,
        proving_timeout: proving_timeout?,
        isolate_timeout: isolate_timeout?,
        suspect_devices: suspect_devices?,
        instance_memory_percent: u8::try_from(instance_memory_percent?).ok()?,
        file_bytes: files.0?,
        manifest_bytes: files.1?,
        cases_bytes: files.2?,
        call_logs: call_logs?,
        call_bytes: usize_of(call_bytes)?,
        answer_bytes: usize_of(answer_bytes)?,
        outputs_per_input: outputs_per_input?,
        text_bytes: usize_of(text_bytes)?,
        log_lines: log_lines?,
        ..others
    })
}

/// The keys are read here, so that a wrong one is a mistake in the settings and not a plugin that is refused later.
fn trusted(resolver: &mut Resolver) -> Option<TrustedKeys> {
    let required = resolver.get::<bool>("require-signature");
    let given = resolver.list::<String>("trusted-keys");
    let (required, given) = (required?, given?);
    match TrustedKeys::read(&given, required) {
        Ok(trusted) => {
            let rule = "a signature is required, and no key is trusted: give its public key or its .pub file";
            resolver.check(
                !required || !trusted.keys.is_empty(),
                &["require-signature", "trusted-keys"],
                rule,
            );
            Some(trusted)
        }
        Err(error) => {
            resolver.mistake("trusted-keys", &error.to_string());
            None
        }
    }
}
