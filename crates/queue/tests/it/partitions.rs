//! Several streams in the place of one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sawpit_model::{Entry, MessageId};
use sawpit_queue::{DeadReason, Queue, QueueError};

use crate::world::{World, distinct, entries, entry, ids, read_all};

fn of_device(device: usize, number: usize) -> Entry {
    let mut one = entry(number);
    one.log.device_id = format!("device-{device}");
    one
}

/// The ids in a stream, oldest first.
fn stream(world: &World, name: &str) -> Vec<MessageId> {
    let lines = world.server.as_ref().unwrap().command(&["XRANGE", name, "-", "+"]);
    lines.lines().filter_map(|line| line.parse().ok()).collect()
}

async fn with(world: &mut World, partitions: Option<u16>) -> Queue {
    world.settings.partitions = partitions;
    world.open().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_has_one_stream_and_its_order_and_devices_are_spread() {
    let world = World::partitioned();
    let queue = world.open().await;
    let mut given: BTreeMap<usize, Vec<MessageId>> = BTreeMap::new();
    for number in 0..200 {
        let id = queue.producer().append(of_device(number % 20, number)).await.unwrap();
        given.entry(number % 20).or_default().push(id);
    }
    let streams: Vec<_> = (0..4).map(|part| stream(&world, &format!("logs:stream:{{{part}}}"))).collect();
    assert!(streams.iter().all(|ids| !ids.is_empty()));
    assert!(stream(&world, "logs:stream").is_empty());
    for ids in given.values() {
        let whole = streams.iter().filter(|stream| ids.iter().all(|id| stream.contains(id))).count();
        assert_eq!(whole, 1);
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}

/// Many at once, so that several share a microsecond, singly and in batches, beside a host with one partition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_id_is_given_twice_and_each_tells_its_partition() {
    let mut world = World::redis();
    let plain = with(&mut world, Some(1)).await;
    let queue = with(&mut world, Some(7)).await;
    let tasks: Vec<_> = (0..40)
        .map(|device| {
            let (producer, plain) = (queue.producer(), plain.producer());
            tokio::spawn(async move {
                let mut given = Vec::new();
                for number in 0..30 {
                    given.push(producer.append(of_device(device, number)).await.unwrap());
                    given.push(plain.append(of_device(device, number)).await.unwrap());
                    given.extend(producer.append_batch(vec![of_device(device, number); 5]).await.unwrap());
                }
                given
            })
        })
        .collect();
    let mut given = Vec::new();
    for task in tasks {
        given.extend(task.await.unwrap());
    }
    assert_eq!(given.len(), 40 * 30 * 7);
    assert_eq!(distinct(&given), given.len());
    for part in 0..7 {
        let ids = stream(&world, &format!("logs:stream:{{{part}}}"));
        assert!(ids.iter().all(|id| id.seq >= 1 << 20 && id.seq % 1_024 == part), "{part}: {ids:?}");
    }
    assert!(stream(&world, "logs:stream").iter().all(|id| id.seq < 1 << 20));
}

/// A clock that was set back, or a stream that ran ahead of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ahead_of_the_clock_goes_on_with_ids_of_its_own() {
    let mut world = World::redis();
    let queue = with(&mut world, Some(2)).await;
    for last in ["9000000000000-0", "9000000000001-1048577", "9000000000002-5000000"] {
        for part in ["logs:stream:{0}", "logs:stream:{1}"] {
            world.server.as_ref().unwrap().command(&["XADD", part, last, "a", "b"]);
        }
        let last: MessageId = last.parse().unwrap();
        let mut given = Vec::new();
        for device in 0..20 {
            let producer = queue.producer();
            given.extend(
                producer.append_batch(vec![of_device(device, 1), of_device(device, 2)]).await.unwrap(),
            );
        }
        assert_eq!(distinct(&given), 40);
        assert!(given.iter().all(|id| *id > last && id.ms == last.ms && id.seq % 1_024 < 2), "{given:?}");
        assert!(given.iter().any(|id| id.seq % 1_024 == 0) && given.iter().any(|id| id.seq % 1_024 == 1));
    }
}

/// Whoever reads, whatever count it was started with, drains what others left in other counts' streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_may_be_raised_and_lowered() {
    let mut world = World::redis();
    let mut given = BTreeSet::new();
    for count in [1, 5, 2, 1] {
        let queue = with(&mut world, Some(count)).await;
        for number in 0..40 {
            given.insert(queue.producer().append(entry(number)).await.unwrap());
        }
    }
    for count in [Some(1), Some(2), None] {
        let queue = with(&mut world, count).await;
        assert_eq!(queue.backlog().await.unwrap(), 160, "{count:?}");
    }
    let queue = with(&mut world, Some(1)).await;
    let mut consumer = queue.consumer("a").await.unwrap();
    let read = read_all(&mut consumer, 160).await;
    assert_eq!(ids(&read).into_iter().collect::<BTreeSet<_>>(), given);
    consumer.settler().ack(read).await.unwrap();
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_worker_notices_that_the_count_was_raised() {
    let mut world = World::redis();
    let old = with(&mut world, Some(1)).await;
    let mut consumer = old.consumer("a").await.unwrap();
    let new = with(&mut world, Some(3)).await;
    let given: BTreeSet<_> =
        [new.producer().append(entry(1)).await.unwrap(), new.producer().append(entry(2)).await.unwrap()]
            .into();
    let mut found = Vec::new();
    for _ in 0..20 {
        found.extend(consumer.read().await.unwrap());
        if found.len() == 2 {
            break;
        }
    }
    assert_eq!(ids(&found).into_iter().collect::<BTreeSet<_>>(), given);
    assert_eq!(old.backlog().await.unwrap(), 2);
}

/// Workers come and go, and each partition is read by who is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_come_and_go_leave_no_partition_unread() {
    let world = World::partitioned();
    let queue = world.open().await;
    let (mut given, mut found) = (BTreeSet::new(), BTreeSet::new());
    let mut append = async |from: usize| {
        for number in from..from + 100 {
            given.insert(queue.producer().append(of_device(number, number)).await.unwrap());
        }
    };
    let mut read = async |names: &[&str]| {
        for name in names {
            let mut consumer = world.open().await.consumer(name).await.unwrap();
            let read = read_all(&mut consumer, 100 / names.len()).await;
            found.extend(ids(&read));
            consumer.settler().ack(read).await.unwrap();
        }
    };
    append(0).await;
    read(&["one"]).await;
    append(100).await;
    read(&["one"]).await;
    append(200).await;
    read(&["three"]).await;
    assert_eq!(found, given);
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

/// A full partition fills a batch by itself, beside one that has little.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_busy_partition_fills_a_batch_and_does_not_hide_the_others() {
    let mut world = World::partitioned();
    world.settings.batch = 20;
    let queue = world.open().await;
    queue.producer().append_batch(vec![of_device(1, 1); 200]).await.unwrap();
    let mut lone = Vec::new();
    for device in 0..8 {
        lone.push(queue.producer().append(of_device(device, 2)).await.unwrap());
    }
    let mut consumer = queue.consumer("a").await.unwrap();
    let first = consumer.read().await.unwrap();
    assert_eq!(first.len(), 20);
    let others = lone.iter().filter(|id| ids(&first).contains(id)).count();
    assert!(others >= 3, "the other partitions wait behind the full one: {others}");
    drop(first);
}

/// A count beyond the batch's size: no read returns more than a batch, and nothing starves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_partitions_than_a_batch_holds() {
    let mut world = World::redis();
    world.settings.batch = 10;
    let queue = with(&mut world, Some(64)).await;
    let mut given = BTreeSet::new();
    for device in 0..150 {
        given.insert(queue.producer().append(of_device(device, device)).await.unwrap());
    }
    let mut consumer = queue.consumer("a").await.unwrap();
    let mut found = Vec::new();
    while found.len() < 150 {
        let some = consumer.read().await.unwrap();
        assert!((1..=10).contains(&some.len()), "{} of {} in one read", some.len(), found.len());
        found.extend(some);
    }
    assert_eq!(ids(&found).into_iter().collect::<BTreeSet<_>>(), given);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_of_all_partitions_are_listed_shown_replayed_and_purged_by_who_only_looks() {
    let mut world = World::redis();
    let queue = with(&mut world, Some(3)).await;
    let mut consumer = queue.consumer("a").await.unwrap();
    for device in 0..12 {
        queue.producer().append(of_device(device, device)).await.unwrap();
    }
    let why = DeadReason { reason: "no".to_owned(), plugin: None };
    let read = read_all(&mut consumer, 12).await;
    consumer.settler().bury(read.into_iter().map(|one| (one, why.clone())).collect()).await.unwrap();
    let looks = with(&mut world, None).await;
    assert_eq!(looks.dead_count().await.unwrap(), 12);
    let letters = looks.dead_list(None, 5).await.unwrap();
    let more = looks.dead_list(Some(letters[4].id), 100).await.unwrap();
    let all: Vec<_> = letters.iter().chain(&more).map(|letter| letter.id).collect();
    assert_eq!((letters.len(), distinct(&all), all.is_sorted()), (5, 12, true));
    assert_eq!(looks.dead_show(all[7]).await.unwrap().id, all[7]);
    let new = looks.dead_replay(all[7]).await.unwrap();
    assert_eq!(new.seq % 1_024, all[7].seq % 1_024, "back into its partition");
    looks.dead_purge(all[8]).await.unwrap();
    let gone = looks.dead_purge(all[8]).await.unwrap_err();
    assert_eq!(gone, QueueError::NoSuchLetter { id: all[8] });
    assert_eq!((looks.dead_count().await.unwrap(), queue.backlog().await.unwrap()), (10, 1));
    assert_eq!(ids(&read_all(&mut consumer, 1).await), [new]);
}

/// A Redis that lost the end of what it was told delivers as new what was settled already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_met_on_a_new_connection_is_doubtful_and_what_comes_later_is_not() {
    for count in [1, 3] {
        let mut world = World::redis();
        let queue = with(&mut world, Some(count)).await;
        let mut consumer = queue.consumer("a").await.unwrap();
        let given = queue.producer().append_batch(entries(3)).await.unwrap();
        let first = read_all(&mut consumer, 3).await;
        assert!(first.iter().all(|one| !one.redelivered), "it came after the connection");
        let server = world.server.as_ref().unwrap();
        let name = if count == 1 {
            "logs:stream".to_owned()
        } else {
            format!("logs:stream:{{{}}}", given[0].seq % 1_024)
        };
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        server.command(&["XGROUP", "SETID", &name, "log_workers", "0"]);
        let again = loop {
            if let Ok(read) = consumer.read().await {
                break read;
            }
        };
        assert_eq!(ids(&again), given);
        assert!(again.iter().all(|one| one.redelivered && one.tries == 1), "{count}: {again:?}");
        let late = loop {
            match queue.producer().append(entry(9)).await {
                Ok(id) => break id,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let read = read_all(&mut consumer, 1).await;
        assert_eq!((ids(&read), read[0].redelivered), (vec![late], false));
    }
}
