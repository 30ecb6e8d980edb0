//! What a plugin may cost, checked before it serves.
//!
//! It is counted in fuel, which is the same number in every run; a limit on time would refuse a good version on a
//! busy machine. It is counted just as [`crate::bench()`] counts it, so that its figure is one that a manifest can
//! allow: on an engine that meters, in calls with one log of an instance that is kept, with a clock that stands still.

use std::sync::Arc;

use sawpit_model::{Log, Timestamp};

use crate::bench::{fuel_per_log, patient};
use crate::golden::{self, Case, Verdict};
use crate::source::Source;
use crate::{LoadError, Manifest, Plugin, Runtime, RuntimeSettings, Stage, load, trial};

/// Refuses a plugin that needs more fuel than its manifest allows. Compiles it again, for an engine that meters.
pub(crate) fn check(runtime: &Runtime, source: &Source, plugin: &Plugin) -> Result<(), LoadError> {
    let Some(budget) = plugin.manifest().fuel_per_log.filter(|_| !runtime.is_metered()) else {
        return Ok(());
    };
    let logs = MeasuredLogs::of(source, plugin.manifest(), runtime.settings())?;
    let metered = metered(runtime.settings(), logs.received_at())?;
    let left = plugin.recipe.within(runtime.settings().proving_timeout);
    let metered = load::load_within(&metered, source, patient(plugin.manifest().clone()), left)?;
    for &stage in plugin.stages() {
        let logs = logs.of_stage(stage);
        let fuel = fuel_per_log(&metered, stage, &logs).map_err(|cause| LoadError::Trial { stage, cause })?;
        if fuel.mean > budget {
            let file = plugin.manifest().file.clone();
            return Err(LoadError::Budget { stage, fuel: fuel.mean, budget, logs: logs.len(), file });
        }
    }
    Ok(())
}

/// A runtime that meters, for one plugin and one caller. Its clock stands still at `now`.
pub(crate) fn metered(settings: &RuntimeSettings, now: Timestamp) -> Result<Runtime, LoadError> {
    // Room for the heaviest instance beside the one that is kept.
    let few = RuntimeSettings {
        threads: 1,
        instances: 4,
        clock: Arc::new(move || now),
        scopes: None,
        ..settings.clone()
    };
    Runtime::metered(few).map_err(|error| LoadError::Meter { cause: error.to_string() })
}

/// What the cost of a plugin is measured with, where nobody gives other logs: its golden cases, or the samples of the
/// trial where it has none that can be.
pub(crate) struct MeasuredLogs(Vec<(Log, Verdict)>);

impl MeasuredLogs {
    /// Of the plugin's own cases those that it is called with and does not fail on.
    pub fn of(source: &Source, manifest: &Manifest, settings: &RuntimeSettings) -> Result<Self, LoadError> {
        let mut cases = golden::parse(&source.cases_file(), &source.cases, settings)?;
        cases.retain(|case| case.expect.verdict != Verdict::Fail && manifest.matches.takes(&case.log));
        Ok(Self(cases.into_iter().map(|Case { log, expect, .. }| (log, expect.verdict)).collect()))
    }

    /// These logs, whatever becomes of them.
    pub fn given(logs: &[Log]) -> Self {
        Self(logs.iter().map(|log| (log.clone(), Verdict::Accept)).collect())
    }

    /// Those that reach the stage: what is not accepted goes no further than the stages that can say so.
    pub fn of_stage(&self, stage: Stage) -> Vec<Log> {
        let reaches = |verdict: Verdict| match (stage, verdict) {
            (Stage::Filter, _) | (_, Verdict::Accept) => true,
            (Stage::Enrich, _) | (_, Verdict::Reject | Verdict::Fail) => false,
            (Stage::Transform, Verdict::Drop) => true,
        };
        let reach = self.0.iter().filter(|(_, verdict)| reaches(*verdict));
        let logs: Vec<Log> = reach.map(|(log, _)| log.clone()).collect();
        if logs.is_empty() { trial::sample_logs() } else { logs }
    }

    /// When the first of them was received.
    pub fn received_at(&self) -> Timestamp {
        self.0.first().map_or(golden::RECEIVED_AT, |(log, _)| log.received_at)
    }
}
