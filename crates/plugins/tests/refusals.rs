//! Files that may not serve, each with the reason that its author reads.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use sawpit_plugins::{LoadError, Runtime};
use support::*;

fn refused(bytes: &[u8]) -> LoadError {
    load_with(&runtime(), bytes, "").expect_err("must be refused")
}

#[test]
fn what_is_not_webassembly() {
    assert!(refused(b"").to_string().contains("the file is empty"));
    assert!(refused(b"hello, I am a text").to_string().contains("the file is text"));
    assert!(refused(b"\0asm\x07\0\0\0").to_string().contains("not WebAssembly"));
    assert!(refused(b"\x7fELF\x02\xff").to_string().contains("not WebAssembly"));
    assert!(refused(b"\x1f\x8b\x08\0").to_string().contains("packed by gzip"));
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::TempDir::new().unwrap();
    let link = folder.path().join("link.wasm");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
    let error = runtime().load(&link).unwrap_err().to_string();
    assert!(error.contains("link.wasm: it is a link, and what it leads to is not there"), "{error}");
    let long = folder.path().join(format!("{}.wasm", "x".repeat(250)));
    std::fs::write(&long, Guest::new("filter", answer()).wasm()).unwrap();
    let error = runtime().load(&long).unwrap_err().to_string();
    assert!(error.contains("the name is too long: give the plugin a shorter one"), "{error}");
}

#[test]
fn a_file_that_was_cut_off() {
    let whole = Guest::new("filter", answer()).wasm();
    for part in (8..whole.len()).step_by(37).chain([whole.len() - 1]) {
        let error = refused(&whole[..part]);
        assert!(
            matches!(error, LoadError::Encode { .. } | LoadError::Compile { .. } | LoadError::Exports { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_core_module_that_is_no_plugin() {
    let error = refused(&wat::parse_str("(module (func (export \"add\")))").unwrap());
    assert!(matches!(error, LoadError::Exports { .. } | LoadError::Encode { .. }), "{error}");
    let error = refused(&wat::parse_str("(module (import \"env\" \"print\" (func)))").unwrap());
    assert!(matches!(error, LoadError::Encode { .. }), "{error}");
    let mut guest = Guest::new("filter", answer());
    guest.imports = "(import \"env\" \"magic\" (func))".to_owned();
    let error = refusal(&guest, "");
    assert!(error.ends_with(": it imports env::magic, which no host has; take out what uses it"), "{error}");
}

#[test]
fn a_component_that_is_no_plugin() {
    let error = refused(&wat::parse_str("(component)").unwrap());
    assert!(matches!(error, LoadError::Exports { .. }), "{error}");
}

#[test]
fn a_plugin_for_another_version_of_the_interface() {
    let mut guest = Guest::new("filter", answer());
    guest.package = "0.2.0";
    let error = refusal(&guest, "");
    assert!(error.contains("wanted exports sawpit:plugin/meta@0.1.0"), "{error}");
    assert!(error.contains("build it with the SDK of this Sawpit"), "{error}");
    assert!(error.contains("found") && error.contains("sawpit:plugin/filter@0.2.0"), "{error}");
}

#[test]
fn a_file_over_the_size_limit_and_one_at_it() {
    let wasm = Guest::new("filter", answer()).wasm();
    let mut settings = settings();
    settings.file_bytes = wasm.len() as u64;
    assert!(load_with(&Runtime::new(settings.clone()).unwrap(), &wasm, "").is_ok());
    settings.file_bytes -= 1;
    let error = load_with(&Runtime::new(settings).unwrap(), &wasm, "").expect_err("too large");
    assert!(error.to_string().ends_with("strip it, or raise --plugin-file-bytes"), "{error}");
}

#[test]
fn a_manifest_over_the_size_limit() {
    let mut settings = settings();
    settings.manifest_bytes = 10;
    let wasm = Guest::new("filter", answer()).wasm();
    let error =
        load_with(&Runtime::new(settings).unwrap(), &wasm, "timeout_ms = 100").expect_err("too large");
    let why = "guest.toml is larger than 10 bytes: shorten it, or raise --plugin-manifest-bytes";
    assert_eq!(error.to_string(), why);
}

#[test]
fn describe_that_fails_or_lies() {
    let mut guest = Guest::new("filter", answer());
    guest.describe = "unreachable".to_owned();
    assert!(refusal(&guest, "").contains("its describe failed"));
    let named = Guest::new("filter", answer()).named("Bad Name", "1.0.0");
    assert!(refusal(&named, "").contains("its describe returned name \"Bad Name\""));
    let versioned = Guest::new("filter", answer()).named("good", "one");
    assert!(refusal(&versioned, "").contains("semantic version"));
}

#[test]
fn describe_and_configure_that_never_end() {
    let mut settings = settings();
    settings.start_timeout = std::time::Duration::from_millis(30);
    let runtime = Runtime::new(settings).unwrap();
    let mut guest = Guest::new("filter", answer());
    guest.describe = ENDLESS.to_owned();
    let error = load_with(&runtime, &guest.wasm(), "").expect_err("must be refused").to_string();
    assert!(error.contains("deadline of 30 ms passed (--plugin-start-timeout)"), "{error}");
    let mut guest = Guest::new("filter", answer());
    guest.configure = format!("{ENDLESS} unreachable");
    let error = load_with(&runtime, &guest.wasm(), "").expect_err("must be refused").to_string();
    assert!(error.contains("deadline of 30 ms passed (--plugin-start-timeout)"), "{error}");
}

#[test]
fn configure_that_refuses_in_its_own_words() {
    let mut guest = Guest::new("filter", answer());
    guest.items = "(data (i32.const 300) \"limit is missing\")".to_owned();
    guest.configure = format!(
        "(i32.store8 (i32.const {ANSWER}) (i32.const 1)) {} {} {}",
        put(4, 300),
        put(8, 16),
        answer()
    );
    let error = refusal(&guest, "");
    assert!(error.contains("configure refused the settings: limit is missing"), "{error}");
}

#[test]
fn configure_gets_the_table_as_json() {
    let mut guest = Guest::new("filter", answer());
    // Its error is what it got.
    guest.configure = format!(
        "(i32.store8 (i32.const {ANSWER}) (i32.const 1)) (i32.store (i32.const {}) (local.get $config)) (i32.store (i32.const {}) (local.get $len)) {}",
        ANSWER + 4,
        ANSWER + 8,
        answer()
    );
    let error = refusal(&guest, "config = { limit = 3, names = [\"a\"], since = 2026-01-01 }");
    assert!(error.contains(r#"{"limit":3,"names":["a"],"since":"2026-01-01"}"#), "{error}");
    assert!(refusal(&guest, "").ends_with("{}"));
}

#[test]
fn imports_without_their_grant() {
    let mut guest = Guest::new("filter", answer());
    guest.imports = r#"(import "sawpit:plugin/clock@0.1.0" "now" (func $now (result i64)))"#.to_owned();
    guest.body = format!("(drop (call $now)) {}", answer());
    let error = refusal(&guest, "");
    assert!(error.contains("grants = [\"clock\"]") && error.contains("guest.toml"), "{error}");
    assert!(load(&guest, "grants = [\"clock\"]").is_ok());
    let mut guest = Guest::new("filter", answer());
    guest.imports =
        r#"(import "sawpit:plugin/counters@0.1.0" "add" (func $add (param i32 i32 i64)))"#.to_owned();
    guest.body = format!("(call $add (i32.const 16) (i32.const 5) (i64.const 1)) {}", answer());
    let error = refusal(&guest, "grants = [\"clock\"]");
    assert!(error.contains("add grants = [\"clock\", \"counters\"] to guest.toml"), "{error}");
    assert!(load(&guest, "grants = [\"clock\", \"counters\"]").is_ok());
    guest.imports += r#"(import "sawpit:plugin/clock@0.1.0" "now" (func $now (result i64)))"#;
    let error = refusal(&guest, "grants = [\"log\"]");
    assert!(error.contains("clock@0.1.0 and sawpit:plugin/counters@0.1.0: add"), "all at once: {error}");
    assert!(error.contains("grants = [\"log\", \"clock\", \"counters\"]"), "{error}");
}

#[test]
fn keys_of_the_manifest_below_a_table_are_hinted_at() {
    let mut guest = Guest::new("filter", answer());
    guest.items = "(data (i32.const 300) \"unknown\")".to_owned();
    guest.configure =
        format!("(i32.store8 (i32.const {ANSWER}) (i32.const 1)) {} {} {}", put(4, 300), put(8, 7), answer());
    let hint = "; if on_error is meant for the manifest itself, put it before the first [table]";
    let error = refusal(&guest, "[config]\nx = 1\non_error = \"pass\"");
    assert_eq!(error, format!("[config] of guest.toml: configure refused the settings: unknown{hint}"));
    let error = refusal(&guest, "[config]\nx = 1");
    assert!(error.ends_with(": unknown"), "{error}");
    let error = refusal(&guest, "[match]\nlog_level = \"INFO\"\non_error = \"pass\"");
    assert!(error.contains("unknown field `on_error`") && error.ends_with(hint), "{error}");
    let error = refusal(&guest, "[match]\nlevel = \"INFO\"");
    assert!(error.contains("unknown field `level`") && !error.contains("before the first"), "{error}");
}

#[test]
fn imports_that_nobody_has() {
    let mut guest = Guest::new("filter", format!("(call $launch) {}", answer()));
    guest.extra_wit =
        Some(("package acme:rockets@1.0.0 { interface pad { launch: func(); } }", "acme:rockets/pad@1.0.0"));
    guest.imports = r#"(import "acme:rockets/pad@1.0.0" "launch" (func $launch))"#.to_owned();
    let error = refusal(&guest, "");
    assert!(error.contains("it imports acme:rockets/pad@1.0.0, which no plugin can have"), "{error}");
}

#[test]
fn wasi_is_there_and_empty_and_cannot_sleep() {
    let wit = "package wasi:io@0.2.6 { interface poll { resource pollable; } }
        package wasi:clocks@0.2.6 { interface monotonic-clock {
            use wasi:io/poll@0.2.6.{pollable};
            now: func() -> u64;
            subscribe-duration: func(when: u64) -> pollable;
        } }";
    let mut guest = Guest::new("filter", format!("(drop (call $now)) {}", answer()));
    guest.extra_wit = Some((wit, "wasi:clocks/monotonic-clock@0.2.6"));
    guest.imports = r#"(import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))
        (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $sleep (param i64) (result i32)))"#.to_owned();
    load(&guest, "").unwrap();
    guest.body = format!("(drop (call $sleep (i64.const 1000000000))) {}", answer());
    let error = refusal(&guest, "");
    assert!(error.contains("a plugin cannot sleep"), "{error}");
}

#[test]
fn a_stage_that_always_traps_does_not_pass_the_trial() {
    for stage in ["filter", "enrich", "transform"] {
        let error = refusal(&Guest::new(stage, "unreachable"), "");
        assert!(error.contains(&format!("failed the trial run of {stage}")), "{error}");
    }
}

#[test]
fn manifests_that_are_wrong_name_the_key_and_the_rule() {
    let guest = Guest::new("filter", answer());
    for (manifest, message) in [
        ("timeout = 5", "unknown field `timeout`"),
        ("timeout_ms = 0", "timeout_ms must be 1 to 60000, not 0"),
        ("memory_mib = 100000", "memory_mib must be 1 to 1024, not 100000"),
        ("on_error = \"explode\"", "unknown variant `explode`"),
        ("mode = 3", "guest.toml"),
        ("grants = [\"files\"]", "unknown variant `files`"),
        ("match = { device_id = \"[\" }", "match.device_id must be glob patterns"),
        ("match = { device_id = 3 }", "it must be a text or a list of texts"),
        ("canary = { errors = 3 }", "canary must be a percentage, as in canary = 5, or a table with percent"),
        ("match = { log_level = [\"LOUD\"] }", "match.log_level has an unknown level"),
        ("match = { log_level = [] }", "match.log_level must name at least one level"),
        ("config = { x = nan }", "config must not hold NaN"),
        ("this is no toml", "guest.toml"),
    ] {
        let error = refusal(&guest, manifest);
        assert!(error.contains(message), "{manifest}: {error}");
    }
}

#[test]
fn a_pattern_of_devices_may_be_so_long_and_no_longer() {
    let guest = Guest::new("filter", answer());
    let manifest = |bytes: usize| format!("match = {{ device_id = \"{}\" }}", "a".repeat(bytes));
    load_with(&runtime(), &guest.wasm(), &manifest(256)).unwrap();
    let error = refusal(&guest, &manifest(257));
    assert!(error.contains("match.device_id must be glob patterns") && error.contains("257"), "{error}");
}

#[test]
fn a_core_module_and_its_component_are_the_same() {
    let module = Guest::new("filter", answer()).wasm();
    let component = wit_component::ComponentEncoder::default().module(&module).unwrap().encode().unwrap();
    let plugin = load_with(&runtime(), &component, "").unwrap();
    assert_eq!(plugin.description().name, "guest");
    assert_eq!(plugin.description().help, "a guest of the tests");
    assert_eq!(plugin.stages().len(), 1);
}

#[cfg(unix)]
#[test]
fn compiled_files_are_kept_and_a_broken_one_is_compiled_again() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let mut settings = settings();
    settings.cache_dir = Some(cache.clone());
    let wasm = Guest::new("filter", answer()).wasm();
    let load = || load_with(&Runtime::new(settings.clone()).unwrap(), &wasm, "").unwrap();
    load();
    let files = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [file] = &files()[..] else { panic!("{:?}", files()) };
    // A file that is written anew is another one; its time says when it was used.
    let (inode, used) =
        (std::fs::metadata(file).unwrap().ino(), std::fs::metadata(file).unwrap().modified().unwrap());
    load();
    let now = std::fs::metadata(file).unwrap();
    assert_eq!(now.ino(), inode, "it was compiled again");
    assert!(now.modified().unwrap() > used, "its use was not noted");
    std::fs::write(file, b"broken").unwrap();
    load();
    assert!(std::fs::metadata(file).unwrap().len() > 1_000, "it was not mended");
}

#[cfg(unix)]
#[test]
fn a_cache_folder_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut settings = settings();
    settings.cache_dir = Some(folder.path().to_owned());
    let error = Runtime::new(settings).expect_err("must be refused").to_string();
    assert!(error.contains("others may write it"), "{error}");
}

#[test]
fn settings_that_contradict_each_other() {
    let mut wrong = settings();
    wrong.tick = std::time::Duration::from_millis(50);
    assert!(Runtime::new(wrong).expect_err("must be refused").to_string().contains("tick must be 1 to 5 ms"));
    let mut wrong = settings();
    wrong.instances = 1;
    assert!(
        Runtime::new(wrong)
            .expect_err("must be refused")
            .to_string()
            .contains("instances must be at least threads")
    );
}
