//! The cache: a failure is a miss.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sawpit_queue::{Cache, CacheAway, CacheSettings};
use sawpit_testkit::Redis;

const TTL: Duration = Duration::from_secs(60);

async fn holds(url: &str) {
    let cache =
        Cache::open(url, CacheSettings { timeout: Duration::from_secs(5), ..CacheSettings::default() });
    let cache = cache.await.unwrap();
    assert_eq!(cache.get("a").await, None);
    cache.set("a", Bytes::from_static(b"1\0\xff"), TTL).await;
    cache.set_many(vec![("b".to_owned(), Bytes::from_static(b"2"))], Duration::from_millis(80)).await;
    let there = cache.get_many(&["a", "x", "b"]).await.unwrap();
    assert_eq!(there, [Some(Bytes::from_static(b"1\0\xff")), None, Some(Bytes::from_static(b"2"))]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cache.get_many(&["a", "b"]).await.unwrap(), [Some(Bytes::from_static(b"1\0\xff")), None]);
    assert!(cache.get_many(&[]).await.unwrap().is_empty());
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    assert_eq!(cache.get_or_set("g", first.clone(), TTL).await.as_ref(), Ok(&first));
    assert_eq!(cache.get_or_set("g", second, TTL).await.as_ref(), Ok(&first));
    assert_eq!(cache.get("g").await, Some(first));
    cache.set_many(Vec::new(), TTL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_in_memory() {
    holds("memory:").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_in_redis() {
    let server = Redis::start();
    holds(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_away_is_a_miss_and_comes_back() {
    let server = Redis::start();
    server.stop();
    let cache = Cache::open(&server.url(), CacheSettings::default()).await.expect("Redis need not be there");
    for _ in 0..5 {
        let started = Instant::now();
        assert_eq!(cache.get("a").await, None);
        cache.set("a", Bytes::from_static(b"1"), TTL).await;
        assert_eq!(cache.get_or_set("a", Bytes::from_static(b"mine"), TTL).await, Err(CacheAway));
        assert_eq!(cache.get_many(&["a", "b"]).await, Err(CacheAway));
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    server.restart();
    let until = Instant::now() + Duration::from_secs(10);
    while cache.get("a").await.is_none() {
        assert!(Instant::now() < until, "the cache did not come back");
        cache.set("a", Bytes::from_static(b"1"), TTL).await;
    }
    server.pause();
    let started = Instant::now();
    assert_eq!(cache.get("a").await, None);
    assert!(started.elapsed() < Duration::from_secs(2));
    server.resume();
}
