//! Where those wait who would keep others waiting: requests that a plugin needs too long for, those of devices on whose
//! logs it used up its deadline before, and plugins in shadow mode. One thread takes them, one after the other.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use sawpit_service::Door;
use tokio::sync::Notify;

use super::{GatherLimits, Inner, Job, Line, Place};
use crate::gather::After;

/// Copies for shadows wait for so many calls at most.
const AFTER_CALLS: usize = 4;

/// What the siding does.
pub(super) enum Work<P> {
    /// A request that a call was too short for.
    Passage(P, Place),
    /// A request of a suspect.
    Job(Job),
    /// What nobody waits for.
    After(After),
}

/// What waits.
pub(super) struct Siding<P> {
    limits: GatherLimits,
    /// First, for they may be innocent.
    passages: VecDeque<(P, Place)>,
    jobs: VecDeque<Job>,
    /// Logs of both.
    logs: usize,
    afters: VecDeque<After>,
    after_logs: usize,
    /// Jobs and afters take turns: neither keeps the other waiting for ever.
    last: Turn,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Job,
    After,
}

impl<P> Siding<P> {
    pub(super) const fn new(limits: GatherLimits) -> Self {
        Self {
            limits,
            passages: VecDeque::new(),
            jobs: VecDeque::new(),
            logs: 0,
            afters: VecDeque::new(),
            after_logs: 0,
            last: Turn::After,
        }
    }

    /// Whether a request of so many logs may come in.
    pub(super) const fn has_room(&self, logs: usize) -> bool {
        self.logs + logs <= self.limits.waiting_logs / 2
    }

    /// Takes it in; what nobody waits for only while there is room.
    pub(super) fn push(&mut self, work: Work<P>) {
        match work {
            Work::Passage(passage, place) => {
                self.comes(place.logs.len());
                self.passages.push_back((passage, place));
            }
            Work::Job(job) => {
                self.comes(job.logs.len());
                self.jobs.push_back(job);
            }
            Work::After(after)
                if self.after_logs > 0
                    && self.after_logs + after.logs > AFTER_CALLS * self.limits.call_logs =>
            {
                metrics::counter!("sawpit_host_shadow_skipped_logs_total").increment(after.logs as u64);
            }
            Work::After(after) => {
                self.after_logs += after.logs;
                self.afters.push_back(after);
            }
        }
    }

    /// How many logs of requests wait.
    #[cfg(test)]
    pub(super) const fn waits(&self) -> usize {
        self.logs
    }

    /// Whether it is at work on the last that was taken.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.last == Turn::Job && self.jobs.is_empty()
    }

    fn comes(&mut self, logs: usize) {
        metrics::counter!("sawpit_host_siding_logs_total").increment(logs as u64);
        self.logs += logs;
    }

    pub(super) fn take(&mut self) -> Option<Work<P>> {
        if let Some((passage, place)) = self.passages.pop_front() {
            self.logs -= place.logs.len();
            return Some(Work::Passage(passage, place));
        }
        if (self.last == Turn::After || self.afters.is_empty())
            && let Some(job) = self.jobs.pop_front()
        {
            self.logs -= job.logs.len();
            self.last = Turn::Job;
            return Some(Work::Job(job));
        }
        let after = self.afters.pop_front()?;
        self.after_logs -= after.logs;
        self.last = Turn::After;
        Some(Work::After(after))
    }
}

/// Does the siding's work until the gather is gone.
pub(super) async fn attend<L: Line>(gather: Weak<Inner<L>>, door: Door, called: Arc<Notify>) {
    loop {
        called.notified().await;
        loop {
            let Some(inner) = gather.upgrade() else { return };
            match door.run(move || inner.shunt()).await {
                Ok(()) => break,
                // Its request was answered; the next ones are not to blame.
                Err(error) => tracing::error!(%error, "a plugin call failed"),
            }
        }
    }
}

impl<L: Line> Inner<L> {
    /// Works until nothing waits in the siding.
    fn shunt(&self) {
        loop {
            let Some(work) = self.waiting().siding.take() else { return };
            match work {
                Work::Passage(passage, place) => self.to_the_end(passage, place),
                Work::Job(job) if job.asker.reply.is_closed() => {}
                Work::Job(Job { logs, asker }) => {
                    let place = Place { logs: 0..logs.len(), asker };
                    let watched = if place.asker.traced { vec![place.logs.clone()] } else { Vec::new() };
                    let count = logs.len();
                    self.to_the_end(self.line.begin(logs, &[count], watched), place);
                }
                Work::After(after) => (after.run)(),
            }
        }
    }

    fn to_the_end(&self, passage: L::Passage, place: Place) {
        if place.asker.reply.is_closed() {
            return self.line.leave(passage);
        }
        let through = self.line.last(passage);
        self.answer(through, vec![place]);
    }
}
