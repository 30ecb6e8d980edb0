//! The table of metrics against the sources and against its page.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sawpit_service::catalog::{METRICS, page};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The names in the sources of a folder, but for tests and the table itself.
fn names_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_in(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs")
            && !path.ends_with("catalog.rs")
            && !path.ends_with("tests.rs")
        {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let quoted = code.split('"').filter(|text| text.starts_with("sawpit_"));
            let is_name = |text: &&str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            names.extend(quoted.filter(is_name).map(str::to_owned));
        }
    }
}

#[test]
fn every_metric_of_the_sources_has_its_line_and_every_line_a_metric() {
    let mut used = BTreeSet::new();
    for folder in [
        "crates/queue/src",
        "crates/store/src",
        "crates/plugins/src",
        "crates/service/src",
        "host/src",
        "worker/src",
        "cli/src",
    ] {
        names_in(&root().join(folder), &mut used);
    }
    // What begins like a metric and is a token's prefix or a crate's name.
    let metrics: BTreeSet<String> = used
        .into_iter()
        .filter(|name| !["sawpit_"].contains(&name.as_str()) && name.matches('_').count() > 1)
        .collect();
    let listed: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(listed.len(), METRICS.len(), "a metric is listed twice");
    let missing: Vec<_> = metrics.difference(&listed).collect();
    let idle: Vec<_> = listed.difference(&metrics).collect();
    assert!(missing.is_empty() && idle.is_empty(), "not in the table: {missing:?}; in no source: {idle:?}");
}

#[test]
fn the_page_is_what_the_table_says() {
    let file = root().join("docs/metrics.md");
    if std::env::var_os("SAWPIT_WRITE_DOCS").is_some() {
        fs::write(&file, page()).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    let how = "SAWPIT_WRITE_DOCS=1 cargo test -p sawpit-service --test catalog";
    assert!(written == page(), "docs/metrics.md is out of date; write it with: {how}");
}

#[test]
fn names_and_units_keep_the_conventions() {
    use sawpit_service::catalog::Kind;
    for metric in METRICS {
        let (name, kind) = (metric.name, metric.kind);
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        assert!(name.starts_with("sawpit_") && !metric.help.ends_with('.'), "{name}");
        if kind == Kind::Histogram {
            assert!(name.ends_with("_seconds") || name.ends_with("_logs"), "{name} has no unit");
        }
    }
}

/// Names of labels, each with the values that are seen.
type Labels = Vec<(String, Vec<String>)>;

/// A counter, gauge or histogram as the sources use it: its name, and its labels with their values where these are
/// texts, also where they are given to the function around it by its callers.
fn uses(code: &str) -> Vec<(String, Labels)> {
    let mut found = Vec::new();
    for kind in ["counter!(", "gauge!(", "histogram!("] {
        for (at, _) in code.match_indices(kind) {
            let call = code[at + kind.len()..].split(')').next().unwrap();
            let Some(name) = call.trim_start().strip_prefix('"').and_then(|call| call.split('"').next())
            else {
                continue;
            };
            let labels = call.split(',').filter_map(|label| label.split_once("=>"));
            let labels = labels.map(|(label, value)| {
                let value = value.trim();
                let values = match value.strip_prefix('"') {
                    Some(text) => vec![text.trim_end_matches('"').to_owned()],
                    None => given(code, at, value),
                };
                (label.trim().trim_matches('"').to_owned(), values)
            });
            found.push((name.to_owned(), labels.collect()));
        }
    }
    found
}

/// The texts that callers in this file give to the function around `at`, if `value` is its first parameter.
fn given(code: &str, at: usize, value: &str) -> Vec<String> {
    let start = code[..at].rfind("fn ").unwrap() + 3;
    let (name, parameters) = code[start..at].split_once('(').unwrap();
    if !parameters.starts_with(&format!("{value}: ")) {
        return Vec::new();
    }
    let call = format!("{name}(\"");
    let calls = code.match_indices(&call).map(|(at, call)| &code[at + call.len()..]);
    calls.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// All that the sources of a folder hold, but for tests.
fn code_in(folder: &Path) -> String {
    let mut code = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code.push_str(&code_in(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            code.push_str(text.split("#[cfg(test)]").next().unwrap());
        }
    }
    code
}

#[test]
fn labels_and_their_values_are_those_of_the_sources() {
    let (mut labelled, mut values) = (0, 0);
    for folder in ["crates/queue/src", "crates/plugins/src", "crates/service/src", "host/src", "worker/src"] {
        for (name, labels) in uses(&code_in(&root().join(folder))) {
            let metric =
                METRICS.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name}"));
            let listed: Vec<(&str, &str)> = metric
                .labels
                .split(", ")
                .map(|label| label.split_once(" = ").unwrap_or((label, "")))
                .collect();
            for (label, used) in labels {
                let known = listed.iter().find(|(listed, _)| *listed == label);
                let (_, known) =
                    known.unwrap_or_else(|| panic!("{name} has a label {label} that is not listed"));
                labelled += 1;
                for value in used.iter().filter(|_| !known.is_empty()) {
                    let is_known = known.split(" | ").any(|known| known == value);
                    assert!(is_known, "{name}: {label} may be {value}, which is not listed");
                    values += 1;
                }
            }
        }
    }
    assert!(labelled > 15 && values > 15, "{labelled} labels with {values} values were found");
}
