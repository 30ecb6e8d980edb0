//! From a file to a proved version: read, make a component, compile, check, link, describe, configure, try.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bindings::types;
use crate::breaker::Breaker;
use crate::engine;
use crate::host::Shared;
use crate::instance::{Instance, Pool, Recipe};
use crate::meter::Meter;
use crate::probe::Probe;
use crate::scope::Scope;
use crate::shadow::Differences;
use crate::source::Source;
use crate::suspects::Suspects;
use crate::{
    BreakerLimits, CallError, Description, Grant, LoadError, Manifest, Plugin, Runtime, RuntimeSettings,
    budget, component, description, trial,
};

/// Reads and loads one file.
pub(crate) fn from_path(runtime: &Runtime, wasm: &Path) -> Result<Arc<Plugin>, LoadError> {
    let source = Source::read_named(wasm, runtime.settings())?;
    let manifest = source.manifest(runtime.settings())?;
    load(runtime, &source, manifest)
}

/// Loads what was read.
pub(crate) fn load(runtime: &Runtime, source: &Source, manifest: Manifest) -> Result<Arc<Plugin>, LoadError> {
    let limit = runtime.settings().proving_timeout;
    load_within(runtime, source, manifest, limit)
}

/// Loads what was read, and proves it within `limit`. Compiling does not count: nothing could interrupt it, and it
/// ends.
pub(crate) fn load_within(
    runtime: &Runtime,
    source: &Source,
    manifest: Manifest,
    limit: Duration,
) -> Result<Arc<Plugin>, LoadError> {
    let (plugin, proved) = introduced(runtime, source, manifest, limit)?;
    proved.map(|()| serving(runtime, plugin))
}

/// A plugin for who tries it out, and wants to see what it does also where it may not serve.
#[derive(Debug)]
pub struct Tried {
    /// It can be called.
    pub plugin: Arc<Plugin>,
    /// Why it may not serve: of its trial, its golden cases or its budget. None: it may.
    pub refusal: Option<LoadError>,
}

/// Reads and loads one file to try it out.
pub(crate) fn to_try(runtime: &Runtime, wasm: &Path) -> Result<Tried, LoadError> {
    let source = Source::read_named(wasm, runtime.settings())?;
    let manifest = source.manifest(runtime.settings())?;
    let limit = runtime.settings().proving_timeout;
    let (plugin, proved) = introduced(runtime, &source, manifest, limit)?;
    Ok(Tried { plugin: serving(runtime, plugin), refusal: proved.err() })
}

/// A plugin that starts, and whether it was proved within `limit`.
fn introduced(
    runtime: &Runtime,
    source: &Source,
    manifest: Manifest,
    limit: Duration,
) -> Result<(Plugin, Result<(), LoadError>), LoadError> {
    let recipe = recipe(runtime, source, manifest)?;
    let until = Instant::now() + limit;
    let late = |at| late(until, runtime.settings(), at);
    let mut plugin = start(runtime, source, Recipe { until: Some(until), ..recipe }).map_err(late)?;
    let proved = prove(runtime, source, &plugin).map_err(late);
    plugin.recipe.until = None;
    Ok((plugin, proved))
}

fn serving(runtime: &Runtime, mut plugin: Plugin) -> Arc<Plugin> {
    // What only shows what it costs never serves, and its series would stand beside those of the version that does.
    if !runtime.is_metered() {
        let Description { name, version, .. } = &plugin.description;
        let scope = Scope::open(runtime.settings().scopes.as_ref(), name, version);
        scope.run(|| count(&mut plugin, &scope));
    }
    Arc::new(plugin)
}

/// From now on what it does is counted.
fn count(plugin: &mut Plugin, scope: &Scope) {
    let Description { name, version, .. } = &plugin.description;
    plugin.recipe.shared.serve(version, scope);
    plugin.meter = Meter::new(name, version, scope);
    plugin.pool.count(&plugin.meter);
    plugin.breaker = Breaker::new(plugin.manifest().breaker, name, version);
    // What the trial found is forgotten: its devices are made up.
    plugin.suspects =
        Suspects::new(plugin.manifest().breaker, plugin.recipe.runtime.settings.suspect_devices);
}

/// Compiles what was read and links it.
fn recipe(runtime: &Runtime, source: &Source, manifest: Manifest) -> Result<Recipe, LoadError> {
    let inner = &runtime.0;
    let component = component::compile(inner, source)?;
    let stages = component::check_exports(inner, &component, &manifest)?;
    let wants_wasi = component::check_imports(inner, &component, &manifest)?;
    let link = |error: wasmtime::Error| LoadError::Link { cause: format!("{error:#}") };
    let pre = inner.linker(wants_wasi).instantiate_pre(&component).map_err(link)?;
    let exports = component::exports(&pre, &stages).map_err(link)?;
    let shared = Arc::new(Shared::new(source.stem(), manifest.grants(Grant::Log), &inner.settings));
    let weight = engine::weight(&component);
    Ok(Recipe { runtime: Arc::clone(inner), pre, exports, weight, shared, manifest, until: None })
}

/// Starts it.
fn start(runtime: &Runtime, source: &Source, recipe: Recipe) -> Result<Plugin, LoadError> {
    let (instance, description, reads) = introduce(&recipe)?;
    recipe.shared.rename(&description.name);
    let meter = Meter::for_trial(&description.name, &description.version);
    let pool = Pool::default();
    pool.give(&recipe, instance);
    Ok(Plugin {
        file: source.file.clone(),
        description,
        reads,
        stages: recipe.exports.stages(),
        hash: source.hash(),
        cases: source.cases_hash(),
        recipe,
        pool,
        meter,
        probe: Probe::default(),
        breaker: Breaker::for_trial(),
        suspects: Suspects::new(BreakerLimits::default(), runtime.settings().suspect_devices),
        differences: Differences::default(),
    })
}

/// Has it show what it does.
fn prove(runtime: &Runtime, source: &Source, plugin: &Plugin) -> Result<(), LoadError> {
    trial::run(plugin)?;
    trial::golden(plugin, source)?;
    budget::check(runtime, source, plugin)
}

/// The time for all of it is why it failed, where that is over.
fn late(until: Instant, settings: &RuntimeSettings, at: LoadError) -> LoadError {
    if Instant::now() < until || matches!(at, LoadError::Unproved { .. }) {
        return at;
    }
    LoadError::Unproved { limit: settings.proving_timeout, at: Box::new(at) }
}

/// The first instance: it says who it is and takes its settings.
fn introduce(recipe: &Recipe) -> Result<(Instance, Description, types::Fields), LoadError> {
    let mut instance = recipe.start().map_err(LoadError::Start)?;
    let (description, reads) = description::check(recipe.describe(&mut instance)?)?;
    recipe.configure(&mut instance).map_err(|error| refused(error, &recipe.manifest))?;
    Ok((instance, description, reads))
}

/// Names the file that the settings are from.
fn refused(cause: CallError, manifest: &Manifest) -> LoadError {
    if !matches!(cause, CallError::Configure(_)) {
        return LoadError::Start(cause);
    }
    LoadError::Config { manifest: manifest.file.clone(), cause, hint: manifest.misplaced() }
}
