//! A version serves only if it does what its golden cases say.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::PathBuf;

use sawpit_plugins::golden::{self, CaseResult, Verdict};
use sawpit_plugins::{Registry, RegistrySettings};
use support::*;
use tempfile::TempDir;

fn case(name: &str, message: &str, expect: &str) -> String {
    format!(
        "{{\"name\":\"{name}\",\"log\":{{\"device_id\":\"d\",\"log_level\":\"INFO\",\"message\":\"{message}\",\"log_data\":{{\"a\":1}}}},\"expect\":{expect}}}\n"
    )
}

/// Sets `{"b":2}` in every log of a call with an X.
fn enricher() -> Guest {
    let patch = "(i32.store (i32.const 3000) (i32.const 7))".to_owned()
        + &put(0, 2048)
        + &put(4, 7)
        + &put(8, 3000)
        + &put(12, 1);
    let mut guest = Guest::new("enrich", on_letter('X', &patch));
    guest.items = r#"(data (i32.const 2048) "{\"b\":2}")"#.to_owned();
    guest
}

/// Verdict 1 (drop) or 2 (reject) for a single log with an X, for the reason `why`.
fn filter(verdict: u32) -> Guest {
    let answer = format!("(i32.store8 (i32.const 2048) (i32.const {verdict}))")
        + &put(0, 2048)
        + &put(4, 1)
        + "(i32.store (i32.const 3000) (i32.const 3))"
        + &put(8, 2060)
        + &put(12, 3)
        + &put(16, 3000)
        + &put(20, 1);
    let mut guest = Guest::new("filter", on_letter('X', &answer));
    guest.items = r#"(data (i32.const 2060) "why")"#.to_owned();
    guest
}

fn results(guest: &Guest, manifest: &str, cases: &str) -> Vec<CaseResult> {
    let plugin = load(guest, manifest).unwrap();
    let cases = golden::parse("guest.cases.ndjson", cases, &settings()).unwrap();
    golden::run(&plugin, &cases)
}

#[test]
fn a_filter_is_held_to_its_verdicts_and_reasons() {
    let drops = case("x", "X", r#"{"verdict":"drop","reason":"wh"}"#) + &case("y", "y", "{}");
    assert!(results(&filter(1), "", &drops).iter().all(CaseResult::passed));
    let rejected = results(&filter(2), "", &drops);
    assert_eq!(rejected[0].to_string(), "case \"x\" (line 1): verdict: expected drop, found reject (why)");
    assert!(rejected[1].passed());
    let reason = results(&filter(1), "", &case("x", "X", r#"{"verdict":"drop","reason":"other"}"#));
    assert!(reason[0].to_string().contains("reason: expected one with \"other\", found \"why\""));
}

#[test]
fn an_enricher_is_held_to_what_it_sets() {
    let good = case(
        "sets",
        "X",
        r#"{"set":{"a":1,"b":2},"absent":["c"],"log_data":{"b":2,"a":1},"message":"X","log_level":"INFO"}"#,
    ) + &case("sets not", "y", r#"{"absent":["b"]}"#);
    let passed = results(&enricher(), "", &good);
    assert!(passed.iter().all(CaseResult::passed), "{passed:?}");
    assert_eq!(passed[0].found.logs[0].log_data.get("b"), Some("2"));
    for (expect, difference) in [
        (r#"{"set":{"b":3}}"#, "log_data.b: expected 3, found 2"),
        (r#"{"set":{"c":"x"}}"#, "log_data.c: expected \"x\", found no such member"),
        (r#"{"absent":["a"]}"#, "log_data.a: expected no such member, found 1"),
        (r#"{"log_data":{}}"#, "log_data: expected {}, found {\"a\":1,\"b\":2}"),
        (r#"{"message":"Y"}"#, "message: expected \"Y\", found \"X\""),
        (r#"{"log_level":"ERROR"}"#, "log_level: expected ERROR, found INFO"),
        (r#"{"parts":2}"#, "parts: expected 2, found 1"),
    ] {
        let found = results(&enricher(), "", &case("x", "X", expect))[0].to_string();
        assert!(found.contains(difference), "{found}");
    }
}

#[test]
fn policy_and_mode_do_not_hide_what_the_plugin_does() {
    let fails = case("x", "X", r#"{"verdict":"fail","reason":"unreachable"}"#);
    for stage in ["filter", "enrich", "transform"] {
        let guest = Guest::new(stage, on_letter('X', TRAP));
        for manifest in ["on_error = \"pass\"", "mode = \"shadow\"", "[breaker]\nfailures = 1"] {
            let many: String =
                (0..10).map(|i| fails.replace("\"name\":\"x\"", &format!("\"name\":\"{i}\""))).collect();
            let results = results(&guest, manifest, &many);
            assert!(results.iter().all(CaseResult::passed), "{stage}, {manifest}: {results:?}");
        }
    }
    let guest = Guest::new("filter", on_letter('X', TRAP));
    let unmatched = results(&guest, "match = { device_id = \"other\" }", &case("x", "X", "{}"));
    assert_eq!((unmatched[0].passed(), unmatched[0].found.verdict), (true, Verdict::Accept));
    let wants = case("x", "X", r#"{"set":{"b":1}}"#);
    let unmatched = results(&guest, "match = { device_id = \"other\" }", &wants)[0].to_string();
    assert!(unmatched.starts_with("case \"x\" (line 1): the plugin was not called, as "), "{unmatched}");
    assert!(unmatched.ends_with("; log_data.b: expected 1, found no such member"), "{unmatched}");
}

struct Folder {
    path: PathBuf,
    registry: Registry,
    _parent: TempDir,
}

fn folder(cases: &str) -> Folder {
    let parent = TempDir::new().unwrap();
    let path = parent.path().to_owned();
    fs::write(path.join("guest.wasm"), enricher().wasm()).unwrap();
    fs::write(path.join("guest.cases.ndjson"), cases).unwrap();
    let registry = Registry::open(runtime(), path.clone(), RegistrySettings::default()).unwrap();
    Folder { path, registry, _parent: parent }
}

#[test]
fn a_version_that_fails_its_cases_is_refused_with_the_difference() {
    let folder = folder(&case("sets b", "X", r#"{"set":{"b":3}}"#));
    let status = &folder.registry.status()[0];
    assert!(!status.serving);
    assert_eq!(
        status.refusal.as_deref().unwrap(),
        "1 of 1 cases of guest.cases.ndjson failed\ncase \"sets b\" (line 1): log_data.b: expected 3, found 2"
    );
}

#[test]
fn a_change_of_the_cases_alone_is_picked_up_and_the_old_version_serves_on() {
    let good = case("sets b", "X", r#"{"set":{"b":2}}"#);
    let folder = folder(&good);
    let refusal = || folder.registry.status()[0].refusal.clone().unwrap_or_default();
    let chain = folder.registry.chain().id().to_owned();
    assert_eq!(refusal(), "");
    fs::write(folder.path.join("guest.cases.ndjson"), "nonsense").unwrap();
    eventually("the line is refused", || refusal().starts_with("guest.cases.ndjson, line 1: "));
    fs::write(folder.path.join("guest.cases.ndjson"), case("sets b", "X", r#"{"set":{"b":4}}"#)).unwrap();
    eventually("the case is refused", || refusal().contains("expected 4, found 2"));
    assert!(folder.registry.status()[0].serving);
    fs::write(folder.path.join("guest.cases.ndjson"), good).unwrap();
    eventually("it is accepted again", || refusal().is_empty());
    assert_eq!(folder.registry.chain().id(), chain, "cases are no part of what a version does");
}

#[test]
fn a_file_of_cases_over_the_size_limit_and_one_at_it() {
    let cases = case("x", "X", "{}");
    let folder = folder(&cases);
    let mut settings = settings();
    settings.cases_bytes = cases.len() as u64;
    let load =
        |settings| sawpit_plugins::Runtime::new(settings).unwrap().load(&folder.path.join("guest.wasm"));
    assert!(load(settings.clone()).is_ok());
    settings.cases_bytes -= 1;
    let error = load(settings).unwrap_err().to_string();
    assert!(
        error.starts_with("guest.cases.ndjson is larger than ") && error.ends_with("--plugin-cases-bytes")
    );
}

#[test]
fn the_first_case_that_fails_by_its_deadline_is_the_last_that_is_run() {
    let guest = Guest::new("filter", on_letter('X', ENDLESS));
    let on_purpose = case("on purpose", "X", r#"{"verdict":"fail","reason":"deadline"}"#);
    let cases =
        on_purpose + &case("endless", "X", "{}") + &case("never", "y", "{}") + &case("run", "y", "{}");
    let results = results(&guest, "timeout_ms = 20", &cases);
    assert_eq!(results.iter().map(CaseResult::passed).collect::<Vec<_>>(), [true, false]);
    let folder = TempDir::new().unwrap();
    let wasm = folder.path().join("guest.wasm");
    fs::write(&wasm, guest.wasm()).unwrap();
    fs::write(wasm.with_extension("cases.ndjson"), cases).unwrap();
    let refused = runtime().load(&wasm).unwrap_err().to_string();
    assert!(
        refused.starts_with("1 of 2 cases of guest.cases.ndjson failed, 2 after them were not run\n"),
        "{refused}"
    );
}
