//! `sawpit plugin …` as an author types it, on the example plugins and on broken files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
#[allow(dead_code)]
mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use sawpit_testkit::{TempFolder, plugins_dir};
use serde_json::Value;
use support::{example_plugins, run};

const DONE: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(64);

/// Runs `sawpit plugin …`.
fn plugin(args: &[&str]) -> Output {
    run(&[&["plugin"], args].concat())
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", out(output), err(output)))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn inspect_tells_what_each_example_is() {
    for (name, stage) in [("filter", "filter"), ("enrich", "enrich"), ("transform", "transform")] {
        let wasm = plugins_dir().join(format!("{name}.wasm"));
        let output = plugin(&["inspect", text(&wasm)]);
        assert_eq!(output.status.code(), DONE, "{}", err(&output));
        let page = out(&output);
        let size = fs::metadata(&wasm).unwrap().len();
        assert!(page.contains(&format!("size      {size} bytes, core module\n")), "{page}");
        assert!(page.contains(&format!("stages    {stage}\n")), "{page}");
        assert!(page.contains(&format!("sawpit:plugin/{stage}@0.1.0")), "{page}");
        assert!(page.contains("loads     yes\n"), "{page}");
        let answer = json(&plugin(&["inspect", "--json", text(&wasm)]));
        assert_eq!(answer["loads"], true);
        assert_eq!(answer["stages"], serde_json::json!([stage]));
        assert_eq!(answer["manifest"]["exists"], true);
        assert_eq!(answer["hash"].as_str().unwrap().len(), 16);
    }
}

#[test]
fn inspect_says_of_broken_files_why_they_would_not_load() {
    let folder = TempFolder::new("inspect");
    let whole = fs::read(plugins_dir().join("filter.wasm")).unwrap();
    let broken: [(&str, &[u8], &str); 4] = [
        ("empty.wasm", b"", "the file is empty"),
        ("text.wasm", b"hello", "the file is text"),
        ("cut.wasm", &whole[..whole.len() / 2], "loads     no: "),
        ("core.wasm", b"\0asm\x01\0\0\0", "loads     no: "),
    ];
    for (name, bytes, why) in broken {
        let file = folder.join(name);
        fs::write(&file, bytes).unwrap();
        let output = plugin(&["inspect", text(&file)]);
        assert_eq!(output.status.code(), FAILED, "{name}");
        assert!(out(&output).contains(why), "{name}: {}", out(&output));
        let answer = json(&plugin(&["inspect", text(&file), "--json"]));
        assert_eq!((&answer["loads"], &answer["size_bytes"]), (&false.into(), &bytes.len().into()));
    }
    let output = plugin(&["inspect", text(&folder.join("none.wasm"))]);
    assert_eq!(output.status.code(), FAILED);
    assert!(out(&output).contains("no: cannot read"), "{}", out(&output));
}

#[test]
fn inspect_shows_a_plugin_that_its_manifest_keeps_from_loading() {
    let folder = example_plugins();
    fs::write(folder.join("enrich.toml"), "[config]\nnonsense = 1\n").unwrap();
    let output = plugin(&["inspect", text(&folder.join("enrich.wasm"))]);
    assert_eq!(output.status.code(), FAILED);
    let page = out(&output);
    assert!(page.contains("stages    enrich\n") && page.contains("describe  enrich "), "{page}");
    assert!(page.contains("loads     no: ") && page.contains("nonsense"), "{page}");
    fs::write(folder.join("enrich.toml"), "timeout_ms = 0\n").unwrap();
    let answer = json(&plugin(&["inspect", text(&folder.join("enrich.wasm")), "--json"]));
    assert_eq!(answer["manifest"], Value::Null);
    assert!(answer["refusal"].as_str().unwrap().contains("timeout_ms"), "{answer}");
}

#[test]
fn inspect_keeps_the_limits_of_this_place() {
    let wasm = plugins_dir().join("filter.wasm");
    let output = plugin(&["inspect", text(&wasm), "--plugin-file-bytes", "1KiB"]);
    assert_eq!(output.status.code(), FAILED);
    assert!(out(&output).contains("larger than 1024 bytes"), "{}", out(&output));
    let output = plugin(&["inspect", text(&wasm), "--plugin-timeout", "soon"]);
    assert_eq!(output.status.code(), USAGE);
    assert!(err(&output).contains("plugin-timeout"), "{}", err(&output));
}
