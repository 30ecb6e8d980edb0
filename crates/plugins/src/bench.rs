//! What a plugin costs: fuel, which is the same number in every run, and time, which is not.
//!
//! Fuel is counted by a second engine that meters it, with everything else as in production; time and bytes
//! are taken on an engine as it serves.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sawpit_model::Log;
use serde::Serialize;

use crate::budget::{self, MeasuredLogs};
use crate::call::Terms;
use crate::source::Source;
use crate::{
    CallError, EngineError, LoadError, Manifest, Plugin, Runtime, RuntimeSettings, Stage, call, load,
};

/// The sizes of call that are timed, in logs: a single post and a worker's batch.
const CALL_LOGS: [usize; 2] = [1, 100];

/// Longest call of a bench.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one plugin costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// `name@version#hash`.
    pub plugin: String,
    /// One per stage.
    pub stages: Vec<StageCost>,
    /// Most memory that an instance held: all its memories and tables, in bytes.
    pub memory_bytes: usize,
}

/// What one stage of it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageCost {
    /// The stage.
    pub stage: Stage,
    /// Fuel (about one for each WebAssembly instruction) for a call with one log: the mean over the logs,
    /// rounded up. The same in every run with the same file, manifest, logs and engine.
    pub fuel_per_log: u64,
    /// The dearest of the logs.
    pub fuel_max: u64,
    /// Time and bytes, for each size of call.
    pub calls: Vec<CallCost>,
}

/// What a call of some size costs per log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallCost {
    /// Logs in the call.
    pub logs: usize,
    /// Median time, boundary and checks of the answer included, in nanoseconds per log.
    pub ns_per_log: f64,
    /// Bytes copied into the guest, per log.
    pub to_guest_bytes_per_log: f64,
    /// Bytes copied out of it, per log.
    pub from_guest_bytes_per_log: f64,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The runtime cannot start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The plugin may not serve.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is nothing to measure with.
    #[error("a bench needs at least one log")]
    NoLogs,
    /// The plugin failed in a call.
    #[error("{stage} failed on {log} (try the same logs with `sawpit plugin test`): {cause}")]
    Call {
        /// The stage.
        stage: Stage,
        /// Which log.
        log: String,
        /// How.
        cause: CallError,
    },
}

/// Measures the plugin at `wasm` on `logs`, or on its golden cases where none are given, as the budget of its manifest
/// is checked; on the samples of the trial where it has no cases. Each size of call is timed for about `measure`. A
/// guest that was granted the clock always reads the time of the first log.
///
/// # Errors
/// The plugin may not serve, or fails in a call.
pub fn bench(
    settings: &RuntimeSettings,
    wasm: &Path,
    logs: Option<&[Log]>,
    measure: Duration,
) -> Result<Bench, BenchError> {
    let source = Source::read_named(wasm, settings)?;
    let manifest = source.manifest(settings)?;
    let logs = match logs {
        Some([]) => return Err(BenchError::NoLogs),
        Some(logs) => MeasuredLogs::given(logs),
        None => MeasuredLogs::of(&source, &manifest, settings)?,
    };
    let now = logs.received_at();
    // What it costs is asked for, not whether that is within the budget.
    let manifest = Manifest { fuel_per_log: None, ..patient(manifest) };
    let metered = load::load(&budget::metered(settings, now)?, &source, manifest.clone())?;
    let settings = RuntimeSettings { clock: Arc::new(move || now), ..settings.clone() };
    let timed = load::load(&Runtime::new(settings)?, &source, manifest)?;
    let cost = |&stage: &Stage| stage_cost(&metered, &timed, stage, &logs.of_stage(stage), measure);
    let stages = timed.stages().iter().map(cost).collect::<Result<_, _>>()?;
    Ok(Bench { plugin: timed.id(), stages, memory_bytes: timed.probe.read().held })
}

/// What is measured is not also held to its deadline: a busy machine would leave no figures at all. So with one that only a plugin that does not
/// end will miss.
pub(crate) fn patient(manifest: Manifest) -> Manifest {
    Manifest { timeout: manifest.timeout.max(PATIENCE), ..manifest }
}

fn stage_cost(
    metered: &Plugin,
    timed: &Plugin,
    stage: Stage,
    logs: &[Log],
    measure: Duration,
) -> Result<StageCost, BenchError> {
    let fuel = fuel_of_each(metered, stage, logs).map_err(|(at, cause)| BenchError::Call {
        stage,
        log: named(at, logs),
        cause,
    })?;
    let all = |cause| BenchError::Call { stage, log: "a call of several logs".to_owned(), cause };
    let calls = CALL_LOGS
        .iter()
        .map(|&size| call_cost(timed, stage, &logs.iter().cycle().take(size).collect::<Vec<_>>(), measure))
        .collect::<Result<_, _>>()
        .map_err(all)?;
    Ok(StageCost { stage, fuel_per_log: fuel.mean, fuel_max: fuel.max, calls })
}

/// Fuel of calls with one log.
pub(crate) struct Fuel {
    /// Rounded up.
    pub mean: u64,
    pub max: u64,
}

/// Which of the logs it is: its place, from 1, and what it begins with.
fn named(at: usize, logs: &[Log]) -> String {
    const SHOWN: usize = 60;
    let Some(log) = logs.get(at) else { return "a log".to_owned() };
    let message: String = log.message.chars().take(SHOWN).collect();
    format!("log {} of {}, {:?} of {}", at + 1, logs.len(), message, log.device_id)
}

/// Calls the stage with each log alone, on a runtime that meters.
pub(crate) fn fuel_per_log(metered: &Plugin, stage: Stage, logs: &[Log]) -> Result<Fuel, CallError> {
    fuel_of_each(metered, stage, logs).map_err(|(_, cause)| cause)
}

/// The same; the place of the log that it failed on.
fn fuel_of_each(metered: &Plugin, stage: Stage, logs: &[Log]) -> Result<Fuel, (usize, CallError)> {
    let fuel = |(at, log)| {
        let before = metered.probe.read().fuel;
        let called = run(metered, stage, &[log]).map(|()| metered.probe.read().fuel - before);
        called.map_err(|cause| (at, cause))
    };
    let fuel = logs.iter().enumerate().map(fuel).collect::<Result<Vec<u64>, _>>()?;
    let mean = fuel.iter().sum::<u64>().div_ceil(fuel.len().max(1) as u64);
    Ok(Fuel { mean, max: fuel.into_iter().max().unwrap_or_default() })
}

fn call_cost(plugin: &Plugin, stage: Stage, logs: &[&Log], measure: Duration) -> Result<CallCost, CallError> {
    let before = plugin.probe.read();
    run(plugin, stage, logs)?;
    let after = plugin.probe.read();
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || began.elapsed() < measure {
        let started = Instant::now();
        run(plugin, stage, logs)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let per_log = |sum: f64| sum / logs.len().max(1) as f64;
    Ok(CallCost {
        logs: logs.len(),
        ns_per_log: per_log(median.as_nanos() as f64),
        to_guest_bytes_per_log: per_log((after.to_guest - before.to_guest) as f64),
        from_guest_bytes_per_log: per_log((after.from_guest - before.from_guest) as f64),
    })
}

fn run(plugin: &Plugin, stage: Stage, logs: &[&Log]) -> Result<(), CallError> {
    match stage {
        Stage::Filter => call::filter(plugin, logs, Terms::Whole).map(drop),
        Stage::Enrich => call::enrich(plugin, logs, Terms::Whole).map(drop),
        Stage::Transform => call::transform(plugin, logs, Terms::Whole, Ok).map(drop),
    }
}
