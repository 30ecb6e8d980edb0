//! One plugin call for the requests that arrive together.
//!
//! Crossing into a plugin costs as much as its work on one log (FIELD.md: 813 ns a log one by one, 191 in lists), so
//! requests wait in a queue that runners on a pool of CPU threads drain: each takes what waits, up to a limit, and
//! makes one call of it. There is no timer: at low load a lone request is taken at once; under load the lists grow
//! by themselves while the runners are busy. The plugins never run on the threads that serve connections.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sawpit_model::Log;
use sawpit_plugins::{Ingested, RecordedCall};
use sawpit_service::Door;
use tokio::sync::oneshot;

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

/// Calls that a runner makes before it lets other work have the thread.
const CALLS_PER_VISIT: usize = 16;

struct Job {
    logs: Vec<Log>,
    traced: bool,
    reply: oneshot::Sender<Result<Done, GatherError>>,
}

/// How much is taken at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatherLimits {
    /// Runners at once; one per thread of the door.
    pub(crate) runners: usize,
    /// Most logs of one call, when it joins several requests.
    pub(crate) call_logs: usize,
    /// Most logs waiting.
    pub(crate) waiting_logs: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    logs: usize,
    runners: usize,
}

/// Runs a list, of which the logs in these ranges are traced.
type Call = dyn Fn(Vec<Log>, Vec<Range<usize>>) -> Done + Send + Sync;

struct Inner {
    limits: GatherLimits,
    waiting: Mutex<Waiting>,
    call: Box<Call>,
}

/// The door between requests and plugins. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gather {
    inner: Arc<Inner>,
    door: Door,
}

impl Gather {
    /// `call` must answer one outcome per log, in order.
    pub(crate) fn new(
        limits: GatherLimits,
        door: Door,
        call: impl Fn(Vec<Log>, Vec<Range<usize>>) -> Done + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Arc::new(Inner { limits, waiting: Mutex::default(), call: Box::new(call) }), door }
    }

    /// Runs the logs of one request in one call, together with those of others. If it is traced, the calls are told.
    pub(crate) async fn run(&self, logs: Vec<Log>, traced: bool) -> Result<Done, GatherError> {
        let (reply, answer) = oneshot::channel();
        if self.inner.push(Job { logs, traced, reply })? == Start::Runner {
            tokio::spawn(self.clone().runner());
        }
        // A call that panics drops the senders of its jobs.
        answer.await.unwrap_or(Err(GatherError::Panicked))
    }

    /// Drains the queue. It leaves the CPU thread now and then, so that other work gets its turn under load.
    async fn runner(self) {
        loop {
            let inner = Arc::clone(&self.inner);
            match self.door.run_when_free(move || inner.visit()).await {
                Ok(Left::Nothing) => return,
                Ok(Left::More) => {}
                // Still signed on; its jobs were answered, the next ones deserve a runner.
                Err(error) => tracing::error!(%error, "a plugin call failed"),
            }
        }
    }
}

/// What a runner leaves after a visit to the CPU threads.
#[derive(PartialEq, Eq)]
enum Left {
    /// More jobs may wait.
    More,
    /// Nothing waits, and the runner has signed off.
    Nothing,
}

/// What a request does after it queued its job.
#[derive(PartialEq, Eq)]
enum Start {
    /// Starts one more runner.
    Runner,
    /// Nothing: enough run, one of them takes it.
    Nothing,
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) -> Result<Start, GatherError> {
        let mut waiting = self.waiting();
        if waiting.logs + job.logs.len() > self.limits.waiting_logs {
            metrics::counter!("sawpit_http_refused_total", "limit" => "gather_waiting_logs").increment(1);
            return Err(GatherError::Full);
        }
        waiting.logs += job.logs.len();
        waiting.jobs.push_back(job);
        if waiting.runners >= self.limits.runners {
            return Ok(Start::Nothing);
        }
        waiting.runners += 1;
        Ok(Start::Runner)
    }

    fn visit(&self) -> Left {
        for _ in 0..CALLS_PER_VISIT {
            match self.take() {
                Some(jobs) => self.call(jobs),
                None => return Left::Nothing,
            }
        }
        Left::More
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
            if !job.reply.is_closed() {
                logs += job.logs.len();
                taken.push(job);
            }
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
            places.push(Place { logs: start..all.len(), traced: job.traced, reply: job.reply });
        }
        metrics::histogram!("sawpit_host_plugin_call_logs").record(all.len() as f64);
        let traced = places.iter().filter(|place| place.traced).map(|place| place.logs.clone()).collect();
        share((self.call)(all, traced), places);
    }
}

/// A job whose logs are in a call.
struct Place {
    logs: Range<usize>,
    traced: bool,
    reply: oneshot::Sender<Result<Done, GatherError>>,
}

/// Gives each request its outcomes. Too few of them, which would be the chain's mistake, fail the requests at the
/// end rather than answer for logs that no plugin saw.
fn share(done: Done, places: Vec<Place>) {
    let mut outcomes = done.outcomes.into_iter();
    for Place { logs, traced, reply } in places {
        let mine: Vec<Ingested> = outcomes.by_ref().take(logs.len()).collect();
        let whole = mine.len() == logs.len();
        let place = |log: usize| logs.contains(&log).then(|| log - logs.start);
        let calls =
            if traced { done.calls.iter().filter_map(|call| call.of(place)).collect() } else { Vec::new() };
        let answer = Done { chain: Arc::clone(&done.chain), outcomes: mine, calls };
        let _left = reply.send(if whole { Ok(answer) } else { Err(GatherError::Panicked) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use std::time::{Duration, Instant};

    use sawpit_model::{Level, RawObject, Timestamp};
    use sawpit_plugins::{CallVerdict, Stage};

    use super::*;

    fn log(message: &str) -> Log {
        Log {
            device_id: "d".into(),
            log_level: Level::Info,
            message: message.into(),
            log_data: RawObject::default(),
            received_at: Timestamp::from_micros(0),
        }
    }

    fn accept(logs: Vec<Log>) -> Done {
        Done {
            chain: "c".into(),
            outcomes: logs.into_iter().map(Ingested::Accepted).collect(),
            calls: Vec::new(),
        }
    }

    fn messages(done: &Done) -> Vec<String> {
        done.outcomes
            .iter()
            .map(|outcome| match outcome {
                Ingested::Accepted(log) => log.message.clone(),
                _ => String::from("?"),
            })
            .collect()
    }

    fn gather(limits: GatherLimits, call: impl Fn(Vec<Log>) -> Done + Send + Sync + 'static) -> Gather {
        Gather::new(limits, Door::new(limits.runners, limits.runners).unwrap(), move |logs, _| call(logs))
    }

    const ONE_RUNNER: GatherLimits = GatherLimits { runners: 1, call_logs: 4, waiting_logs: 8 };

    /// A gather with one runner that is busy with a first job until told to go on; reports the size of each call.
    fn held() -> (Gather, mpsc::Sender<()>, Arc<Mutex<Vec<usize>>>) {
        let (go, gate) = mpsc::channel::<()>();
        let (gate, sizes) = (Mutex::new(gate), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&sizes);
        let gather = gather(ONE_RUNNER, move |logs| {
            seen.lock().unwrap().push(logs.len());
            gate.lock().unwrap().recv().unwrap();
            accept(logs)
        });
        (gather, go, sizes)
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn jobs_that_wait_share_a_call_and_get_their_own_outcomes() {
        let (gather, go, sizes) = held();
        let spawn = |names: &'static [&'static str]| {
            let gather = gather.clone();
            tokio::spawn(async move { gather.run(names.iter().map(|m| log(m)).collect(), false).await })
        };
        let first = spawn(&["a"]);
        until(|| sizes.lock().unwrap().len() == 1).await;
        let second = spawn(&["b", "c"]);
        until(|| gather.inner.waiting().logs == 2).await;
        let third = spawn(&["d", "e"]);
        until(|| gather.inner.waiting().logs == 4).await;
        let fourth = spawn(&["f"]);
        until(|| gather.inner.waiting().logs == 5).await;
        for _ in 0..3 {
            go.send(()).unwrap();
        }
        assert_eq!(messages(&first.await.unwrap().unwrap()), ["a"]);
        assert_eq!(messages(&second.await.unwrap().unwrap()), ["b", "c"]);
        assert_eq!(messages(&third.await.unwrap().unwrap()), ["d", "e"]);
        assert_eq!(messages(&fourth.await.unwrap().unwrap()), ["f"]);
        assert_eq!(*sizes.lock().unwrap(), [1, 4, 1], "two joined, the next would have passed call_logs");
    }

    #[tokio::test]
    async fn a_traced_request_is_told_of_the_calls_that_its_logs_were_in() {
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let limits = ONE_RUNNER;
        let door = Door::new(limits.runners, limits.runners).unwrap();
        let gather = Gather::new(limits, door, move |logs, traced| {
            gate.lock().unwrap().recv().unwrap();
            let watched = traced.into_iter().flatten().map(|log| (log, CallVerdict::Accepted)).collect();
            let call = RecordedCall {
                plugin: "p".into(),
                version: "1.0.0".into(),
                stage: Stage::Filter,
                started: Instant::now(),
                took: Duration::ZERO,
                size: logs.len(),
                error: None,
                logs: watched,
            };
            Done { calls: vec![call], ..accept(logs) }
        });
        let spawn = |count: usize, traced: bool| {
            let gather = gather.clone();
            tokio::spawn(async move { gather.run((0..count).map(|_| log("a")).collect(), traced).await })
        };
        let first = spawn(1, false);
        until(|| gather.inner.waiting().runners == 1 && gather.inner.waiting().logs == 0).await;
        let other = spawn(2, false);
        until(|| gather.inner.waiting().logs == 2).await;
        let traced = spawn(2, true);
        until(|| gather.inner.waiting().logs == 4).await;
        (0..2).for_each(|_| go.send(()).unwrap());
        assert!(first.await.unwrap().unwrap().calls.is_empty());
        assert!(other.await.unwrap().unwrap().calls.is_empty());
        let calls = traced.await.unwrap().unwrap().calls;
        assert_eq!(calls[0].size, 4);
        assert_eq!(calls[0].logs, [(0, CallVerdict::Accepted), (1, CallVerdict::Accepted)]);
    }

    #[tokio::test]
    async fn waiting_logs_are_limited() {
        let (gather, go, sizes) = held();
        let first = tokio::spawn({
            let gather = gather.clone();
            async move { gather.run(vec![log("a")], false).await }
        });
        until(|| sizes.lock().unwrap().len() == 1).await;
        let eight = tokio::spawn({
            let gather = gather.clone();
            async move { gather.run((0..8).map(|_| log("b")).collect(), false).await }
        });
        until(|| gather.inner.waiting().logs == 8).await;
        assert_eq!(gather.run(vec![log("c")], false).await.err(), Some(GatherError::Full));
        go.send(()).unwrap();
        go.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(
            eight.await.unwrap().unwrap().outcomes.len(),
            8,
            "a job larger than call_logs is one call"
        );
        go.send(()).unwrap();
        gather.run(vec![log("d")], false).await.unwrap();
    }

    #[tokio::test]
    async fn a_job_whose_caller_left_is_skipped() {
        let (gather, go, sizes) = held();
        let first = tokio::spawn({
            let gather = gather.clone();
            async move { gather.run(vec![log("a")], false).await }
        });
        until(|| sizes.lock().unwrap().len() == 1).await;
        let left = tokio::spawn({
            let gather = gather.clone();
            async move { gather.run(vec![log("b")], false).await }
        });
        until(|| gather.inner.waiting().logs == 1).await;
        left.abort();
        assert!(left.await.is_err());
        go.send(()).unwrap();
        first.await.unwrap().unwrap();
        until(|| gather.inner.waiting().runners == 0).await;
        assert_eq!(*sizes.lock().unwrap(), [1]);
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_call_only() {
        let calls = AtomicUsize::new(0);
        let gather = gather(ONE_RUNNER, move |logs| {
            assert!(calls.fetch_add(1, Ordering::Relaxed) != 0, "the first call");
            accept(logs)
        });
        assert_eq!(gather.run(vec![log("a")], false).await.err(), Some(GatherError::Panicked));
        assert_eq!(messages(&gather.run(vec![log("b")], false).await.unwrap()), ["b"]);
    }

    #[tokio::test]
    async fn missing_outcomes_are_an_error() {
        let gather =
            gather(ONE_RUNNER, |_| Done { chain: "c".into(), outcomes: Vec::new(), calls: Vec::new() });
        assert_eq!(gather.run(vec![log("a")], false).await.err(), Some(GatherError::Panicked));
    }
}
