//! compose.yaml agrees with nginx.conf and with itself, nginx.conf with the host's defaults, and real servers take the settings it gives them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs;

use sawpit_testkit::{Postgres, Redis, workspace_root};
use yaml_rust2::{Yaml, YamlLoader};

fn compose() -> Yaml {
    let text = fs::read_to_string(workspace_root().join("compose.yaml")).unwrap();
    YamlLoader::load_from_str(&text).unwrap().remove(0)
}

fn services(compose: &Yaml) -> Vec<(&str, &Yaml)> {
    compose["services"].as_hash().unwrap().iter().map(|(name, it)| (name.as_str().unwrap(), it)).collect()
}

/// A key of a service, also when it comes from the mapping that `<<` merges in (which the parser leaves alone).
fn get<'a>(service: &'a Yaml, key: &str) -> &'a Yaml {
    let own = &service[key];
    if own.is_badvalue() { &service["<<"][key] } else { own }
}

fn words(list: &Yaml) -> Vec<&str> {
    list.as_vec().unwrap_or(const { &Vec::new() }).iter().filter_map(Yaml::as_str).collect()
}

fn service<'a>(compose: &'a Yaml, name: &str) -> &'a Yaml {
    let service = &compose["services"][name];
    assert!(!service.is_badvalue(), "no service {name}");
    service
}

#[test]
fn every_service_restarts_is_checked_and_is_given_time_to_stop() {
    for (name, service) in services(&compose()) {
        for key in ["image", "restart", "stop_grace_period"] {
            assert!(get(service, key).as_str().is_some(), "{name} has no {key}");
        }
        assert!(!words(&get(service, "healthcheck")["test"]).is_empty(), "{name} has no health check");
    }
}

#[test]
fn what_is_depended_on_and_mounted_exists() {
    let compose = compose();
    for (name, service) in services(&compose) {
        if let Some(needed) = get(service, "depends_on").as_hash() {
            for (needed, how) in needed {
                assert!(
                    !compose["services"][needed.as_str().unwrap()].is_badvalue(),
                    "{name} needs {needed:?}"
                );
                assert_eq!(how["condition"].as_str(), Some("service_healthy"));
            }
        }
        for volume in words(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            let known = compose["volumes"].as_hash().unwrap().contains_key(&Yaml::String(source.to_owned()));
            assert!(known || workspace_root().join(source).exists(), "{name} mounts {source}");
        }
    }
}

#[test]
fn ports_and_hosts_are_those_of_nginx_conf() {
    let compose = compose();
    let nginx = fs::read_to_string(workspace_root().join("nginx/nginx.conf")).unwrap();
    assert_eq!(words(&service(&compose, "nginx")["ports"]), ["127.0.0.1:18723:18723"]);
    assert!(nginx.contains("listen 18723 "));
    for (host, threads) in [("host-1", "--threads=6"), ("host-2", "--threads=4")] {
        let command = words(&service(&compose, host)["command"]);
        assert!(nginx.contains(&format!("server {host}:8000 ")), "nginx.conf does not name {host}");
        assert!(command.contains(&"--listen=0.0.0.0:8000") && command.contains(&threads), "{command:?}");
    }
    assert_eq!(nginx.matches("server host-").count(), 2);
    assert_eq!(words(&service(&compose, "redis")["ports"]), ["127.0.0.1:16891:6379"]);
    assert_eq!(words(&service(&compose, "postgres")["ports"]), ["127.0.0.1:15467:5432"]);
}

/// What a setting counts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Bytes,
    Milliseconds,
    Pieces,
}

/// A value of a host's setting.
fn of_host(text: &str) -> (u64, Unit) {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("{text:?}"));
    match &text[digits.len()..] {
        "" => (number, Unit::Pieces),
        "MiB" => (number << 20, Unit::Bytes),
        "s" => (number * 1_000, Unit::Milliseconds),
        other => panic!("{text:?}: what is {other:?}?"),
    }
}

/// A value of nginx's, in the unit of the host's.
fn of_nginx(text: &str, unit: Unit) -> u64 {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("{text:?}"));
    match (&text[digits.len()..], unit) {
        ("", Unit::Pieces | Unit::Bytes) => number,
        ("m", Unit::Bytes) => number << 20,
        ("s", Unit::Milliseconds) => number * 1_000,
        other => panic!("{text:?}: what is {other:?}?"),
    }
}

/// The lines `DIRECTIVE VALUE;  # host: --FLAG VALUE` of nginx.conf: the comment's value is the host's default, in the
/// table of settings as it is written, and the directive's is at or below it, unless the comment says that it must not.
#[test]
fn limits_of_nginx_conf_are_at_or_below_those_of_the_host_that_they_name() {
    let nginx = fs::read_to_string(workspace_root().join("nginx/nginx.conf")).unwrap();
    let folder = workspace_root().join("cli/src/settings");
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let settings: String = files.collect();
    let lines: Vec<_> = nginx.lines().filter_map(|line| line.split_once("# host: --")).collect();
    assert!(lines.len() >= 6, "{lines:?}");
    assert_eq!(lines.len(), nginx.matches("host: --").count(), "one is beside no directive");
    for (directive, comment) in lines {
        let (flag, value) = flag_and_value(comment);
        let spec = settings.split("SettingSpec::new(").find(|spec| spec.starts_with(&format!("\"{flag}\"")));
        let spec = spec.unwrap_or_else(|| panic!("the host has no setting {flag}"));
        assert!(spec.contains(&format!(".default(\"{value}\")")), "nginx.conf says --{flag} {value}");
        let (hosts, unit) = of_host(value);
        let nginxs = of_nginx(directive.split_whitespace().nth(1).unwrap().trim_end_matches(';'), unit);
        let fits = match comment {
            longer if longer.contains("Must be longer") => nginxs > hosts,
            shorter if shorter.contains("Must be shorter") => nginxs < hosts,
            _ => nginxs <= hosts,
        };
        assert!(fits, "{} against --{comment}", directive.trim());
    }
}

fn flag_and_value(comment: &str) -> (&str, &str) {
    let mut words = comment.split_whitespace();
    (words.next().unwrap(), words.next().unwrap().trim_end_matches([',', '.']))
}

#[test]
fn hosts_and_worker_share_queue_store_and_plugin_folder() {
    let compose = compose();
    let shared = |name| {
        let mut command = words(&service(&compose, name)["command"]);
        command.retain(|word| ["--queue", "--store", "--plugins"].iter().any(|flag| word.starts_with(flag)));
        command
    };
    assert_eq!(shared("host-1").len(), 3);
    assert_eq!(shared("host-1"), shared("host-2"));
    assert_eq!(shared("host-1"), shared("worker"));
}

/// A process that cannot write to the folder rolls a canary back for itself alone; two with one cache, or one without,
/// compile at each start.
#[test]
fn all_who_run_plugins_may_write_to_the_folder_and_have_a_cache_of_their_own() {
    let compose = compose();
    for (name, folder) in [
        ("host-1", "plugins:/plugins"),
        ("host-2", "plugins:/plugins:nocopy"),
        ("worker", "plugins:/plugins:nocopy"),
    ] {
        let service = service(&compose, name);
        assert_eq!(words(&service["volumes"]), [folder, &format!("cache-{name}:/cache")]);
        assert!(words(&service["command"]).contains(&"--plugin-cache=/cache"), "{name}");
    }
}

#[test]
fn a_real_postgres_takes_the_settings() {
    let compose = compose();
    let command = words(&service(&compose, "postgres")["command"]);
    let settings: Vec<(&str, &str)> = command.iter().filter_map(|word| word.split_once('=')).collect();
    let postgres = Postgres::with(&settings);
    let expected = [
        ("max_connections", "200"),
        ("shared_buffers", "256MB"),
        ("effective_cache_size", "768MB"),
        ("synchronous_commit", "on"),
        ("commit_delay", "200"),
        ("commit_siblings", "2"),
        ("fsync", "on"),
    ];
    for (name, value) in expected {
        assert_eq!(postgres.query("postgres", &format!("SHOW {name}")), value, "{name}");
    }
    assert_eq!(service(&compose, "postgres")["image"].as_str(), Some("postgres:15-alpine"));
}

#[test]
fn a_real_redis_takes_the_settings() {
    let compose = compose();
    let command = words(&service(&compose, "redis")["command"]);
    let settings: Vec<(&str, &str)> = command[1..]
        .chunks(2)
        .map(|pair| (pair[0].trim_start_matches("--"), if pair[1].is_empty() { "\"\"" } else { pair[1] }))
        .collect();
    let redis = Redis::with(&settings);
    let bytes = (512 * 1024 * 1024).to_string();
    for (name, value) in [
        ("maxmemory", bytes.as_str()),
        ("maxmemory-policy", "volatile-lru"),
        ("appendonly", "yes"),
        ("save", ""),
    ] {
        assert_eq!(redis.command(&["CONFIG", "GET", name]), format!("{name}\n{value}"));
    }
    assert!(service(&compose, "redis")["image"].as_str().unwrap().starts_with("redis:7"));
}
