//! The alert rules and the dashboard: they are valid, they do what they should, and they name metrics that there are.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sawpit_service::catalog::{Kind, METRICS};
use serde_json::Value;

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("monitoring")
}

/// Debian has it in the package `prometheus`.
fn promtool(args: &[&str]) {
    let output = Command::new("promtool").args(args).current_dir(monitoring()).output();
    let output = output.expect("promtool is missing: run `cargo xtask tools`");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {args:?}: {said}");
}

fn dashboard() -> Value {
    let text = fs::read_to_string(monitoring().join("grafana/dashboards/sawpit.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The queries of all panels.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn prometheus_takes_its_configuration_and_the_alerts_fire_when_they_should() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
}

#[test]
fn every_alert_says_what_to_do_and_is_tested() {
    let rules = fs::read_to_string(monitoring().join("alerts.yml")).unwrap();
    let tests = fs::read_to_string(monitoring().join("alerts.test.yml")).unwrap();
    let mut alerts = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        assert!(
            rule.contains("severity:") && rule.contains("summary:") && rule.contains("action:"),
            "{name}"
        );
        // Dead letters are counted by a function that extrapolates; all others are tested by name.
        assert!(tests.contains(name) || name == "SawpitDeadLetters", "{name} is not tested");
        alerts += 1;
    }
    assert!(alerts >= 10);
}

#[test]
fn the_dashboards_queries_are_valid() {
    let rule = |(n, query): (usize, &String)| {
        let query = query.replace("$__rate_interval", "1m");
        format!("      - {{record: 'panel:{n}', expr: {}}}\n", serde_json::to_string(&query).unwrap())
    };
    let queries = queries(&dashboard());
    assert!(queries.len() > 30, "{}", queries.len());
    let rules: String = queries.iter().enumerate().map(rule).collect();
    let file = std::env::temp_dir().join(format!("sawpit-panels-{}.yml", std::process::id()));
    fs::write(&file, format!("groups:\n  - name: panels\n    rules:\n{rules}")).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
    fs::remove_file(file).unwrap();
}

#[test]
fn panels_have_places_of_their_own_and_say_what_they_show() {
    let dashboard = dashboard();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let place = &panel["gridPos"];
        assert!(places.insert((place["x"].as_u64().unwrap(), place["y"].as_u64().unwrap())), "{panel}");
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
    }
    assert_eq!((dashboard["uid"].as_str(), dashboard["title"].as_str()), (Some("sawpit"), Some("Sawpit")));
}

#[test]
fn alerts_and_panels_name_metrics_that_there_are() {
    let mut text = fs::read_to_string(monitoring().join("alerts.yml")).unwrap();
    text.push_str(&queries(&dashboard()).join("\n"));
    let mut there: BTreeSet<String> = BTreeSet::new();
    for metric in METRICS {
        // A histogram's own name is said to people.
        there.insert(metric.name.to_owned());
        if metric.kind == Kind::Histogram {
            there.extend(["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)));
        }
    }
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    // `sawpit` alone is the name of the group and of the jobs.
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("sawpit_")).collect();
    let unknown: Vec<_> = named.iter().filter(|name| !there.contains(**name)).collect();
    assert!(named.len() > 25 && unknown.is_empty(), "no such metrics: {unknown:?}");
}
