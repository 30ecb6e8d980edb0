//! A new version on a part of the devices: who gets it, when it is taken back, what is kept.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use sawpit_model::Log;
use sawpit_plugins::{
    Ingested, PluginState, PluginStatus, Registry, RegistrySettings, Runtime, RuntimeSettings,
};
use support::*;
use tempfile::TempDir;

/// Busy for some hundred microseconds in each call.
const BUSY: &str = "(local $left i32) (local.set $left (i32.const 600000))
    (loop $on (local.set $left (i32.sub (local.get $left) (i32.const 1))) (br_if $on (local.get $left)))";

/// A plugin folder, and a cache folder that outlives the process.
struct Place {
    parent: TempDir,
}

impl Place {
    fn new() -> Self {
        let parent = TempDir::new().unwrap();
        fs::create_dir(parent.path().join("plugins.d")).unwrap();
        Self { parent }
    }

    fn folder(&self) -> PathBuf {
        self.parent.path().join("plugins.d")
    }

    /// As after the start of a process.
    fn start(&self) -> Registry {
        let cache_dir = Some(self.parent.path().join("cache"));
        let runtime = Runtime::new(RuntimeSettings { cache_dir, ..settings() }).unwrap();
        Registry::open(runtime, self.folder(), RegistrySettings::default()).unwrap()
    }

    /// Puts a version in the place of `a.wasm`, whole, with its manifest.
    fn put(&self, wasm: &[u8], manifest: &str) {
        replace(&self.folder().join("a.toml"), manifest.as_bytes());
        replace(&self.folder().join("a.wasm"), wasm);
    }

    fn note(&self) -> PathBuf {
        self.folder().join("a.rolled-back")
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    let next = path.with_extension("next");
    fs::write(&next, bytes).unwrap();
    fs::rename(next, path).unwrap();
}

/// Version `number` of the plugin.
fn version(number: &'static str, body: &str) -> Vec<u8> {
    Guest::new("filter", body).named("a", number).wasm()
}

fn good(number: &'static str) -> Vec<u8> {
    version(number, &answer())
}

fn trapping(number: &'static str) -> Vec<u8> {
    version(number, &on_letter('X', TRAP))
}

fn status(registry: &Registry) -> PluginStatus {
    registry.status().remove(0)
}

fn is(registry: &Registry, state: PluginState, serving: &str) {
    eventually(&format!("{state:?} with {serving}"), || {
        registry
            .status()
            .first()
            .is_some_and(|status| status.state == state && status.version.as_deref() == Some(serving))
    });
}

fn from(devices: std::ops::Range<u32>, message: &str) -> Vec<Log> {
    devices.map(|n| Log { device_id: format!("sensor-{n}"), ..log(message) }).collect()
}

fn failed(registry: &Registry, logs: Vec<Log>) -> Vec<usize> {
    let list = registry.chain().ingest(logs);
    let failed = |item: &Ingested| matches!(item, Ingested::Failed { .. });
    list.iter().enumerate().filter(|(_, item)| failed(item)).map(|(at, _)| at).collect()
}

#[test]
fn a_canary_gets_its_share_of_the_devices_and_always_the_same() {
    let place = Place::new();
    place.put(&good("1.0.0"), "");
    let registry = place.start();
    // It may fail as it likes, so that who fails shows who has it.
    let limits = "breaker.failures = 0\n[canary]\npercent = 20\nerrors = 1000000\nlogs = 1000000";
    place.put(&trapping("2.0.0"), limits);
    is(&registry, PluginState::Canary, "1.0.0");
    let chosen = failed(&registry, from(0..500, "X"));
    assert!((60..=140).contains(&chosen.len()), "{} of 500", chosen.len());
    assert_eq!(failed(&registry, from(0..500, "X")), chosen, "the same devices");
    assert_eq!(failed(&place.start(), from(0..500, "X")), chosen, "in every process");
    let canary = status(&registry).canary.unwrap();
    assert_eq!((canary.version.as_str(), canary.percent), ("2.0.0", 20));
    assert_eq!(canary.canary.logs, 2 * chosen.len() as u64);
    assert_eq!(canary.canary.errors, canary.canary.logs);
    assert_eq!(canary.control.errors, 0);
    assert!((120..=280).contains(&canary.control.logs), "as many devices: {}", canary.control.logs);
    assert!(canary.last_error.unwrap().contains("unreachable"));
}

#[test]
fn a_canary_that_fails_is_rolled_back_everywhere_and_stays_so_until_another_comes() {
    let place = Place::new();
    place.put(&good("1.0.0"), "");
    let (one, other) = (place.start(), place.start());
    place.put(&trapping("2.0.0"), "canary = 50");
    is(&one, PluginState::Canary, "1.0.0");
    is(&other, PluginState::Canary, "1.0.0");
    assert!(!failed(&one, from(0..100, "X")).is_empty());
    for registry in [&one, &other] {
        is(registry, PluginState::Refused, "1.0.0");
        assert_eq!(failed(registry, from(0..100, "X")), [0_usize; 0]);
        let refusal = status(registry).refusal.unwrap();
        assert!(refusal.contains("was rolled back: it") && refusal.contains("a.rolled-back"), "{refusal}");
    }
    assert_eq!(one.chain().id(), other.chain().id());
    let noted = fs::read_to_string(place.note()).unwrap();
    assert!(noted.contains("unreachable"), "{noted}");
    let next = place.start();
    is(&next, PluginState::Refused, "1.0.0");
    place.put(&good("3.0.0"), "canary = 50");
    is(&next, PluginState::Canary, "1.0.0");
    is(&one, PluginState::Canary, "1.0.0");
}

#[test]
fn a_rolled_back_version_is_tried_again_when_its_note_is_removed() {
    let place = Place::new();
    place.put(&good("1.0.0"), "");
    let registry = place.start();
    place.put(&trapping("2.0.0"), "canary = 50");
    is(&registry, PluginState::Canary, "1.0.0");
    failed(&registry, from(0..100, "X"));
    is(&registry, PluginState::Refused, "1.0.0");
    eventually("it is noted", || place.note().exists());
    fs::remove_file(place.note()).unwrap();
    is(&registry, PluginState::Canary, "1.0.0");
}

#[test]
fn a_canary_that_costs_more_is_rolled_back() {
    let place = Place::new();
    place.put(&good("1.0.0"), "");
    let registry = place.start();
    let manifest = "timeout_ms = 5000\n[canary]\npercent = 50\nlogs = 200";
    place.put(&version("2.0.0", &format!("{BUSY} {}", answer())), manifest);
    is(&registry, PluginState::Canary, "1.0.0");
    // One log a call, as devices post them: the cost of a call is that log's.
    for log in from(0..500, "fine") {
        assert_eq!(failed(&registry, vec![log]), [0_usize; 0]);
    }
    is(&registry, PluginState::Refused, "1.0.0");
    let refusal = status(&registry).refusal.unwrap();
    assert!(refusal.contains("a log took it") && refusal.contains("the version before it"), "{refusal}");
}

#[test]
fn a_good_canary_stays_and_serves_all_once_its_manifest_says_so() {
    let place = Place::new();
    place.put(&good("1.0.0"), "");
    let registry = place.start();
    place.put(&good("2.0.0"), "[canary]\npercent = 50\nlogs = 100");
    is(&registry, PluginState::Canary, "1.0.0");
    for _ in 0..10 {
        assert_eq!(failed(&registry, from(0..100, "X")), [0_usize; 0]);
    }
    std::thread::sleep(std::time::Duration::from_millis(600));
    is(&registry, PluginState::Canary, "1.0.0");
    replace(&place.folder().join("a.toml"), b"");
    is(&registry, PluginState::Active, "2.0.0");
    assert!(status(&registry).canary.is_none());
    assert_eq!(registry.chain().members().len(), 1);
}

#[test]
fn without_a_version_before_it_a_canary_serves_all() {
    let place = Place::new();
    place.put(&good("1.0.0"), "canary = 5");
    let registry = place.start();
    is(&registry, PluginState::Active, "1.0.0");
    assert_eq!(registry.chain().members().len(), 1);
}

#[test]
fn a_broken_file_beside_a_canary_changes_nothing() {
    let place = Place::new();
    place.put(&good("1.0.0"), "");
    let registry = place.start();
    place.put(&good("2.0.0"), "canary = 50");
    is(&registry, PluginState::Canary, "1.0.0");
    let chain = registry.chain().id().to_owned();
    replace(&place.folder().join("a.wasm"), b"text");
    is(&registry, PluginState::Refused, "1.0.0");
    assert_eq!(
        (registry.chain().id(), status(&registry).canary.unwrap().version),
        (&*chain, "2.0.0".to_owned())
    );
}

#[test]
fn what_served_before_a_restart_serves_on_where_the_file_may_not() {
    let place = Place::new();
    place.put(&good("1.0.0"), "on_error = \"pass\"");
    drop(place.start());
    replace(&place.folder().join("a.wasm"), b"text");
    let registry = place.start();
    is(&registry, PluginState::Refused, "1.0.0");
    assert_eq!(registry.chain().members()[0].plugin().manifest().file, "a.toml");
    assert!(status(&registry).refusal.unwrap().contains("text"));
}

#[test]
fn what_was_removed_does_not_come_back() {
    let place = Place::new();
    place.put(&good("1.0.0"), "");
    let registry = place.start();
    fs::remove_file(place.folder().join("a.wasm")).unwrap();
    eventually("it is gone", || registry.status().is_empty());
    drop(registry);
    place.put(b"text", "");
    let registry = place.start();
    assert_eq!((status(&registry).state, status(&registry).version), (PluginState::Refused, None));
    drop(registry);
    place.put(&good("1.0.0"), "");
    drop(place.start());
    fs::remove_file(place.folder().join("a.wasm")).unwrap();
    drop(place.start());
    place.put(b"text", "");
    assert_eq!(status(&place.start()).version, None, "also when no process saw it go");
}

#[test]
fn limits_of_a_canary_that_break_a_rule_are_named() {
    for (manifest, rule) in [
        ("canary = 0", "canary.percent must be 1 to 99, not 0"),
        ("canary = 100", "canary.percent must be 1 to 99, not 100"),
        ("[canary]\npercent = 5\nerrors = 0", "canary.errors must be at least 1"),
        ("[canary]\npercent = 5\nerror_percent = 101", "canary.error_percent must be 0 to 100, not 101"),
        ("[canary]\npercent = 5\nlogs = 0", "canary.logs must be at least 1"),
        ("canary = 5\nmode = \"shadow\"", "canary cannot go with mode = \"shadow\""),
    ] {
        let error = refusal(&Guest::new("filter", answer()), manifest);
        assert!(error.contains(rule), "{manifest}: {error}");
    }
}
