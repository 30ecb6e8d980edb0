//! What only Redis can do.

use std::time::{Duration, Instant};

use sawpit_queue::{AppendError, DeadReason, OpenError, Queue, QueueSettings};
use sawpit_testkit::Redis;

use crate::world::{World, clock, entries, entry, ids, read_all, reclaim_some};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comes_back_by_itself_after_a_restart() {
    let world = World::redis();
    let queue = world.open().await;
    let server = world.server.as_ref().unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    queue.producer().append(entry(1)).await.unwrap();
    server.stop();
    let mut refusals = 0;
    for _ in 0..20 {
        match queue.producer().append(entry(2)).await {
            Ok(_) => panic!("answered ok while Redis was down"),
            Err(AppendError::Refused { .. }) => refusals += 1,
            Err(AppendError::Unknown { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refusals > 0, "a refused connection is surely not an append");
    assert!(consumer.read().await.is_err());
    server.restart();
    let until = Instant::now() + Duration::from_secs(10);
    while queue.producer().append(entry(3)).await.is_err() {
        assert!(Instant::now() < until, "appends did not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut read = Vec::new();
    while read.len() < 2 {
        assert!(Instant::now() < until, "reads did not come back: {read:?}");
        match consumer.read().await {
            Ok(new) => read.extend(new),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    assert_eq!(read[0].body, Ok(entry(1)));
    assert_eq!(read[1].body, Ok(entry(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_leaves_it_unknown_in_time() {
    let mut world = World::redis();
    world.settings.append_timeout = Duration::from_millis(300);
    let queue = world.open().await;
    world.server.as_ref().unwrap().pause();
    let started = Instant::now();
    let appends: Vec<_> = (0..8)
        .map(|number| {
            let producer = queue.producer();
            tokio::spawn(async move { producer.append(entry(number)).await })
        })
        .collect();
    let mut unknown = 0;
    for append in appends {
        match append.await.unwrap() {
            Err(AppendError::Unknown { .. }) => unknown += 1,
            // The look at the backlog got no answer, so nothing was sent.
            Err(AppendError::Refused { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(unknown > 0, "what was sent and not answered may be there");
    world.server.as_ref().unwrap().resume();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(queue.backlog().await.unwrap() <= unknown, "refused, and there all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_memory_refuses() {
    let server = Redis::with(&[("maxmemory", "3mb"), ("maxmemory-policy", "noeviction")]);
    let settings = QueueSettings { url: server.url(), ..QueueSettings::default() };
    let queue = Queue::open(settings, clock()).await.unwrap();
    let mut big = entry(1);
    big.log.message = "x".repeat(100_000);
    let refused = loop {
        match queue.producer().append(big.clone()).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Refused { .. }), "{refused:?}");
    let before = queue.backlog().await.unwrap();
    let batch = queue.producer().append_batch(vec![big.clone(), big]).await;
    assert!(matches!(batch, Err(AppendError::Refused { .. })), "{batch:?}");
    assert_eq!(queue.backlog().await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_a_flush() {
    let world = World::redis();
    let queue = world.open().await;
    let mut consumer = queue.consumer("a").await.unwrap();
    consumer.reclaim().await.unwrap();
    world.server.as_ref().unwrap().command(&["FLUSHALL"]);
    // A worker that looks for the dead first must come back as well.
    consumer.reclaim().await.expect("reclaim makes the group anew, or finds nothing");
    queue.producer().append(entry(1)).await.unwrap();
    let mut read = consumer.read().await.unwrap();
    if read.is_empty() {
        read = consumer.read().await.unwrap();
    }
    assert_eq!(read.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_wrote_is_corrupt_and_can_be_buried() {
    let world = World::redis();
    let queue = world.open().await;
    world.server.as_ref().unwrap().command(&["XADD", "logs:stream", "*", "who", "knows"]);
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = consumer.read().await.unwrap();
    let corrupt = read[0].body.as_ref().unwrap_err();
    assert_eq!(corrupt.fields, [("who".to_owned(), "knows".to_owned())]);
    let why = DeadReason { reason: corrupt.why.clone(), plugin: None };
    consumer.settler().bury(read.into_iter().map(|one| (one, why.clone())).collect()).await.unwrap();
    let letters = queue.dead_list(None, 10).await.unwrap();
    assert_eq!(letters[0].fields, [("who".to_owned(), "knows".to_owned())]);
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_life_of_the_same_name_gets_its_own_at_once() {
    let mut world = World::redis();
    world.settings.reclaim_idle = Duration::from_secs(600);
    let given = {
        let queue = world.open().await;
        let given = queue.producer().append_batch(entries(250)).await.unwrap();
        let mut consumer = queue.consumer("a").await.unwrap();
        std::mem::forget(read_all(&mut consumer, 250).await);
        given
    };
    let mut consumer = world.open().await.consumer("a").await.unwrap();
    let mut again = Vec::new();
    // Several batches in flight: none is settled before the next is taken.
    for _ in 0..5 {
        let reclaimed = consumer.reclaim().await.unwrap();
        assert!(reclaimed.deliveries.iter().all(|one| one.redelivered && one.tries == 2));
        again.extend(reclaimed.deliveries);
    }
    assert_eq!(ids(&again), given);
}

/// A wakes from a long pause: what it dropped belongs to B by now, and B is at work on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_dropped_is_not_stolen_from_its_new_owner() {
    let world = World::redis();
    let (ours, theirs) = (world.open().await, world.open().await);
    ours.producer().append(entry(1)).await.unwrap();
    let mut a = ours.consumer("a").await.unwrap();
    assert!(a.reclaim().await.unwrap().deliveries.is_empty());
    drop(a.read().await.unwrap());
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut b = theirs.consumer("b").await.unwrap();
    let held = reclaim_some(&mut b).await;
    assert_eq!(held.former_owners, ["a"]);
    let stolen = a.reclaim().await.unwrap();
    assert!(stolen.deliveries.is_empty(), "taken from b at once, fencing {:?}", stolen.former_owners);
}

/// A stalls; B takes its message over and stores it; A wakes up and buries it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_has_settled_is_not_buried_as_well() {
    let world = World::redis();
    let (ours, theirs) = (world.open().await, world.open().await);
    ours.producer().append(entry(1)).await.unwrap();
    let mut a = ours.consumer("a").await.unwrap();
    let stalled = a.read().await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut b = theirs.consumer("b").await.unwrap();
    let taken = reclaim_some(&mut b).await.deliveries;
    b.settler().ack(taken).await.unwrap();
    let why = DeadReason { reason: "late".to_owned(), plugin: None };
    let _ = a.settler().bury(stalled.into_iter().map(|one| (one, why.clone())).collect()).await;
    assert!(ours.dead_list(None, 10).await.unwrap().is_empty(), "stored and buried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_counts_what_other_producers_appended() {
    let mut world = World::redis();
    world.settings.backlog_limit = 10;
    let (ours, theirs) = (world.open().await, world.open().await);
    ours.producer().append_batch(entries(10)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(theirs.producer().append(entry(1)).await, Err(AppendError::Full { limit: 10 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_read_does_not_delay_appends() {
    let mut world = World::redis();
    world.settings.block = Duration::from_secs(3);
    world.settings.connections = 1;
    let queue = world.open().await;
    let mut consumer = queue.consumer("a").await.unwrap();
    let reading = tokio::spawn(async move { consumer.read().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    queue.ping().await.unwrap();
    queue.producer().append(entry(1)).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    reading.await.unwrap().unwrap();
}

#[tokio::test]
async fn wrong_urls_are_told() {
    for url in ["redis+cluster://h:1", "rediss://h:1", "http://h", "redis://me:secret@h:port"] {
        let settings = QueueSettings { url: url.to_owned(), ..QueueSettings::default() };
        let error = Queue::open(settings, clock()).await.unwrap_err();
        assert!(matches!(error, OpenError::Url { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let settings = QueueSettings { url: "redis://127.0.0.1:1".to_owned(), ..QueueSettings::default() };
    let error = Queue::open(settings, clock()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}
