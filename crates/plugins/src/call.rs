//! One call of one stage: columns in, checked answer out, instance kept or thrown away.

use std::time::Instant;

use sawpit_model::Log;

use crate::bindings::transform;
use crate::breaker::{Admission, Ended};
use crate::convert::{Changed, Enriched, Filtered};
use crate::instance::Instance;
use crate::probe::Copied;
use crate::{CallError, OutputError, Plugin, convert};

/// Asks the plugin which of `logs` are taken. The plugin must have the stage.
pub fn filter(plugin: &Plugin, logs: &[&Log]) -> Result<Filtered, CallError> {
    let text_bytes = plugin.settings().text_bytes;
    let run = |guest: &mut Instance| match &guest.filter {
        Some(filter) => filter.call_filter(&mut guest.store, &guest.batch),
        None => Err(no_stage()),
    };
    call(plugin, logs, run, |answer| Filtered::check(answer, logs.len(), text_bytes))
}

/// Asks the plugin what to set in `logs`.
pub fn enrich(plugin: &Plugin, logs: &[&Log]) -> Result<Enriched, CallError> {
    let text_bytes = plugin.settings().text_bytes;
    let run = |guest: &mut Instance| match &guest.enrich {
        Some(enrich) => enrich.call_enrich(&mut guest.store, &guest.batch),
        None => Err(no_stage()),
    };
    call(plugin, logs, run, |answer| Enriched::check(answer, logs.len(), text_bytes))
}

/// Asks the plugin what becomes of `logs`; None: they go on as they came. `finish` completes the check.
pub fn transform<T>(
    plugin: &Plugin,
    logs: &[&Log],
    finish: impl FnOnce(Changed) -> Result<T, OutputError>,
) -> Result<Option<T>, CallError> {
    let settings = plugin.settings();
    let run = |guest: &mut Instance| match &guest.transform {
        Some(transform) => transform.call_transform(&mut guest.store, &guest.batch),
        None => Err(no_stage()),
    };
    call(plugin, logs, run, |answer| match answer {
        transform::Outcome::Unchanged => Ok(None),
        transform::Outcome::Changed(changes) => Changed::check(
            changes,
            logs.len(),
            &settings.limits,
            settings.text_bytes,
            settings.outputs_per_input,
        )
        .and_then(finish)
        .map(Some),
    })
}

fn no_stage() -> wasmtime::Error {
    wasmtime::Error::msg("the plugin does not export this stage")
}

fn call<R: Copied, A>(
    plugin: &Plugin,
    logs: &[&Log],
    run: impl FnOnce(&mut Instance) -> wasmtime::Result<R>,
    check: impl FnOnce(R) -> Result<A, OutputError>,
) -> Result<A, CallError> {
    let probe = match plugin.breaker.admit(plugin.now()) {
        Admission::Call => false,
        Admission::Probe => true,
        Admission::Bypass(last) => {
            plugin.breaker.bypassed(logs.len());
            return Err(CallError::Bypassed { last });
        }
    };
    let answer = called(plugin, logs, run, check);
    if let Err(error) = &answer {
        plugin.meter.call_error(error, plugin.now());
    }
    plugin.breaker.settle(probe, ended(&answer, probe, logs.len()), plugin.now());
    answer
}

/// What a call tells the breaker. A list that failed is tried log by log, and those count; a probe has no
/// second try.
const fn ended<A>(answer: &Result<A, CallError>, probe: bool, logs: usize) -> Ended<'_> {
    match answer {
        Ok(_) => Ended::Well,
        Err(CallError::Busy { .. }) => Ended::Unsaid,
        Err(_) if logs > 1 && !probe => Ended::Unsaid,
        Err(error) => Ended::Failed(error),
    }
}

fn called<R: Copied, A>(
    plugin: &Plugin,
    logs: &[&Log],
    run: impl FnOnce(&mut Instance) -> wasmtime::Result<R>,
    check: impl FnOnce(R) -> Result<A, OutputError>,
) -> Result<A, CallError> {
    let recipe = &plugin.recipe;
    let mut instance = plugin.pool.take(recipe, &plugin.meter)?;
    let started = Instant::now();
    convert::fill(&mut instance.batch, plugin.reads, logs);
    let sent = instance.batch.copied_bytes();
    plugin.probe.sent(sent);
    plugin.meter.copied_in(sent);
    let fuel = recipe.fuel(&instance);
    let answer = recipe.call(&mut instance, recipe.manifest.timeout, run);
    plugin.meter.call(logs.len(), started.elapsed());
    plugin.meter.held(plugin.probe.held(instance.store.data().limiter.held()));
    let answer = answer?;
    let fuel = fuel.saturating_sub(recipe.fuel(&instance));
    let came_back = answer.copied_bytes();
    plugin.probe.came_back(came_back, fuel);
    plugin.meter.copied_out(came_back);
    let answer = check(answer)?;
    plugin.pool.give(recipe, instance);
    Ok(answer)
}
