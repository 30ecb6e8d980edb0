//! What a plugin may cost, checked before it serves.
//!
//! It is counted in fuel, which is the same number in every run; a limit on time would refuse a good version on a
//! busy machine. The logs are those of its golden cases, or the samples of the trial where it has none.

use sawpit_model::Log;

use crate::bench::{fuel_per_log, patient};
use crate::load::{self, Source};
use crate::{LoadError, Plugin, Runtime, RuntimeSettings, golden, trial};

/// Refuses a plugin that needs more fuel than its manifest allows. Compiles it again, for an engine that meters.
pub(crate) fn check(runtime: &Runtime, source: &Source, plugin: &Plugin) -> Result<(), LoadError> {
    let Some(budget) = plugin.manifest().fuel_per_log.filter(|_| !runtime.is_metered()) else {
        return Ok(());
    };
    let settings = runtime.settings();
    let few = RuntimeSettings { threads: 1, instances: 1, ..settings.clone() };
    let metered = Runtime::metered(few).map_err(|error| LoadError::Meter { cause: error.to_string() })?;
    let metered = load::load(&metered, source, patient(plugin.manifest().clone()))?;
    let logs = logs(source, settings)?;
    for &stage in plugin.stages() {
        let fuel = fuel_per_log(&metered, stage, &logs).map_err(|cause| LoadError::Trial { stage, cause })?;
        if fuel.mean > budget {
            let file = plugin.manifest().file.clone();
            return Err(LoadError::Budget { stage, fuel: fuel.mean, budget, logs: logs.len(), file });
        }
    }
    Ok(())
}

fn logs(source: &Source, settings: &RuntimeSettings) -> Result<Vec<Log>, LoadError> {
    let cases = golden::parse(&source.cases_file(), &source.cases, settings)?;
    let logs: Vec<Log> = cases.into_iter().map(|case| case.log).collect();
    Ok(if logs.is_empty() { trial::sample_logs() } else { logs })
}
