//! What a host holds in memory while its queue takes nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{Process, Redis, TempFolder};
use support::{SOON, free_address, sawpit};

const MIB: usize = 1 << 20;
/// Bodies that the host may hold.
const IN_FLIGHT: usize = 32 * MIB;
/// A body is in memory as logs, as commands and in the connections' buffers, and what Redis is not taking waits there
/// after its request was answered. What grows with the time or the devices soon is more than this.
const TIMES: usize = 16;
/// Each body has a little less than 1 MiB.
const BODY_LOGS: usize = 60;
const DEVICES: usize = 100;
const SILENCE: Duration = Duration::from_secs(8);

/// Resident memory, in bytes.
fn memory(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn body() -> String {
    let log = format!(r#"{{"device_id":"d","log_level":"info","message":"{}"}}"#, "x".repeat(16_000));
    format!("{{\"logs\":[{}]}}", vec![log; BODY_LOGS].join(","))
}

/// Redis takes nothing for seconds while gigabytes are posted: all of it is refused, in time and in bounded memory, and
/// afterwards the host goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_queue_does_not_fill_the_memory() {
    let (redis, folder, address) = (Redis::start(), TempFolder::new("pressure"), free_address());
    let (listen, queue, plugins) = (address.to_string(), redis.url(), folder.path().to_str().unwrap());
    let store = format!("sqlite:{}", folder.join("logs.db").display());
    let in_flight = format!("{IN_FLIGHT}B");
    let args = ["host", "--listen", &listen, "--queue", &queue, "--store", &store, "--plugins", plugins];
    let limits = ["--in-flight-bytes", &in_flight, "--body-bytes", "1MiB", "--append-timeout", "1s"];
    let host = sawpit(&[&args[..], &limits, &["--backlog-limit", "1000000"]].concat());
    host.wait_http(address, "/health/ready", SOON);
    let client = support::client().timeout(Duration::from_secs(20)).build().unwrap();
    let url = format!("http://{address}/api/logs/batch");
    let post = {
        let (client, body) = (client.clone(), body());
        move || client.post(&url).header("content-type", "application/json").body(body.clone()).send()
    };
    assert_eq!(post().await.unwrap().status(), StatusCode::ACCEPTED);
    let before = memory(&host);
    redis.pause();
    let until = Instant::now() + SILENCE;
    let devices: Vec<_> = (0..DEVICES)
        .map(|_| {
            let post = post.clone();
            tokio::spawn(async move {
                let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
                while Instant::now() < until {
                    let began = Instant::now();
                    let status = post().await.unwrap().status().as_u16();
                    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
                    *answers.entry(status).or_default() += 1;
                }
                answers
            })
        })
        .collect();
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(memory(&host));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut posts = 0;
    for device in devices {
        let answers = device.await.unwrap();
        assert!(answers.keys().all(|status| *status == 503), "{answers:?}");
        posts += answers.values().sum::<usize>();
    }
    let grown = most.saturating_sub(before);
    assert!(posts > 1_000, "only {posts} posts");
    assert!(grown < IN_FLIGHT * TIMES, "grown by {} MiB in {posts} posts", grown / MIB);
    redis.resume();
    let deadline = Instant::now() + SOON;
    while post().await.unwrap().status() != StatusCode::ACCEPTED {
        assert!(Instant::now() < deadline, "the host did not recover: {}", host.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
