//! Everything in one process, on a disk that fills: a file system in memory, of the process's own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{Launch, Process, Signal, TempFolder};
use serde_json::Value;
use support::{Api, SOON, free_address};

/// Longest wait for any answer of a process whose disk is full.
const ANSWERED: Duration = Duration::from_secs(15);
/// Logs in one post.
const POSTED: usize = 50;

/// `sawpit up` with its data on a disk of its own, which is gone with the process.
struct OnDisk {
    process: Process,
    address: SocketAddr,
    /// The disk, as it is seen from outside of the process.
    disk: PathBuf,
}

impl OnDisk {
    /// What is in `data` at `linked` is elsewhere.
    fn start(data: &Path, linked: Option<(&str, &Path)>) -> Self {
        let address = free_address();
        let link = linked.map(|(name, to)| format!("ln -s {} {}/{name} &&", to.display(), data.display()));
        let script = format!(
            "mount -t tmpfs -o size=24m none {data} && mkdir {data}/plugins && {link} \
             exec {program} up --listen {address} --data {data} --plugins {data}/plugins --unready-after 500ms",
            data = data.display(),
            link = link.unwrap_or_default(),
            program = env!("CARGO_BIN_EXE_sawpit"),
        );
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        // Who is not root may mount in a user namespace, unless the machine forbids it: then the output says so.
        let user = if is_root { &[][..] } else { &["--map-root-user"] };
        let process = Launch::new("unshare").args(user).args(["--mount", "sh", "-ec", &script]).start();
        process.wait_http(address, "/health/ready", SOON);
        let disk = PathBuf::from(format!("/proc/{}/root{}", process.id(), data.display()));
        Self { process, address, disk }
    }

    fn api(&self) -> Api {
        Api::new(format!("http://{}", self.address))
    }

    /// Fills what is free, to the last byte.
    fn fill(&self) {
        let mut ballast = File::create(self.disk.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4_096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.disk.join("ballast")).unwrap();
    }

    async fn wait_ready(&self, wanted: bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let (status, answer) = self.api().get("/health/ready").await;
            if status.is_success() == wanted {
                return answer;
            }
            assert!(Instant::now() < deadline, "it should be ready: {wanted}, and says {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Posts logs in one request; the ids that were answered, or what was answered instead.
async fn post(api: &Api) -> Result<Vec<String>, (StatusCode, Value)> {
    let log = format!(r#"{{"device_id":"d","log_level":"info","message":"{}"}}"#, "x".repeat(4_000));
    let body = format!(r#"{{"logs":[{}]}}"#, vec![log; POSTED].join(","));
    let asked = Instant::now();
    let (status, answer) = api.post("/api/logs/batch", body).await;
    assert!(asked.elapsed() < ANSWERED, "answered after {:?}", asked.elapsed());
    if status != StatusCode::ACCEPTED {
        return Err((status, answer));
    }
    let ids = answer["message_ids"].as_array().unwrap().iter();
    Ok(ids.map(|id| id.as_str().unwrap().to_owned()).collect())
}

/// Waits until each answered id is stored; none may be in more rows than one.
async fn assert_stored_once(api: &Api, answered: &[String]) {
    let deadline = Instant::now() + SOON;
    loop {
        let rows = rows_by_id(api).await;
        let missing = answered.iter().filter(|id| !rows.contains_key(*id)).count();
        let doubled: Vec<_> = rows.iter().filter(|(_, count)| **count > 1).collect();
        assert!(doubled.is_empty(), "{doubled:?}");
        if missing == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{missing} of {} are not stored", answered.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn rows_by_id(api: &Api) -> BTreeMap<String, usize> {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = api.get(&format!("/api/logs/d?limit=1000{cursor}")).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        for row in page["data"].as_array().unwrap() {
            *rows.entry(row["message_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// The queue has room, the database has none: logs are taken, wait, and are stored once there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_has_no_room_logs_wait_in_the_queue() {
    let (data, queue) = (TempFolder::new("full"), TempFolder::new("queue"));
    let up = OnDisk::start(data.path(), Some(("queue", queue.path())));
    let api = up.api();
    let mut answered = post(&api).await.unwrap();
    assert_stored_once(&api, &answered).await;
    up.fill();
    // What SQLite wrote before has room that it uses again: so many logs that it needs more.
    for _ in 0..40 {
        answered.extend(post(&api).await.unwrap());
    }
    let told = up.wait_ready(false).await.to_string();
    assert!(told.contains("full"), "{told}");
    let (status, page) = api.get("/api/logs/d").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(rows_by_id(&api).await.len() < answered.len(), "the disk was not full");
    answered.extend(post(&api).await.unwrap());
    up.free();
    up.wait_ready(true).await;
    answered.extend(post(&api).await.unwrap());
    assert_stored_once(&api, &answered).await;
    assert_eq!(up.process.stop(Signal::TERM, SOON).code(), Some(0), "{}", up.process.output());
}

/// Neither has room: what is not taken is answered so, in time, and all that was taken is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_answered_and_recovered_from_without_a_restart() {
    let data = TempFolder::new("full");
    let up = OnDisk::start(data.path(), None);
    let api = up.api();
    let mut answered = post(&api).await.unwrap();
    for _round in 0..2 {
        up.fill();
        let mut refused = 0;
        let deadline = Instant::now() + SOON;
        while refused < 5 {
            assert!(Instant::now() < deadline, "the disk does not fill");
            match post(&api).await {
                Ok(ids) => answered.extend(ids),
                Err((status, problem)) => {
                    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
                    let kind = problem["type"].as_str().unwrap();
                    assert!(kind.ends_with(":not-queued") || kind.ends_with(":maybe-queued"), "{problem}");
                    refused += 1;
                }
            }
        }
        up.wait_ready(false).await;
        up.free();
        up.wait_ready(true).await;
        answered.extend(post(&api).await.unwrap());
        assert_stored_once(&api, &answered).await;
    }
    assert_eq!(up.process.stop(Signal::TERM, SOON).code(), Some(0), "{}", up.process.output());
}
