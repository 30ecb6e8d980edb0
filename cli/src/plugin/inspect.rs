//! `sawpit plugin inspect`: what a file is, and whether it would load here.

use std::fmt::Write;

use anyhow::Context;
use clap::{Arg, ArgMatches};
use sawpit_plugins::{Inspection, ManifestSummary, Runtime};
use sawpit_service::Exit;
use serde::Serialize;

use super::paint::clean;
use super::{Stop, asked, print, print_json};
use crate::settings;

pub fn args() -> Vec<Arg> {
    vec![asked::wasm(), asked::json()]
}

/// The inspection with the answer to the question spelled out.
#[derive(Serialize)]
struct Answer<'a> {
    loads: bool,
    #[serde(flatten)]
    seen: &'a Inspection,
}

pub fn run(flags: &ArgMatches) -> Result<Exit, Stop> {
    let runtime =
        Runtime::new(settings::plugin_command::resolve(flags)?).context("the plugin runtime cannot start")?;
    let seen = sawpit_plugins::inspect(&runtime, &asked::wasm_of(flags));
    if asked::is_json(flags) {
        print_json(&Answer { loads: seen.refusal.is_none(), seen: &seen })?;
    } else {
        print(&page(&seen));
    }
    Ok(if seen.refusal.is_none() { Exit::Done } else { Exit::Failed })
}

fn page(seen: &Inspection) -> String {
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{name:<10}{}", clean(&value).replace('\n', "\n          "));
    };
    line("file", seen.file.clone());
    if let (Some(bytes), kind) = (seen.size_bytes, seen.kind.unwrap_or("no WebAssembly")) {
        line("size", format!("{bytes} bytes, {kind}"));
    }
    if let Some(hash) = &seen.hash {
        line("hash", hash.clone());
    }
    if let Some(said) = &seen.description {
        line("describe", format!("{} {}: {}", said.name, said.version, said.help));
        line("reads", listed(&said.reads));
    }
    if seen.description.is_some() || !seen.stages.is_empty() {
        line("stages", listed(&seen.stages));
    }
    if !seen.exports.is_empty() || !seen.imports.is_empty() {
        line("imports", listed(&seen.imports));
        line("exports", listed(&seen.exports));
    }
    if let Some(manifest) = &seen.manifest {
        line("manifest", manifest_line(manifest));
    }
    match (&seen.signed_by, &seen.unsigned) {
        (Some(key), _) => line("signed", format!("by {key}")),
        (None, Some(why)) => line("signed", why.clone()),
        (None, None) => {}
    }
    match &seen.refusal {
        None => line("loads", "yes".to_owned()),
        Some(why) => line("loads", format!("no: {why}")),
    }
    page
}

fn listed(items: &[impl ToString]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn manifest_line(manifest: &ManifestSummary) -> String {
    let ManifestSummary { file, exists, mode, on_error, timeout_ms, memory_mib, grants } = manifest;
    let name = |value: &dyn std::fmt::Debug| format!("{value:?}").to_ascii_lowercase();
    let grants: Vec<_> = grants.iter().map(|grant| name(grant)).collect();
    let there = if *exists { "" } else { " (not there: defaults)" };
    format!(
        "{file}{there}: mode {}, on_error {}, timeout {timeout_ms} ms, memory {memory_mib} MiB, grants {}",
        name(mode),
        name(on_error),
        listed(&grants)
    )
}
