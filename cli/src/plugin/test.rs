//! `sawpit plugin test`: logs through one plugin, with what it made of each.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::{Arg, ArgMatches};
use sawpit_model::Log;
use sawpit_plugins::{Chain, Explanation, Mode, Plugin, Runtime, RuntimeSettings, sample_logs};
use sawpit_service::Exit;
use serde::Serialize;

use super::{Stop, asked, logs, print, print_json, steps};
use crate::settings;

pub fn args() -> Vec<Arg> {
    vec![asked::wasm(), asked::logs(), asked::json(), asked::color()]
}

#[derive(Serialize)]
struct Answer<'a> {
    plugin: String,
    /// How many logs it failed on.
    failed: usize,
    logs: &'a [Explanation],
}

pub fn run(flags: &ArgMatches) -> Result<Exit, Stop> {
    let runtime = settings::plugin_command::resolve(flags)?;
    let wasm = asked::wasm_of(flags);
    let logs = given_or_samples(flags, &runtime)?;
    let plugin = load(runtime, &wasm)?;
    let chain = Chain::new(vec![Arc::clone(&plugin)]);
    let explain = |log| {
        // A host would not call a plugin for a while that keeps failing, and the logs after it would say nothing of it.
        plugin.forget_failures();
        chain.explain(log)
    };
    let tried: Vec<_> = logs.into_iter().map(explain).collect();
    let is_failure = |tried: &&Explanation| tried.steps.iter().any(|step| step.decision.error().is_some());
    let failed = tried.iter().filter(is_failure).count();
    if asked::is_json(flags) {
        print_json(&Answer { plugin: plugin.id(), failed, logs: &tried })?;
    } else {
        tried.iter().for_each(|tried| print(&steps::page(tried, asked::paint(flags))));
        print(&format!("{} logs, {failed} failed\n", tried.len()));
        print(&cases_note(&wasm));
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// The logs of `--logs`, else those that every plugin is tried with when it is loaded.
pub fn given_or_samples(flags: &ArgMatches, runtime: &RuntimeSettings) -> anyhow::Result<Vec<Log>> {
    match asked::logs_of(flags) {
        Some(path) => logs::many(&path, &runtime.limits, (runtime.clock)()),
        None => Ok(sample_logs()),
    }
}

/// Loads it as a host would. One that is off would be called by nobody, which an author does not mean.
fn load(runtime: RuntimeSettings, wasm: &Path) -> anyhow::Result<Arc<Plugin>> {
    let runtime = Runtime::new(runtime).context("the plugin runtime cannot start")?;
    let plugin = runtime.load(wasm).with_context(|| wasm.display().to_string())?;
    if plugin.manifest().mode == Mode::Off {
        return Err(anyhow!("{} says mode = \"off\": nothing calls it", plugin.manifest().file));
    }
    Ok(plugin)
}

/// Golden cases are the loader's affair: a plugin that got here has passed them.
fn cases_note(wasm: &Path) -> String {
    let cases = wasm.with_extension("cases.ndjson");
    let Ok(text) = std::fs::read_to_string(&cases) else { return String::new() };
    let count = text.lines().filter(|line| !line.trim().is_empty()).count();
    format!("{count} golden cases of {} passed\n", cases.display())
}
