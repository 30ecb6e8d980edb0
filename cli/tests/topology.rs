//! The whole of it, natively: nginx with the project's own file, two hosts, Redis, two workers, PostgreSQL.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use sawpit_testkit::{Nginx, Postgres, Process, Redis, Signal, TempFolder, workspace_root};
use support::{Api, SOON, another_build, deploy, example_plugins, followed, free_address, run, sawpit};

/// Logs posted one by one, then in batches: together at least 20,000.
const SINGLE_LOGS: usize = 6_000;
const BATCHED_LOGS: usize = 16_000;

/// Fields end in the order they must stop in: nginx first, the servers last.
struct Topology {
    nginx: Nginx,
    hosts: Vec<(SocketAddr, Process)>,
    workers: Vec<(SocketAddr, Process)>,
    plugins: TempFolder,
    redis: Redis,
    postgres: Postgres,
    store: String,
}

impl Topology {
    fn start() -> Self {
        let (redis, postgres, plugins) = (Redis::start(), Postgres::start(), example_plugins());
        let store = postgres.create_database("sawpit");
        // All at once: the migrations must stand it.
        let start = |command: &str| {
            let address = free_address();
            let plugins = plugins.path().to_str().unwrap();
            let (queue, listen) = (redis.url(), address.to_string());
            let process = sawpit(&[
                command,
                "--listen",
                &listen,
                "--queue",
                &queue,
                "--store",
                &store,
                "--plugins",
                plugins,
            ]);
            (address, process)
        };
        let hosts = vec![start("host"), start("host")];
        let workers = vec![start("worker"), start("worker")];
        for (address, process) in hosts.iter().chain(&workers) {
            process.wait_http(*address, "/health/ready", SOON);
        }
        let conf = std::fs::read_to_string(workspace_root().join("nginx/nginx.conf")).unwrap();
        let addresses: Vec<_> = hosts.iter().map(|(address, _)| *address).collect();
        let nginx = Nginx::start(&conf, &addresses);
        Self { nginx, hosts, workers, plugins, redis, postgres, store }
    }

    fn sql(&self, query: &str) -> String {
        self.postgres.query("sawpit", query)
    }

    /// The chain of the first host.
    async fn chain(&self) -> String {
        Api::new(format!("http://{}", self.hosts[0].0)).chain().await
    }

    fn load(&self, file: &Path, batch: &str) -> String {
        let file = file.to_str().unwrap();
        let url = self.nginx.url();
        let output = run(&["load", "--url", &url, "--file", file, "--batch", batch, "--verify"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

/// Logs as devices send them: nested and flat data, several scripts, addresses to redact, repeats to fold, debug
/// chatter to sample, and one in a hundred that the filter refuses.
fn varied_logs(count: usize, from: usize) -> String {
    let levels = ["debug", "INFO", "Warning", "ERROR", "CRITICAL"];
    let messages = [
        "login of someone@example.com from 10.1.2.3",
        "Drücke über Grenzwert, 温度が高すぎます",
        "line one\\nline two\\t\\\"quoted\\\" \\\\ done",
        "heartbeat",
    ];
    let log = |n: usize| {
        let (device, level) = (n % 97, levels[n % levels.len()]);
        let message = messages[n % messages.len()];
        // The default rule of the filter: a sensor's temperature is a number in a range.
        let temperature = if n.is_multiple_of(100) { "\"hot\"".to_owned() } else { format!("{}.5", n % 60) };
        let number = n;
        format!(
            r#"{{"device_id":"sensor-{device}","log_level":"{level}","message":"{message} {}","log_data":{{"temperature":{temperature},"n":{number},"nested":{{"tags":["a","b"],"deep":{{"x":null}}}},"big":12345678901234567890}}}}"#,
            n % 9
        )
    };
    (from..from + count).map(|n| log(n) + "\n").collect()
}

fn count(said: &str, word: &str) -> usize {
    let before = said.split(&format!(" {word}")).next().unwrap();
    before.rsplit([' ', ',']).next().unwrap().parse().unwrap_or_else(|_| panic!("no count of {word}: {said}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_log_is_stored_once_and_touched_by_each_plugin() {
    let topology = Topology::start();
    let folder = TempFolder::new("logs");
    let (mut queued, mut rejected) = (0, 0);
    for (logs, from, batch) in [(SINGLE_LOGS, 0, "1"), (BATCHED_LOGS, 1_000_000, "100")] {
        let file = folder.join("logs.ndjson");
        std::fs::write(&file, varied_logs(logs, from)).unwrap();
        let said = topology.load(&file, batch);
        assert!(count(&said, "rejected") >= logs / 100, "the filter refused none: {said}");
        assert!(said.contains("0 missing, 0 doubled"), "{said}");
        queued += count(&said, "queued");
        rejected += count(&said, "rejected");
    }
    assert!(queued > 20_000, "only {queued} were queued");
    let api = Api::new(topology.nginx.url());
    assert_stored(&topology, queued, &topology.chain().await);
    assert_eq!(api.get("/api/plugins").await.0, 404, "nginx hands out what is for operators");
    assert_statistics(&topology, &api).await;
    assert_verdicts(&api, queued, rejected).await;
    let mut tail = api.tail("watched").await;
    let row = followed(&api, &mut tail, "watched").await;
    assert!(row["log_data"]["severity_number"].is_u64(), "not as it is stored: {row}");
    drop(tail);
    replace_a_plugin_under_load(&topology).await;
    stop_in_order(topology);
}

/// Every queued log is among the sources of exactly one row, and each row shows all three plugins.
fn assert_stored(topology: &Topology, queued: usize, chain: &str) {
    let sources = "select unnest(coalesce(sources, array[ms || '-' || seq])) as id from logs";
    let total: usize = topology.sql(&format!("select count(*) from ({sources}) s")).parse().unwrap();
    let distinct: usize =
        topology.sql(&format!("select count(distinct id) from ({sources}) s")).parse().unwrap();
    assert_eq!((total, distinct), (queued, queued), "stored sources, and how many differ");
    let untouched = topology.sql(
        "select count(*) from logs where not log_data ? 'severity_number' or message like '%@example.com%' \
         or message like '%10.1.2.3%'",
    );
    assert_eq!(untouched, "0", "rows that a plugin did not touch");
    assert_eq!(topology.redis.command(&["XLEN", "logs:stream"]), ":0");
    assert_eq!(topology.redis.command(&["XLEN", "logs:dead"]), ":0");
    let chains = topology.sql("select name from chains where id in (select distinct chain_id from logs)");
    assert_eq!(chains, chain, "chains of the rows");
}

/// What is counted with the commits is what is there, whichever worker committed it.
async fn assert_statistics(topology: &Topology, api: &Api) {
    let (_, stats) = api.get("/api/stats").await;
    assert_eq!(stats["total"].to_string(), topology.sql("select count(*) from logs"));
    for (level, code) in [("DEBUG", 0), ("INFO", 1), ("WARNING", 2), ("ERROR", 3), ("CRITICAL", 4)] {
        let there = topology.sql(&format!("select count(*) from logs where log_level = {code}"));
        assert_eq!(stats["per_level"][level].to_string(), there, "{level}");
    }
    let (device, count) = (&stats["top_devices"][0][0], &stats["top_devices"][0][1]);
    let (_, page) = api.get(&format!("/api/logs/{}?limit=1", device.as_str().unwrap())).await;
    assert_eq!((&page["total"], page["total_relation"].as_str()), (count, Some("eq")));
    let (_, all) = api.get("/api/logs?limit=1").await;
    assert_eq!(all["total"], stats["total"]);
}

/// Each plugin's verdicts, of all hosts and workers. The hosts write theirs every few seconds.
async fn assert_verdicts(api: &Api, queued: usize, rejected: usize) {
    let deadline = Instant::now() + SOON;
    loop {
        let (_, stats) = api.get("/api/stats").await;
        let of = |plugin: &str, verdict: &str| {
            let mut plugins = stats["plugins"].as_array().unwrap().iter();
            let counts = plugins.find(|it| it["plugin"] == plugin);
            counts.map_or(0, |it| it[verdict].as_u64().unwrap()) as usize
        };
        let transformed = ["accepted", "changed", "dropped"].map(|verdict| of("transform", verdict));
        assert_eq!(transformed.into_iter().sum::<usize>(), queued, "written with the batches: {stats}");
        let found = [of("filter", "accepted"), of("filter", "rejected"), of("enrich", "changed")];
        if found == [queued, rejected, queued] {
            return;
        }
        assert!(Instant::now() < deadline, "{queued} queued, {rejected} rejected: {stats}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until every host and worker serves another chain than this; it is the same everywhere.
async fn converged(topology: &Topology, before: &str) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let mut chains = Vec::new();
        for (address, _) in topology.hosts.iter().chain(&topology.workers) {
            chains.push(Api::new(format!("http://{address}")).chain().await);
        }
        if chains.iter().all(|chain| chain != before && *chain == chains[0]) {
            return chains.swap_remove(0);
        }
        assert!(Instant::now() < deadline, "no convergence on a new chain: {chains:?}, before {before}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn replace_a_plugin_under_load(topology: &Topology) {
    let before = topology.chain().await;
    let url = topology.nginx.url();
    let load = sawpit(&["load", "--url", &url, "--seconds", "6", "--rate", "1000", "--verify"]);
    let transform = topology.plugins.join("transform.wasm");
    deploy(&transform, &another_build(&transform));
    let after = converged(topology, &before).await;
    let converged_at = topology.sql("select now()");
    let status = load.wait(SOON + SOON).unwrap();
    let said = load.output();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains(" 0 failed") && said.contains("0 missing, 0 doubled"), "{said}");
    // However long they took to converge, some come after it.
    let later = run(&["load", "--url", &url, "--seconds", "1", "--rate", "500", "--verify"]);
    assert_eq!(later.status.code(), Some(0), "{}", String::from_utf8_lossy(&later.stdout));
    let chains = topology.sql(&format!(
        "select distinct name from logs join chains on chains.id = chain_id where received_at > '{converged_at}'"
    ));
    assert_eq!(chains, after, "chains of what was received once all serve the new one");
}

fn stop_in_order(topology: Topology) {
    for (_, process) in topology.hosts.iter().chain(&topology.workers) {
        let status = process.stop(Signal::TERM, SOON);
        assert_eq!(status.code(), Some(0), "{}", process.output());
    }
    let _ = topology.store;
}
