//! The host's stages over a list: each plugin sees what the ones before it left.
//!
//! A call that fails for a list does not say which log is at fault, and finding out costs time that others of the list
//! would wait for. How much of it is spent here, the [`Effort`] says.

use std::fmt;
use std::time::Instant;

use sawpit_model::{Log, PatchError, Verdict};

use crate::breaker::Ended as CallEnded;
use crate::call::Terms;
use crate::convert::{Decision, Enriched, Filtered};
use crate::member::Member;
use crate::passage::Effort;
use crate::rows::Rows;
use crate::trace::inset;
use crate::{
    CallError, CallVerdict, Cause, Ingested, OnError, OutputError, Plugin, Recorder, Stage, call, convert,
    isolate,
};

/// A plugin's turn at a list.
pub struct Step<'a> {
    /// Its place in the chain's steps.
    pub number: usize,
    pub stage: Stage,
    pub member: &'a Member,
}

/// How a turn ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// All logs are through it.
    Through,
    /// Time went by, and some are not.
    Stopped {
        /// Whose logs it went by for, if they were of one request.
        slow: Option<usize>,
    },
}

/// Runs the step over the logs that are still accepted, that its plugin takes, and that are not through it yet.
pub fn run(step: &Step<'_>, rows: &mut Rows, effort: Effort, recorder: &mut Recorder) -> Ended {
    match step.stage {
        Stage::Filter => {
            Turn { step, effort, recorder, run: call::filter, settle: settle_filtered, settled: 0, failed: 0 }
                .take(rows)
        }
        _ => {
            Turn { step, effort, recorder, run: call::enrich, settle: settle_enriched, settled: 0, failed: 0 }
                .take(rows)
        }
    }
}

struct Turn<'a, A> {
    step: &'a Step<'a>,
    effort: Effort,
    recorder: &'a mut Recorder,
    run: fn(&Plugin, &[&Log], Terms) -> Result<A, CallError>,
    /// On how many of the rows the plugin failed.
    settle: fn(&Plugin, &mut [Ingested], &[usize], &A, &mut Recorder) -> usize,
    settled: usize,
    failed: usize,
}

impl<A> Turn<'_, A> {
    fn take(&mut self, rows: &mut Rows) -> Ended {
        let started = Instant::now();
        let all = rows.before(self.step);
        let ended = self.pieces(&all, rows);
        self.step.member.passed(self.settled, self.failed, started.elapsed());
        if ended == Ended::Through {
            rows.all_through(self.step);
        }
        ended
    }

    fn plugin(&self) -> &Plugin {
        self.step.member.plugin()
    }

    /// Calls the plugin for these rows, piece by piece.
    fn pieces(&mut self, all: &[usize], rows: &mut Rows) -> Ended {
        let owner = |place: usize| all.get(place).map_or(0, |&row| rows.owner(row));
        for piece in self.plugin().pieces(&rows.logs(all), owner) {
            let piece: Vec<usize> = piece.into_iter().filter_map(|place| all.get(place).copied()).collect();
            let ended = self.piece(&piece, rows);
            if ended != Ended::Through {
                return ended;
            }
        }
        Ended::Through
    }

    fn piece(&mut self, piece: &[usize], rows: &mut Rows) -> Ended {
        let terms = self.effort.terms(self.plugin(), rows);
        let error = match self.call(piece, rows, terms) {
            Ok(answer) => {
                self.answered(piece, rows, &answer);
                return Ended::Through;
            }
            Err(error) => error,
        };
        let is_known = piece.len() == 1 && !terms.cut_short(self.plugin(), &error);
        if is_known || error.is_no_call() {
            self.fail(piece, rows, &error);
            let others_waited =
                error.is_deadline() && self.effort == Effort::First && rows.accepted().next().is_some();
            return if others_waited { Ended::Stopped { slow: None } } else { Ended::Through };
        }
        match self.effort {
            Effort::First | Effort::Short if error.is_deadline() => {
                Ended::Stopped { slow: rows.one_owner(piece) }
            }
            Effort::First if rows.is_shared() => Ended::Stopped { slow: None },
            Effort::First => self.one_by_one(piece, rows, Terms::Short, &error),
            Effort::Short | Effort::Last => self.one_by_one(piece, rows, terms, &error),
        }
    }

    fn call(&mut self, piece: &[usize], rows: &Rows, terms: Terms) -> Result<A, CallError> {
        let (plugin, run, logs) = (self.step.member.plugin(), self.run, rows.logs(piece));
        let size = piece.len();
        self.recorder.call(plugin, self.step.stage, size, || piece.to_vec(), || run(plugin, &logs, terms))
    }

    fn answered(&mut self, piece: &[usize], rows: &mut Rows, answer: &A) {
        let plugin = self.step.member.plugin();
        self.failed += (self.settle)(plugin, &mut rows.items, piece, answer, self.recorder);
        self.through(piece, rows);
    }

    fn fail(&mut self, piece: &[usize], rows: &mut Rows, error: &CallError) {
        self.failed += fail_all(self.plugin(), &mut rows.items, piece, error);
        self.through(piece, rows);
    }

    fn through(&mut self, piece: &[usize], rows: &mut Rows) {
        self.settled += piece.len();
        rows.through(self.step, piece);
    }

    /// Each row of a piece whose call failed with `first` in a call of its own, so that only the culprits suffer.
    fn one_by_one(&mut self, piece: &[usize], rows: &mut Rows, terms: Terms, first: &CallError) -> Ended {
        let settings = self.plugin().settings();
        let limit = match terms {
            Terms::Short => terms.limit(self.plugin()),
            _ => settings.isolate_timeout,
        };
        let results = isolate::each_alone(piece.len(), limit, first, |at| {
            self.call(piece.get(at..=at).unwrap_or_default(), rows, terms)
        });
        let mut left = Vec::new();
        for (row, result) in piece.chunks(1).zip(results) {
            match result {
                Ok(answer) => self.answered(row, rows, &answer),
                Err(CallError::NotTried { .. }) => left.extend_from_slice(row),
                Err(error) if terms.cut_short(self.plugin(), &error) => left.extend_from_slice(row),
                Err(error) => self.fail(row, rows, &error),
            }
        }
        if left.is_empty() {
            return Ended::Through;
        }
        if terms == Terms::Short {
            return Ended::Stopped { slow: rows.one_owner(&left) };
        }
        let not_tried = CallError::NotTried { limit, first: first.to_string() };
        self.without_culprits(&left, rows, &not_tried);
        Ended::Through
    }

    /// Once more those whose turn did not come, now that the devices are known that used up the time.
    fn without_culprits(&mut self, left: &[usize], rows: &mut Rows, not_tried: &CallError) {
        let suspects = &self.plugin().suspects;
        let is_suspect = |log: &Log| suspects.has(&log.device_id);
        let (culprits, others): (Vec<_>, Vec<_>) =
            left.iter().partition(|row| rows.logs(&[**row]).into_iter().any(is_suspect));
        let answer = if culprits.is_empty() || others.is_empty() {
            Err(not_tried.clone())
        } else {
            self.call(&others, rows, Terms::Whole)
        };
        match answer {
            Ok(answer) => self.answered(&others, rows, &answer),
            Err(_) => self.fail(&others, rows, not_tried),
        }
        self.fail(&culprits, rows, not_tried);
    }
}

/// Counts logs that the plugin failed on and warns of them. A bypass is no new error: it must not hide the one
/// that opened the breaker.
pub fn report(plugin: &Plugin, logs: usize, error: &CallError) -> String {
    let text = error.to_string();
    warn(plugin, logs, &text);
    if !error.is_bypass() {
        plugin.meter.failed_logs(logs, &text, plugin.now());
    }
    text
}

/// Tells the operator that the plugin failed, once a second at most, and how often it did since the last line.
pub fn warn(plugin: &Plugin, logs: usize, text: &str) {
    if let Some(untold) = plugin.meter.may_warn(plugin.now()) {
        let (plugin, file, text) = (plugin.id(), &plugin.file, inset(text));
        tracing::warn!(plugin, file, logs, untold, "a plugin failed: {text}");
    }
}

fn fail_all(plugin: &Plugin, list: &mut [Ingested], rows: &[usize], error: &CallError) -> usize {
    if rows.is_empty() {
        return 0;
    }
    let text = report(plugin, rows.len(), error);
    rows.iter().for_each(|&row| fail(plugin, list, row, &text, error.cause()));
    rows.len()
}

/// What the plugin's policy makes of a log that it failed on. One that it had no time for is never
/// quarantined: the device sends it again. One that passed an open breaker is.
fn fail(plugin: &Plugin, list: &mut [Ingested], row: usize, error: &str, cause: Cause) {
    let (policy, error) = (plugin.manifest().on_error, error.to_owned());
    let Some(slot) = list.get_mut(row).filter(|_| policy != OnError::Pass) else {
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
            said_failed(plugin, error);
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
        replace(list, row, outcome);
    }
    recorder.count(plugin, Verdict::Dropped, dropped);
    recorder.count(plugin, Verdict::Rejected, rejected);
    recorder.count(plugin, Verdict::Accepted, rows.len() - dropped - rejected - answer.errors.len());
    answer.errors.len()
}

pub fn reason(plugin: &Plugin, text: &str) -> String {
    let mut text = text.to_owned();
    convert::cut(&mut text, plugin.settings().text_bytes);
    text
}

fn settle_enriched(
    plugin: &Plugin,
    list: &mut [Ingested],
    rows: &[usize],
    answer: &Enriched,
    recorder: &mut Recorder,
) -> usize {
    let (mut changed, mut failed, mut bad) = (0, 0, 0);
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
                bad += usize::from(matches!(error, RowError::Bad(_)));
                let text = error.report(plugin, bad == rows.len());
                fail(plugin, list, row, &text, Cause::Log);
            }
        }
    }
    recorder.count(plugin, Verdict::Changed, changed);
    recorder.count(plugin, Verdict::Accepted, rows.len() - changed - failed);
    failed
}

/// Whether there was a patch.
fn patch(
    plugin: &Plugin,
    list: &mut [Ingested],
    row: usize,
    answer: &Enriched,
    at: usize,
) -> Result<bool, RowError> {
    let Some(Ingested::Accepted(log)) = list.get_mut(row) else { return Ok(false) };
    match patch_of(answer, at).map_err(RowError::Said)? {
        "" => Ok(false),
        text => set(plugin, log, text, at).map(|()| true),
    }
}

/// Why a plugin that enriches failed on a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowError {
    /// It said so, or would make more of the log than a log may be.
    Said(String),
    /// Its answer breaks the contract.
    Bad(CallError),
}

impl RowError {
    /// Counts it. If there is nothing right in the answer, as `is_all` says, the breaker learns of it as of any call that
    /// failed; of a list in which others are right it does not, just as of a list with a log that makes the plugin trap.
    fn report(self, plugin: &Plugin, is_all: bool) -> String {
        match self {
            Self::Said(text) => {
                said_failed(plugin, &text);
                text
            }
            Self::Bad(error) => {
                plugin.meter.call_error(&error, plugin.now());
                if is_all {
                    plugin.breaker.settle(false, CallEnded::Failed(&error), plugin.now());
                }
                report(plugin, 1, &error)
            }
        }
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(text) => f.write_str(text),
            Self::Bad(error) => error.fmt(f),
        }
    }
}

/// Counts a log that the plugin said it failed on.
pub fn said_failed(plugin: &Plugin, text: &str) {
    plugin.meter.row_error(text, plugin.now());
    warn(plugin, 1, text);
}

/// The patch of a row, or what the plugin said that it failed on.
pub fn patch_of(answer: &Enriched, at: usize) -> Result<&str, String> {
    answer.errors.get(&at).map_or_else(|| Ok(answer.patches.row(at)), |error| Err(error.clone()))
}

/// Sets a patch in a log.
pub fn set(plugin: &Plugin, log: &mut Log, text: &str, at: usize) -> Result<(), RowError> {
    log.log_data.patch(text, &plugin.settings().limits).map_err(|error| match error {
        PatchError::Patch(rule) => {
            RowError::Bad(OutputError::Patch { row: at, rule: rule.to_string() }.into())
        }
        // Whether it does depends on the log.
        error => RowError::Said(format!("set of row {at}: {error}")),
    })
}

/// Tries the patches of an answer on copies of the logs that it is for.
pub fn check_patches(plugin: &Plugin, logs: &[&Log], answer: &Enriched) -> Result<(), CallError> {
    for (at, log) in logs.iter().enumerate() {
        let text = answer.patches.row(at);
        if !text.is_empty()
            && let Err(RowError::Bad(error)) = set(plugin, &mut (*log).clone(), text, at)
        {
            return Err(error);
        }
    }
    Ok(())
}
