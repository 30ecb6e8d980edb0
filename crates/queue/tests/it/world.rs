//! A queue to test, and messages for it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use sawpit_model::{Entry, Level, Log, MessageId, RawObject, Timestamp};
use sawpit_queue::{Clock, Consumer, Delivery, Queue, QueueSettings};
use sawpit_testkit::{Redis, RedisCluster, TempFolder};

pub struct World {
    pub settings: QueueSettings,
    pub server: Option<Redis>,
    pub cluster: Option<Arc<RedisCluster>>,
    _folder: TempFolder,
}

impl World {
    pub fn redis() -> Self {
        Self::with(&[])
    }

    /// A Redis with these settings.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let server = Redis::with(settings);
        Self::of(server.url(), Some(server), TempFolder::new("queue"))
    }

    /// A Redis with several streams.
    pub fn partitioned() -> Self {
        let mut world = Self::redis();
        world.settings.partitions = Some(4);
        world
    }

    pub fn embedded() -> Self {
        let folder = TempFolder::new("queue");
        Self::of(folder.join("q").display().to_string(), None, folder)
    }

    fn of(url: String, server: Option<Redis>, folder: TempFolder) -> Self {
        let (block, reclaim_idle) = (Duration::from_millis(400), Duration::from_millis(200));
        let settings = QueueSettings { url, block, reclaim_idle, ..QueueSettings::default() };
        Self { settings, server, cluster: None, _folder: folder }
    }

    /// Streams of its own in a cluster that worlds share which are there at the same time.
    pub fn cluster() -> Self {
        static SHARED: Mutex<Weak<RedisCluster>> = Mutex::new(Weak::new());
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = shared.upgrade().unwrap_or_else(|| Arc::new(RedisCluster::start()));
        *shared = Arc::downgrade(&cluster);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut world = Self::on(cluster);
        world.settings.stream = format!("logs:stream{number}");
        world.settings.dead = format!("logs:dead{number}");
        world
    }

    /// This cluster.
    pub fn on(cluster: Arc<RedisCluster>) -> Self {
        let mut world = Self::of(cluster.url(), None, TempFolder::new("queue"));
        world.settings.partitions = Some(6);
        world.cluster = Some(cluster);
        world
    }

    pub async fn open(&self) -> Queue {
        Queue::open(self.settings.clone(), clock()).await.expect("the queue opens")
    }
}

pub fn clock() -> Clock {
    Arc::new(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(now.as_micros() as i64)
    })
}

pub fn entry(number: usize) -> Entry {
    Entry {
        log: Log {
            device_id: format!("sensor-{number}"),
            log_level: Level::Info,
            message: format!("message {number} — ünïcode\n\t\"quoted\""),
            log_data: RawObject::from_trusted(format!("{{\"n\":{number}}}")),
            received_at: Timestamp::from_micros(1_760_000_000_123_456),
        },
        chain: "enrich@1.0.0#ab".to_owned(),
        traceparent: None,
        failure: None,
    }
}

pub fn entries(count: usize) -> Vec<Entry> {
    (0..count).map(entry).collect()
}

pub fn ids(deliveries: &[Delivery]) -> Vec<MessageId> {
    deliveries.iter().map(|delivery| delivery.id).collect()
}

/// Reads until `count` messages came.
pub async fn read_all(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let some = consumer.read().await.unwrap();
        assert!(!some.is_empty(), "only {} of {count} messages came", all.len());
        all.extend(some);
    }
    all
}

/// Reclaims until messages come, for five seconds at most.
pub async fn reclaim_some(consumer: &mut Consumer) -> sawpit_queue::Reclaimed {
    for _ in 0..50 {
        let reclaimed = consumer.reclaim().await.unwrap();
        if !reclaimed.deliveries.is_empty() {
            return reclaimed;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing was reclaimed");
}

pub fn distinct(ids: &[MessageId]) -> usize {
    ids.iter().collect::<BTreeSet<_>>().len()
}
