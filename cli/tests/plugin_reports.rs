//! What `sawpit plugin …` says of plugins that speak, count and fail, of files that it refuses, and of wrong calls.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sawpit_testkit::{Guest, TRAP, TempFolder, on_letter};
use serde_json::Value;
use support::example_plugins;
use support::typed::{DONE, FAILED, USAGE, err, json, out, plugin, text};

fn log(message: &str) -> String {
    format!("{{\"device_id\":\"d\",\"log_level\":\"INFO\",\"message\":\"{message}\"}}\n")
}

/// A folder with the guest, its manifest and `logs.ndjson` with a log X.
fn folder(guest: &Guest, manifest: &str) -> TempFolder {
    let folder = TempFolder::new("reports");
    fs::write(folder.join("guest.wasm"), guest.wasm()).unwrap();
    fs::write(folder.join("guest.toml"), manifest).unwrap();
    fs::write(folder.join("logs.ndjson"), log("X")).unwrap();
    folder
}

/// A filter that accepts all, and for a log with an X writes a line and counts under two names, a good and a bad one.
fn speaker() -> Guest {
    let body = "(call $write (i32.const 1) (i32.const 3000) (i32.const 5))
        (call $add (i32.const 3010) (i32.const 4) (i64.const 3))
        (call $add (i32.const 3020) (i32.const 4) (i64.const 1))";
    Guest::new("filter", on_letter('X', body)).speaking()
}

const HEARD: &str = "    log INFO: hello\n    counter seen +3\n    counter \"Seen\" does not count: its name must be 1 to 64 \
                     lower-case letters, digits and underscores\n";

#[test]
fn test_and_explain_show_what_the_plugin_writes_and_counts() {
    let folder = folder(&speaker(), "grants = [\"log\", \"counters\"]\n");
    let logs = folder.join("logs.ndjson");
    for args in [
        ["test", text(&folder.join("guest.wasm")), "--logs", text(&logs), "--color=never"],
        ["explain", "--log", text(&logs), "--plugins", text(folder.path())],
    ] {
        let output = plugin(&args);
        assert_eq!(output.status.code(), DONE, "{}", err(&output));
        assert!(out(&output).contains(&format!(": unchanged\n{HEARD}")), "{}", out(&output));
        let answer = json(&plugin(&[&args[..], &["--json"]].concat()));
        let step = if args[0] == "test" { &answer["logs"][0]["steps"][0] } else { &answer["steps"][0] };
        let line = serde_json::json!({"level": "INFO", "text": "hello", "written": true});
        assert_eq!(step["lines"], Value::Array(vec![line]), "{step}");
        assert_eq!((&step["counters"][0]["name"], &step["counters"][0]["by"]), (&"seen".into(), &3.into()));
        assert!(step["counters"][1]["refused"].as_str().unwrap().contains("lower-case"), "{step}");
    }
    fs::write(folder.join("guest.toml"), "grants = [\"counters\"]\n").unwrap();
    let page = out(&plugin(&["test", text(&folder.join("guest.wasm")), "--logs", text(&logs)]));
    assert!(page.contains("log INFO: hello\n    (written to no log: grants "), "{page}");
}

/// A filter that traps for a log with a T.
fn trapping() -> Guest {
    Guest::new("filter", on_letter('T', TRAP))
}

#[test]
fn failing_cases_do_not_hide_what_the_logs_show() {
    let folder = folder(&trapping(), "");
    let case = |name: &str, expect: &str| {
        format!("{{\"name\":\"{name}\",\"log\":{},\"expect\":{expect}}}\n", log("X").trim())
    };
    let cases = case("good", "{}") + &case("bad", "{\"verdict\":\"drop\"}");
    fs::write(folder.join("guest.cases.ndjson"), cases).unwrap();
    let (wasm, logs) = (folder.join("guest.wasm"), folder.join("logs.ndjson"));
    let args = ["test", text(&wasm), "--logs", text(&logs)];
    let output = plugin(&args);
    assert_eq!(output.status.code(), FAILED);
    let page = out(&output);
    assert!(page.starts_with("d INFO X\n  filter guest@1.0.0#"), "{page}");
    assert!(page.contains("1 logs, 0 failed\ncase \"bad\" (line 2): d INFO X\n  filter guest@"), "{page}");
    assert!(!page.contains("passed"), "{page}");
    let why = "1 of 2 cases of guest.cases.ndjson failed\ncase \"bad\" (line 2): verdict: expected drop, found accept";
    assert!(err(&output).contains(why), "{}", err(&output));
    let answer = json(&plugin(&[&args[..], &["--json"]].concat()));
    assert_eq!((&answer["loads"], &answer["failed"]), (&false.into(), &0.into()), "{answer}");
    assert_eq!(answer["logs"][0]["steps"][0]["decision"], "unchanged");
    assert_eq!(
        (&answer["failed_cases"][0]["name"], &answer["failed_cases"][0]["line"]),
        (&"bad".into(), &2.into())
    );
    assert!(answer["refusal"].as_str().unwrap().starts_with("1 of 2 cases"), "{answer}");
}

#[test]
fn a_failed_trial_and_a_broken_budget_do_not_hide_it_either() {
    // An l is in the samples of the trial.
    let guest = Guest::new("filter", on_letter('l', TRAP));
    for (guest, manifest, why) in [
        (guest, "", "it failed the trial run of filter"),
        (trapping(), "[budget]\nfuel_per_log = 1\n", "over the budget.fuel_per_log of 1 in guest.toml"),
    ] {
        let folder = folder(&guest, manifest);
        let (wasm, logs) = (folder.join("guest.wasm"), folder.join("logs.ndjson"));
        let output = plugin(&["test", text(&wasm), "--logs", text(&logs)]);
        assert_eq!(output.status.code(), FAILED);
        assert!(
            out(&output).contains("d INFO X\n  filter guest@") && out(&output).contains("1 logs, 0 failed")
        );
        assert!(err(&output).contains(why), "{}", err(&output));
    }
}

#[test]
fn machines_are_answered_also_where_a_plugin_is_refused() {
    let folder = folder(&trapping(), "timeout_ms = 0\n");
    let wasm = folder.join("guest.wasm");
    for command in ["test", "bench", "inspect"] {
        let output = plugin(&[command, text(&wasm), "--json"]);
        assert_eq!(output.status.code(), FAILED);
        let answer = json(&output);
        assert_eq!(answer["loads"], false, "{answer}");
        assert!(
            answer["refusal"].as_str().unwrap().starts_with("guest.toml: timeout_ms must be"),
            "{answer}"
        );
    }
    let none = folder.join("none");
    for args in [
        vec!["explain", "--plugins", text(&none), "--log", text(&wasm)],
        vec!["bench", text(&wasm), "--budget", "none.toml"],
        vec!["test", text(&wasm), "--logs", text(&none)],
    ] {
        let answer = json(&plugin(&[&args[..], &["--json"]].concat()));
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{answer}");
    }
}

#[test]
fn verify_answers_machines() {
    let folder = example_plugins();
    let (key, public, wasm) = (folder.join("k"), folder.join("k.pub"), folder.join("enrich.wasm"));
    assert_eq!(plugin(&["keygen", "--key", text(&key)]).status.code(), DONE);
    let verify = ["verify", text(&wasm), "--trusted", text(&public), "--json"];
    let output = plugin(&verify);
    assert_eq!((output.status.code(), json(&output)["signed"].as_bool()), (FAILED, Some(false)));
    assert!(json(&output)["refusal"].as_str().unwrap().contains("enrich.toml is not signed"));
    assert_eq!(plugin(&["sign", text(&wasm), "--key", text(&key)]).status.code(), DONE);
    let answer = json(&plugin(&verify));
    assert_eq!(
        (&answer["signed"], &answer["manifest"]),
        (&true.into(), &text(&folder.join("enrich.toml")).into())
    );
    assert!(answer["by"].as_str().unwrap().starts_with("RW"), "{answer}");
}

#[test]
fn wrong_usage_is_told_from_what_fails() {
    let folder = folder(&trapping(), "");
    let (wasm, none) = (folder.join("guest.wasm"), folder.join("none"));
    for (args, why) in [
        (vec!["new", "Abc", "--kind", "enrich"], "is no name"),
        (vec!["new", "x", "--kind", "enrich", "--lang", "js", "--sdk", "."], "--sdk is for --lang rust"),
        (vec!["new", "x", "--kind", "enrich", "--sdk", text(&none)], "--sdk "),
        (vec!["bench", text(&wasm), "--budget", text(&none)], "must be a number or a manifest"),
        (vec!["verify", text(&wasm), "--trusted", text(&none)], "--trusted: cannot read "),
        (vec!["test", text(&wasm), "--logs", text(&none)], "cannot read "),
    ] {
        let output = plugin(&args);
        assert_eq!(output.status.code(), USAGE, "{args:?}: {}", err(&output));
        assert!(err(&output).contains(why), "{args:?}: {}", err(&output));
    }
    assert!(!Path::new("x").exists());
}

#[test]
fn new_says_that_its_folder_is_there() {
    let folder = TempFolder::new("new-there");
    fs::create_dir(folder.join("plug")).unwrap();
    let mut new = Command::new(env!("CARGO_BIN_EXE_sawpit"));
    new.args(["plugin", "new", "plug", "--kind", "filter", "--lang", "c"]).current_dir(folder.path());
    let output = new.output().unwrap();
    assert_eq!(output.status.code(), FAILED);
    assert!(err(&output).contains("as it is there: choose another name, or remove it"), "{}", err(&output));
}

#[test]
fn a_secret_key_is_never_shown() {
    let folder = folder(&trapping(), "");
    let (key, wasm) = (folder.join("k"), folder.join("guest.wasm"));
    assert_eq!(plugin(&["keygen", "--key", text(&key)]).status.code(), DONE);
    let held = fs::read_to_string(&key).unwrap();
    let secret = held.lines().nth(1).unwrap();
    for given in [secret, text(&key)] {
        for args in [["inspect", "--trusted-keys"], ["verify", "--trusted"]] {
            let output = plugin(&[args[0], text(&wasm), args[1], given]);
            assert_eq!(output.status.code(), USAGE);
            let said = out(&output) + &err(&output);
            assert!(said.contains("this is a secret key"), "{said}");
            assert!(!said.contains(&secret[..20]), "{said}");
        }
    }
}

#[test]
fn what_is_no_plugin_is_not_read_as_a_manifest() {
    let folder = folder(&trapping(), "");
    let cargo = folder.join("Cargo.toml");
    fs::write(&cargo, "[package]\nname = \"x\"\n").unwrap();
    for command in ["test", "bench", "inspect"] {
        let output = plugin(&[command, text(&cargo)]);
        let said = out(&output) + &err(&output);
        assert!(
            said.contains("not WebAssembly: the file is text") && !said.contains("Cargo.toml.toml"),
            "{said}"
        );
    }
    let page = out(&plugin(&["inspect", text(&folder.join("guest.wasm"))]));
    assert!(page.contains("signed    not signed\n"), "{page}");
}

#[test]
fn a_bench_names_the_log_that_fails() {
    let folder = folder(&trapping(), "");
    let logs = folder.join("logs.ndjson");
    fs::write(&logs, log("X") + &log("the T in it") + &log("X")).unwrap();
    let output = plugin(&["bench", text(&folder.join("guest.wasm")), "--logs", text(&logs)]);
    assert_eq!(output.status.code(), FAILED);
    assert!(err(&output).contains("failed on log 2 of 3, \"the T in it\" of d"), "{}", err(&output));
}

#[test]
fn lines_of_files_are_named_once() {
    let folder = folder(&trapping(), "");
    let (wasm, logs) = (folder.join("guest.wasm"), folder.join("logs.ndjson"));
    fs::write(&logs, log("X") + "nonsense\n").unwrap();
    let said = err(&plugin(&["test", text(&wasm), "--logs", text(&logs)]));
    assert!(
        said.contains("logs.ndjson:2: ") && said.contains(" at column ") && !said.contains("line 1"),
        "{said}"
    );
    fs::write(folder.join("guest.cases.ndjson"), "\n\nnonsense\n").unwrap();
    let said = err(&plugin(&["test", text(&wasm)]));
    assert!(said.contains("guest.cases.ndjson, line 3: ") && !said.contains("line 1"), "{said}");
}

/// A program in a folder of the PATH.
fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// `sawpit plugin build` in a folder, with its `bin` first on the PATH.
fn build(folder: &TempFolder, more: &[&str]) -> Output {
    let mut build = Command::new(env!("CARGO_BIN_EXE_sawpit"));
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    build.args(["plugin", "build", text(folder.path())]).args(more).env("PATH", path).output().unwrap()
}

/// A project in C or Python as it is made.
fn project(lang: &str) -> TempFolder {
    let folder = TempFolder::new("project");
    let mut new = Command::new(env!("CARGO_BIN_EXE_sawpit"));
    new.args(["plugin", "new", "plug", "--kind", "filter", "--lang", lang]).current_dir(folder.path());
    assert_eq!(new.output().unwrap().status.code(), DONE);
    for entry in fs::read_dir(folder.join("plug")).unwrap() {
        let path = entry.unwrap().path();
        fs::rename(&path, folder.join(text(Path::new(path.file_name().unwrap())))).unwrap();
    }
    fs::create_dir(folder.join("bin")).unwrap();
    folder
}

#[test]
fn a_build_that_does_not_end_is_stopped_with_all_that_it_started() {
    let folder = project("python");
    let started = folder.join("started");
    // What it starts holds its output open, too.
    let script = format!("echo importing >&2\nsleep 600 & echo $! > {}\nwait", started.display());
    program(&folder.join("bin"), "componentize-py", &script);
    let began = Instant::now();
    let output = build(&folder, &["--timeout", "1"]);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(output.status.code(), FAILED);
    let said = err(&output);
    assert!(said.contains("componentize-py had not ended after 1 s and was stopped: "), "{said}");
    assert!(said.contains("a loop at its top level") && said.contains("importing"), "{said}");
    let process = fs::read_to_string(started).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn a_build_that_is_ended_takes_its_tool_along() {
    let folder = project("python");
    let started = folder.join("started");
    program(
        &folder.join("bin"),
        "componentize-py",
        &format!("echo $$ > {}\nexec sleep 600", started.display()),
    );
    let mut build = Command::new(env!("CARGO_BIN_EXE_sawpit"));
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    build.args(["plugin", "build", text(folder.path())]).env("PATH", path).stderr(Stdio::null());
    let mut build = build.spawn().unwrap();
    let until = Instant::now() + support::SOON;
    let tool = loop {
        let tool = fs::read_to_string(&started).unwrap_or_default();
        if tool.ends_with('\n') {
            break tool.trim().to_owned();
        }
        assert!(Instant::now() < until, "the tool was not started");
        std::thread::sleep(Duration::from_millis(10));
    };
    // The signals are heard from when the tool is waited for, which is a moment later.
    std::thread::sleep(Duration::from_millis(300));
    let killed = Command::new("kill").args(["-INT", &build.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_ne!(build.wait().unwrap().code(), DONE);
    let state = fs::read_to_string(format!("/proc/{tool}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn a_build_that_fails_says_that_the_old_file_is_still_there() {
    let folder = project("python");
    program(&folder.join("bin"), "componentize-py", "exit 3");
    let said = err(&build(&folder, &[]));
    assert!(said.contains("componentize-py failed") && !said.contains("earlier build"), "{said}");
    fs::write(folder.join("plug.wasm"), "old").unwrap();
    let said = err(&build(&folder, &[]));
    assert!(said.contains("plug.wasm is still what an earlier build made"), "{said}");
}

#[test]
fn a_clang_without_its_linker_is_told_like_none() {
    let folder = project("c");
    // It knows the target and names a linker, and has none that runs.
    let script = "case \"$*\" in\n*-print-targets*) echo wasm32;;\n*-print-prog-name*) echo /bin/true;;\n*) exit 1;;\nesac";
    program(&folder.join("bin"), "clang", script);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sawpit"));
    command.args(["plugin", "build", text(folder.path())]).env("PATH", folder.join("bin"));
    let said = err(&command.output().unwrap());
    assert!(said.contains("`apt-get install clang lld`") && said.contains("ziglang"), "{said}");
}
