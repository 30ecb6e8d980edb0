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
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::ArgMatches;
use sawpit_service::settings::{CONFIG, Resolver, SettingsErrors, process_env};
use sawpit_service::trace::{self, TraceSettings};
use sawpit_service::{Exit, ProcessSettings, SettingSpec, telemetry};

/// How many threads a process may be given for one kind of work.
const MOST_THREADS: usize = 1_024;

/// For times that something is waited for, or that lie between two looks: never none, which would be a time-out at once
/// or a loop without a pause.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);

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
    let threads = threads(resolver, "threads");
    Some(ProcessSettings { telemetry: telemetry?, threads: threads?, traces: TraceSettings::default() })
}

/// A number of threads that need not be given.
fn threads(resolver: &mut Resolver, name: &str) -> Option<Option<usize>> {
    let given = resolver.optional::<usize>(name);
    if let Some(Some(threads)) = given {
        resolver.check((1..=MOST_THREADS).contains(&threads), &[name], "must be 1 to 1024");
    }
    given
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

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking"
)]
mod tests;
