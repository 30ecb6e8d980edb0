//! A plugin that keeps failing is bypassed by its policy, and probed when it has rested. The clock is the
//! tests' own, so nothing here sleeps.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sawpit_model::Timestamp;
use sawpit_plugins::{BreakerState, BreakerStatus, Chain, Ingested, Registry, RegistrySettings, Runtime};
use support::*;
use tempfile::TempDir;

const LIMITS: &str = "[breaker]\nfailures = 3\nwindow_ms = 10_000\nrest_ms = 5_000";

struct World {
    now: Arc<AtomicI64>,
    registry: Registry,
    _folder: TempDir,
}

impl World {
    /// A registry with one plugin, which traps on an X.
    fn new(stage: &'static str, manifest: &str) -> Self {
        Self::with(&Guest::new(stage, on_letter('X', TRAP)), manifest)
    }

    fn with(guest: &Guest, manifest: &str) -> Self {
        let now = Arc::new(AtomicI64::new(0));
        let mut settings = settings();
        let clock = Arc::clone(&now);
        settings.clock = Arc::new(move || Timestamp::from_micros(clock.load(Ordering::Relaxed) * 1_000));
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("guest.wasm"), guest.wasm()).unwrap();
        std::fs::write(folder.path().join("guest.toml"), manifest).unwrap();
        let runtime = Runtime::new(settings).unwrap();
        let registry =
            Registry::open(runtime, folder.path().to_owned(), RegistrySettings::default()).unwrap();
        assert_eq!(registry.status()[0].refusal, None);
        Self { now, registry, _folder: folder }
    }

    fn at(&self, millis: i64) -> &Self {
        self.now.store(millis, Ordering::Relaxed);
        self
    }

    fn chain(&self) -> Arc<Chain> {
        self.registry.chain()
    }

    fn send(&self, message: &str) -> Ingested {
        self.chain().ingest(logs(&[message])).remove(0)
    }

    fn breaker(&self) -> BreakerStatus {
        self.registry.status()[0].breaker.clone().unwrap()
    }

    fn calls(&self) -> u64 {
        self.registry.status()[0].calls
    }
}

#[test]
fn with_reject_the_logs_fail_fast_until_a_probe_succeeds() {
    let world = World::new("filter", LIMITS);
    (0..2).for_each(|_| drop(world.send("X")));
    assert!(matches!(world.send("fine"), Ingested::Accepted(_)), "two are not enough");
    assert_eq!(world.breaker(), BreakerStatus { state: BreakerState::Closed, opened: 0, since: None });
    drop(world.at(1_000).send("X"));
    let open = BreakerStatus {
        state: BreakerState::Open,
        opened: 1,
        since: Some(Timestamp::from_micros(1_000_000)),
    };
    assert_eq!(world.breaker(), open);

    let calls = world.calls();
    let Ingested::Failed { plugin, error } = world.at(5_999).send("fine") else { panic!("not refused") };
    assert_eq!(plugin, "guest");
    assert!(error.contains("bypassed") && error.contains("unreachable"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(world.calls(), calls, "the guest was called");

    assert!(matches!(world.at(6_000).send("fine"), Ingested::Accepted(_)));
    assert_eq!(world.breaker(), BreakerStatus { state: BreakerState::Closed, opened: 1, since: None });
}

#[test]
fn with_pass_the_logs_go_by_unchanged() {
    let world = World::new("filter", &format!("on_error = \"pass\"\n{LIMITS}"));
    (0..3).for_each(|_| drop(world.send("X")));
    let calls = world.calls();
    let results = world.chain().ingest(logs(&["fine", "X"]));
    assert_eq!(results, logs(&["fine", "X"]).into_iter().map(Ingested::Accepted).collect::<Vec<_>>());
    assert_eq!(world.calls(), calls);
    let status = &world.registry.status()[0];
    assert!(status.last_error.as_ref().unwrap().contains("\n  at "), "the cause is still shown: {status:?}");
    assert_eq!(status.errors, 3, "a bypass is no error of the plugin");
}

#[test]
fn a_probe_that_fails_is_one_call_and_opens_it_again() {
    let world = World::new("filter", LIMITS);
    (0..3).for_each(|_| drop(world.send("X")));
    let calls = world.calls();
    let results = world.at(5_000).chain().ingest(logs(&["one", "X", "three"]));
    assert!(results.iter().all(|result| matches!(result, Ingested::Failed { .. })), "{results:?}");
    assert_eq!(world.calls(), calls + 1, "a probe is not tried log by log");
    assert!(matches!(world.at(9_999).send("fine"), Ingested::Failed { .. }));
    assert_eq!(world.breaker().opened, 1);
    assert!(matches!(world.at(10_000).send("fine"), Ingested::Accepted(_)));
}

#[test]
fn a_transformer_is_bypassed_too() {
    let world = World::new("transform", LIMITS);
    (0..3).for_each(|_| drop(world.chain().transform(logs(&["X"]))));
    assert_eq!(world.chain().transform(logs(&["fine"])).failed.len(), 1);
    assert_eq!(world.at(5_000).chain().transform(logs(&["fine"])).outputs.len(), 1);
    assert_eq!(world.breaker().state, BreakerState::Closed);
}

#[test]
fn an_answer_with_nothing_right_in_it_counts_as_a_failed_call() {
    let text = "(i32.store (i32.const 3000) (i32.const 1))".to_owned()
        + &put(0, 2048)
        + &put(4, 1)
        + &put(8, 3000)
        + &put(12, 1);
    let mut guest = Guest::new("enrich", on_letter('X', &text));
    guest.items = "(data (i32.const 2048) \"[\")".to_owned();
    let world = World::with(&guest, LIMITS);
    (0..3).for_each(|_| drop(world.send("X")));
    assert_eq!(world.breaker().state, BreakerState::Open);
    let Ingested::Failed { error, .. } = world.send("fine") else { panic!("not refused") };
    assert!(error.contains("bypassed") && error.contains("bad answer: set of row 0"), "{error}");
}

#[test]
fn one_poisoned_log_in_each_list_does_not_open_it() {
    let world = World::new("filter", LIMITS);
    for _ in 0..20 {
        let results = world.chain().ingest(logs(&["one", "X", "three", "four"]));
        assert!(matches!(results[3], Ingested::Accepted(_)), "{results:?}");
    }
    assert_eq!(world.breaker().opened, 0);
}

#[test]
fn a_new_version_starts_with_a_closed_breaker() {
    let world = World::new("filter", LIMITS);
    (0..3).for_each(|_| drop(world.send("X")));
    let guest = Guest::new("filter", answer()).named("guest", "1.0.1");
    std::fs::write(world.registry.folder().join("guest.wasm"), guest.wasm()).unwrap();
    eventually("the new version serves", || matches!(world.send("X"), Ingested::Accepted(_)));
    assert_eq!(world.breaker().state, BreakerState::Closed);
}

#[test]
fn limits_that_break_their_rules_are_refused_by_name() {
    let guest = Guest::new("filter", answer());
    for (keys, message) in [
        ("failures = 1_000_001", "breaker.failures must be 0 (never) to 1000000, not 1000001"),
        ("window_ms = 0", "breaker.window_ms must be 1 to 3600000, not 0"),
        ("percent = 101", "breaker.percent must be 1 to 100, not 101"),
        ("rest_ms = 3_600_001", "breaker.rest_ms must be 1 to 3600000, not 3600001"),
        ("window = \"10s\"", "unknown field `window`"),
    ] {
        let refusal = refusal(&guest, &format!("[breaker]\n{keys}"));
        assert!(refusal.contains(message), "{refusal}");
    }
    let edges = "[breaker]\nfailures = 1_000_000\nwindow_ms = 3_600_000\npercent = 1\nrest_ms = 1";
    assert!(load(&guest, edges).is_ok());
}
