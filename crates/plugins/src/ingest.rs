//! The host's stages over a list: each plugin sees what the ones before it left.

use std::time::Instant;

use sawpit_model::{Log, Verdict};

use crate::convert::{Decision, Enriched, Filtered};
use crate::member::Member;
use crate::shadow::Instead;
use crate::{
    CallError, CallVerdict, Cause, Ingested, OnError, Plugin, Recorder, Stage, call, convert, isolate,
};

/// Runs one filter over the logs that are still accepted and that it takes.
pub fn filter(member: &Member, list: &mut [Ingested], recorder: &mut Recorder) {
    let how = How { stage: Stage::Filter, run: call::filter, settle: settle_filtered };
    timed(member, list, &how, recorder);
}

/// Runs one enricher over the same.
pub fn enrich(member: &Member, list: &mut [Ingested], recorder: &mut Recorder) {
    let how = How { stage: Stage::Enrich, run: call::enrich, settle: settle_enriched };
    timed(member, list, &how, recorder);
}

/// What sets the two stages apart.
struct How<A> {
    stage: Stage,
    run: fn(&Plugin, &[&Log]) -> Result<A, CallError>,
    /// On how many of the rows the plugin failed.
    settle: fn(&Plugin, &mut [Ingested], &[usize], &A, &mut Recorder) -> usize,
}

fn timed<A>(member: &Member, list: &mut [Ingested], how: &How<A>, recorder: &mut Recorder) {
    let started = Instant::now();
    let rows = rows_for(member, list);
    let failed = over_pieces(member.plugin(), &rows, list, how, recorder);
    member.passed(rows.len(), failed, started.elapsed());
}

/// Calls the plugin for the rows, piece by piece, and settles each piece; a piece whose call failed is tried log
/// by log. On how many logs the plugin failed.
fn over_pieces<A>(
    plugin: &Plugin,
    rows: &[usize],
    list: &mut [Ingested],
    how: &How<A>,
    recorder: &mut Recorder,
) -> usize {
    let mut failed = 0;
    let pieces = plugin.pieces(&logs_of(list, rows));
    for piece in pieces {
        let rows = rows.get(piece).unwrap_or_default();
        let logs = logs_of(list, rows);
        let answer =
            recorder.call(plugin, how.stage, rows.len(), || rows.to_vec(), || (how.run)(plugin, &logs));
        failed += match answer {
            Ok(answer) => (how.settle)(plugin, list, rows, &answer, recorder),
            Err(error) if rows.len() == 1 || error.is_bypass() => fail_all(plugin, list, rows, &error),
            Err(error) => one_by_one(plugin, rows, list, how, &error, recorder),
        };
    }
    failed
}

/// Each row of a piece whose call failed with `first` in a call of its own.
fn one_by_one<A>(
    plugin: &Plugin,
    rows: &[usize],
    list: &mut [Ingested],
    how: &How<A>,
    first: &CallError,
    recorder: &mut Recorder,
) -> usize {
    let logs = logs_of(list, rows);
    let results = isolate::each_alone(logs.len(), plugin.settings().isolate_timeout, first, |at| {
        let (row, log) = (rows.get(at..=at).unwrap_or_default(), logs.get(at..=at).unwrap_or_default());
        recorder.call(plugin, how.stage, 1, || row.to_vec(), || (how.run)(plugin, log))
    });
    let settled = rows.chunks(1).zip(results).map(|(row, result)| match result {
        Ok(answer) => (how.settle)(plugin, list, row, &answer, recorder),
        Err(error) => fail_all(plugin, list, row, &error),
    });
    settled.sum()
}

/// Which logs the plugin gets.
fn rows_for(member: &Member, list: &[Ingested]) -> Vec<usize> {
    let wanted = |item: &Ingested| matches!(item, Ingested::Accepted(log) if member.takes(log));
    list.iter().enumerate().filter(|(_, item)| wanted(item)).map(|(row, _)| row).collect()
}

fn logs_of<'a>(list: &'a [Ingested], rows: &[usize]) -> Vec<&'a Log> {
    let log = |&row: &usize| match list.get(row) {
        Some(Ingested::Accepted(log)) => Some(log),
        _ => None,
    };
    rows.iter().filter_map(log).collect()
}

/// Counts logs that the plugin failed on and warns of them. A bypass is no new error: it must not hide the one
/// that opened the breaker.
pub fn report(plugin: &Plugin, logs: usize, error: &CallError) -> String {
    let text = error.to_string();
    if plugin.meter.may_warn(plugin.now()) {
        tracing::warn!(plugin = plugin.description.name, logs, "a plugin failed: {text}");
    }
    if !error.is_bypass() {
        plugin.meter.failed_logs(logs, &text, plugin.now());
    }
    text
}

fn fail_all(plugin: &Plugin, list: &mut [Ingested], rows: &[usize], error: &CallError) -> usize {
    let text = report(plugin, rows.len(), error);
    rows.iter().for_each(|&row| fail(plugin, list, row, &text, error.cause()));
    rows.len()
}

/// What the plugin's policy makes of a log that it failed on. One that it was not even called with is never
/// quarantined: the device sends it again.
fn fail(plugin: &Plugin, list: &mut [Ingested], row: usize, error: &str, cause: Cause) {
    let (policy, error) = (plugin.manifest().on_error, error.to_owned());
    let Some(slot) = list.get_mut(row).filter(|_| !plugin.is_shadow() && policy != OnError::Pass) else {
        return;
    };
    let failed = Ingested::Failed { plugin: plugin.name(), error: error.clone() };
    *slot = match (std::mem::replace(slot, failed), policy, cause) {
        (Ingested::Accepted(log), OnError::Quarantine, Cause::Log) => {
            Ingested::Quarantined { plugin: plugin.id(), error, log }
        }
        _ => Ingested::Failed { plugin: plugin.name(), error },
    };
}

fn replace(list: &mut [Ingested], row: usize, with: Ingested) {
    if let Some(slot) = list.get_mut(row) {
        *slot = with;
    }
}

fn settle_filtered(
    plugin: &Plugin,
    list: &mut [Ingested],
    rows: &[usize],
    answer: &Filtered,
    recorder: &mut Recorder,
) -> usize {
    let (mut dropped, mut rejected) = (0, 0);
    for (at, &row) in rows.iter().enumerate() {
        if let Some(error) = answer.errors.get(&at) {
            plugin.meter.row_error(error, plugin.now());
            recorder.verdict(row, CallVerdict::Failed);
            fail(plugin, list, row, error, Cause::Log);
            continue;
        }
        let decision = answer.decision(at);
        let reason = || reason(plugin, answer.reason(at));
        let outcome = match decision {
            Decision::Accept => continue,
            Decision::Drop => {
                dropped += 1;
                recorder.verdict(row, CallVerdict::Dropped);
                Ingested::Dropped { plugin: plugin.name(), reason: reason() }
            }
            Decision::Reject => {
                rejected += 1;
                recorder.verdict(row, CallVerdict::Rejected);
                Ingested::Rejected { plugin: plugin.name(), reason: reason() }
            }
        };
        if plugin.is_shadow() {
            keep_verdict(plugin, list, row, outcome);
        } else {
            replace(list, row, outcome);
        }
    }
    count(plugin, Verdict::Dropped, dropped, recorder);
    count(plugin, Verdict::Rejected, rejected, recorder);
    recorder.count(plugin, Verdict::Accepted, rows.len() - dropped - rejected - answer.errors.len());
    answer.errors.len()
}

fn keep_verdict(plugin: &Plugin, list: &[Ingested], row: usize, outcome: Ingested) {
    let Some(Ingested::Accepted(log)) = list.get(row) else { return };
    let instead = match outcome {
        Ingested::Dropped { reason, .. } => Instead::Dropped { reason },
        Ingested::Rejected { reason, .. } => Instead::Rejected { reason },
        _ => return,
    };
    plugin.differences.keep(plugin.now(), Stage::Filter, || Some((log.clone(), instead)));
}

fn reason(plugin: &Plugin, text: &str) -> String {
    let mut text = text.to_owned();
    convert::cut(&mut text, plugin.settings().text_bytes);
    text
}

/// A shadow's verdicts are differences.
fn count(plugin: &Plugin, verdict: Verdict, logs: usize, recorder: &mut Recorder) {
    if logs > 0 && plugin.is_shadow() {
        plugin.meter.differences(logs);
    } else {
        recorder.count(plugin, verdict, logs);
    }
}

fn settle_enriched(
    plugin: &Plugin,
    list: &mut [Ingested],
    rows: &[usize],
    answer: &Enriched,
    recorder: &mut Recorder,
) -> usize {
    let (mut changed, mut failed) = (0, 0);
    for (at, &row) in rows.iter().enumerate() {
        match patch(plugin, list, row, answer, at) {
            Ok(false) => {}
            Ok(true) => {
                changed += 1;
                recorder.verdict(row, CallVerdict::Changed);
            }
            Err(error) => {
                failed += 1;
                recorder.verdict(row, CallVerdict::Failed);
                plugin.meter.row_error(&error, plugin.now());
                fail(plugin, list, row, &error, Cause::Log);
            }
        }
    }
    count(plugin, Verdict::Changed, changed, recorder);
    recorder.count(plugin, Verdict::Accepted, rows.len() - changed - failed);
    failed
}

/// Whether there was a patch. A shadow's is tried on a copy.
fn patch(
    plugin: &Plugin,
    list: &mut [Ingested],
    row: usize,
    answer: &Enriched,
    at: usize,
) -> Result<bool, String> {
    if let Some(error) = answer.errors.get(&at) {
        return Err(error.clone());
    }
    let (text, Some(Ingested::Accepted(log))) = (answer.patches.row(at), list.get_mut(row)) else {
        return Ok(false);
    };
    if text.is_empty() {
        return Ok(false);
    }
    let limits = &plugin.settings().limits;
    let patched = if plugin.is_shadow() {
        let mut log_data = log.log_data.clone();
        convert::set(&mut log_data, text, limits).inspect(|()| {
            plugin.differences.keep(plugin.now(), Stage::Enrich, || {
                Some((log.clone(), Instead::Changed { logs: vec![Log { log_data, ..log.clone() }] }))
            });
        })
    } else {
        convert::set(&mut log.log_data, text, limits)
    };
    patched.map(|()| true).map_err(|error| format!("bad answer: set of row {at}: {error}"))
}
