//! Reading back: parameters, pages, and that the cache is never stale after a commit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use common::{Hosted, host, host_with};
use sawpit_host::HostSettings;
use sawpit_model::Level;
use serde_json::Value;

async fn messages(host: &Hosted, query: &str) -> Vec<String> {
    let answer = host.get(&format!("/api/logs/d{query}")).await.ok(200);
    answer.json["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["message"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn rows_come_newest_first_in_pages() {
    let host = host().await;
    host.store_rows("d", 1..=5, Level::Info).await;
    host.store_rows("other", 6..=6, Level::Info).await;
    let first = host.get("/api/logs/d?limit=2").await.ok(200).json;
    assert_eq!(
        (first["device_id"].as_str(), first["total"].as_u64(), first["count"].as_u64()),
        (Some("d"), Some(5), Some(2))
    );
    assert_eq!(first["data"][0]["message"], "message 5");
    let mut seen = 2;
    let mut cursor = first["next_cursor"].clone();
    while let Value::String(text) = cursor {
        let page = host.get(&format!("/api/logs/d?limit=2&cursor={text}")).await.ok(200).json;
        seen += page["count"].as_u64().unwrap();
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(seen, 5);
    assert_eq!(host.get("/api/logs/nobody").await.ok(200).json["total"], 0);
}

#[tokio::test]
async fn rows_are_filtered_by_level_and_time() {
    let host = host().await;
    host.store_rows("d", 1..=3, Level::Info).await;
    host.store_rows("d", 4..=4, Level::Error).await;
    host.store_rows("d", 5..=5, Level::Critical).await;
    assert_eq!(messages(&host, "?log_level=error").await, ["message 4"]);
    assert_eq!(messages(&host, "?log_level=ERROR,CRITICAL").await, ["message 5", "message 4"]);
    assert_eq!(messages(&host, "?log_level=ERROR&log_level=CRITICAL").await, ["message 5", "message 4"]);
    assert_eq!(
        messages(&host, "?since=1970-01-01T00:00:02Z&until=1970-01-01T00:00:04Z").await,
        ["message 3", "message 2"]
    );
    assert_eq!(messages(&host, "?since=1970-01-01T01:00:05%2B01:00").await, ["message 5"]);
}

#[tokio::test]
async fn a_bad_parameter_is_named_with_its_rule() {
    let host = host().await;
    for (query, field, rule) in [
        ("limit=0", "limit", "1 to 1000"),
        ("limit=1001", "limit", "1 to 1000"),
        ("limit=ten", "limit", "1 to 1000"),
        ("limit=1&limit=2", "limit", "once"),
        ("log_level=FATAL", "log_level", "DEBUG"),
        ("since=yesterday", "since", "RFC 3339"),
        ("until=2026-13-01T00:00:00Z", "until", "RFC 3339"),
        ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "until", "after since"),
        ("cursor=1", "cursor", "next_cursor"),
        ("level=INFO", "level", "not a parameter"),
    ] {
        host.get(&format!("/api/logs/d?{query}")).await.problem(400, "bad-query").field(field, rule);
    }
    host.get("/api/logs/d?limit=1000").await.ok(200);
    let both = host.get("/api/logs/d?limit=0&since=x").await.problem(400, "bad-query");
    both.field("limit", "1 to").field("since", "RFC 3339");
}

#[tokio::test]
async fn a_device_of_any_name_can_be_asked_for() {
    let host = host().await;
    for (name, path) in [("batch", "batch"), ("a/b", "a%2Fb"), ("ü:1%", "%C3%BC:1%25"), ("..", "..")] {
        host.store_rows(name, 1..=1, Level::Info).await;
        let answer = host.get(&format!("/api/logs/{path}")).await.ok(200);
        assert_eq!((answer.json["device_id"].as_str(), answer.json["total"].as_u64()), (Some(name), Some(1)));
    }
}

#[tokio::test]
async fn a_bad_device_in_the_path_is_400() {
    let host = host().await;
    host.get("/api/logs/%FF").await.problem(400, "bad-path");
    host.get("/api/logs/a%00b").await.problem(400, "bad-path").field("device_id", "NUL");
    host.get(&format!("/api/logs/{}", "x".repeat(65)))
        .await
        .problem(400, "bad-path")
        .field("device_id", "64");
    host.get(&format!("/api/logs/{}", "x".repeat(64))).await.ok(200);
}

async fn source(host: &Hosted, path: &str) -> String {
    host.get(path).await.ok(200).json["source"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_is_cached_until_the_device_gets_a_new_commit() {
    let host = host().await;
    host.store_rows("d", 1..=1, Level::Info).await;
    assert_eq!(source(&host, "/api/logs/d").await, "database");
    let cached = host.get("/api/logs/d").await.ok(200).json;
    assert_eq!((cached["source"].as_str(), cached["total"].as_u64()), (Some("cache"), Some(1)));
    assert_eq!(source(&host, "/api/logs/d?limit=7").await, "database", "another question");

    host.store_rows("d", 2..=2, Level::Info).await;
    host.cache.set("cache:gen:d", "from-a-worker".into(), Duration::from_secs(600)).await;
    let fresh = host.get("/api/logs/d").await.ok(200).json;
    assert_eq!((fresh["source"].as_str(), fresh["total"].as_u64()), (Some("database"), Some(2)));
    assert_eq!(source(&host, "/api/logs/d").await, "cache");
    assert_eq!(source(&host, "/api/logs/d?log_level=INFO,ERROR").await, "database");
    assert_eq!(
        source(&host, "/api/logs/d?log_level=error&log_level=info").await,
        "cache",
        "the same, written otherwise"
    );
}

#[tokio::test]
async fn no_cache_asks_the_database() {
    let host = host().await;
    for path in ["/api/logs/d", "/api/stats"] {
        assert_eq!(source(&host, path).await, "database");
        assert_eq!(source(&host, path).await, "cache");
        let request = Request::get(path).header("cache-control", "no-cache").body(Body::empty()).unwrap();
        assert_eq!(host.send(request).await.ok(200).json["source"], "database");
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_cached() {
    let host = host_with(HostSettings { cache_value_bytes: 200, ..HostSettings::default() }).await;
    assert_eq!(source(&host, "/api/logs/d").await, "database");
    assert_eq!(source(&host, "/api/logs/d").await, "cache");
    host.store_rows("e", 1..=5, Level::Info).await;
    assert_eq!(source(&host, "/api/logs/e").await, "database");
    assert_eq!(source(&host, "/api/logs/e").await, "database");
}

#[tokio::test]
async fn statistics_count_what_is_stored() {
    let host = host().await;
    host.store_rows("d", 1..=3, Level::Error).await;
    let stats = host.get("/api/stats").await.ok(200).json;
    assert_eq!((stats["total"].as_u64(), stats["per_level"]["ERROR"].as_u64()), (Some(3), Some(3)));
}
