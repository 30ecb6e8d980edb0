//! The worker's stage in shadow mode.

use std::time::Instant;

use sawpit_model::{Log, Verdict};

use super::next::Next;
use super::{Change, attempt, pieces};
use crate::call::Terms;
use crate::member::Member;
use crate::settle::report;
use crate::shadow::{Instead, differs};
use crate::{Output, Plugin, Recorder, Stage, Transformed};

/// Copies of a batch's logs as they stood at a shadow's place.
pub struct Aside {
    outputs: Vec<Output>,
}

impl Aside {
    pub const fn new(outputs: Vec<Output>) -> Self {
        Self { outputs }
    }
}

/// Calls a shadow with the copies, and counts where it would have treated a log otherwise than the chain did, which made
/// `done` of the batch. A list that it fails on is not tried log by log: nothing depends on it.
pub fn run_shadow(member: &Member, aside: Aside, done: &Transformed) {
    let (started, plugin, count) = (Instant::now(), member.plugin(), aside.outputs.len());
    let logs: Vec<&Log> = aside.outputs.iter().map(|output| &output.log).collect();
    let pieces = pieces(plugin, &logs);
    let next = Next::new(aside.outputs);
    let failed = pieces.iter().map(|rows| run_piece(plugin, rows, &next, done)).sum();
    member.passed(count, failed, started.elapsed());
}

/// On how many logs it failed.
fn run_piece(plugin: &Plugin, rows: &[usize], next: &Next, done: &Transformed) -> usize {
    let change = match attempt(plugin, rows, Terms::Once, next, &mut Recorder::off()) {
        Ok(Some(change)) => change,
        Ok(None) => {
            plugin.meter.verdicts(Verdict::Accepted, rows.len());
            return 0;
        }
        Err(error) => {
            report(plugin, rows.len(), &error);
            return rows.len();
        }
    };
    let errors = change.changed.errors.values();
    errors.for_each(|error| plugin.meter.row_error(error, plugin.now()));
    let (failed, mut differences) = (change.changed.errors.len(), 0);
    for at in change.differing(rows, next) {
        if let Some((log, instead)) = difference(&change, at, rows, next, done) {
            differences += 1;
            plugin.differences.keep(plugin.now(), Stage::Transform, || Some((log.clone(), instead)));
        }
    }
    plugin.meter.differences(differences);
    plugin.meter.verdicts(Verdict::Accepted, rows.len().saturating_sub(differences + failed));
    failed
}

/// What the shadow would have made of a row, where the chain has not.
fn difference<'a>(
    change: &Change,
    at: usize,
    rows: &[usize],
    next: &'a Next,
    done: &Transformed,
) -> Option<(&'a Log, Instead)> {
    let row = *rows.get(at)?;
    let (log, inputs) = (next.log(row)?, next.inputs(&[row]));
    if let Some((_, reason)) = change.changed.dropped.iter().find(|(dropped, _)| *dropped == at) {
        let is_dropped = |input: &usize| done.dropped.iter().any(|dropped| dropped.input == *input);
        return (!inputs.iter().all(is_dropped)).then(|| (log, Instead::Dropped { reason: reason.clone() }));
    }
    let outputs = change.changed.sources.iter().enumerate().filter(|(_, of)| of.contains(&at));
    let (mut made, mut is_alone) = (Vec::new(), true);
    for (output, of) in outputs {
        is_alone &= of.len() == 1;
        made.extend(change.made(output, rows, next));
    }
    let left: Vec<&Log> = done.outputs.iter().filter(|it| it.sources == inputs).map(|it| &it.log).collect();
    let differs = match (&made[..], &left[..]) {
        ([made], [left]) if is_alone => differs(log, made, left),
        // Where the log went no further, no edit would have changed that.
        ([_], []) if is_alone => false,
        // Split by both: the same parts are no difference.
        (made, left) => {
            !is_alone || made.len() != left.len() || made.iter().zip(left).any(|(one, other)| one != *other)
        }
    };
    differs.then_some((log, Instead::Changed { logs: made }))
}
