//! Who asks the same at once asks the database once, and a cache that is away makes queries slower, not failing.
//!
//! The count of questions is the process's: one test asks after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{Answer, Hosted, host, host_on_cache};
use futures_util::future::join_all;
use sawpit_model::Level;
use sawpit_testkit::Redis;
use tokio::sync::Mutex;

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const CLIENTS: usize = 50;

/// How often the database was asked for logs, in this process.
async fn asked(host: &Hosted) -> usize {
    let page = host.get("/metrics").await.ok(200).text;
    let count = "sawpit_query_database_seconds_count{query=\"logs\"} ";
    page.lines().find_map(|line| line.strip_prefix(count)).map_or(0, |count| count.parse().unwrap())
}

async fn ask_at_once(host: &Hosted, path: &str) -> Vec<Answer> {
    join_all((0..CLIENTS).map(|_| host.get(path))).await.into_iter().map(|answer| answer.ok(200)).collect()
}

async fn source(host: &Hosted, path: &str) -> String {
    host.get(path).await.ok(200).json["source"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_asks_at_once_finds_one_answer_and_keeps_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let host = host().await;
    host.store_rows("d", 1..=100, Level::Info).await;
    let before = asked(&host).await;
    let answers = ask_at_once(&host, "/api/logs/d").await;
    assert!(answers.iter().all(|answer| answer.json["count"] == 100), "{answers:?}");
    assert_eq!(asked(&host).await - before, 1, "the database was asked more than once");
    // Were there as many generations as questions, only the last one's answer would be valid.
    assert_eq!(source(&host, "/api/logs/d").await, "cache");
}

/// Asks while the cache is away, and again when it is back.
async fn is_slower_and_not_failing(redis: &Redis, away: impl FnOnce(), back: impl FnOnce()) {
    let host = host_on_cache(&redis.url()).await;
    host.store_rows("d", 1..=1_000, Level::Info).await;
    wait(&host, "cache").await;
    away();
    let (before, started) = (asked(&host).await, Instant::now());
    for path in ["/api/logs/d?limit=1000", "/api/logs?limit=1", "/api/stats"] {
        assert_eq!(source(&host, path).await, "database", "{path}");
    }
    assert_eq!(asked(&host).await - before, 2);
    let answers = ask_at_once(&host, "/api/logs/d?limit=1000").await;
    assert!(answers.iter().all(|answer| answer.json["count"] == 1_000));
    // Some may come when the first of them have their answer already; without sharing each would ask.
    let shared = asked(&host).await - before - 2;
    assert!((1..=CLIENTS / 5).contains(&shared), "{CLIENTS} questions asked the database {shared} times");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    back();
    wait(&host, "cache").await;
}

async fn wait(host: &Hosted, expected: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while source(host, "/api/logs/d").await != expected {
        assert!(Instant::now() < until, "no answer came from the {expected}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_cache_that_is_stopped_makes_queries_slower_and_not_failing() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let redis = Redis::start();
    is_slower_and_not_failing(&redis, || redis.stop(), || redis.restart()).await;
}

#[tokio::test]
async fn a_cache_that_does_not_answer_makes_queries_slower_and_not_failing() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let redis = Redis::start();
    is_slower_and_not_failing(&redis, || redis.pause(), || redis.resume()).await;
}
