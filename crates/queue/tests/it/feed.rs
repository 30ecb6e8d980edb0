//! The feed of new rows: heard by who listens, missed by nobody else, and it waits for none.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sawpit_queue::{Cache, CacheSettings, Heard, Listener};
use sawpit_testkit::Redis;

const PATIENCE: Duration = Duration::from_secs(20);

async fn open(url: &str) -> Cache {
    Cache::open(url, CacheSettings { timeout: Duration::from_secs(2), ..CacheSettings::default() })
        .await
        .unwrap()
}

async fn next(listener: &mut Listener) -> Heard {
    tokio::time::timeout(PATIENCE, listener.next()).await.expect("something is heard")
}

/// Publishes until it is heard, as batches would come; how many gaps came before it.
async fn heard_soon(from: &Cache, listener: &mut Listener, text: &'static str) -> usize {
    let (until, mut gaps) = (Instant::now() + PATIENCE, 0);
    loop {
        from.feed().publish(|| Bytes::from_static(text.as_bytes())).await;
        let heard = tokio::time::timeout(Duration::from_millis(50), listener.next()).await;
        if heard == Ok(Heard::Message(Bytes::from_static(text.as_bytes()))) {
            return gaps;
        }
        gaps += usize::from(heard == Ok(Heard::Gap));
        assert!(Instant::now() < until, "{text} was not heard");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_all_listeners_hear_all() {
    let cache = open("memory:").await;
    cache.feed().publish(|| panic!("nobody listens, so nothing is made")).await;
    let (mut one, mut two) = (cache.feed().listen(), cache.clone().feed().listen());
    for text in ["a", "b"] {
        cache.feed().publish(|| Bytes::from_static(text.as_bytes())).await;
    }
    for listener in [&mut one, &mut two] {
        assert_eq!(next(listener).await, Heard::Message(Bytes::from_static(b"a")));
        assert_eq!(next(listener).await, Heard::Message(Bytes::from_static(b"b")));
    }
    drop((one, two));
    cache.feed().publish(|| panic!("nobody listens any more")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_listener_learns_that_it_missed_something() {
    let cache = open("memory:").await;
    let mut listener = cache.feed().listen();
    for n in 0..3_000_u32 {
        cache.feed().publish(|| n.to_string().into()).await;
    }
    assert_eq!(next(&mut listener).await, Heard::Gap);
    assert_eq!(next(&mut listener).await, Heard::Message((3_000 - 1_024).to_string().into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis_other_processes_hear_and_hear_again_after_a_restart() {
    let server = Redis::start();
    let (worker, host) = (open(&server.url()).await, open(&server.url()).await);
    let mut listener = host.feed().listen();
    heard_soon(&worker, &mut listener, "first").await;
    // Once it is known that somebody listens, nothing is left out.
    for n in 0..100_u32 {
        worker.feed().publish(|| n.to_string().into()).await;
    }
    for n in 0..100_u32 {
        assert_eq!(next(&mut listener).await, Heard::Message(n.to_string().into()));
    }
    server.stop();
    worker.feed().publish(|| Bytes::from_static(b"into the void")).await;
    // Some tries long: an outage is one gap, at its end.
    let heard = tokio::time::timeout(Duration::from_millis(1_700), listener.next()).await;
    assert!(heard.is_err(), "{heard:?} while the feed is away");
    server.restart();
    assert_eq!(next(&mut listener).await, Heard::Gap);
    let gaps = heard_soon(&worker, &mut listener, "second").await;
    assert_eq!(gaps, 0, "it was told already");
    drop(listener);
    let mut later = host.feed().listen();
    heard_soon(&worker, &mut later, "third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_redis_little_is_published_while_nobody_listens() {
    let server = Redis::start();
    let worker = open(&server.url()).await;
    let mut made = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(600) {
        worker
            .feed()
            .publish(|| {
                made += 1;
                Bytes::from_static(b"x")
            })
            .await;
    }
    assert!((1..=4).contains(&made), "{made} messages were made");
}
