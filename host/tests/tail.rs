//! Following new rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use axum::http::request::Builder;
use common::{Hosted, host, host_with};
use futures_util::StreamExt;
use sawpit_host::HostSettings;
use tower::ServiceExt;

const PATIENCE: Duration = Duration::from_secs(20);

async fn follow(host: &Hosted, query: &str) -> BodyDataStream {
    follow_by(host, Request::get(format!("/api/tail{query}"))).await
}

async fn follow_by(host: &Hosted, request: Builder) -> BodyDataStream {
    let request = request.body(Body::empty()).unwrap();
    let response = host.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// The next event's text; none at the end.
async fn next(stream: &mut BodyDataStream) -> Option<String> {
    let chunk = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an event");
    chunk.map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap())
}

/// As a worker tells it.
async fn tell(host: &Hosted, rows: &[(u64, &str, &str)]) {
    let line = |(n, device, level): &(u64, &str, &str)| {
        format!(
            r#"{{"message_id":"{n}-0","device_id":"{device}","log_level":"{level}","message":"m \"{n}\"\n","log_data":{{"n":{n}}}}}{}"#,
            "\n"
        )
    };
    let text: String = rows.iter().map(line).collect();
    host.cache.feed().publish(|| text.into()).await;
}

#[tokio::test]
async fn rows_come_as_events_and_filters_are_kept() {
    let host = host().await;
    let mut all = follow(&host, "").await;
    let mut some = follow(&host, "?device_id=a&device_id=%C3%BC&log_level=error,critical").await;
    let mut found = follow(&host, "?q=M+3").await;
    let mut of_member = follow(&host, "?data.n=4").await;
    tell(&host, &[(1, "a", "INFO"), (2, "b", "ERROR"), (3, "a", "ERROR")]).await;
    tell(&host, &[(4, "ü", "CRITICAL")]).await;
    for n in 1..=4 {
        let event = next(&mut all).await.unwrap();
        assert!(event.starts_with("event: log\n") && event.contains(&format!("id: {n}-0\n")), "{event}");
        assert!(event.ends_with("\n\n") && event.contains(&format!(r#""message":"m \"{n}\"\n""#)), "{event}");
    }
    assert!(next(&mut some).await.unwrap().contains("id: 3-0\n"));
    assert!(next(&mut found).await.unwrap().contains("id: 3-0\n"));
    assert!(next(&mut of_member).await.unwrap().contains("id: 4-0\n"));
    assert!(next(&mut some).await.unwrap().contains("id: 4-0\n"));
}

#[tokio::test]
async fn who_is_too_slow_is_told_of_the_gap() {
    let host = host().await;
    let mut slow = follow(&host, "").await;
    for n in 0..3_000 {
        tell(&host, &[(n, "a", "INFO")]).await;
    }
    assert_eq!(next(&mut slow).await.unwrap(), "event: gap\ndata: {}\n\n");
    assert!(next(&mut slow).await.unwrap().contains("event: log"));
}

#[tokio::test]
async fn a_device_may_be_a_pattern_as_a_token_has_it() {
    let host = host().await;
    let mut some = follow(&host, "?device_id=sensor-*&device_id=door").await;
    let mut named = follow(&host, "?device_id=a[1]").await;
    tell(&host, &[(1, "sensor-1", "INFO"), (2, "door-1", "INFO"), (3, "door", "INFO")]).await;
    tell(&host, &[(4, "a1", "INFO"), (5, "a[1]", "INFO"), (6, "sensor-", "INFO")]).await;
    for n in [1, 3, 6] {
        let event = next(&mut some).await.unwrap();
        assert!(event.contains(&format!("id: {n}-0\n")), "{event}");
    }
    let event = next(&mut named).await.unwrap();
    assert!(event.contains("id: 5-0\n"), "only a * makes a pattern: {event}");
}

#[tokio::test]
async fn who_comes_back_is_told_of_the_gap_first() {
    let host = host().await;
    let request = Request::get("/api/tail?device_id=a").header("last-event-id", "1-0");
    let mut back = follow_by(&host, request).await;
    tell(&host, &[(2, "a", "INFO")]).await;
    assert_eq!(next(&mut back).await.unwrap(), "event: gap\ndata: {}\n\n");
    assert!(next(&mut back).await.unwrap().contains("id: 2-0\n"));
}

#[tokio::test]
async fn the_number_of_followers_is_limited_and_a_place_becomes_free() {
    let host = host_with(HostSettings { tail_clients: 2, ..HostSettings::default() }).await;
    let (one, two) = (follow(&host, "").await, follow(&host, "").await);
    let refused = host.get("/api/tail").await.problem(503, "busy");
    assert!(refused.headers.contains_key("retry-after"));
    drop(one);
    drop((two, follow(&host, "").await));
}

#[tokio::test]
async fn a_request_to_end_ends_the_stream() {
    let host = host().await;
    let mut stream = follow(&host, "").await;
    host.shutdown.trigger();
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_bad_filter_is_named() {
    let host = host().await;
    host.get("/api/tail?log_level=LOUD").await.problem(400, "bad-query").field("log_level", "DEBUG");
    host.get("/api/tail?limit=1").await.problem(400, "bad-query").field("limit", "not a parameter");
    let long = format!("/api/tail?device_id=*{}", "a".repeat(256));
    for (path, rule) in [("/api/tail?device_id=*[", "pattern"), (long.as_str(), "256 bytes")] {
        host.get(path).await.problem(400, "bad-query").field("device_id", rule);
    }
    let many = |count| format!("/api/tail?{}", vec!["device_id=a*"; count].join("&"));
    host.get(&many(17)).await.problem(400, "bad-query").field("device_id", "at most 16");
    drop(follow(&host, many(16).strip_prefix("/api/tail").unwrap()).await);
}

#[tokio::test]
async fn a_device_that_cannot_be_is_refused_as_in_a_query() {
    let host = host().await;
    let (long, longest) = ("x".repeat(65), "x".repeat(64));
    for (device, rule) in
        [("", "1 to 64 bytes"), (&*long, "1 to 64 bytes"), ("a%00", "NUL"), ("a%00*", "NUL")]
    {
        let path = format!("/api/tail?device_id=a&device_id={device}");
        host.get(&path).await.problem(400, "bad-query").field("device_id", rule);
    }
    drop(follow(&host, &format!("?device_id={longest}")).await);
}

#[tokio::test]
async fn words_are_given_once_as_in_a_query() {
    let host = host().await;
    for path in ["/api/tail", "/api/logs"] {
        let answer = host.get(&format!("{path}?q=a&q=b")).await.problem(400, "bad-query");
        answer.field("q", "must be given once");
    }
    drop(follow(&host, "?q=a+b&data.a=1&data.b=2").await);
}
