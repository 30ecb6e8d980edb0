//! A host whose Redis is slow, silent, full, restarting or failing over: clear answers in time, nothing answered `queued`
//! that is not there, nothing refused that is, and recovery without a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Hosted, host_on_queue, json_post};
use sawpit_chaos::Proxy;
use sawpit_host::HostSettings;
use sawpit_queue::QueueSettings;
use sawpit_testkit::Redis;
use tokio::task::JoinSet;

const APPEND: Duration = Duration::from_millis(600);
/// The append's time-out, a connection's, and a busy machine.
const IN_TIME: Duration = Duration::from_millis(4_000);
const DEVICES: usize = 8;
const SOON: Duration = Duration::from_secs(20);

fn settings(url: String) -> QueueSettings {
    QueueSettings {
        url,
        append_timeout: APPEND,
        block: Duration::from_millis(200),
        ..QueueSettings::default()
    }
}

fn local(redis: &Redis) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], redis.port()))
}

/// What devices were answered, by the numbers of their logs.
#[derive(Debug, Default)]
struct Told {
    queued: BTreeMap<String, u64>,
    refused: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
}

/// Devices that post, one by one and in batches.
struct Devices {
    ended: Arc<AtomicBool>,
    posting: JoinSet<Told>,
}

impl Devices {
    fn start(host: &Hosted) -> Self {
        let (ended, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut posting = JoinSet::new();
        for device in 0..DEVICES {
            let (router, ended, next) = (host.router.clone(), Arc::clone(&ended), Arc::clone(&next));
            posting.spawn(async move {
                let mut told = Told::default();
                while !ended.load(Ordering::SeqCst) {
                    let numbers: Vec<u64> =
                        (0..1 + device as u64 % 2 * 4).map(|_| next.fetch_add(1, Ordering::SeqCst)).collect();
                    told.post(&router, &numbers).await;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                told
            });
        }
        Self { ended, posting }
    }

    async fn end(mut self) -> Told {
        self.ended.store(true, Ordering::SeqCst);
        let mut all = Told::default();
        while let Some(told) = self.posting.join_next().await {
            let Told { queued, refused, unknown } = told.unwrap();
            all.queued.extend(queued);
            all.refused.extend(refused);
            all.unknown.extend(unknown);
        }
        all
    }
}

impl Told {
    async fn post(&mut self, router: &axum::Router, numbers: &[u64]) {
        let log = |number: &u64| {
            format!(r#"{{"device_id":"d","log_level":"info","message":"m","log_data":{{"n":{number}}}}}"#)
        };
        let logs: Vec<String> = numbers.iter().map(log).collect();
        let request = match &logs[..] {
            [one] => json_post("/api/log", one.clone()),
            many => json_post("/api/logs/batch", format!("{{\"logs\":[{}]}}", many.join(","))),
        };
        let began = Instant::now();
        let answer = common::answer(tower::ServiceExt::oneshot(router.clone(), request).await.unwrap()).await;
        assert!(began.elapsed() < IN_TIME, "{:?}: {}", began.elapsed(), answer.text);
        if answer.status == 202 {
            let ids = match answer.json["message_ids"].as_array() {
                Some(ids) => ids.clone(),
                None => vec![answer.json["message_id"].clone()],
            };
            let ids = ids.iter().map(|id| id.as_str().unwrap().to_owned());
            self.queued.extend(ids.zip(numbers.iter().copied()));
            return;
        }
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.retry_after() >= 1);
        let kind = answer.json["type"].as_str().unwrap();
        match kind.rsplit(':').next().unwrap() {
            "not-queued" | "backlog-full" => self.refused.extend(numbers),
            "maybe-queued" => self.unknown.extend(numbers),
            _ => panic!("{}", answer.text),
        }
    }
}

/// Posts until an answer is 202 again.
async fn recovered(host: &Hosted) {
    let until = Instant::now() + SOON;
    let log = r#"{"device_id":"d","log_level":"info","message":"after","log_data":{"n":-1}}"#;
    while host.log(log).await.status != 202 {
        assert!(Instant::now() < until, "the host did not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Compares what is in the queue with what was said.
async fn check(host: &Hosted, told: &Told) {
    let mut consumer = host.queue.consumer("check").await.unwrap();
    let mut there: BTreeMap<String, u64> = BTreeMap::new();
    let mut empty = 0;
    while empty < 2 {
        let read = consumer.read().await.unwrap();
        empty += usize::from(read.is_empty());
        for delivery in &read {
            let entry = delivery.body.as_ref().unwrap();
            let data: serde_json::Value = serde_json::from_str(entry.log.log_data.as_str()).unwrap();
            if let Some(number) = data["n"].as_u64() {
                there.insert(delivery.id.to_string(), number);
            }
        }
        consumer.settler().ack(read).await.unwrap();
    }
    for (id, number) in &told.queued {
        assert_eq!(there.get(id), Some(number), "{id} was answered and is not there");
    }
    let numbers: Vec<u64> = there.values().copied().collect();
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(numbers.len(), distinct.len(), "some are there twice");
    let denied: Vec<_> = told.refused.intersection(&distinct).collect();
    assert!(denied.is_empty(), "refused, and there: {denied:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_slow_or_silent() {
    let redis = Redis::with(&[("enable-debug-command", "local")]);
    let host = host_on_queue(settings(redis.url()), HostSettings::default()).await;
    let devices = Devices::start(&host);
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Slow, but in time.
    redis.command(&["DEBUG", "SLEEP", "0.3"]);
    for silence in [APPEND * 2, APPEND * 4] {
        redis.pause();
        tokio::time::sleep(silence).await;
        redis.resume();
        recovered(&host).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let told = devices.end().await;
    assert!(!told.queued.is_empty() && !told.unknown.is_empty(), "{told:?}");
    check(&host, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full() {
    let redis = Redis::with(&[("maxmemory-policy", "noeviction")]);
    let host = host_on_queue(settings(redis.url()), HostSettings::default()).await;
    let devices = Devices::start(&host);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        tokio::time::sleep(Duration::from_millis(200)).await;
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        recovered(&host).await;
    }
    let told = devices.end().await;
    assert!(!told.queued.is_empty() && !told.refused.is_empty(), "{told:?}");
    assert!(told.unknown.is_empty(), "a full Redis says so: {told:?}");
    check(&host, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_restarts_or_is_killed() {
    let redis = Redis::with(&[("appendfsync", "always")]);
    let host = host_on_queue(settings(redis.url()), HostSettings::default()).await;
    let devices = Devices::start(&host);
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if round % 2 == 0 {
            redis.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        redis.restart();
        recovered(&host).await;
    }
    let told = devices.end().await;
    assert!(!told.queued.is_empty() && !told.refused.is_empty(), "{told:?}");
    check(&host, &told).await;
}

/// The roles change hands, and a while later the address does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_fails_over() {
    let master = Redis::start();
    let replica = Redis::with(&[("replicaof", &format!("127.0.0.1 {}", master.port()))]);
    let until = Instant::now() + SOON;
    let facts = |redis: &Redis| redis.command(&["INFO", "replication"]);
    while !facts(&master).contains("state=online") {
        assert!(Instant::now() < until, "{}", facts(&master));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = Proxy::start(any, local(&master)).await.unwrap();
    let host = host_on_queue(settings(format!("redis://{}", proxy.address())), HostSettings::default()).await;
    let devices = Devices::start(&host);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let port = replica.port().to_string();
    assert_eq!(master.command(&["FAILOVER", "TO", "127.0.0.1", &port]), "+OK");
    while !facts(&replica).contains("role:master") {
        assert!(Instant::now() < until, "{}", facts(&replica));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Meanwhile the host talks to one that takes nothing.
    tokio::time::sleep(Duration::from_millis(400)).await;
    proxy.lead_to(local(&replica));
    proxy.cut();
    recovered(&host).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = devices.end().await;
    assert!(!told.queued.is_empty() && !told.refused.is_empty(), "{told:?}");
    check(&host, &told).await;
}
