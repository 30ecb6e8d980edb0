//! `sawpit plugin …` as an author types it, on the example plugins and on broken files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use sawpit_testkit::{TempFolder, plugins_dir, workspace_root};
use serde_json::Value;
use support::example_plugins;
use support::typed::{DONE, FAILED, USAGE, err, json, out, plugin, text};

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

const LOG: &str = r#"{"device_id":"sensor-7","log_level":"ERROR","message":"mail a@example.com","log_data":{"temperature":21.50,"n":{"a":1}}}"#;

#[test]
fn explain_shows_every_plugin_of_the_chain_and_what_it_changed() {
    let folder = example_plugins();
    fs::write(folder.join("broken.wasm"), "no").unwrap();
    let log = folder.join("log.json");
    fs::write(&log, LOG).unwrap();
    let args = ["explain", "--plugins", text(folder.path()), "--log", text(&log)];
    let output = plugin(&args);
    assert_eq!(output.status.code(), DONE, "{}", err(&output));
    let page = out(&output);
    assert!(page.starts_with("sensor-7 ERROR mail a@example.com\n"), "{page}");
    for part in [
        "  filter filter@",
        "  enrich enrich@",
        "  transform transform@",
        "    + log_data.severity_number: 17\n",
        "    - message: \"mail a@example.com\"\n    + message: \"mail ",
        "  stored (chain ",
        "not in the chain: broken.wasm, refused: not WebAssembly: the file is text",
    ] {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
    assert!(!page.contains("log_data.temperature"), "what is equal is not shown: {page}");
    let answer = json(&plugin(&[&args[..], &["--json"]].concat()));
    let steps = answer["steps"].as_array().unwrap();
    let decisions: Vec<_> = steps.iter().map(|step| step["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["unchanged", "changed", "changed"]);
    assert!(steps.iter().all(|step| step["took_us"].as_f64().unwrap() > 0.0));
    assert_eq!(answer["outputs"][0]["log_data"]["severity_number"], 17);
    assert!(!answer["outputs"][0]["message"].as_str().unwrap().contains('@'));
    assert_eq!(answer["absent"][0]["file"], "broken.wasm");
}

#[test]
fn explain_tells_of_modes_and_matches() {
    let folder = example_plugins();
    let log = folder.join("log.json");
    fs::write(&log, LOG).unwrap();
    fs::write(folder.join("filter.toml"), "mode = \"off\"\n").unwrap();
    fs::write(folder.join("enrich.toml"), "mode = \"shadow\"\n").unwrap();
    fs::write(folder.join("transform.toml"), "[match]\nlog_level = \"DEBUG\"\n").unwrap();
    let args = ["explain", "--plugins", text(folder.path()), "--log", text(&log)];
    let page = out(&plugin(&args));
    assert!(page.contains("not in the chain: filter.wasm, off by its manifest\n"), "{page}");
    let answer = json(&plugin(&[&args[..], &["--json"]].concat()));
    let steps = answer["steps"].as_array().unwrap();
    assert_eq!((&steps[0]["decision"], &steps[0]["differs"]), (&"shadow".into(), &true.into()), "{answer}");
    assert_eq!(steps[1]["decision"], "not_matched", "{answer}");
    assert_eq!(answer["outputs"][0], answer["input"], "nothing that counts was changed");
}

#[test]
fn explain_ends_where_a_log_is_refused() {
    let folder = example_plugins();
    let log = folder.join("log.json");
    fs::write(&log, LOG.replace("21.50", "\"warm\"")).unwrap();
    let output = plugin(&["explain", "--plugins", text(folder.path()), "--log", text(&log)]);
    assert_eq!(output.status.code(), DONE, "{}", err(&output));
    let page = out(&output);
    assert!(
        page.contains("rejected: ") && page.contains("not stored") && !page.contains("enrich@"),
        "{page}"
    );
}

#[test]
fn explain_refuses_what_the_host_would_refuse() {
    let folder = example_plugins();
    let log = folder.join("log.json");
    fs::write(&log, r#"{"device_id":"d","log_level":"LOUD","message":"m"}"#).unwrap();
    let output = plugin(&["explain", "--plugins", text(folder.path()), "--log", text(&log)]);
    assert_eq!(output.status.code(), FAILED);
    assert!(err(&output).contains("log.json") && err(&output).contains("log_level"), "{}", err(&output));
    let gone = folder.join("gone");
    fs::write(&log, LOG).unwrap();
    let output = plugin(&["explain", "--plugins", text(&gone), "--log", text(&log)]);
    assert_eq!(output.status.code(), FAILED);
    assert!(err(&output).contains("is no folder") && !gone.exists(), "{}", err(&output));
}

#[test]
fn test_shows_what_the_plugin_makes_of_each_log() {
    let folder = example_plugins();
    let (wasm, logs) = (folder.join("enrich.wasm"), folder.join("logs.ndjson"));
    fs::write(&logs, format!("{LOG}\n\n{}\n", LOG.replace("ERROR", "DEBUG"))).unwrap();
    let output = plugin(&["test", text(&wasm), "--logs", text(&logs)]);
    assert_eq!(output.status.code(), DONE, "{}", err(&output));
    let page = out(&output);
    for part in ["+ log_data.severity_number: 17\n", "+ log_data.severity_number: 5\n", "2 logs, 0 failed\n"]
    {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
    assert!(!page.contains("\x1b["), "no colour where there is no terminal");
    let coloured = out(&plugin(&["test", text(&wasm), "--logs", text(&logs), "--color", "always"]));
    assert!(coloured.contains("\x1b[32m+ log_data.severity_number: 17\x1b[0m"), "{coloured}");
    let answer = json(&plugin(&["test", text(&wasm), "--json"]));
    assert_eq!((&answer["failed"], answer["logs"].as_array().unwrap().len()), (&0.into(), 5));
}

/// A plugin that gets no more than 1 MiB, and is sent a message as large as the limits allow, fails.
#[test]
fn test_fails_where_the_plugin_fails_on_a_log() {
    let folder = example_plugins();
    let (wasm, logs) = (folder.join("transform.wasm"), folder.join("logs.ndjson"));
    fs::write(folder.join("transform.toml"), "memory_mib = 2\n").unwrap();
    let message = "a b ".repeat(750_000);
    let large = format!(r#"{{"device_id":"d","log_level":"INFO","message":"{message}"}}"#);
    // More failures than a host would stand before it bypassed the plugin.
    let seven = format!("{large}\n").repeat(7);
    fs::write(&logs, format!("{LOG}\n{seven}{LOG}\n")).unwrap();
    let limits = ["--message-bytes", "4MiB", "--log-data-bytes", "1MiB"];
    let args = [&["test", text(&wasm), "--logs", text(&logs)], &limits[..]].concat();
    let output = plugin(&args);
    assert_eq!(output.status.code(), FAILED, "{}{}", out(&output), err(&output));
    let page = out(&output);
    assert!(page.contains("failed: memory limit of 2 MiB reached"), "{page}");
    assert!(page.contains("9 logs, 7 failed\n"), "{page}");
    fs::write(folder.join("transform.toml"), "memory_mib = 2\non_error = \"pass\"\n").unwrap();
    let answer = json(&plugin(&[&args[..], &["--json"]].concat()));
    assert_eq!(answer["failed"], 7);
    assert_eq!(answer["logs"][8]["steps"][0]["decision"], "changed");
    assert_eq!(answer["logs"][1]["steps"][0]["decision"], "failed_passed");
    assert_eq!(answer["logs"][1]["outputs"].as_array().unwrap().len(), 1);
}

#[test]
fn test_says_what_keeps_it_from_testing() {
    let folder = example_plugins();
    let (wasm, logs) = (folder.join("filter.wasm"), folder.join("logs.ndjson"));
    fs::write(&logs, format!("{LOG}\n{{}}\n")).unwrap();
    let output = plugin(&["test", text(&wasm), "--logs", text(&logs)]);
    assert_eq!(output.status.code(), FAILED);
    assert!(err(&output).contains("logs.ndjson:2"), "{}", err(&output));
    fs::write(&logs, "\n").unwrap();
    assert!(err(&plugin(&["test", text(&wasm), "--logs", text(&logs)])).contains("holds no logs"));
    fs::write(folder.join("filter.toml"), "mode = \"off\"\n").unwrap();
    assert!(err(&plugin(&["test", text(&wasm)])).contains("filter.toml says mode = \"off\""));
    fs::write(&wasm, "text").unwrap();
    let output = plugin(&["test", text(&wasm)]);
    assert_eq!(output.status.code(), FAILED);
    assert!(err(&output).contains("not WebAssembly"), "{}", err(&output));
}

#[test]
fn test_tells_of_golden_cases_beside_the_plugin() {
    let folder = example_plugins();
    let wasm = folder.join("filter.wasm");
    assert!(!out(&plugin(&["test", text(&wasm)])).contains("cases.ndjson"));
    let case = format!(r#"{{"name":"a","log":{LOG},"expect":{{}}}}"#);
    fs::write(folder.join("filter.cases.ndjson"), case + "\n\n").unwrap();
    let page = out(&plugin(&["test", text(&wasm)]));
    assert!(page.contains("1 golden cases of ") && page.contains("filter.cases.ndjson passed"), "{page}");
}

#[test]
fn bench_counts_the_same_fuel_in_every_run() {
    for name in ["filter", "enrich", "transform"] {
        let wasm = plugins_dir().join(format!("{name}.wasm"));
        let runs = [(); 2].map(|()| {
            let output = plugin(&["bench", text(&wasm), "--json"]);
            assert_eq!(output.status.code(), DONE, "{}", err(&output));
            json(&output)
        });
        let fuel = |run: &Value| run["stages"][0]["fuel_per_log"].as_u64().unwrap();
        assert!(fuel(&runs[0]) > 100, "{}", runs[0]);
        assert_eq!(fuel(&runs[0]), fuel(&runs[1]), "{name}");
        assert!(runs[0]["stages"][0]["fuel_max"].as_u64().unwrap() >= fuel(&runs[0]));
        let calls = runs[0]["stages"][0]["calls"].as_array().unwrap();
        assert_eq!((&calls[0]["logs"], &calls[1]["logs"]), (&1.into(), &100.into()));
        assert!(calls.iter().all(|call| call["ns_per_log"].as_f64().unwrap() > 0.0));
        assert!(runs[0]["memory_bytes"].as_u64().unwrap() >= 65_536);
    }
}

#[test]
fn bench_counts_the_bytes_that_are_copied() {
    let folder = example_plugins();
    let (wasm, logs) = (folder.join("enrich.wasm"), folder.join("logs.ndjson"));
    fs::write(folder.join("enrich.toml"), "").unwrap();
    let log = r#"{"device_id":"d123","log_level":"INFO","message":"not sent","log_data":{"a":1}}"#;
    fs::write(&logs, log).unwrap();
    let answer = json(&plugin(&["bench", text(&wasm), "--logs", text(&logs), "--json"]));
    for call in answer["stages"][0]["calls"].as_array().unwrap() {
        // Device, level and data, and where the two texts end; the message is not read, so it is not sent.
        assert_eq!(call["to_guest_bytes_per_log"], (4 + 1 + 7 + 8) as f64, "{answer}");
        let patch = r#"{"severity_number":9,"severity_text":"INFO"}"#;
        assert_eq!(call["from_guest_bytes_per_log"], (patch.len() + 4) as f64, "{answer}");
    }
}

#[test]
fn bench_fails_over_its_budget() {
    let wasm = plugins_dir().join("enrich.wasm");
    let needs =
        json(&plugin(&["bench", text(&wasm), "--json"]))["stages"][0]["fuel_per_log"].as_u64().unwrap();
    let folder = TempFolder::new("budget");
    let manifest = |fuel: u64| {
        let file = folder.join(&format!("{fuel}.toml"));
        fs::write(&file, format!("[budget]\nfuel_per_log = {fuel}\n")).unwrap();
        text(&file).to_owned()
    };
    for (flag, within, over) in [
        ("--budget", needs.to_string(), (needs - 1).to_string()),
        ("--budget", manifest(needs), manifest(needs - 1)),
        ("--budget-fuel", needs.to_string(), (needs - 1).to_string()),
    ] {
        let output = plugin(&["bench", text(&wasm), flag, &within]);
        assert_eq!(output.status.code(), DONE, "{}{}", out(&output), err(&output));
        assert!(out(&output).contains(&format!("enrich: {needs} fuel per log, ")), "{}", out(&output));
        let output = plugin(&["bench", text(&wasm), flag, &over]);
        assert_eq!(output.status.code(), FAILED);
        assert!(out(&output).contains("is over the budget of"), "{}", out(&output));
    }
    let empty = folder.join("empty.toml");
    fs::write(&empty, "").unwrap();
    for (budget, why) in [
        ("little", "--budget must be a number or a manifest, and little cannot be read"),
        (text(&empty), "has no budget.fuel_per_log"),
    ] {
        let output = plugin(&["bench", text(&wasm), "--budget", budget]);
        assert_ne!(output.status.code(), DONE);
        assert!(err(&output).contains(why), "{}", err(&output));
    }
    assert_eq!(plugin(&["bench", "none.wasm"]).status.code(), FAILED);
}

/// Cargo with the versions of this workspace, which are on this machine, in a folder that is kept from run
/// to run.
fn cargo(folder: &Path, program: &str, args: &[&str]) -> Output {
    fs::copy(workspace_root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let mut command = std::process::Command::new(program);
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-plugins"));
    command.env("CARGO_NET_OFFLINE", "true").env_remove("RUSTFLAGS").args(args).current_dir(folder);
    command.output().unwrap()
}

/// Whether the Rust of this folder compiles for plugins.
fn has_target(folder: &Path) -> bool {
    let mut rustc = std::process::Command::new("rustc");
    let printed = rustc.args(["--print", "sysroot"]).current_dir(folder).output().unwrap();
    Path::new(out(&printed).trim()).join("lib/rustlib/wasm32-unknown-unknown/lib").is_dir()
}

#[test]
fn a_new_project_passes_its_test_builds_and_loads() {
    let folder = TempFolder::new("new");
    let sdk = workspace_root().join("plugins/sdk");
    for kind in ["filter", "enrich", "transform"] {
        let name = format!("try-{kind}");
        let mut new = std::process::Command::new(env!("CARGO_BIN_EXE_sawpit"));
        new.args(["plugin", "new", &name, "--kind", kind, "--sdk", text(&sdk)]).current_dir(folder.path());
        let output = new.output().unwrap();
        assert_eq!(output.status.code(), DONE, "{}", err(&output));
        let again = new.output().unwrap();
        assert_eq!(again.status.code(), FAILED);
        assert!(err(&again).contains("cannot make"), "{}", err(&again));
        let project = folder.join(&name);
        let tested = cargo(&project, "cargo", &["test"]);
        assert!(tested.status.success(), "{kind}: {}{}", out(&tested), err(&tested));
        let built = cargo(&project, env!("CARGO_BIN_EXE_sawpit"), &["plugin", "build"]);
        if !has_target(&project) {
            // Where rustup cannot add the target (Debian's own Rust), the author must be told what is missing.
            assert_eq!(built.status.code(), FAILED);
            assert!(err(&built).contains("rustup target add wasm32-unknown-unknown"), "{}", err(&built));
            continue;
        }
        assert_eq!(built.status.code(), DONE, "{kind}: {}", err(&built));
        let wasm = project.join(format!("{name}.wasm"));
        let seen = json(&plugin(&["inspect", text(&wasm), "--json"]));
        assert_eq!((&seen["loads"], &seen["stages"][0]), (&true.into(), &kind.into()), "{seen}");
        assert_eq!(seen["manifest"]["exists"], true);
        let logs = project.join("logs.ndjson");
        fs::write(&logs, LOG.replace("mail", "smoke")).unwrap();
        let tested = plugin(&["test", text(&wasm)]);
        assert!(out(&tested).contains("2 golden cases"), "{}{}", out(&tested), err(&tested));
        let tried = json(&plugin(&["test", text(&wasm), "--logs", text(&logs), "--json"]));
        let decision = if kind == "filter" { "dropped" } else { "changed" };
        assert_eq!(tried["logs"][0]["steps"][0]["decision"], decision, "{tried}");
    }
}

/// In the other languages: tests/plugin_languages.rs.
#[test]
fn a_panic_in_rust_is_shown_with_its_place() {
    let folder = TempFolder::new("panic");
    let sdk = workspace_root().join("plugins/sdk");
    let mut new = std::process::Command::new(env!("CARGO_BIN_EXE_sawpit"));
    new.args(["plugin", "new", "try-panic", "--kind", "enrich", "--sdk", text(&sdk)]);
    assert_eq!(new.current_dir(folder.path()).output().unwrap().status.code(), DONE);
    let project = folder.join("try-panic");
    let source = fs::read_to_string(project.join("src/lib.rs")).unwrap();
    let panics = r#"let found = match log.message() {
            "hard" => panic!("this is the end"),
            "unread" => log.device_id().is_empty(),
            m => m.contains("x"),
        };"#;
    let (before, rest) = source.split_once("let found = ").unwrap();
    let (_, after) = rest.split_once(";\n").unwrap();
    fs::write(project.join("src/lib.rs"), format!("{before}{panics}\n{after}")).unwrap();
    fs::remove_file(project.join("try-panic.cases.ndjson")).unwrap();
    let built = cargo(&project, env!("CARGO_BIN_EXE_sawpit"), &["plugin", "build"]);
    if !has_target(&project) {
        // Debian's own Rust, see above. The panics of the examples, which it does build, are tried in crates/plugins.
        assert!(err(&built).contains("rustup target add wasm32-unknown-unknown"), "{}", err(&built));
        return;
    }
    assert_eq!(built.status.code(), DONE, "{}", err(&built));
    let logs = project.join("logs.ndjson");
    let messages = ["hard", "unread"].map(|message| LOG.replace("mail a@example.com", message));
    fs::write(&logs, messages.join("\n")).unwrap();
    let wasm = project.join("try-panic.wasm");
    let tested = plugin(&["test", text(&wasm), "--logs", text(&logs)]);
    assert_eq!(tested.status.code(), FAILED);
    let page = out(&tested);
    // Of the second, which the SDK finds, it is the author's line as well.
    assert_eq!(page.matches("failed: panicked at src/lib.rs:").count(), 2, "{page}");
    assert!(page.contains("this is the end") && page.contains("add Fields::DEVICE_ID to READS"), "{page}");
    // And a wrong setting is told with its key.
    fs::write(project.join("try-panic.toml"), "[config]\nword = 5\n").unwrap();
    let refused = err(&plugin(&["test", text(&wasm)]));
    assert!(refused.contains("wrong config: word: invalid type: integer `5`"), "{refused}");
}

#[test]
fn new_says_what_it_cannot_make() {
    for (args, why) in [
        (&["Bad_Name", "--kind", "enrich"][..], "is no name"),
        (&["x", "--kind", "enrich", "--sdk", "no/such/folder"], "--sdk no/such/folder"),
    ] {
        let output = plugin(&[&["new"], args].concat());
        assert_eq!(output.status.code(), USAGE);
        assert!(err(&output).contains(why), "{why:?} is not in {}", err(&output));
    }
    assert_eq!(plugin(&["new", "x", "--kind", "poem"]).status.code(), USAGE);
    assert_eq!(plugin(&["new", "x", "--kind", "enrich", "--lang", "cobol"]).status.code(), USAGE);
    assert!(!Path::new("x").exists());
}

#[test]
fn build_says_what_is_missing() {
    let folder = TempFolder::new("build");
    let output = plugin(&["build", text(folder.path())]);
    assert_eq!(output.status.code(), FAILED);
    assert!(err(&output).contains("holds no Cargo.toml, package.json"), "{}", err(&output));
    let nowhere = err(&plugin(&["build", text(&folder.join("nowhere"))]));
    assert!(nowhere.contains("nowhere is no folder"), "{nowhere}");
    fs::write(folder.join("Cargo.toml"), "[package]\nname = \"x\"\n").unwrap();
    // A rustc whose toolchain has no target but its own.
    let rustc = folder.join("rustc");
    fs::write(&rustc, format!("#!/bin/sh\necho {}\n", folder.path().display())).unwrap();
    fs::set_permissions(&rustc, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let empty = TempFolder::new("path");
    for (path, why) in [
        (folder.path(), "rustup target add wasm32-unknown-unknown"),
        (empty.path(), "install Rust from https://rustup.rs"),
    ] {
        let mut build = std::process::Command::new(env!("CARGO_BIN_EXE_sawpit"));
        build.args(["plugin", "build", text(folder.path())]).env("PATH", path);
        let output = build.output().unwrap();
        assert_eq!(output.status.code(), FAILED);
        assert!(err(&output).contains(why), "{}", err(&output));
    }
}

#[test]
fn a_plugin_is_signed_and_verified_and_loads_where_a_signature_is_required() {
    let folder = example_plugins();
    let (key, public) = (folder.join("k"), folder.join("k.pub"));
    let made = plugin(&["keygen", "--key", text(&key)]);
    assert_eq!(made.status.code(), DONE, "{}", err(&made));
    let again = plugin(&["keygen", "--key", text(&key)]);
    assert_eq!(again.status.code(), FAILED);
    assert!(err(&again).contains("never overwritten"), "{}", err(&again));
    let wasm = folder.join("enrich.wasm");
    let verify = || plugin(&["verify", text(&wasm), "--trusted", text(&public)]);
    assert_eq!(verify().status.code(), FAILED);
    assert!(err(&verify()).contains("enrich.toml is not signed"), "{}", err(&verify()));
    let mistaken = err(&plugin(&["sign", text(&wasm), "--key", text(&public)]));
    assert!(mistaken.contains("k.pub is the public key"), "{mistaken}");
    let signed = plugin(&["sign", text(&wasm), "--key", text(&key)]);
    assert_eq!(signed.status.code(), DONE, "{}", err(&signed));
    let unchecked = out(&plugin(&["inspect", text(&wasm)]));
    assert!(unchecked.contains("no key to check it with: give --trusted-keys"), "{unchecked}");
    assert!(out(&signed).contains("enrich.wasm.minisig") && out(&signed).contains("enrich.toml.minisig"));
    assert_eq!(verify().status.code(), DONE, "{}", err(&verify()));
    let required = ["--require-signature", "--trusted-keys", text(&public)];
    let inspect = |name: &str| {
        let file = folder.join(name);
        plugin(&[&["inspect", text(&file)], required.as_slice()].concat())
    };
    let seen = inspect("enrich.wasm");
    assert_eq!(seen.status.code(), DONE, "{}", out(&seen));
    assert!(out(&seen).contains("signed    by RW"), "{}", out(&seen));
    assert_eq!(inspect("filter.wasm").status.code(), FAILED);
}

#[test]
fn a_secret_key_may_have_a_password() {
    let folder = example_plugins();
    let (key, password, wasm) = (folder.join("k"), folder.join("password"), folder.join("filter.wasm"));
    fs::write(&password, "correct horse\n").unwrap();
    let protect = ["--key", text(&key), "--password-file", text(&password)];
    assert_eq!(plugin(&[["keygen"].as_slice(), &protect].concat()).status.code(), DONE);
    let without = plugin(&["sign", text(&wasm), "--key", text(&key)]);
    assert_eq!(without.status.code(), FAILED);
    assert!(err(&without).contains("--password-file"), "{}", err(&without));
    let signed = plugin(&[["sign", text(&wasm)].as_slice(), &protect].concat());
    assert_eq!(signed.status.code(), DONE, "{}", err(&signed));
    fs::write(&password, "wrong\n").unwrap();
    assert_eq!(plugin(&[["sign", text(&wasm)].as_slice(), &protect].concat()).status.code(), FAILED);
}

#[test]
fn a_broken_key_is_a_mistake_in_the_settings() {
    let wasm = plugins_dir().join("filter.wasm");
    let none = plugin(&["inspect", text(&wasm), "--require-signature"]);
    assert_eq!(none.status.code(), USAGE);
    assert!(err(&none).contains("no key is trusted"), "{}", err(&none));
    let broken = plugin(&["inspect", text(&wasm), "--trusted-keys", "RWnonsense"]);
    assert_eq!(broken.status.code(), USAGE);
    assert!(err(&broken).contains("trusted-keys"), "{}", err(&broken));
}
