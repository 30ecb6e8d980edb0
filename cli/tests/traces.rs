//! One trace from a device's request to its row, as a collector gets it from a running system.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{
    CollectedSpan, Collector, Guest, Postgres, Process, Redis, Signal, TRAP, TempFolder, free_port, on_letter,
};
use serde_json::{Value, json};
use support::{Api, SOON, example_plugins, free_address, run, sawpit};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const DEVICE: &str = "00f067aa0ba902b7";

struct Up {
    process: Process,
    api: Api,
    address: SocketAddr,
    _data: TempFolder,
}

fn up(plugins: &TempFolder, endpoint: &str, sample: &str) -> Up {
    let (data, address) = (TempFolder::new("data"), free_address());
    let listen = address.to_string();
    let process = sawpit(&[
        "up",
        "--listen",
        &listen,
        "--data",
        data.path().to_str().unwrap(),
        "--plugins",
        plugins.path().to_str().unwrap(),
        "--otlp-endpoint",
        endpoint,
        "--trace-sample",
        sample,
        "--log-format",
        "json",
    ]);
    process.wait_http(address, "/health/ready", SOON);
    Up { process, api: Api::new(format!("http://{address}")), address, _data: data }
}

impl Up {
    async fn post(&self, path: &str, body: Value, traceparent: Option<&str>) -> (StatusCode, Value) {
        let mut request = support::client().build().unwrap().post(format!("http://{}{path}", self.address));
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    /// Posts a log and waits for its row.
    async fn stored(&self, message: &str, traceparent: Option<&str>) -> String {
        let log = json!({"device_id": "t-1", "log_level": "ERROR", "message": message});
        let (status, answer) = self.post("/api/log", log, traceparent).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        self.api.wait_rows("t-1", &answer["message_id"], 1).await;
        answer["message_id"].as_str().unwrap().to_owned()
    }
}

fn from_device(flags: &str) -> String {
    format!("00-{TRACE}-{DEVICE}-{flags}")
}

/// The only span of this name that has this parent.
#[track_caller]
fn child<'a>(spans: &'a [CollectedSpan], parent: &str, name: &str) -> &'a CollectedSpan {
    let found: Vec<_> = spans.iter().filter(|span| span.parent_id == parent && span.name == name).collect();
    let [span] = found[..] else { panic!("{} spans {name} under {parent:?} in {spans:#?}", found.len()) };
    span
}

#[tokio::test]
async fn one_trace_goes_from_the_request_through_each_plugin_and_the_queue_to_the_row() {
    let (collector, plugins) = (Collector::start(), example_plugins());
    let up = up(&plugins, &collector.url(), "0");
    let id = up.stored("call ops@example.com", Some(&from_device("01"))).await;
    up.stored("not to be traced", Some(&from_device("00"))).await;
    up.stored("not chosen", None).await;
    assert_eq!(up.process.stop(Signal::TERM, SOON).code(), Some(0), "{}", up.process.output());

    let all = collector.spans();
    let spans: Vec<_> = all.iter().filter(|span| span.trace_id == TRACE).cloned().collect();
    let server = child(&spans, DEVICE, "POST /api/log");
    let filter = child(&spans, &server.span_id, "plugin filter");
    let enrich = child(&spans, &server.span_id, "plugin enrich");
    let send = child(&spans, &server.span_id, "send logs:stream");
    let process = child(&spans, &send.span_id, "process logs:stream");
    let transform = child(&spans, &process.span_id, "plugin transform");
    let commit = child(&spans, &process.span_id, "commit");
    assert_eq!(spans.len(), 7, "{spans:#?}");
    assert_eq!([server.kind, filter.kind, send.kind, process.kind, commit.kind], [2, 1, 4, 5, 3]);
    assert_eq!(server.attributes["http.request.method"], "POST");
    assert_eq!(server.attributes["http.route"], "/api/log");
    assert_eq!(server.attributes["http.response.status_code"], "202");
    for (span, stage, verdict) in
        [(filter, "filter", "accepted"), (enrich, "enrich", "changed"), (transform, "transform", "changed")]
    {
        assert_eq!(span.attributes["sawpit.plugin.stage"], stage);
        assert_eq!(span.attributes["sawpit.plugin.verdict"], verdict, "{span:?}");
        assert_eq!(span.attributes["sawpit.plugin.version"], "0.1.0");
    }
    assert_eq!(send.attributes["messaging.message.id"], id);
    assert_eq!(process.attributes["messaging.message.id"], id);
    assert_eq!(process.attributes["sawpit.outcome"], "committed");
    assert_eq!(commit.attributes["db.system.name"], "sqlite");

    let batch = child(&all, "", "process_batch logs:stream");
    assert_eq!(batch.links, [(TRACE.to_owned(), send.span_id.clone())]);
    assert_eq!(process.links, [(batch.trace_id.clone(), batch.span_id.clone())]);
    child(&all, &batch.span_id, "plugin transform");
    child(&all, &batch.span_id, "commit");
    assert_eq!(all.len(), 10, "nothing of what is not sampled: {all:#?}");

    for (before, after) in [(server, filter), (filter, enrich), (enrich, send), (send, process)] {
        assert!(before.start <= after.start, "{before:?} {after:?}");
    }
    assert!(all.iter().all(|span| span.start <= span.end && !span.failed && span.service == "sawpit"));
    let told = all.iter().flat_map(|span| span.attributes.values()).collect::<Vec<_>>();
    assert!(told.iter().all(|value| !value.contains("ops") && !value.contains("t-1")), "{told:?}");
}

#[tokio::test]
async fn the_trace_goes_on_in_the_worker_of_another_process() {
    let (collector, redis, postgres) = (Collector::start(), Redis::start(), Postgres::start());
    let (plugins, store) = (example_plugins(), postgres.create_database("sawpit"));
    let start = |command: &str, sample: &str| {
        let (address, queue) = (free_address(), redis.url());
        let (listen, plugins, url) = (address.to_string(), plugins.path().to_str().unwrap(), collector.url());
        let parts = ["--listen", &listen, "--queue", &queue, "--store", &store, "--plugins", plugins];
        let traces = ["--otlp-endpoint", &url, "--trace-sample", sample];
        let process = sawpit(&[&[command], &parts[..], &traces].concat());
        (address, process)
    };
    // The host decides; the worker would keep none.
    let ((address, host), (worker_address, worker)) = (start("host", "1"), start("worker", "0"));
    host.wait_http(address, "/health/ready", SOON);
    worker.wait_http(worker_address, "/health/ready", SOON);
    let api = Api::new(format!("http://{address}"));
    let log = json!({"device_id": "t-4", "log_level": "ERROR", "message": "a@example.com"}).to_string();
    let (status, answer) = api.post("/api/log", log).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    api.wait_rows("t-4", &answer["message_id"], 1).await;
    for process in [&host, &worker] {
        assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
    }
    let spans = collector.spans();
    let server = child(&spans, "", "POST /api/log");
    let send = child(&spans, &server.span_id, "send logs:stream");
    let process = child(&spans, &send.span_id, "process logs:stream");
    let commit = child(&spans, &process.span_id, "commit");
    child(&spans, &process.span_id, "plugin transform");
    assert_eq!([&send.service, &process.service], ["sawpit-host", "sawpit-worker"]);
    assert!([send, process, commit].iter().all(|span| span.trace_id == server.trace_id), "{spans:#?}");
    assert_eq!(send.attributes["messaging.system"], "redis");
    assert_eq!(commit.attributes["db.system.name"], "postgresql");
}

#[tokio::test]
async fn a_request_without_a_context_begins_a_trace_and_its_batch_shares_one_span_of_the_worker() {
    let (collector, plugins) = (Collector::start(), TempFolder::new("plugins"));
    let up = up(&plugins, &collector.url(), "1");
    let log =
        |number: usize| json!({"device_id": "t-2", "log_level": "INFO", "message": format!("{number}")});
    let logs: Vec<_> = (0..3).map(log).collect();
    let (status, answer) = up.post("/api/logs/batch", json!({"logs": logs}), None).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let spans = collector.wait(SOON, |spans| spans.iter().any(|span| span.name == "process logs:stream"));
    let server = child(&spans, "", "POST /api/logs/batch");
    let send = child(&spans, &server.span_id, "send logs:stream");
    let process = child(&spans, &send.span_id, "process logs:stream");
    assert_eq!(send.attributes["messaging.batch.message_count"], "3");
    assert_eq!(process.attributes["messaging.batch.message_count"], "3");
    child(&spans, &process.span_id, "commit");
    assert!([send, process].iter().all(|span| span.trace_id == server.trace_id), "{spans:#?}");
}

#[tokio::test]
async fn a_plugin_that_fails_is_seen_in_the_trace_and_the_log_lines_carry_its_id() {
    let (collector, plugins) = (Collector::start(), TempFolder::new("plugins"));
    std::fs::write(plugins.join("guest.wasm"), Guest::new("filter", on_letter('X', TRAP)).wasm()).unwrap();
    let up = up(&plugins, &collector.url(), "0");
    let log = json!({"device_id": "t-3", "log_level": "INFO", "message": "X"});
    let (status, answer) = up.post("/api/log", log, Some(&from_device("01"))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    let spans = collector.wait(SOON, |spans| spans.iter().any(|span| span.kind == 2));
    let server = child(&spans, DEVICE, "POST /api/log");
    assert_eq!((server.failed, server.attributes["error.type"].as_str()), (true, "503"));
    let plugin = child(&spans, &server.span_id, "plugin guest");
    assert_eq!((plugin.failed, plugin.attributes["error.type"].as_str()), (true, "trap"));
    assert_eq!(plugin.attributes["sawpit.plugin.verdict"], "failed");
    assert_eq!(spans.len(), 2, "nothing was sent: {spans:#?}");
    // Not that of a question for readiness, asked too early.
    let told = r#""message":"answered an error of ours","method":"POST","route":"/api/log","#;
    let line = up.process.wait_line(told, SOON);
    let line: Value = serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(line["trace_id"], TRACE, "{line}");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_log_and_the_dropped_spans_are_counted() {
    let plugins = TempFolder::new("plugins");
    let up = up(&plugins, &format!("http://127.0.0.1:{}", free_port()), "1");
    for number in 0..20 {
        up.stored(&format!("number {number}"), None).await;
    }
    let deadline = Instant::now() + SOON;
    loop {
        let page = support::text(&format!("http://{}/metrics", up.address)).await;
        let dropped = page.lines().find(|line| line.starts_with("sawpit_trace_spans_dropped_total{"));
        if dropped.is_some_and(|line| line.contains("\"export\"") && !line.ends_with(" 0")) {
            break;
        }
        assert!(Instant::now() < deadline, "{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let started = Instant::now();
    assert_eq!(up.process.stop(Signal::TERM, SOON).code(), Some(0), "{}", up.process.output());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let warnings = up.process.output().matches("the collector takes no spans").count();
    assert_eq!(warnings, 1, "one warning, not one for each export");
}

#[test]
fn wrong_settings_of_traces_are_named_all_at_once() {
    for command in ["up", "host", "worker"] {
        let output = run(&[
            command,
            "--otlp-endpoint",
            "ftp://collector:4318",
            "--trace-sample",
            "1.5",
            "--trace-queue-spans",
            "0",
            "--otlp-timeout",
            "2m",
        ]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        for part in ["otlp-endpoint", "trace-sample", "must be 0 to 1", "trace-queue-spans", "otlp-timeout"] {
            assert!(text.contains(part), "{command}: no {part} in {text}");
        }
    }
}
