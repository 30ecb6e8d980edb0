//! What became of a list of logs on its way through a chain: the verdicts, counted, and the calls, for whoever tells of
//! them in a trace.
//!
//! Verdicts are counted of every list. A call carries logs of many requests, and only some of these are traced. So a list is run with a [`Recorder`] that
//! knows which of its logs are watched; one that watches none costs a branch for each call.

use std::ops::Range;
use std::time::{Duration, Instant};

use sawpit_model::{Tally, Verdict};

use crate::{CallError, Description, Plugin, Stage};

/// Counts the verdicts on one list, and notes the calls that its watched logs are in.
#[derive(Debug, Default)]
pub struct Recorder {
    watched: Watched,
    calls: Vec<RecordedCall>,
    verdicts: Tally,
}

#[derive(Debug, Default)]
enum Watched {
    #[default]
    None,
    All,
    /// Ascending, none empty.
    These(Vec<Range<usize>>),
}

/// One call of one plugin.
#[derive(Clone, Debug)]
pub struct RecordedCall {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What it was called for.
    pub stage: Stage,
    /// When the call began.
    pub started: Instant,
    /// How long it took, with the wait for an instance.
    pub took: Duration,
    /// How many logs it was called with.
    pub size: usize,
    /// What kind of failure it ended in, as the metrics name it.
    pub error: Option<&'static str>,
    /// The watched logs that were in it, as indices of the list that the chain was given, and what became of each.
    pub logs: Vec<(usize, CallVerdict)>,
}

/// What a call made of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallVerdict {
    /// It goes on as it was.
    Accepted,
    /// It goes on otherwise.
    Changed,
    /// It is not to be stored.
    Dropped,
    /// It is refused.
    Rejected,
    /// The plugin failed on it.
    Failed,
}

impl CallVerdict {
    /// As the metrics name it: `accepted`, `changed`, `dropped`, `rejected` or `failed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Changed => "changed",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}

impl RecordedCall {
    /// The call as some of its logs see it: those for which `place` gives their place in another list. None: none of
    /// them was in it.
    #[must_use]
    pub fn of(&self, place: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let logs: Vec<_> =
            self.logs.iter().filter_map(|(log, verdict)| Some((place(*log)?, *verdict))).collect();
        (!logs.is_empty()).then(|| Self { logs, ..self.clone() })
    }

    /// What the call made of all its watched logs, or `mixed`.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self.logs.split_first() {
            Some(((_, first), rest)) if rest.iter().all(|(_, verdict)| verdict == first) => first.as_str(),
            _ => "mixed",
        }
    }
}

impl Recorder {
    /// Notes no calls.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Watches every log.
    #[must_use]
    pub fn all() -> Self {
        Self { watched: Watched::All, ..Self::default() }
    }

    /// Watches the logs of these ranges of the list, which are in ascending order.
    #[must_use]
    pub fn of(ranges: Vec<Range<usize>>) -> Self {
        let watched = if ranges.is_empty() { Watched::None } else { Watched::These(ranges) };
        Self { watched, ..Self::default() }
    }

    /// One for a part of the list, with the calls so far that this part's logs were in. The verdicts stay.
    pub(crate) fn part(&self, logs: Range<usize>) -> Self {
        let watched = match &self.watched {
            Watched::None => Watched::None,
            Watched::All => Watched::All,
            Watched::These(_) => {
                let mine = logs.clone().filter(|log| self.watches(*log)).map(|log| log - logs.start);
                let mine: Vec<_> = mine.map(|log| log..log + 1).collect();
                if mine.is_empty() { Watched::None } else { Watched::These(mine) }
            }
        };
        let place = |log: usize| logs.contains(&log).then(|| log - logs.start);
        let calls = self.calls.iter().filter_map(|call| call.of(place)).collect();
        Self { watched, calls, verdicts: Tally::default() }
    }

    /// The same, with these verdicts counted already.
    pub(crate) fn with_verdicts(self, verdicts: Tally) -> Self {
        Self { verdicts, ..self }
    }

    /// The calls, in the order in which they were made.
    #[must_use]
    pub fn into_calls(self) -> Vec<RecordedCall> {
        self.calls
    }

    /// The verdicts so far, also those on logs that a later plugin failed on; none of a shadow.
    pub fn take_verdicts(&mut self) -> Tally {
        std::mem::take(&mut self.verdicts)
    }

    /// Counts verdicts, here and in the plugin's metrics. A shadow's are in its metrics only.
    pub(crate) fn count(&mut self, plugin: &Plugin, verdict: Verdict, logs: usize) {
        plugin.meter.verdicts(verdict, logs);
        if !plugin.is_shadow() {
            let Description { name, version, .. } = &plugin.description;
            self.verdicts.count(name, version, verdict, logs as u64);
        }
    }

    pub(crate) const fn is_on(&self) -> bool {
        !matches!(self.watched, Watched::None)
    }

    fn watches(&self, log: usize) -> bool {
        match &self.watched {
            Watched::None => false,
            Watched::All => true,
            Watched::These(ranges) => {
                let at = ranges.partition_point(|range| range.end <= log);
                ranges.get(at).is_some_and(|range| range.contains(&log))
            }
        }
    }

    /// Makes a call with `size` logs, which come of the list's `logs`, and notes it where one of its logs is watched. Until the caller says otherwise, a call that came
    /// back has accepted them.
    pub(crate) fn call<T>(
        &mut self,
        plugin: &Plugin,
        stage: Stage,
        size: usize,
        logs: impl FnOnce() -> Vec<usize>,
        run: impl FnOnce() -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        if !self.is_on() {
            return run();
        }
        let mut watched: Vec<usize> = logs().into_iter().filter(|&log| self.watches(log)).collect();
        watched.sort_unstable();
        watched.dedup();
        let started = Instant::now();
        let result = run();
        if !watched.is_empty() {
            let error = result.as_ref().err().map(CallError::kind);
            let verdict = if error.is_some() { CallVerdict::Failed } else { CallVerdict::Accepted };
            self.calls.push(RecordedCall {
                plugin: plugin.description.name.clone(),
                version: plugin.description.version.clone(),
                stage,
                started,
                took: started.elapsed(),
                size,
                error,
                logs: watched.into_iter().map(|log| (log, verdict)).collect(),
            });
        }
        result
    }

    /// What the last call with this log made of it.
    pub(crate) fn verdict(&mut self, log: usize, verdict: CallVerdict) {
        let noted =
            self.calls.iter_mut().rev().flat_map(|call| &mut call.logs).find(|(noted, _)| *noted == log);
        if let Some((_, of)) = noted {
            *of = verdict;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_logs_see_their_part_of_a_call() {
        let call = RecordedCall {
            plugin: "p".to_owned(),
            version: "1.0.0".to_owned(),
            stage: Stage::Filter,
            started: Instant::now(),
            took: Duration::ZERO,
            size: 9,
            error: None,
            logs: vec![(3, CallVerdict::Accepted), (5, CallVerdict::Dropped), (6, CallVerdict::Dropped)],
        };
        assert_eq!(call.verdict(), "mixed");
        let mine = call.of(|log| log.checked_sub(5)).unwrap();
        assert_eq!(mine.logs, [(0, CallVerdict::Dropped), (1, CallVerdict::Dropped)]);
        assert_eq!((mine.verdict(), mine.size), ("dropped", 9));
        assert!(call.of(|log| log.checked_sub(7)).is_none());
    }

    #[test]
    fn logs_are_watched_by_range() {
        let some = Recorder::of(vec![1..3, 7..8]);
        let watched: Vec<_> = (0..10).filter(|&log| some.watches(log)).collect();
        assert_eq!(watched, [1, 2, 7]);
        assert!(!Recorder::of(Vec::new()).is_on() && !Recorder::off().watches(0));
        assert!(Recorder::all().watches(9));
    }

    #[test]
    fn a_part_of_the_list_keeps_its_calls() {
        let call = |logs: &[usize]| RecordedCall {
            plugin: "p".to_owned(),
            version: "1.0.0".to_owned(),
            stage: Stage::Filter,
            started: Instant::now(),
            took: Duration::ZERO,
            size: 9,
            error: None,
            logs: logs.iter().map(|log| (*log, CallVerdict::Failed)).collect(),
        };
        let all = Recorder { calls: vec![call(&[3, 4]), call(&[8])], ..Recorder::of(vec![3..5, 8..9]) };
        let part = all.part(4..6);
        assert!(part.watches(0) && !part.watches(1));
        let calls: Vec<_> = part.into_calls().into_iter().map(|call| call.logs).collect();
        assert_eq!(calls, [vec![(0, CallVerdict::Failed)]]);
        assert!(!all.part(5..8).is_on());
    }
}
