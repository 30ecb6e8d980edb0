//! One host over real parts in a temporary folder: embedded queue, SQLite, an own plugin folder.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use sawpit_host::{Host, HostParts, HostSettings, Ops};
use sawpit_model::{Level, Log, MessageId, RawObject, Tally, Timestamp};
use sawpit_plugins::{Registry, RegistrySettings, Runtime, RuntimeSettings};
use sawpit_queue::{Cache, CacheSettings, Queue, QueueSettings};
use sawpit_service::{Clock, Health, Metrics, Shutdown, Tracer, ops};
use sawpit_store::{Batch, IndexSettings, Row, Store, StoreSettings};
use sawpit_testkit::TempFolder;
use serde_json::Value;
use tower::ServiceExt;

/// When the clock of every test stands.
pub const NOW: i64 = 1_795_000_000_123_456;

/// The cache of tests that want no other.
const MEMORY: &str = "memory:";

pub struct Hosted {
    pub router: Router,
    pub admin: Option<Router>,
    pub queue: Queue,
    pub store: Store,
    pub cache: Cache,
    pub clock: Clock,
    pub registry: Registry,
    pub shutdown: Shutdown,
    pub folder: TempFolder,
    next: AtomicU64,
}

/// An answer, with its body as JSON (null when it is none).
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

/// A host without plugins.
pub async fn host() -> Hosted {
    host_with(HostSettings::default()).await
}

pub async fn host_with(settings: HostSettings) -> Hosted {
    let queue_limit = settings.backlog_limit * 10;
    open(TempFolder::new("host"), settings, queue_limit).await
}

/// A host whose queue refuses appends at a limit that the host does not know of.
pub async fn host_on_queue_of(queue_limit: u64) -> Hosted {
    open(TempFolder::new("host"), HostSettings::default(), queue_limit).await
}

/// A host with some of the example plugins, each beside the text of its manifest.
pub async fn host_with_plugins(settings: HostSettings, plugins: &[(&str, &str)]) -> Hosted {
    let folder = TempFolder::new("host");
    let into = folder.join("plugins");
    std::fs::create_dir_all(&into).unwrap();
    for (name, manifest) in plugins {
        let wasm = sawpit_testkit::plugins_dir().join(name).with_extension("wasm");
        std::fs::write(into.join(name).with_extension("toml"), manifest).unwrap();
        std::fs::copy(wasm, into.join(name).with_extension("wasm")).unwrap();
    }
    open(folder, settings, 1_000_000).await
}

/// A host on a queue of the test's own making, such as a Redis that it shares with another.
pub async fn host_on_queue(queue: QueueSettings, settings: HostSettings) -> Hosted {
    start(TempFolder::new("host"), settings, queue, MEMORY).await
}

/// A host with this cache.
pub async fn host_on_cache(url: &str) -> Hosted {
    let folder = TempFolder::new("host");
    let queue = embedded(&folder, 1_000_000);
    start(folder, HostSettings::default(), queue, url).await
}

async fn open(folder: TempFolder, settings: HostSettings, queue_limit: u64) -> Hosted {
    let queue = embedded(&folder, queue_limit);
    start(folder, settings, queue, MEMORY).await
}

fn embedded(folder: &TempFolder, queue_limit: u64) -> QueueSettings {
    QueueSettings {
        url: folder.join("queue").display().to_string(),
        backlog_limit: queue_limit,
        block: Duration::from_millis(100),
        ..QueueSettings::default()
    }
}

async fn start(folder: TempFolder, settings: HostSettings, queue: QueueSettings, cache: &str) -> Hosted {
    let clock = Clock::manual(Timestamp::from_micros(NOW));
    let store = StoreSettings {
        url: format!("sqlite:{}", folder.join("logs.db").display()),
        // As a worker's: kept once a test notes it.
        index: IndexSettings { text: true, data: true, ..IndexSettings::default() },
        ..StoreSettings::default()
    };
    let queue = Queue::open(queue, time(&clock)).await.unwrap();
    let store = Store::open(store, clock.now()).await.unwrap();
    let shutdown = Shutdown::new();
    let registry = registry(&folder, &clock, &settings);
    let cache = Cache::open(cache, CacheSettings::default()).await.unwrap();
    let parts = HostParts {
        queue: queue.clone(),
        store: store.clone(),
        cache: cache.clone(),
        registry: registry.clone(),
        clock: clock.clone(),
        shutdown: shutdown.clone(),
        tracer: Tracer::off(),
        ops: Ops {
            health: ops::health_router(Health::new(Duration::from_secs(1))),
            metrics: ops::metrics_router(Metrics::install().unwrap()),
        },
        settings,
    };
    let routers = Host::routers(parts).unwrap();
    Hosted {
        router: routers.api,
        admin: routers.admin,
        queue,
        store,
        cache,
        clock,
        registry,
        shutdown,
        folder,
        next: AtomicU64::new(0),
    }
}

fn time(clock: &Clock) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

fn registry(folder: &TempFolder, clock: &Clock, settings: &HostSettings) -> Registry {
    let path = folder.join("plugins");
    std::fs::create_dir_all(&path).unwrap();
    let mut runtime = RuntimeSettings::new(time(clock));
    runtime.limits = settings.limits;
    Registry::open(Runtime::new(runtime).unwrap(), path, RegistrySettings::default()).unwrap()
}

impl Hosted {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        answer(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(json_post(path, body)).await
    }

    pub async fn log(&self, body: impl Into<Body>) -> Answer {
        self.post("/api/log", body).await
    }

    pub async fn batch(&self, body: impl Into<Body>) -> Answer {
        self.post("/api/logs/batch", body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn call(&self, method: Method, path: &str) -> Answer {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    /// Stores rows of a device as a worker would: message `n` was received `n` seconds after the epoch.
    pub async fn store_rows(&self, device_id: &str, numbers: std::ops::RangeInclusive<u64>, level: Level) {
        // No two messages have one id, also of different devices.
        let ids: Vec<MessageId> = numbers
            .map(|n| MessageId { ms: n * 1_000, seq: self.next.fetch_add(1, Ordering::Relaxed) })
            .collect();
        let rows = ids.iter().map(|id| row(device_id, *id, level)).collect();
        let lease = self.store.lease("test").await.unwrap();
        let batch = Batch { ids, rows, verdicts: Tally::default(), committed_at: self.clock.now() };
        self.store.commit(&lease, &batch).await.unwrap();
    }
}

fn row(device_id: &str, id: MessageId, log_level: Level) -> Row {
    let log = Log {
        device_id: device_id.to_owned(),
        log_level,
        message: format!("message {}", id.ms / 1_000),
        log_data: RawObject::default(),
        received_at: Timestamp::from_micros(i64::try_from(id.ms * 1_000).unwrap()),
    };
    Row { sources: vec![id], part: 0, log, chain: "test".to_owned() }
}

pub fn json_post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

pub async fn answer(response: axum::response::Response) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 64 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, text, json }
}

impl Answer {
    /// Checks that this is a whole problem of a kind, and gives it back.
    #[track_caller]
    pub fn problem(self, status: u16, kind: &str) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.json["type"], format!("urn:sawpit:problem:{kind}"), "{}", self.text);
        assert_eq!(self.json["status"], status);
        assert!(self.json["title"].as_str().is_some_and(|title| !title.is_empty()));
        assert!(self.json["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        assert!(self.headers.contains_key("x-request-id"));
        self
    }

    /// Checks that the problem names this field with a rule that contains a text.
    #[track_caller]
    pub fn field(self, field: &str, rule: &str) -> Self {
        let errors = self.json["errors"].as_array().expect("errors");
        let found = errors
            .iter()
            .any(|e| e["field"] == field && e["rule"].as_str().is_some_and(|r| r.contains(rule)));
        assert!(found, "no {field:?} with {rule:?} in {}", self.text);
        self
    }

    /// What `Retry-After` says, in seconds.
    #[track_caller]
    pub fn retry_after(&self) -> u64 {
        self.headers["retry-after"].to_str().unwrap().parse().unwrap()
    }

    #[track_caller]
    pub fn ok(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}
