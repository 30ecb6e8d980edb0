//! Plugins in JavaScript, Python and C: `sawpit plugin new`, `build` and `test` as an author types them, with the
//! languages' real tools.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sawpit_testkit::{TempFolder, workspace_root};
use serde_json::Value;

const DONE: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);

/// Where `cargo xtask tools` puts them.
fn tools() -> [PathBuf; 2] {
    ["node_modules/.bin", "python/bin"].map(|bin| workspace_root().join("target/author-tools").join(bin))
}

/// `sawpit plugin …` in a folder, with the tools on the PATH.
fn sawpit(folder: &Path, args: &[&str]) -> Output {
    let [js, python] = tools();
    for tool in [js.join("componentize-qjs"), python.join("componentize-py")] {
        assert!(tool.exists(), "{} is missing: run `cargo xtask tools` first", tool.display());
    }
    let inherited = env::var_os("PATH").unwrap_or_default();
    let path = [js, python].into_iter().chain(env::split_paths(&inherited));
    let mut command = Command::new(env!("CARGO_BIN_EXE_sawpit"));
    // Compiling Python takes seconds, and the same file is looked at more than once.
    command.env("PATH", env::join_paths(path).unwrap()).env("SAWPIT_PLUGIN_CACHE", folder.join(".compiled"));
    command.env("SAWPIT_PLUGIN_START_TIMEOUT", "20s").env("SAWPIT_PLUGIN_PROVING_TIMEOUT", "10m");
    // Rust's is built with what is on this machine, in a folder that is kept from run to run.
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-plugins"));
    command.env("CARGO_NET_OFFLINE", "true").env_remove("RUSTFLAGS");
    command.arg("plugin").args(args).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// A new project called `plug`.
fn project(folder: &TempFolder, lang: &str, kind: &str) -> PathBuf {
    let output = sawpit(folder.path(), &["new", "plug", "--kind", kind, "--lang", lang]);
    assert_eq!(output.status.code(), DONE, "{}", said(&output));
    assert!(said(&output).contains("next: cd plug && "), "{}", said(&output));
    patiently(&folder.join("plug/plug.toml"));
    folder.join("plug")
}

/// The deadline is the plugin's, and tests run beside others on a busy machine.
fn patiently(manifest: &Path) {
    let text = fs::read_to_string(manifest).unwrap();
    let line = text.lines().find(|line| line.starts_with("timeout_ms = ")).unwrap();
    fs::write(manifest, text.replace(line, "timeout_ms = 20000")).unwrap();
}

fn build(project: &Path) {
    let output = sawpit(project, &["build"]);
    assert_eq!(output.status.code(), DONE, "{}", said(&output));
    assert!(said(&output).ends_with("built ./plug.wasm\n"), "{}", said(&output));
}

fn test(project: &Path, passes: &str) {
    let output = sawpit(project, &["test", "plug.wasm"]);
    assert_eq!(output.status.code(), DONE, "{}", said(&output));
    assert!(said(&output).contains(passes), "{}", said(&output));
}

fn replace(file: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "{old:?} is not in {text}");
    fs::write(file, text.replace(old, new)).unwrap();
}

/// What the bench says of it is a budget that it keeps, and one less is not.
fn held_to_its_cost(project: &Path) {
    let bench = sawpit(project, &["bench", "plug.wasm", "--json"]);
    let bench: Value = serde_json::from_slice(&bench.stdout).unwrap_or_else(|_| panic!("{}", said(&bench)));
    let fuel = bench["stages"][0]["fuel_per_log"].as_u64().unwrap();
    let manifest = fs::read_to_string(project.join("plug.toml")).unwrap();
    for (budget, loads) in [(fuel, true), (fuel - 1, false)] {
        let text = format!("{manifest}\n[budget]\nfuel_per_log = {budget}\n");
        fs::write(project.join("plug.toml"), text).unwrap();
        let seen = sawpit(project, &["inspect", "plug.wasm", "--json"]);
        let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
        assert_eq!(seen["loads"], loads, "{budget}: {seen}");
        let why = seen["refusal"].as_str().unwrap_or_default();
        assert!(loads || why.contains(&format!("needs {fuel} fuel per log")), "{why}");
    }
    fs::write(project.join("plug.toml"), manifest).unwrap();
}

/// What each kind of project does as it is made.
fn all_kinds(lang: &str) {
    for kind in ["filter", "enrich", "transform"] {
        let folder = TempFolder::new(lang);
        let project = project(&folder, lang, kind);
        build(&project);
        test(&project, "2 golden cases of plug.cases.ndjson passed");
        let seen = sawpit(&project, &["inspect", "plug.wasm", "--json"]);
        let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
        assert_eq!((&seen["loads"], &seen["stages"][0]), (&true.into(), &kind.into()), "{seen}");
        assert_eq!(
            (&seen["description"]["name"], &seen["manifest"]["exists"]),
            (&"plug".into(), &true.into()),
            "{seen}"
        );
        assert_eq!(seen["description"]["reads"], serde_json::json!(["message"]), "{seen}");
        if kind == "filter" {
            held_to_its_cost(&project);
        }
        // The cases mean something, and so do the settings.
        replace(&project.join("plug.cases.ndjson"), "smoke", "smog");
        let output = sawpit(&project, &["test", "plug.wasm"]);
        assert_eq!(output.status.code(), FAILED, "{}", said(&output));
        replace(&project.join("plug.toml"), "word = \"smoke\"", "word = \"smog\"");
        let output = sawpit(&project, &["test", "plug.wasm"]);
        assert_eq!(output.status.code(), DONE, "{}", said(&output));
        let wrong = |old: &str, new: &str, rule: &str| {
            replace(&project.join("plug.toml"), old, new);
            let output = sawpit(&project, &["test", "plug.wasm"]);
            assert_eq!(output.status.code(), FAILED);
            let why = "configure refused the settings: ";
            assert!(said(&output).contains(why) && said(&output).contains(rule), "{}", said(&output));
        };
        wrong("word = \"smog\"", "word = \"\"", "word must be a text");
        wrong("word = \"\"", "world = \"smog\"", "[config] has");
    }
}

#[test]
fn javascript_projects_build_and_pass_their_cases() {
    all_kinds("js");
}

#[test]
fn python_projects_build_and_pass_their_cases() {
    all_kinds("python");
}

#[test]
fn c_projects_build_and_pass_their_cases() {
    all_kinds("c");
}

/// One case of a transformer that reads everything; the log is of the device `d` and has `{"n":1.50}`.
fn case(message: &str, expect: &str) -> String {
    let log =
        format!(r#"{{"device_id":"d","log_level":"INFO","message":"{message}","log_data":{{"n":1.50}}}}"#);
    format!("{{\"name\":\"{message}\",\"log\":{log},\"expect\":{expect}}}\n")
}

/// Imports and grants all that the host does for a plugin.
fn grant(project: &Path) {
    let log = "    import sawpit:plugin/log@0.1.0;\n";
    let all = ["log", "clock", "counters"].map(|name| log.replace("log", name)).concat();
    replace(&project.join("wit/world.wit"), log, &all);
    replace(&project.join("plug.toml"), "grants = []", r#"grants = ["log", "clock", "counters"]"#);
}

/// What the transformers of [`JS_RULES`] and [`PYTHON_RULES`] do.
fn transformer_cases() -> String {
    [
        case("plain", r#"{"message":"plain","log_data":{"n":1.50}}"#),
        case("split", r#"{"parts":2,"message":"one ½","log_level":"ERROR"}"#),
        case("drop", r#"{"verdict":"drop","reason":"not wanted"}"#),
        case("set", r#"{"set":{"n":1.50,"who":"d INFO 1767225600000000"}}"#),
        case("whole", r#"{"log_data":{"twice":3}}"#),
        case("soft", r#"{"verdict":"fail","reason":"cannot cope with soft"}"#),
        case("level", r#"{"verdict":"fail","reason":"LOUD"}"#),
        case("object", r#"{"verdict":"fail","reason":"members to set is wanted"}"#),
        case("typo", r#"{"verdict":"fail","reason":"mesage"}"#),
        case("host", r#"{"set":{"n":1.50,"late":true}}"#),
        case("negative", r#"{"verdict":"fail","reason":"-1 is no whole number from 0 up"}"#),
    ]
    .concat()
}

const JS_RULES: &str = r#"
import { drop, host, plugin } from "./sawpit.js";
export const { meta, configuration, transform } = plugin({
  name: "plug", version: "0.1.0", help: "", reads: ["deviceId", "level", "message", "data", "receivedAt"],
  transform(log) {
    switch (log.message) {
      case "split": return [{ message: "one ½", level: "ERROR" }, { set: { part: 2 } }];
      case "drop": return drop("not wanted");
      case "set": return { set: { who: `${log.deviceId} ${log.level} ${log.receivedAt}` } };
      case "whole": return { data: { twice: log.data.n * 2 } };
      case "soft": throw new RangeError(`cannot cope with ${log.message}`);
      case "level": return { level: "LOUD" };
      case "object": return { set: [] };
      case "typo": return { mesage: "x" };
      case "host":
        host.log("INFO", "seen");
        host.count("seen", 2);
        return { set: { late: host.now() > log.receivedAt } };
      case "negative": host.count("seen", -1);
    }
  },
});
"#;

#[test]
fn a_transformer_in_javascript_can_do_what_the_page_says() {
    let folder = TempFolder::new("js");
    let project = project(&folder, "js", "transform");
    fs::write(project.join("rules.js"), JS_RULES).unwrap();
    fs::write(project.join("plug.cases.ndjson"), transformer_cases()).unwrap();
    grant(&project);
    build(&project);
    test(&project, "11 golden cases");
    // Where it failed is said, too; for a wrong answer it is where the rule begins.
    let logs =
        ["soft", "level"].map(|text| format!(r#"{{"device_id":"d","log_level":"INFO","message":"{text}"}}"#));
    fs::write(project.join("logs.ndjson"), logs.join("\n")).unwrap();
    let output = sawpit(&project, &["test", "plug.wasm", "--logs", "logs.ndjson"]);
    assert_eq!(output.status.code(), FAILED);
    let page = said(&output);
    for why in [
        "failed: RangeError: cannot cope with soft (at transform (/rules.js:11:",
        r#"failed: TypeError: no level "LOUD": known are DEBUG, INFO, WARNING, ERROR, CRITICAL (at transform (/rules.js:5))"#,
    ] {
        assert!(page.contains(why), "{page}");
    }
    replace(&project.join("rules.js"), r#""message", "#, "");
    build(&project);
    let output = sawpit(&project, &["test", "plug.wasm"]);
    assert!(
        said(&output).contains(r#"the log's message was not sent: add "message" to reads"#),
        "{}",
        said(&output)
    );
}

/// What is misspelt would else never be called.
#[test]
fn mistakes_in_what_javascript_describes_are_refused() {
    let folder = TempFolder::new("js");
    let project = project(&folder, "js", "filter");
    for (old, new, why) in [
        ("configure({", "configur({", "plugin() has an unknown member configur: known are name, "),
        ("filter(log", "filtr(log", "plugin() has an unknown member filtr: "),
        ("filter(log", "enrich(log", "rules.js exports filter, which plugin() did not get"),
        ("\"0.1.0\"", "3", "version must be a text, not 3"),
        ("[\"message\"]", "\"message\"", "reads must be an array, not \"message\""),
        ("export const", "host.log(\"INFO\", \"x\"); export const", "not while files are loaded"),
    ] {
        let rules = fs::read_to_string(project.join("rules.js")).unwrap();
        replace(&project.join("rules.js"), "import { drop,", "import { drop, host,");
        replace(&project.join("rules.js"), old, new);
        let output = sawpit(&project, &["build"]);
        assert_eq!(output.status.code(), FAILED, "{new}");
        assert!(said(&output).contains(why), "{why:?} is not in {}", said(&output));
        fs::write(project.join("rules.js"), rules).unwrap();
    }
    replace(&project.join("rules.js"), "configuration, filter }", "configuration }");
    build(&project);
    let output = sawpit(&project, &["test", "plug.wasm"]);
    assert!(
        said(&output).contains("plugin() got filter, which rules.js does not export"),
        "{}",
        said(&output)
    );
}

/// What is thrown past the helper, as in a guest that has none.
#[test]
fn what_javascript_throws_outside_of_a_log_is_shown() {
    let folder = TempFolder::new("js");
    let project = project(&folder, "js", "filter");
    fs::remove_file(project.join("plug.cases.ndjson")).unwrap();
    let rules = "export const filter = { filter() { throw new Error('thrown in the stage'); } };";
    replace(&project.join("rules.js"), "configuration, filter }", "configuration, filter: helped }");
    let text = fs::read_to_string(project.join("rules.js")).unwrap();
    fs::write(project.join("rules.js"), text + rules).unwrap();
    build(&project);
    let output = sawpit(&project, &["test", "plug.wasm"]);
    assert_eq!(output.status.code(), FAILED);
    let page = said(&output);
    assert!(page.contains("thrown in the stage") && page.contains("rules.js"), "{page}");
    assert!(!page.contains("RUST_BACKTRACE"), "{page}");
    fs::write(project.join("rules.js"), "this is not JavaScript").unwrap();
    let output = sawpit(&project, &["build"]);
    assert_eq!(output.status.code(), FAILED);
    assert!(said(&output).contains("componentize-qjs failed: "), "{}", said(&output));
}

const PYTHON_RULES: &str = r#"
from sawpit import drop, edit, host, plugin

def transform(log, _):
    match log.message:
        case "split":
            return [edit(message="one ½", level="ERROR"), edit(set={"part": 2})]
        case "drop":
            return drop("not wanted")
        case "set":
            return edit(set={"who": f"{log.device_id} {log.level} {log.received_at}"})
        case "whole":
            return edit(data={"twice": int(log.data["n"] * 2)})
        case "soft":
            raise ValueError(f"cannot cope with {log.message}")
        case "level":
            return edit(level="LOUD")
        case "object":
            return edit(set=[])
        case "exit":
            raise SystemExit("enough")
        case "typo":
            return edit(mesage="x")
        case "host":
            host.log("INFO", "seen")
            host.count("seen", 2)
            return edit(set={"late": host.now() > log.received_at})
        case "negative":
            host.count("seen", -1)

Meta, Configuration, Helped = plugin(
    name="plug", version="0.1.0", help="", transform=transform,
    reads=["device_id", "level", "message", "data", "received_at"],
)

class Transform(Helped):
    def transform(self, batch):
        if batch.message.bytes == b"hard":
            raise ValueError("this is the end")
        return super().transform(batch)
"#;

#[test]
fn a_transformer_in_python_can_do_what_the_page_says_and_its_exceptions_are_shown() {
    let folder = TempFolder::new("python");
    let project = project(&folder, "python", "transform");
    fs::write(project.join("rules.py"), PYTHON_RULES).unwrap();
    fs::write(project.join("plug.cases.ndjson"), transformer_cases()).unwrap();
    grant(&project);
    build(&project);
    test(&project, "11 golden cases");
    let logs = ["soft", "level", "exit", "hard"]
        .map(|text| format!(r#"{{"device_id":"d","log_level":"INFO","message":"{text}"}}"#));
    fs::write(project.join("logs.ndjson"), logs.join("\n")).unwrap();
    let output = sawpit(&project, &["test", "plug.wasm", "--logs", "logs.ndjson"]);
    assert_eq!(output.status.code(), FAILED);
    let page = said(&output);
    for why in [
        "failed: ValueError: cannot cope with soft (line 15 of rules.py)",
        // Of a wrong answer it is where the rule begins.
        "failed: TypeError: no level 'LOUD': known are DEBUG, INFO, WARNING, ERROR, CRITICAL (line 4 of rules.py)",
        "failed: SystemExit: enough (line 21 of rules.py)",
        // Nothing catches this one: the traceback that Python prints is kept.
        "ValueError: this is the end",
        "rules.py\", line 39",
    ] {
        assert!(page.contains(why), "{why:?} is not in {page}");
    }
}

/// Reads and writes JSON; fails in three ways.
const C_RULES: &str = r#"
#include "sawpit.h"
#include <assert.h>

const sawpit_plugin sawpit_this_plugin = {
    .name = "plug", .version = "0.1.0", .help = "", .reads = SAWPIT_MESSAGE | SAWPIT_LOG_DATA | SAWPIT_LEVEL,
};

bool sawpit_configure(sawpit_text config, sawpit_buffer *why) {
    (void)config, (void)why;
    return true;
}

static bool is(const sawpit_log *log, const char *text) { return sawpit_equal(log->message, sawpit_string(text)); }

bool sawpit_transform(const sawpit_log *log, sawpit_edit *edit, sawpit_buffer *why) {
    assert(!is(log, "assert"));
    if (is(log, "panic")) sawpit_panic("this is the end");
    if (is(log, "soft")) {
        sawpit_append_string(why, "cannot cope");
        return false;
    }
    if (is(log, "mute")) return false;
    if (is(log, "split")) {
        sawpit_edit *second = sawpit_split(edit), *third = sawpit_split(edit);
        edit->new_message = third->new_message = true;
        sawpit_append_string(&edit->message, "first");
        sawpit_append_string(&third->message, "third");
        second->new_level = true;
        second->level = SAWPIT_ERROR;
    }
    if (is(log, "host")) {
        sawpit_write(SAWPIT_INFO, sawpit_string("seen"));
        sawpit_count("seen", 2);
        sawpit_json_set(&edit->set, "late", sawpit_string(sawpit_now() > 1767225600000000 ? "true" : "false"));
    }
    if (is(log, "drop")) {
        sawpit_append_string(why, "not wanted");
        edit->drop = true;
    }
    if (is(log, "level") && log->level == SAWPIT_INFO) {
        edit->new_level = true;
        edit->level = SAWPIT_CRITICAL;
    }
    if (is(log, "whole")) sawpit_append_string(&edit->log_data, "{\"new\": true}");
    sawpit_text value;
    if (sawpit_json_member(log->log_data, "text", &value)) {
        sawpit_buffer text = {0}, quoted = {0};
        if (sawpit_json_unquote(value, &text)) sawpit_json_quote(&quoted, sawpit_view(&text));
        sawpit_json_set(&edit->set, "first", sawpit_string("1"));
        sawpit_json_set(&edit->set, "echo", quoted.len ? sawpit_view(&quoted) : value);
    }
    return true;
}
"#;

/// A case of the C transformer about one member of `log_data`.
fn echo(data: &str, echo: &str) -> String {
    let log = format!(r#"{{"device_id":"d","log_level":"INFO","message":"m","log_data":{data}}}"#);
    let name = serde_json::json!(data);
    format!("{{\"name\":{name},\"log\":{log},\"expect\":{{\"set\":{{\"first\":1,\"echo\":{echo}}}}}}}\n")
}

#[test]
fn a_transformer_in_c_reads_and_writes_json_and_its_last_words_are_shown() {
    let folder = TempFolder::new("c");
    let project = project(&folder, "c", "transform");
    fs::write(project.join("rules.c"), C_RULES).unwrap();
    let cases = [
        case("plain", r#"{"message":"plain","log_data":{"n":1.50}}"#),
        case("drop", r#"{"verdict":"drop","reason":"not wanted"}"#),
        case("level", r#"{"log_level":"CRITICAL","message":"level"}"#),
        case("whole", r#"{"log_data":{"new":true}}"#),
        case("soft", r#"{"verdict":"fail","reason":"cannot cope"}"#),
        case("mute", r#"{"verdict":"fail","reason":"sawpit_transform gave no reason: put one in `why`"}"#),
        case("split", r#"{"parts":3,"message":"first","log_level":"INFO"}"#),
        case("host", r#"{"set":{"n":1.50,"late":true}}"#),
        echo(r#"{"text":"plain ½ 🙂"}"#, r#""plain ½ 🙂""#),
        echo(
            r#"{ "a":[1,{"text":"no"},"]}"] , "b\"":{"text":{}}, "text" : "\"\\\/\b\f\n\r\t\u0001é" }"#,
            r#""\"\\/\b\f\n\r\t\u0001é""#,
        ),
        echo(r#"{"text":"\u00e9\u20ac\ud83d\ude42"}"#, r#""é€🙂""#),
        echo(r#"{"text":[1, 2]}"#, "[1,2]"),
        echo(r#"{"n":-1.5e3,"t":true,"text":null}"#, "null"),
        echo(r#"{"texts":1,"text":""}"#, r#""""#),
    ];
    fs::write(project.join("plug.cases.ndjson"), cases.concat()).unwrap();
    build(&project);
    let output = sawpit(&project, &["test", "plug.wasm"]);
    let why = "sawpit_count: add `import sawpit:plugin/counters@0.1.0;` to wit/world.wit";
    assert!(said(&output).contains(why), "{}", said(&output));
    grant(&project);
    build(&project);
    test(&project, "14 golden cases");
    let log = |text| format!("{{\"device_id\":\"d\",\"log_level\":\"INFO\",\"message\":\"{text}\"}}\n");
    fs::write(project.join("logs.ndjson"), log("panic") + &log("assert")).unwrap();
    let output = sawpit(&project, &["test", "plug.wasm", "--logs", "logs.ndjson"]);
    assert_eq!(output.status.code(), FAILED);
    let page = said(&output);
    assert!(page.contains("failed: this is the end — wasm trap"), "{page}");
    assert!(page.contains("failed: rules.c:17: assertion failed: !is(log, \"assert\")"), "{page}");
    // Names of functions, and a compiler that complains.
    assert!(page.contains("at sawpit_panic") && page.contains("at sawpit_transform"), "{page}");
    fs::write(project.join("rules.c"), "int x = ;").unwrap();
    let output = sawpit(&project, &["build"]);
    assert_eq!(output.status.code(), FAILED);
    assert!(said(&output).contains("rules.c:1:9: error") && said(&output).contains("the C compiler failed"));
}

/// As many calls as an instance lives through: its memory must not grow.
#[test]
fn a_plugin_in_c_frees_what_it_is_given() {
    let folder = TempFolder::new("c");
    for kind in ["filter", "enrich", "transform"] {
        let _ = fs::remove_dir_all(folder.join("plug"));
        let project = project(&folder, "c", kind);
        build(&project);
        let log = r#"{"device_id":"d","log_level":"INFO","message":"smoke"}"#;
        fs::write(project.join("logs.ndjson"), log).unwrap();
        let output = sawpit(&project, &["bench", "plug.wasm", "--logs", "logs.ndjson", "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer["memory_bytes"].as_u64().unwrap() < 1 << 20, "{answer}");
    }
}

/// A folder whose programs are these scripts.
fn programs(scripts: &[(&str, String)]) -> TempFolder {
    let folder = TempFolder::new("programs");
    for (name, script) in scripts {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    folder
}

fn build_with(path: &TempFolder, project: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sawpit"));
    command.args(["plugin", "build"]).env("PATH", path.path()).current_dir(project).output().unwrap()
}

#[test]
fn build_says_which_tool_is_missing_and_how_to_get_it() {
    let (nothing, node) = (programs(&[]), programs(&[("node", String::new())]));
    // Apple's clang has no target for WebAssembly, and others no linker.
    let clang = programs(&[("clang", "exit 1".to_owned())]);
    for (lang, path, why) in [
        ("js", &nothing, "apt-get install nodejs npm"),
        ("js", &node, "run `npm install` in ."),
        ("python", &nothing, "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"),
        ("c", &nothing, "apt-get install clang lld"),
        ("c", &clang, "pip install ziglang"),
    ] {
        let folder = TempFolder::new(lang);
        let project = project(&folder, lang, "filter");
        let output = build_with(path, &project);
        assert_eq!(output.status.code(), FAILED, "{lang}");
        assert!(said(&output).contains(why), "{lang}: {}", said(&output));
    }
}

#[test]
fn build_says_what_is_wrong_with_a_project() {
    let folder = TempFolder::new("c");
    let project = project(&folder, "c", "filter");
    fs::write(project.join("other.toml"), "").unwrap();
    build(&project);
    fs::rename(project.join("plug.toml"), project.join("mine.toml")).unwrap();
    assert!(said(&sawpit(&project, &["build"])).contains("holds 2 .toml files"));
    fs::remove_file(project.join("other.toml")).unwrap();
    replace(&project.join("wit/world.wit"), "world plugin {", "world plugin { import nothing;");
    let broken = said(&sawpit(&project, &["build"]));
    assert!(broken.contains("`nothing` does not exist"), "{broken}");
    fs::remove_dir_all(project.join("wit")).unwrap();
    assert!(said(&sawpit(&project, &["build"])).contains("holds no wit folder"));
}

/// As it comes from PyPI, with no other compiler in sight.
#[test]
fn zig_is_taken_where_clang_cannot_do_it() {
    let zig = workspace_root().join("target/author-tools/ziglang/bin/python-zig");
    assert!(zig.exists(), "{} is missing: run `cargo xtask tools` first", zig.display());
    let (path, folder) = (programs(&[]), TempFolder::new("c"));
    std::os::unix::fs::symlink(zig, path.join("zig")).unwrap();
    let project = project(&folder, "c", "filter");
    let output = build_with(&path, &project);
    assert_eq!(output.status.code(), DONE, "{}", said(&output));
    test(&project, "2 golden cases");
}

/// A project of this language as it is made, with its manifest untouched.
fn built(folder: &TempFolder, lang: &str) -> [PathBuf; 2] {
    let name = format!("try-{lang}");
    let sdk = workspace_root().join("plugins/sdk");
    let mut new = vec!["new", &name, "--kind", "enrich", "--lang", lang];
    if lang == "rust" {
        new.extend(["--sdk", sdk.to_str().unwrap()]);
    }
    let output = sawpit(folder.path(), &new);
    assert_eq!(output.status.code(), DONE, "{}", said(&output));
    let project = folder.join(&name);
    if lang == "rust" {
        fs::copy(workspace_root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    }
    let output = sawpit(&project, &["build"]);
    assert_eq!(output.status.code(), DONE, "{lang}: {}", said(&output));
    ["wasm", "toml"].map(|extension| project.join(&name).with_extension(extension))
}

/// Waits until all of them serve. Their deadlines are meant for a machine that is not busy with other tests, so one that was
/// too slow gets another trial, as an operator would give it by touching the file.
async fn all_serve(api: &support::Api, plugins: &TempFolder, count: usize) -> Value {
    let began = std::time::Instant::now();
    loop {
        let (_, page) = api.get("/api/plugins").await;
        let listed = page["plugins"].as_array().unwrap().clone();
        if listed.iter().filter(|plugin| plugin["state"] == "active").count() == count {
            return page;
        }
        assert!(began.elapsed() < 5 * support::SOON, "{page}");
        for plugin in listed.iter().filter(|plugin| plugin["state"] == "refused") {
            let wasm = plugins.join(plugin["file"].as_str().unwrap());
            support::deploy(&wasm, &fs::read(&wasm).unwrap());
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn plugins_of_all_languages_serve_together_at_the_settings_they_are_made_with() {
    let (folder, data, plugins) =
        (TempFolder::new("all"), TempFolder::new("data"), TempFolder::new("plugins"));
    for lang in ["rust", "js", "python", "c"] {
        for file in built(&folder, lang) {
            fs::copy(&file, plugins.join(file.file_name().unwrap().to_str().unwrap())).unwrap();
        }
    }
    let address = support::free_address();
    let paths = [data.path(), plugins.path()].map(|path| path.to_str().unwrap().to_owned());
    let listen = address.to_string();
    let process = support::sawpit(&["up", "--listen", &listen, "--data", &paths[0], "--plugins", &paths[1]]);
    process.wait_http(address, "/health/ready", 5 * support::SOON);
    let api = support::Api::new(format!("http://{address}"));
    let page = all_serve(&api, &plugins, 4).await;
    let log = r#"{"device_id":"d","log_level":"INFO","message":"smoke in the hall"}"#.to_owned();
    api.post("/api/log", log).await;
    for plugin in page["plugins"].as_array().unwrap() {
        let file = &plugin["file"];
        let (_, page) = api.get("/api/plugins").await;
        let mut all = page["plugins"].as_array().unwrap().iter();
        assert_eq!(all.find(|plugin| plugin["file"] == *file).unwrap()["calls"], 1, "{page}");
    }
}
