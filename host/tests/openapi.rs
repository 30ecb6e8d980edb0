//! The description of the API holds what is really answered; the operator's pages are there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::http::Method;
use common::{host, host_with, host_with_plugins, json_post};
use sawpit_host::HostSettings;
use sawpit_model::{Level, Limits};
use sawpit_testkit::workspace_root;
use serde_json::{Value, json};

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap_or_else(|| panic!("no object: {object}")).keys().cloned().collect()
}

fn described(document: &Value, schema: &str) -> BTreeSet<String> {
    keys(&document["components"]["schemas"][schema]["properties"])
}

fn required(document: &Value, schema: &str) -> BTreeSet<String> {
    let required = document["components"]["schemas"][schema]["required"].as_array().unwrap();
    required.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_document_names_every_route_and_method() {
    let host = host().await;
    let document = host.get("/openapi.json").await.ok(200).json;
    let paths = document["paths"].as_object().unwrap();
    let routes: Vec<(String, Vec<String>)> =
        paths.iter().map(|(path, item)| (path.clone(), keys(item).into_iter().collect())).collect();
    let expected = [
        ("/api/chains/{id}", "get"),
        ("/api/log", "post"),
        ("/api/logs", "get"),
        ("/api/logs/batch", "post"),
        ("/api/logs/{device_id}", "get"),
        ("/api/plugins", "get"),
        ("/api/plugins/{file}/differences", "get"),
        ("/api/stats", "get"),
        ("/api/tail", "get"),
        ("/health/live", "get"),
        ("/health/ready", "get"),
        ("/metrics", "get"),
    ];
    let mut found: Vec<_> =
        routes.iter().map(|(path, methods)| (path.as_str(), methods[0].as_str())).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    // The one answer without an end of its own ends with the process.
    host.shutdown.trigger();
    for (path, method) in expected {
        let path = path.replace("{device_id}", "d").replace("{id}", "none");
        let answer = host.call(method.to_uppercase().parse().unwrap(), &path).await;
        assert_ne!(answer.status.as_u16(), 405, "{path}");
        assert!(!answer.text.contains("unknown-route"), "{path} {}", answer.text);
    }
}

#[tokio::test]
async fn the_header_allow_names_the_methods_that_are_described_and_options() {
    let host = host().await;
    let document = host.get("/openapi.json").await.ok(200).json;
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut methods: BTreeSet<String> = keys(item).iter().map(|method| method.to_uppercase()).collect();
        methods.insert("OPTIONS".to_owned());
        // The device of that name is described at the path of all devices.
        if path == "/api/logs/batch" {
            methods.insert("GET".to_owned());
        }
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        let path = path.replace("{device_id}", "d").replace("{id}", "none");
        for (method, status) in [(Method::DELETE, 405), (Method::OPTIONS, 204)] {
            let answer = host.call(method, &path).await.ok(status);
            let allowed = answer.headers["allow"].to_str().unwrap().split(',').map(str::to_owned);
            assert_eq!(allowed.collect::<BTreeSet<_>>(), methods, "{path}");
        }
    }
}

#[tokio::test]
async fn answers_have_the_fields_that_are_described() {
    let host = host().await;
    let document = host.get("/openapi.json").await.ok(200).json;
    host.store_rows("d", 1..=1, Level::Info).await;
    let log = r#"{"device_id":"d","log_level":"INFO","message":"m"}"#;
    let rows = host.get("/api/logs/d").await.ok(200).json;
    let plugins = host_with_plugins(HostSettings::default(), &[("enrich", "")]).await;
    let plugins = plugins.get("/api/plugins").await.ok(200).json;
    for (schema, answer) in [
        ("PluginRow", plugins["plugins"][0].clone()),
        ("Queued", host.log(log).await.ok(202).json),
        ("BatchAnswer", host.batch(format!("{{\"logs\":[{log}]}}")).await.ok(202).json),
        ("RowsAnswer", rows.clone()),
        ("Row", rows["data"][0].clone()),
        ("StatsAnswer", host.get("/api/stats").await.ok(200).json),
        ("PluginsPage", host.get("/api/plugins").await.ok(200).json),
        ("ProblemBody", host.log("{}").await.json),
    ] {
        let (described, required, found) =
            (described(&document, schema), required(&document, schema), keys(&answer));
        assert!(found.is_subset(&described), "{schema}: {found:?} is more than {described:?}");
        assert!(required.is_subset(&found), "{schema}: {found:?} is less than {required:?}");
    }
}

/// Each schema that has properties: its name and itself.
fn objects(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let schemas = document["components"]["schemas"].as_object().unwrap();
    schemas.iter().filter(|(_, schema)| schema["properties"].is_object())
}

#[tokio::test]
async fn what_is_not_described_is_no_answer() {
    let document = host().await.get("/openapi.json").await.ok(200).json;
    assert!(objects(&document).count() > 10);
    for (name, schema) in objects(&document) {
        assert_eq!(schema["additionalProperties"], false, "{name} may hold anything");
    }
    for path in ["/api/logs", "/api/logs/{device_id}", "/api/stats"] {
        let get = &document["paths"][path]["get"];
        assert!(get["responses"]["304"]["headers"]["ETag"].is_object(), "{path}: {get}");
        assert!(get["responses"]["200"]["headers"]["ETag"].is_object(), "{path}: {get}");
        let parameters = get["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|one| one["name"] == "If-None-Match"), "{path}: {parameters:?}");
    }
    for path in ["/api/stats", "/api/plugins", "/api/plugins/{file}/differences", "/api/chains/{id}"] {
        assert!(document["paths"][path]["get"]["responses"]["400"].is_object(), "{path} takes no parameters");
    }
    for (path, item) in
        document["paths"].as_object().unwrap().iter().filter(|(path, _)| !path.starts_with("/health/"))
    {
        for (method, operation) in item.as_object().unwrap() {
            for status in ["401", "403", "429", "500", "503"] {
                assert!(
                    operation["responses"][status].is_object(),
                    "{method} {path} does not tell of {status}"
                );
            }
        }
    }
}

#[tokio::test]
async fn limits_are_those_of_the_host() {
    let limits = Limits { device_id_bytes: 11, message_bytes: 12_345, batch_logs: 77, ..Limits::default() };
    let settings =
        HostSettings { limits, query_limit_max: 222, query_limit_default: 55, ..HostSettings::default() };
    let text = host_with(settings).await.get("/openapi.json").await.ok(200).text;
    let document: Value = serde_json::from_str(&text).unwrap();
    let of = |schema: &str, property: &str| {
        document["components"]["schemas"][schema]["properties"][property].clone()
    };
    assert_eq!(of("LogBody", "device_id")["maxLength"], json!(11));
    assert_eq!(of("LogBody", "message")["maxLength"], json!(12_345));
    assert_eq!(of("BatchBody", "logs")["maxItems"], json!(77));
    for told in ["1 to 11 bytes", "1 to 12345 bytes", "1 to 77 logs", "1 to 222; 55 when not given"] {
        assert!(text.contains(told), "{told}");
    }
    assert!(!text.contains('%'), "a limit has no value");
}

/// What stands behind `route=~"` in alerts and panels, for the series whose name is in the text.
fn routes_of(text: &str) -> Vec<BTreeSet<String>> {
    let text = text.replace("\\\"", "\"");
    let patterns = text.split("route=~\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    // A brace is written as a class, since it would mean a count.
    let plain = |one: &str| one.replace("[{]", "{").replace("[}]", "}");
    patterns.map(|pattern| pattern.split('|').map(plain).collect()).collect()
}

#[tokio::test]
async fn alerts_and_panels_take_for_posts_what_is_posted_and_for_queries_what_is_asked() {
    let document = host().await.get("/openapi.json").await.ok(200).json;
    let routes = |method: &str| -> BTreeSet<String> {
        let paths = document["paths"].as_object().unwrap().iter();
        paths.filter(|(_, item)| item[method].is_object()).map(|(path, _)| path.clone()).collect()
    };
    let queries: BTreeSet<String> =
        routes("get").into_iter().filter(|path| path.starts_with("/api/logs")).collect();
    let mut found = Vec::new();
    for file in ["monitoring/alerts.yml", "monitoring/grafana/dashboards/sawpit.json"] {
        found.extend(routes_of(&std::fs::read_to_string(workspace_root().join(file)).unwrap()));
    }
    for pattern in &found {
        assert!(*pattern == routes("post") || *pattern == queries, "{pattern:?}");
    }
    assert!(found.contains(&routes("post")) && found.contains(&queries) && found.len() >= 5, "{found:?}");
}

#[tokio::test]
async fn who_reads_at_the_path_of_batches_is_no_post() {
    let host = host().await;
    host.get("/api/logs/batch").await.ok(200);
    host.batch("{}").await;
    let metrics = host.get("/metrics").await.ok(200).text;
    let counts = |method: &str| {
        let line = format!("sawpit_http_requests_total{{route=\"/api/logs/batch\",method=\"{method}\"");
        metrics.contains(&line)
    };
    assert!(counts("POST") && !counts("GET"), "{metrics}");
}

#[tokio::test]
async fn metrics_name_routes_and_never_devices() {
    let host = host().await;
    host.get("/api/logs/a-secret-device").await.ok(200);
    host.get("/no/such/page").await;
    host.send(json_post("/api/log", "{}")).await;
    let metrics = host.get("/metrics").await.ok(200).text;
    let counted = |route: &str, status: &str| {
        metrics.lines().any(|line| {
            line.starts_with("sawpit_http_requests_total{")
                && line.contains(&format!("route=\"{route}\""))
                && line.contains(&format!("status=\"{status}\""))
        })
    };
    assert!(counted("/api/logs/{device_id}", "200"), "{metrics}");
    assert!(counted("unmatched", "404"));
    assert!(counted("/api/log", "422"));
    assert!(metrics.contains("sawpit_http_request_duration_seconds"));
    assert!(!metrics.contains("a-secret-device"));
}

#[tokio::test]
async fn health_is_answered() {
    let host = host().await;
    host.get("/health/live").await.ok(200);
    host.get("/health/ready").await.ok(200);
}

/// An alert waits for the gauge, so it must be there while the file is, and no longer.
#[tokio::test]
async fn a_refused_file_is_shown_until_it_is_gone() {
    let host = host().await;
    let file = host.folder.join("plugins").join("broken.wasm");
    let shown = async |value: &str| {
        let line = format!("sawpit_plugin_refused{{file=\"broken.wasm\"}} {value}");
        let until = Instant::now() + Duration::from_secs(20);
        while !host.get("/metrics").await.ok(200).text.lines().any(|shown| shown == line) {
            assert!(Instant::now() < until, "no {line}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    std::fs::write(&file, "no wasm").unwrap();
    shown("1").await;
    std::fs::remove_file(&file).unwrap();
    shown("0").await;
}
