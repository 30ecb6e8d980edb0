//! The worker's stage over a batch: each plugin sees the outputs of the one before it.

mod next;
mod shadow;

use std::collections::HashSet;
use std::time::Instant;

use next::Next;
use sawpit_model::{Log, RawObject, Verdict};

pub use shadow::{Aside, run_shadow};

use crate::call::Terms;
use crate::chain::devices;
use crate::convert::Changed;
use crate::member::Member;
use crate::settle::{report, said_failed};
use crate::{
    CallError, CallVerdict, Cause, Dropped, Failed, OnError, Output, OutputError, Plugin, Recorder, Stage,
    Transformed, call, convert, isolate,
};

/// A batch on its way through the transformers. Indices in here are always those of the inputs.
pub struct Batch {
    inputs: usize,
    outputs: Vec<Output>,
    /// Sources of what was dropped; an input that lives on in another output is not dropped in the end.
    dropped: Vec<Dropped>,
    failed: Vec<Failed>,
    /// Whether the plugin's policy is left out, so that it shows what it does itself.
    strict: bool,
}

impl Batch {
    pub fn new(logs: Vec<Log>) -> Self {
        let inputs = logs.len();
        let output = |(input, log)| Output { log, sources: vec![input] };
        let outputs = logs.into_iter().enumerate().map(output).collect();
        Self { inputs, outputs, dropped: Vec::new(), failed: Vec::new(), strict: false }
    }

    /// A batch for trying a plugin out: failures are never passed over.
    pub fn strict(logs: Vec<Log>) -> Self {
        Self { strict: true, ..Self::new(logs) }
    }

    fn passes_errors(&self, plugin: &Plugin) -> bool {
        plugin.manifest().on_error == OnError::Pass && !self.strict
    }

    /// Runs one transformer over the outputs that it takes; the others keep their places.
    pub fn run(&mut self, member: &Member, recorder: &mut Recorder) {
        let started = Instant::now();
        let rows = self.rows(|log| member.takes(log));
        let failed = self.run_rows(member.plugin(), &rows, recorder);
        member.passed(rows.len(), failed, started.elapsed());
    }

    /// Runs a transformer that is in no chain yet over the outputs that its manifest matches.
    pub fn run_alone(&mut self, plugin: &Plugin) {
        let rows = self.rows(|log| plugin.manifest().matches.takes(log));
        self.run_rows(plugin, &rows, &mut Recorder::off());
    }

    fn rows(&self, takes: impl Fn(&Log) -> bool) -> Vec<usize> {
        self.outputs.iter().enumerate().filter(|(_, output)| takes(&output.log)).map(|(row, _)| row).collect()
    }

    /// Copies what a shadow would get now.
    pub fn set_aside(&self, member: &Member) -> Aside {
        Aside::new(self.outputs.iter().filter(|output| member.takes(&output.log)).cloned().collect())
    }

    /// On how many logs the plugin failed. The logs of a device belong together: here nobody knows any more in which
    /// request they came.
    fn run_rows(&mut self, plugin: &Plugin, rows: &[usize], recorder: &mut Recorder) -> usize {
        let pieces = pieces(plugin, &self.logs(rows));
        let mut next = Next::new(std::mem::take(&mut self.outputs));
        let mut failed = 0;
        for piece in pieces {
            let rows: Vec<usize> = piece.into_iter().filter_map(|at| rows.get(at).copied()).collect();
            failed += self.run_piece(plugin, &rows, &mut next, recorder);
        }
        self.outputs = next.finish();
        failed
    }

    fn logs(&self, rows: &[usize]) -> Vec<&Log> {
        rows.iter().filter_map(|&row| self.outputs.get(row)).map(|output| &output.log).collect()
    }

    /// On how many logs the plugin failed.
    fn run_piece(
        &mut self,
        plugin: &Plugin,
        rows: &[usize],
        next: &mut Next,
        recorder: &mut Recorder,
    ) -> usize {
        match attempt(plugin, rows, Terms::Whole, next, recorder) {
            Ok(change) => self.settle(plugin, rows, change, next, recorder),
            Err(error) if rows.len() == 1 || error.is_no_call() => self.fail(plugin, rows, &error, next),
            Err(error) => {
                let limit = plugin.settings().isolate_timeout;
                let results = isolate::each_alone(rows.len(), limit, &error, |at| {
                    attempt(plugin, rows.get(at..=at).unwrap_or_default(), Terms::Whole, next, recorder)
                });
                let settled = rows.chunks(1).zip(results).map(|(row, result)| match result {
                    Ok(change) => self.settle(plugin, row, change, next, recorder),
                    Err(error) => self.fail(plugin, row, &error, next),
                });
                settled.sum()
            }
        }
    }

    fn settle(
        &mut self,
        plugin: &Plugin,
        rows: &[usize],
        change: Option<Change>,
        next: &mut Next,
        recorder: &mut Recorder,
    ) -> usize {
        let Some(change) = change else {
            recorder.count(plugin, Verdict::Accepted, rows.len());
            return 0;
        };
        if recorder.is_on() {
            change.record(rows, next, recorder);
        }
        let failed = change.changed.errors.len();
        for error in change.changed.errors.values() {
            said_failed(plugin, error);
        }
        let differences = change.differing(rows, next).len();
        let dropped = change.changed.dropped.len();
        recorder.count(plugin, Verdict::Dropped, dropped);
        recorder.count(plugin, Verdict::Changed, differences.saturating_sub(dropped));
        recorder.count(plugin, Verdict::Accepted, rows.len().saturating_sub(differences + failed));
        let kept_errors = self.passes_errors(plugin);
        for (at, reason) in &change.changed.dropped {
            for input in next.take_sources(rows, *at) {
                self.dropped.push(Dropped { input, plugin: plugin.name(), reason: reason.clone() });
            }
        }
        for (at, error) in change.changed.errors.iter().filter(|_| !kept_errors) {
            for input in next.take_sources(rows, *at) {
                self.failed.push(Failed {
                    input,
                    plugin: plugin.id(),
                    error: error.clone(),
                    cause: Cause::Log,
                });
            }
        }
        next.apply(rows, change);
        failed
    }

    fn fail(&mut self, plugin: &Plugin, rows: &[usize], error: &CallError, next: &mut Next) -> usize {
        let (cause, error) = (error.cause(), report(plugin, rows.len(), error));
        if self.passes_errors(plugin) {
            return rows.len();
        }
        for at in 0..rows.len() {
            for input in next.take_sources(rows, at) {
                self.failed.push(Failed { input, plugin: plugin.id(), error: error.clone(), cause });
            }
        }
        rows.len()
    }

    /// Every input gets exactly one fate. A failed one takes every output with it that it is a source of,
    /// and their other sources too: half of a log must not be stored while the other half is replayed.
    pub fn finish(mut self) -> Transformed {
        let mut fates = vec![false; self.inputs];
        self.failed.sort_by_key(|failed| failed.input);
        self.failed.dedup_by_key(|failed| failed.input);
        for failed in &self.failed {
            mark(&mut fates, failed.input);
        }
        self.spread_failures(&mut fates);
        for input in self.outputs.iter().flat_map(|output| &output.sources) {
            mark(&mut fates, *input);
        }
        self.dropped.retain(|dropped| mark(&mut fates, dropped.input));
        self.dropped.sort_by_key(|dropped| dropped.input);
        Transformed { outputs: self.outputs, dropped: self.dropped, failed: self.failed }
    }

    fn spread_failures(&mut self, fates: &mut [bool]) {
        if self.failed.is_empty() {
            return;
        }
        let is_failed = |fates: &[bool], output: &Output| {
            output.sources.iter().find(|&&input| fates.get(input) == Some(&true)).copied()
        };
        while let Some((at, cause)) =
            self.outputs.iter().enumerate().find_map(|(at, output)| Some((at, is_failed(fates, output)?)))
        {
            let output = self.outputs.remove(at);
            let cause = self.failed.iter().find(|failed| failed.input == cause).cloned();
            for input in output.sources {
                if mark(fates, input)
                    && let Some(cause) = &cause
                {
                    self.failed.push(Failed { input, ..cause.clone() });
                }
            }
        }
        self.failed.sort_by_key(|failed| failed.input);
    }
}

/// Marks an input; whether it was not marked before.
fn mark(fates: &mut [bool], input: usize) -> bool {
    fates.get_mut(input).is_some_and(|slot| !std::mem::replace(slot, true))
}

/// A checked answer with all edits of `log_data` made, so that applying it cannot fail.
struct Change {
    changed: Changed,
    /// Per output its new `log_data`, where it has one.
    log_data: Vec<Option<RawObject>>,
}

/// What one call may take, with the logs of a device together.
fn pieces(plugin: &Plugin, logs: &[&Log]) -> Vec<Vec<usize>> {
    let owners = devices(logs.iter().copied());
    plugin.pieces(logs, |at| owners.get(at).copied().unwrap_or_default())
}

fn attempt(
    plugin: &Plugin,
    rows: &[usize],
    terms: Terms,
    next: &Next,
    recorder: &mut Recorder,
) -> Result<Option<Change>, CallError> {
    let logs: Vec<&Log> = rows.iter().filter_map(|&row| next.log(row)).collect();
    let run = || {
        call::transform(plugin, &logs, terms, |mut changed| {
            let log_data = edit_data(plugin, &mut changed, &logs)?;
            Ok(Change { log_data, changed })
        })
    };
    recorder.call(plugin, Stage::Transform, rows.len(), || next.inputs(rows), run)
}

fn edit_data(
    plugin: &Plugin,
    changed: &mut Changed,
    logs: &[&Log],
) -> Result<Vec<Option<RawObject>>, OutputError> {
    let mut edited: Vec<Option<RawObject>> = vec![None; changed.sources.len()];
    for (output, object) in changed.log_data.drain(..) {
        if let Some(slot) = edited.get_mut(output) {
            *slot = Some(object);
        }
    }
    for (output, patch) in &changed.set {
        let origin = changed.sources.get(*output).and_then(|sources| logs.get(*sources.first()?));
        let (Some(slot), Some(origin), false) = (edited.get_mut(*output), origin, patch.is_empty()) else {
            continue;
        };
        let object = slot.get_or_insert_with(|| origin.log_data.clone());
        convert::set(object, patch, &plugin.settings().limits).map_err(|rule| OutputError::Edit {
            part: "set",
            output: *output,
            rule,
        })?;
    }
    Ok(edited)
}

impl Change {
    /// Notes what became of the inputs behind each row.
    fn record(&self, rows: &[usize], next: &Next, recorder: &mut Recorder) {
        let changed = self.differing(rows, next).into_iter().map(|at| (at, CallVerdict::Changed));
        let dropped = self.changed.dropped.iter().map(|(at, _)| (*at, CallVerdict::Dropped));
        let failed = self.changed.errors.keys().map(|at| (*at, CallVerdict::Failed));
        for (at, verdict) in changed.chain(dropped).chain(failed) {
            let inputs = next.inputs(rows.get(at..=at).unwrap_or_default());
            inputs.into_iter().for_each(|input| recorder.verdict(input, verdict));
        }
    }

    /// The log that an output continues.
    fn origin<'a>(&self, output: usize, rows: &[usize], next: &'a Next) -> Option<&'a Log> {
        next.log(*rows.get(*self.changed.sources.get(output)?.first()?)?)
    }

    /// The rows that do not come out as they went in: dropped, split, merged, or with an edit that says something else
    /// than what is there.
    fn differing(&self, rows: &[usize], next: &Next) -> Vec<usize> {
        let edited = self.edited(rows, next);
        let mut same = vec![0_u32; rows.len()];
        for (output, sources) in self.changed.sources.iter().enumerate() {
            for &input in sources {
                let weight = if sources.len() == 1 && !edited.contains(&output) { 1 } else { 2 };
                if let Some(slot) = same.get_mut(input) {
                    *slot += weight;
                }
            }
        }
        let errors = &self.changed.errors;
        let differs = |(at, weight): (usize, u32)| (weight != 1 && !errors.contains_key(&at)).then_some(at);
        same.into_iter().enumerate().filter_map(differs).collect()
    }

    /// The outputs with an edit that changes something.
    fn edited(&self, rows: &[usize], next: &Next) -> HashSet<usize> {
        let changes = |output: usize, is_same: &dyn Fn(&Log) -> bool| {
            self.origin(output, rows, next).is_none_or(|log| !is_same(log)).then_some(output)
        };
        let levels = self.changed.levels.iter();
        let levels = levels.filter_map(|(output, level)| changes(*output, &|log| log.log_level == *level));
        let messages = self.changed.messages.iter();
        let messages = messages.filter_map(|(output, text)| changes(*output, &|log| log.message == *text));
        let data = self.log_data.iter().enumerate();
        let data = data.filter_map(|(output, data)| {
            data.as_ref().and_then(|data| changes(output, &|log| log.log_data == *data))
        });
        levels.chain(messages).chain(data).collect()
    }

    /// An output as it would be.
    fn made(&self, output: usize, rows: &[usize], next: &Next) -> Option<Log> {
        let mut log = self.origin(output, rows, next)?.clone();
        let of = |edited: usize| edited == output;
        if let Some((_, level)) = self.changed.levels.iter().rev().find(|(edited, _)| of(*edited)) {
            log.log_level = *level;
        }
        if let Some((_, message)) = self.changed.messages.iter().rev().find(|(edited, _)| of(*edited)) {
            log.message.clone_from(message);
        }
        if let Some(data) = self.log_data.get(output)? {
            log.log_data = data.clone();
        }
        Some(log)
    }
}
