//! The guides name only what is there: commands and their settings, metrics, files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use support::run;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// README.md, the pages for operators and those for who writes plugins or changes the program, each with its path.
fn guides() -> Vec<(PathBuf, String)> {
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "plugins/README.md", "wit/README.md"];
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let pages = pages.chain(others.map(|page| root().join(page)));
    pages.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The names of this form that a text holds: `start`, then letters, digits, `-` and `_`.
fn names<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(start).map(move |(at, _)| {
        let rest = &text[at + start.len()..];
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
        &text[at..at + start.len() + end]
    })
}

#[test]
fn commands_have_the_settings_that_the_guides_give_them() {
    let mut helps: HashMap<String, String> = HashMap::new();
    let mut seen = 0;
    for (path, text) in guides() {
        for line in text.lines().filter_map(|line| line.trim_start_matches("$ ").strip_prefix("sawpit ")) {
            let words: Vec<&str> = line.split(['#', '>']).next().unwrap().split_whitespace().collect();
            let command: Vec<&str> = match words[..] {
                [group @ ("token" | "dead" | "plugin"), sub, ..] => vec![group, sub],
                _ => vec![words[0]],
            };
            let help = helps.entry(command.join(" ")).or_insert_with(|| {
                let output = run(&[&command[..], &["--help"]].concat());
                assert!(
                    output.status.success(),
                    "{}: there is no `sawpit {}`",
                    path.display(),
                    command.join(" ")
                );
                String::from_utf8(output.stdout).unwrap()
            });
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let known = help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}["));
                assert!(known, "{}: `sawpit {}` has no {flag}", path.display(), command.join(" "));
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen} settings were found");
}

#[test]
fn settings_and_metrics_that_the_guides_name_exist() {
    let commands = [
        &["up", "host", "worker", "load", "health", "index"].map(str::to_owned)[..],
        &["create", "list", "revoke"].map(|name| format!("token {name}")),
        &["list", "show", "replay", "purge"].map(|name| format!("dead {name}")),
        &["new", "build", "test", "bench", "inspect", "explain", "keygen", "sign", "verify"]
            .map(|name| format!("plugin {name}")),
    ];
    let help = |command: &String| {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        String::from_utf8(run(&words).stdout).unwrap()
    };
    let helps: String = commands.concat().iter().map(help).collect();
    let metrics = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let metrics: BTreeSet<&str> = names(&metrics, "sawpit_").collect();
    // Functions for plugins in C begin like a metric.
    let functions =
        std::fs::read_to_string(root().join("cli/src/plugin/template/c/runtime/sawpit.h")).unwrap();
    for (path, text) in guides() {
        for flag in names(&text, "`--").map(|name| name.trim_start_matches('`')) {
            let known = helps.contains(&format!("{flag} ")) || helps.contains(&format!("{flag}["));
            // Of `cargo xtask chaos`, and of a tool for components.
            let others = ["--help", "--seed", "--break", "--sync"];
            assert!(known || others.contains(&flag), "{} names {flag}", path.display());
        }
        for metric in names(&text, "`sawpit_") {
            let metric = metric.trim_start_matches('`');
            // The SDK and an export of guests begin like a metric.
            if metric.matches('_').count() < 2 || functions.contains(&format!("{metric}(")) {
                continue;
            }
            assert!(metrics.contains(metric), "{} names {metric}", path.display());
        }
    }
}

#[test]
fn pages_and_files_that_the_guides_link_exist() {
    for (path, text) in guides() {
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap();
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(path.parent().unwrap().join(file).exists(), "{} links {file}", path.display());
            }
        }
        for file in ["monitoring/", "nginx/"].iter().flat_map(|folder| files(&text, folder)) {
            assert!(root().join(&file).exists(), "{} names {file}", path.display());
        }
    }
}

/// Paths in a folder of the repository, as in `monitoring/alerts.yml`.
fn files(text: &str, folder: &str) -> Vec<String> {
    let starts = text.match_indices(&format!("`{folder}")).map(|(at, _)| at + 1).collect::<Vec<_>>();
    starts.into_iter().map(|at| text[at..].split('`').next().unwrap().to_owned()).collect()
}
