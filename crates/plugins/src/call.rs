//! One call of one stage: columns in, checked answer out, instance kept or thrown away.

use std::time::{Duration, Instant};

use sawpit_model::Log;

use crate::bindings::transform;
use crate::breaker::{Admission, Ended};
use crate::convert::{Changed, Enriched, Filtered};
use crate::instance::{Instance, Limit};
use crate::probe::Copied;
use crate::suspects::Standing;
use crate::{CallError, OutputError, Plugin, convert};

/// A first try is given this part of the plugin's deadline.
const SHORT_PART: u32 = 8;
/// And at least this long, unless that is more than half of the deadline: a thread that waits for a core is not yet slow.
const SHORT_LEAST: Duration = Duration::from_millis(10);

/// How long a call may take, and what its failure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// The plugin's deadline. A list that fails is tried again in parts, and those count.
    Whole,
    /// The same, and nothing is tried again: shadows.
    Once,
    /// What [`Terms::Short`] leaves of it: a first try that several requests share. Who is not at fault has then waited for one
    /// deadline in all.
    Shared,
    /// A part of it. Who does not get done in it is tried again, at the plugin's deadline and where nobody waits.
    Short,
}

impl Terms {
    /// The time that a call of the plugin has.
    pub fn limit(self, plugin: &Plugin) -> Duration {
        let whole = plugin.manifest().timeout;
        let short = (whole / SHORT_PART).max(SHORT_LEAST).min(whole / 2);
        match self {
            Self::Whole | Self::Once => whole,
            Self::Shared => whole.saturating_sub(short),
            Self::Short => short,
        }
    }

    /// Whether a call was cut before the plugin's own deadline, so that it is not yet a failure.
    pub fn cut_short(self, plugin: &Plugin, error: &CallError) -> bool {
        error.is_deadline() && self.limit(plugin) < plugin.manifest().timeout
    }
}

/// Asks the plugin which of `logs` are taken. The plugin must have the stage.
pub fn filter(plugin: &Plugin, logs: &[&Log], terms: Terms) -> Result<Filtered, CallError> {
    let text_bytes = plugin.settings().text_bytes;
    let run = |guest: &mut Instance| match &guest.filter {
        Some(filter) => filter.call_filter(&mut guest.store, &guest.batch),
        None => Err(no_stage()),
    };
    call(plugin, logs, terms, run, |answer| Filtered::check(answer, logs.len(), text_bytes))
}

/// Asks the plugin what to set in `logs`.
pub fn enrich(plugin: &Plugin, logs: &[&Log], terms: Terms) -> Result<Enriched, CallError> {
    let text_bytes = plugin.settings().text_bytes;
    let run = |guest: &mut Instance| match &guest.enrich {
        Some(enrich) => enrich.call_enrich(&mut guest.store, &guest.batch),
        None => Err(no_stage()),
    };
    call(plugin, logs, terms, run, |answer| Enriched::check(answer, logs.len(), text_bytes))
}

/// Asks the plugin what becomes of `logs`; None: they go on as they came. `finish` completes the check.
pub fn transform<T>(
    plugin: &Plugin,
    logs: &[&Log],
    terms: Terms,
    finish: impl FnOnce(Changed) -> Result<T, OutputError>,
) -> Result<Option<T>, CallError> {
    let settings = plugin.settings();
    let run = |guest: &mut Instance| match &guest.transform {
        Some(transform) => transform.call_transform(&mut guest.store, &guest.batch),
        None => Err(no_stage()),
    };
    call(plugin, logs, terms, run, |answer| match answer {
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
    terms: Terms,
    run: impl FnOnce(&mut Instance) -> wasmtime::Result<R>,
    check: impl FnOnce(R) -> Result<A, OutputError>,
) -> Result<A, CallError> {
    let (standing, probe) = admitted(plugin, logs)?;
    // A probe that is given up early would say nothing, and the breaker would stay open.
    let terms = if probe && matches!(terms, Terms::Short | Terms::Shared) { Terms::Whole } else { terms };
    let answer = called(plugin, logs, terms, run, check);
    if let Err(error) = &answer
        && !terms.cut_short(plugin, error)
    {
        plugin.meter.call_error(error, plugin.now());
    }
    learn(plugin, logs, terms, &standing, &answer);
    let is_proven = matches!(standing, Standing::Suspect { is_proven: true, .. });
    // The first whole deadline of each device counts: a plugin that loops for many is bypassed for all.
    let of_one = is_proven && answer.as_ref().is_err_and(CallError::is_deadline);
    let ended = if of_one { Ended::OneDevice } else { ended(plugin, &answer, probe, logs.len(), terms) };
    plugin.breaker.settle(probe, ended, plugin.now());
    answer
}

/// Asks both breakers, that of the device and that of the plugin; whether the call is the latter's probe.
fn admitted(plugin: &Plugin, logs: &[&Log]) -> Result<(Standing, bool), CallError> {
    let bypass = |last| {
        plugin.breaker.bypassed(logs.len());
        Err(CallError::Bypassed { last })
    };
    let standing = match plugin.suspects.admit(logs, plugin.now()) {
        Standing::Bypass(last) => return bypass(last),
        standing => standing,
    };
    let admission = match &standing {
        Standing::Ordinary => plugin.breaker.admit(plugin.now()),
        _ => plugin.breaker.admit_suspect(plugin.now()),
    };
    match admission {
        Admission::Call => Ok((standing, false)),
        Admission::Probe => Ok((standing, true)),
        Admission::Bypass(last) => {
            if let Standing::Suspect { probe, .. } = standing {
                plugin.suspects.unsaid(logs, probe, plugin.now());
            }
            bypass(last)
        }
    }
}

/// What a call tells the breaker. A list that failed is tried again in parts, and those count; a probe has no
/// second try.
fn ended<'a, A>(
    plugin: &Plugin,
    answer: &'a Result<A, CallError>,
    probe: bool,
    logs: usize,
    terms: Terms,
) -> Ended<'a> {
    match answer {
        Ok(_) => Ended::Well,
        Err(CallError::Busy { .. }) => Ended::Unsaid,
        Err(error) if terms.cut_short(plugin, error) => Ended::Unsaid,
        Err(_) if logs > 1 && !probe && terms != Terms::Once => Ended::Unsaid,
        Err(error) => Ended::Failed(error),
    }
}

/// What a call tells of the device whose logs it was with.
fn learn<A>(
    plugin: &Plugin,
    logs: &[&Log],
    terms: Terms,
    standing: &Standing,
    answer: &Result<A, CallError>,
) {
    let probe = matches!(standing, Standing::Suspect { probe: true, .. });
    match answer {
        // Long enough that the next culprit had better be found sooner.
        Err(error) if error.is_deadline() && terms == Terms::Shared => {
            plugin.suspects.slow(logs, plugin.now())
        }
        Err(error) if terms.cut_short(plugin, error) => plugin.suspects.cut_short(logs, plugin.now()),
        // Of a list of one device, its logs one by one will tell.
        Err(error) if error.is_deadline() && (logs.len() == 1 || probe) => {
            plugin.suspects.struck(logs, probe, error, plugin.now());
        }
        Err(error) if error.is_deadline() => plugin.suspects.slow(logs, plugin.now()),
        _ if *standing == Standing::Ordinary => {}
        Err(CallError::Busy { .. }) => plugin.suspects.unsaid(logs, probe, plugin.now()),
        // Failures of other kinds cost nobody time.
        _ => plugin.suspects.well(logs, probe, plugin.now()),
    }
}

fn called<R: Copied, A>(
    plugin: &Plugin,
    logs: &[&Log],
    terms: Terms,
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
    let answer = recipe.call(&mut instance, Limit::call(terms.limit(plugin)), run);
    plugin.meter.call(logs.len(), started.elapsed());
    plugin.meter.held(plugin.probe.held(instance.store.data().limiter.held()));
    let answer = answer.map_err(|error| named(error, plugin))?;
    let fuel = fuel.saturating_sub(recipe.fuel(&instance));
    let came_back = answer.copied_bytes();
    plugin.probe.came_back(came_back, fuel);
    plugin.meter.copied_out(came_back);
    let answer = check(answer)?;
    plugin.pool.give(recipe, instance);
    Ok(answer)
}

/// What wasmtime says of an answer over the limit; its error has no type that could be asked for.
const TOO_MUCH: &str = "fuel allocated for hostcalls has been exhausted";

/// Names the limit that an answer broke.
fn named(error: CallError, plugin: &Plugin) -> CallError {
    match error {
        CallError::Trap(cause) if cause.contains(TOO_MUCH) => {
            CallError::Answer { limit: plugin.settings().answer_bytes, cause }
        }
        error => error,
    }
}
