//! What only a cluster, or a Redis with replicas, can do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sawpit_model::MessageId;
use sawpit_queue::{AppendError, Cache, CacheSettings, Consumer, Kept, Known, Once, Queue, QueueError};
use sawpit_testkit::{Redis, RedisCluster};

use crate::once::key as once_key;
use crate::world::{World, entries, entry, ids, read_all};

/// Longest wait for a cluster to serve again: its members give up on one after two seconds, then they vote.
const FAILOVER: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_spreads_its_keys() {
    let cluster = Arc::new(RedisCluster::start());
    let settings = CacheSettings { timeout: Duration::from_secs(2), ..CacheSettings::default() };
    let cache = Cache::open(&cluster.url(), settings).await.unwrap();
    let keys: Vec<String> = (0..50).map(|number| format!("cache:logs:{number}")).collect();
    let value = |key: &String| Bytes::from(format!("value of {key}"));
    let until = Instant::now() + Duration::from_secs(10);
    // Who the members are is learned behind the first question, which is a miss.
    while cache.get(&keys[0]).await.is_none() {
        assert!(Instant::now() < until);
        cache
            .set_many(keys.iter().map(|key| (key.clone(), value(key))).collect(), Duration::from_secs(60))
            .await;
    }
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let found = cache.get_many(&names).await.unwrap();
    assert_eq!(found, keys.iter().map(|key| Some(value(key))).collect::<Vec<_>>());
    assert!(cluster.masters().iter().all(|port| cluster.command(*port, &["DBSIZE"]) != ":0"));
}

/// A slot that is given to another master while it is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_moves_is_followed() {
    let cluster = Arc::new(RedisCluster::start());
    let world = World::on(Arc::clone(&cluster));
    let queue = world.open().await;
    let mut consumer = queue.consumer("a").await.unwrap();
    let mut given: BTreeSet<_> = append_all(&queue, 30).await;
    let (from, slot) = (cluster.master_of("logs:stream:{0}"), cluster.slot_of("logs:stream:{0}"));
    let to = cluster.masters().into_iter().find(|port| *port != from).unwrap();
    cluster.move_slot(slot, from, to);
    given.extend(append_all(&queue, 30).await);
    let mut found = BTreeSet::new();
    let until = Instant::now() + FAILOVER;
    while found.len() < given.len() {
        assert!(Instant::now() < until, "{} of {}", found.len(), given.len());
        let read = consumer.read().await.unwrap();
        found.extend(ids(&read));
        consumer.settler().ack(read).await.unwrap();
    }
    assert_eq!(found, given);
    assert_eq!(cluster.master_of("logs:stream:{0}"), to);
    assert_eq!(queue.backlog().await.unwrap(), 0);
}

async fn append_all(queue: &Queue, count: usize) -> BTreeSet<MessageId> {
    let mut given = BTreeSet::new();
    let until = Instant::now() + FAILOVER;
    for one in entries(count) {
        loop {
            match queue.producer().append(one.clone()).await {
                Ok(id) => {
                    given.insert(id);
                    break;
                }
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
        }
    }
    given
}

/// What appending and reading saw while a master was killed.
#[derive(Default)]
struct Seen {
    answered: BTreeSet<MessageId>,
    refused: usize,
    unknown: usize,
    /// Delivered, and how often as certainly new.
    delivered: BTreeMap<MessageId, usize>,
}

/// Appends to all partitions and reads from all of them; kills a master meanwhile; goes on until each partition has
/// taken and given again; reads what is left.
async fn through_a_failover(world: &World, cluster: &RedisCluster) -> Seen {
    let queue = world.open().await;
    let stop = Arc::new(AtomicBool::new(false));
    let limit = world.settings.append_timeout * 2;
    let appends: Vec<_> = (0..12)
        .map(|device| {
            let (producer, stop) = (queue.producer(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut seen = Seen::default();
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    match producer.append(entry(device)).await {
                        Ok(id) => {
                            seen.answered.insert(id);
                        }
                        Err(AppendError::Refused { .. }) => {
                            seen.refused += 1;
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        Err(AppendError::Unknown { .. }) => seen.unknown += 1,
                        Err(error) => panic!("{error}"),
                    }
                    assert!(started.elapsed() < limit, "{:?}", started.elapsed());
                }
                seen
            })
        })
        .collect();
    let reading = {
        let (consumer, stop) = (queue.consumer("reader").await.unwrap(), Arc::clone(&stop));
        tokio::spawn(read_until(consumer, stop))
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.kill(cluster.master_of("logs:stream:{0}"));
    tokio::task::block_in_place(|| cluster.wait_agreed());
    append_all(&queue, 100).await;
    stop.store(true, Ordering::Relaxed);
    let mut seen = Seen { delivered: reading.await.unwrap(), ..Seen::default() };
    for append in appends {
        let one = append.await.unwrap();
        seen.answered.extend(one.answered);
        seen.refused += one.refused;
        seen.unknown += one.unknown;
    }
    seen
}

/// Reads, acknowledges, and reads on until nothing is left.
async fn read_until(mut consumer: Consumer, stop: Arc<AtomicBool>) -> BTreeMap<MessageId, usize> {
    let mut delivered: BTreeMap<MessageId, usize> = BTreeMap::new();
    let mut empty = 0;
    while empty < 3 {
        let Ok(mut read) = consumer.read().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if let Ok(reclaimed) = consumer.reclaim().await {
            read.extend(reclaimed.deliveries);
        }
        let stopped = stop.load(Ordering::Relaxed) && read.is_empty();
        empty = if stopped { empty + 1 } else { 0 };
        for one in &read {
            *delivered.entry(one.id).or_default() += usize::from(!one.redelivered);
        }
        let _ = consumer.settler().ack(read).await;
    }
    delivered
}

/// WAIT makes the only replica have what is answered, and that one becomes the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_survived_and_nothing_that_a_replica_confirmed_is_lost() {
    let cluster = Arc::new(RedisCluster::start());
    let mut world = World::on(Arc::clone(&cluster));
    world.settings.min_replicas = 1;
    let killed = cluster.master_of("logs:stream:{0}");
    assert_eq!(cluster.replicas_of(killed).len(), 1);
    let seen = through_a_confirmed_failover(&world, &cluster, killed).await;
    assert!(!seen.answered.is_empty() && seen.refused + seen.unknown > 0, "nothing was killed");
    let lost: Vec<_> = seen.answered.iter().filter(|id| !seen.delivered.contains_key(id)).collect();
    assert!(lost.is_empty(), "{} of {} answered are lost: {lost:?}", lost.len(), seen.answered.len());
    let doubled: Vec<_> = seen.delivered.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "delivered as new more than once: {doubled:?}");
}

/// As `through_a_failover`; the killed master is started again, because the new one needs a replica to confirm.
async fn through_a_confirmed_failover(world: &World, cluster: &Arc<RedisCluster>, killed: u16) -> Seen {
    let back = Arc::clone(cluster);
    let restart = tokio::task::spawn_blocking(move || {
        while back.masters().contains(&killed) || back.masters().len() < 3 {
            std::thread::sleep(Duration::from_millis(100));
        }
        back.restart(killed);
    });
    let seen = through_a_failover(world, cluster).await;
    restart.await.unwrap();
    seen
}

/// Without WAIT what is lost is what Redis documents; the rest goes on by itself, and is never given as new twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_survived_without_opening_anything_again() {
    let cluster = Arc::new(RedisCluster::start());
    let world = World::on(Arc::clone(&cluster));
    let killed = cluster.master_of("logs:stream:{0}");
    let its = (0..6).filter(|part| cluster.master_of(&format!("logs:stream:{{{part}}}")) == killed);
    let its: BTreeSet<u64> = its.collect();
    let seen = through_a_failover(&world, &cluster).await;
    assert!(!seen.answered.is_empty() && seen.refused + seen.unknown > 0, "nothing was killed");
    let lost: Vec<_> = seen.answered.iter().filter(|id| !seen.delivered.contains_key(id)).collect();
    assert!(lost.iter().all(|id| its.contains(&(id.seq % 1_024))), "lost where nobody died: {lost:?}");
    assert!(
        lost.len() * 10 < seen.answered.len(),
        "{} of {} answered are lost",
        lost.len(),
        seen.answered.len()
    );
    let doubled: Vec<_> = seen.delivered.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "delivered as new more than once: {doubled:?}");
}

/// A Redis with one replica, no cluster.
fn pair() -> (Redis, Redis) {
    let master = Redis::with(&[("repl-diskless-sync-delay", "0")]);
    let replica = Redis::with(&[("replicaof", &format!("127.0.0.1 {}", master.port()))]);
    let until = Instant::now() + Duration::from_secs(20);
    // The replica thinks so a moment before the master does, which counts it only then.
    let follows = || replica.command(&["INFO", "replication"]).contains("master_link_status:up");
    while !follows() || master.command(&["WAIT", "1", "1000"]) != ":1" {
        assert!(Instant::now() < until, "the replica does not follow");
        std::thread::sleep(Duration::from_millis(20));
    }
    (master, replica)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_replicas_as_are_asked_for_confirm_an_append() {
    let (master, replica) = pair();
    for count in [1, 3] {
        let mut world = World::redis();
        world.settings.url = master.url();
        world.settings.partitions = Some(count);
        world.settings.min_replicas = 1;
        let queue = world.open().await;
        for _ in 0..50 {
            let id = queue.producer().append(entry(1)).await.unwrap();
            let part = id.seq % 1_024;
            let name = if count == 1 { "logs:stream".to_owned() } else { format!("logs:stream:{{{part}}}") };
            let at_replica = replica.command(&["XRANGE", &name, &id.to_string(), &id.to_string()]);
            assert!(at_replica.contains("device_id"), "answered, and the replica has it not");
        }
        let given = queue.producer().append_batch(entries(20)).await.unwrap();
        assert_eq!(given.len(), 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_replicas_are_told_and_then_nothing_is_appended_until_there_are_enough() {
    let (master, replica) = pair();
    let mut world = World::redis();
    world.settings.url = master.url();
    world.settings.min_replicas = 1;
    let queue = world.open().await;
    queue.producer().append(entry(1)).await.unwrap();
    replica.pause();
    let error = queue.producer().append(entry(2)).await.unwrap_err();
    assert!(matches!(error, AppendError::Unknown { .. }), "it is at the master: {error}");
    let started = Instant::now();
    for _ in 0..5 {
        let error = queue.producer().append(entry(3)).await.unwrap_err();
        assert!(matches!(error, AppendError::Refused { .. }), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(queue.backlog().await.unwrap(), 2);
    replica.resume();
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(error) = queue.producer().append(entry(4)).await {
        assert!(Instant::now() < until, "{error}");
    }
    let mut consumer = queue.consumer("a").await.unwrap();
    assert!(read_all(&mut consumer, 3).await.len() == 3);
}

/// What the first was not answered, a repeat is not answered either, however it finds the record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_known_only_when_enough_replicas_have_it() {
    let (master, replica) = pair();
    for count in [1, 3] {
        let mut world = World::redis();
        world.settings.url = master.url();
        world.settings.partitions = Some(count);
        world.settings.min_replicas = 1;
        let key = once_key(&format!("of {count}"));
        // One that has not seen too few replicas yet, so that it looks for itself.
        let (queue, other, third) = (world.open().await, world.open().await, world.open().await);
        // The script is known from here on: a wait for replicas stands behind every try.
        queue
            .producer()
            .append_once(&once_key(&format!("before {count}")), Vec::new(), entries(1))
            .await
            .unwrap();
        let before = queue.backlog().await.unwrap();
        replica.pause();
        let error = queue.producer().append_once(&key, b"n".to_vec(), entries(2)).await.unwrap_err();
        assert!(matches!(error, AppendError::Unknown { .. }), "it is at the master: {error}");
        let error = queue.producer().recall(&key).await.unwrap_err();
        assert!(matches!(error, QueueError::Unconfirmed { .. }), "{error}");
        let error = other.producer().recall(&key).await.unwrap_err();
        assert!(matches!(error, QueueError::Unconfirmed { .. }), "{error}");
        let error = third.producer().append_once(&key, b"n".to_vec(), entries(2)).await.unwrap_err();
        assert!(matches!(error, AppendError::Unknown { .. }), "{error}");
        replica.resume();
        let until = Instant::now() + Duration::from_secs(20);
        let kept = loop {
            match queue.producer().recall(&key).await {
                Ok(Some(Known::Same(Kept { note, ids }))) => break (note, ids),
                Ok(other) => panic!("{other:?}"),
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
        };
        assert_eq!((kept.0.as_slice(), kept.1.len()), (&b"n"[..], 2));
        let again = loop {
            match other.producer().append_once(&key, Vec::new(), entries(2)).await {
                Ok(again) => break again,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
        };
        assert_eq!(again, Once::Known(Known::Same(Kept { note: kept.0, ids: kept.1 })));
        assert_eq!(queue.backlog().await.unwrap(), before + 2, "appended once");
    }
}
