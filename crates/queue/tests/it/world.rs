//! A queue to test, and messages for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sawpit_model::{Entry, Level, Log, MessageId, RawObject, Timestamp};
use sawpit_queue::{Clock, Consumer, Delivery, Queue, QueueSettings};
use sawpit_testkit::{Redis, TempFolder};

pub struct World {
    pub settings: QueueSettings,
    pub server: Option<Redis>,
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

    pub fn embedded() -> Self {
        let folder = TempFolder::new("queue");
        Self::of(folder.join("q").display().to_string(), None, folder)
    }

    fn of(url: String, server: Option<Redis>, folder: TempFolder) -> Self {
        let (block, reclaim_idle) = (Duration::from_millis(400), Duration::from_millis(200));
        let settings = QueueSettings { url, block, reclaim_idle, ..QueueSettings::default() };
        Self { settings, server, _folder: folder }
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
