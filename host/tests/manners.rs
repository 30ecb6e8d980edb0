//! Compression both ways, tags of answers, other sites' pages, and headers that keep browsers from guessing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::io::{Read, Write};

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use common::{Answer, Hosted, answer, host, host_with};
use sawpit_host::{CorsOrigins, HostSettings};
use sawpit_model::{Level, Limits};
use tower::ServiceExt;

const LOG: &str = r#"{"device_id":"d","log_level":"info","message":"m"}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

async fn post(host: &Hosted, encoding: &str, body: Vec<u8>) -> Answer {
    let request = Request::post("/api/log").header("content-type", "application/json");
    host.send(request.header("content-encoding", encoding).body(Body::from(body)).unwrap()).await
}

async fn get(host: &Hosted, path: &str, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    host.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn bodies_may_be_compressed() {
    let host = host().await;
    post(&host, "gzip", gzip(LOG.as_bytes())).await.ok(202);
    post(&host, "zstd", zstd(LOG.as_bytes())).await.ok(202);
    post(&host, "identity", LOG.into()).await.ok(202);
    assert_eq!(host.queue.backlog().await.unwrap(), 3);
    for (encoding, body) in [("br", LOG.into()), ("gzip, gzip", gzip(&gzip(LOG.as_bytes())))] {
        post(&host, encoding, body).await.problem(415, "wrong-content-encoding");
    }
    for (encoding, body) in
        [("gzip", LOG.into()), ("zstd", LOG.into()), ("gzip", gzip(LOG.as_bytes())[..30].to_vec())]
    {
        let answer = post(&host, encoding, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{encoding}: {}", answer.text);
    }
    assert_eq!(host.queue.backlog().await.unwrap(), 3);
}

/// 128 MiB of spaces are some kilobytes compressed.
#[tokio::test]
async fn what_comes_out_of_a_compressed_body_is_limited() {
    let limits = Limits { body_bytes: 100_000, ..Limits::default() };
    let host = host_with(HostSettings { limits, ..HostSettings::default() }).await;
    let padded = |bytes: usize| format!("{}{LOG}", " ".repeat(bytes - LOG.len())).into_bytes();
    post(&host, "gzip", gzip(&padded(100_000))).await.ok(202);
    post(&host, "gzip", gzip(&padded(100_001))).await.problem(413, "body-too-large");
    post(&host, "zstd", zstd(&padded(100_001))).await.problem(413, "body-too-large");
    let bomb = zstd(&padded(1 << 27));
    assert!(bomb.len() < 200_000);
    post(&host, "zstd", bomb).await.problem(413, "body-too-large");
}

#[tokio::test]
async fn answers_are_compressed_for_who_takes_that() {
    let host = host().await;
    host.store_rows("d", 1..=200, Level::Info).await;
    let plain = to_bytes(get(&host, "/api/logs/d", &[]).await.into_body(), 1 << 20).await.unwrap();
    for encoding in ["gzip", "zstd"] {
        let response =
            get(&host, "/api/logs/d", &[("accept-encoding", encoding), ("cache-control", "no-cache")]).await;
        assert_eq!(response.headers()["content-encoding"], encoding);
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let mut text = Vec::new();
        match encoding {
            "gzip" => drop(flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap()),
            _ => text = zstd::decode_all(&body[..]).unwrap(),
        }
        assert_eq!(text, plain, "{encoding}");
        assert!(body.len() * 4 < plain.len(), "{encoding}: {} of {}", body.len(), plain.len());
    }
    let small = get(&host, "/api/logs/nobody", &[("accept-encoding", "gzip")]).await;
    assert!(!small.headers().contains_key("content-encoding"));
    let stream = get(&host, "/api/tail", &[("accept-encoding", "gzip")]).await;
    assert!(!stream.headers().contains_key("content-encoding"), "events would wait in the compressor");
}

#[tokio::test]
async fn an_answer_that_the_client_has_is_not_sent_again() {
    let host = host().await;
    host.store_rows("d", 1..=3, Level::Info).await;
    for path in ["/api/logs/d", "/api/logs", "/api/stats"] {
        let first = get(&host, path, &[]).await;
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        assert!(tag.starts_with("W/\"") && tag.ends_with('"'), "{tag}");
        assert_eq!(first.headers()["cache-control"], "private, no-cache");
        for named in [tag.as_str(), &tag[2..], &format!("\"x\", {tag}"), "*"] {
            let again = get(&host, path, &[("if-none-match", named)]).await;
            assert_eq!(
                (again.status(), &again.headers()["etag"]),
                (StatusCode::NOT_MODIFIED, &first.headers()["etag"])
            );
            assert_eq!(again.headers()["vary"], "accept-encoding");
            assert_eq!(again.headers().get("vary"), first.headers().get("vary"));
            assert!(to_bytes(again.into_body(), 100).await.unwrap().is_empty());
        }
        assert_eq!(get(&host, path, &[("if-none-match", "\"other\"")]).await.status(), StatusCode::OK);
    }
    let tag = get(&host, "/api/logs", &[]).await.headers()["etag"].to_str().unwrap().to_owned();
    host.store_rows("d", 4..=4, Level::Info).await;
    assert_eq!(get(&host, "/api/logs", &[("if-none-match", &tag)]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_head_has_what_a_get_has_but_for_the_body() {
    let host = host().await;
    host.store_rows("d", 1..=3, Level::Info).await;
    let get = host.get("/api/logs").await;
    let head = host.call(Method::HEAD, "/api/logs").await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    for name in ["content-type", "content-length", "etag"] {
        assert_eq!(head.headers.get(name), get.headers.get(name), "{name}");
    }
}

#[tokio::test]
async fn other_sites_pages_may_use_the_api_only_where_they_are_named() {
    let ask = async |origins: CorsOrigins, origin: &str| {
        let host = host_with(HostSettings { cors_origins: origins, ..HostSettings::default() }).await;
        let asked = get(&host, "/api/stats", &[("origin", origin)]).await;
        let preflight = Request::options("/api/log")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,authorization,idempotency-key");
        let preflight = host.router.clone().oneshot(preflight.body(Body::empty()).unwrap()).await.unwrap();
        [asked, preflight].map(|response| {
            let allowed = response.headers().get("access-control-allow-origin");
            allowed.map(|value| value.to_str().unwrap().to_owned())
        })
    };
    let site = "https://console.example";
    let these = || CorsOrigins::These(vec![site.parse().unwrap()]);
    assert_eq!(ask(CorsOrigins::None, site).await, [None, None]);
    assert_eq!(ask(these(), site).await, [Some(site.to_owned()), Some(site.to_owned())]);
    assert_eq!(ask(these(), "https://evil.example").await, [None, None]);
    assert_eq!(ask(CorsOrigins::Any, site).await, [Some("*".to_owned()), Some("*".to_owned())]);
}

#[tokio::test]
async fn other_sites_pages_may_send_each_header_that_is_looked_at() {
    let settings = HostSettings { cors_origins: CorsOrigins::Any, ..HostSettings::default() };
    let preflight = Request::options("/api/log")
        .header("origin", "https://console.example")
        .header("access-control-request-method", "POST");
    let answer = host_with(settings).await.send(preflight.body(Body::empty()).unwrap()).await.ok(200);
    let allowed = answer.headers["access-control-allow-headers"].to_str().unwrap();
    let allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
    for name in [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-type",
        "idempotency-key",
        "if-none-match",
        "last-event-id",
        "traceparent",
        "x-request-id",
    ] {
        assert!(allowed.contains(&name), "{name} is not among {allowed:?}");
    }
    assert_eq!(answer.headers["allow"], "POST,OPTIONS");
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_browsers_from_guessing() {
    let host = host().await;
    for (path, status) in [("/api/stats", 200), ("/nothing", 404), ("/metrics", 200), ("/openapi.json", 200)]
    {
        let answer = host.get(path).await.ok(status);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(answer.headers[name], value, "{path}");
        }
        assert!(answer.headers.contains_key("cache-control") && answer.headers.contains_key("x-request-id"));
    }
    let posted: Answer =
        answer(host.router.clone().oneshot(common::json_post("/api/log", LOG)).await.unwrap()).await;
    assert_eq!(posted.headers["cache-control"], "no-store");
}
