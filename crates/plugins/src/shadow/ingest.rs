//! The host's stages in shadow mode.

use std::time::Instant;

use sawpit_model::{Log, Verdict};

use super::{Instead, differs, same_as_left};
use crate::call::Terms;
use crate::convert::{Decision, Enriched, Filtered};
use crate::ingest::Step;
use crate::{Chain, Ingested, Plugin, Stage, call, settle};

/// A copy of a log as it stood at a shadow's place.
#[derive(Debug)]
pub struct Aside {
    /// The shadow's step in the chain.
    pub step: usize,
    /// The log's place in its list.
    pub row: usize,
    /// Whose it is.
    pub owner: usize,
    pub log: Log,
}

/// Calls the shadows with the copies. `ends` is what became of the logs.
pub fn run_ingest(chain: &Chain, mut asides: Vec<Aside>, ends: &[Ingested]) {
    if asides.is_empty() {
        return;
    }
    asides.sort_by_key(|aside| aside.step);
    for step in chain.ingest_steps().filter(|step| step.member.plugin().is_shadow()) {
        let from = asides.partition_point(|aside| aside.step < step.number);
        let to = asides.partition_point(|aside| aside.step <= step.number);
        run_step(&step, asides.get(from..to).unwrap_or_default(), ends);
    }
}

/// One shadow over what it would have got.
pub fn run_step(step: &Step<'_>, asides: &[Aside], ends: &[Ingested]) {
    let started = Instant::now();
    let plugin = step.member.plugin();
    let logs: Vec<&Log> = asides.iter().map(|aside| &aside.log).collect();
    let mut failed = 0;
    for piece in plugin.pieces(&logs, |at| asides.get(at).map_or(0, |aside| aside.owner)) {
        let piece: Vec<&Aside> = piece.into_iter().filter_map(|at| asides.get(at)).collect();
        failed += try_out(plugin, step.stage, &piece, ends);
    }
    step.member.passed(asides.len(), failed, started.elapsed());
}

/// On how many logs it failed. A list that it failed on is not tried log by log: nothing depends on it.
fn try_out(plugin: &Plugin, stage: Stage, piece: &[&Aside], ends: &[Ingested]) -> usize {
    let logs: Vec<&Log> = piece.iter().map(|aside| &aside.log).collect();
    let counts = match stage {
        Stage::Filter => call::filter(plugin, &logs, Terms::Once).map(|answer| {
            count(plugin, stage, piece, |at, aside| filtered(plugin, &answer, at, aside, ends))
        }),
        _ => call::enrich(plugin, &logs, Terms::Once).map(|answer| {
            count(plugin, stage, piece, |at, aside| enriched(plugin, &answer, at, aside, ends))
        }),
    };
    counts.unwrap_or_else(|error| {
        settle::report(plugin, piece.len(), &error);
        piece.len()
    })
}

/// What a shadow would have done to a log: nothing that the chain has not done, or this.
type Would = Result<Option<Instead>, String>;

/// On how many of the rows it failed.
fn count(plugin: &Plugin, stage: Stage, piece: &[&Aside], would: impl Fn(usize, &Aside) -> Would) -> usize {
    let (mut differences, mut failed) = (0, 0);
    for (at, aside) in piece.iter().enumerate() {
        match would(at, aside) {
            Ok(None) => {}
            Ok(Some(instead)) => {
                differences += 1;
                plugin.differences.keep(plugin.now(), stage, || Some((aside.log.clone(), instead)));
            }
            Err(error) => {
                failed += 1;
                plugin.meter.row_error(&error, plugin.now());
            }
        }
    }
    plugin.meter.differences(differences);
    plugin.meter.verdicts(Verdict::Accepted, piece.len() - differences - failed);
    failed
}

fn filtered(plugin: &Plugin, answer: &Filtered, at: usize, aside: &Aside, ends: &[Ingested]) -> Would {
    if let Some(error) = answer.errors.get(&at) {
        return Err(error.clone());
    }
    let (name, reason) = (plugin.name(), settle::reason(plugin, answer.reason(at)));
    let decided = match answer.decision(at) {
        Decision::Accept => return Ok(None),
        Decision::Drop => Ingested::Dropped { plugin: name, reason },
        Decision::Reject => Ingested::Rejected { plugin: name, reason },
    };
    let is_same = ends.get(aside.row).is_some_and(|end| same_as_left(&decided, end));
    let instead = match decided {
        _ if is_same => None,
        Ingested::Dropped { reason, .. } => Some(Instead::Dropped { reason }),
        Ingested::Rejected { reason, .. } => Some(Instead::Rejected { reason }),
        _ => None,
    };
    Ok(instead)
}

fn enriched(plugin: &Plugin, answer: &Enriched, at: usize, aside: &Aside, ends: &[Ingested]) -> Would {
    let text = settle::patch_of(answer, at)?;
    if text.is_empty() {
        return Ok(None);
    }
    let mut made = aside.log.clone();
    settle::set(plugin, &mut made, text, at).map_err(|error| error.to_string())?;
    // Where the log went no further, no patch would have changed that.
    let Some(Ingested::Accepted(left)) = ends.get(aside.row) else { return Ok(None) };
    Ok(differs(&aside.log, &made, left).then(|| Instead::Changed { logs: vec![made] }))
}
