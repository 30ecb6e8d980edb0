//! Logs of several requests on their way through the host's stages, so that each request is answered as soon as it can.
//!
//! The first try is made for all of them together. When it fails, nobody knows whose fault it was, so each request goes
//! on alone from where it was, for a short time: those who are not at fault need no more. Who does is left, to be taken
//! to its end where nobody else waits. The two together take one deadline: that is what a plugin that never comes back costs
//! the others, once.

use std::sync::Arc;

use sawpit_model::{Log, Tally};

use crate::call::Terms;
use crate::ingest::{self, Ended};
use crate::rows::Rows;
use crate::shadow::{self, Aside};
use crate::{Chain, Ingested, Plugin, RecordedCall, Recorder};

/// How much is done for a list before others get their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// One try for all.
    First,
    /// What can be done in an eighth of a plugin's deadline, or 10 ms.
    Short,
    /// All that it takes: a list that fails is tried log by log, for as long as the settings allow.
    Last,
}

impl Effort {
    /// The terms of a call with these rows. After a call that never came back, the next is soon given up, for it may meet the
    /// next culprit.
    pub(crate) fn terms(self, plugin: &Plugin, rows: &Rows) -> Terms {
        match self {
            Self::Short => Terms::Short,
            Self::First if plugin.suspects.is_wary(plugin.now()) => Terms::Short,
            Self::First if rows.is_shared() => Terms::Shared,
            Self::First | Self::Last => Terms::Whole,
        }
    }
}

/// Logs on their way.
#[derive(Debug)]
pub struct Passage {
    chain: Arc<Chain>,
    rows: Rows,
    recorder: Recorder,
}

/// The passage of one request, taken out of one for several.
#[derive(Debug)]
pub struct Part {
    /// From where it was.
    pub passage: Passage,
    /// What to do for it.
    pub next: Next,
}

/// What to do for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// [`Passage::short`]: it may not be at fault.
    Short,
    /// [`Passage::last`]: it is what the time went by for.
    Last,
}

/// What became of the logs.
#[derive(Debug)]
pub struct Finished {
    /// The chain that they went through.
    pub chain: Arc<Chain>,
    /// One for each log, in order.
    pub outcomes: Vec<Ingested>,
    /// The plugins' calls that watched logs were in.
    pub calls: Vec<RecordedCall>,
    /// The verdicts of the plugins on these logs.
    pub verdicts: Tally,
    /// What plugins in shadow mode have to look at; none, where there are none.
    pub shadows: Option<Shadows>,
}

/// Logs that plugins in shadow mode are called with, once the requests are answered.
#[derive(Debug)]
pub struct Shadows {
    chain: Arc<Chain>,
    asides: Vec<Aside>,
    ends: Vec<Ingested>,
}

impl Passage {
    /// At the beginning. `requests` says how many of the logs each request has, in order.
    #[must_use]
    pub fn new(chain: Arc<Chain>, logs: Vec<Log>, requests: &[usize], recorder: Recorder) -> Self {
        let owners = requests
            .iter()
            .enumerate()
            .flat_map(|(owner, &count)| std::iter::repeat_n(owner, count))
            .collect();
        let rows = Rows::new(logs, owners, chain.keeps_originals());
        Self { chain, rows, recorder }
    }

    /// One try for all requests together. Blocks for as long as the plugins take, a plugin's deadline at most for each, and
    /// what [`Passage::short`] may take less where there are several requests: call it off the async threads.
    ///
    /// # Errors
    /// A call failed, or used up its time. One part for each request, in order.
    pub fn first(mut self) -> Result<Finished, Vec<Part>> {
        match through(&self.chain, &mut self.rows, Effort::First, &mut self.recorder) {
            Ended::Through => Ok(self.finish()),
            Ended::Stopped { slow } => Err(self.split(slow)),
        }
    }

    /// What can be done for one request in a part of each plugin's deadline. Blocks, as [`Passage::first`] does.
    ///
    /// # Errors
    /// That was too short: take it to its end where nobody else waits.
    pub fn short(mut self) -> Result<Finished, Box<Self>> {
        match through(&self.chain, &mut self.rows, Effort::Short, &mut self.recorder) {
            Ended::Through => Ok(self.finish()),
            Ended::Stopped { .. } => Err(Box::new(self)),
        }
    }

    /// All that it takes: a list that fails is tried log by log, each with the plugin's deadline, for as long as the
    /// settings allow. Blocks, as [`Passage::first`] does.
    #[must_use]
    pub fn last(mut self) -> Finished {
        through(&self.chain, &mut self.rows, Effort::Last, &mut self.recorder);
        self.finish()
    }

    /// Gives it up where it is. The verdicts so far, also those on the logs of requests that it was together with.
    #[must_use]
    pub fn leave(mut self) -> Tally {
        self.recorder.take_verdicts()
    }

    /// One for each request; the first has the verdicts so far.
    fn split(mut self, slow: Option<usize>) -> Vec<Part> {
        let mut verdicts = self.recorder.take_verdicts();
        let ranges = self.rows.ranges();
        let part = |(rows, range): (Rows, std::ops::Range<usize>)| {
            let next = if slow == Some(rows.owner(0)) { Next::Last } else { Next::Short };
            let recorder = self.recorder.part(range).with_verdicts(std::mem::take(&mut verdicts));
            Part { passage: Self { chain: Arc::clone(&self.chain), rows, recorder }, next }
        };
        self.rows.split().into_iter().zip(ranges).map(part).collect()
    }

    /// Whether a plugin used up its deadline on a device of these logs before.
    #[must_use]
    pub fn has_suspects(&self) -> bool {
        self.chain.suspects(self.rows.accepted())
    }

    fn finish(mut self) -> Finished {
        let outcomes = self.rows.finish();
        let asides = std::mem::take(&mut self.rows.asides);
        let shadows = (!asides.is_empty()).then(|| Shadows {
            chain: Arc::clone(&self.chain),
            asides,
            ends: outcomes.clone(),
        });
        let verdicts = self.recorder.take_verdicts();
        Finished { chain: self.chain, outcomes, calls: self.recorder.into_calls(), verdicts, shadows }
    }
}

impl Shadows {
    /// How many copies of logs it holds.
    #[must_use]
    pub fn logs(&self) -> usize {
        self.asides.len()
    }

    /// Calls the shadows, and counts where they would have treated a log otherwise. Blocks, as [`Passage::first`] does.
    pub fn run(self) {
        shadow::run_ingest(&self.chain, self.asides, &self.ends);
    }
}

/// Runs all steps over what is not through them yet.
pub(crate) fn through(chain: &Chain, rows: &mut Rows, effort: Effort, recorder: &mut Recorder) -> Ended {
    for step in chain.ingest_steps() {
        if step.member.plugin().is_shadow() {
            rows.set_aside(&step);
            continue;
        }
        let ended = ingest::run(&step, rows, effort, recorder);
        if ended != Ended::Through {
            return ended;
        }
    }
    Ended::Through
}
