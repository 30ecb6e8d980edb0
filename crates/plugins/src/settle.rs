//! What becomes of logs by a plugin's answer, or because it gave none: verdicts, patches, and the policy for those that it
//! failed on, with what is counted and told of that.

use std::fmt;

use sawpit_model::{Log, PatchError, Verdict};

use crate::breaker::Ended;
use crate::convert::{self, Decision, Enriched, Filtered};
use crate::trace::inset;
use crate::{CallError, CallVerdict, Cause, Ingested, OnError, OutputError, Plugin, Recorder};

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

/// What the policy makes of rows that a call failed for; how many there are.
pub fn fail_all(plugin: &Plugin, list: &mut [Ingested], rows: &[usize], error: &CallError) -> usize {
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

/// What a filter's answer makes of the rows that it is for; on how many it failed.
pub fn filtered(
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

/// The same of an enricher's.
pub fn enriched(
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
                    plugin.breaker.settle(false, Ended::Failed(&error), plugin.now());
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
