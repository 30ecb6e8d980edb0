//! The description of the API holds what is really answered; the operator's pages are there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::{host, json_post};
use sawpit_model::Level;
use serde_json::Value;

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
async fn answers_have_the_fields_that_are_described() {
    let host = host().await;
    let document = host.get("/openapi.json").await.ok(200).json;
    host.store_rows("d", 1..=1, Level::Info).await;
    let log = r#"{"device_id":"d","log_level":"INFO","message":"m"}"#;
    let rows = host.get("/api/logs/d").await.ok(200).json;
    for (schema, answer) in [
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
