//! What an instance remembers: over calls when it is shared, over one call when it is not.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sawpit_plugins::{Chain, Ingested, Lifetime, Passage, Recorder, Runtime};
use support::*;

/// Counts its calls in memory, and drops (verdict 1 for one log) from the second on.
fn counting() -> Guest {
    let body = format!(
        "(i32.store (i32.const 3000) (i32.add (i32.load (i32.const 3000)) (i32.const 1)))
         (if (i32.and (i32.ge_u (i32.load (i32.const 3000)) (i32.const 2)) (i32.eq (i32.load (local.get $logs)) (i32.const 1)))
           (then (i32.store8 (i32.const 2048) (i32.const 1)) {} {})) {}",
        put(0, 2048),
        put(4, 1),
        answer()
    );
    Guest::new("filter", body)
}

fn remembered(chain: &Chain) -> usize {
    let remembers = |_: &usize| matches!(chain.ingest(logs(&["x"]))[0], Ingested::Dropped { .. });
    (0..20).filter(remembers).count()
}

#[test]
fn a_shared_instance_remembers_and_one_per_request_does_not() {
    // The trial was the first call of the shared one.
    for manifest in ["", "instance = \"shared\""] {
        assert_eq!(remembered(&chain(&counting(), manifest)), 20, "{manifest}");
    }
    assert_eq!(remembered(&chain(&counting(), "instance = \"per-request\"")), 0);
}

#[test]
fn nothing_crosses_when_many_threads_call_at_once() {
    let chain = &chain(&counting(), "instance = \"per-request\"");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| remembered(chain))).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 0));
    });
}

#[test]
fn instances_per_request_give_their_slots_back() {
    let mut settings = settings();
    settings.threads = 1;
    settings.instances = 1;
    let runtime = Runtime::new(settings).unwrap();
    let plugin = load_with(&runtime, &counting().wasm(), "instance = \"per-request\"").unwrap();
    assert_eq!(plugin.manifest().instance, Lifetime::PerRequest);
    assert_eq!(remembered(&Chain::new(vec![plugin])), 0);
}

#[test]
fn another_word_is_refused() {
    let refusal = refusal(&counting(), "instance = \"per-log\"");
    assert!(refusal.contains("unknown variant `per-log`"), "{refusal}");
}

/// Drops each log of a call but its first: what comes first in an instance changes what becomes of the others.
fn carrying() -> Guest {
    let rows = "(i32.load (local.get $logs))";
    let drops = format!(
        "(memory.fill (i32.const 2048) (i32.const 1) {rows}) (i32.store8 (i32.const 2048) (i32.const 0))
         {} (i32.store (i32.const {}) {rows}) {}",
        put(0, 2048),
        ANSWER + 4,
        answer()
    );
    Guest::new("filter", drops)
}

fn of(devices: &[&str]) -> Vec<sawpit_model::Log> {
    devices.iter().map(|device| sawpit_model::Log { device_id: (*device).to_owned(), ..log("x") }).collect()
}

/// Which logs were the first that an instance saw.
fn firsts(outcomes: &[Ingested]) -> Vec<bool> {
    outcomes.iter().map(|outcome| matches!(outcome, Ingested::Accepted(_))).collect()
}

#[test]
fn nothing_crosses_from_one_tenant_to_another_in_one_list() {
    let devices = ["a", "b", "a", "b", "b"];
    let shared = chain(&carrying(), "");
    assert_eq!(firsts(&shared.ingest(of(&devices))), [true, false, false, false, false]);
    let apart = chain(&carrying(), "instance = \"per-request\"");
    assert_eq!(firsts(&apart.ingest(of(&devices))), [true, true, false, false, false]);
}

#[test]
fn requests_that_share_a_list_share_no_instance() {
    for (manifest, expected) in
        [("", [true, false, false, false]), ("instance = \"per-request\"", [true, false, true, true])]
    {
        let chain = Arc::new(chain(&carrying(), manifest));
        // Of one device, but posted by three.
        let passage = Passage::new(chain, of(&["a"; 4]), &[2, 1, 1], Recorder::off());
        assert_eq!(firsts(&passage.first().unwrap().outcomes), expected, "{manifest}");
    }
}

#[test]
fn the_devices_of_a_batch_share_no_instance() {
    let calls = |manifest: &str| {
        let mut recorder = Recorder::all();
        let logs = of(&["a", "b", "a"]);
        let done =
            chain(&Guest::new("transform", answer()), manifest).transform_recorded(logs, &mut recorder);
        assert_eq!(done.outputs.len(), 3);
        let calls = recorder.into_calls().into_iter();
        calls.map(|call| call.logs.into_iter().map(|(log, _)| log).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    assert_eq!(calls(""), [vec![0, 1, 2]]);
    assert_eq!(calls("instance = \"per-request\""), [vec![0, 2], vec![1]]);
}
