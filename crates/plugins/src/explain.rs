//! One log through a chain, plugin by plugin, with what each one made of it.
//!
//! Each step is the production call of that plugin on a list of one log; only the looking at it is new.

use std::time::{Duration, Instant};

use sawpit_model::Log;
use serde::{Serialize, Serializer};

use crate::heard::Heard;
use crate::ingest::{self, Step as Turn};
use crate::member::Member;
use crate::passage::Effort;
use crate::rows::Rows;
use crate::transform::{self, Batch};
use crate::{Chain, Ingested, Mode, Output, Recorder, Stage, Transformed, shadow};

/// A log's way through a chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The log as it came.
    pub input: Log,
    /// One per plugin and stage that it reached, in order.
    pub steps: Vec<Step>,
    /// What would be stored: none where it was dropped, refused or failed, several where it was split.
    pub outputs: Vec<Log>,
}

/// What one stage of one plugin did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// `name@version#hash`.
    pub plugin: String,
    /// The stage.
    pub stage: Stage,
    /// What it decided.
    #[serde(flatten)]
    pub decision: StepDecision,
    /// Time of the step, in microseconds in JSON. The first call of an instance takes longer.
    #[serde(rename = "took_us", serialize_with = "micros")]
    pub took: Duration,
    /// The logs before it: one, or the parts that an earlier plugin made.
    pub before: Vec<Log>,
    /// The logs after it.
    pub after: Vec<Log>,
    /// What the plugin wrote and counted meanwhile.
    #[serde(flatten)]
    pub heard: Heard,
}

/// What a plugin decided about a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepDecision {
    /// The manifest's `match` keeps the log from it; it was not called.
    NotMatched,
    /// It was called, and the log goes on as it came.
    Unchanged,
    /// The log goes on otherwise than it came.
    Changed,
    /// It is not stored.
    Dropped {
        /// Why, in the plugin's words.
        reason: String,
    },
    /// It is refused: the device is at fault.
    Rejected {
        /// Why, in the plugin's words.
        reason: String,
    },
    /// The plugin failed on it, and `on_error` refuses the log.
    Failed {
        /// What went wrong.
        error: String,
    },
    /// The plugin failed on it, and `on_error` lets the log go on.
    FailedPassed {
        /// What went wrong.
        error: String,
    },
    /// The plugin is in shadow mode; the log goes on as it came.
    Shadow {
        /// Whether it would have come out otherwise.
        differs: bool,
        /// What went wrong, if the plugin failed on it.
        error: Option<String>,
    },
}

impl StepDecision {
    /// What went wrong, where the plugin failed, whatever became of the log.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Failed { error }
            | Self::FailedPassed { error }
            | Self::Shadow { error: Some(error), .. } => Some(error),
            _ => None,
        }
    }
}

fn micros<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_nanos() as f64 / 1_000.0)
}

impl Chain {
    /// Sends one log through all stages, in the order of the flow. The counters of the plugins tell failures
    /// that were passed over, and all that they write is taken for the step's, so the chain must not run other logs
    /// meanwhile.
    #[must_use]
    pub fn explain(&self, log: Log) -> Explanation {
        let (mut steps, mut logs) = (Vec::new(), vec![log.clone()]);
        let run = Stage::ALL.iter().flat_map(|&stage| {
            self.members()
                .iter()
                .filter(move |member| member.plugin().runs(stage))
                .map(move |member| (stage, member))
        });
        for (stage, member) in run {
            let step = step(member, stage, logs);
            logs = step.after.clone();
            steps.push(step);
            if logs.is_empty() {
                break;
            }
        }
        Explanation { input: log, steps, outputs: logs }
    }
}

fn step(member: &Member, stage: Stage, before: Vec<Log>) -> Step {
    let plugin = member.plugin();
    let earlier = plugin.meter.read();
    plugin.recipe.shared.ears.open();
    let started = Instant::now();
    let (after, decision) = match stage {
        Stage::Filter | Stage::Enrich => ingested(member, stage, before.clone()),
        Stage::Transform => transformed(member, before.clone()),
    };
    let took = started.elapsed();
    let heard = plugin.recipe.shared.ears.close();
    let later = plugin.meter.read();
    let error = (later.errors > earlier.errors).then(|| later.last_error.map(|(error, _)| error)).flatten();
    let matched = before.iter().any(|log| member.takes(log));
    let differs = later.differences > earlier.differences;
    let decision = match (decision, error) {
        _ if !matched => StepDecision::NotMatched,
        (_, error) if plugin.manifest().mode == Mode::Shadow => StepDecision::Shadow { differs, error },
        (Some(decision), _) => decision,
        (None, Some(error)) => StepDecision::FailedPassed { error },
        (None, None) if after == before => StepDecision::Unchanged,
        (None, None) => StepDecision::Changed,
    };
    Step { plugin: plugin.id(), stage, decision, took, before, after, heard }
}

/// What goes on, and the decision that ends a log's way.
fn ingested(member: &Member, stage: Stage, logs: Vec<Log>) -> (Vec<Log>, Option<StepDecision>) {
    let owners = vec![0; logs.len()];
    let mut rows = Rows::new(logs, owners, false);
    let turn = Turn { number: 0, stage, member };
    if member.plugin().is_shadow() {
        rows.set_aside(&turn);
        shadow::run_step(&turn, &rows.asides, &rows.items);
    } else {
        ingest::run(&turn, &mut rows, Effort::Last, &mut Recorder::off());
    }
    let mut after = Vec::new();
    let mut end = None;
    for item in rows.finish() {
        match item {
            Ingested::Accepted(log) => after.push(log),
            Ingested::Dropped { reason, .. } => end = Some(StepDecision::Dropped { reason }),
            Ingested::Rejected { reason, .. } => end = Some(StepDecision::Rejected { reason }),
            Ingested::Failed { error, .. } | Ingested::Quarantined { error, .. } => {
                end = Some(StepDecision::Failed { error })
            }
        }
    }
    (after, end)
}

/// A part that fails takes the other parts with it, as in a batch.
fn transformed(member: &Member, logs: Vec<Log>) -> (Vec<Log>, Option<StepDecision>) {
    if member.plugin().is_shadow() {
        let output = |(input, log): (usize, &Log)| Output { log: log.clone(), sources: vec![input] };
        let done =
            Transformed { outputs: logs.iter().enumerate().map(output).collect(), ..Transformed::default() };
        transform::run_shadow(member, Batch::new(logs.clone()).set_aside(member), &done);
        return (logs, None);
    }
    let mut batch = Batch::new(logs);
    batch.run(member, &mut Recorder::off());
    let done = batch.finish();
    if let Some(failed) = done.failed.into_iter().next() {
        return (Vec::new(), Some(StepDecision::Failed { error: failed.error }));
    }
    let after: Vec<_> = done.outputs.into_iter().map(|output| output.log).collect();
    let dropped = done.dropped.into_iter().next().filter(|_| after.is_empty());
    (after, dropped.map(|dropped| StepDecision::Dropped { reason: dropped.reason }))
}
