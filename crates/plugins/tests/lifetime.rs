//! What an instance remembers: over calls when it is shared, over one call when it is not.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use sawpit_plugins::{Chain, Ingested, Lifetime, Runtime};
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
