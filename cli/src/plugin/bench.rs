//! `sawpit plugin bench`: what a plugin costs, and whether that is within a budget.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, ArgMatches, value_parser};
use sawpit_plugins::{Bench, StageCost};
use sawpit_service::Exit;
use serde::Serialize;

use super::{Stop, asked, print, print_json, test};
use crate::settings;

/// How long each size of call is timed.
const MEASURE: Duration = Duration::from_millis(500);

const BUDGET: &str = "budget-fuel";

pub fn args() -> Vec<Arg> {
    let budget = Arg::new(BUDGET)
        .long(BUDGET)
        .value_name("N")
        .help("Fail when a stage needs more fuel per log than this")
        .value_parser(value_parser!(u64));
    vec![asked::wasm(), asked::logs(), budget, asked::json()]
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
    let logs = test::given_or_samples(flags, &runtime)?;
    let wasm = asked::wasm_of(flags);
    let bench =
        sawpit_plugins::bench(&runtime, &wasm, &logs, MEASURE).with_context(|| wasm.display().to_string())?;
    let budget = flags.get_one::<u64>(BUDGET).copied();
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
