//! What only Redis can do.

use std::time::{Duration, Instant};

use sawpit_queue::{
    AppendError, Cache, CacheSettings, DeadReason, OpenError, Queue, QueueError, QueueSettings, Stranger,
};
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

/// What waits for something that is not its fault is kept, and not counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_not_taken_over() {
    let world = World::redis();
    let queue = world.open().await;
    queue.producer().append_batch(entries(3)).await.unwrap();
    let (mut a, mut b) = (queue.consumer("a").await.unwrap(), queue.consumer("b").await.unwrap());
    let (held, keeper) = (a.read().await.unwrap(), a.keeper());
    for _ in 0..8 {
        tokio::time::sleep(world.settings.reclaim_idle / 4).await;
        keeper.keep().await.unwrap();
        assert!(b.reclaim().await.unwrap().deliveries.is_empty());
    }
    // Nobody keeps them any more.
    let taken = reclaim_some(&mut b).await.deliveries;
    assert_eq!((taken.len(), taken[0].tries), (3, 2));
    // They are another's now, and stay so.
    keeper.keep().await.unwrap();
    tokio::time::sleep(world.settings.reclaim_idle * 2).await;
    assert_eq!(queue.consumer("c").await.unwrap().silent().await.unwrap().owners(), ["b"]);
    drop(held);
}

/// Nothing is read from a server before the owner of the consumer has let it in, again after each restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_consumer_reads_from_whom_it_was_let_in_to() {
    let world = World::redis();
    let queue = world.open().await;
    queue.producer().append_batch(entries(3)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap().guarded();
    assert!(consumer.read().await.is_err());
    assert!(consumer.reclaim().await.is_err());
    let first = consumer.strangers().await.unwrap();
    assert_eq!(first.iter().map(Stranger::stream).collect::<Vec<_>>(), ["logs:stream"]);
    let incarnation = first[0].incarnation().to_owned();
    consumer.let_in(first);
    assert!(consumer.strangers().await.unwrap().is_empty());
    assert_eq!(consumer.read().await.unwrap().len(), 3);
    // The same life of the same server, over another connection.
    consumer.disconnect();
    let same = consumer.strangers().await.unwrap();
    assert_eq!(same[0].incarnation(), incarnation);
    consumer.let_in(same.clone());
    world.server.as_ref().unwrap().restart();
    assert!(consumer.read().await.is_err());
    let other = consumer.strangers().await.unwrap();
    assert_ne!(other[0].incarnation(), incarnation);
    consumer.let_in(same);
    assert!(consumer.read().await.is_err(), "the one before was let in, not this one");
    consumer.let_in(other);
    assert!(consumer.read().await.unwrap().is_empty());
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

/// SIGKILL under load: no append hangs, and each fails or is there; nothing has to be opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_noticed_in_time_and_found_again() {
    let world = World::with(&[("appendfsync", "always")]);
    let queue = world.open().await;
    let server = world.server.as_ref().unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (producer, limit) = (queue.producer(), world.settings.append_timeout * 2);
            tokio::spawn(async move {
                let mut answered = Vec::new();
                loop {
                    let started = Instant::now();
                    let appended = producer.append(entry(number)).await;
                    assert!(started.elapsed() < limit, "{:?}: {appended:?}", started.elapsed());
                    match appended {
                        Ok(id) => answered.push(id),
                        Err(AppendError::Refused { .. } | AppendError::Unknown { .. }) => return answered,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill();
    let mut answered = Vec::new();
    for task in tasks {
        answered.extend(task.await.unwrap());
    }
    assert!(!answered.is_empty());
    assert!(queue.ping().await.is_err());
    server.restart();
    let until = Instant::now() + Duration::from_secs(10);
    while queue.producer().append(entry(3)).await.is_err() {
        assert!(Instant::now() < until, "appends did not come back");
    }
    let mut there = Vec::new();
    while !answered.iter().all(|id| there.contains(id)) {
        assert!(Instant::now() < until, "answered, and lost");
        there.extend(ids(&consumer.read().await.unwrap_or_default()));
    }
}

/// A silent server, again and again, also while the connections are being made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_append_outlasts_its_time_out() {
    let mut world = World::redis();
    world.settings.append_timeout = Duration::from_millis(600);
    world.settings.connections = 1;
    let queue = world.open().await;
    let server = world.server.as_ref().unwrap();
    let appends = async |what: &str| {
        for number in 0..2 {
            let started = Instant::now();
            let appended = queue.producer().append(entry(number)).await;
            let pinged = queue.ping().await;
            assert!(pinged.is_err());
            let refused = Err(AppendError::Full { limit: world.settings.backlog_limit });
            assert!(appended.is_err() && appended != refused, "{what}: {appended:?}");
            // Each of the two has its time, and the machine may be busy.
            assert!(started.elapsed() < Duration::from_millis(1_900), "{what}: {:?}", started.elapsed());
        }
    };
    server.pause();
    appends("paused").await;
    // The old connection ends; who listens again takes the new one and says nothing.
    server.kill();
    let _listening = std::net::TcpListener::bind(("127.0.0.1", server.port())).unwrap();
    appends("replaced by a silent one").await;
}

/// Every page that Redis lists first is in the worker's own hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_idle_behind_pages_in_hand_is_found() {
    let mut world = World::redis();
    world.settings.batch = 10;
    let (ours, theirs) = (world.open().await, world.open().await);
    let given = ours.producer().append_batch(entries(35)).await.unwrap();
    let mut busy = ours.consumer("busy").await.unwrap();
    let held = read_all(&mut busy, 30).await;
    let mut dead = theirs.consumer("dead").await.unwrap();
    std::mem::forget(dead.read().await.unwrap());
    tokio::time::sleep(Duration::from_millis(400)).await;
    let reclaimed = reclaim_some(&mut busy).await;
    assert_eq!(ids(&reclaimed.deliveries), given[30..]);
    assert_eq!(reclaimed.former_owners, ["dead"]);
    drop(held);
}

/// Between looking and taking the owners are fenced; who dies there has changed nothing in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_for_the_silent_names_them_and_takes_nothing() {
    let world = World::redis();
    let (ours, theirs) = (world.open().await, world.open().await);
    let given = ours.producer().append_batch(entries(3)).await.unwrap();
    let mut stalled = ours.consumer("stalled").await.unwrap();
    let held = read_all(&mut stalled, 3).await;
    tokio::time::sleep(world.settings.reclaim_idle * 2).await;
    for name in ["killed between", "heir"] {
        let mut looks = theirs.consumer(name).await.unwrap();
        let silent = looks.silent().await.unwrap();
        assert_eq!(silent.owners(), ["stalled"], "{name}");
        if name == "heir" {
            assert_eq!(ids(&looks.take_over(silent).await.unwrap().deliveries), given);
        }
    }
    drop(held);
}

/// What was found long ago may have another owner by now, whom nobody fenced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_long_ago_is_not_taken() {
    let world = World::redis();
    let (ours, theirs) = (world.open().await, world.open().await);
    ours.producer().append(entry(1)).await.unwrap();
    let mut first = ours.consumer("first").await.unwrap();
    let held = read_all(&mut first, 1).await;
    let mut slow = theirs.consumer("slow").await.unwrap();
    assert!(slow.reclaim().await.unwrap().deliveries.is_empty());
    tokio::time::sleep(world.settings.reclaim_idle * 2).await;
    let silent = slow.silent().await.unwrap();
    assert_eq!(silent.owners(), ["first"]);
    let mut second = world.open().await.consumer("second").await.unwrap();
    let taken = reclaim_some(&mut second).await.deliveries;
    tokio::time::sleep(world.settings.reclaim_idle * 2).await;
    assert!(slow.take_over(silent).await.unwrap().deliveries.is_empty(), "taken from one who was not fenced");
    drop((held, taken));
}

/// It has another owner since, who is silent as well by now, and whom nobody fenced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_hands_since_it_was_found_is_not_taken() {
    let mut world = World::redis();
    world.settings.reclaim_idle = Duration::from_secs(60);
    let queue = world.open().await;
    let id = queue.producer().append(entry(1)).await.unwrap().to_string();
    let mut first = queue.consumer("first").await.unwrap();
    let held = read_all(&mut first, 1).await;
    let mut heir = world.open().await.consumer("heir").await.unwrap();
    let grown_old = |owner: &str| {
        let server = world.server.as_ref().unwrap();
        let claim = ["XCLAIM", "logs:stream", "log_workers", owner, "0", &id, "IDLE", "61000"];
        assert!(server.command(&claim).contains("device_id"));
    };
    grown_old("first");
    let silent = heir.silent().await.unwrap();
    assert_eq!(silent.owners(), ["first"]);
    grown_old("second");
    assert!(heir.take_over(silent).await.unwrap().deliveries.is_empty(), "taken from one who was not fenced");
    let silent = heir.silent().await.unwrap();
    assert_eq!(silent.owners(), ["second"]);
    assert_eq!(heir.take_over(silent).await.unwrap().deliveries.len(), 1);
    drop(held);
}

#[tokio::test]
async fn no_password_is_shown() {
    let url = "redis://me:s3cret@127.0.0.1:1/0".to_owned();
    let settings = QueueSettings { url: url.clone(), ..QueueSettings::default() };
    assert!(!format!("{settings:?}").contains("s3cret"));
    let error = Queue::open(settings, clock()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
    let world = World::redis();
    world.server.as_ref().unwrap().command(&["CONFIG", "SET", "requirepass", "other"]);
    let away = world.settings.url.replace("redis://", "redis://:s3cret@");
    let settings = QueueSettings { url: away, ..QueueSettings::default() };
    let error = Queue::open(settings, clock()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_opens_and_is_not_shown_by_what_it_opened() {
    let world = World::redis();
    world.server.as_ref().unwrap().command(&["CONFIG", "SET", "requirepass", "s3cret"]);
    let url = world.settings.url.replace("redis://", "redis://:s3cret@");
    let queue =
        Queue::open(QueueSettings { url: url.clone(), ..world.settings.clone() }, clock()).await.unwrap();
    let (producer, consumer) = (queue.producer(), queue.consumer("a").await.unwrap());
    let cache = Cache::open(&url, CacheSettings::default()).await.unwrap();
    let shown = format!("{queue:?} {producer:?} {consumer:?} {:?} {cache:?}", consumer.settler());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn wrong_urls_are_told() {
    for url in [
        "redis+cluster://h:x",
        "redis+cluster://h/3",
        "redis+other://h",
        "http://h",
        "redis://me:secret@h:port",
        "redis:me:secret@h",
    ] {
        let settings = QueueSettings { url: url.to_owned(), ..QueueSettings::default() };
        let error = Queue::open(settings, clock()).await.unwrap_err();
        assert!(matches!(error, OpenError::Url { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let settings = QueueSettings { url: "redis://127.0.0.1:1".to_owned(), ..QueueSettings::default() };
    let error = Queue::open(settings, clock()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
}

/// A script can hand over some 8,000 texts at most, and what cannot be buried would come for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_entry_of_very_many_fields_can_be_buried() {
    let world = World::redis();
    let queue = world.open().await;
    let fields: Vec<String> = (0..5_000).flat_map(|number| [format!("f{number}"), "v".to_owned()]).collect();
    let mut command = vec!["XADD", "logs:stream", "*"];
    command.extend(fields.iter().map(String::as_str));
    world.server.as_ref().unwrap().command(&command);
    queue.producer().append(entry(1)).await.unwrap();
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = read_all(&mut consumer, 2).await;
    let why = DeadReason { reason: "corrupt".to_owned(), plugin: None };
    consumer.settler().bury(read.into_iter().map(|one| (one, why.clone())).collect()).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 0);
    let letters = queue.dead_list(None, 10).await.unwrap();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].fields[0], ("f0".to_owned(), "v".to_owned()));
    assert_eq!(letters[0].fields.last().unwrap(), &("left out".to_owned(), "4000 fields".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_holds_no_log_is_not_put_back() {
    let world = World::redis();
    let queue = world.open().await;
    world.server.as_ref().unwrap().command(&["XADD", "logs:stream", "*", "who", "knows"]);
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = consumer.read().await.unwrap();
    let why = DeadReason { reason: "corrupt".to_owned(), plugin: None };
    consumer.settler().bury(read.into_iter().map(|one| (one, why.clone())).collect()).await.unwrap();
    let id = queue.dead_list(None, 1).await.unwrap()[0].id;
    let error = queue.dead_replay(id).await.unwrap_err();
    assert!(matches!(error, QueueError::NotALog { .. }), "{error}");
    assert_eq!(queue.backlog().await.unwrap(), 0);
    assert_eq!(queue.dead_show(id).await.unwrap().id, id, "it is kept");
}

/// What a consumer has in hand keeps it, and so does asking; the rest goes, and is there again when it asks.
async fn consumers_are_forgotten_when_they_have_nothing(world: World) {
    let queue = world.open().await;
    let idle = Duration::from_millis(600);
    for entry in entries(40) {
        queue.producer().append(entry).await.unwrap();
    }
    let mut dead = queue.consumer("dead").await.unwrap();
    let mut holder = queue.consumer("holder").await.unwrap();
    let settled = read_all(&mut dead, 40).await;
    dead.settler().ack(settled).await.unwrap();
    for entry in entries(40) {
        queue.producer().append(entry).await.unwrap();
    }
    let held = read_all(&mut holder, 40).await;
    assert_eq!(queue.forget_consumers(idle).await.unwrap(), 0, "none is idle long enough");
    tokio::time::sleep(idle).await;
    let mut asks = queue.consumer("asks").await.unwrap();
    assert!(asks.read().await.unwrap().is_empty());
    assert!(queue.forget_consumers(idle).await.unwrap() >= 1);
    let names = consumers(&world);
    assert!(!names.contains("dead") && names.contains("holder"), "{names}");
    assert_eq!(queue.forget_consumers(idle).await.unwrap(), 0);
    holder.settler().ack(held).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 0);
    queue.producer().append(entry(7)).await.unwrap();
    assert_eq!(read_all(&mut dead, 1).await.len(), 1);
}

/// What Redis says of the consumers of all partitions.
fn consumers(world: &World) -> String {
    let server = world.server.as_ref().unwrap();
    let streams = server.command(&["KEYS", "logs:stream*"]);
    let streams = streams.lines().filter(|key| !key.ends_with(":partitions"));
    streams.map(|stream| server.command(&["XINFO", "CONSUMERS", stream, "log_workers"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_consumers_are_forgotten() {
    consumers_are_forgotten_when_they_have_nothing(World::redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_consumers_of_partitions_are_forgotten() {
    consumers_are_forgotten_when_they_have_nothing(World::partitioned()).await;
}

#[tokio::test]
async fn a_stream_that_nobody_read_has_no_consumers_to_forget() {
    let world = World::redis();
    let queue = world.open().await;
    assert_eq!(queue.forget_consumers(Duration::ZERO).await.unwrap(), 0);
}

/// A reader that waits when it is forgotten is given what comes, and it is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_forgotten_while_it_waits_goes_on() {
    let mut world = World::redis();
    world.settings.block = Duration::from_secs(5);
    let queue = world.open().await;
    let mut waits = queue.consumer("waits").await.unwrap();
    queue.producer().append(entry(1)).await.unwrap();
    let first = read_all(&mut waits, 1).await;
    waits.settler().ack(first).await.unwrap();
    let reading = tokio::spawn(async move {
        let read = waits.read().await.unwrap();
        (waits, read)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(queue.forget_consumers(Duration::ZERO).await.unwrap(), 1);
    let id = queue.producer().append(entry(2)).await.unwrap();
    let (waits, read) = reading.await.unwrap();
    assert_eq!(ids(&read), [id]);
    let names = consumers(&world);
    assert!(names.contains("waits"), "{names}");
    waits.settler().ack(read).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

/// Of what is appended while the server is silent a connection keeps only a few in memory: the rest is not sent, also not
/// later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_makes_no_more_than_a_few_appends_wait_in_memory() {
    // WAITING_COMMANDS, and what the sockets of both ends hold.
    const WAITING: u64 = 16 + 12;
    let mut world = World::redis();
    world.settings.append_timeout = Duration::from_millis(500);
    world.settings.connections = 1;
    let queue = world.open().await;
    queue.producer().append(entry(0)).await.unwrap();
    let server = world.server.as_ref().unwrap();
    server.pause();
    let mut large = entry(1);
    large.log.message = "x".repeat(1 << 20);
    let appends: Vec<_> = (0..80)
        .map(|_| {
            let (producer, large) = (queue.producer(), large.clone());
            tokio::spawn(async move { producer.append(large).await })
        })
        .collect();
    for append in appends {
        assert!(append.await.unwrap().is_err());
    }
    server.resume();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let came: u64 = server.command(&["XLEN", "logs:stream"]).trim_start_matches(':').parse().unwrap();
    assert!(came > 1, "nothing was sent");
    assert!(came <= 1 + WAITING, "{came} were kept");
}
