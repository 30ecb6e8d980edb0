//! What lists of logs are run through: the plugins, and in tests what stands for them.

use std::ops::Range;

use sawpit_model::Log;
use sawpit_plugins::{Finished, Next, Passage, Recorder, Registry, Shadows};

use super::Done;
use crate::verdicts::Verdicts;

/// Runs lists; every call blocks for as long as that takes.
pub(crate) trait Line: Send + Sync + 'static {
    /// Logs on their way.
    type Passage: Send;

    /// Whether logs of these devices took too long before.
    fn suspects(&self, logs: &[Log]) -> bool;

    /// Logs of several requests, so many of each, of which those in the ranges are traced.
    fn begin(&self, logs: Vec<Log>, requests: &[usize], traced: Vec<Range<usize>>) -> Self::Passage;

    /// Whether logs of these devices took too long meanwhile.
    fn has_suspects(&self, passage: &Self::Passage) -> bool;

    /// One try for all. The error has a part for each request.
    fn first(&self, passage: Self::Passage) -> Result<Through, Vec<Part<Self::Passage>>>;

    /// What can be done for one request in a short time.
    fn short(&self, passage: Self::Passage) -> Result<Through, Self::Passage>;

    /// All that it takes.
    fn last(&self, passage: Self::Passage) -> Through;

    /// What is left to be done when nobody waits for it any more.
    fn leave(&self, _passage: Self::Passage) {}
}

/// One request of a list.
pub(crate) struct Part<P> {
    pub(crate) passage: P,
    /// What to do for it.
    pub(crate) next: Next,
}

/// A list that is through.
pub(crate) struct Through {
    pub(crate) done: Done,
    /// What is to be done when the requests are answered.
    pub(crate) after: Option<After>,
}

/// Work that nobody waits for, and that is left out where there is too much of it.
pub(crate) struct After {
    /// How many logs it is about.
    pub(crate) logs: usize,
    pub(crate) run: Box<dyn FnOnce() + Send>,
}

/// The plugins that serve.
pub(crate) struct Plugins {
    pub(crate) registry: Registry,
    pub(crate) verdicts: Verdicts,
}

impl Plugins {
    fn through(&self, finished: Finished) -> Through {
        self.verdicts.add(&finished.verdicts);
        let Finished { chain, outcomes, calls, shadows, .. } = finished;
        let after = |shadows: Shadows| After { logs: shadows.logs(), run: Box::new(move || shadows.run()) };
        let done = Done { chain: chain.id().into(), outcomes, calls };
        Through { done, after: shadows.map(after) }
    }
}

impl Line for Plugins {
    type Passage = Box<Passage>;

    fn suspects(&self, logs: &[Log]) -> bool {
        self.registry.chain().suspects(logs.iter())
    }

    fn begin(&self, logs: Vec<Log>, requests: &[usize], traced: Vec<Range<usize>>) -> Box<Passage> {
        Box::new(Passage::new(self.registry.chain(), logs, requests, Recorder::of(traced)))
    }

    fn has_suspects(&self, passage: &Box<Passage>) -> bool {
        passage.has_suspects()
    }

    fn first(&self, passage: Box<Passage>) -> Result<Through, Vec<Part<Box<Passage>>>> {
        let part = |part: sawpit_plugins::Part| Part { passage: Box::new(part.passage), next: part.next };
        passage
            .first()
            .map(|finished| self.through(finished))
            .map_err(|parts| parts.into_iter().map(part).collect())
    }

    fn short(&self, passage: Box<Passage>) -> Result<Through, Box<Passage>> {
        passage.short().map(|finished| self.through(finished))
    }

    fn last(&self, passage: Box<Passage>) -> Through {
        self.through(passage.last())
    }

    /// The verdicts of a call that it shared with others are told by one of them.
    fn leave(&self, passage: Box<Passage>) {
        self.verdicts.add(&passage.leave());
    }
}
