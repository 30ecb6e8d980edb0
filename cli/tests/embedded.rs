//! `sawpit up`: everything in one process, with nothing installed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{Process, Signal, TempFolder};
use support::{Api, SOON, another_build, deploy, example_plugins, followed, free_address, run, sawpit};

fn up(address: SocketAddr, data: &Path, plugins: &Path) -> Process {
    let (address_text, data, plugins) =
        (address.to_string(), data.to_str().unwrap(), plugins.to_str().unwrap());
    let process = sawpit(&["up", "--listen", &address_text, "--data", data, "--plugins", plugins]);
    process.wait_http(address, "/health/ready", SOON);
    process
}

#[tokio::test]
async fn the_curl_line_of_the_first_minute_works_and_the_log_reads_back_enriched() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let process = up(address, data.path(), plugins.path());
    let printed = process.wait_line("curl", SOON);
    let curl = &printed[printed.find("curl").unwrap()..];
    let output = std::process::Command::new("sh").args(["-c", curl]).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{curl}: {e}: {}", String::from_utf8_lossy(&output.stdout)));
    assert_eq!(answer["status"], "queued", "{answer}");
    let api = Api::new(format!("http://{address}"));
    let row = api.wait_row("sensor-7", |row| row["message_id"] == answer["message_id"]).await;
    assert!(row["log_data"]["severity_number"].is_u64(), "not enriched: {row}");
    assert!(!row["message"].as_str().unwrap().contains('@'), "not redacted: {row}");
    assert_eq!(row["chain"].as_str().unwrap(), api.chain().await);
}

#[tokio::test]
async fn what_plugins_refused_is_counted_also_in_the_last_seconds_before_the_end() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let process = up(address, data.path(), plugins.path());
    let api = Api::new(format!("http://{address}"));
    let hot = r#"{"device_id":"sensor-1","log_level":"INFO","message":"m","log_data":{"temperature":"hot"}}"#;
    let (status, answer) = api.post("/api/log", hot.to_owned()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
    let _again = up(address, data.path(), plugins.path());
    // Another client: the connections of the first are those of the process that ended.
    let (_, stats) = Api::new(format!("http://{address}")).get("/api/stats").await;
    assert_eq!(
        (&stats["plugins"][0]["plugin"], &stats["plugins"][0]["rejected"]),
        (&"filter".into(), &1.into())
    );
}

#[test]
fn a_load_whose_logs_are_all_rejected_says_why_and_fails() {
    let (data, plugins, address) = (TempFolder::new("data"), TempFolder::new("plugins"), free_address());
    let _process = up(address, data.path(), plugins.path());
    let (bad, good) = (
        r#"{"device_id":"d","log_level":"LOUD","message":"m"}"#,
        r#"{"device_id":"d","log_level":"INFO","message":"m"}"#,
    );
    let (file, url) = (data.join("logs.ndjson"), format!("http://{address}"));
    for (logs, batch, rejected, code) in [
        ([bad, bad], "1", 2, 1),
        ([bad, bad], "2", 2, 1),
        ([bad, good], "2", 1, 0),
        ([good, good], "1", 0, 0),
    ] {
        std::fs::write(&file, logs.join("\n")).unwrap();
        let output = run(&["load", "--url", &url, "--file", file.to_str().unwrap(), "--batch", batch]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(&format!("{rejected} rejected")), "{said}");
        let why = said.lines().find(|line| line.starts_with("first rejection: "));
        assert_eq!(why.is_some(), rejected > 0, "{said}");
        assert!(why.is_none_or(|why| why.contains("log_level must be DEBUG")), "{said}");
    }
}

#[tokio::test]
async fn what_was_stored_before_an_index_is_found_once_it_is_indexed() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let dir = data.path().to_str().unwrap();
    let index = || {
        let output = run(&["index", "--data", dir, "--step", "1"]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let process = up(address, data.path(), plugins.path());
    let api = Api::new(format!("http://{address}"));
    let log = |n: u32| {
        format!(r#"{{"device_id":"d","log_level":"INFO","message":"door {n}","log_data":{{"n":{n}}}}}"#)
    };
    for n in 0..3 {
        let (_, answer) = api.post("/api/log", log(n)).await;
        api.wait_rows("d", &answer["message_id"], 1).await;
    }
    let (code, said) = index();
    assert!(code == Some(1) && said.contains("--text-index or --data-index"), "{code:?} {said}");
    assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
    let listen = address.to_string();
    let flags = ["up", "--listen", &listen, "--data", dir, "--plugins", plugins.path().to_str().unwrap()];
    let process = sawpit(&[&flags[..], &["--text-index", "--data-index"]].concat());
    process.wait_http(address, "/health/ready", SOON);
    let api = Api::new(format!("http://{address}"));
    let found = async |api: &Api| api.get("/api/logs?q=door&data.n=1").await.1["count"].clone();
    assert_eq!(found(&api).await, 0);
    // Beside the running system.
    let (code, said) = index();
    assert!(code == Some(0) && said.contains("3 rows; all that is stored is found"), "{code:?} {said}");
    assert_eq!(found(&api).await, 1);
    assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
    // Who says nothing of the indexes stores rows that are found like the others.
    let process = sawpit(&flags);
    process.wait_http(address, "/health/ready", SOON);
    let api = Api::new(format!("http://{address}"));
    let (_, answer) = api.post("/api/log", log(1)).await;
    api.wait_rows("d", &answer["message_id"], 1).await;
    assert_eq!(found(&api).await, 2);
    assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
    let process = sawpit(&[&flags[..], &["--text-index=false"]].concat());
    process.wait_http(address, "/health/ready", SOON);
    let api = Api::new(format!("http://{address}"));
    let (status, refused) = api.get("/api/logs?q=door").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
    assert_eq!(api.get("/api/logs?data.n=1").await.1["count"], 2, "the other is kept");
}

#[tokio::test]
async fn new_rows_are_followed_and_a_follower_does_not_hold_up_the_end() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let process = up(address, data.path(), plugins.path());
    let api = Api::new(format!("http://{address}"));
    let (mut tail, mut other) = (api.tail("watched").await, api.tail("nobody").await);
    let row = followed(&api, &mut tail, "watched").await;
    assert!(row["log_data"]["severity_number"].is_u64(), "not as it is stored: {row}");
    let stored = api.wait_row("watched", |stored| stored["message_id"] == row["message_id"]).await;
    assert_eq!(row, stored);
    let started = Instant::now();
    assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
    assert!(started.elapsed() < Duration::from_secs(8), "it waited for the followers");
    let rest = other.chunk().await;
    assert!(matches!(rest, Ok(None)), "{rest:?}");
}

#[tokio::test]
async fn a_row_tells_which_plugins_made_it_also_after_they_are_gone() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let _process = up(address, data.path(), plugins.path());
    let api = Api::new(format!("http://{address}"));
    let post = async |message: &str| {
        let log = format!(r#"{{"device_id":"prov-1","log_level":"ERROR","message":"{message}"}}"#);
        let (status, answer) = api.post("/api/log", log).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        api.wait_row("prov-1", |row| row["message_id"] == answer["message_id"]).await
    };
    let row = post("enriched").await;
    let chain = row["chain"].as_str().unwrap().to_owned();
    std::fs::remove_file(plugins.path().join("enrich.wasm")).unwrap();
    while api.chain().await == chain {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let plain = post("plain").await;
    // Chains are noted shortly after they begin to serve.
    let explained = async |chain: &str| {
        let deadline = Instant::now() + SOON;
        loop {
            let (status, page) = api.get(&format!("/api/chains/{chain}")).await;
            if status == StatusCode::OK {
                break page;
            }
            assert!(status == StatusCode::NOT_FOUND && Instant::now() < deadline, "{status} {page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    explained(plain["chain"].as_str().unwrap()).await;
    let page = explained(&chain).await;
    let names: Vec<_> =
        page["chains"][0]["plugins"].as_array().unwrap().iter().map(|it| &it["plugin"]).collect();
    assert_eq!(names, ["enrich", "filter", "transform"], "{page}");
    assert_eq!(page["chains"][0]["plugins"][0]["version"], "0.1.0");
    for (filter, found) in [("enrich", 1), ("enrich@0.1.0", 1), ("enrich@9.9.9", 0), ("transform", 2)] {
        let (_, page) = api.get(&format!("/api/logs/prov-1?plugin={filter}")).await;
        assert_eq!(page["total"], found, "{filter}: {page}");
    }
    let (status, problem) = api.get("/api/logs/prov-1?plugin=@1").await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (StatusCode::BAD_REQUEST, &"plugin".into()),
        "{problem}"
    );
    assert_eq!(api.get("/api/chains/0000000000000000").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn metrics_tell_what_each_version_of_a_plugin_costs_and_which_chain_serves() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let _process = up(address, data.path(), plugins.path());
    let api = Api::new(format!("http://{address}"));
    let log = r#"{"device_id":"m-1","log_level":"ERROR","message":"a@example.com","log_data":{"t":1}}"#;
    let (status, answer) = api.post("/api/log", log.to_owned()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    api.wait_rows("m-1", &answer["message_id"], 1).await;
    let page = support::text(&format!("http://{address}/metrics")).await;
    let value = |start: &str, labels: &[&str]| -> f64 {
        let line =
            page.lines().find(|line| line.starts_with(start) && labels.iter().all(|it| line.contains(it)));
        let line = line.unwrap_or_else(|| panic!("no {start} {labels:?} in {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    for plugin in ["plugin=\"filter\"", "plugin=\"enrich\"", "plugin=\"transform\""] {
        let labels = [plugin, "version=\"0.1.0\""];
        assert!(
            value("sawpit_plugin_copied_bytes_total{", &[&labels[..], &["direction=\"in\""]].concat()) > 0.0
        );
        assert!(
            value("sawpit_plugin_copied_bytes_total{", &[&labels[..], &["direction=\"out\""]].concat())
                >= 0.0
        );
        assert!(value("sawpit_plugin_instances{", &labels) >= 1.0, "{page}");
        assert!(value("sawpit_plugin_memory_high_water_bytes{", &labels) >= 65_536.0, "{page}");
    }
    let chain = u64::from_str_radix(&api.chain().await[..12], 16).unwrap();
    assert_eq!(value("sawpit_plugin_chain_id", &[]), chain as f64);
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_answered() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let process = up(address, data.path(), plugins.path());
    let api = Api::new(format!("http://{address}"));
    let mut answered = Vec::new();
    for number in 0..300 {
        let body = format!(
            r#"{{"device_id":"crash-1","log_level":"INFO","message":"number {number} {}","log_data":{{"n":{number}}}}}"#,
            "x".repeat(number)
        );
        let (status, answer) = api.post("/api/log", body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answered.push(answer["message_id"].clone());
    }
    process.kill();
    let address = free_address();
    let _again = up(address, data.path(), plugins.path());
    let api = Api::new(format!("http://{address}"));
    for id in answered {
        api.wait_rows("crash-1", &id, 1).await;
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_told_why_it_cannot_start() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let _first = up(address, data.path(), plugins.path());
    let second = run(&[
        "up",
        "--listen",
        &free_address().to_string(),
        "--data",
        data.path().to_str().unwrap(),
        "--plugins",
        plugins.path().to_str().unwrap(),
    ]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another process"), "{said}");
}

#[tokio::test]
async fn a_load_run_verifies_also_where_a_query_gives_few_rows() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let (listen, data) = (address.to_string(), data.path().to_str().unwrap().to_owned());
    let folders = ["--data", &data, "--plugins", plugins.path().to_str().unwrap()];
    let limits = ["--query-limit-max", "20", "--query-limit-default", "20"];
    let process = sawpit(&[&["up", "--listen", &listen][..], &folders, &limits].concat());
    process.wait_http(address, "/health/ready", SOON);
    let url = format!("http://{address}");
    let load = run(&["load", "--url", &url, "--seconds", "3", "--devices", "5", "--rate", "200", "--verify"]);
    let said = String::from_utf8_lossy(&load.stdout);
    assert_eq!(load.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&load.stderr));
    assert!(said.contains("0 missing, 0 doubled"), "{said}");
}

/// Posts batches of a device until the process takes no more; what was answered `queued`.
async fn post_to_the_end(address: SocketAddr, device_id: &str) -> BTreeSet<String> {
    let client = support::client().timeout(SOON).build().unwrap();
    let mut answered = BTreeSet::new();
    for number in 0.. {
        let log = |n| {
            format!(r#"{{"device_id":"{device_id}","log_level":"INFO","message":"number {number} of {n}"}}"#)
        };
        let body = format!(r#"{{"logs":[{}]}}"#, (0..20).map(log).collect::<Vec<_>>().join(","));
        let request = client.post(format!("http://{address}/api/logs/batch"));
        let answer = request.header("content-type", "application/json").body(body).send().await;
        let Some(answer) = answer.ok().filter(|answer| answer.status() == StatusCode::ACCEPTED) else {
            break;
        };
        let Ok(answer) = answer.json::<serde_json::Value>().await else { break };
        let ids = answer["message_ids"].as_array().unwrap().iter();
        answered.extend(ids.map(|id| id.as_str().unwrap().to_owned()));
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_and_in_a_drain_is_stored_once() {
    const DEVICES: [&str; 4] = ["drain-0", "drain-1", "drain-2", "drain-3"];
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let process = up(address, data.path(), plugins.path());
    let posting: Vec<_> = DEVICES.map(|device| tokio::spawn(post_to_the_end(address, device))).into();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
    let address = free_address();
    let _again = up(address, data.path(), plugins.path());
    let api = Api::new(format!("http://{address}"));
    for (device, posted) in DEVICES.into_iter().zip(posting) {
        let answered = posted.await.unwrap();
        assert!(!answered.is_empty(), "{device} was never answered");
        let deadline = Instant::now() + SOON;
        let rows = loop {
            let rows = api.rows_by_id(device).await;
            let missing = answered.iter().filter(|id| !rows.contains_key(*id)).count();
            if missing == 0 {
                break rows;
            }
            assert!(Instant::now() < deadline, "{missing} of {} of {device} are missing", answered.len());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let doubled: Vec<_> = answered.iter().filter(|id| rows[*id] > 1).collect();
        assert!(doubled.is_empty(), "{doubled:?}");
    }
}

/// How long each kind of change took to be served, the fastest of several: a machine that is busy elsewhere is slow now
/// and then, and what is slow by itself is so each time.
#[tokio::test]
async fn files_dropped_replaced_and_removed_take_effect_within_a_second_without_a_failed_request() {
    let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
    let enrich = plugins.join("enrich.wasm");
    let (first, second) = (std::fs::read(&enrich).unwrap(), another_build(&enrich));
    let _process = up(address, data.path(), plugins.path());
    let url = format!("http://{address}");
    let api = Api::new(url.clone());
    let load = sawpit(&["load", "--url", &url, "--seconds", "12", "--rate", "300"]);
    let mut fastest: BTreeMap<&str, Duration> = BTreeMap::new();
    for _ in 0..4 {
        for (kind, file) in [("replaced", Some(&second)), ("removed", None), ("dropped", Some(&first))] {
            let before = api.chain().await;
            match file {
                Some(bytes) => deploy(&enrich, bytes),
                None => std::fs::remove_file(&enrich).unwrap(),
            }
            let changed = Instant::now();
            while api.chain().await == before {
                assert!(changed.elapsed() < SOON, "a file was {kind}, and nothing came of it");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let took = changed.elapsed();
            fastest.entry(kind).and_modify(|least| *least = took.min(*least)).or_insert(took);
        }
    }
    // Only the first time is a file compiled, which a debug build does slowly.
    assert!(fastest.values().all(|took| *took < Duration::from_secs(1)), "{fastest:?}");
    let status = load.wait(SOON).unwrap();
    assert_eq!(status.code(), Some(0), "{}", load.output());
    assert!(load.output().contains(" 0 failed"), "{}", load.output());
}

#[test]
fn every_wrong_setting_is_named_at_once() {
    let output = run(&["up", "--listen", "nowhere", "--body-bytes", "many"]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("listen") && said.contains("nowhere"), "{said}");
    assert!(said.contains("body-bytes") && said.contains("many"), "{said}");
}

#[test]
fn limits_are_settings_that_are_checked() {
    let wrong = [
        ("plugin-start-timeout", "0s"),
        ("plugin-isolate-timeout", "2h"),
        ("plugin-instance-memory-percent", "101"),
        ("plugin-manifest-bytes", "0"),
        ("plugin-cases-bytes", "2GiB"),
        ("plugin-call-logs", "1001"),
        ("plugin-call-bytes", "0"),
        ("plugin-answer-bytes", "0"),
        ("plugin-outputs-per-input", "0"),
        ("plugin-text-bytes", "63"),
        ("plugin-log-lines", "-1"),
        ("plugin-settle", "2h"),
        ("dead-limit", "0"),
        ("retention", "23h"),
        ("token-refresh", "2h"),
        ("cors-origins", "https://a.example/path"),
        ("idempotency-key-bytes", "0B"),
        ("idempotency-note-bytes", "2GiB"),
        ("idempotency-ttl", "0s"),
        ("idempotency-keys", "0"),
        ("retry-after-max", "0s"),
        ("header-timeout", "0s"),
        ("idle-timeout", "0s"),
        ("answer-timeout", "0s"),
        ("drain-grace", "31s"),
        ("body-timeout", "0s"),
        ("request-timeout", "0s"),
        ("backlog-poll", "0s"),
        ("retry-after", "0s"),
        ("cache-ttl", "0s"),
        ("stats-ttl", "0s"),
        ("append-timeout", "0s"),
        ("block", "0s"),
        ("queue-group-bytes", "0B"),
        ("queue-waiting-bytes", "0B"),
        ("cache-memory-bytes", "2000GiB"),
        ("cache-timeout", "0s"),
        ("store-connect-timeout", "0s"),
        ("store-statement-timeout", "25h"),
        ("retry-base", "0s"),
        ("retry-max", "0s"),
        ("maintain-every", "0s"),
        ("consumer-keep", "0s"),
        ("unready-after", "0s"),
        ("plugin-poll", "0s"),
        ("plugin-threads", "1025"),
        ("worker-threads", "0"),
        ("threads", "1025"),
    ];
    let flags: Vec<String> = wrong.iter().map(|(name, value)| format!("--{name}={value}")).collect();
    let args: Vec<&str> = std::iter::once("up").chain(flags.iter().map(String::as_str)).collect();
    let output = run(&args);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    // Each on a line of its own, after its name.
    let told: BTreeSet<&str> =
        said.lines().filter_map(|line| line.trim_start().split([' ', ',']).next()).collect();
    let untold: Vec<_> = wrong.iter().filter(|(name, _)| !told.contains(name)).collect();
    assert!(untold.is_empty(), "{untold:?} were taken: {said}");
}

#[test]
fn an_unknown_flag_is_wrong_usage() {
    assert_eq!(run(&["up", "--no-such-flag"]).status.code(), Some(64));
    assert_eq!(run(&["no-such-command"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}
