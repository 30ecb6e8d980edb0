//! `sawpit plugin test`: logs through one plugin, with what it made of each.
//!
//! A plugin that its trial, its golden cases or its budget refuse is shown all the same: that is when its author wants to
//! see what it does.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::{Arg, ArgMatches};
use sawpit_model::Log;
use sawpit_plugins::golden::{CaseResult, Difference};
use sawpit_plugins::{
    Chain, Explanation, LoadError, Mode, Plugin, Runtime, RuntimeSettings, Tried, sample_logs,
};
use sawpit_service::Exit;
use serde::Serialize;

use super::paint::Paint;
use super::{Refusal, Stop, asked, complain, logs, print, print_json, steps};
use crate::settings;

/// How many failed cases are shown with their steps.
const CASES_SHOWN: usize = 5;

pub fn args() -> Vec<Arg> {
    vec![asked::wasm(), asked::logs(), asked::json(), asked::color()]
}

/// What is answered.
#[derive(Serialize)]
struct Answer {
    plugin: String,
    /// Whether it may serve, and why not.
    loads: bool,
    refusal: Option<String>,
    /// How many logs it failed on.
    failed: usize,
    logs: Vec<Explanation>,
    failed_cases: Vec<FailedCase>,
}

/// A golden case that failed, with what the plugin did in it.
#[derive(Serialize)]
struct FailedCase {
    name: String,
    line: usize,
    differences: Vec<Difference>,
    explanation: Explanation,
}

pub fn run(flags: &ArgMatches) -> Result<Exit, Stop> {
    let runtime = settings::plugin_command::resolve(flags)?;
    let wasm = asked::wasm_of(flags);
    let logs = given_or_samples(flags, &runtime)?;
    let tried = load(runtime, &wasm)?;
    let answer = answer(&tried, logs);
    if asked::is_json(flags) {
        print_json(&answer)?;
    } else {
        print(&page(&answer, asked::paint(flags)));
        print(&cases_note(&wasm, tried.refusal.as_ref()));
    }
    if let Some(why) = &answer.refusal {
        complain(&format!("{}: {why}", wasm.display()));
    }
    Ok(if answer.failed == 0 && answer.loads { Exit::Done } else { Exit::Failed })
}

/// The logs of `--logs`, else those that every plugin is tried with when it is loaded.
fn given_or_samples(flags: &ArgMatches, runtime: &RuntimeSettings) -> Result<Vec<Log>, Stop> {
    match asked::logs_of(flags) {
        Some(path) => logs::many(&path, &runtime.limits, (runtime.clock)()),
        None => Ok(sample_logs()),
    }
}

/// Loads it as a host would. One that is off would be called by nobody, which an author does not mean.
fn load(runtime: RuntimeSettings, wasm: &Path) -> Result<Tried, Stop> {
    let runtime = Runtime::new(runtime).context("the plugin runtime cannot start")?;
    let refused =
        |error: LoadError| Stop::Refused("loads", Refusal { file: wasm.to_owned(), why: error.to_string() });
    let tried = runtime.load_to_try(wasm).map_err(refused)?;
    let manifest = tried.plugin.manifest();
    if manifest.mode == Mode::Off {
        return Err(anyhow!("{} says mode = \"off\": nothing calls it", manifest.file).into());
    }
    Ok(tried)
}

fn answer(tried: &Tried, logs: Vec<Log>) -> Answer {
    let Tried { plugin, refusal } = tried;
    let chain = Chain::new(vec![Arc::clone(plugin)]);
    let logs: Vec<_> = logs.into_iter().map(|log| explain(plugin, &chain, log)).collect();
    let is_failure = |tried: &&Explanation| tried.steps.iter().any(|step| step.decision.error().is_some());
    let cases = match refusal {
        Some(LoadError::Golden(error)) => error.results.as_slice(),
        _ => &[],
    };
    let case = |result: &CaseResult| FailedCase {
        name: result.name.clone(),
        line: result.line,
        differences: result.differences.clone(),
        explanation: explain(plugin, &chain, result.log.clone()),
    };
    Answer {
        plugin: plugin.id(),
        loads: refusal.is_none(),
        refusal: refusal.as_ref().map(ToString::to_string),
        failed: logs.iter().filter(is_failure).count(),
        logs,
        failed_cases: cases.iter().filter(|result| !result.passed()).take(CASES_SHOWN).map(case).collect(),
    }
}

/// A host would not call a plugin for a while that keeps failing, and the logs after it would say nothing of it.
fn explain(plugin: &Plugin, chain: &Chain, log: Log) -> Explanation {
    plugin.forget_failures();
    chain.explain(log)
}

fn page(answer: &Answer, paint: Paint) -> String {
    let mut page: String = answer.logs.iter().map(|tried| steps::page(tried, paint)).collect();
    page += &format!("{} logs, {} failed\n", answer.logs.len(), answer.failed);
    for FailedCase { name, line, explanation, .. } in &answer.failed_cases {
        page += &format!("case {name:?} (line {line}): {}", steps::page(explanation, paint));
    }
    page
}

/// Golden cases are the loader's affair: a plugin that may serve, or is only too dear, has passed them.
fn cases_note(wasm: &Path, refusal: Option<&LoadError>) -> String {
    if refusal.is_some_and(|error| !matches!(error, LoadError::Budget { .. })) {
        return String::new();
    }
    let cases = wasm.with_extension("cases.ndjson");
    let Ok(text) = std::fs::read_to_string(&cases) else { return String::new() };
    let count = text.lines().filter(|line| !line.trim().is_empty()).count();
    format!("{count} golden cases of {} passed\n", cases.display())
}
