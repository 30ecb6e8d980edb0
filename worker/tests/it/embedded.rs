//! Everything in one process, on files.

use std::path::Path;

use sawpit_store::{Batch, LogQuery, Row};
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
            committed_at: sawpit_service::Clock::system().now(),
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
