//! What a Redis Cluster loses of answered appends when a master dies: `cargo run -p sawpit-queue --example failover`.
//!
//! Each round starts a cluster of its own, appends to it, kills the master of partition 0, waits until a replica took
//! over, and looks for every answered message. `killed` kills a master whose replica follows; `cut, killed` cuts the
//! replica off for half a second before, as a broken link between two machines does.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement, not a part")]

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use sawpit_model::{Entry, Level, Log, MessageId, RawObject, Timestamp};
use sawpit_queue::{Clock, Producer, Queue, QueueSettings};
use sawpit_testkit::RedisCluster;

const ROUNDS: usize = 3;
const DEVICES: usize = 48;
const PARTITIONS: u16 = 6;
/// Time under load before the fault.
const LOAD: Duration = Duration::from_secs(1);
/// How long the replica is cut off before its master dies.
const CUT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Killed,
    CutAndKilled,
}

/// One round.
struct Measured {
    answered: usize,
    unanswered: usize,
    lost: usize,
    away: Duration,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("fault        min-replicas  answered  not answered  lost  partition away");
    for (name, fault) in [("killed", Fault::Killed), ("cut, killed", Fault::CutAndKilled)] {
        for min_replicas in [0, 1] {
            for _ in 0..ROUNDS {
                let Measured { answered, unanswered, lost, away } = round(fault, min_replicas).await?;
                let away = away.as_secs_f64();
                println!(
                    "{name:<12} {min_replicas:>12} {answered:>9} {unanswered:>13} {lost:>5} {away:>13.1} s"
                );
            }
        }
    }
    Ok(())
}

async fn round(fault: Fault, min_replicas: u16) -> Result<Measured, Box<dyn Error>> {
    let cluster = RedisCluster::start();
    let url = cluster.url();
    let partitions = Some(PARTITIONS);
    let backlog_limit = u64::MAX;
    let settings = QueueSettings { url, partitions, min_replicas, backlog_limit, ..QueueSettings::default() };
    let queue = Queue::open(settings, clock()).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..DEVICES)
        .map(|device| {
            tokio::spawn(append_until(queue.producer(), format!("device-{device}"), Arc::clone(&stop)))
        })
        .collect();
    tokio::time::sleep(LOAD).await;
    let struck = tokio::task::block_in_place(|| strike(&cluster, fault));
    let dead = dead_partition(&queue).await;
    let away = struck.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (mut answered, mut unanswered) = (BTreeSet::from([dead]), 0);
    for one in load {
        let (ids, failed) = one.await?;
        answered.extend(ids);
        unanswered += failed;
    }
    let there = all(&queue).await?;
    Ok(Measured { answered: answered.len(), unanswered, lost: answered.difference(&there).count(), away })
}

/// When the master died.
fn strike(cluster: &RedisCluster, fault: Fault) -> Instant {
    let master = cluster.master_of("logs:stream:{0}");
    let replicas = cluster.replicas_of(master);
    if fault == Fault::CutAndKilled {
        replicas.iter().for_each(|replica| cluster.pause(*replica));
        cluster.command(master, &["CLIENT", "KILL", "TYPE", "replica"]);
        std::thread::sleep(CUT);
    }
    cluster.kill(master);
    let struck = Instant::now();
    if fault == Fault::CutAndKilled {
        replicas.iter().for_each(|replica| cluster.resume(*replica));
    }
    // What needs a replica to confirm has to wait until the dead one is back as one.
    while cluster.masters().len() < 3 {
        std::thread::sleep(Duration::from_millis(20));
    }
    cluster.restart(master);
    struck
}

async fn append_until(producer: Producer, device: String, stop: Arc<AtomicBool>) -> (Vec<MessageId>, usize) {
    let (mut ids, mut failed) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        match producer.append(entry(&device)).await {
            Ok(id) => ids.push(id),
            Err(_) => {
                failed += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    (ids, failed)
}

/// Waits until every partition takes messages again.
async fn dead_partition(queue: &Queue) -> MessageId {
    let mut device = 0;
    loop {
        let name = format!("probe-{device}");
        match queue.producer().append(entry(&name)).await {
            Ok(id) if device == 64 => return id,
            Ok(_) => device += 1,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Every message that is in the queue.
async fn all(queue: &Queue) -> Result<BTreeSet<MessageId>, Box<dyn Error>> {
    let mut consumer = queue.consumer("counts").await?;
    let mut there = BTreeSet::new();
    loop {
        let read = consumer.read().await?;
        if read.is_empty() {
            return Ok(there);
        }
        there.extend(read.iter().map(|one| one.id));
        consumer.settler().ack(read).await?;
    }
}

fn entry(device: &str) -> Entry {
    let log = Log {
        device_id: device.to_owned(),
        log_level: Level::Info,
        message: "the door of the cold store is open".to_owned(),
        log_data: RawObject::from_trusted(r#"{"temperature":7.5,"zone":"north"}"#.to_owned()),
        received_at: clock()(),
    };
    Entry { log, chain: String::new(), traceparent: None, failure: None }
}

fn clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}
