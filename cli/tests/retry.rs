//! Devices that repeat what was not answered, while what they post to is killed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use sawpit_testkit::TempFolder;
use support::{Api, SOON, free_address, sawpit};

/// Nothing is lost although every request is repeated until it is answered, and nothing is doubled: there are as many
/// rows as logs were answered.
#[tokio::test]
async fn repeated_posts_to_a_killed_process_are_stored_once() {
    let (data, plugins, address) = (TempFolder::new("data"), TempFolder::new("plugins"), free_address());
    let (listen, data, plugins) =
        (address.to_string(), data.path().to_str().unwrap(), plugins.path().to_str().unwrap());
    let up = || {
        let process = sawpit(&["up", "--listen", &listen, "--data", data, "--plugins", plugins]);
        process.wait_http(address, "/health/ready", SOON);
        process
    };
    let mut process = up();
    let url = format!("http://{address}");
    let load = sawpit(&["load", "--url", &url, "--seconds", "6", "--batch", "5", "--retry", "--verify"]);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        process.kill();
        process = up();
    }
    let status = load.wait(SOON + SOON).unwrap();
    let said = load.output();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains(" 0 failed") && said.contains("0 missing, 0 doubled"), "{said}");
    assert!(!said.contains("not answered and repeated: 0 times"), "no post met a kill: {said}");
    let queued: u64 = said.split("logs: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let api = Api::new(url);
    let deadline = Instant::now() + SOON;
    loop {
        let rows = api.get("/api/stats").await.1["total"].as_u64().unwrap();
        assert!(rows <= queued, "{rows} rows of {queued} logs: {said}");
        if rows == queued {
            break;
        }
        assert!(Instant::now() < deadline, "{rows} rows of {queued} logs: {said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    drop(process);
}
