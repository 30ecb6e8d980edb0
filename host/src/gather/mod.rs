//! One plugin call for the requests that arrive together.
//!
//! Crossing into a plugin costs as much as its work on one log (measured: 813 ns a log one by one, 191 in lists of 100), so
//! requests wait in a queue that runners on a pool of CPU threads drain: each takes what waits, up to a limit, and
//! makes one call of it. There is no timer: at low load a lone request is taken at once; under load the lists grow
//! by themselves while the runners are busy. The plugins never run on the threads that serve connections.
//!
//! A request waits for what shares its call, so a call that fails is taken apart: each request then goes on alone, for
//! a short time, and is answered as soon as it is through. Who needs longer goes to the [`siding`], a thread of its own,
//! and so do from then on all requests of that device. A guest that spins on one device's logs delays the others by one
//! deadline when it first does so, and not again.

mod line;
mod siding;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sawpit_model::Log;
use sawpit_plugins::{Ingested, Next, RecordedCall};
use sawpit_service::Door;
use tokio::sync::{Notify, oneshot};

use crate::admission::Held;
pub(crate) use line::Plugins;
use line::{After, Line, Part, Through};
use siding::{Siding, Work};

/// What a call made of a list of logs: one outcome per log, in order.
pub(crate) struct Done {
    /// The chain that ran, for the row's provenance. One for all of a request's logs.
    pub(crate) chain: Arc<str>,
    /// Same length and order as the logs.
    pub(crate) outcomes: Vec<Ingested>,
    /// The plugins' calls that traced logs were in.
    pub(crate) calls: Vec<RecordedCall>,
}

/// Why a request got no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GatherError {
    /// Too many logs wait for plugins: answer 503.
    #[error("too many logs wait for the plugins")]
    Full,
    /// The call panicked: answer 500.
    #[error("the plugin chain panicked; the log of the process has the place")]
    Panicked,
}

struct Job {
    logs: Vec<Log>,
    asker: Asker,
}

/// Who waits for the outcomes.
struct Asker {
    /// Whether the calls are told.
    traced: bool,
    reply: Reply,
    /// The bytes of the body count as in flight for as long as its logs are here, also when the client has left.
    _held: Arc<Held>,
}

type Reply = oneshot::Sender<Result<Done, GatherError>>;

/// How much is taken at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatherLimits {
    /// Runners at once; one per thread of the door.
    pub(crate) runners: usize,
    /// Most logs of one call, when it joins several requests.
    pub(crate) call_logs: usize,
    /// Most logs waiting; in the siding half as many, so that those of suspects never take the others' place.
    pub(crate) waiting_logs: usize,
}

struct Waiting<P> {
    jobs: VecDeque<Job>,
    logs: usize,
    runners: usize,
    siding: Siding<P>,
}

struct Inner<L: Line> {
    limits: GatherLimits,
    waiting: Mutex<Waiting<L::Passage>>,
    /// Told when the siding has work, and at the end.
    siding: Arc<Notify>,
    line: L,
}

/// The door between requests and plugins. Cheap to clone.
pub(crate) struct Gather<L: Line> {
    inner: Arc<Inner<L>>,
    door: Door,
}

impl<L: Line> Clone for Gather<L> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), door: self.door.clone() }
    }
}

impl<L: Line> Gather<L> {
    /// The runners work on the threads of `door`, which nothing else should use; the siding on those of `apart`. Must be
    /// called within a tokio runtime: the task of the siding ends when the last clone is dropped.
    pub(crate) fn new(limits: GatherLimits, door: Door, apart: Door, line: L) -> Self {
        let waiting = Waiting { jobs: VecDeque::new(), logs: 0, runners: 0, siding: Siding::new(limits) };
        let siding = Arc::new(Notify::new());
        let inner =
            Arc::new(Inner { limits, waiting: Mutex::new(waiting), siding: Arc::clone(&siding), line });
        tokio::spawn(siding::attend(Arc::downgrade(&inner), apart, siding));
        Self { inner, door }
    }

    /// Runs the logs of one request in one call, together with those of others. If it is traced, the calls are told.
    pub(crate) async fn run(
        &self,
        logs: Vec<Log>,
        traced: bool,
        held: Arc<Held>,
    ) -> Result<Done, GatherError> {
        let (reply, answer) = oneshot::channel();
        if self.inner.push(Job { logs, asker: Asker { traced, reply, _held: held } })? == Start::Runner {
            tokio::spawn(self.clone().runner());
        }
        // A call that panics drops the senders of its jobs.
        answer.await.unwrap_or(Err(GatherError::Panicked))
    }

    /// Drains the queue.
    async fn runner(self) {
        loop {
            let inner = Arc::clone(&self.inner);
            match self.door.run(move || inner.visit()).await {
                Ok(()) => return,
                // Still signed on; its jobs were answered, the next ones deserve a runner.
                Err(error) => tracing::error!(%error, "a plugin call failed"),
            }
        }
    }
}

/// What a request does after it queued its job.
#[derive(PartialEq, Eq)]
enum Start {
    /// Starts one more runner.
    Runner,
    /// Nothing: enough run, one of them takes it.
    Nothing,
}

impl<L: Line> Inner<L> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<L::Passage>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) -> Result<Start, GatherError> {
        let is_apart = self.line.suspects(&job.logs);
        let mut waiting = self.waiting();
        let room = if is_apart {
            waiting.siding.has_room(job.logs.len())
        } else {
            waiting.logs + job.logs.len() <= self.limits.waiting_logs
        };
        if !room {
            metrics::counter!("sawpit_http_refused_total", "limit" => "gather_waiting_logs").increment(1);
            return Err(GatherError::Full);
        }
        if is_apart {
            waiting.siding.push(Work::Job(job));
            self.siding.notify_one();
            return Ok(Start::Nothing);
        }
        waiting.logs += job.logs.len();
        waiting.jobs.push_back(job);
        if waiting.runners >= self.limits.runners {
            return Ok(Start::Nothing);
        }
        waiting.runners += 1;
        Ok(Start::Runner)
    }

    /// Makes calls until nothing waits; then this runner has signed off.
    fn visit(&self) {
        while let Some(jobs) = self.take() {
            self.call(jobs);
        }
    }

    /// Whole jobs for one call. `None`: nothing waits, and this runner has signed off.
    fn take(&self) -> Option<Vec<Job>> {
        let mut waiting = self.waiting();
        let mut taken = Vec::new();
        let mut logs = 0;
        while let Some(job) = waiting.jobs.pop_front() {
            if logs > 0 && logs + job.logs.len() > self.limits.call_logs {
                waiting.jobs.push_front(job);
                break;
            }
            waiting.logs -= job.logs.len();
            // Nobody waits for it any more: its device was answered a time-out or left.
            if job.asker.reply.is_closed() {
                continue;
            }
            // Its device may have become a suspect since it came.
            if self.line.suspects(&job.logs) {
                waiting.siding.push(Work::Job(job));
                self.siding.notify_one();
                continue;
            }
            logs += job.logs.len();
            taken.push(job);
        }
        if taken.is_empty() {
            waiting.runners -= 1;
            return None;
        }
        Some(taken)
    }

    fn call(&self, jobs: Vec<Job>) {
        let mut all = Vec::with_capacity(jobs.iter().map(|job| job.logs.len()).sum());
        let mut places = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            let start = all.len();
            all.append(&mut job.logs);
            places.push(Place { logs: start..all.len(), asker: job.asker });
        }
        metrics::histogram!("sawpit_host_plugin_call_logs").record(all.len() as f64);
        let traced =
            places.iter().filter(|place| place.asker.traced).map(|place| place.logs.clone()).collect();
        let requests: Vec<usize> = places.iter().map(|place| place.logs.len()).collect();
        match self.line.first(self.line.begin(all, &requests, traced)) {
            Ok(through) => self.answer(through, places),
            Err(parts) => {
                for (part, place) in parts.into_iter().zip(places) {
                    self.alone(part, place);
                }
            }
        }
    }

    /// One of the requests of a call that failed.
    fn alone(&self, part: Part<L::Passage>, place: Place) {
        let place = Place { logs: 0..place.logs.len(), ..place };
        let is_apart = part.next == Next::Last || self.line.has_suspects(&part.passage);
        let tried = if is_apart { Err(part.passage) } else { self.line.short(part.passage) };
        match tried {
            Ok(through) => self.answer(through, vec![place]),
            Err(passage) => {
                self.waiting().siding.push(Work::Passage(passage, place));
                self.siding.notify_one();
            }
        }
    }

    fn answer(&self, through: Through, places: Vec<Place>) {
        share(through.done, places);
        if let Some(after) = through.after {
            self.waiting().siding.push(Work::After(after));
            self.siding.notify_one();
        }
    }
}

impl<L: Line> Drop for Inner<L> {
    fn drop(&mut self) {
        self.siding.notify_one();
    }
}

/// A job whose logs are in a call.
struct Place {
    logs: Range<usize>,
    asker: Asker,
}

/// Gives each request its outcomes. Too few of them, which would be the chain's mistake, fail the requests at the
/// end rather than answer for logs that no plugin saw.
fn share(done: Done, places: Vec<Place>) {
    let mut outcomes = done.outcomes.into_iter();
    for Place { logs, asker: Asker { traced, reply, _held } } in places {
        let mine: Vec<Ingested> = outcomes.by_ref().take(logs.len()).collect();
        let whole = mine.len() == logs.len();
        let place = |log: usize| logs.contains(&log).then(|| log - logs.start);
        let calls =
            if traced { done.calls.iter().filter_map(|call| call.of(place)).collect() } else { Vec::new() };
        let answer = Done { chain: Arc::clone(&done.chain), outcomes: mine, calls };
        let _left = reply.send(if whole { Ok(answer) } else { Err(GatherError::Panicked) });
    }
}
