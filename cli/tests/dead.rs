//! Logs that a plugin failed on: kept whole, looked at, replayed once the plugin is mended, purged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]
#![allow(dead_code, reason = "the support module serves several test programs")]

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sawpit_testkit::{Guest, Postgres, Process, Redis, TRAP, TempFolder, answer, on_letter};
use serde_json::Value;
use support::{Api, SOON, free_address, run, sawpit};

const QUARANTINE: &str = "on_error = \"quarantine\"\nbreaker.failures = 0\n";

/// Runs `sawpit dead …`; its exit code and all it said.
fn dead(place: [&str; 2], args: &[&str]) -> (i32, String) {
    let output = run(&[&["dead"], args, &place].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// The letters, once there are so many.
fn letters(place: [&str; 2], count: usize) -> Vec<Value> {
    let until = Instant::now() + SOON;
    loop {
        let (code, said) = dead(place, &["list", "--json"]);
        assert_eq!(code, 0, "{said}");
        let found: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if found.len() == count {
            return found;
        }
        assert!(Instant::now() < until, "{count} letters wanted, found {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A plugin folder whose `geo.wasm` fails on a log with an X.
fn failing(stage: &'static str) -> TempFolder {
    let folder = TempFolder::new("plugins");
    std::fs::write(folder.join("geo.toml"), QUARANTINE).unwrap();
    let guest = Guest::new(stage, on_letter('X', TRAP)).named("geo", "1.0.0");
    std::fs::write(folder.join("geo.wasm"), guest.wasm()).unwrap();
    folder
}

async fn mend(folder: &TempFolder, stage: &'static str, apis: &[&Api]) {
    let chains: Vec<String> = futures(apis).await;
    let good = Guest::new(stage, answer()).named("geo", "1.0.1");
    std::fs::write(folder.join(".geo.new"), good.wasm()).unwrap();
    std::fs::rename(folder.join(".geo.new"), folder.join("geo.wasm")).unwrap();
    let until = Instant::now() + SOON;
    while futures(apis).await.iter().zip(&chains).any(|(now, before)| now == before) {
        assert!(Instant::now() < until, "the mended plugin does not serve");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn futures(apis: &[&Api]) -> Vec<String> {
    let mut chains = Vec::new();
    for api in apis {
        chains.push(api.chain().await);
    }
    chains
}

fn up(data: &TempFolder, plugins: &TempFolder, more: &[&str]) -> (Process, Api) {
    let address = free_address();
    let (listen, data, plugins) =
        (address.to_string(), data.path().to_str().unwrap(), plugins.path().to_str().unwrap());
    let args = [&["up", "--listen", &listen, "--data", data, "--plugins", plugins], more].concat();
    let process = sawpit(&args);
    process.wait_http(address, "/health/ready", SOON);
    (process, Api::new(format!("http://{address}")))
}

/// Posts a good log, a bad one and, in one batch, one of each; the ids of the bad ones.
async fn post(api: &Api) -> Vec<Value> {
    let log = |message: &str| {
        format!(r#"{{"device_id":"d-1","log_level":"INFO","message":"{message}","log_data":{{"n":[1]}}}}"#)
    };
    let mut bad = Vec::new();
    for message in ["fine", "X alone"] {
        let (status, answer) = api.post("/api/log", log(message)).await;
        assert_eq!((status, &answer["status"]), (StatusCode::ACCEPTED, &"queued".into()), "{answer}");
        bad.push(answer["message_id"].clone());
    }
    let batch = format!(r#"{{"logs":[{},{}]}}"#, log("X in a batch"), log("fine in a batch"));
    let (status, answer) = api.post("/api/logs/batch", batch).await;
    assert_eq!((status, &answer["count"]), (StatusCode::ACCEPTED, &2.into()), "{answer}");
    bad.push(answer["message_ids"][0].clone());
    bad.remove(0);
    bad
}

async fn messages(api: &Api, count: u64) -> Vec<String> {
    let until = Instant::now() + SOON;
    loop {
        let (_, page) = api.get("/api/logs/d-1").await;
        if page["total"] == count {
            let rows = page["data"].as_array().unwrap();
            return rows.iter().map(|row| row["message"].as_str().unwrap().to_owned()).collect();
        }
        assert!(Instant::now() < until, "{count} rows wanted: {page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn quarantined_shown_replayed_purged(place: [&str; 2], api: &Api, mend: impl AsyncFnOnce()) {
    let bad = post(api).await;
    let mut found = letters(place, 2);
    // Batches end as they will.
    found.sort_by_key(|letter| letter["message_id"].to_string());
    assert_eq!(found.iter().map(|letter| &letter["message_id"]).collect::<Vec<_>>(), [&bad[0], &bad[1]]);
    for (letter, message) in found.iter().zip(["X alone", "X in a batch"]) {
        assert!(letter["plugin"].as_str().unwrap().starts_with("geo@1.0.0#"), "{letter}");
        assert!(letter["reason"].as_str().unwrap().contains("unreachable"), "{letter}");
        let field = |name: &str| {
            let fields = letter["fields"].as_array().unwrap();
            fields.iter().find(|field| field[0] == name).map(|field| field[1].as_str().unwrap().to_owned())
        };
        assert_eq!(field("message").as_deref(), Some(message));
        assert_eq!(field("log_data").as_deref(), Some("{\"n\":[1]}"), "whole, as it was sent");
    }
    assert_eq!(messages(api, 2).await.len(), 2);
    let ids: Vec<&str> = found.iter().map(|letter| letter["id"].as_str().unwrap()).collect();
    let (code, said) = dead(place, &["list"]);
    assert!(code == 0 && said.contains("geo@1.0.0") && said.contains("d-1"), "{said}");
    let (code, said) = dead(place, &["show", ids[0]]);
    assert!(code == 0 && said.contains("message: X alone") && said.contains("unreachable"), "{said}");
    assert!(said.contains("at body"), "the guest's trace: {said}");

    mend().await;
    let (code, said) = dead(place, &["replay", ids[0]]);
    assert!(code == 0 && said.contains(&format!("{} replayed as ", ids[0])), "{said}");
    assert!(messages(api, 3).await.contains(&"X alone".to_owned()));
    let (code, said) = dead(place, &["replay", ids[0]]);
    assert!(code == 1 && said.contains("there is no dead letter"), "replayed once only: {said}");
    let (code, said) = dead(place, &["purge", "--plugin", "geo@1.0.0", "--yes"]);
    assert!(code == 0 && said.contains(&format!("{} purged", ids[1])), "{said}");
    assert!(letters(place, 0).is_empty());
    for (act, which, code) in [
        ("replay", &["--plugin", "nosuch"][..], 1),
        ("purge", &["--plugin", "geo"], 1),
        ("replay", &["--all"], 0),
    ] {
        let (exit, said) = dead(place, &[&[act], which].concat());
        assert!(exit == code && said.contains("there is no dead letter"), "{act} {which:?}: {exit} {said}");
    }
    assert_eq!(messages(api, 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_a_running_up_are_reached_over_its_socket() {
    let (data, plugins) = (TempFolder::new("data"), failing("enrich"));
    let (_process, api) = up(&data, &plugins, &[]);
    let place = ["--data", data.path().to_str().unwrap()];
    quarantined_shown_replayed_purged(place, &api, async || mend(&plugins, "enrich", &[&api]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_a_topology_are_reached_through_redis() {
    let (redis, postgres, plugins) = (Redis::start(), Postgres::start(), failing("filter"));
    let (url, store) = (redis.url(), postgres.create_database("sawpit"));
    let folder = plugins.path().to_str().unwrap();
    let start = |command: &str| {
        let address = free_address();
        let listen = address.to_string();
        let process = sawpit(&[
            command,
            "--listen",
            &listen,
            "--queue",
            &url,
            "--store",
            &store,
            "--plugins",
            folder,
            "--block",
            "1s",
        ]);
        process.wait_http(address, "/health/ready", SOON);
        (Api::new(format!("http://{address}")), process)
    };
    let ((host, _host), (worker, _worker)) = (start("host"), start("worker"));
    let place = ["--queue", url.as_str()];
    let mended = async || mend(&plugins, "filter", &[&host, &worker]).await;
    quarantined_shown_replayed_purged(place, &host, mended).await;
    assert_eq!(host.chain().await, worker.chain().await, "they share the folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_transformer_fails_on_is_kept_too_and_the_rest_of_its_batch_is_stored() {
    let (data, plugins) = (TempFolder::new("data"), failing("transform"));
    let (_process, api) = up(&data, &plugins, &[]);
    let place = ["--data", data.path().to_str().unwrap()];
    quarantined_shown_replayed_purged(place, &api, async || mend(&plugins, "transform", &[&api]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_log_that_fails_again_is_a_letter_again() {
    let (data, plugins) = (TempFolder::new("data"), failing("enrich"));
    let (process, api) = up(&data, &plugins, &[]);
    let place = ["--data", data.path().to_str().unwrap()];
    post(&api).await;
    letters(place, 2);
    let (code, said) = dead(place, &["replay", "--all", "--yes"]);
    assert_eq!((code, said.matches("replayed as").count()), (0, 2), "{said}");
    let again = letters(place, 2);
    assert!(
        again.iter().all(|letter| letter["reason"].as_str().unwrap().contains("unreachable")),
        "{again:?}"
    );
    // And they are there when the process is not, whose socket may be left behind.
    process.kill();
    assert_eq!(letters(place, 2), again);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_nothing_is_buried_or_lost_until_there_is_room() {
    let (data, plugins) = (TempFolder::new("data"), failing("enrich"));
    let (process, api) = up(&data, &plugins, &["--dead-limit", "1", "--block", "1s", "--reclaim-idle", "2s"]);
    let place = ["--data", data.path().to_str().unwrap()];
    let bad = post(&api).await;
    process.wait_line("dead letters are at their limit of 1", SOON);
    assert_eq!(messages(&api, 2).await.len(), 2);
    // By then they come alone, and again and again: others have their turn all the same.
    let until = Instant::now() + SOON;
    while process.output().matches("not buried").count() < 8 {
        assert!(Instant::now() < until, "{}", process.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fine = r#"{"device_id":"d-1","log_level":"INFO","message":"fine still"}"#;
    assert_eq!(api.post("/api/log", fine.to_owned()).await.0, StatusCode::ACCEPTED);
    assert_eq!(messages(&api, 3).await.len(), 3);
    let mut seen = Vec::new();
    for _ in &bad {
        let letter = letters(place, 1).remove(0);
        seen.push(letter["message_id"].clone());
        assert_eq!(dead(place, &["purge", letter["id"].as_str().unwrap()]).0, 0);
    }
    seen.sort_by_key(ToString::to_string);
    assert_eq!(seen, bad);
    assert!(letters(place, 0).is_empty());
}

#[test]
fn wrong_usage_is_told_and_no_queue_is_made() {
    let folder = TempFolder::new("queue");
    let place = ["--queue", folder.path().to_str().unwrap()];
    for args in
        [&["replay"][..], &["purge", "1-0", "--all"], &["show", "x"], &["show"], &["list", "--after", "x"]]
    {
        let (code, said) = dead(place, args);
        assert_eq!(code, 64, "{args:?}: {said}");
    }
    assert_eq!(run(&["dead"]).status.code(), Some(64));
    let (code, said) = dead(place, &["list"]);
    assert!(code == 1 && said.contains("there is no queue"), "{said}");
    assert!(!folder.join("queue.redb").exists());
}
