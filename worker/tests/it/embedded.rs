//! Everything in one process, on files.

use std::path::Path;
use std::time::Duration;

use sawpit_model::Tally;
use sawpit_service::Clock;
use sawpit_store::{Batch, LogQuery, Row};
use sawpit_worker::WorkerSettings;
use tempfile::TempDir;

use crate::world::{World, patient};

async fn open(folder: &Path) -> World {
    let (queue, store) = (folder.join("queue"), folder.join("logs.db"));
    World::open(queue.to_str().unwrap(), &format!("sqlite:{}", store.display()), folder).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_log_is_stored_once_and_leaves_the_queue() {
    let folder = TempDir::new().unwrap();
    let world = open(folder.path()).await;
    let ids = world.append(1_000, &["{}", r#"{"a":1}"#]).await;
    let worker = world.worker("w1");
    world.emptied().await;
    worker.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
    let query = LogQuery { device_id: Some("device-0".to_owned()), limit: 1, ..LogQuery::default() };
    let page = world.store.query(&query).await.unwrap();
    assert_eq!(page.total.value(), 143);
    assert!(page.rows[0].chain.starts_with("host-chain"), "{:?}", page.rows[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_marks_the_cached_answers_of_its_devices_as_stale() {
    let folder = TempDir::new().unwrap();
    let world = open(folder.path()).await;
    let ids = world.append(3, &["{}"]).await;
    assert_eq!(world.cache.get("cache:gen:device-1").await, None);
    let worker = world.worker("w1");
    world.emptied().await;
    worker.drain().await;
    let mark = world.cache.get("cache:gen:device-1").await.unwrap();
    assert_eq!(mark, ids[1].to_string().as_bytes());
    assert_eq!(world.cache.get("cache:gen:device-6").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_lives_as_long_as_answers_are_cached() {
    let folder = TempDir::new().unwrap();
    let world = open(folder.path()).await;
    for (name, cache_ttl, stays) in
        [("w1", Duration::from_millis(200), false), ("w2", Duration::from_secs(300), true)]
    {
        world.append(1, &["{}"]).await;
        let worker = world.worker_with(WorkerSettings { cache_ttl, ..WorkerSettings::new(name) });
        world.emptied().await;
        worker.drain().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(world.cache.get("cache:gen:device-0").await.is_some(), stays, "{cache_ttl:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_and_not_acknowledged_is_not_stored_again() {
    let folder = TempDir::new().unwrap();
    let world = open(folder.path()).await;
    let ids = world.append(300, &["{}"]).await;
    {
        // A worker that dies after its commit, with a second batch read and not committed.
        let mut consumer = world.queue.consumer("dead").await.unwrap();
        let lease = world.store.lease("dead").await.unwrap();
        let (first, second) = (consumer.read().await.unwrap(), consumer.read().await.unwrap());
        assert!(!first.is_empty() && !second.is_empty());
        let rows = first.iter().map(|delivery| {
            let entry = delivery.body.clone().unwrap();
            Row { sources: vec![delivery.id], part: 0, log: entry.log, chain: entry.chain }
        });
        let batch = Batch {
            ids: first.iter().map(|delivery| delivery.id).collect(),
            rows: rows.collect(),
            verdicts: Tally::default(),
            committed_at: Clock::system().now(),
        };
        world.store.commit(&lease, &batch).await.unwrap();
    }
    drop(world);
    let world = open(folder.path()).await;
    let worker = world.worker("w2");
    world.emptied().await;
    worker.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_every_log_is_stored_once() {
    let folder = TempDir::new().unwrap();
    let mut world = open(folder.path()).await;
    let ids = world.append(3_000, &["{}"]).await;
    for life in 0..5 {
        let worker = world.worker(&format!("life-{life}"));
        let before = world.queue.backlog().await.unwrap();
        patient(async || {
            let now = world.queue.backlog().await.unwrap();
            (now == 0 || now + 200 <= before).then_some(())
        })
        .await;
        worker.kill().await;
        drop(world);
        world = open(folder.path()).await;
    }
    let worker = world.worker("last");
    world.emptied().await;
    worker.drain().await;
    World::assert_once(&world.rows_of(&ids).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_settles_what_is_in_hand_and_leaves_the_rest_in_the_queue() {
    let folder = TempDir::new().unwrap();
    let world = open(folder.path()).await;
    let ids = world.append(2_000, &["{}"]).await;
    let worker = world.worker("w1");
    patient(async || (world.queue.backlog().await.unwrap() < 2_000).then_some(())).await;
    worker.drain().await;
    let stored: u64 = world.rows_of(&ids).await.iter().sum();
    let left = world.queue.backlog().await.unwrap();
    assert!(stored >= 100, "{stored}");
    assert_eq!(stored + left, 2_000, "what is stored is acknowledged, and nothing else is");
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_the_retention_is_deleted() {
    let folder = TempDir::new().unwrap();
    let world = open(folder.path()).await;
    world.store_received(&[0, 47, 49, 1_000], Clock::system().now()).await;
    let keeps_all = world.worker("w1");
    tokio::time::sleep(Duration::from_millis(300)).await;
    keeps_all.drain().await;
    assert_eq!(world.messages().await.len(), 4);
    let forgets = world.worker_with(WorkerSettings { retention: Some(2 * DAY), ..WorkerSettings::new("w2") });
    patient(async || (world.messages().await == ["0 hours old", "47 hours old"]).then_some(())).await;
    forgets.drain().await;
}

/// A clock that steps while the worker runs, and one that is ahead when it starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_forward_deletes_nothing_that_is_not_old() {
    let folder = TempDir::new().unwrap();
    let world = open(folder.path()).await;
    let now = Clock::system().now();
    let kept = ["1 hours old", "47 hours old"];
    world.store_received(&[1, 47, 49], now).await;
    let settings = |name: &str| {
        let maintain_every = Duration::from_millis(50);
        WorkerSettings { retention: Some(2 * DAY), maintain_every, ..WorkerSettings::new(name) }
    };
    let clock = Clock::manual(now);
    let stepped = world.worker_at(settings("stepped"), clock.clone());
    patient(async || (world.messages().await == kept).then_some(())).await;
    clock.advance(400 * DAY);
    // What is too old by the time that has passed goes on going: the guard does not stop the upkeep.
    world.store_received(&[50], now).await;
    patient(async || (world.messages().await == kept).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stepped.drain().await;
    assert_eq!(world.messages().await, kept);
    let wrong = world.worker_at(settings("wrong"), clock);
    tokio::time::sleep(Duration::from_millis(500)).await;
    wrong.drain().await;
    assert_eq!(world.messages().await, kept);
}
