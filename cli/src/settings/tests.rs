//! What is typed, through the real command line and its resolution.

use clap::ArgMatches;
use sawpit_testkit::workspace_root;
use yaml_rust2::{Yaml, YamlLoader};

use super::*;

/// The flags of a command line, which clap takes.
fn flags(line: &[&str]) -> ArgMatches {
    let matches = crate::command().try_get_matches_from([&["sawpit"], line].concat()).unwrap();
    matches.subcommand().unwrap().1.clone()
}

fn host(more: &[&str]) -> Result<host_command::HostCommand, SettingsErrors> {
    let usual = ["host", "--queue", "redis://r", "--store", "sqlite:s"];
    host_command::resolve(&flags(&[&usual, more].concat()))
}

#[track_caller]
fn refused<T>(resolved: Result<T, SettingsErrors>, setting: &str) -> String {
    let errors = resolved.err().unwrap();
    assert_eq!(errors.0.len(), 1, "{errors}");
    assert_eq!(errors.0[0].setting, setting, "{errors}");
    errors.0[0].rule.clone()
}

#[test]
fn a_request_outlasts_its_body_and_its_append() {
    let with = |request| {
        let times = ["--body-timeout", "10s", "--append-timeout", "2s", "--request-timeout", request];
        host(&[&times[..], &["--query-timeout", "1s"]].concat())
    };
    assert!(with("12001ms").is_ok());
    for request in ["12s", "5s"] {
        refused(with(request), "request-timeout, body-timeout, append-timeout");
    }
}

#[test]
fn a_query_ends_before_its_request() {
    assert!(host(&["--query-timeout", "24s", "--request-timeout", "25s"]).is_ok());
    refused(host(&["--query-timeout", "25s", "--request-timeout", "25s"]), "query-timeout, request-timeout");
}

#[test]
fn a_cache_is_the_queues_redis_where_it_is_one() {
    let cache = |queue: &str| {
        let command = host_command::resolve(&flags(&["host", "--queue", queue, "--store", "sqlite:s"]));
        command.unwrap().parts.cache.url
    };
    for redis in ["redis://r", "rediss://r", "redis+cluster://r:1,r:2"] {
        assert_eq!(cache(redis), redis);
    }
    for folder in ["redis-data", "rediss", "./redis"] {
        assert_eq!(cache(folder), "memory:", "{folder}");
    }
}

#[test]
fn a_worker_marks_what_is_stale_for_as_long_as_hosts_cache() {
    let line = ["worker", "--queue", "redis://r", "--store", "sqlite:s", "--cache-ttl", "7s"];
    let worker = worker_command::resolve(&flags(&line)).unwrap().worker;
    assert_eq!(worker.cache_ttl, Duration::from_secs(7));
    let up = up::resolve(&flags(&["up", "--cache-ttl", "8s"])).unwrap();
    assert_eq!((up.worker.cache_ttl, up.host.cache_ttl), (Duration::from_secs(8), Duration::from_secs(8)));
}

#[test]
fn a_rate_of_none_is_no_rate() {
    assert!(refused(load::resolve(&flags(&["load", "--rate", "0"])), "rate").contains("leave it out"));
    assert_eq!(load::resolve(&flags(&["load", "--rate", "1"])).unwrap().1.rate, Some(1));
    assert_eq!(load::resolve(&flags(&["load"])).unwrap().1.rate, None);
}

/// The text with `${NAME:-DEFAULT}` as compose reads it where NAME is not set.
fn without_variables(text: &str) -> String {
    let mut parts = text.split("${");
    let mut done = parts.next().unwrap().to_owned();
    for part in parts {
        let (variable, rest) = part.split_once('}').unwrap();
        done += variable.split_once(":-").unwrap().1;
        done += rest;
    }
    done
}

fn words(list: &Yaml) -> Vec<String> {
    list.as_vec().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Resolves a command line of compose.yaml; the command's name.
fn resolve(line: &[String]) -> &str {
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let flags = flags(&line);
    let resolved = match line[0] {
        "host" => host_command::resolve(&flags).map(drop),
        "worker" => worker_command::resolve(&flags).map(drop),
        "health" => health::resolve(&flags).map(drop),
        other => panic!("compose.yaml starts `sawpit {other}`"),
    };
    resolved.unwrap_or_else(|errors| panic!("{line:?}: {errors}"));
    line[0]
}

#[test]
fn compose_starts_what_can_be_started() {
    let text = std::fs::read_to_string(workspace_root().join("compose.yaml")).unwrap();
    let compose = YamlLoader::load_from_str(&without_variables(&text)).unwrap().remove(0);
    let services = compose["services"].as_hash().unwrap().values();
    let mut started = Vec::new();
    // Ours are those whose health `sawpit health` asks for.
    for service in services {
        let asked = words(&service["healthcheck"]["test"]);
        if asked.get(1).is_some_and(|program| program == "sawpit") {
            assert_eq!(resolve(&asked[2..]), "health");
            started.push(resolve(&words(&service["command"])).to_owned());
        }
    }
    assert_eq!(started, ["host", "host", "worker"]);
}
