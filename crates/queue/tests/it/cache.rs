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

/// How many of the keys are there, once the cache has put itself in order, which it does in between.
async fn there(cache: &Cache, keys: usize, fits: impl Fn(usize) -> bool) -> usize {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let mut found = 0;
        for number in 0..keys {
            found += usize::from(cache.get(&format!("key-{number}")).await.is_some());
        }
        if fits(found) || Instant::now() > until {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_filled_up_to_its_capacity_and_no_further() {
    let settings = CacheSettings { capacity_bytes: 100_000, ..CacheSettings::default() };
    let cache = Cache::open("memory:", settings).await.unwrap();
    // Ninety fit, with their keys and what each costs beside its value.
    let value = Bytes::from(vec![b'x'; 1_000]);
    for number in 0..90 {
        cache.set(&format!("key-{number}"), value.clone(), TTL).await;
    }
    assert_eq!(there(&cache, 90, |found| found == 90).await, 90);
    for number in 90..1_000 {
        cache.set(&format!("key-{number}"), value.clone(), TTL).await;
    }
    let found = there(&cache, 1_000, |found| found <= 100).await;
    assert!((1..=100).contains(&found), "{found} values of 1,000 bytes in 100,000");
    cache.set("key-0", Bytes::from(vec![b'x'; 100_001]), TTL).await;
    let until = Instant::now() + Duration::from_secs(10);
    while cache.get("key-0").await.is_some_and(|value| value.len() > 100_000) {
        assert!(Instant::now() < until, "a value larger than the capacity is kept");
        cache.set("other", Bytes::new(), TTL).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
