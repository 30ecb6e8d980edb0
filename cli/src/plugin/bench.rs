//! `sawpit plugin bench`: what a plugin costs, and whether that is within a budget.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, ArgMatches};
use sawpit_plugins::{Bench, BenchError, Manifest, RuntimeSettings, StageCost};
use sawpit_service::Exit;
use serde::Serialize;

use super::{Refusal, Stop, asked, logs, print, print_json};
use crate::settings;

/// How long each size of call is timed.
const MEASURE: Duration = Duration::from_millis(500);

const BUDGET: &str = "budget";

pub fn args() -> Vec<Arg> {
    let budget = Arg::new(BUDGET).long(BUDGET).visible_alias("budget-fuel").value_name("N|F.toml").help(
        "Fail when a stage needs more fuel per log than this, or than budget.fuel_per_log of this manifest",
    );
    let logs = asked::logs().help(
        "Logs as they are posted to /api/log, one a line; - is standard input. Unless given, those golden cases that are not \
         expected to fail, or a few varied ones: as the manifest's budget is checked",
    );
    vec![asked::wasm(), logs, budget, asked::json()]
}

/// The figure itself, or the one in a manifest.
fn budget(flags: &ArgMatches, runtime: &RuntimeSettings) -> Result<Option<u64>, Stop> {
    let Some(given) = flags.get_one::<String>(BUDGET) else { return Ok(None) };
    if let Ok(fuel) = given.parse() {
        return Ok(Some(fuel));
    }
    let text = std::fs::read_to_string(given)
        .with_context(|| format!("--{BUDGET} must be a number or a manifest, and {given} cannot be read"))
        .map_err(Stop::Usage)?;
    let manifest = Manifest::parse(given, &text, runtime).map_err(anyhow::Error::new)?;
    let fuel = manifest.fuel_per_log.with_context(|| {
        format!("{given} has no budget.fuel_per_log: add it, or give --{BUDGET} a number")
    })?;
    Ok(Some(fuel))
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    bench: &'a Bench,
    budget_fuel: Option<u64>,
    within_budget: bool,
}

pub fn run(flags: &ArgMatches) -> Result<Exit, Stop> {
    let runtime = settings::plugin_command::resolve(flags)?;
    let given = asked::logs_of(flags).map(|path| logs::many(&path, &runtime.limits, (runtime.clock)()));
    let (given, budget) = (given.transpose()?, budget(flags, &runtime)?);
    let wasm = asked::wasm_of(flags);
    let bench = sawpit_plugins::bench(&runtime, &wasm, given.as_deref(), MEASURE)
        .map_err(|error| stop(wasm, error))?;
    let is_over = |stage: &&StageCost| budget.is_some_and(|budget| stage.fuel_per_log > budget);
    let over: Vec<_> = bench.stages.iter().filter(is_over).collect();
    if asked::is_json(flags) {
        print_json(&Answer { bench: &bench, budget_fuel: budget, within_budget: over.is_empty() })?;
    } else {
        print(&page(&bench));
        for stage in &over {
            let budget = budget.unwrap_or_default();
            print(&format!(
                "{}: {} fuel per log is over the budget of {budget}\n",
                stage.stage, stage.fuel_per_log
            ));
        }
    }
    Ok(if over.is_empty() { Exit::Done } else { Exit::Failed })
}

fn stop(file: PathBuf, error: BenchError) -> Stop {
    match error {
        BenchError::Load(refusal) => Stop::Refused("loads", Refusal { file, why: refusal.to_string() }),
        other => Stop::Failed(anyhow::Error::new(other).context(file.display().to_string())),
    }
}

fn page(bench: &Bench) -> String {
    let mut page = format!("{}, {} KiB of memory an instance\n", bench.plugin, bench.memory_bytes / 1024);
    for stage in &bench.stages {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "{}: {} fuel per log, {} for the dearest",
            stage.stage, stage.fuel_per_log, stage.fuel_max
        );
        for call in &stage.calls {
            let _ = writeln!(
                page,
                "  {:>3} logs a call: {:>7.0} ns per log, {:.0} bytes in and {:.0} bytes out",
                call.logs, call.ns_per_log, call.to_guest_bytes_per_log, call.from_guest_bytes_per_log
            );
        }
    }
    page
}
