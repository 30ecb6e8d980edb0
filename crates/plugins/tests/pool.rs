//! Components of many parts: each takes as many of the engine's slots as it holds, and who finds none waits.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sawpit_plugins::{Chain, Ingested, Runtime, RuntimeSettings};
use support::*;
use wit_component::ComponentEncoder;

/// A component of the guest with `more` instances of the core module `text` beside its own. What is added stands behind
/// the sections that are there: <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>.
fn with_more(guest: &Guest, text: &str, more: u8) -> Vec<u8> {
    let mut encoder = ComponentEncoder::default().module(&guest.wasm()).unwrap();
    let mut component = encoder.encode().unwrap();
    let index = u8::try_from(core_modules(&component)).unwrap();
    let module = wat::parse_str(text).unwrap();
    component.push(1);
    component.extend(leb(module.len()));
    component.extend(module);
    for _ in 0..more {
        // A section of one instance: of the module, with no arguments.
        component.extend([2, 4, 1, 0, index, 0]);
    }
    component
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// How many core modules the component holds: sections with the number 1.
fn core_modules(component: &[u8]) -> usize {
    let (mut at, mut count) = (8, 0);
    while at < component.len() {
        count += usize::from(component[at] == 1);
        let (mut size, mut shift) = (0, 0);
        loop {
            at += 1;
            size |= usize::from(component[at] & 127) << shift;
            shift += 7;
            if component[at] < 128 {
                break;
            }
        }
        at += 1 + size;
    }
    count
}

fn core_instances(more: u8) -> Vec<u8> {
    with_more(&Guest::new("filter", answer()), "(module)", more)
}

/// As many as a component may have: those of the guest itself are not the test's to know.
fn most_core_instances(runtime: &Runtime) -> u8 {
    (16..40).rev().find(|more| load_with(runtime, &core_instances(*more), "").is_ok()).unwrap()
}

fn small(instances: u32) -> Runtime {
    Runtime::new(RuntimeSettings { threads: 2, instances, ..settings() }).unwrap()
}

#[test]
fn a_component_has_at_most_32_core_instances() {
    let runtime = runtime();
    let most = most_core_instances(&runtime);
    assert!((24..32).contains(&most), "{most} beside those of the guest");
    let refused = load_with(&runtime, &core_instances(most + 1), "").unwrap_err().to_string();
    assert!(refused.contains("33 core module instances") && refused.contains("maximum of 32"), "{refused}");
}

/// All threads call, and keep instances warm, with no more slots than there must be.
fn serves_when_full(wasm: &[u8], manifest: &str) {
    let runtime = small(2);
    let plugin = load_with(&runtime, wasm, manifest).unwrap();
    let chain = &Chain::new(vec![Arc::clone(&plugin), load_with(&runtime, wasm, manifest).unwrap()]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let out = chain.ingest(logs(&["one", "two"]));
                    assert!(out.iter().all(|one| matches!(one, Ingested::Accepted(_))), "{out:?}");
                }
            });
        }
    });
}

#[test]
fn components_of_as_many_core_instances_as_may_be_serve_until_the_pool_is_full() {
    let most = most_core_instances(&runtime());
    for manifest in ["", "instance = \"per-request\""] {
        serves_when_full(&core_instances(most), manifest);
    }
}

#[test]
fn components_of_four_memories_or_eight_tables_serve_until_the_pool_is_full_and_more_are_refused() {
    let guest = Guest::new("filter", answer());
    for (text, name, rule) in [
        ("(module (memory 1))", "memories", "maximum of 4"),
        ("(module (table 1 funcref))", "tables", "maximum of 8"),
    ] {
        let runtime = runtime();
        let most =
            (1..10).rev().find(|more| load_with(&runtime, &with_more(&guest, text, *more), "").is_ok());
        let most = most.unwrap();
        serves_when_full(&with_more(&guest, text, most), "");
        let refused = load_with(&runtime, &with_more(&guest, text, most + 1), "").unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains(rule), "{refused}");
    }
}

/// Who finds no free instance in time is told so: the plugin is not at fault, and its breaker stays closed.
#[test]
fn a_full_pool_is_no_failure_of_the_plugin() {
    let mut settings = settings();
    (settings.threads, settings.instances) = (1, 1);
    (settings.start_timeout, settings.timeout) =
        (std::time::Duration::from_millis(20), std::time::Duration::from_secs(2));
    let runtime = Runtime::new(settings).unwrap();
    let endless = load_with(&runtime, &Guest::new("filter", on_letter('X', ENDLESS)).wasm(), "").unwrap();
    let other =
        load_with(&runtime, &core_instances(20), "instance = \"per-request\"\nbreaker.failures = 1").unwrap();
    let (busy, other) = (Chain::new(vec![endless]), Chain::new(vec![other]));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| busy.ingest(logs(&["X"])));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let out = other.ingest(logs(&["fine"]));
        let Ingested::Failed { error, .. } = &out[0] else { panic!("{out:?}") };
        assert!(error.contains("no free instance"), "{error}");
        call.join().unwrap();
    });
    assert!(matches!(other.ingest(logs(&["fine"]))[0], Ingested::Accepted(_)), "its breaker is closed");
}
