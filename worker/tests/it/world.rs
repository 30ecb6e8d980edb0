//! A queue, a store, no plugins, and workers to be started and killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sawpit_model::{Entry, Level, Log, MessageId, RawObject, Tally, Timestamp};
use sawpit_plugins::{Registry, RegistrySettings, Runtime, RuntimeSettings};
use sawpit_queue::{Cache, CacheSettings, Queue, QueueSettings};
use sawpit_service::{Clock, Health, Shutdown, Tracer};
use sawpit_store::{Batch, LogQuery, Row, Store, StoreSettings};
use sawpit_worker::{WorkerError, WorkerParts, WorkerSettings, run};
use tokio::task::JoinHandle;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How soon a message of a dead worker is taken over in these tests.
pub const IDLE: Duration = Duration::from_millis(300);

/// The parts of a worker.
pub struct World {
    pub queue: Queue,
    pub store: Store,
    pub cache: Cache,
    pub health: Health,
    registry: Registry,
}

/// A worker that runs.
pub struct Worker {
    pub shutdown: Shutdown,
    pub task: JoinHandle<Result<(), WorkerError>>,
}

impl World {
    /// Opens queue and store; `folder` is for the (empty) plugin folder.
    pub async fn open(queue: &str, store: &str, folder: &Path) -> Self {
        Self::with_idle(queue, store, folder, IDLE).await
    }

    /// The same, with messages of dead workers taken over after `reclaim_idle`.
    pub async fn with_idle(queue: &str, store: &str, folder: &Path, reclaim_idle: Duration) -> Self {
        let clock = || Arc::new(|| Clock::system().now());
        let settings = QueueSettings {
            url: queue.to_owned(),
            block: Duration::from_millis(100),
            reclaim_idle,
            ..QueueSettings::default()
        };
        let queue = patient(async || Queue::open(settings.clone(), clock()).await.ok()).await;
        let settings = StoreSettings { url: store.to_owned(), ..StoreSettings::default() };
        let store = Store::open(settings, Clock::system().now()).await.unwrap();
        let cache = Cache::open("memory:", CacheSettings::default()).await.unwrap();
        let health = Health::new(Duration::from_secs(1));
        Self { queue, store, cache, health, registry: registry(folder.join("plugins")) }
    }

    /// With plugins.
    pub fn with_registry(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }

    /// Appends so many logs of a device, with these `log_data` in turn.
    pub async fn append(&self, count: usize, log_data: &[&str]) -> Vec<MessageId> {
        let producer = self.queue.producer();
        let mut ids = Vec::new();
        let entries: Vec<_> = (0..count).map(|n| entry(n, log_data[n % log_data.len()])).collect();
        for some in entries.chunks(250) {
            ids.extend(producer.append_batch(some.to_vec()).await.unwrap());
        }
        ids
    }

    /// Starts a worker.
    pub fn worker(&self, name: &str) -> Worker {
        self.worker_with(WorkerSettings::new(name))
    }

    /// Starts a worker that is set up otherwise, but as impatient as all are in tests.
    pub fn worker_with(&self, settings: WorkerSettings) -> Worker {
        self.start(settings, Tracer::off(), Clock::system())
    }

    /// The same, which tells of its batches.
    pub fn worker_traced(&self, settings: WorkerSettings, tracer: Tracer) -> Worker {
        self.start(settings, tracer, Clock::system())
    }

    /// The same, with a clock that is set by the test.
    pub fn worker_at(&self, settings: WorkerSettings, clock: Clock) -> Worker {
        self.start(settings, Tracer::off(), clock)
    }

    fn start(&self, settings: WorkerSettings, tracer: Tracer, clock: Clock) -> Worker {
        let settings = WorkerSettings {
            retry_base: Duration::from_millis(10),
            retry_max: Duration::from_millis(200),
            reclaim_every: IDLE / 2,
            ..settings
        };
        let parts = WorkerParts {
            queue: self.queue.clone(),
            store: self.store.clone(),
            registry: self.registry.clone(),
            cache: Some(self.cache.clone()),
            clock,
            health: self.health.clone(),
            tracer,
            settings,
        };
        let shutdown = Shutdown::new();
        Worker { task: tokio::spawn(run(parts, shutdown.clone())), shutdown }
    }

    /// Stores logs that were received so many hours before `now`.
    pub async fn store_received(&self, hours: &[i64], now: Timestamp) {
        let row = |hours: &i64| {
            let received_at = Timestamp::from_micros(now.as_micros() - hours * 3_600_000_000);
            let log = Log { message: format!("{hours} hours old"), received_at, ..entry(0, "{}").log };
            let sources = vec![MessageId { ms: 1, seq: hours.unsigned_abs() }];
            Row { sources, part: 0, log, chain: String::new() }
        };
        let rows: Vec<Row> = hours.iter().map(row).collect();
        let ids = rows.iter().flat_map(|row| row.sources.clone()).collect();
        let lease = self.store.lease("earlier").await.unwrap();
        let batch = Batch { ids, rows, verdicts: Tally::default(), committed_at: now };
        self.store.commit(&lease, &batch).await.unwrap();
    }

    /// The messages that are stored, newest first.
    pub async fn messages(&self) -> Vec<String> {
        let rows = self.store.rows(&LogQuery::default()).await.unwrap().rows;
        rows.into_iter().map(|row| row.message).collect()
    }

    /// Waits until nothing is left in the queue.
    pub async fn emptied(&self) {
        patient(async || (self.queue.backlog().await == Ok(0)).then_some(())).await;
    }

    /// How many rows name each of these ids.
    pub async fn rows_of(&self, ids: &[MessageId]) -> Vec<u64> {
        let counts = self.store.stored_ids(ids, Timestamp::from_micros(0)).await.unwrap();
        counts.into_iter().map(|(_, count)| count).collect()
    }

    /// Asserts that each of these ids is in exactly one row.
    #[track_caller]
    pub fn assert_once(counts: &[u64]) {
        let wrong: Vec<_> = counts.iter().enumerate().filter(|(_, count)| **count != 1).take(10).collect();
        assert!(wrong.is_empty(), "not stored exactly once (place, rows): {wrong:?} of {}", counts.len());
    }
}

impl Worker {
    /// As kill -9 would: all of its work stops wherever it is.
    pub async fn kill(self) {
        self.task.abort();
        // One whose database dies while it starts has ended by itself.
        if let Err(error) = self.task.await {
            assert!(error.is_cancelled(), "{error}");
        }
    }

    /// Asks it to drain and waits for its end.
    pub async fn drain(self) {
        self.shutdown.trigger();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker drains").unwrap().unwrap();
    }
}

/// Asks again and again until there is an answer.
pub async fn patient<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "nothing came within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn registry(folder: PathBuf) -> Registry {
    std::fs::create_dir_all(&folder).unwrap();
    let settings = RuntimeSettings { threads: 1, ..RuntimeSettings::new(Arc::new(|| Clock::system().now())) };
    Registry::open(Runtime::new(settings).unwrap(), folder, RegistrySettings::default()).unwrap()
}

pub fn entry(number: usize, log_data: &str) -> Entry {
    let log = Log {
        device_id: format!("device-{}", number % 7),
        log_level: Level::ALL[number % 5],
        message: format!("log number {number}"),
        log_data: RawObject::from_trusted(log_data),
        received_at: Clock::system().now(),
    };
    Entry { log, chain: "host-chain".to_owned(), traceparent: None, failure: None }
}
