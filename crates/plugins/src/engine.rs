//! wasmtime, narrowed to what plugins need: compile with a cache, link, start with limits.
//!
//! One engine and one pool of instance slots for all plugins. Deadlines are epochs, ticked by a thread of
//! the standard library: an async timer would stop together with the executor that a guest blocks.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{
    Config, Engine, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use crate::bindings::FullPlugin;
use crate::cache::Cache;
use crate::host::GuestState;
use crate::instance::Permits;
use crate::load::Tried;
use crate::{EngineError, LoadError, Plugin, RuntimeSettings, load, wasi};

/// Memory of a slot that is zeroed rather than given back to the system, in bytes.
const KEEP_RESIDENT_BYTES: usize = 1024 * 1024;
/// The same for the tables of a slot.
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 * 1024;
/// Entries of one table; what whole JavaScript engines need is about 10,000.
const TABLE_ENTRIES: usize = 100_000;
/// Instances of core modules that one component may be made of.
const CORE_INSTANCES_PER_COMPONENT: u32 = 32;
/// Memories of all its core modules together.
const MEMORIES_PER_COMPONENT: u32 = 4;
/// Tables of all its core modules together.
const TABLES_PER_COMPONENT: u32 = 8;
/// Memory slots, which cost address space, for each instance that may live: a component with more of them takes
/// the place of two.
const MEMORIES_PER_INSTANCE: u32 = 2;
/// Frames of a guest's trace that are looked at. Some ten of a panic are not shown.
const TRACE_FRAMES: usize = 32;
/// Most time that the clock of the deadlines makes up for when its thread was not woken.
const MOST_BEHIND: Duration = Duration::from_millis(100);
/// Longest wait for others to have compiled, before it is done beside them all the same.
const LONGEST_TURN: Duration = Duration::from_secs(600);
/// Stack of a guest, in bytes. The threads that call have 2 MiB.
const STACK_BYTES: usize = 512 * 1024;

/// Loads and runs plugins. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Inner>);

/// What all plugins share.
pub(crate) struct Inner {
    pub engine: Engine,
    pub settings: RuntimeSettings,
    pub permits: Arc<Permits>,
    pub cache: Option<Cache>,
    /// One for each file that is compiled; more at once would only take more memory.
    compiling: Arc<Permits>,
    /// Whether the engine counts fuel.
    pub metered: bool,
    beat: Arc<Beat>,
    plain: Linker<GuestState>,
    wasi: Linker<GuestState>,
}

impl Runtime {
    /// Sets up the engine and starts the thread that ticks the deadlines; it ends with the last clone.
    ///
    /// # Errors
    /// Settings that contradict each other, too little address space, or an unsafe cache folder.
    pub fn new(settings: RuntimeSettings) -> Result<Self, EngineError> {
        Self::with(settings, false)
    }

    /// The same, with an engine that counts fuel, which makes guests slower.
    pub(crate) fn metered(settings: RuntimeSettings) -> Result<Self, EngineError> {
        Self::with(settings, true)
    }

    fn with(settings: RuntimeSettings, metered: bool) -> Result<Self, EngineError> {
        settings.check()?;
        let wrong = |error: wasmtime::Error| EngineError::Engine { cause: format!("{error:#}") };
        let engine = Engine::new(config(&settings).consume_fuel(metered)).map_err(wrong)?;
        let plain = linker(&engine).map_err(wrong)?;
        let mut with_wasi = linker(&engine).map_err(wrong)?;
        wasi::link(&mut with_wasi).map_err(wrong)?;
        let open = |folder| Cache::open(folder, &engine, settings.cache_bytes);
        let cache = settings.cache_dir.as_deref().map(open).transpose()?;
        let compiling = Arc::new(Permits::new(available_parallelism().map_or(1, usize::from), 0));
        let beat = Arc::new(Beat::new());
        tick(engine.weak(), settings.tick, Arc::clone(&beat)).map_err(EngineError::Thread)?;
        let permits = Arc::new(Permits::new(settings.instances as usize, settings.threads));
        Ok(Self(Arc::new(Inner {
            engine,
            settings,
            permits,
            cache,
            compiling,
            metered,
            beat,
            plain,
            wasi: with_wasi,
        })))
    }

    /// Loads and proves the file at `wasm`, with the manifest beside it (`NAME.toml` for `NAME.wasm`).
    /// Compiles, so it may take seconds for a large file.
    ///
    /// # Errors
    /// Why the file may not serve.
    pub fn load(&self, wasm: &Path) -> Result<Arc<Plugin>, LoadError> {
        load::from_path(self, wasm)
    }

    /// The same for who tries the plugin out: one that starts is handed over though its trial, its golden cases or its
    /// budget refuse it. It must serve nobody else.
    ///
    /// # Errors
    /// Why it cannot be called.
    pub fn load_to_try(&self, wasm: &Path) -> Result<Tried, LoadError> {
        load::to_try(self, wasm)
    }

    pub(crate) fn is_metered(&self) -> bool {
        self.0.metered
    }

    /// What the runtime was set up with.
    #[must_use]
    pub fn settings(&self) -> &RuntimeSettings {
        &self.0.settings
    }
}

impl Inner {
    /// The linker for a component; WASI is there only for those that import it.
    pub const fn linker(&self, wants_wasi: bool) -> &Linker<GuestState> {
        if wants_wasi { &self.wasi } else { &self.plain }
    }

    /// Compiles, or takes what was compiled before. `bytes` is asked for only when it must be compiled.
    pub fn compile(
        &self,
        hash: &blake3::Hash,
        bytes: impl FnOnce() -> Result<Vec<u8>, LoadError>,
    ) -> Result<Component, LoadError> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.get(&self.engine, hash)) {
            return Ok(component);
        }
        let _turn = self.compiling.take(1, LONGEST_TURN);
        let component = Component::new(&self.engine, bytes()?)
            .map_err(|error| LoadError::Compile { cause: format!("{error:#}") })?;
        if let Some(cache) = &self.cache {
            cache.put(hash, &component);
        }
        Ok(component)
    }

    /// How many ticks a budget is: rounded up, with those that are overdue, and one more for the tick that has begun.
    pub fn ticks(&self, budget: Duration) -> u64 {
        let ticks = budget
            .saturating_add(self.beat.behind())
            .as_nanos()
            .div_ceil(self.settings.tick.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX / 2).saturating_add(1)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

fn config(settings: &RuntimeSettings) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .max_wasm_stack(STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(TRACE_FRAMES))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
    config
}

/// How many permits an instance of it takes, so that whoever has them finds a slot for each of its memories. Of core
/// instances and tables there are enough for any component.
pub(crate) fn weight(component: &Component) -> usize {
    let memories = component.resources_required().map_or(MEMORIES_PER_COMPONENT, |needs| needs.num_memories);
    memories.div_ceil(MEMORIES_PER_INSTANCE).max(1) as usize
}

fn pool(settings: &RuntimeSettings) -> PoolingAllocationConfig {
    let instances = settings.instances;
    let memories = instances.saturating_mul(MEMORIES_PER_INSTANCE).max(MEMORIES_PER_COMPONENT);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(memories)
        .total_tables(instances.saturating_mul(TABLES_PER_COMPONENT))
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .max_memory_size((settings.memory_mib_max as usize) << 20)
        .table_elements(TABLE_ENTRIES)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES);
    pool
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    FullPlugin::add_to_linker::<_, HasSelf<GuestState>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// Up to when the deadlines' clock has ticked.
struct Beat {
    began: Instant,
    /// Since then, in nanoseconds.
    ticked: AtomicU64,
}

impl Beat {
    fn new() -> Self {
        Self { began: Instant::now(), ticked: AtomicU64::new(0) }
    }

    /// The time that it is behind, as far as it makes up for that.
    fn behind(&self) -> Duration {
        self.missing().min(MOST_BEHIND)
    }

    fn missing(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_nanos(self.ticked.load(Ordering::Acquire)))
    }

    fn ticked(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.ticked.fetch_add(nanos, Ordering::Release);
    }
}

/// Ticks by the clock: on a busy machine a sleep of 2 ms takes several times as long, and a deadline of as many sleeps
/// with it.
fn tick(engine: EngineWeak, every: Duration, beat: Arc<Beat>) -> std::io::Result<()> {
    let run = move || {
        while let Some(engine) = engine.upgrade() {
            // Who was stopped for longer does not let the calls pay for it.
            beat.ticked(beat.missing().saturating_sub(MOST_BEHIND));
            while beat.missing() >= every {
                engine.increment_epoch();
                beat.ticked(every);
            }
            drop(engine);
            std::thread::sleep(every);
        }
    };
    std::thread::Builder::new().name("plugin-epochs".to_owned()).spawn(run).map(drop)
}
