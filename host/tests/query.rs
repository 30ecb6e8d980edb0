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
use tower::ServiceExt;

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
        ("format=xml", "format", "ndjson"),
        ("format=csv&limit=0", "limit", "from 1 on"),
        ("format=json&limit=1001", "limit", "1 to 1000"),
        ("level=INFO", "level", "not a parameter"),
        ("q=!%3F", "q", "must hold a word"),
        ("q=a&q=b", "q", "once"),
        ("data.=1", "data.", "name a member"),
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
async fn logs_of_all_devices_are_one_stream() {
    let host = host().await;
    host.store_rows("a", 1..=3, Level::Info).await;
    host.store_rows("b", 2..=4, Level::Error).await;
    let page = host.get("/api/logs?limit=4").await.ok(200).json;
    assert_eq!(page.get("device_id"), None);
    assert_eq!((page["total"].as_u64(), page["total_relation"].as_str()), (Some(6), Some("eq")));
    let seen = |page: &Value| -> Vec<String> {
        let rows = page["data"].as_array().unwrap().iter();
        rows.map(|row| {
            format!("{}{}", row["device_id"].as_str().unwrap(), &row["message"].as_str().unwrap()[8..])
        })
        .collect()
    };
    assert_eq!(seen(&page), ["b4", "b3", "a3", "b2"]);
    let next = format!("/api/logs?limit=4&cursor={}", page["next_cursor"].as_str().unwrap());
    let next = host.get(&next).await.ok(200).json;
    assert_eq!((seen(&next), next["next_cursor"].is_null()), (vec!["a2".to_owned(), "a1".to_owned()], true));
    assert_eq!(host.get("/api/logs?log_level=error").await.ok(200).json["count"], 3);
    host.get("/api/logs?log_level=no&limit=0").await.problem(400, "bad-query").field("limit", "1 to");
    assert_eq!(source(&host, "/api/logs").await, "database");
}

/// The messages of all pages, two rows each, while newer rows are stored between one page and the next.
async fn paged(host: &Hosted, path: &str, row: impl Fn(u64) -> (&'static str, u64)) -> Vec<String> {
    let (mut seen, mut cursor, mut next) = (Vec::new(), String::new(), 100);
    loop {
        let page = host.get(&format!("{path}limit=2{cursor}")).await.ok(200).json;
        let rows = page["data"].as_array().unwrap().iter();
        seen.extend(rows.map(|row| row["message"].as_str().unwrap().to_owned()));
        let Some(text) = page["next_cursor"].as_str() else { return seen };
        cursor = format!("&cursor={text}");
        let (device, number) = row(next);
        host.store_rows(device, number..=number, Level::Info).await;
        next += 1;
    }
}

#[tokio::test]
async fn a_cursor_is_neither_shifted_nor_doubled_by_rows_that_come_meanwhile() {
    for path in ["/api/logs/a?", "/api/logs?", "/api/logs?q=message&", "/api/logs/a?q=message&"] {
        let host = host().await;
        host.store.note_indexes(host.clock.now()).await.unwrap();
        host.store_rows("a", 1..=4, Level::Info).await;
        host.store_rows("a", 5..=7, Level::Error).await;
        let expected: Vec<String> = (1..=7).rev().map(|n| format!("message {n}")).collect();
        // Of the same device, and of one that sorts before it.
        let row = |n: u64| (if n.is_multiple_of(2) { "a" } else { "0" }, n);
        assert_eq!(paged(&host, path, row).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_total_that_must_be_counted_is_counted_up_to_the_limit() {
    let host = host_with(HostSettings { query_count_limit: 3, ..HostSettings::default() }).await;
    host.store_rows("d", 1..=5, Level::Info).await;
    for (query, total, relation) in [
        ("", 5, "eq"),
        ("?log_level=INFO", 5, "eq"),
        ("?since=1970-01-01T00:00:03Z", 3, "eq"),
        ("?since=1970-01-01T00:00:02Z", 3, "gte"),
    ] {
        let page = host.get(&format!("/api/logs/d{query}")).await.ok(200).json;
        let found = (page["total"].as_u64(), page["total_relation"].as_str());
        assert_eq!(found, (Some(total), Some(relation)), "{query}");
    }
}

#[tokio::test]
async fn an_export_streams_all_rows_of_a_query() {
    let host = host().await;
    host.store_rows("d", 1..=2_345, Level::Info).await;
    host.store_rows("other", 5_000..=5_001, Level::Error).await;
    let export = host.get("/api/logs/d?format=ndjson").await.ok(200);
    assert_eq!(export.headers["content-type"], "application/x-ndjson");
    assert!(export.headers["content-disposition"].to_str().unwrap().contains("logs.ndjson"));
    let rows: Vec<Value> = export.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2_345);
    let page = host.get("/api/logs/d?limit=1").await.ok(200).json;
    assert_eq!((&rows[0], rows[2_344]["message"].as_str()), (&page["data"][0], Some("message 1")));
    for (path, lines) in [
        ("/api/logs?format=ndjson", 2_347),
        ("/api/logs?format=ndjson&log_level=ERROR", 2),
        ("/api/logs/d?format=ndjson&limit=1500", 1_500),
        ("/api/logs/d?format=ndjson&limit=1000", 1_000),
        ("/api/logs/d?format=ndjson&until=1970-01-01T00:20:00Z", 1_199),
        ("/api/logs/nobody?format=ndjson", 0),
    ] {
        assert_eq!(host.get(path).await.ok(200).text.lines().count(), lines, "{path}");
    }
}

#[tokio::test]
async fn an_export_as_csv_can_be_read_back() {
    let host = host().await;
    host.store_rows("a,\"b\"\nc", 1..=2, Level::Info).await;
    let export = host.get("/api/logs?format=csv").await.ok(200);
    assert_eq!(export.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let mut reader = csv::Reader::from_reader(export.text.as_bytes());
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(names[0], "message_id");
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[1][3], &rows[1][5]), (2, "a,\"b\"\nc", "message 1"));
    assert_eq!((&rows[1][6], &rows[1][7]), ("{}", "1970-01-01T00:00:01.000000Z"));
    assert_eq!(host.get("/api/logs/nobody?format=csv").await.ok(200).text.lines().count(), 1);
}

#[tokio::test]
async fn an_export_is_the_same_on_pages_of_any_bytes() {
    let whole = |bytes| async move {
        let host = host_with(HostSettings { export_page_bytes: bytes, ..HostSettings::default() }).await;
        host.store_rows("d", 1..=345, Level::Info).await;
        host.get("/api/logs/d?format=csv").await.ok(200).text
    };
    let text = whole(1_024 * 1_024).await;
    assert_eq!(text.lines().count(), 346);
    assert_eq!(whole(100).await, text);
    assert_eq!(whole(1).await, text, "a row is a page at least");
}

#[tokio::test]
async fn the_number_of_exports_is_limited_and_a_place_becomes_free() {
    let host = host_with(HostSettings { export_clients: 2, ..HostSettings::default() }).await;
    host.store_rows("d", 1..=3, Level::Info).await;
    let export =
        || host.router.clone().oneshot(Request::get("/api/logs?format=csv").body(Body::empty()).unwrap());
    let (one, two) = (export().await.unwrap(), export().await.unwrap());
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
    let refused = host.get("/api/logs/d?format=ndjson").await.problem(503, "busy");
    assert!(refused.headers.contains_key("retry-after"));
    assert!(refused.json["detail"].as_str().unwrap().contains("--export-clients"), "{refused:?}");
    host.get("/api/logs/d").await.ok(200);
    drop(one);
    assert_eq!(host.get("/api/logs/d?format=ndjson").await.ok(200).text.lines().count(), 3);
    // Read to its end, it gives its place back as well.
    assert_eq!(host.get("/api/logs/d?format=ndjson").await.ok(200).text.lines().count(), 3);
    drop(two);
}

#[tokio::test]
async fn a_search_that_takes_too_long_names_its_limit() {
    let host = host_with(HostSettings { query_timeout: Duration::ZERO, ..HostSettings::default() }).await;
    host.store.note_indexes(host.clock.now()).await.unwrap();
    host.store_rows("d", 1..=3, Level::Info).await;
    for path in ["/api/logs/d?q=message", "/api/logs?q=message", "/api/logs?q=message&format=csv"] {
        let ended = host.get(path).await.problem(503, "query-too-long");
        assert!(ended.json["detail"].as_str().unwrap().contains("--query-timeout"), "{ended:?}");
        assert!(!ended.headers.contains_key("retry-after"), "it would take as long again");
    }
    host.get("/api/logs/d").await.ok(200);
}

#[tokio::test]
async fn statistics_count_what_is_stored() {
    let host = host().await;
    host.store_rows("d", 1..=3, Level::Error).await;
    let stats = host.get("/api/stats").await.ok(200).json;
    assert_eq!((stats["total"].as_u64(), stats["per_level"]["ERROR"].as_u64()), (Some(3), Some(3)));
}

#[tokio::test]
async fn a_search_names_the_setting_that_it_needs() {
    let host = host().await;
    host.get("/api/logs/d?q=word").await.problem(400, "bad-query").field("q", "--text-index");
    host.get("/api/logs?data.unit=C").await.problem(400, "bad-query").field("data", "--data-index");
    host.get("/api/logs?q=word&format=csv").await.problem(400, "bad-query").field("q", "--text-index");
    host.get("/api/logs?q=").await.ok(200);
}

#[tokio::test]
async fn rows_are_found_by_words_and_members() {
    let host = host().await;
    host.store.note_indexes(host.clock.now()).await.unwrap();
    host.store_rows("d", 1..=150, Level::Info).await;
    host.store_rows("other", 200..=299, Level::Error).await;
    assert_eq!(messages(&host, "?q=MESSAGE+77").await, ["message 77"]);
    assert_eq!(
        messages(&host, "?q=message+78").await,
        ["message 78"],
        "and not what the cache has of another"
    );
    assert_eq!(messages(&host, "?q=message+nowhere").await, [""; 0]);
    let page = host.get("/api/logs?q=25*").await.ok(200).json;
    assert_eq!((page["count"].as_u64(), page["total_relation"].as_str()), (Some(11), Some("eq")));
    assert!(page["indexed_since"].is_string());
    let page = host.get("/api/logs?q=message&limit=10").await.ok(200).json;
    assert_eq!((page["total"].as_u64(), page["total_relation"].as_str()), (Some(10), Some("gte")));
    let export = host.get("/api/logs?q=message&format=ndjson&log_level=ERROR").await.ok(200);
    assert_eq!(export.text.lines().count(), 100);
    assert_eq!(messages(&host, "?data.unit=C").await, [""; 0]);
}

#[tokio::test]
async fn the_limit_of_words_is_obeyed() {
    let host = host_with(HostSettings { query_terms: 3, ..HostSettings::default() }).await;
    host.store.note_indexes(host.clock.now()).await.unwrap();
    host.get("/api/logs?q=a+b&data.c=d").await.ok(200);
    host.get("/api/logs?q=a+a+b+c").await.ok(200);
    host.get("/api/logs?q=a+b+c+d").await.problem(400, "bad-query").field("q", "3 words");
    host.get("/api/logs?q=a+b+c&data.d=e").await.problem(400, "bad-query").field("data.d", "3 words");
    host.get("/api/tail?q=a+b+c+d").await.problem(400, "bad-query").field("q", "3 words");
}

#[tokio::test]
async fn a_cursor_of_another_query_is_refused() {
    let host = host().await;
    host.store.note_indexes(host.clock.now()).await.unwrap();
    host.store_rows("d", 1..=5, Level::Info).await;
    let first = host.get("/api/logs/d?limit=2&log_level=info,error").await.ok(200).json;
    let cursor = first["next_cursor"].as_str().unwrap();
    for path in [
        "/api/logs/e?log_level=info,error",
        "/api/logs?log_level=info,error",
        "/api/logs/d?log_level=info",
        "/api/logs/d?q=message&log_level=info,error",
        "/api/logs/d?since=1970-01-01T00:00:00Z&log_level=info,error",
        "/api/logs/d?format=csv&log_level=critical",
    ] {
        let answer = host.get(&format!("{path}&cursor={cursor}")).await.problem(400, "bad-query");
        answer.field("cursor", "of a page of the same device and filters");
    }
    // However the same is written, and on pages of any size and form.
    for same in ["log_level=ERROR&log_level=INFO&limit=1", "log_level=error,info,info&format=csv"] {
        host.get(&format!("/api/logs/d?cursor={cursor}&{same}")).await.ok(200);
    }
}

#[tokio::test]
async fn a_cursor_that_was_never_given_out_is_refused() {
    let host = host().await;
    host.store_rows("d", 1..=5, Level::Info).await;
    let first = host.get("/api/logs/d?limit=2").await.ok(200).json;
    let cursor = first["next_cursor"].as_str().unwrap();
    let (place, digest) = cursor.rsplit_once('_').unwrap();
    for text in ["-1_-1_-1_-1", "0_0_0_0", place, &format!("-1_-1_-1_-1_{digest}"), &format!("{cursor}_"), ""]
    {
        let answer = host.get(&format!("/api/logs/d?cursor={text}")).await.problem(400, "bad-query");
        answer.field("cursor", "must be the next_cursor of a page before, unchanged");
    }
    host.get(&format!("/api/logs/d?cursor={cursor}")).await.ok(200);
}
