//! A guest that never comes back on the logs of one device, and one that carries state from row to row: what devices see
//! whose requests share its calls.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{ANSWER, ENDLESS, Guest, Process, TempFolder, answer, on_letter, put};
use serde_json::Value;
use support::{Api, SOON, free_address, sawpit};

/// A call's deadline: so long that one and two of them are told apart on any machine.
const DEADLINE: Duration = Duration::from_secs(3);
/// The longest that another device may wait: the deadline, and what a busy machine needs. Two deadlines are out of the
/// question.
const LONGEST: Duration = Duration::from_millis(5_500);
/// How long the devices post.
const TRAFFIC: Duration = Duration::from_secs(15);

/// `sawpit up` with one plugin.
struct System {
    process: Process,
    base: String,
    _folders: [TempFolder; 2],
}

impl System {
    fn start(guest: &Guest, manifest: &str, threads: u32) -> Self {
        let (data, plugins, address) = (TempFolder::new("data"), TempFolder::new("plugins"), free_address());
        fs::write(plugins.join("guest.wasm"), guest.wasm()).unwrap();
        fs::write(plugins.join("guest.toml"), manifest).unwrap();
        let paths = [data.path(), plugins.path()].map(|path| path.to_str().unwrap().to_owned());
        let (listen, threads) = (address.to_string(), threads.to_string());
        let process = sawpit(&[
            "up",
            "--listen",
            &listen,
            "--data",
            &paths[0],
            "--plugins",
            &paths[1],
            "--plugin-threads",
            &threads,
        ]);
        process.wait_http(address, "/health/ready", SOON);
        Self { process, base: format!("http://{address}"), _folders: [data, plugins] }
    }

    fn api(&self) -> Arc<Api> {
        Arc::new(Api::new(self.base.clone()))
    }

    async fn status(&self) -> Value {
        self.api().get("/api/plugins").await.1["plugins"][0].clone()
    }
}

fn log(device: &str, message: &str, padding: usize) -> String {
    let padding = "p".repeat(padding);
    format!(
        r#"{{"device_id":"{device}","log_level":"INFO","message":"{message}","log_data":{{"padding":"{padding}"}}}}"#
    )
}

/// Posts logs on which the guest spins, until it is done. How many; panics at an answer that is not definite.
async fn culprit(api: Arc<Api>, done: Arc<AtomicBool>) -> usize {
    let mut posts = 0;
    while !done.load(Ordering::Relaxed) {
        let (status, answer) = api.post("/api/log", log("culprit", "X", 0)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        assert_eq!(answer["plugin"], "guest", "{answer}");
        posts += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    posts
}

/// Posts until it is done: single logs, and bodies that are parsed off the threads of the connections. How many, and
/// the longest wait.
async fn other(api: Arc<Api>, number: usize, done: Arc<AtomicBool>) -> (usize, Duration) {
    let device = format!("device-{number}");
    let single = log(&device, "fine", 10);
    let batch = format!(r#"{{"logs":[{}]}}"#, vec![log(&device, "fine", 2_000); 20].join(","));
    let (mut posts, mut longest) = (0, Duration::ZERO);
    while !done.load(Ordering::Relaxed) {
        for (path, body) in [("/api/log", &single), ("/api/logs/batch", &batch)] {
            let began = Instant::now();
            let (status, answer) = api.post(path, body.clone()).await;
            longest = longest.max(began.elapsed());
            assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
            posts += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (posts, longest)
}

async fn one_device_spins(threads: u32) {
    let guest = Guest::new("filter", on_letter('X', ENDLESS));
    let manifest = format!("timeout_ms = {}\n", DEADLINE.as_millis());
    let system = System::start(&guest, &manifest, threads);
    let done = Arc::new(AtomicBool::new(false));
    let others: Vec<_> =
        (0..4).map(|number| tokio::spawn(other(system.api(), number, Arc::clone(&done)))).collect();
    let culprits: Vec<_> = (0..4).map(|_| tokio::spawn(culprit(system.api(), Arc::clone(&done)))).collect();
    tokio::time::sleep(TRAFFIC).await;
    done.store(true, Ordering::Relaxed);
    for device in others {
        let (posts, longest) = device.await.unwrap();
        assert!(longest < LONGEST, "{threads} threads: somebody waited for {longest:?}");
        // Who waited for each of the culprit's deadlines would get through two posts for each of them.
        assert!(posts > 30, "{threads} threads: only {posts} posts in {TRAFFIC:?}");
    }
    for device in culprits {
        assert!(device.await.unwrap() > 0, "the culprit was never answered");
    }
    let status = system.status().await;
    assert!(status["last_error"].as_str().unwrap().contains("deadline of 3000 ms"), "{status}");
    assert_eq!(status["breaker"]["opened"], 0, "one device does not switch it off for all: {status}");
    assert!(system.process.is_running(), "{}", system.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_makes_a_guest_spin_delays_the_others_by_one_deadline_with_one_thread() {
    one_device_spins(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_makes_a_guest_spin_delays_the_others_by_one_deadline_with_two_threads() {
    one_device_spins(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_makes_a_guest_spin_delays_the_others_by_one_deadline_with_eight_threads() {
    one_device_spins(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_spins_delays_nobody() {
    let guest = Guest::new("filter", on_letter('X', ENDLESS));
    let system = System::start(&guest, "timeout_ms = 60000\nmode = \"shadow\"\n", 1);
    for _ in 0..5 {
        let began = Instant::now();
        let (status, answer) = system.api().post("/api/log", log("culprit", "X", 0)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        // A fraction of its deadline.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

/// Drops all logs of a call but the first, and spins on an X.
fn carrying() -> Guest {
    let rows = "(i32.load (local.get $logs))";
    Guest::new(
        "filter",
        format!(
            "(if (call $has (local.get $logs) (i32.const {})) (then {ENDLESS}))
             (memory.fill (i32.const 2048) (i32.const 1) {rows}) (i32.store8 (i32.const 2048) (i32.const 0))
             {} (i32.store (i32.const {}) {rows}) {}",
            u32::from('X'),
            put(0, 2048),
            ANSWER + 4,
            answer()
        ),
    )
}

/// What two tenants are answered whose logs come while the one runner is held.
async fn two_tenants(manifest: &str) -> Vec<String> {
    let system = System::start(&carrying(), &format!("timeout_ms = 3000\n{manifest}"), 1);
    let post = |device: &'static str, message: &'static str| {
        let api = system.api();
        tokio::spawn(async move { api.post("/api/log", log(device, message, 0)).await })
    };
    let holder = post("holder", "X");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let tenants = ["a", "b"].map(|device| post(device, "fine"));
    let mut answers = Vec::new();
    for tenant in tenants {
        let (status, answer) = tenant.await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answers.push(answer["status"].as_str().unwrap().to_owned());
    }
    assert_eq!(holder.await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
    answers.sort_unstable();
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_instance_per_request_tenants_whose_requests_arrive_together_share_none() {
    assert_eq!(two_tenants("").await, ["dropped", "queued"], "they did not share a call");
    assert_eq!(two_tenants("instance = \"per-request\"\n").await, ["queued", "queued"]);
}
