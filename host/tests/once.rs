//! `Idempotency-Key`: what is sent again is answered as the first time, and stored once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use common::{Answer, Hosted, host, host_on_queue, host_with, host_with_plugins, json_post};
use sawpit_chaos::{Proxy, Weather};
use sawpit_host::HostSettings;
use sawpit_queue::QueueSettings;
use sawpit_testkit::Redis;

const LOG: &str = r#"{"device_id":"d","log_level":"info","message":"m"}"#;

fn batch(logs: &[&str]) -> String {
    format!("{{\"logs\":[{}]}}", logs.join(","))
}

fn keyed(path: &str, key: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = json_post(path, body);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

async fn post(host: &Hosted, path: &str, key: &str, body: impl Into<Body>) -> Answer {
    // A repeat never comes at the same time.
    host.clock.advance(Duration::from_millis(7));
    host.send(keyed(path, key, body)).await
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[track_caller]
fn same(first: &Answer, again: &Answer) {
    assert!(!is_replay(first) && is_replay(again), "{first:?} {again:?}");
    assert_eq!((first.status, &first.text), (again.status, &again.text));
}

async fn waiting(host: &Hosted) -> u64 {
    host.queue.backlog().await.unwrap()
}

fn on_redis(redis: &Redis) -> QueueSettings {
    QueueSettings { url: redis.url(), ..QueueSettings::default() }
}

async fn repeats_are_answered_as_the_first(one: &Hosted, other: &Hosted) {
    let first = post(one, "/api/log", "\"single\"", LOG).await.ok(202);
    for host in [one, other] {
        same(&first, &post(host, "/api/log", "\"single\"", LOG).await);
    }
    // The quotes are no part of it.
    same(&first, &post(other, "/api/log", "single", LOG).await);
    assert_eq!(waiting(one).await, 1);
    let body = batch(&[LOG, "{}", LOG]);
    let first = post(one, "/api/logs/batch", "\"b\"", body.clone()).await.ok(202);
    assert_eq!(first.json["count"], 2);
    assert_eq!(first.json["rejected"][0]["index"], 1);
    for host in [other, one] {
        same(&first, &post(host, "/api/logs/batch", "\"b\"", body.clone()).await);
    }
    assert_eq!(waiting(one).await, 3);
    // Without a key each is its own.
    one.log(LOG).await.ok(202);
    assert!(!is_replay(&one.log(LOG).await.ok(202)));
    assert_eq!(waiting(one).await, 5);
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_on_a_file() {
    let host = host().await;
    repeats_are_answered_as_the_first(&host, &host).await;
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_by_another_host() {
    let redis = Redis::start();
    let one = host_on_queue(on_redis(&redis), HostSettings::default()).await;
    let other = host_on_queue(on_redis(&redis), HostSettings::default()).await;
    repeats_are_answered_as_the_first(&one, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_at_once_on_two_hosts_one_is_stored() {
    let redis = Redis::start();
    let one = host_on_queue(on_redis(&redis), HostSettings::default()).await;
    let other = host_on_queue(on_redis(&redis), HostSettings::default()).await;
    let body = batch(&[LOG, LOG]);
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let router = if number % 2 == 0 { &one.router } else { &other.router }.clone();
            let request = keyed("/api/logs/batch", "\"k\"", body.clone());
            tokio::spawn(async move {
                common::answer(tower::ServiceExt::oneshot(router, request).await.unwrap()).await.ok(202)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1);
    assert!(answers.iter().all(|answer| answer.text == answers[0].text));
    assert_eq!(waiting(&one).await, 2);
}

/// Redis has it, and its answer never arrives: the device is told that nobody knows, and asks the other host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_answer_that_was_lost_a_repeat_stores_nothing_more() {
    let redis = Redis::start();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = Proxy::start(any, SocketAddr::from(([127, 0, 0, 1], redis.port()))).await.unwrap();
    let through_proxy = QueueSettings {
        url: format!("redis://{}", proxy.address()),
        append_timeout: Duration::from_secs(2),
        // Nothing waits behind a write that Redis holds.
        connections: 64,
        ..QueueSettings::default()
    };
    let one = host_on_queue(through_proxy, HostSettings::default()).await;
    let other = host_on_queue(on_redis(&redis), HostSettings::default()).await;
    post(&one, "/api/log", "\"loads the script\"", LOG).await.ok(202);
    // Redis answers what is read, and holds what writes until the network is mute.
    redis.command(&["CLIENT", "PAUSE", "600", "WRITE"]);
    let requests: Vec<_> = (0..10)
        .map(|number| {
            let (router, request) = (one.router.clone(), keyed("/api/log", &format!("k{number}"), LOG));
            tokio::spawn(async move {
                common::answer(tower::ServiceExt::oneshot(router, request).await.unwrap()).await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.set(Weather::Mute);
    for request in requests {
        let answer = request.await.unwrap().problem(503, "maybe-queued");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(waiting(&other).await, 11, "all of them arrived");
    proxy.cut();
    proxy.set(Weather::Fair);
    for number in 0..10 {
        assert!(is_replay(&post(&other, "/api/log", &format!("k{number}"), LOG).await.ok(202)));
    }
    assert_eq!(waiting(&other).await, 11);
}

#[tokio::test]
async fn a_key_that_was_used_for_another_request_is_refused() {
    let host = host().await;
    post(&host, "/api/log", "\"k\"", LOG).await.ok(202);
    let other = LOG.replace("\"m\"", "\"n\"");
    post(&host, "/api/log", "\"k\"", other).await.problem(422, "idempotency-key-reused");
    post(&host, "/api/logs/batch", "\"k\"", LOG).await.problem(422, "idempotency-key-reused");
    assert_eq!(waiting(&host).await, 1);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let host = host_with(HostSettings { idempotency_key_bytes: 8, ..HostSettings::default() }).await;
    for key in ["", "\"\"", "\"open", "a b", "a,b", "\"123456789\"", "123456789"] {
        let answer = post(&host, "/api/log", key, LOG).await.problem(400, "bad-idempotency-key");
        answer.field("Idempotency-Key", "must");
    }
    let mut twice = keyed("/api/log", "\"a\"", LOG);
    twice.headers_mut().append("idempotency-key", "\"b\"".parse().unwrap());
    host.send(twice).await.problem(400, "bad-idempotency-key").field("Idempotency-Key", "once");
    assert_eq!(waiting(&host).await, 0);
    post(&host, "/api/log", "\"12345678\"", LOG).await.ok(202);
}

#[tokio::test]
async fn what_was_refused_may_be_tried_again() {
    let host = host().await;
    post(&host, "/api/log", "\"k\"", "{}").await.problem(422, "invalid-log");
    let again = post(&host, "/api/log", "\"k\"", LOG).await.ok(202);
    assert!(!is_replay(&again));
}

#[tokio::test]
async fn a_full_backlog_answers_repeats_and_refuses_what_is_new() {
    let settings = HostSettings { backlog_limit: 2, ..HostSettings::default() };
    let host = host_with(settings).await;
    let body = batch(&[LOG, LOG]);
    let first = post(&host, "/api/logs/batch", "\"k\"", body.clone()).await.ok(202);
    post(&host, "/api/log", "\"new\"", LOG).await.problem(503, "backlog-full");
    same(&first, &post(&host, "/api/logs/batch", "\"k\"", body).await);
    assert_eq!(waiting(&host).await, 2);
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_time() {
    let redis = Redis::start();
    let ttl = QueueSettings { once_ttl: Duration::from_millis(300), ..on_redis(&redis) };
    let host = host_on_queue(ttl, HostSettings::default()).await;
    post(&host, "/api/log", "\"k\"", LOG).await.ok(202);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!is_replay(&post(&host, "/api/log", "\"k\"", LOG).await.ok(202)));
    assert_eq!(waiting(&host).await, 2);
}

#[tokio::test]
async fn a_queue_that_is_away_is_told_and_the_key_may_be_used_again() {
    let redis = Redis::start();
    let impatient = QueueSettings { append_timeout: Duration::from_millis(300), ..on_redis(&redis) };
    let host = host_on_queue(impatient, HostSettings::default()).await;
    redis.pause();
    let answer = post(&host, "/api/log", "\"k\"", LOG).await.problem(503, "not-queued");
    assert!(answer.headers.contains_key("retry-after"));
    redis.resume();
    for _ in 0..100 {
        if post(&host, "/api/log", "\"k\"", LOG).await.status == 202 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_replay(&post(&host, "/api/log", "\"k\"", LOG).await.ok(202)));
    assert_eq!(waiting(&host).await, 1);
}

const DROPS_DEBUG: &str = "on_error = \"reject\"\n[config]\ndebug_keep = 0.0\n";

#[tokio::test]
async fn a_log_that_was_dropped_stays_dropped_although_the_plugin_is_gone() {
    let host = host_with_plugins(HostSettings::default(), &[("filter", DROPS_DEBUG)]).await;
    let debug = LOG.replace("info", "debug");
    let body = batch(&[&debug, LOG]);
    let first = post(&host, "/api/log", "\"s\"", debug.clone()).await.ok(202);
    assert_eq!(first.json["status"], "dropped");
    let first_batch = post(&host, "/api/logs/batch", "\"b\"", body.clone()).await.ok(202);
    assert_eq!(first_batch.json["dropped"][0]["index"], 0);
    std::fs::remove_file(host.folder.join("plugins").join("filter.wasm")).unwrap();
    for _ in 0..500 {
        if host.log(debug.clone()).await.json["status"] == "queued" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = waiting(&host).await;
    same(&first, &post(&host, "/api/log", "\"s\"", debug).await);
    same(&first_batch, &post(&host, "/api/logs/batch", "\"b\"", body).await);
    assert_eq!(waiting(&host).await, before);
}

#[tokio::test]
async fn of_a_long_answer_the_reasons_are_not_kept() {
    for (bytes, kept) in [(100_000, true), (200, false)] {
        let host = host_with(HostSettings { idempotency_note_bytes: bytes, ..HostSettings::default() }).await;
        let body = batch(&[LOG, "{}", "{}", LOG]);
        let first = post(&host, "/api/logs/batch", "\"k\"", body.clone()).await.ok(202);
        let again = post(&host, "/api/logs/batch", "\"k\"", body).await.ok(202);
        assert_eq!(first.text == again.text, kept);
        for part in ["status", "count", "message_ids", "received_at"] {
            assert_eq!(first.json[part], again.json[part]);
        }
        assert_eq!(again.json["rejected"][1]["index"], 2);
    }
}

/// Of what is at the master alone nobody knows whether it lasts: neither the first nor a repeat is told `queued`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_waits_for_replicas_as_the_first_does() {
    let master = Redis::with(&[("repl-diskless-sync-delay", "0")]);
    let replica = Redis::with(&[("replicaof", &format!("127.0.0.1 {}", master.port()))]);
    let settings = QueueSettings { min_replicas: 1, ..on_redis(&master) };
    let one = host_on_queue(settings.clone(), HostSettings::default()).await;
    let other = host_on_queue(settings, HostSettings::default()).await;
    while master.command(&["WAIT", "1", "1000"]) != ":1" {}
    post(&one, "/api/log", "\"before\"", LOG).await.ok(202);
    replica.pause();
    post(&one, "/api/log", "\"k\"", LOG).await.problem(503, "maybe-queued");
    for host in [&one, &other] {
        post(host, "/api/log", "\"k\"", LOG).await.problem(503, "maybe-queued");
    }
    replica.resume();
    let mut tries = 0;
    let answer = loop {
        let answer = post(&other, "/api/log", "\"k\"", LOG).await;
        if answer.status == 202 {
            break answer;
        }
        answer.problem(503, "maybe-queued");
        tries += 1;
        assert!(tries < 200, "the replica follows again, and it is not noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(is_replay(&answer), "{answer:?}");
    assert_eq!(waiting(&one).await, 2);
}
