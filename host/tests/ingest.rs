//! What is answered `queued` is queued, with the chain that it went through; back-pressure; plugins' verdicts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use common::{Hosted, NOW, host, host_on_queue_of, host_with, host_with_plugins, json_post};
use sawpit_host::HostSettings;
use sawpit_model::{Entry, Limits, MessageId, Timestamp};

const LOG: &str = r#"{"device_id":"d","log_level":"info","message":"m","log_data":{ "b" : 1e2, "a":[] }}"#;

/// Everything that waits in the queue, settled.
async fn queued(host: &Hosted) -> Vec<(MessageId, Entry)> {
    let mut consumer = host.queue.consumer("test").await.unwrap();
    let mut all = Vec::new();
    loop {
        let deliveries = consumer.read().await.unwrap();
        if deliveries.is_empty() {
            return all;
        }
        all.extend(deliveries.iter().map(|d| (d.id, d.body.as_ref().unwrap().clone())));
        consumer.settler().ack(deliveries).await.unwrap();
    }
}

#[tokio::test]
async fn a_log_is_queued_as_sent_and_answered_with_its_id() {
    let host = host().await;
    let answer = host.log(LOG).await.ok(202);
    assert_eq!(answer.json["status"], "queued");
    assert_eq!(answer.json["received_at"], Timestamp::from_micros(NOW).to_string());
    let queued = queued(&host).await;
    assert_eq!(queued.len(), 1);
    let (id, entry) = &queued[0];
    assert_eq!(answer.json["message_id"], id.to_string());
    assert_eq!(entry.log.log_data.as_str(), r#"{ "b" : 1e2, "a":[] }"#);
    assert_eq!(entry.log.received_at, Timestamp::from_micros(NOW));
    assert_eq!(entry.traceparent, None);
}

#[tokio::test]
async fn a_well_formed_traceparent_travels_and_another_does_not() {
    let host = host().await;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for text in [good, "00-x"] {
        let mut request = json_post("/api/log", LOG);
        request.headers_mut().insert("traceparent", text.parse().unwrap());
        host.send(request).await.ok(202);
    }
    let parents: Vec<_> = queued(&host).await.into_iter().map(|(_, entry)| entry.traceparent).collect();
    assert_eq!(parents, [Some(good.to_owned()), None]);
}

#[tokio::test]
async fn a_request_id_is_echoed_or_made() {
    let host = host().await;
    let mut request = json_post("/api/log", LOG);
    request.headers_mut().insert("x-request-id", "mine-1".parse().unwrap());
    assert_eq!(host.send(request).await.headers["x-request-id"], "mine-1");
    let (one, two) = (host.log(LOG).await, host.log(LOG).await);
    assert_ne!(one.headers["x-request-id"], two.headers["x-request-id"]);
}

#[tokio::test]
async fn a_batch_is_queued_in_order_with_an_id_each() {
    let host = host().await;
    let logs: Vec<String> = (0..300).map(|n| LOG.replace("\"m\"", &format!("\"m{n}\""))).collect();
    let answer = host.batch(format!("{{\"logs\":[{}]}}", logs.join(","))).await.ok(202);
    let ids: Vec<&str> =
        answer.json["message_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let queued = queued(&host).await;
    assert_eq!(queued.len(), 300);
    for (n, ((id, entry), answered)) in queued.iter().zip(ids).enumerate() {
        assert_eq!((id.to_string().as_str(), entry.log.message.clone()), (answered, format!("m{n}")));
    }
}

#[tokio::test]
async fn the_backlog_limit_is_obeyed_and_opens_again() {
    let settings =
        HostSettings { backlog_limit: 3, backlog_poll: Duration::from_millis(10), ..HostSettings::default() };
    let host = host_with(settings).await;
    for _ in 0..3 {
        host.log(LOG).await.ok(202);
    }
    let answer = host.log(LOG).await.problem(503, "backlog-full");
    assert!((2..=4).contains(&answer.retry_after()), "{answer:?}");
    host.batch(format!("{{\"logs\":[{LOG}]}}")).await.problem(503, "backlog-full");
    assert_eq!(queued(&host).await.len(), 3, "nothing that was refused is queued");
    for _ in 0..500 {
        if host.log(LOG).await.status == 202 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the host did not notice that the backlog is gone");
}

/// Nobody takes a message: the longest time. Then somebody does: as long as that takes to make room.
#[tokio::test]
async fn a_full_backlog_says_when_there_will_be_room() {
    let settings = HostSettings {
        backlog_limit: 1_000,
        retry_after_max: Duration::from_secs(600),
        ..HostSettings::default()
    };
    let host = host_with(settings).await;
    for _ in 0..2 {
        host.batch(format!("{{\"logs\":[{}]}}", vec![LOG; 500].join(","))).await.ok(202);
    }
    let wait_for = async |what: &str, said: std::ops::RangeInclusive<u64>| {
        let mut last = 0;
        for _ in 0..200 {
            last = host.log(LOG).await.problem(503, "backlog-full").retry_after();
            if said.contains(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}: it says {last}");
    };
    wait_for("nobody takes any", 300..=600).await;
    let mut consumer = host.queue.consumer("test").await.unwrap();
    let read = consumer.read().await.unwrap();
    // Some 10 a second, and as many come: 100 take 10 s to 20 s.
    let trickle = async {
        for delivery in read {
            // The new one first: otherwise the host may see room between the two.
            host.queue.producer().append(entry_of_log()).await.unwrap();
            consumer.settler().ack(vec![delivery]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(90)).await;
        }
    };
    tokio::select! {
        () = wait_for("some take", 8..=40) => {}
        () = trickle => panic!("it did not say so in time"),
    }
}

fn entry_of_log() -> Entry {
    let limits = Limits::default();
    let log = sawpit_model::parse_log(LOG.as_bytes(), &limits, Timestamp::from_micros(NOW)).unwrap();
    Entry { log, chain: String::new(), traceparent: None, failure: None }
}

#[tokio::test]
async fn a_queue_that_is_full_is_answered_503() {
    let host = host_on_queue_of(2).await;
    host.log(LOG).await.ok(202);
    host.batch(format!("{{\"logs\":[{LOG},{LOG}]}}")).await.problem(503, "backlog-full");
    host.log(LOG).await.ok(202);
    host.log(LOG).await.problem(503, "backlog-full");
    assert_eq!(queued(&host).await.len(), 2);
}

#[tokio::test]
async fn the_bytes_in_flight_are_limited_and_given_back() {
    let host = host_with(HostSettings { in_flight_bytes: 400, ..HostSettings::default() }).await;
    let (more, rest) = tokio::sync::mpsc::channel::<Bytes>(4);
    let stream = futures_util::stream::unfold(rest, |mut rest| async {
        rest.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), rest))
    });
    let slow = tokio::spawn({
        let (router, request) = (host.router.clone(), json_post("/api/log", Body::from_stream(stream)));
        async move { common::answer(tower::ServiceExt::oneshot(router, request).await.unwrap()).await }
    });
    more.send(Bytes::from(" ".repeat(390))).await.unwrap();
    // Nothing else runs here, so that by then the slow request has read its first piece and holds it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = host.log(LOG).await.problem(503, "busy");
    assert!((2..=4).contains(&answer.retry_after()), "{answer:?}");
    drop(more);
    slow.await.unwrap().problem(400, "malformed-json");
    host.log(LOG).await.ok(202);
}

#[tokio::test]
async fn a_body_must_arrive_in_time() {
    let host =
        host_with(HostSettings { body_timeout: Duration::from_millis(30), ..HostSettings::default() }).await;
    let stalled = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    host.log(stalled).await.problem(408, "body-timeout");
    host.log(LOG).await.ok(202);
}

#[tokio::test]
async fn a_request_must_end_in_time() {
    let settings = HostSettings { request_timeout: Duration::from_millis(30), ..HostSettings::default() };
    let host = host_with(settings).await;
    let stalled = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let answer = host.log(stalled).await.problem(503, "request-timeout");
    assert!(answer.headers.contains_key("retry-after"));
}

const FILTER: &str = r#"
on_error = "reject"
[config]
debug_keep = 0.0
[[config.rules]]
device = "sensor-*"
field = "temperature"
type = "number"
required = true
"#;

fn log(device: &str, level: &str, data: &str) -> String {
    format!(r#"{{"device_id":"{device}","log_level":"{level}","message":"m","log_data":{data}}}"#)
}

#[tokio::test]
async fn plugins_accept_drop_reject_and_enrich() {
    let host = host_with_plugins(HostSettings::default(), &[("filter", FILTER), ("enrich", "")]).await;
    host.log(log("d", "INFO", "{}")).await.ok(202);

    let dropped = host.log(log("d", "DEBUG", "{}")).await.ok(202);
    assert_eq!(
        (dropped.json["status"].as_str(), dropped.json["plugin"].as_str()),
        (Some("dropped"), Some("filter"))
    );
    assert!(dropped.json["message_id"].is_null());

    let refused = host.log(log("sensor-1", "INFO", "{}")).await.problem(422, "refused-by-filter");
    assert_eq!(refused.json["plugin"], "filter");
    assert!(refused.json["reason"].as_str().unwrap().contains("temperature"), "{}", refused.text);

    let batch = [log("d", "DEBUG", "{}"), log("sensor-1", "INFO", "{}"), log("e", "ERROR", "{}")].join(",");
    let batch = host.batch(format!("{{\"logs\":[{batch}]}}")).await.ok(202);
    assert_eq!(batch.json["count"], 1);
    assert_eq!(
        (batch.json["dropped"][0]["index"].as_u64(), batch.json["rejected"][0]["index"].as_u64()),
        (Some(0), Some(1))
    );
    assert_eq!(batch.json["rejected"][0]["plugin"], "filter");
    assert!(batch.json["message_ids"][0].is_null() && batch.json["message_ids"][2].is_string());

    let page = host.get("/api/plugins").await.ok(200);
    let queued = queued(&host).await;
    assert_eq!(queued.len(), 2);
    for (_, entry) in &queued {
        assert_eq!(page.json["chain"], entry.chain);
        assert!(entry.log.log_data.as_str().contains("severity_number"), "{}", entry.log.log_data.as_str());
    }
    let names: Vec<_> =
        page.json["plugins"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["filter", "enrich"], "the page lists them as logs run through them");
}

#[tokio::test]
async fn a_batch_that_filters_drop_whole_is_answered_dropped() {
    let host = host_with_plugins(HostSettings::default(), &[("filter", FILTER)]).await;
    let batch = host.batch(format!("{{\"logs\":[{}]}}", log("d", "DEBUG", "{}"))).await.ok(202);
    assert_eq!((batch.json["status"].as_str(), batch.json["count"].as_u64()), (Some("dropped"), Some(0)));
}

/// A guest that runs out of memory on a long message fails for that log, which is the plugin's fault.
#[tokio::test]
async fn a_plugin_that_fails_is_503_and_the_next_log_is_taken() {
    let limits = Limits { message_bytes: 6 << 20, ..Limits::default() };
    let settings = HostSettings { limits, ..HostSettings::default() };
    let host = host_with_plugins(settings, &[("filter", &format!("memory_mib = 3\n{FILTER}"))]).await;
    let long = log("d", "INFO", "{}").replace("\"m\"", &format!("\"{}\"", "x".repeat(5 << 20)));
    let answer = host.log(long.clone()).await.problem(503, "plugin-failed");
    assert_eq!(answer.json["plugin"], "filter");
    assert!(answer.headers.contains_key("retry-after"));
    let batch = host.batch(format!("{{\"logs\":[{long}]}}")).await.problem(503, "plugin-failed");
    assert_eq!(batch.json["rejected"][0]["retry"], true);
    host.log(log("d", "INFO", "{}")).await.ok(202);
    assert_eq!(queued(&host).await.len(), 1);
}

#[tokio::test]
async fn many_requests_at_once_each_get_their_own_answer() {
    let host = host_with_plugins(HostSettings::default(), &[("filter", FILTER), ("enrich", "")]).await;
    let answers =
        futures_util::future::join_all(
            (0..400).map(|n| {
                let level = if n % 2 == 0 { "INFO" } else { "DEBUG" };
                let request = json_post("/api/log", log(&format!("d{n}"), level, "{}"));
                let router = host.router.clone();
                async move {
                    (n, common::answer(tower::ServiceExt::oneshot(router, request).await.unwrap()).await)
                }
            }),
        );
    for (n, answer) in answers.await {
        assert_eq!(
            answer.json["status"],
            if n % 2 == 0 { "queued" } else { "dropped" },
            "{n}: {}",
            answer.text
        );
    }
    let mut devices: Vec<_> = queued(&host).await.into_iter().map(|(_, entry)| entry.log.device_id).collect();
    devices.sort_unstable();
    devices.dedup();
    assert_eq!(devices.len(), 200);
}
