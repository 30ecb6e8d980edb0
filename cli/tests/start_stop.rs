//! Starting on what is broken, several workers at once, names that are used again, and ending with and without patience.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{Postgres, Process, Redis, Signal, TempFolder};
use support::{Api, SOON, free_address, run, sawpit};

const LOGS: usize = 4_000;

/// Bytes of a page of SQLite's file.
const PAGE: usize = 4_096;

/// What SQLite may leave beside its file, and would mend a broken one with.
fn beside(store: &Path) -> Vec<PathBuf> {
    ["sawpit.db-wal", "sawpit.db-shm"].map(|name| store.with_file_name(name)).into()
}

fn up(address: SocketAddr, data: &Path) -> Process {
    // No plugins: an empty folder of its own.
    let plugins = data.join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let listen = address.to_string();
    let (data, plugins) = (data.to_str().unwrap(), plugins.to_str().unwrap());
    let process = sawpit(&["up", "--listen", &listen, "--data", data, "--plugins", plugins]);
    process.wait_http(address, "/health/ready", SOON);
    process
}

/// Files that are foreign, cut off or damaged: the start fails with a sentence that says so, and not a byte is changed.
#[tokio::test]
async fn a_broken_file_is_told_and_left_as_it_is() {
    let data = TempFolder::new("data");
    let (address, queue, store) =
        (free_address(), data.path().join("queue/queue.redb"), data.path().join("sawpit.db"));
    let process = up(address, data.path());
    let api = Api::new(format!("http://{address}"));
    post_long(&api, 0..20).await;
    assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
    let beside = beside(&store);
    let kept: Vec<_> = beside.iter().map(std::fs::read).collect();
    beside.iter().for_each(|path| drop(std::fs::remove_file(path)));
    let (whole_queue, whole_store) = (std::fs::read(&queue).unwrap(), std::fs::read(&store).unwrap());
    let damaged = |whole: &[u8]| {
        let mut damaged = whole.to_vec();
        damaged[..4_096.min(whole.len())].fill(0xa5);
        [b"not ours at all".to_vec(), whole[..whole.len() / 3].to_vec(), damaged]
    };
    let stores =
        [b"not ours at all".to_vec(), whole_store[..whole_store.len() / 3].to_vec(), vec![0xa5; 100_000]];
    for (path, whole, broken) in
        [(&queue, &whole_queue, damaged(&whole_queue).to_vec()), (&store, &whole_store, stores.to_vec())]
    {
        for bytes in broken {
            std::fs::write(path, &bytes).unwrap();
            let (listen, data, plugins) =
                (free_address().to_string(), data.path().to_str().unwrap(), data.path().join("plugins"));
            let output =
                run(&["up", "--listen", &listen, "--data", data, "--plugins", plugins.to_str().unwrap()]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{} bytes in {path:?}: {said}", bytes.len());
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(said.contains(name) && !said.contains("panicked"), "{said}");
            assert!(std::fs::read(path).unwrap() == bytes, "{path:?} was changed: {said}");
        }
        std::fs::write(path, whole).unwrap();
    }
    for (path, bytes) in beside.iter().zip(kept) {
        bytes.into_iter().for_each(|bytes| std::fs::write(path, bytes).unwrap());
    }
    let address = free_address();
    let _process = up(address, data.path());
    Api::new(format!("http://{address}"))
        .wait_row("d", |row| row["message"].as_str().unwrap().starts_with("19 "))
        .await;
}

/// What a process that was killed left of SQLite's write-ahead log is cut: it starts, and serves what is whole.
#[tokio::test]
async fn of_a_write_ahead_log_that_was_cut_the_whole_part_is_served() {
    let data = TempFolder::new("data");
    let (address, store) = (free_address(), data.path().join("sawpit.db"));
    let process = up(address, data.path());
    let api = Api::new(format!("http://{address}"));
    for number in 0..20 {
        post_long(&api, number..number + 1).await;
        api.wait_row("d", |row| row["message"].as_str().unwrap().starts_with(&format!("{number} "))).await;
    }
    process.kill();
    let log = store.with_file_name("sawpit.db-wal");
    let whole = std::fs::read(&log).unwrap();
    assert!(whole.len() > 40 * PAGE, "{} bytes", whole.len());
    std::fs::write(&log, &whole[..whole.len() - 10 * PAGE]).unwrap();
    let address = free_address();
    let _process = up(address, data.path());
    let (status, page) = Api::new(format!("http://{address}")).get("/api/logs/d?limit=1000").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let rows = page["data"].as_array().unwrap();
    assert!((1..20).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows.last().unwrap()["message"].as_str().unwrap().starts_with("0 "), "the oldest are whole");
}

async fn post_long(api: &Api, numbers: Range<usize>) {
    for number in numbers {
        let log =
            format!(r#"{{"device_id":"d","log_level":"info","message":"{number} {}"}}"#, "x".repeat(4_000));
        let (status, answer) = api.post("/api/log", log).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    }
}

/// Five workers start at the same moment on an empty database; some are killed, and start again under the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_start_at_once_and_take_their_names_again_store_all_once() {
    let (redis, postgres, plugins) = (Redis::start(), Postgres::start(), TempFolder::new("plugins"));
    let (queue, store) = (redis.url(), postgres.create_database("sawpit"));
    let urls = ["--queue", &queue, "--store", &store, "--plugins", plugins.path().to_str().unwrap()];
    let worker = |number: usize| {
        let name = format!("worker-{number}");
        let times = ["--block", "300ms", "--reclaim-idle", "2s", "--threads", "1"];
        sawpit(&[&["worker", "--worker-name", &name][..], &urls, &times].concat())
    };
    let mut workers: Vec<Process> = (0..5).map(worker).collect();
    let address = free_address();
    let listen = address.to_string();
    let host = sawpit(&[&["host", "--listen", &listen][..], &urls].concat());
    host.wait_http(address, "/health/ready", SOON);
    let url = format!("http://{address}");
    let load = sawpit(&["load", "--url", &url, "--seconds", "6", "--rate", "1000", "--verify"]);
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        let number = round % 3;
        workers[number].kill();
        workers[number] = worker(number);
    }
    let status = load.wait(SOON + SOON).unwrap();
    let said = load.output();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("0 missing, 0 doubled"), "{said}");
    let queued: usize = said.split("logs: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(queued > LOGS, "{said}");
    assert_eq!(postgres.query("sawpit", "select count(*) from logs"), queued.to_string());
    for worker in &workers {
        assert_eq!(worker.stop(Signal::TERM, SOON).code(), Some(0), "{}", worker.output());
    }
}

/// A name that is mistyped is a folder without plugins: that is told, and served.
#[test]
fn a_folder_without_plugins_is_served_and_told_of() {
    let (data, parent) = (TempFolder::new("data"), TempFolder::new("plugins"));
    let folder = parent.join("mistyped");
    for (level, told) in [
        ("WARN", "the plugin folder did not exist and was made; no plugin serves"),
        ("INFO", "the plugin folder is empty; no plugin serves"),
        ("WARN", "no plugin of the folder serves"),
    ] {
        let address = free_address();
        let listen = address.to_string();
        let (data, plugins) = (data.path().to_str().unwrap(), folder.to_str().unwrap());
        let process = sawpit(&["up", "--listen", &listen, "--data", data, "--plugins", plugins]);
        let line = process.wait_line(told, SOON);
        assert!(line.contains(level) && line.contains(plugins), "{line}");
        process.wait_http(address, "/health/ready", SOON);
        assert_eq!(process.stop(Signal::TERM, SOON).code(), Some(0), "{}", process.output());
        assert!(process.output().matches("no plugin serves").count() <= 1, "{}", process.output());
        // For the third start.
        if level == "INFO" {
            std::fs::write(folder.join("broken.wasm"), "no wasm").unwrap();
        }
    }
}

/// A request that does not end holds the drain up; a second signal does not wait for it.
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (data, address) = (TempFolder::new("data"), free_address());
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let process = up(address, data.path());
        let mut held = TcpStream::connect(address).unwrap();
        let head = "POST /api/log HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
        held.write_all(head.as_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        process.signal(Signal::TERM);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(process.is_running(), "it waits for the request: {}", process.output());
        let asked = Instant::now();
        process.signal(signal);
        let status = process.wait(SOON).unwrap();
        assert_eq!(status.code(), Some(code), "{}", process.output());
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    }
}

/// A cache of one process would answer what others made stale.
#[test]
fn a_cache_that_is_not_shared_is_refused_where_others_store() {
    for command in ["host", "worker"] {
        let output = run(&[command, "--queue", "redis://h", "--store", "sqlite:s.db", "--cache", "memory:"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("cache") && said.contains("shared by hosts and workers"), "{said}");
    }
}
