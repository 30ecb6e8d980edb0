//! Limits of files and instances: what is within them serves, what is over them does not.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use sawpit_plugins::{Chain, Ingested, Runtime, RuntimeSettings};
use support::*;

fn with(change: impl FnOnce(&mut RuntimeSettings)) -> Runtime {
    let mut settings = settings();
    change(&mut settings);
    Runtime::new(settings).unwrap()
}

#[test]
fn a_manifest_may_be_so_large_and_no_larger() {
    let runtime = with(|settings| settings.manifest_bytes = 40);
    let (manifest, wasm) = (format!("#{}", "x".repeat(39)), Guest::new("filter", answer()).wasm());
    assert!(load_with(&runtime, &wasm, &manifest).is_ok());
    let refused = load_with(&runtime, &wasm, &(manifest + "x")).unwrap_err().to_string();
    assert!(refused.contains("larger than 40 bytes"), "{refused}");
}

#[test]
fn a_table_has_so_many_entries_and_not_one_more() {
    let table = |entries: u32| {
        let mut guest = Guest::new("filter", answer());
        guest.items = format!("(table {entries} funcref)");
        load(&guest, "")
    };
    assert!(table(100_000).is_ok());
    let refused = table(100_001).unwrap_err().to_string();
    assert!(refused.contains("100001") && refused.contains("100000"), "{refused}");
}

/// Calls itself so many times over for a message with an X.
fn recursion(depth: u32) -> Guest {
    let mut guest = Guest::new("filter", on_letter('X', &format!("(drop (call $deep (i32.const {depth})))")));
    guest.items = "(func $deep (param $left i32) (result i32)
        (if (result i32) (local.get $left)
            (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get $left) (i32.const 1)))))
            (else (i32.const 0))))"
        .to_owned();
    guest
}

#[test]
fn a_guest_may_call_itself_as_deep_as_its_stack_is() {
    let fine = chain(&recursion(2_000), "").ingest(logs(&["X"]));
    assert!(matches!(fine[0], Ingested::Accepted(_)), "{fine:?}");
    let deep = chain(&recursion(1_000_000), "").ingest(logs(&["X"]));
    let Ingested::Failed { error, .. } = &deep[0] else { panic!("{deep:?}") };
    assert!(error.contains("call stack exhausted"), "{error}");
}

/// Drops (verdict 1) a single log where its memory remembers a call before: it holds two pages, 128 KiB.
fn remembering() -> Guest {
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

#[test]
fn an_instance_is_kept_while_it_holds_no_more_than_its_share_of_the_limit() {
    // Of 1 MiB, 12.5 % are two pages.
    for (percent, is_kept) in [(14, true), (12, false)] {
        let runtime = with(|settings| settings.instance_memory_percent = percent);
        let plugin = load_with(&runtime, &remembering().wasm(), "memory_mib = 1").unwrap();
        let out = Chain::new(vec![plugin]).ingest(logs(&["one"]));
        assert_eq!(matches!(out[0], Ingested::Dropped { .. }), is_kept, "{percent} %: {out:?}");
    }
}

#[test]
fn what_takes_longer_than_its_proving_may_is_refused() {
    let case = r#"{"name":"x","log":{"device_id":"d","log_level":"INFO","message":"X"}}"#;
    let folder = tempfile::TempDir::new().unwrap();
    let wasm = folder.path().join("guest.wasm");
    std::fs::write(&wasm, recursion(1_000).wasm()).unwrap();
    std::fs::write(wasm.with_extension("cases.ndjson"), case).unwrap();
    let within =
        |millis| with(|settings| settings.proving_timeout = std::time::Duration::from_millis(millis));
    assert!(within(60_000).load(&wasm).is_ok());
    std::fs::write(&wasm, Guest::new("filter", on_letter('X', ENDLESS)).wasm()).unwrap();
    std::fs::write(wasm.with_extension("toml"), "timeout_ms = 60000").unwrap();
    let refused = within(300).load(&wasm).unwrap_err().to_string();
    assert!(
        refused.starts_with("it was not proved within 300 ms (plugin-proving-timeout): 1 of 1 cases"),
        "{refused}"
    );
}

/// What is written to the log, as bytes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many lines two calls leave in the log, each of so many lines, when a call may write so many.
fn lines_of_two_calls(each: u32, limit: u32) -> usize {
    let write = "(call $write (i32.const 1) (i32.const 3000) (i32.const 5))".repeat(each as usize);
    let mut guest = Guest::new("filter", on_letter('X', &write));
    guest.imports =
        r#"(import "sawpit:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#.to_owned();
    guest.items = r#"(data (i32.const 3000) "hello")"#.to_owned();
    let runtime = with(|settings| settings.log_lines = limit);
    let plugin = load_with(&runtime, &guest.wasm(), r#"grants = ["log"]"#).unwrap();
    let (lines, chain) = (Lines::default(), Chain::new(vec![plugin]));
    let to = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..2 {
            let out = chain.ingest(logs(&["X"]));
            assert!(matches!(out[0], Ingested::Accepted(_)), "{out:?}");
        }
    });
    let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    written.lines().filter(|line| line.contains("hello")).count()
}

#[test]
fn a_call_writes_so_many_lines_to_the_log_and_more_are_left_out() {
    assert_eq!(lines_of_two_calls(3, 3), 6);
    assert_eq!(lines_of_two_calls(4, 3), 6, "the fourth of each call is left out");
    assert_eq!(lines_of_two_calls(1, 0), 0);
}
