//! The settings of each command: tables of what can be given, and how they become the parts' own types.
//!
//! Each file has `SPECS`, the table of one part, and `resolve`, which reads it. A resolve function asks for
//! every value before it uses `?`, so that one mistake does not hide the next.

pub mod access;
pub mod dead;
pub mod health;
pub mod host_command;
pub mod load;
pub mod plugin_command;
pub mod token;
pub mod up;
pub mod worker_command;

mod host;
mod index;
pub mod index_command;
mod plugins;
mod queue;
mod serve;
mod store;
mod tls;
mod worker;

use std::io::Write;

use clap::ArgMatches;
use sawpit_service::settings::{CONFIG, Resolver, SettingsErrors, process_env};
use sawpit_service::trace::{self, TraceSettings};
use sawpit_service::{Exit, ProcessSettings, SettingSpec, telemetry};

/// How many threads the async runtime may be given.
const MOST_THREADS: usize = 1_024;

const THREADS: SettingSpec =
    SettingSpec::new("threads", "N", "Threads that serve connections; one per core unless given");

/// The settings of every command that runs on.
fn process_specs() -> Vec<SettingSpec> {
    [&[CONFIG, THREADS], telemetry::SETTINGS].concat()
}

/// The settings of every command that logs go through.
fn traced_process_specs() -> Vec<SettingSpec> {
    [process_specs(), trace::SETTINGS.to_vec()].concat()
}

fn process(resolver: &mut Resolver) -> Option<ProcessSettings> {
    let telemetry = telemetry::TelemetrySettings::resolve(resolver);
    let threads = resolver.optional::<usize>("threads");
    if let Some(Some(threads)) = threads {
        resolver.check((1..=MOST_THREADS).contains(&threads), &["threads"], "must be 1 to 1024");
    }
    Some(ProcessSettings { telemetry: telemetry?, threads: threads?, traces: TraceSettings::default() })
}

/// The same of a command that logs go through, under the name that it has in traces.
fn traced_process(resolver: &mut Resolver, service: &'static str) -> Option<ProcessSettings> {
    let process = process(resolver);
    let traces = TraceSettings::resolve(resolver, service);
    Some(ProcessSettings { traces: traces?, ..process? })
}

/// Reads one command's settings. Keys of the other commands may stand in the same file.
fn resolve<T>(
    specs: &[SettingSpec],
    flags: &ArgMatches,
    build: impl FnOnce(&mut Resolver) -> Option<T>,
) -> Result<T, SettingsErrors> {
    let elsewhere = [up::specs(), host_command::specs(), worker_command::specs(), load::specs()].concat();
    let mut resolver = Resolver::new(specs, &elsewhere, flags, process_env);
    let settings = build(&mut resolver);
    resolver.finish(settings)
}

/// Tells the operator all that is wrong.
pub fn refuse(errors: &SettingsErrors) -> Exit {
    // Nothing can be done when the terminal is gone.
    let _ = writeln!(std::io::stderr(), "{errors}");
    Exit::Usage
}
