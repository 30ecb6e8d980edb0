//! Two hosts and two workers on a Redis Cluster that loses a master under load.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use sawpit_testkit::{Postgres, RedisCluster, Signal};
use support::{SOON, example_plugins, free_address, sawpit};

/// Time under load before the fault.
const BEFORE: Duration = Duration::from_secs(2);

#[test]
fn every_answered_log_is_stored_once_although_a_master_of_the_queue_is_killed() {
    let (cluster, postgres, plugins) = (RedisCluster::start(), Postgres::start(), example_plugins());
    let (queue, store) = (cluster.url(), postgres.create_database("sawpit"));
    let start = |command: &str| {
        let (address, folder) = (free_address(), plugins.path().to_str().unwrap());
        let listen = address.to_string();
        let parts = [command, "--listen", &listen, "--queue", &queue, "--store", &store, "--plugins", folder];
        let process = sawpit(&[&parts[..], &["--min-replicas", "1"]].concat());
        (address, process)
    };
    let running = ["host", "worker", "worker"].map(start);
    for (address, process) in &running {
        process.wait_http(*address, "/health/ready", SOON);
    }
    let url = format!("http://{}", running[0].0);
    let load = sawpit(&["load", "--url", &url, "--seconds", "14", "--rate", "300", "--retry", "--verify"]);
    std::thread::sleep(BEFORE);
    let killed = cluster.master_of("logs:stream:{0}");
    cluster.kill(killed);
    let until = Instant::now() + SOON;
    while cluster.masters().len() < 3 {
        assert!(Instant::now() < until, "no replica took over");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The new master needs a replica before it may answer `queued`.
    cluster.restart(killed);
    assert!(load.wait(SOON * 2).is_some(), "the load does not end: {}", load.output());
    let said = load.output();
    assert!(said.contains("0 missing, 0 doubled"), "{said}");
    let rows: usize = postgres.query("sawpit", "select count(*) from logs").parse().unwrap();
    assert!(rows > 1_000, "only {rows} rows: {said}");
    for (_, process) in running {
        assert!(process.stop(Signal::TERM, SOON).success());
    }
}
