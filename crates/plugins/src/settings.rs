//! What the runtime may use. Every limit carries its unit in its type or its name.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sawpit_model::{Limits, Timestamp};

use crate::{BreakerLimits, EngineError, Scopes, TrustedKeys};

/// Where the runtime takes the time from, for `since` in the status and for guests that were granted `clock`.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How the runtime works and what it lets plugins use. Start from [`RuntimeSettings::new`].
#[derive(Clone)]
pub struct RuntimeSettings {
    /// The time.
    pub clock: Clock,
    /// What a log may be; patched logs are held to it as well.
    pub limits: Limits,
    /// How many threads call plugins at once, at least 1.
    pub threads: usize,
    /// Most instances alive at once, of all plugins together; at least `threads`. One of a component with three or
    /// four memories counts as two. Each reserves 8 GiB of address space (not of memory), so 1,000 are about as many
    /// as are sensible.
    pub instances: u32,
    /// How long a call may take where the plugin's manifest does not say; at least 1 ms.
    pub timeout: Duration,
    /// How long an instance may take to start: its own start-up code, `describe` and `configure`, each.
    pub start_timeout: Duration,
    /// How long proving a version may take once it is compiled: start, trial, golden cases and cost together.
    pub proving_timeout: Duration,
    /// When a call fails for a list of logs, each is tried alone, for at most this long altogether.
    pub isolate_timeout: Duration,
    /// Most devices of one plugin that are called apart because it used up its deadline on their logs, at least 1.
    pub suspect_devices: usize,
    /// Memory of one instance where the manifest does not say, in MiB: all its memories and tables together.
    pub memory_mib: u32,
    /// The most memory that a manifest may ask for, in MiB; at most 4,096.
    pub memory_mib_max: u32,
    /// How often the clock of the deadlines ticks, 1 to 5 ms. A deadline is kept to within two ticks.
    pub tick: Duration,
    /// An instance is replaced after this many calls, at least 1.
    pub instance_calls: u64,
    /// An instance is replaced once it holds more than this share of its memory limit, 1 to 100 percent.
    pub instance_memory_percent: u8,
    /// Largest `.wasm` file, in bytes.
    pub file_bytes: u64,
    /// Largest `.toml` file, in bytes.
    pub manifest_bytes: u64,
    /// Largest `.cases.ndjson` file, in bytes.
    pub cases_bytes: u64,
    /// Most logs in one call, 1 to 1,000. A longer list is cut into several calls.
    pub call_logs: usize,
    /// Most bytes of text in one call; a list with more is cut into several calls. One log always fits.
    pub call_bytes: usize,
    /// Most bytes that one call may hand back (see `Store::set_hostcall_fuel` of wasmtime).
    pub answer_bytes: usize,
    /// Most outputs of a transformer, as a multiple of its inputs; at least 1.
    pub outputs_per_input: usize,
    /// Reasons, error messages and lines from a guest are cut to this many bytes.
    pub text_bytes: usize,
    /// Lines that one call may write to the log; further ones are dropped.
    pub log_lines: u32,
    /// When a plugin that fails is bypassed, where its manifest does not say.
    pub breaker: BreakerLimits,
    /// Whose signatures are trusted, and whether one is required.
    pub trusted: TrustedKeys,
    /// Where compiled plugins are kept. None: compile at every start.
    pub cache_dir: Option<PathBuf>,
    /// Most bytes of compiled plugins that are kept; beyond it those go that were not used for longest.
    pub cache_bytes: u64,
    /// Where the metrics of a version are kept. None: where the process keeps its others, and for ever.
    pub scopes: Option<Scopes>,
}

impl RuntimeSettings {
    /// The defaults, for as many threads as the machine has cores, without a compile cache.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            clock,
            limits: Limits::default(),
            threads,
            instances: Self::instances_for(threads),
            timeout: Duration::from_millis(50),
            start_timeout: Duration::from_secs(1),
            proving_timeout: Duration::from_secs(30),
            isolate_timeout: Duration::from_secs(1),
            suspect_devices: 1_000,
            memory_mib: 64,
            memory_mib_max: 1_024,
            tick: Duration::from_millis(2),
            instance_calls: 100_000,
            instance_memory_percent: 50,
            file_bytes: 64 * 1024 * 1024,
            manifest_bytes: 1024 * 1024,
            cases_bytes: 4 * 1024 * 1024,
            call_logs: 1_000,
            call_bytes: 4 * 1024 * 1024,
            answer_bytes: 64 * 1024 * 1024,
            outputs_per_input: 16,
            text_bytes: 1_024,
            log_lines: 100,
            breaker: BreakerLimits::default(),
            trusted: TrustedKeys::default(),
            cache_dir: None,
            cache_bytes: 1024 * 1024 * 1024,
            scopes: None,
        }
    }

    /// How many instances there may be, unless it is said, where so many threads call plugins: 64 to 1,000.
    #[must_use]
    pub fn instances_for(threads: usize) -> u32 {
        u32::try_from(threads.saturating_mul(32)).unwrap_or(u32::MAX).clamp(64, 1_000)
    }

    /// The first relation that does not hold.
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let rules = [
            (self.threads >= 1, "threads must be at least 1"),
            (self.instances as usize >= self.threads, "instances must be at least threads"),
            (self.timeout >= Duration::from_millis(1), "timeout must be at least 1 ms"),
            (self.start_timeout >= Duration::from_millis(1), "start_timeout must be at least 1 ms"),
            (self.suspect_devices >= 1, "suspect_devices must be at least 1"),
            (self.proving_timeout >= Duration::from_millis(1), "proving_timeout must be at least 1 ms"),
            ((1..=4_096).contains(&self.memory_mib_max), "memory_mib_max must be 1 to 4096"),
            ((1..=self.memory_mib_max).contains(&self.memory_mib), "memory_mib must be 1 to memory_mib_max"),
            (
                (Duration::from_millis(1)..=Duration::from_millis(5)).contains(&self.tick),
                "tick must be 1 to 5 ms",
            ),
            (self.instance_calls >= 1, "instance_calls must be at least 1"),
            ((1..=100).contains(&self.instance_memory_percent), "instance_memory_percent must be 1 to 100"),
            ((1..=1_000).contains(&self.call_logs), "call_logs must be 1 to 1000"),
            (self.outputs_per_input >= 1, "outputs_per_input must be at least 1"),
            (self.text_bytes >= 64, "text_bytes must be at least 64"),
            (self.breaker.check().is_ok(), "breaker must keep the limits that a manifest's has"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => Err(EngineError::Settings { rule }),
        }
    }
}

impl fmt::Debug for RuntimeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeSettings")
            .field("threads", &self.threads)
            .field("instances", &self.instances)
            .field("timeout", &self.timeout)
            .field("memory_mib", &self.memory_mib)
            .field("cache_dir", &self.cache_dir)
            .finish_non_exhaustive()
    }
}
