//! The table.

use std::collections::BTreeMap;
use std::fmt;

use crate::account::Account;
use crate::faults::Done;
use crate::load::Answers;
use crate::outcome::{Counts, Outcome};

/// Entries of a list that are shown.
const SHOWN: usize = 10;

/// What a run did and what came of it. Its `Display` is the table.
#[derive(Debug)]
pub struct Report {
    /// Repeats the run's faults.
    pub seed: u64,
    pub(crate) answers: Answers,
    pub(crate) done: Done,
    pub(crate) floors: Counts,
    /// The end of every answered log.
    pub account: Account,
}

impl Report {
    /// Logs that were answered `queued`.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.answers.queued.len()
    }

    /// Faults that happened.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.done.faults.values().sum()
    }

    /// What the run proves.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.account.wrongs(), self.counts().below(&self.floors))
    }

    fn counts(&self) -> Counts {
        let Account { dropped, dead, merged, versions, .. } = self.account;
        Counts { queued: self.queued() as u64, faults: self.faults(), dropped, dead, merged, versions }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, answers, done, account, .. } = self;
        writeln!(f, "seed {seed}")?;
        line(f, "posted", answers.posted)?;
        line(f, "answered queued", self.queued() as u64)?;
        line(f, "answered dropped", answers.dropped)?;
        line(f, "requests answered when repeated", answers.repeated)?;
        line(f, "  as the first was, not heard", answers.replayed)?;
        lines(f, "errors", &answers.errors)?;
        lines(f, "faults", &done.faults)?;
        lines(f, "ended by themselves", &done.restarted)?;
        writeln!(f, "of the queued")?;
        line(f, "  stored", account.stored)?;
        line(f, "  dropped by a plugin", account.dropped)?;
        line(f, "  dead letters, a plugin fails on them", account.dead)?;
        line(f, "  lost", account.lost.len() as u64)?;
        line(f, "  doubled", account.doubled.len() as u64)?;
        line(f, "  misplaced", account.misplaced.len() as u64)?;
        line(f, "rows of several logs", account.merged)?;
        line(f, "plugin versions seen in rows", account.versions)?;
        line(f, "refused, yet stored", account.denied.len() as u64)?;
        line(f, "never settled", account.stuck)?;
        examples(f, "lost", &account.lost)?;
        examples(f, "doubled", &account.doubled)?;
        examples(f, "misplaced", &account.misplaced)?;
        examples(f, "refused, yet stored", &account.denied)?;
        write!(f, "{}", self.outcome())
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, count: u64) -> fmt::Result {
    writeln!(f, "{what:<38}{count:>9}")
}

fn lines(f: &mut fmt::Formatter<'_>, what: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    line(f, what, counts.values().sum())?;
    counts.iter().try_for_each(|(kind, count)| line(f, &format!("  {kind}"), *count))
}

fn examples(f: &mut fmt::Formatter<'_>, what: &str, list: &[String]) -> fmt::Result {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(f, "the first that are {what}:")?;
    list.iter().take(SHOWN).try_for_each(|entry| writeln!(f, "  {entry}"))
}
