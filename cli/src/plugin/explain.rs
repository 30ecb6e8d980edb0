//! `sawpit plugin explain`: one log through all plugins of a folder, as hosts and workers run them.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Arg, ArgMatches, value_parser};
use sawpit_model::Log;
use sawpit_plugins::{Chain, Explanation, PluginState, Registry, RegistrySettings, Runtime};
use sawpit_service::Exit;
use serde::Serialize;

use super::{Stop, asked, logs, print, print_json, steps};
use crate::settings;

pub fn args() -> Vec<Arg> {
    let plugins = Arg::new("plugins")
        .long("plugins")
        .value_name("DIR")
        .help("The folder of plugins [default: ./plugins.d]")
        .value_parser(value_parser!(PathBuf))
        .default_value("./plugins.d")
        .hide_default_value(true);
    let log = Arg::new("log")
        .long("log")
        .value_name("FILE")
        .help("One log as it is posted to /api/log; - is standard input, and the default")
        .value_parser(value_parser!(PathBuf))
        .default_value("-")
        .hide_default_value(true);
    vec![plugins, log, asked::json(), asked::color()]
}

/// A file of the folder that takes no part.
#[derive(Serialize)]
struct Absent {
    file: String,
    why: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    chain: &'a str,
    absent: &'a [Absent],
    #[serde(flatten)]
    explanation: &'a Explanation,
}

pub fn run(flags: &ArgMatches) -> Result<Exit, Stop> {
    let runtime = settings::plugin_command::resolve(flags)?;
    let path = |name| flags.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    let log = logs::one(&path("log"), &runtime.limits, (runtime.clock)())?;
    let registry = open(runtime, path("plugins"))?;
    let absent = absent(&registry);
    let chain = registry.chain();
    let explanation = explain(&chain, log);
    if asked::is_json(flags) {
        print_json(&Answer { chain: chain.id(), absent: &absent, explanation: &explanation })?;
    } else {
        print(&page(&chain, &absent, &explanation, flags));
    }
    let failed = explanation.steps.iter().any(|step| step.decision.error().is_some());
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Twice, so that the times shown are not those of instances that were just started.
fn explain(chain: &Chain, log: Log) -> Explanation {
    drop(chain.explain(log.clone()));
    chain.explain(log)
}

/// A folder that is not there is made by a host; here it is a mistake.
fn open(runtime: sawpit_plugins::RuntimeSettings, folder: PathBuf) -> anyhow::Result<Registry> {
    ensure!(folder.is_dir(), "{} is no folder: give --plugins DIR", folder.display());
    let runtime = Runtime::new(runtime).context("the plugin runtime cannot start")?;
    Ok(Registry::open(runtime, folder, RegistrySettings::default())?)
}

fn absent(registry: &Registry) -> Vec<Absent> {
    let all = registry.status().into_iter();
    all.filter_map(|status| {
        let why = match (status.state, status.refusal) {
            (PluginState::Off, _) => "off by its manifest".to_owned(),
            (_, refusal) => format!("refused: {}", refusal?),
        };
        Some(Absent { file: status.file, why })
    })
    .collect()
}

fn page(chain: &Chain, absent: &[Absent], explanation: &Explanation, flags: &ArgMatches) -> String {
    let paint = asked::paint(flags);
    let mut page = steps::page(explanation, paint);
    page += &format!("  {} (chain {})\n", steps::end(explanation), chain.id());
    for Absent { file, why } in absent {
        page += &format!("not in the chain: {file}, {}\n", super::paint::clean(why));
    }
    page
}
