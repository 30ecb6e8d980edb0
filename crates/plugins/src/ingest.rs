//! The host's stages over a list: each plugin sees what the ones before it left.
//!
//! A call that fails for a list does not say which log is at fault, and finding out costs time that others of the list
//! would wait for. How much of it is spent here, the [`Effort`] says.

use std::time::Instant;

use sawpit_model::Log;

use crate::call::Terms;
use crate::member::Member;
use crate::passage::Effort;
use crate::rows::Rows;
use crate::{CallError, Ingested, Plugin, Recorder, Stage, call, isolate, settle};

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
        Stage::Filter => Turn {
            step,
            effort,
            recorder,
            run: call::filter,
            settle: settle::filtered,
            settled: 0,
            failed: 0,
        }
        .take(rows),
        _ => Turn {
            step,
            effort,
            recorder,
            run: call::enrich,
            settle: settle::enriched,
            settled: 0,
            failed: 0,
        }
        .take(rows),
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
        self.failed += settle::fail_all(self.plugin(), &mut rows.items, piece, error);
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
