//! The printed table.

use std::collections::BTreeMap;
use std::fmt;

use sawpit_model::MessageId;

use crate::{Account, Answers, Fault};

/// How many ids of lost and doubled logs are shown.
const SHOWN: usize = 10;
/// How much of what each process printed is shown when a run ends badly, in lines.
const LAST_LINES: usize = 15;
/// How much of each line, in characters.
const LINE_CHARS: usize = 300;

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// What repeats its plan.
    pub seed: u64,
    /// How often each fault happened.
    pub faults: BTreeMap<Fault, u64>,
    /// What the devices were answered.
    pub answers: Answers,
    /// What became of what was answered as queued.
    pub account: Account,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, faults, answers, account } = self;
        let mut row = |name: &str, count: u64| writeln!(f, "{name:<44} {count:>9}");
        for (fault, count) in faults {
            row(&fault.to_string(), *count)?;
        }
        row("logs posted", answers.posted)?;
        row("logs refused by a filter", answers.refused)?;
        for (how, count) in &answers.failed {
            row(&format!("posts failed: {how}"), *count)?;
        }
        row("logs answered as queued", answers.queued.len() as u64)?;
        row("  stored in one row", account.stored)?;
        row("  dropped by a plugin", account.dropped)?;
        row("  among the dead letters", account.dead)?;
        row("  lost", account.lost.len() as u64)?;
        row("  doubled", account.doubled.len() as u64)?;
        for (what, ids) in [("lost", &account.lost), ("doubled", &account.doubled)] {
            if !ids.is_empty() {
                writeln!(f, "{what}: {}", some(ids))?;
            }
        }
        writeln!(f, "the same faults again: --seed {seed}")
    }
}

fn some(ids: &[MessageId]) -> String {
    let shown: Vec<_> = ids.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if ids.len() > SHOWN { ", …" } else { "" };
    shown.join(", ") + more
}

/// What the processes printed last, each under its name.
pub(crate) fn last_words(outputs: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, output) in outputs {
        let lines: Vec<_> = output.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
        let last: Vec<String> = last.iter().map(|line| line.chars().take(LINE_CHARS).collect()).collect();
        text.push_str(&format!("--- {name}\n{}\n", last.join("\n")));
    }
    text
}
