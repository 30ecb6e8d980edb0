//! Both hosts are restarted, one after the other, behind nginx with the project's own file and under load: every request
//! is answered 202, and what was answered is there once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sawpit_testkit::{Nginx, Postgres, Process, Redis, Signal, TempFolder, workspace_root};
use support::{SOON, client, free_address, run, sawpit};

/// nginx rests a host that refused connections this long (`fail_timeout` in nginx.conf), and a little: until then the
/// other must not stop.
const REST: Duration = Duration::from_millis(5_500);
const DEVICES: usize = 16;
const PAUSE: Duration = Duration::from_millis(4);

#[derive(Default)]
struct Told {
    queued: usize,
    others: Vec<String>,
}

/// Posts until told to end; every tenth time over a connection of its own.
async fn post(url: String, token: String, ended: Arc<AtomicBool>) -> Told {
    let new = || client().timeout(SOON).build().unwrap();
    let (mut client, mut told) = (new(), Told::default());
    for number in 0.. {
        if ended.load(Ordering::SeqCst) {
            break;
        }
        if number % 10 == 0 {
            client = new();
        }
        let body = format!(r#"{{"device_id":"d","log_level":"info","message":"number {number}"}}"#);
        let request =
            client.post(&url).header("content-type", "application/json").bearer_auth(&token).body(body);
        match request.send().await {
            Ok(answer) if answer.status() == 202 => told.queued += 1,
            Ok(answer) => told.others.push(format!("{} {:?}", answer.status(), answer.text().await)),
            Err(error) => told.others.push(format!("{error:?}")),
        }
        // Together fewer than nginx lets through in a second.
        tokio::time::sleep(PAUSE).await;
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request() {
    let (redis, postgres, plugins) = (Redis::start(), Postgres::start(), TempFolder::new("plugins"));
    let (queue, store) = (redis.url(), postgres.create_database("sawpit"));
    let start = |address: SocketAddr| -> Process {
        let listen = address.to_string();
        let urls = ["--queue", &queue, "--store", &store, "--plugins", plugins.path().to_str().unwrap()];
        // Nobody takes the logs here, so that they can be counted. A host that does not know the tokens yet serves nothing.
        let more = ["--backlog-limit", "10000000", "--require-token"];
        let process = sawpit(&[&["host", "--listen", &listen][..], &urls, &more].concat());
        process.wait_http(address, "/health/ready", SOON);
        process
    };
    let made = run(&["token", "create", "--role", "ingest", "--store", &store]);
    let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let addresses = [free_address(), free_address()];
    let mut hosts = addresses.map(start);
    let conf = std::fs::read_to_string(workspace_root().join("nginx/nginx.conf")).unwrap();
    let nginx = Nginx::start(&conf, &addresses);
    let ended = Arc::new(AtomicBool::new(false));
    let url = format!("{}/api/log", nginx.url());
    let device = || tokio::spawn(post(url.clone(), token.clone(), Arc::clone(&ended)));
    let devices: Vec<_> = (0..DEVICES).map(|_| device()).collect();
    for _ in 0..2 {
        for (host, address) in hosts.iter_mut().zip(addresses) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let status = host.stop(Signal::TERM, SOON);
            assert_eq!(status.code(), Some(0), "{}", host.output());
            *host = start(address);
            tokio::time::sleep(REST).await;
        }
    }
    ended.store(true, Ordering::SeqCst);
    let mut queued = 0;
    for device in devices {
        let told = device.await.unwrap();
        let others = told.others.get(..3).unwrap_or(&told.others);
        assert!(
            told.others.is_empty(),
            "{} failed: {others:#?}\nnginx: {}",
            told.others.len(),
            nginx.output()
        );
        queued += told.queued;
    }
    assert!(queued > 1_000, "only {queued} posts");
    assert_eq!(redis.command(&["XLEN", "logs:stream"]), format!(":{queued}"));
}
