//! A disk that fills, as a limit on the size of this process's files: so this is a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sawpit_model::{Entry, Level, Log, MessageId, RawObject, Timestamp};
use sawpit_queue::{AppendError, Clock, Consumer, Once, OnceKey, Queue, QueueSettings};
use sawpit_testkit::TempFolder;
use tokio::signal::unix::{SignalKind, signal};

/// Where the disk ends.
const DISK: u64 = 12 << 20;
const SOON: Duration = Duration::from_secs(60);
/// `SIGXFSZ`, which a write beyond the limit brings on Linux, beside its error.
const FILE_SIZE_SIGNAL: i32 = 25;

fn clock() -> Clock {
    Arc::new(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(now.as_micros() as i64)
    })
}

fn entries(count: usize) -> Vec<Entry> {
    let log = Log {
        device_id: "d".to_owned(),
        log_level: Level::Info,
        message: "x".repeat(10_000),
        log_data: RawObject::from_trusted("{}".to_owned()),
        received_at: Timestamp::from_micros(1_760_000_000_123_456),
    };
    vec![Entry { log, chain: String::new(), traceparent: None, failure: None }; count]
}

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

/// Appends until nothing more is taken; the ids that were answered.
async fn fill(queue: &Queue) -> (Vec<MessageId>, AppendError) {
    let mut given = Vec::new();
    loop {
        match queue.producer().append_batch(entries(20)).await {
            Ok(ids) => given.extend(ids),
            Err(error) => return (given, error),
        }
    }
}

async fn until_ok<T, E: std::fmt::Debug>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < deadline, "still {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All that is there, settled.
async fn take_all(consumer: &mut Consumer) -> Vec<MessageId> {
    let mut taken = Vec::new();
    let mut empty = 0;
    while empty < 3 {
        let read = match consumer.read().await {
            Ok(new) if new.is_empty() => consumer.reclaim().await.map(|back| back.deliveries),
            new => new,
        };
        let Ok(read) = read else {
            // The file is being opened anew.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        empty += usize::from(read.is_empty());
        let ids: Vec<MessageId> = read.iter().map(|one| one.id).collect();
        if consumer.settler().ack(read).await.is_ok() {
            taken.extend(ids);
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_full_goes_on_without_a_restart() {
    let _not_killed_by = signal(SignalKind::from_raw(FILE_SIZE_SIGNAL)).unwrap();
    let folder = TempFolder::new("full");
    let settings = QueueSettings {
        url: folder.path().display().to_string(),
        block: Duration::from_millis(200),
        ..QueueSettings::default()
    };
    let queue = Queue::open(settings.clone(), clock()).await.unwrap();
    let key = OnceKey { key: "k".to_owned(), fingerprint: [1; 16] };
    let mut answered = Vec::new();
    let mut unknown = 0;
    for round in 0..2 {
        limit(Some(DISK));
        let (given, error) = fill(&queue).await;
        assert!(round > 0 || given.len() > 100, "only {} were taken", given.len());
        answered.extend(given);
        assert!(matches!(error, AppendError::Unknown { .. } | AppendError::Refused { .. }), "{error:?}");
        unknown += 20;
        assert!(queue.ping().await.is_err(), "readiness shows it");
        // Refused, again and again, and counted as room that is free again.
        for _ in 0..50 {
            assert!(queue.producer().append_batch(entries(20)).await.is_err());
            unknown += 20;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let once = queue.producer().append_once(&key, Vec::new(), entries(20)).await;
        assert!(round > 0 || once.is_err(), "{once:?}");
        limit(None);
        answered.extend(until_ok(async || queue.producer().append_batch(entries(20)).await).await);
        until_ok(async || queue.ping().await).await;
        match until_ok(async || queue.producer().append_once(&key, Vec::new(), entries(20)).await).await {
            Once::First(ids) => answered.extend(ids),
            Once::Known(known) => assert!(round > 0, "{known:?}"),
        }
    }
    assert!(answered.is_sorted_by(|a, b| a < b), "no id is given twice");
    let waiting = queue.backlog().await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let there = take_all(&mut consumer).await;
    let distinct: BTreeSet<_> = there.iter().copied().collect();
    assert_eq!((there.len() as u64, distinct.len()), (waiting, there.len()));
    let lost: Vec<_> = answered.iter().filter(|id| !distinct.contains(id)).collect();
    assert!(lost.is_empty(), "{} answered and lost", lost.len());
    assert!(there.len() <= answered.len() + unknown, "{} there", there.len());
    assert_eq!(queue.backlog().await.unwrap(), 0);

    // Full while the worker acknowledges: that needs room, too, and comes through in the end.
    let given = until_ok(async || queue.producer().append_batch(entries(400)).await).await;
    limit(Some(DISK));
    let (more, _) = fill(&queue).await;
    let taken = tokio::spawn(async move { take_all(&mut consumer).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    limit(None);
    let taken: BTreeSet<_> = taken.await.unwrap().into_iter().collect();
    assert!(given.iter().chain(&more).all(|id| taken.contains(id)), "answered and lost");
    drop(queue);
    let queue = until_ok(async || Queue::open(settings.clone(), clock()).await).await;
    assert_eq!(queue.backlog().await.unwrap(), 0);
}
