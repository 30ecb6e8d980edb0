//! The worker's stage over a batch: each plugin sees the outputs of the one before it.

mod next;

use std::collections::HashSet;
use std::time::Instant;

use next::Next;
use sawpit_model::{Log, RawObject, Verdict};

use crate::convert::Changed;
use crate::ingest::report;
use crate::member::Member;
use crate::shadow::Instead;
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
    /// Whether the plugin's mode and policy are left out, so that it shows what it does itself.
    strict: bool,
}

impl Batch {
    pub fn new(logs: Vec<Log>) -> Self {
        let inputs = logs.len();
        let output = |(input, log)| Output { log, sources: vec![input] };
        let outputs = logs.into_iter().enumerate().map(output).collect();
        Self { inputs, outputs, dropped: Vec::new(), failed: Vec::new(), strict: false }
    }

    /// A batch for trying a plugin out: a shadow's changes are made, and failures are never passed over.
    pub fn strict(logs: Vec<Log>) -> Self {
        Self { strict: true, ..Self::new(logs) }
    }

    fn is_shadow(&self, plugin: &Plugin) -> bool {
        plugin.is_shadow() && !self.strict
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

    /// On how many logs the plugin failed.
    fn run_rows(&mut self, plugin: &Plugin, rows: &[usize], recorder: &mut Recorder) -> usize {
        let pieces = plugin.pieces(&self.logs(rows));
        let mut next = Next::new(std::mem::take(&mut self.outputs));
        let mut failed = 0;
        for piece in pieces {
            let rows = rows.get(piece).unwrap_or_default();
            failed += self.run_piece(plugin, rows, &mut next, recorder);
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
        match attempt(plugin, rows, next, recorder) {
            Ok(change) => self.settle(plugin, rows, change, next, recorder),
            Err(error) if rows.len() == 1 || error.is_bypass() => self.fail(plugin, rows, &error, next),
            Err(error) => {
                let limit = plugin.settings().isolate_timeout;
                let results = isolate::each_alone(rows.len(), limit, &error, |at| {
                    attempt(plugin, rows.get(at..=at).unwrap_or_default(), next, recorder)
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
            plugin.meter.row_error(error, plugin.now());
        }
        if self.is_shadow(plugin) {
            let differences = change.differences(rows.len());
            plugin.meter.differences(differences);
            if differences > 0 {
                let first = || change.first_difference(rows, next);
                plugin.differences.keep(plugin.now(), Stage::Transform, first);
            }
            return failed;
        }
        let (differences, dropped) = (change.differences(rows.len()), change.changed.dropped.len());
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
        if self.is_shadow(plugin) || self.passes_errors(plugin) {
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

fn attempt(
    plugin: &Plugin,
    rows: &[usize],
    next: &Next,
    recorder: &mut Recorder,
) -> Result<Option<Change>, CallError> {
    let logs: Vec<&Log> = rows.iter().filter_map(|&row| next.log(row)).collect();
    let run = || {
        call::transform(plugin, &logs, |mut changed| {
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
        let changed = self.differing(rows.len()).map(|at| (at, CallVerdict::Changed));
        let dropped = self.changed.dropped.iter().map(|(at, _)| (*at, CallVerdict::Dropped));
        let failed = self.changed.errors.keys().map(|at| (*at, CallVerdict::Failed));
        for (at, verdict) in changed.chain(dropped).chain(failed) {
            let inputs = next.inputs(rows.get(at..=at).unwrap_or_default());
            inputs.into_iter().for_each(|input| recorder.verdict(input, verdict));
        }
    }

    /// How many of the inputs come out otherwise than they went in.
    fn differences(&self, inputs: usize) -> usize {
        self.differing(inputs).count()
    }

    /// The first of them, and what the plugin would have made of it.
    fn first_difference(&self, rows: &[usize], next: &Next) -> Option<(Log, Instead)> {
        let at = self.differing(rows.len()).next()?;
        let log = next.log(*rows.get(at)?)?.clone();
        if let Some((_, reason)) = self.changed.dropped.iter().find(|(dropped, _)| *dropped == at) {
            return Some((log, Instead::Dropped { reason: reason.clone() }));
        }
        let outputs = self.changed.sources.iter().enumerate().filter(|(_, of)| of.contains(&at));
        let logs = outputs.filter_map(|(output, of)| self.made(output, next.log(*rows.get(*of.first()?)?)?));
        let logs = logs.collect();
        Some((log, Instead::Changed { logs }))
    }

    /// An output as it would be, made from the log that it continues.
    fn made(&self, output: usize, origin: &Log) -> Option<Log> {
        let mut log = origin.clone();
        let of = |edited: usize| edited == output;
        if let Some((_, level)) = self.changed.levels.iter().find(|(edited, _)| of(*edited)) {
            log.log_level = *level;
        }
        if let Some((_, message)) = self.changed.messages.iter().find(|(edited, _)| of(*edited)) {
            log.message.clone_from(message);
        }
        if let Some(data) = self.log_data.get(output)? {
            log.log_data = data.clone();
        }
        Some(log)
    }

    fn differing(&self, inputs: usize) -> impl Iterator<Item = usize> {
        let mut same = vec![0_u32; inputs];
        let levels = self.changed.levels.iter().map(|(output, _)| *output);
        let edits: HashSet<usize> =
            levels.chain(self.changed.messages.iter().map(|(output, _)| *output)).collect();
        let edited =
            |output: usize| edits.contains(&output) || self.log_data.get(output).is_some_and(Option::is_some);
        for (output, sources) in self.changed.sources.iter().enumerate() {
            for &input in sources {
                let weight = if sources.len() == 1 && !edited(output) { 1 } else { 2 };
                if let Some(slot) = same.get_mut(input) {
                    *slot += weight;
                }
            }
        }
        let errors = &self.changed.errors;
        same.into_iter()
            .enumerate()
            .filter(|(at, weight)| *weight != 1 && !errors.contains_key(at))
            .map(|(at, _)| at)
    }
}
