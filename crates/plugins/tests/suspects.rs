//! A guest that never comes back, on the logs of one device: what it costs the others.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sawpit_model::{Log, Timestamp};
use sawpit_plugins::{
    BreakerState, Chain, Ingested, Next, Passage, Plugin, Recorder, Runtime, RuntimeSettings,
};
use support::*;

/// Long, so that one deadline and two are far apart on any machine.
const DEADLINE: Duration = Duration::from_secs(2);
const MANIFEST: &str = "timeout_ms = 2000";

fn spinning() -> Guest {
    Guest::new("filter", on_letter('X', ENDLESS))
}

fn of(device: &str, message: &str) -> Log {
    Log { device_id: device.to_owned(), ..log(message) }
}

fn plugin(settings: RuntimeSettings, manifest: &str) -> Arc<Plugin> {
    load_with(&Runtime::new(settings).unwrap(), &spinning().wasm(), manifest).unwrap()
}

fn chain_of(plugin: &Arc<Plugin>) -> Arc<Chain> {
    Arc::new(Chain::new(vec![Arc::clone(plugin)]))
}

fn suspects(chain: &Chain, device: &str) -> bool {
    chain.suspects([of(device, "X")].iter())
}

fn passage(chain: &Arc<Chain>, logs: Vec<Log>) -> Passage {
    let requests = vec![1; logs.len()];
    Passage::new(Arc::clone(chain), logs, &requests, Recorder::all())
}

#[test]
fn who_shares_a_call_with_a_culprit_waits_for_one_deadline_in_all() {
    let chain = chain_of(&plugin(settings(), MANIFEST));
    let logs = vec![of("good", "one"), of("bad", "X"), of("bad", "X"), of("other", "two")];
    let started = Instant::now();
    let parts = passage(&chain, logs).first().unwrap_err();
    let mut ends = Vec::new();
    for part in parts {
        assert_eq!(part.next, Next::Short);
        // As the host does: a device that was found to be slow is not tried again.
        let is_slow = part.passage.has_suspects();
        ends.push(if is_slow { Err(Box::new(part.passage)) } else { part.passage.short() });
    }
    // Tried together for seven eighths, and the culprit alone for one.
    let took = started.elapsed();
    assert!(took >= DEADLINE && took < DEADLINE * 9 / 8, "{took:?}");
    for good in [0, 3] {
        let finished = ends[good].as_ref().unwrap();
        assert!(matches!(finished.outcomes[..], [Ingested::Accepted(_)]), "{finished:?}");
        assert_eq!(finished.calls.len(), 2, "the call for all, and one alone: {:?}", finished.calls);
    }
    // The device's own logs get a definite answer, each after its own deadline.
    for bad in [1, 2] {
        let slow = std::mem::replace(&mut ends[bad], passage(&chain, Vec::new()).short()).unwrap_err();
        let finished = slow.last();
        assert!(
            matches!(&finished.outcomes[..], [Ingested::Failed { error, .. }] if error.contains("2000 ms")),
            "{finished:?}"
        );
    }
}

#[test]
fn a_suspect_is_called_apart_and_bypassed_alone_when_it_keeps_failing() {
    let now = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&now);
    let at = move || Timestamp::from_micros(clock.load(Ordering::Relaxed) * 1_000);
    let settings = RuntimeSettings { clock: Arc::new(at), ..settings() };
    let manifest = "timeout_ms = 20\n[breaker]\nfailures = 3\nwindow_ms = 10_000\nrest_ms = 5_000";
    let plugin = plugin(settings, manifest);
    let chain = chain_of(&plugin);
    assert!(!suspects(&chain, "bad"));
    let mixed = || vec![of("bad", "X"), of("good", "fine"), of("bad", "X")];
    let first = chain.ingest(mixed());
    assert!(matches!(&first[1], Ingested::Accepted(_)), "{first:?}");
    let second = chain.ingest(mixed());
    assert!(matches!(&second[1], Ingested::Accepted(_)), "{second:?}");
    assert!(suspects(&chain, "bad") && !suspects(&chain, "good"));
    // Of these calls none is with the suspect.
    let mut recorder = Recorder::all();
    let outcomes = chain.ingest_recorded(mixed(), &mut recorder);
    let [call, ..] = &recorder.into_calls()[..] else { panic!("no call") };
    assert_eq!((call.size, call.error), (1, None), "only the good one: {call:?}");
    let bypassed = |outcome: &Ingested| matches!(outcome, Ingested::Failed { error, .. } if error.contains("bypassed") && error.contains("deadline"));
    assert!(bypassed(&outcomes[0]) && bypassed(&outcomes[2]), "{outcomes:?}");
    // Rested, one call probes it, and a window later it is a device like others.
    now.store(20_000, Ordering::Relaxed);
    assert!(matches!(chain.ingest(vec![of("bad", "mended")])[..], [Ingested::Accepted(_)]));
    assert!(!suspects(&chain, "bad"));
}

#[test]
fn one_device_alone_does_not_get_the_plugin_bypassed_for_the_others() {
    let manifest = "timeout_ms = 5\n[breaker]\nfailures = 3\nwindow_ms = 60_000\nrest_ms = 60_000";
    let plugin = plugin(settings(), manifest);
    let chain = chain_of(&plugin);
    // Not one good call among them.
    for _ in 0..10 {
        assert!(matches!(chain.ingest(vec![of("bad", "X"), of("bad", "X")])[0], Ingested::Failed { .. }));
    }
    assert!(matches!(chain.ingest(vec![of("good", "fine")])[..], [Ingested::Accepted(_)]));
    assert_eq!(plugin.breaker().state, BreakerState::Closed);
    // A plugin that loops for everybody is another matter.
    for device in ["one", "two", "three"] {
        drop(chain.ingest(vec![of(device, "X")]));
    }
    assert_eq!(plugin.breaker().state, BreakerState::Open);
}

/// Each device is a suspect by a try that was cut short before it uses up a whole deadline.
#[test]
fn a_plugin_that_loops_for_everybody_is_bypassed_in_the_hosts_own_way_too() {
    let manifest = "timeout_ms = 40\n[breaker]\nfailures = 3\nwindow_ms = 60_000\nrest_ms = 60_000";
    let plugin = plugin(settings(), manifest);
    let chain = chain_of(&plugin);
    let parts =
        passage(&chain, ["one", "two", "three"].map(|device| of(device, "X")).into()).first().unwrap_err();
    for part in parts {
        assert_eq!(plugin.breaker().state, BreakerState::Closed);
        drop(part.passage.short().unwrap_err().last());
    }
    assert_eq!(plugin.breaker().state, BreakerState::Open);
}

/// Who shared the call with it were not to blame, so none of them is a suspect; but the next may be like it.
#[test]
fn a_shared_call_that_used_up_its_time_makes_the_next_ones_short() {
    let plugin = plugin(settings(), "timeout_ms = 400\n[breaker]\nwindow_ms = 60_000");
    let chain = chain_of(&plugin);
    let requests = || passage(&chain, vec![of("one", "fine"), of("two", "X")]);
    let mut took = Vec::new();
    for _ in 0..2 {
        let started = Instant::now();
        drop(requests().first().unwrap_err());
        took.push(started.elapsed());
    }
    assert!(took[0] >= Duration::from_millis(350) && took[1] < Duration::from_millis(350), "{took:?}");
}

#[test]
fn who_leaves_takes_no_verdicts_of_others_along() {
    let settings = settings();
    let runtime = Runtime::new(settings).unwrap();
    let load = |guest: Guest, manifest| load_with(&runtime, &guest.wasm(), manifest).unwrap();
    let before = load(Guest::new("filter", answer()).named("before", "1.0.0"), "");
    let chain = Arc::new(Chain::new(vec![before, load(spinning(), "timeout_ms = 50")]));
    let parts = passage(&chain, vec![of("good", "one"), of("bad", "X")]).first().unwrap_err();
    let tallies: Vec<_> = parts.into_iter().map(|part| part.passage.leave()).collect();
    assert!(!tallies[0].is_empty() && tallies[1].is_empty(), "both logs' verdicts, once: {tallies:?}");
}

#[test]
fn the_number_of_suspects_is_limited() {
    for (suspect_devices, expected) in [(2, [true, true]), (1, [false, true])] {
        let mut settings = settings();
        settings.suspect_devices = suspect_devices;
        let chain = chain_of(&plugin(settings, "timeout_ms = 5"));
        for device in ["one", "two"] {
            assert!(matches!(chain.ingest(vec![of(device, "X")])[..], [Ingested::Failed { .. }]));
        }
        assert_eq!(["one", "two"].map(|device| suspects(&chain, device)), expected);
    }
}

#[test]
fn in_one_list_the_others_are_called_once_the_culprit_is_known() {
    let mut settings = settings();
    settings.isolate_timeout = Duration::from_millis(1);
    let chain = chain_of(&plugin(settings, "timeout_ms = 50"));
    let outcomes = chain.ingest(vec![of("bad", "X"), of("bad", "X"), of("good", "one"), of("other", "two")]);
    assert!(outcomes[..2].iter().all(|it| matches!(it, Ingested::Failed { .. })), "{outcomes:?}");
    assert!(outcomes[2..].iter().all(|it| matches!(it, Ingested::Accepted(_))), "{outcomes:?}");
}

#[test]
fn a_transformer_that_spins_is_called_apart_with_that_device() {
    let guest = Guest::new("transform", on_letter('X', ENDLESS));
    let chain = chain(&guest, "timeout_ms = 20");
    let mixed = || vec![of("bad", "X"), of("good", "fine")];
    let _first = chain.transform(mixed());
    let mut recorder = Recorder::all();
    let done = chain.transform_recorded(mixed(), &mut recorder);
    assert_eq!((done.outputs.len(), done.failed.len()), (1, 1), "{done:?}");
    let sizes: Vec<_> = recorder.into_calls().into_iter().map(|call| (call.size, call.error)).collect();
    assert_eq!(sizes, [(1, None), (1, Some("deadline"))]);
}

#[test]
fn a_shadow_that_spins_keeps_nobody_waiting_and_opens_its_breaker() {
    let manifest = "timeout_ms = 300\nmode = \"shadow\"\n[breaker]\nfailures = 2";
    let plugin = plugin(settings(), manifest);
    let chain = chain_of(&plugin);
    for _ in 0..2 {
        let finished = passage(&chain, vec![of("a", "X"), of("b", "fine")]).first().unwrap();
        assert!(finished.outcomes.iter().all(|it| matches!(it, Ingested::Accepted(_))));
        assert!(finished.calls.is_empty(), "it was not called before the answer");
        let shadows = finished.shadows.unwrap();
        assert_eq!(shadows.logs(), 2);
        let started = Instant::now();
        shadows.run();
        assert!(started.elapsed() >= Duration::from_millis(300), "it was not called at all");
    }
    // Two lists, each one call.
    assert_eq!(plugin.breaker().state, BreakerState::Open);
}
