//! Whatever an operator drops into the folder: the system serves throughout, and says what is wrong with it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{ANSWER, ENDLESS, Guest, Process, TRAP, TempFolder, answer, on_letter, put};
use serde_json::Value;
use support::{Api, SOON, deploy, example_plugins, free_address, sawpit, text};
use tokio::task::JoinHandle;

/// The letter that sets a guest off; no message of the traffic holds it.
const CULPRIT: &str = "X";

/// A running system with the example plugins, and devices that post to it all the time.
struct System {
    process: Process,
    api: Api,
    plugins: TempFolder,
    done: Arc<AtomicBool>,
    devices: Vec<JoinHandle<usize>>,
    _data: TempFolder,
}

impl System {
    fn start() -> Self {
        let (data, plugins, address) = (TempFolder::new("data"), example_plugins(), free_address());
        let paths = [data.path(), plugins.path()].map(|path| path.to_str().unwrap().to_owned());
        let listen = address.to_string();
        let process = sawpit(&["up", "--listen", &listen, "--data", &paths[0], "--plugins", &paths[1]]);
        process.wait_http(address, "/health/ready", SOON);
        let done = Arc::new(AtomicBool::new(false));
        let devices = (0..2).map(|n| tokio::spawn(device(address, n, Arc::clone(&done)))).collect();
        Self { process, api: Api::new(format!("http://{address}")), plugins, done, devices, _data: data }
    }

    /// What `/api/plugins` says of the file.
    async fn status(&self, file: &str) -> Value {
        let (status, page) = self.api.get("/api/plugins").await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let mut plugins = page["plugins"].as_array().unwrap().iter();
        plugins.find(|plugin| plugin["file"] == file).cloned().unwrap_or_default()
    }

    async fn wait_status(&self, file: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.status(file).await;
            if fits(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{file} was never {what}; last: {status}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn drop_in(&self, name: &str, wasm: &[u8], manifest: &str) -> PathBuf {
        let path = self.plugins.join(&format!("{name}.wasm"));
        fs::write(path.with_extension("toml"), manifest).unwrap();
        deploy(&path, wasm);
        path
    }

    /// Drops a file in, waits for its refusal, which must say `why`, and takes it out again.
    async fn refuses(&self, name: &str, wasm: &[u8], why: &str) {
        let path = self.drop_in(name, wasm, "");
        let file = format!("{name}.wasm");
        let status = self.wait_status(&file, "refused", |status| status["state"] == "refused").await;
        let refusal = status["refusal"].as_str().unwrap();
        assert!(refusal.contains(why), "{name}: {refusal} lacks {why}");
        self.take_out(&path).await;
    }

    async fn take_out(&self, path: &std::path::Path) {
        fs::remove_file(path).unwrap();
        let _ = fs::remove_file(path.with_extension("toml"));
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        self.wait_status(&file, "gone", Value::is_null).await;
    }

    /// Ends the traffic. It is over only when every post was answered `queued`.
    async fn finish(self) {
        self.done.store(true, Ordering::Relaxed);
        for device in self.devices {
            assert!(device.await.unwrap() > 0, "a device never got to post");
        }
        assert!(self.process.is_running(), "{}", self.process.output());
    }
}

/// Posts singly and in batches until it is done. How many posts; panics at one that was not taken whole.
async fn device(address: SocketAddr, number: usize, done: Arc<AtomicBool>) -> usize {
    let api = Api::new(format!("http://{address}"));
    let log = format!(
        r#"{{"device_id":"sensor-{number}","log_level":"INFO","message":"fine","log_data":{{"temperature":21.5}}}}"#
    );
    let batch = format!(r#"{{"logs":[{log},{log},{log}]}}"#);
    let mut posts = 0;
    while !done.load(Ordering::Relaxed) {
        let (status, answer) = api.post("/api/log", log.clone()).await;
        assert_eq!((status, &answer["status"]), (StatusCode::ACCEPTED, &"queued".into()), "{answer}");
        let (status, answer) = api.post("/api/logs/batch", batch.clone()).await;
        assert_eq!((status, &answer["count"]), (StatusCode::ACCEPTED, &3.into()), "{answer}");
        posts += 2;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    posts
}

fn filter(then: &str) -> Guest {
    Guest::new("filter", on_letter('X', then))
}

/// Guests that load, and misbehave on the culprit: what each does, and what its error says.
fn misbehaving() -> Vec<(&'static str, Guest, &'static str)> {
    let mut recursion = filter("(call $deep)");
    recursion.items = "(func $deep (call $deep))".to_owned();
    let grow = |pages: u32| {
        format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable))")
    };
    // Memory that is there, so that it is the answer that is refused.
    let half_a_gigabyte = |list: String| filter(&(grow(512 * 16) + &list));
    let text = half_a_gigabyte(put(8, 65_536) + &put(12, 512 << 20));
    // Row errors have 12 bytes each.
    let list = half_a_gigabyte(put(24, 65_536) + &put(28, 40 << 20));
    let mut patch = Guest::new(
        "enrich",
        on_letter(
            'X',
            &("(i32.store (i32.const 3000) (i32.const 4))".to_owned()
                + &put(0, 2048)
                + &put(4, 4)
                + &put(8, 3000)
                + &put(12, 1)),
        ),
    );
    patch.items = r#"(data (i32.const 2048) "{\22a\22")"#.to_owned();
    let mut not_utf8 = patch.clone();
    not_utf8.items = r#"(data (i32.const 2048) "\ff\fe\00\00")"#.to_owned();
    vec![
        ("endless-loop", filter(ENDLESS), "deadline"),
        ("endless-recursion", recursion, "call stack exhausted"),
        ("memory-past-the-limit", filter(&grow(64 * 16)), "memory limit of 64 MiB"),
        ("trap", filter(TRAP), "unreachable"),
        ("text-of-half-a-gigabyte", text, "more than 67108864 bytes"),
        ("list-of-half-a-gigabyte", list, "more than 67108864 bytes"),
        ("patch-that-is-no-json", patch, "bad answer"),
        ("patch-that-is-no-utf8", not_utf8, "not UTF-8"),
        // Of so many logs no call is; of three one may be, as logs that others post are in the same call.
        ("wrong-list-length", filter(&(put(0, 2048) + &put(4, 60))), "entries"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_misbehaves_costs_only_the_log_that_made_it() {
    let system = System::start();
    let culprit =
        format!(r#"{{"device_id":"culprit","log_level":"INFO","message":"{CULPRIT}","log_data":{{}}}}"#);
    let before = peak_mib(&system.process);
    for (name, guest, why) in misbehaving() {
        let manifest = if name.ends_with("gigabyte") {
            "timeout_ms = 5000\nmemory_mib = 600\n"
        } else {
            "timeout_ms = 50\nmemory_mib = 64\n"
        };
        let path = system.drop_in(name, &guest.wasm(), manifest);
        let file = format!("{name}.wasm");
        system.wait_status(&file, "active", |status| status["state"] == "active").await;
        let (status, answer) = system.api.post("/api/log", culprit.clone()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{name}: {answer}");
        let status = system.wait_status(&file, "failing", |status| !status["last_error"].is_null()).await;
        let error = status["last_error"].as_str().unwrap();
        assert!(error.contains(why), "{name}: {error} lacks {why}");
        system.take_out(&path).await;
        let (status, answer) = system.api.post("/api/log", culprit.clone()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{name} is gone: {answer}");
    }
    // An answer of half a gigabyte would have been copied into this process.
    let after = peak_mib(&system.process);
    assert!(after < before + 384, "{before} MiB before, {after} MiB at the most");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_grows_to_its_limit_exactly_serves_on() {
    let system = System::start();
    // To 16 MiB with each instance's first call, and then what it cannot have is refused, with which it lives.
    let pages = 16 * 16 - 2;
    let grow = format!(
        "(if (i32.eq (global.get $calls) (i32.const 1)) (then
           (if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable))))
         (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) {}",
        answer()
    );
    let guest = Guest::new("filter", grow).named("to-the-limit", "1.0.0");
    let path = system.drop_in("to-the-limit", &guest.wasm(), "memory_mib = 16\n");
    let called = |status: &Value| status["calls"].as_u64() > Some(200);
    let status = system.wait_status("to-the-limit.wasm", "called often", called).await;
    assert_eq!((&status["errors"], &status["last_error"]), (&0.into(), &Value::Null), "{status}");
    system.take_out(&path).await;
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_traps_on_every_call_is_bypassed_and_probed() {
    let system = System::start();
    // Every message of the traffic has an f, and none of the trial's logs has.
    let guest = Guest::new("filter", on_letter('f', TRAP)).named("every-call", "1.0.0");
    let manifest = "on_error = \"pass\"\n[breaker]\nrest_ms = 200\n";
    let path = system.drop_in("every-call", &guest.wasm(), manifest);
    let opened = |status: &Value| status["breaker"]["state"] == "open";
    let status = system.wait_status("every-call.wasm", "bypassed", opened).await;
    assert_eq!((&status["state"], &status["breaker"]["opened"]), (&"active".into(), &1.into()), "{status}");
    assert!(status["last_error"].as_str().unwrap().contains("unreachable"), "{status}");
    // It is probed again and again, and stays bypassed in between: few calls for many posts.
    let calls = status["calls"].as_u64().unwrap();
    let probed = |status: &Value| status["calls"].as_u64() >= Some(calls + 2);
    system.wait_status("every-call.wasm", "probed", probed).await;
    let metrics = text(&format!("{}/metrics", system.api.base())).await;
    let bypassed = metrics
        .lines()
        .find(|line| line.starts_with("sawpit_plugin_bypassed_logs_total") && line.contains("every-call"));
    let bypassed: f64 = bypassed.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
    assert!(bypassed > 0.0, "{metrics}");
    system.take_out(&path).await;
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_that_fail_or_grow_with_their_calls_are_replaced_in_time() {
    let system = System::start();
    let trap = "(if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 100))) (then unreachable))";
    let trap = Guest::new("filter", format!("{trap} {}", answer())).named("every-100th", "1.0.0");
    let trap = system.drop_in("every-100th", &trap.wasm(), "on_error = \"pass\"\n");
    // 256 KiB a call, and a trap when there is no more.
    let grow = "(if (i32.eq (memory.grow (i32.const 4)) (i32.const -1)) (then unreachable))";
    let grow = Guest::new("filter", format!("{grow} {}", answer())).named("grows", "1.0.0");
    let grow = system.drop_in("grows", &grow.wasm(), "memory_mib = 16\n");
    let called = |status: &Value| status["calls"].as_u64() > Some(1_000);
    let trapped = system.wait_status("every-100th.wasm", "called often", called).await;
    assert!(trapped["last_error"].as_str().unwrap().contains("unreachable"), "{trapped}");
    let grown = system.wait_status("grows.wasm", "called often", called).await;
    assert_eq!((&grown["errors"], &grown["last_error"]), (&0.into(), &Value::Null), "{grown}");
    system.take_out(&trap).await;
    system.take_out(&grow).await;
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_serve_is_refused_with_its_reason() {
    let system = System::start();
    let good = filter("").wasm();
    let with = |change: fn(&mut Guest)| {
        let mut guest = filter("");
        change(&mut guest);
        guest.wasm()
    };
    let panics = with(|guest| guest.configure = TRAP.to_owned());
    let slow = with(|guest| guest.configure = format!("{ENDLESS} unreachable"));
    let imports = with(|guest| {
        guest.extra_wit = Some((
            "package acme:rockets@1.0.0 { interface pad { launch: func(); } }",
            "acme:rockets/pad@1.0.0",
        ));
        guest.imports = r#"(import "acme:rockets/pad@1.0.0" "launch" (func $launch))"#.to_owned();
        guest.body = format!("(call $launch) (i32.const {ANSWER})");
    });
    let newer = with(|guest| guest.package = "9.0.0");
    system.refuses("empty", b"", "not WebAssembly: the file is empty").await;
    system.refuses("text", b"#!/bin/sh\necho hello\n", "not WebAssembly: the file is text").await;
    system.refuses("truncated", &good[..good.len() / 2], "the file is damaged").await;
    system.refuses("cut-in-its-head", &good[..6], "of another version, or cut off").await;
    system.refuses("no-plugin", b"\0asm\x01\0\0\0", "not a plugin of this version: wanted exports").await;
    system.refuses("other-version", &newer, "9.0.0").await;
    system.refuses("imports", &imports, "acme:rockets/pad").await;
    system.refuses("panics-in-configure", &panics, "unreachable").await;
    system.refuses("slow-configure", &slow, "deadline").await;
    system.refuses("always-traps", &Guest::new("filter", TRAP).wasm(), "unreachable").await;
    let large = system.plugins.join("large.wasm");
    let sparse = fs::File::create(&large).unwrap();
    sparse.set_len(200 << 20).unwrap();
    let status = system.wait_status("large.wasm", "refused", |status| status["state"] == "refused").await;
    assert!(status["refusal"].as_str().unwrap().contains("larger than"), "{status}");
    system.take_out(&large).await;
    let chain = system.api.chain().await;
    assert_eq!(chain.split('+').count(), 1, "{chain}");
    system.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_files_do_not_stop_it() {
    let system = System::start();
    let chain = system.api.chain().await;
    for number in 0..10_000 {
        fs::write(system.plugins.join(&format!("junk-{number:05}.wasm")), b"junk").unwrap();
    }
    system.wait_status("junk-09999.wasm", "refused", |status| status["state"] == "refused").await;
    assert_eq!(system.api.chain().await, chain);
    // A good one among them still gets its turn.
    let path = system.drop_in("zz-late", &filter("").wasm(), "");
    system.wait_status("zz-late.wasm", "active", |status| status["state"] == "active").await;
    system.take_out(&path).await;
    system.finish().await;
}

/// Resident memory of the process, in MiB.
fn resident_mib(process: &Process) -> u64 {
    status_mib(process, "VmRSS:")
}

/// The most that it ever was.
fn peak_mib(process: &Process) -> u64 {
    status_mib(process, "VmHWM:")
}

fn status_mib(process: &Process, of: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(of)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// As many files as have taken the place of one when this is called the `number`th time.
async fn replace(system: &System, number: u32) {
    let mut guest = filter("");
    guest.items = format!("(global $build i32 (i32.const {number}))");
    let before = system.status("often.wasm").await["hash"].clone();
    deploy(&system.plugins.join("often.wasm"), &guest.wasm());
    // Most are waited for; the others are overtaken while they are looked at.
    if !number.is_multiple_of(4) {
        return;
    }
    system.wait_status("often.wasm", "replaced", |status| status["hash"] != before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaced_a_thousand_times_under_load_fails_no_request_and_leaks_nothing() {
    let system = System::start();
    for number in 0..200 {
        replace(&system, number).await;
    }
    let early = resident_mib(&system.process);
    for number in 200..1_000 {
        replace(&system, number).await;
    }
    let late = resident_mib(&system.process);
    // 200 versions were loaded in between: a leak of each would be more than this.
    assert!(late < early + 64, "{early} MiB after 200 replacements, {late} MiB after 1,000");
    system.finish().await;
}
