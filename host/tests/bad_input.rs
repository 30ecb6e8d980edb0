//! Each kind of bad input is refused with a problem that names the field and the rule, and nothing is queued.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::io::Write;

use axum::body::Body;
use axum::http::{Method, Request};
use bytes::Bytes;
use common::{Hosted, host, host_with, json_post};
use sawpit_host::HostSettings;
use sawpit_model::Limits;

fn log(device_id: &str, level: &str, message: &str, data: &str) -> String {
    format!(r#"{{"device_id":{device_id},"log_level":{level},"message":{message},"log_data":{data}}}"#)
}

fn with_data(data: &str) -> String {
    log(r#""d""#, r#""INFO""#, r#""m""#, data)
}

async fn nothing_queued(host: &Hosted) {
    assert_eq!(host.queue.backlog().await.unwrap(), 0);
}

#[tokio::test]
async fn malformed_json_is_400_with_line_and_column() {
    let host = host().await;
    let answer =
        host.log("{\"device_id\": \"d\",\n  \"log_level\" \"INFO\"}").await.problem(400, "malformed-json");
    assert_eq!(answer.json["line"], 2);
    assert!(answer.json["column"].as_u64().unwrap() > 10, "{}", answer.text);
    for body in ["", "{", "{\"a\":1}}", "nul", "{'a':1}", "{\"a\":01}", "{\"a\":NaN}"] {
        host.log(body).await.problem(400, "malformed-json");
        host.batch(body).await.problem(400, "malformed-json");
    }
    nothing_queued(&host).await;
}

#[tokio::test]
async fn json_that_is_no_object_is_422() {
    let host = host().await;
    for body in ["null", "[]", "1", "\"text\""] {
        host.log(body).await.problem(422, "invalid-log");
        host.batch(body).await.problem(422, "invalid-log");
    }
}

#[tokio::test]
async fn wrong_types_are_named_all_at_once() {
    let host = host().await;
    host.log(log("1", "2", "[]", "\"x\""))
        .await
        .problem(422, "invalid-log")
        .field("device_id", "must be a string")
        .field("log_level", "must be a string")
        .field("message", "must be a string")
        .field("log_data", "object");
    host.log("{}")
        .await
        .problem(422, "invalid-log")
        .field("device_id", "required")
        .field("message", "required");
    host.batch(r#"{"logs":{}}"#).await.problem(422, "invalid-log").field("logs", "must be an array");
    nothing_queued(&host).await;
}

#[tokio::test]
async fn an_unknown_level_is_refused_and_any_case_is_taken() {
    let host = host().await;
    host.log(log(r#""d""#, r#""FATAL""#, r#""m""#, "{}"))
        .await
        .problem(422, "invalid-log")
        .field("log_level", "DEBUG, INFO, WARNING, ERROR or CRITICAL");
    host.log(log(r#""d""#, r#""wArNiNg""#, r#""m""#, "{}")).await.ok(202);
}

#[tokio::test]
async fn empty_and_over_long_fields_are_refused_and_the_longest_is_taken() {
    let host = host().await;
    let quoted = |len: usize| format!("\"{}\"", "x".repeat(len));
    let object = |len: usize| format!("{{\"k\":\"{}\"}}", "x".repeat(len - 8));
    host.log(log("\"\"", "\"INFO\"", "\"\"", "{}"))
        .await
        .problem(422, "invalid-log")
        .field("device_id", "1 to 64 bytes")
        .field("message", "1 to 16384 bytes");
    host.log(log(&quoted(65), "\"INFO\"", &quoted(16_385), &object(65_537)))
        .await
        .problem(422, "invalid-log")
        .field("device_id", "64")
        .field("message", "16384")
        .field("log_data", "65536");
    host.log(log(&quoted(64), "\"INFO\"", &quoted(16_384), &object(65_536))).await.ok(202);
}

#[tokio::test]
async fn nul_and_lone_surrogates_are_refused_in_every_text() {
    let host = host().await;
    for bad in ["\"a\\u0000b\"", "\"\\ud800\""] {
        host.log(log(bad, "\"INFO\"", bad, &format!("{{\"k\":{bad}}}")))
            .await
            .problem(422, "invalid-log")
            .field("device_id", "must not")
            .field("message", "must not")
            .field("log_data", "must not");
    }
    host.log("{\"device_id\":\"a\0b\"}").await.problem(400, "malformed-json");
    nothing_queued(&host).await;
}

#[tokio::test]
async fn broken_utf8_is_400() {
    let host = host().await;
    let body = [b"{\"device_id\":\"".as_slice(), b"\xff\xfe", b"\"}"].concat();
    host.log(body.clone()).await.problem(400, "malformed-json");
    host.batch(body).await.problem(400, "malformed-json");
}

#[tokio::test]
async fn deep_nesting_is_limited() {
    let host = host().await;
    let nested = |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{}", "}".repeat(depth - 1));
    host.log(with_data(&nested(65))).await.problem(422, "invalid-log").field("log_data", "64");
    host.log(with_data(&nested(64))).await.ok(202);
    // So deep that a parser which recurses would end the process.
    let answer = host.log(with_data(&format!("{{\"a\":{}", "[".repeat(500_000)))).await;
    assert!(answer.status.is_client_error(), "{}", answer.status);
    nothing_queued_but(&host, 1).await;
}

async fn nothing_queued_but(host: &Hosted, logs: u64) {
    assert_eq!(host.queue.backlog().await.unwrap(), logs);
}

#[tokio::test]
async fn a_field_given_twice_is_refused() {
    let host = host().await;
    host.log(r#"{"device_id":"a","device_id":"b","log_level":"INFO","message":"m"}"#)
        .await
        .problem(422, "invalid-log")
        .field("device_id", "once");
    host.log(r#"{"device_id":"a","log_level":"INFO","message":"m","mesage":"m"}"#)
        .await
        .problem(422, "invalid-log")
        .field("mesage", "unknown");
}

#[tokio::test]
async fn huge_numbers_are_refused_and_large_ones_kept_as_sent() {
    let host = host().await;
    let digits = "9".repeat(1_001);
    host.log(with_data(&format!("{{\"n\":{digits}}}")))
        .await
        .problem(422, "invalid-log")
        .field("log_data", "1000");
    host.log(with_data("{\"n\":1e400}")).await.problem(422, "invalid-log").field("log_data", "");
    host.log(with_data("{\"n\":123456789012345678901234567890}")).await.ok(202);
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_json_is_415() {
    let host = host().await;
    let body = with_data("{}");
    for path in ["/api/log", "/api/logs/batch"] {
        for kind in ["text/plain", "application/json; charset=latin1", "application/x-www-form-urlencoded"] {
            let request =
                Request::post(path).header("content-type", kind).body(Body::from(body.clone())).unwrap();
            host.send(request).await.problem(415, "wrong-content-type");
        }
        let refused = host.send(Request::post(path).body(Body::from(body.clone())).unwrap()).await;
        let refused = refused.problem(415, "wrong-content-type");
        assert!(!refused.headers.contains_key("accept-encoding"), "that is not what is wrong");
        let mut packed = json_post(path, body.clone());
        packed.headers_mut().insert("content-encoding", "br".parse().unwrap());
        let refused = host.send(packed).await.problem(415, "wrong-content-encoding");
        assert_eq!(refused.headers["accept-encoding"], "gzip, zstd");
    }
    let mut utf8 = json_post("/api/log", body);
    utf8.headers_mut().insert("content-type", "application/json; charset=utf-8".parse().unwrap());
    host.send(utf8).await.ok(202);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_with_and_without_content_length() {
    let limits = Limits { body_bytes: 1_000, ..Limits::default() };
    let host = host_with(HostSettings { limits, ..HostSettings::default() }).await;
    let padded = |len: usize| {
        let body = with_data("{}");
        format!("{body}{}", " ".repeat(len - body.len()))
    };
    let mut announced = json_post("/api/log", "{}");
    announced.headers_mut().insert("content-length", "1001".parse().unwrap());
    host.send(announced).await.problem(413, "body-too-large");
    for path in ["/api/log", "/api/logs/batch"] {
        host.send(json_post(path, chunked(padded(1_001)))).await.problem(413, "body-too-large");
    }
    nothing_queued(&host).await;
    host.send(json_post("/api/log", chunked(padded(1_000)))).await.ok(202);
}

/// A body of unknown length, in pieces.
fn chunked(text: String) -> Body {
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        text.as_bytes().chunks(100).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn a_batch_has_1_to_1000_logs() {
    let host = host().await;
    let batch = |n: usize| format!("{{\"logs\":[{}]}}", vec![with_data("{}"); n].join(","));
    for n in [0, 1_001] {
        host.batch(batch(n)).await.problem(422, "invalid-batch").field("logs", "1 to 1000");
    }
    nothing_queued(&host).await;
    assert_eq!(host.batch(batch(1_000)).await.ok(202).json["count"], 1_000);
    assert_eq!(host.batch(batch(1)).await.ok(202).json["count"], 1);
}

#[tokio::test]
async fn an_unknown_route_is_404() {
    let host = host().await;
    for path in ["/", "/api", "/api/logs/", "/api/log/", "/API/LOG", "/api/logs/a/b", "/favicon.ico"] {
        host.get(path).await.problem(404, "unknown-route");
    }
    host.log(with_data("{}")).await.ok(202);
}

#[tokio::test]
async fn a_parameter_where_there_are_none_is_named() {
    let host = host().await;
    for path in ["/api/stats", "/api/plugins", "/api/plugins/x.wasm/differences", "/api/chains/none"] {
        host.get(&format!("{path}?since=2026-01-01T00:00:00Z&bogus"))
            .await
            .problem(400, "bad-query")
            .field("since", "not a parameter")
            .field("bogus", "not a parameter");
        assert_ne!(host.get(&format!("{path}?")).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_and_names_the_right_ones() {
    let host = host().await;
    for (method, path, allow) in [
        (Method::GET, "/api/log", "POST"),
        (Method::DELETE, "/api/logs/batch", "POST"),
        (Method::POST, "/api/logs/d", "GET"),
        (Method::PUT, "/api/stats", "GET"),
        (Method::POST, "/health/live", "GET"),
        (Method::POST, "/metrics", "GET"),
        (Method::PATCH, "/openapi.json", "GET"),
    ] {
        let answer = host.call(method, path).await.problem(405, "wrong-method");
        assert!(answer.headers["allow"].to_str().unwrap().contains(allow), "{path}: {:?}", answer.headers);
    }
    let options = host.call(Method::OPTIONS, "/api/log").await.ok(204);
    assert_eq!(options.headers["allow"], "POST,OPTIONS");
    assert!(!host.call(Method::OPTIONS, "/nothing").await.headers.contains_key("allow"));
    let head = host.call(Method::HEAD, "/api/plugins").await.ok(200);
    assert_eq!(head.text, "");
}

#[tokio::test]
async fn bad_members_of_a_batch_do_not_spoil_the_rest() {
    let host = host().await;
    let members =
        [with_data("{}"), log("\"\"", "\"INFO\"", "\"m\"", "{}"), with_data("{\"a\":1}"), "17".to_owned()];
    let answer = host.batch(format!("{{\"logs\":[{}]}}", members.join(","))).await.ok(202);
    assert_eq!(answer.json["status"], "queued");
    assert_eq!(answer.json["count"], 2);
    let ids = answer.json["message_ids"].as_array().unwrap();
    assert_eq!(ids.iter().map(|id| id.is_string()).collect::<Vec<_>>(), [true, false, true, false]);
    let rejected = answer.json["rejected"].as_array().unwrap();
    assert_eq!((rejected[0]["index"].as_u64(), rejected[1]["index"].as_u64()), (Some(1), Some(3)));
    assert!(rejected[0]["plugin"].is_null());
    assert_eq!(rejected[0]["errors"][0]["field"], "logs[1].device_id");
    assert_eq!(answer.json["dropped"].as_array().unwrap().len(), 0);
    nothing_queued_but(&host, 2).await;
}

#[tokio::test]
async fn a_batch_that_is_all_bad_is_422_with_each_reason() {
    let host = host().await;
    let answer = host.batch(r#"{"logs":[1,{}]}"#).await.problem(422, "all-refused");
    assert_eq!(answer.json["rejected"].as_array().unwrap().len(), 2);
    nothing_queued(&host).await;
}

#[tokio::test]
async fn a_query_that_is_not_utf8_or_badly_encoded_names_the_parameter() {
    let host = host().await;
    for path in ["/api/logs", "/api/logs/d", "/api/tail"] {
        for (query, field) in [
            ("data.%FF=1", "data.%FF"),
            ("data.a=%FF", "data.a"),
            ("q=%zz", "q"),
            ("q=%FF", "q"),
            ("q=a%2", "q"),
            ("log_level=%C3", "log_level"),
        ] {
            let answer = host.get(&format!("{path}?{query}")).await.problem(400, "bad-query");
            answer.field(field, "must be UTF-8, percent-encoded");
        }
    }
    host.get("/api/tail?device_id=%FF").await.problem(400, "bad-query").field("device_id", "UTF-8");
    host.get("/api/stats?a=%FF").await.problem(400, "bad-query").field("a", "UTF-8");
}

#[tokio::test]
async fn an_answer_tells_of_so_many_problems_and_how_many_more_there_are() {
    let host = host().await;
    let unknown = |count: usize| (0..count).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
    for path in ["/api/logs", "/api/tail", "/api/stats"] {
        let many = host.get(&format!("{path}?{}", unknown(2_000))).await.problem(400, "bad-query");
        let told = many.json["errors"].as_array().unwrap().len();
        assert_eq!((told, many.json["more_errors"].as_u64()), (50, Some(1_950)), "{path}");
        assert!(
            many.json["detail"].as_str().unwrap().ends_with("and 1950 more problems, which are not told")
        );
        assert!(many.text.len() < 20_000, "{path}: {} bytes", many.text.len());
        let all = host.get(&format!("{path}?{}", unknown(50))).await.problem(400, "bad-query");
        let told = all.json["errors"].as_array().unwrap().len();
        assert_eq!((told, all.json.get("more_errors")), (50, None), "{path}");
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn packed(codings: &[&str], body: Vec<u8>) -> Request<Body> {
    let mut request = json_post("/api/log", body);
    for coding in codings {
        request.headers_mut().append("content-encoding", coding.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_coding_is_known_in_any_case_and_by_its_old_name() {
    let host = host().await;
    for coding in ["GZIP", "GZip", "x-gzip", "X-GZIP"] {
        host.send(packed(&[coding], gzip(&with_data("{}")))).await.ok(202);
    }
    host.send(packed(&["ZSTD"], zstd::encode_all(with_data("{}").as_bytes(), 3).unwrap())).await.ok(202);
    host.send(packed(&["IDENTITY"], with_data("{}").into())).await.ok(202);
    for codings in [&["gzip", "gzip"][..], &["identity", "br"], &["gzip,zstd"]] {
        host.send(packed(codings, gzip(&with_data("{}")))).await.problem(415, "wrong-content-encoding");
    }
    nothing_queued_but(&host, 6).await;
}

#[tokio::test]
async fn gzip_of_several_members_is_read_to_its_last_byte() {
    let limits = Limits { body_bytes: 1_000, ..Limits::default() };
    let host = host_with(HostSettings { limits, ..HostSettings::default() }).await;
    let body = with_data("{}");
    let (one, two) = body.split_at(20);
    let members = [gzip(one), gzip(""), gzip(two)].concat();
    host.send(packed(&["gzip"], members.clone())).await.ok(202);
    let garbage = [members.clone(), b"garbage".to_vec()].concat();
    let answer = host.send(packed(&["gzip"], garbage)).await.problem(400, "body-unreadable");
    assert!(answer.json["detail"].as_str().unwrap().contains("to its last byte"), "{}", answer.text);
    let cut = members[..members.len() - 3].to_vec();
    host.send(packed(&["gzip"], cut)).await.problem(400, "body-unreadable");
    let large = [members, gzip(&" ".repeat(1_000))].concat();
    host.send(packed(&["gzip"], large)).await.problem(413, "body-too-large");
    nothing_queued_but(&host, 1).await;
}
