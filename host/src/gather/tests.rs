//! The gather with a line of the tests' own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use std::time::{Duration, Instant};

use sawpit_model::{Level, RawObject, Timestamp};
use sawpit_plugins::{CallVerdict, Stage};

use super::*;
use crate::admission::InFlight;

fn log(message: &str) -> Log {
    Log {
        device_id: "d".into(),
        log_level: Level::Info,
        message: message.into(),
        log_data: RawObject::default(),
        received_at: Timestamp::from_micros(0),
    }
}

fn no_bytes() -> Arc<Held> {
    Arc::new(InFlight::new(0).hold())
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

/// A line whose lists are through at once.
struct Simple<F>(F);

impl<F: Fn(Vec<Log>, Vec<Range<usize>>) -> Done + Send + Sync + 'static> Line for Simple<F> {
    type Passage = (Vec<Log>, Vec<Range<usize>>);

    fn suspects(&self, _: &[Log]) -> bool {
        false
    }

    fn begin(&self, logs: Vec<Log>, _: &[usize], traced: Vec<Range<usize>>) -> Self::Passage {
        (logs, traced)
    }

    fn has_suspects(&self, _: &Self::Passage) -> bool {
        false
    }

    fn first(&self, passage: Self::Passage) -> Result<Through, Vec<Part<Self::Passage>>> {
        Ok(self.last(passage))
    }

    fn short(&self, passage: Self::Passage) -> Result<Through, Self::Passage> {
        Ok(self.last(passage))
    }

    fn last(&self, (logs, traced): Self::Passage) -> Through {
        Through { done: (self.0)(logs, traced), after: None }
    }
}

fn doors() -> (Door, Door) {
    (Door::new(1, 1).unwrap(), Door::new(1, 1).unwrap())
}

fn gather<F>(limits: GatherLimits, call: F) -> Gather<impl Line>
where
    F: Fn(Vec<Log>) -> Done + Send + Sync + 'static,
{
    let (door, apart) = doors();
    Gather::new(limits, door, apart, Simple(move |logs, _: Vec<Range<usize>>| call(logs)))
}

const ONE_RUNNER: GatherLimits = GatherLimits { runners: 1, call_logs: 4, waiting_logs: 8 };

/// A gather with one runner that is busy with a first job until told to go on; reports the size of each call.
fn held() -> (Gather<impl Line>, mpsc::Sender<()>, Arc<Mutex<Vec<usize>>>) {
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
        tokio::spawn(
            async move { gather.run(names.iter().map(|m| log(m)).collect(), false, no_bytes()).await },
        )
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
    let (door, apart) = doors();
    let gather = Gather::new(
        limits,
        door,
        apart,
        Simple(move |logs: Vec<Log>, traced: Vec<Range<usize>>| {
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
        }),
    );
    let spawn = |count: usize, traced: bool| {
        let gather = gather.clone();
        tokio::spawn(
            async move { gather.run((0..count).map(|_| log("a")).collect(), traced, no_bytes()).await },
        )
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
        async move { gather.run(vec![log("a")], false, no_bytes()).await }
    });
    until(|| sizes.lock().unwrap().len() == 1).await;
    let eight = tokio::spawn({
        let gather = gather.clone();
        async move { gather.run((0..8).map(|_| log("b")).collect(), false, no_bytes()).await }
    });
    until(|| gather.inner.waiting().logs == 8).await;
    assert_eq!(gather.run(vec![log("c")], false, no_bytes()).await.err(), Some(GatherError::Full));
    go.send(()).unwrap();
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(eight.await.unwrap().unwrap().outcomes.len(), 8, "a job larger than call_logs is one call");
    go.send(()).unwrap();
    gather.run(vec![log("d")], false, no_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_job_whose_caller_left_is_skipped_and_holds_its_bytes_until_then() {
    let (gather, go, sizes) = held();
    let first = tokio::spawn({
        let gather = gather.clone();
        async move { gather.run(vec![log("a")], false, no_bytes()).await }
    });
    until(|| sizes.lock().unwrap().len() == 1).await;
    let in_flight = InFlight::new(10);
    let mut held = in_flight.hold();
    held.grow(10).unwrap();
    let left = tokio::spawn({
        let gather = gather.clone();
        async move { gather.run(vec![log("b")], false, Arc::new(held)).await }
    });
    until(|| gather.inner.waiting().logs == 1).await;
    left.abort();
    assert!(left.await.is_err());
    assert!(in_flight.hold().grow(1).is_err(), "its log is in memory still");
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    until(|| in_flight.hold().grow(10).is_ok()).await;
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
    assert_eq!(gather.run(vec![log("a")], false, no_bytes()).await.err(), Some(GatherError::Panicked));
    assert_eq!(messages(&gather.run(vec![log("b")], false, no_bytes()).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn missing_outcomes_are_an_error() {
    let gather = gather(ONE_RUNNER, |_| Done { chain: "c".into(), outcomes: Vec::new(), calls: Vec::new() });
    assert_eq!(gather.run(vec![log("a")], false, no_bytes()).await.err(), Some(GatherError::Panicked));
}

/// A line of two tries: `bad` is what they last too long for. The first is told when it has begun, and waits to be told
/// to go on.
struct Slow {
    begun: mpsc::Sender<usize>,
    go: Mutex<mpsc::Receiver<()>>,
    suspects: Arc<Mutex<Vec<String>>>,
    held: Mutex<mpsc::Receiver<()>>,
}

const BAD: &str = "bad";

impl Line for Slow {
    type Passage = Vec<Vec<Log>>;

    fn suspects(&self, logs: &[Log]) -> bool {
        logs.iter().any(|log| self.suspects.lock().unwrap().contains(&log.message))
    }

    fn begin(&self, mut logs: Vec<Log>, requests: &[usize], _: Vec<Range<usize>>) -> Self::Passage {
        requests.iter().map(|count| logs.drain(..*count).collect()).collect()
    }

    fn has_suspects(&self, passage: &Self::Passage) -> bool {
        self.suspects(&passage.concat())
    }

    fn first(&self, passage: Self::Passage) -> Result<Through, Vec<Part<Self::Passage>>> {
        self.begun.send(passage.len()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        if passage.iter().flatten().any(|log| log.message == BAD) {
            let part = |request| Part { passage: vec![request], next: Next::Short };
            return Err(passage.into_iter().map(part).collect());
        }
        Ok(Through { done: accept(passage.concat()), after: None })
    }

    fn short(&self, passage: Self::Passage) -> Result<Through, Self::Passage> {
        if passage.iter().flatten().any(|log| log.message == BAD) {
            self.suspects.lock().unwrap().push(BAD.to_owned());
            return Err(passage);
        }
        Ok(Through { done: accept(passage.concat()), after: None })
    }

    /// Takes for ever, until told otherwise.
    fn last(&self, passage: Self::Passage) -> Through {
        self.held.lock().unwrap().recv().unwrap();
        Through { done: accept(passage.concat()), after: None }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_a_call_with_a_culprit_is_answered_and_only_the_culprit_waits() {
    let ((begun, began), (go, gate), (release, held)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
    let suspects = Arc::new(Mutex::new(Vec::new()));
    let line = Slow { begun, go: Mutex::new(gate), suspects: Arc::clone(&suspects), held: Mutex::new(held) };
    let (door, apart) = doors();
    let gather = Gather::new(ONE_RUNNER, door, apart, line);
    let spawn = |message: &'static str| {
        let gather = gather.clone();
        tokio::spawn(async move { gather.run(vec![log(message)], false, no_bytes()).await })
    };
    let first = spawn("a");
    assert_eq!(began.recv().unwrap(), 1);
    let culprit = spawn(BAD);
    until(|| gather.inner.waiting().logs == 1).await;
    let (second, third) = (spawn("b"), spawn("c"));
    until(|| gather.inner.waiting().logs == 3).await;
    (0..2).for_each(|_| go.send(()).unwrap());
    for (job, message) in [(first, "a"), (second, "b"), (third, "c")] {
        assert_eq!(messages(&job.await.unwrap().unwrap()), [message]);
    }
    assert_eq!(began.recv().unwrap(), 3, "all three shared the call");
    // From now on the culprit is taken apart from the others, before any call.
    let again = spawn(BAD);
    until(|| gather.inner.waiting().siding.waits() == 1).await;
    go.send(()).unwrap();
    assert_eq!(messages(&spawn("d").await.unwrap().unwrap()), ["d"]);
    assert_eq!(began.recv().unwrap(), 1);
    (0..2).for_each(|_| release.send(()).unwrap());
    for job in [culprit, again] {
        assert_eq!(messages(&job.await.unwrap().unwrap()), [BAD]);
    }
}

#[tokio::test]
async fn the_siding_takes_half_of_what_may_wait() {
    let ((begun, _began), (_go, gate), (release, held)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
    let suspects = Arc::new(Mutex::new(vec![BAD.to_owned()]));
    let line = Slow { begun, go: Mutex::new(gate), suspects, held: Mutex::new(held) };
    let (door, apart) = doors();
    let gather = Gather::new(ONE_RUNNER, door, apart, line);
    let spawn = |count: usize| {
        let gather = gather.clone();
        tokio::spawn(async move { gather.run(vec![log(BAD); count], false, no_bytes()).await })
    };
    let first = spawn(1);
    until(|| gather.inner.waiting().siding.is_busy()).await;
    let fits = spawn(4);
    until(|| gather.inner.waiting().siding.waits() == 4).await;
    assert_eq!(spawn(1).await.unwrap().err(), Some(GatherError::Full));
    (0..2).for_each(|_| release.send(()).unwrap());
    assert_eq!(first.await.unwrap().unwrap().outcomes.len(), 1);
    assert_eq!(fits.await.unwrap().unwrap().outcomes.len(), 4);
}

#[test]
fn what_nobody_waits_for_is_left_out_where_there_is_too_much() {
    let mut siding: Siding<()> = Siding::new(ONE_RUNNER);
    let after = |logs| Work::After(After { logs, run: Box::new(|| ()) });
    for logs in [10, 6, 1] {
        siding.push(after(logs));
    }
    let sizes: Vec<_> = std::iter::from_fn(|| siding.take())
        .map(|work| match work {
            Work::After(after) => after.logs,
            _ => 0,
        })
        .collect();
    assert_eq!(sizes, [10, 6], "four calls of four logs");
    siding.push(after(100));
    assert!(siding.take().is_some(), "one always has room");
}
