//! The alert rules and the dashboard: they are valid, they do what they should, and they name metrics that there are.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sawpit_service::catalog::{Kind, METRICS};
use sawpit_service::telemetry::buckets_of;
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

/// As the file's own head says: the # is taken away, and the file is there.
#[test]
fn prometheus_can_be_given_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let (token, config) = (folder.path().join("token"), folder.path().join("prometheus.yml"));
    fs::write(&token, "sawpit_id_secret\n").unwrap();
    let with_token = text("prometheus.yml").replace("# authorization:", "authorization:");
    assert_eq!(with_token.matches("    authorization: {credentials_file: /etc/prometheus/token}").count(), 2);
    let rules = monitoring().join("alerts.yml").display().to_string();
    let with_token = with_token.replace("/etc/prometheus/token", token.to_str().unwrap());
    fs::write(&config, with_token.replace("[alerts.yml]", &format!("[{rules}]"))).unwrap();
    promtool(&["check", "config", config.to_str().unwrap()]);
}

fn text(file: &str) -> String {
    fs::read_to_string(monitoring().join(file)).unwrap()
}

/// The names of the alerts, each with the rest of its rule.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    rules.split("- alert: ").skip(1).map(|rule| rule.split_once('\n').unwrap()).collect()
}

/// What stands between `start` and `end` in a text, wherever it does.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).map(move |rest| rest.split(end).next().unwrap())
}

#[test]
fn every_alert_says_what_to_do_and_is_seen_to_fire_and_to_stay_silent() {
    let (rules, tests) = (text("alerts.yml"), text("alerts.test.yml"));
    let alerts = alerts(&rules);
    for (name, rule) in &alerts {
        for part in ["severity:", "summary:", "action:"] {
            assert!(rule.contains(part), "{name} has no {part}");
        }
        let asked = |end: &str| {
            let cases =
                tests.split("alertname: ").skip(1).filter(|case| case.starts_with(&format!("{name}{end}")));
            cases
                .map(|case| case.split("eval_time").next().unwrap().contains("exp_alerts:"))
                .collect::<Vec<_>>()
        };
        assert!(asked("\n").contains(&true), "no test lets {name} fire");
        assert!(asked("}").contains(&false), "no test lets {name} be silent");
    }
    assert!(alerts.len() > 10, "{alerts:?}");
}

#[test]
fn the_buckets_that_alerts_are_tested_with_are_those_of_the_processes() {
    let tests = text("alerts.test.yml");
    let mut seen = 0;
    for series in between(&tests, "{series: '", "', values").filter(|series| series.contains("_bucket{")) {
        let name = series.split("_bucket{").next().unwrap();
        let bound = between(series, "le=\"", "\"").next().unwrap();
        let is_bucket = bound == "+Inf" || buckets_of(name).contains(&bound.parse().unwrap());
        assert!(is_bucket, "{name} has no bucket le={bound}");
        seen += 1;
    }
    assert!(seen > 8, "{seen} series were found");
}

/// A quantile beyond the last bucket is the last bucket's bound.
#[test]
fn a_quantile_that_an_alert_waits_for_can_be_reached() {
    let rules = text("alerts.yml");
    let mut seen = 0;
    for (name, rule) in alerts(&rules).into_iter().filter(|(_, rule)| rule.contains("histogram_quantile(")) {
        let expression = between(rule, "expr: ", "\n").next().unwrap();
        let histogram = between(expression, "rate(", "_bucket").next().unwrap();
        let bound: f64 = expression.rsplit("> ").next().unwrap().trim().parse().unwrap();
        let buckets = buckets_of(histogram);
        assert!(buckets.contains(&bound), "{name}: {bound} is no bound of {histogram}: {buckets:?}");
        assert!(buckets.last().is_some_and(|last| *last > bound), "{name}: {histogram} ends at {bound}");
        seen += 1;
    }
    assert!(seen > 1, "{seen} quantiles were found");
}

/// What begins at its first count has never risen before it; only counters whose labels are few begin at 0.
#[test]
fn an_alert_does_not_wait_for_the_first_rise_of_a_counter_that_begins_at_it() {
    let rules = text("alerts.yml");
    for (name, rule) in alerts(&rules) {
        for counter in between(rule, "increase(", "[") {
            let metric = METRICS.iter().find(|metric| metric.name == counter).unwrap();
            let begins_at_zero =
                metric.labels.split(", ").all(|label| label.is_empty() || label.contains(" = "));
            assert!(begins_at_zero, "{name} waits for a rise of {counter}, which may begin with it");
        }
    }
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
