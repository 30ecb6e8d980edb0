//! What a run proves. A clean account of a run in which nothing happened proves nothing, so it is not clean.

use std::fmt;
use std::time::Duration;

use crate::plan::{Fault, Step};

/// Logs that must be queued for each second of faults; a busy machine queues many times as many.
const QUEUED_A_SECOND: u64 = 10;
/// Seconds in which there must be a fault. A plan waits 1.5 at most.
const SECONDS_A_FAULT: u64 = 2;
/// A run that lasts so long has logs of every fate.
const LONG: Duration = Duration::from_secs(30);
/// Place of the enricher among [`sawpit_testkit::GUESTS`]: its versions leave a mark in rows.
const ENRICHER: usize = 0;
/// How long before the end of the faults it must be swapped, so that hosts that are away at first get to use it.
const SWAPPED: Duration = Duration::from_secs(10);

/// What a run proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Much happened, and every answered log is where it belongs.
    Clean,
    /// Too little happened, and why: let it last longer, or find what keeps it from happening.
    ProvesNothing(Vec<String>),
    /// Logs are not where they belong, and which: the examples below the table say where to look.
    Wrong(Vec<String>),
}

impl Outcome {
    /// Of what is wrong and of what is missing.
    pub(crate) fn of(wrong: Vec<String>, missing: Vec<String>) -> Self {
        match (wrong.is_empty(), missing.is_empty()) {
            (false, _) => Self::Wrong(wrong),
            (true, false) => Self::ProvesNothing(missing),
            (true, true) => Self::Clean,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("clean: every answered log is where it belongs"),
            Self::ProvesNothing(missing) => write!(f, "not clean, it proves nothing: {}", missing.join("; ")),
            Self::Wrong(wrong) => write!(f, "not clean: {}", wrong.join(", ")),
        }
    }
}

/// How much happened, or must happen at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Logs answered `queued`.
    pub queued: u64,
    /// Faults.
    pub faults: u64,
    /// Logs that a transformer dropped.
    pub dropped: u64,
    /// Logs that a transformer failed on.
    pub dead: u64,
    /// Rows of several logs.
    pub merged: u64,
    /// Versions of a plugin that were seen in rows.
    pub versions: u64,
}

impl Counts {
    /// The least that must happen in a run of this plan, or it proves nothing.
    pub fn floors(plan: &[Step], lasting: Duration) -> Self {
        let seconds = lasting.as_secs();
        let any = u64::from(lasting >= LONG);
        let swapped = |step: &Step| {
            step.fault == Fault::Swap { plugin: ENRICHER } && step.at.saturating_add(SWAPPED) <= lasting
        };
        Self {
            queued: seconds.saturating_mul(QUEUED_A_SECOND).max(1),
            faults: (seconds / SECONDS_A_FAULT).max(1),
            dropped: any,
            dead: any,
            merged: any,
            versions: if any == 1 && plan.iter().any(swapped) { 2 } else { any },
        }
    }

    /// What is below its floor.
    pub fn below(&self, floors: &Self) -> Vec<String> {
        let below = |what: &str, count: u64, floor: u64| {
            (count < floor).then(|| format!("{what} {count}, not {floor} at least"))
        };
        let all = [
            below("logs answered queued", self.queued, floors.queued),
            below("faults", self.faults, floors.faults),
            below("logs dropped by a transformer", self.dropped, floors.dropped),
            below("logs that a transformer fails on", self.dead, floors.dead),
            below("rows of several logs", self.merged, floors.merged),
            below("plugin versions seen in rows", self.versions, floors.versions),
        ];
        all.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    const MINUTE: Duration = Duration::from_secs(60);

    fn swap_at(at: Duration) -> [Step; 1] {
        [Step { at, fault: Fault::Swap { plugin: ENRICHER } }]
    }

    #[test]
    fn the_enricher_is_where_it_is_looked_for() {
        assert_eq!(sawpit_testkit::GUESTS[ENRICHER], "enrich");
    }

    #[test]
    fn a_run_in_which_nothing_happened_proves_nothing() {
        for lasting in [Duration::ZERO, Duration::from_secs(5), MINUTE] {
            let missing = Counts::default().below(&Counts::floors(&[], lasting));
            let Outcome::ProvesNothing(missing) = Outcome::of(Vec::new(), missing) else {
                panic!("{lasting:?} is clean");
            };
            assert!(missing.iter().any(|line| line.starts_with("logs answered queued 0")), "{missing:?}");
            assert!(missing.iter().any(|line| line.starts_with("faults 0")), "{missing:?}");
        }
    }

    #[test]
    fn what_reaches_each_floor_is_clean_and_what_misses_one_is_not() {
        let floors = Counts::floors(&swap_at(MINUTE / 2), MINUTE);
        assert_eq!(Outcome::of(Vec::new(), floors.below(&floors)), Outcome::Clean);
        let misses: [fn(&mut Counts); 6] = [
            |counts| counts.queued -= 1,
            |counts| counts.faults -= 1,
            |counts| counts.dropped -= 1,
            |counts| counts.dead -= 1,
            |counts| counts.merged -= 1,
            |counts| counts.versions -= 1,
        ];
        for miss in misses {
            let mut counts = floors;
            miss(&mut counts);
            assert_eq!(counts.below(&floors).len(), 1, "{counts:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_though_little_happened() {
        let outcome = Outcome::of(vec!["3 lost".to_owned()], vec!["faults 0".to_owned()]);
        assert_eq!(outcome, Outcome::Wrong(vec!["3 lost".to_owned()]));
        assert_eq!(outcome.to_string(), "not clean: 3 lost");
    }

    #[test]
    fn a_second_version_is_awaited_where_the_enricher_is_swapped_in_time() {
        let versions = |at| Counts::floors(&swap_at(at), MINUTE).versions;
        assert_eq!((versions(MINUTE - SWAPPED), versions(MINUTE)), (2, 1));
    }

    #[test]
    fn every_plan_has_faults_enough() {
        for seed in 0..200 {
            let steps = plan(seed, MINUTE);
            assert!(steps.len() as u64 >= Counts::floors(&steps, MINUTE).faults, "{seed}");
        }
    }
}
