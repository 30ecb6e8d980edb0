//! The promise as a model: whatever is posted, whatever the plugins do to it, and wherever workers are killed or frozen,
//! at the end each log is where its own wish and nothing else has put it, exactly once; and at no moment is a message
//! acknowledged that is neither committed nor a dead letter.
//!
//! A worker runs in a thread with a runtime of its own. Killing it drops the runtime, so all of its tasks end at whatever
//! await they are; freezing it blocks the thread, as SIGSTOP would. What the model says is little, on purpose: each
//! log's fate follows from its message (see `crates/testkit/scramble`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sawpit_model::{Entry, Level, Log, MessageId, RawObject, Timestamp};
use sawpit_plugins::{Registry, RegistrySettings, Runtime, RuntimeSettings};
use sawpit_queue::{AppendError, Queue, QueueError, QueueSettings};
use sawpit_service::{Clock, Health, Shutdown, Tracer};
use sawpit_store::{LogQuery, Store, StoreError, StoreSettings};
use sawpit_testkit::{Postgres, Redis, TempFolder, scramble};
use sawpit_worker::{WorkerError, WorkerParts, WorkerSettings, run};
use tokio::sync::mpsc;

use crate::world::{IDLE, patient};

/// Cases of each property, unless PROPTEST_CASES says otherwise.
const EMBEDDED_CASES: u32 = 20;
const SERVER_CASES: u32 = 8;

/// Workers that can be at work at once.
const WORKERS: usize = 3;

/// What a log asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Keep,
    Drop,
    Split,
    Merge,
    Fail,
    Trap,
}

/// One step of a run.
#[derive(Clone, Debug)]
enum Step {
    /// These logs are posted in one request.
    Post(Vec<Wish>),
    /// A worker is started under this name, unless it runs, and so much time passes.
    Work { worker: usize, ms: u64 },
    /// A worker dies.
    Kill { worker: usize },
    /// A worker stands still for so long, long enough for others to take its messages over, or not.
    Freeze { worker: usize, ms: u64 },
    /// The plugin is replaced by another build of it.
    Swap,
    /// The database dies and comes back.
    StoreDies,
    /// Nothing can be committed for so long, though the database answers all else.
    StoreLocked { ms: u64 },
    /// The queue's server dies and comes back, with all that it was told.
    QueueDies,
    /// It comes back without what it was told in this time: deliveries, acknowledgements, dead letters.
    QueueForgets { ms: u64 },
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        4 => Just(Wish::Keep),
        2 => Just(Wish::Drop),
        2 => Just(Wish::Split),
        3 => Just(Wish::Merge),
        1 => Just(Wish::Fail),
        1 => Just(Wish::Trap),
    ]
}

fn step(workers: usize, servers: u32) -> impl Strategy<Value = Step> {
    let worker = || 0..workers;
    prop_oneof![
        6 => prop::collection::vec(wish(), 1..25).prop_map(Step::Post),
        6 => (worker(), 0_u64..60).prop_map(|(worker, ms)| Step::Work { worker, ms }),
        4 => worker().prop_map(|worker| Step::Kill { worker }),
        3 => (worker(), 10_u64..900).prop_map(|(worker, ms)| Step::Freeze { worker, ms }),
        1 => Just(Step::Swap),
        servers => Just(Step::StoreDies),
        servers => (50_u64..900).prop_map(|ms| Step::StoreLocked { ms }),
        servers => Just(Step::QueueDies),
        servers => (0_u64..300).prop_map(|ms| Step::QueueForgets { ms }),
    ]
}

/// `servers`: how often something happens to servers, where there are any.
fn steps(workers: usize, servers: u32) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(workers, servers), 1..24)
}

/// Shrinking runs the whole again and again, so it has a limit.
fn runner(cases: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(cases);
    TestRunner::new(Config { cases, max_shrink_iters: 60, failure_persistence: None, ..Config::default() })
}

/// A plugin folder that all cases share, as compiling takes longer than a case.
struct Plugins {
    folder: TempFolder,
    registry: Registry,
    builds: AtomicUsize,
}

impl Plugins {
    fn open() -> Self {
        let folder = TempFolder::new("model-plugins");
        std::fs::write(folder.join("scramble.toml"), "timeout_ms = 20000\n[breaker]\nfailures = 0\n")
            .unwrap();
        std::fs::copy(scramble(), folder.join("scramble.wasm")).unwrap();
        let settings =
            RuntimeSettings { threads: 2, ..RuntimeSettings::new(Arc::new(|| Clock::system().now())) };
        let settings =
            (Runtime::new(settings).unwrap(), folder.path().to_owned(), RegistrySettings::default());
        let registry = Registry::open(settings.0, settings.1, settings.2).unwrap();
        Self { folder, registry, builds: AtomicUsize::new(0) }
    }

    /// Another file, the same plugin: a custom section is appended.
    fn swap(&self) {
        let build = self.builds.fetch_add(1, Ordering::Relaxed);
        let name = format!("build{build}");
        let mut wasm = std::fs::read(scramble()).unwrap();
        let length = |bytes: usize| u8::try_from(bytes).unwrap();
        wasm.extend([0, length(name.len() + 1), length(name.len())]);
        wasm.extend(name.as_bytes());
        std::fs::write(self.folder.join("next"), wasm).unwrap();
        std::fs::rename(self.folder.join("next"), self.folder.join("scramble.wasm")).unwrap();
    }
}

/// How the parts of a case are opened: each worker on servers opens its own, as a process would.
#[derive(Clone)]
struct Place {
    queue: QueueSettings,
    store: StoreSettings,
    registry: Registry,
}

impl Place {
    async fn queue(&self) -> Queue {
        let clock = || Arc::new(|| Clock::system().now());
        patient(async || Queue::open(self.queue.clone(), clock()).await.ok()).await
    }

    async fn store(&self) -> Store {
        patient(async || Store::open(self.store.clone(), Clock::system().now()).await.ok()).await
    }
}

/// What a worker's thread is told; when nobody can tell it anything any more, it dies.
enum Order {
    Freeze(Duration),
    Drain,
}

/// A worker in its thread.
struct Process {
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

impl Process {
    /// `queue` is that of the process which the embedded queue belongs to; none where each opens its own.
    fn start(place: &Place, name: String, batch: usize, queue: Option<Queue>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let mut place = place.clone();
        place.queue.batch = batch;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(live(place, name, queue, inbox));
            // Whatever its tasks are doing, they end here.
            runtime.shutdown_background();
        });
        Self { orders, thread }
    }

    fn freeze(&self, ms: u64) {
        self.orders.send(Order::Freeze(Duration::from_millis(ms))).unwrap();
    }

    fn kill(self) {
        drop(self.orders);
        self.thread.join().unwrap();
    }

    fn drain(self) {
        self.orders.send(Order::Drain).unwrap();
        self.thread.join().unwrap();
    }
}

async fn live(place: Place, name: String, queue: Option<Queue>, mut inbox: mpsc::UnboundedReceiver<Order>) {
    let shutdown = Shutdown::new();
    loop {
        let parts = tokio::select! {
            parts = open(&place, name.clone(), queue.clone()) => parts,
            () = obey(&mut inbox, &shutdown) => return,
        };
        let mut work = tokio::spawn(run(parts, shutdown.clone()));
        tokio::select! {
            ended = &mut work => match ended.unwrap() {
                Ok(()) => return,
                // A process that finds no queue or no store at its start: whoever runs it starts it again.
                Err(
                    WorkerError::Queue(QueueError::Unavailable { .. })
                    | WorkerError::Store(StoreError::Unavailable { .. }),
                ) => {}
                Err(error) => panic!("{error:?}"),
            },
            () = obey(&mut inbox, &shutdown) => return,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn open(place: &Place, name: String, queue: Option<Queue>) -> WorkerParts {
    let queue = match queue {
        Some(queue) => queue,
        None => place.queue().await,
    };
    let settings = WorkerSettings {
        retry_base: Duration::from_millis(5),
        retry_max: Duration::from_millis(100),
        reclaim_every: IDLE / 2,
        // More than a case can kill workers, and less than an outage would count if it were counted.
        max_tries: 50,
        threads: 1,
        ..WorkerSettings::new(name)
    };
    let (store, registry) = (place.store().await, place.registry.clone());
    WorkerParts {
        queue,
        store,
        registry,
        cache: None,
        clock: Clock::system(),
        health: Health::new(Duration::from_secs(1)),
        tracer: Tracer::off(),
        settings,
    }
}

/// Ends when the worker is to die.
async fn obey(inbox: &mut mpsc::UnboundedReceiver<Order>, shutdown: &Shutdown) {
    while let Some(order) = inbox.recv().await {
        match order {
            // On purpose the whole runtime stands still.
            Order::Freeze(span) => std::thread::sleep(span),
            Order::Drain => shutdown.trigger(),
        }
    }
}

/// One case.
struct Case<'a> {
    plugins: &'a Plugins,
    place: Place,
    /// The queue as producers and the checks use it; of the one process where it is embedded.
    queue: Option<Queue>,
    store: Store,
    workers: HashMap<usize, Process>,
    wishes: HashMap<MessageId, Wish>,
    servers: Option<Servers<'a>>,
    starts: usize,
}

/// The servers of a case.
#[derive(Clone, Copy)]
struct Servers<'a> {
    redis: &'a Redis,
    postgres: &'a Postgres,
    /// Name of the database.
    name: &'a str,
}

impl Servers<'_> {
    async fn store_locked(self, ms: u64) {
        self.postgres.query(self.name, "ALTER TABLE logs RENAME TO hidden");
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.postgres.query(self.name, "ALTER TABLE hidden RENAME TO logs");
    }

    async fn queue_forgets(self, ms: u64) {
        let files = self.redis.copy_of_files();
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.redis.restart_with_files(&files);
    }
}

impl<'a> Case<'a> {
    async fn new(plugins: &'a Plugins, place: Place, servers: Option<Servers<'a>>) -> Self {
        let (queue, store) = (Some(place.queue().await), place.store().await);
        let (workers, wishes) = (HashMap::new(), HashMap::new());
        Self { plugins, place, queue, store, workers, wishes, servers, starts: 0 }
    }

    fn queue(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Post(wishes) => self.post(wishes).await,
            Step::Work { worker, ms } => {
                self.start(*worker);
                tokio::time::sleep(Duration::from_millis(*ms)).await;
            }
            Step::Kill { worker } => self.kill(*worker).await,
            Step::Freeze { worker, ms } => {
                if let Some(process) = self.workers.get(worker) {
                    process.freeze(*ms);
                }
            }
            Step::Swap => self.plugins.swap(),
            Step::StoreDies | Step::StoreLocked { .. } | Step::QueueDies | Step::QueueForgets { .. } => {
                if let Some(servers) = self.servers {
                    Self::strike(servers, step).await;
                }
            }
        }
    }

    async fn strike(servers: Servers<'_>, step: &Step) {
        match step {
            Step::StoreDies => {
                servers.postgres.kill();
                servers.postgres.restart();
            }
            Step::StoreLocked { ms } => servers.store_locked(*ms).await,
            Step::QueueDies => {
                servers.redis.kill();
                servers.redis.restart();
            }
            Step::QueueForgets { ms } => servers.queue_forgets(*ms).await,
            _ => {}
        }
    }

    async fn post(&mut self, wishes: &[Wish]) {
        let entries: Vec<_> = wishes.iter().map(|wish| entry(*wish)).collect();
        // Its connections may have to notice first that the server was away; then nothing is appended.
        let producer = self.queue().producer();
        let ids = patient(async || match producer.append_batch(entries.clone()).await {
            Ok(ids) => Some(ids),
            Err(AppendError::Refused { .. }) => None,
            Err(error) => panic!("{error}"),
        })
        .await;
        self.wishes.extend(ids.into_iter().zip(wishes.iter().copied()));
    }

    /// Batches are cut otherwise by each worker, and by each that comes after it.
    fn start(&mut self, worker: usize) {
        self.starts += 1;
        let batch = 3 + (self.starts * 5 + worker) % 11;
        let queue = if self.servers.is_none() { self.queue.clone() } else { None };
        let start = || Process::start(&self.place, format!("w{worker}"), batch, queue);
        self.workers.entry(worker).or_insert_with(start);
    }

    /// What is embedded dies with its process, and is opened anew from its files.
    async fn kill(&mut self, worker: usize) {
        let Some(process) = self.workers.remove(&worker) else { return };
        process.kill();
        if self.servers.is_none() {
            self.queue = None;
            self.queue = Some(self.place.queue().await);
        }
    }

    /// Invariant 2, seen from outside: what has left the queue is committed, or is a dead letter.
    async fn check_acknowledged(&self) -> Result<(), TestCaseError> {
        let ids: Vec<MessageId> = self.wishes.keys().copied().collect();
        // In this order: what is acknowledged by the first question must be there at the others.
        let waiting = patient(async || self.queue().backlog().await.ok()).await;
        let dead = patient(async || self.queue().dead_count().await.ok()).await;
        let committed = patient(async || self.store.committed(&ids).await.ok()).await.len() as u64;
        let gone = (ids.len() as u64).saturating_sub(waiting);
        prop_assert!(gone <= committed + dead, "{gone} acknowledged, {committed} committed, {dead} dead");
        Ok(())
    }

    /// Lets fresh workers finish, and looks where each log is.
    async fn finish(mut self) -> Result<(), TestCaseError> {
        self.start(WORKERS);
        if self.servers.is_some() {
            self.start(WORKERS + 1);
        }
        patient(async || (self.queue().backlog().await == Ok(0)).then_some(())).await;
        std::mem::take(&mut self.workers).into_values().for_each(Process::drain);
        self.check_acknowledged().await?;
        let ids: Vec<MessageId> = self.wishes.keys().copied().collect();
        let rows: HashMap<_, _> =
            self.store.stored_ids(&ids, Timestamp::from_micros(0)).await.unwrap().into_iter().collect();
        let mut letters: HashMap<MessageId, u64> = HashMap::new();
        for letter in self.queue().dead_list(None, 100_000).await.unwrap() {
            *letters.entry(letter.message_id).or_default() += 1;
        }
        for (id, wish) in &self.wishes {
            let found = (rows.get(id).copied().unwrap_or(0), letters.get(id).copied().unwrap_or(0));
            prop_assert_eq!(found, wish.end(), "{} wished to {:?}: (rows, dead letters)", id, wish);
        }
        let stats = self.store.stats(Clock::system().now()).await.unwrap();
        let all = LogQuery { limit: 100_000, ..LogQuery::default() };
        let there = self.store.rows(&all).await.unwrap().rows.len() as u64;
        prop_assert_eq!(stats.total, there, "counted, stored");
        Ok(())
    }
}

impl Wish {
    /// How many rows name such a log at the end, and how many dead letters it is.
    const fn end(self) -> (u64, u64) {
        match self {
            Self::Keep | Self::Merge => (1, 0),
            Self::Drop => (0, 0),
            Self::Split => (2, 0),
            Self::Fail | Self::Trap => (0, 1),
        }
    }
}

fn entry(wish: Wish) -> Entry {
    let log = Log {
        device_id: "d".to_owned(),
        log_level: Level::Info,
        message: format!("{wish:?} please").to_lowercase(),
        log_data: RawObject::default(),
        received_at: Clock::system().now(),
    };
    Entry { log, chain: "host".to_owned(), traceparent: None, failure: None }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn run_case(mut case: Case<'_>, steps: &[Step]) -> Result<(), TestCaseError> {
    for step in steps {
        case.take(step).await;
        case.check_acknowledged().await?;
    }
    case.finish().await
}

fn impatient(url: String) -> QueueSettings {
    QueueSettings { url, block: Duration::from_millis(50), reclaim_idle: IDLE, ..QueueSettings::default() }
}

#[test]
fn each_log_ends_where_it_wished_on_the_embedded_parts() {
    let (plugins, runtime) = (Plugins::open(), runtime());
    let ran = runner(EMBEDDED_CASES).run(&steps(1, 0), |steps| {
        let folder = TempFolder::new("model");
        let inside = |name: &str| folder.join(name).display().to_string();
        let store =
            StoreSettings { url: format!("sqlite:{}", inside("logs.db")), ..StoreSettings::default() };
        let place = Place { queue: impatient(inside("queue")), store, registry: plugins.registry.clone() };
        runtime.block_on(async { run_case(Case::new(&plugins, place, None).await, &steps).await })
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn each_log_ends_where_it_wished_on_redis_and_postgresql() {
    let (plugins, runtime) = (Plugins::open(), runtime());
    // What Redis answered it has, unless a step says otherwise.
    let (redis, postgres) = (Redis::with(&[("appendfsync", "always")]), Postgres::start());
    let cases = AtomicUsize::new(0);
    let ran = runner(SERVER_CASES).run(&steps(WORKERS, 1), |steps| {
        let name = format!("model{}", cases.fetch_add(1, Ordering::Relaxed));
        let queue = QueueSettings {
            stream: format!("{name}:stream"),
            dead: format!("{name}:dead"),
            ..impatient(redis.url())
        };
        let store = StoreSettings {
            url: postgres.create_database(&name),
            pool: 2,
            pool_extra: 2,
            ..StoreSettings::default()
        };
        let place = Place { queue, store, registry: plugins.registry.clone() };
        let servers = Servers { redis: &redis, postgres: &postgres, name: &name };
        runtime.block_on(async { run_case(Case::new(&plugins, place, Some(servers)).await, &steps).await })
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}
