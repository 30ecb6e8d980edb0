//! Guests that misbehave while they serve: only the log that made them do it suffers.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use sawpit_plugins::{Chain, Ingested, Runtime};
use support::*;

/// Runs good logs and one that sets the guest off; the error of that one.
fn culprit_fails(guest: &Guest, manifest: &str) -> String {
    let chain = chain(guest, manifest);
    let mut results = chain.ingest(logs(&["one", "two", "X", "four"]));
    let Ingested::Failed { plugin, error } = results.remove(2) else { panic!("the culprit did not fail") };
    assert_eq!(plugin, "guest");
    for (result, message) in results.iter().zip(["one", "two", "four"]) {
        assert!(matches!(result, Ingested::Accepted(log) if log.message == message), "{result:?}");
    }
    error
}

#[test]
fn an_endless_loop_ends_at_its_deadline_and_the_others_go_on() {
    let guest = Guest::new("filter", on_letter('X', ENDLESS));
    let started = Instant::now();
    let error = culprit_fails(&guest, "timeout_ms = 20");
    assert!(error.contains("deadline of 20 ms passed (timeout_ms in the manifest)"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_deadline_is_kept_to_within_a_few_ticks() {
    let chain = chain(&Guest::new("filter", on_letter('X', ENDLESS)), "timeout_ms = 100");
    let started = Instant::now();
    let result = chain.ingest(logs(&["X"]));
    let took = started.elapsed();
    assert!(matches!(result[0], Ingested::Failed { .. }));
    assert!(took >= Duration::from_millis(100), "too early: {took:?}");
    assert!(took < Duration::from_millis(1_000), "too late: {took:?}");
}

#[test]
fn a_slow_call_within_its_deadline_is_left_alone() {
    // A million turns: milliseconds.
    let turns = "(global.set $n (i32.const 1000000)) (loop $again (global.set $n (i32.sub (global.get $n) (i32.const 1))) (br_if $again (global.get $n)))";
    let mut guest = Guest::new("filter", on_letter('X', turns));
    guest.items = "(global $n (mut i32) (i32.const 0))".to_owned();
    let result = chain(&guest, "timeout_ms = 5000").ingest(logs(&["X"]));
    assert!(matches!(result[0], Ingested::Accepted(_)), "{result:?}");
}

#[test]
fn calls_one_by_one_after_a_failure_have_a_limit_together() {
    let mut settings = settings();
    settings.isolate_timeout = Duration::from_millis(100);
    settings.breaker.failures = 0;
    let runtime = Runtime::new(settings).unwrap();
    let guest = Guest::new("filter", on_letter('X', ENDLESS));
    let chain = Chain::new(vec![load_with(&runtime, &guest.wasm(), "timeout_ms = 20").unwrap()]);
    let started = Instant::now();
    let results = chain.ingest(logs(&["X"; 200]));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(
        matches!(&results[199], Ingested::Failed { error, .. } if error.contains("not tried alone")),
        "{results:?}"
    );
}

#[test]
fn memory_past_the_limit_is_refused_and_named() {
    // 33 MiB on top of two pages.
    let grow = "(if (i32.eq (memory.grow (i32.const 528)) (i32.const -1)) (then unreachable))";
    let guest = Guest::new("filter", on_letter('X', grow));
    let error = culprit_fails(&guest, "memory_mib = 32");
    assert!(error.contains("memory limit of 32 MiB"), "{error}");
    let allowed = chain(&guest, "memory_mib = 64").ingest(logs(&["X"]));
    assert!(matches!(allowed[0], Ingested::Accepted(_)), "{allowed:?}");
}

#[test]
fn an_instance_that_starts_above_the_limit_is_refused() {
    let mut guest = Guest::new("filter", answer());
    guest.items = "(memory $big 64)".to_owned();
    let refusal = refusal(&guest, "memory_mib = 1");
    assert!(refusal.contains("memory limit of 1 MiB") || refusal.contains("memories"), "{refusal}");
}

#[test]
fn a_trap_shows_the_last_words_without_a_grant_and_the_trace() {
    let mut guest = Guest::new(
        "filter",
        on_letter('X', "(call $log (i32.const 4) (i32.const 300) (i32.const 25)) (call $deep)"),
    );
    guest.imports =
        r#"(import "sawpit:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#.to_owned();
    guest.items = r#"(data (i32.const 300) "panicked at a.rs:1: boom!") (func $deep unreachable)"#.to_owned();
    let error = culprit_fails(&guest, "");
    assert!(error.starts_with("panicked at a.rs:1: boom!"), "{error}");
    assert!(error.contains("unreachable"), "{error}");
    assert!(error.contains("deep"), "{error}");
}

#[test]
fn an_instance_is_new_after_a_trap() {
    // It would trap again if the flag that the first trap left were still there.
    let mut guest = Guest::new(
        "filter",
        format!(
            "(if (global.get $broken) (then unreachable)) {}",
            on_letter('X', "(global.set $broken (i32.const 1)) unreachable")
        ),
    );
    guest.items = "(global $broken (mut i32) (i32.const 0))".to_owned();
    let chain = chain(&guest, "");
    assert!(matches!(chain.ingest(logs(&["X"]))[0], Ingested::Failed { .. }));
    assert!(matches!(chain.ingest(logs(&["fine"]))[0], Ingested::Accepted(_)));
}

#[test]
fn an_instance_is_replaced_after_its_calls_and_not_before() {
    // Drops (verdict 1 for one log) from the fourth call on; the trial is the first.
    let body = format!(
        "(if (i32.and (i32.ge_u (global.get $calls) (i32.const 4)) (i32.eq (i32.load (local.get $logs)) (i32.const 1))) (then (i32.store8 (i32.const 2048) (i32.const 1)) {} {})) {}",
        put(0, 2048),
        put(4, 1),
        answer()
    );
    let guest = Guest::new("filter", body);
    for (instance_calls, dropped) in [(3, false), (100, true)] {
        let mut settings = settings();
        settings.instance_calls = instance_calls;
        let runtime = Runtime::new(settings).unwrap();
        let chain = Chain::new(vec![load_with(&runtime, &guest.wasm(), "").unwrap()]);
        let any = (0..10).any(|_| matches!(chain.ingest(logs(&["x"]))[0], Ingested::Dropped { .. }));
        assert_eq!(any, dropped, "instance_calls = {instance_calls}");
    }
}

#[test]
fn an_instance_that_holds_much_memory_is_replaced() {
    // Grows by 1 MiB a call, and fails when it cannot: within 8 MiB that is after 7 calls.
    let body =
        format!("(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) {}", answer());
    let chain = chain(&Guest::new("filter", body), "memory_mib = 8");
    for _ in 0..50 {
        let result = chain.ingest(logs(&["x"]));
        assert!(matches!(result[0], Ingested::Accepted(_)), "{result:?}");
    }
}

#[test]
fn answers_that_break_the_contract_are_errors() {
    let wrong = |then: String| Guest::new("filter", on_letter('X', &then));
    let cases = [
        (put(0, 2048) + &put(4, 3), "verdicts has 3 entries, wanted"),
        // Ends go backwards for four rows: 5, 3.
        (
            put(8, 2048)
                + &put(12, 8)
                + &put(16, 3000)
                + &put(20, 1)
                + "(i32.store (i32.const 3000) (i32.const 9))",
            "reasons",
        ),
        // A row error out of range.
        (put(24, 3000) + &put(28, 1) + "(i32.store (i32.const 3000) (i32.const 77))", "errors names row 77"),
        // A list outside of the memory.
        (put(0, 0xffff_0000) + &put(4, 100_000), ""),
        // No such verdict.
        (put(0, 2048) + &put(4, 1) + "(i32.store8 (i32.const 2048) (i32.const 9))", ""),
    ];
    for (then, message) in cases {
        let error = culprit_fails(&wrong(then), "");
        assert!(error.contains(message), "{error} lacks {message}");
    }
}

/// Sets these four bytes, as WAT writes them, in a log alone in its call with the letter.
fn patching(letter: char, bytes: &str) -> Guest {
    let text = "(i32.store (i32.const 3000) (i32.const 4))".to_owned()
        + &put(0, 2048)
        + &put(4, 4)
        + &put(8, 3000)
        + &put(12, 1);
    let mut guest = Guest::new("enrich", on_letter(letter, &text));
    guest.items = format!("(data (i32.const 2048) \"{bytes}\")");
    guest
}

#[test]
fn a_version_whose_patches_are_no_objects_does_not_pass_the_trial() {
    let all = |bytes: &str| {
        let mut guest = Guest::new(
            "enrich",
            format!(
                "(local $at i32) (local $len i32) (local.set $len (i32.load (local.get $logs)))
                 (block $done (loop $next (br_if $done (i32.ge_u (local.get $at) (local.get $len)))
                   (local.set $at (i32.add (local.get $at) (i32.const 1)))
                   (i32.store (i32.add (i32.const 2996) (i32.mul (local.get $at) (i32.const 4)))
                              (i32.mul (local.get $at) (i32.const 2)))
                   (br $next)))
                 {} (i32.store (i32.const {}) (i32.mul (local.get $len) (i32.const 2))) {}
                 (i32.store (i32.const {}) (local.get $len)) i32.const {ANSWER}",
                put(0, 2048),
                ANSWER + 4,
                put(8, 3000),
                ANSWER + 12
            ),
        );
        guest.items = format!("(data (i32.const 2048) \"{}\")", bytes.repeat(5));
        guest
    };
    assert!(matches!(chain(&all("{}"), "").ingest(logs(&["x"]))[0], Ingested::Accepted(_)));
    let refused = refusal(&all("[]"), "");
    assert!(
        refused.contains("trial") && refused.contains("bad answer: set of row 0: the patch"),
        "{refused}"
    );
}

#[test]
fn patches_that_are_not_utf8_or_not_objects_are_errors() {
    let patch = |bytes: &str| patching('X', bytes);
    for (bytes, message) in [
        (r"\ff\fe\00\00", "row 0 of set is not UTF-8"),
        ("[1] ", "bad answer: set of row 0"),
        (r"{\22a\22", "bad answer: set of row 0"),
    ] {
        let results = chain(&patch(bytes), "").ingest(logs(&["X"]));
        assert!(
            matches!(&results[0], Ingested::Failed { error, .. } if error.contains(message)),
            "{results:?}"
        );
    }
    let results = chain(&patch("{}  "), "").ingest(logs(&["X"]));
    assert!(matches!(&results[0], Ingested::Accepted(_)), "{results:?}");
}

#[test]
fn answers_up_to_the_limit_are_taken_and_larger_ones_refused_by_name() {
    let mut settings = settings();
    settings.answer_bytes = 50_000;
    let runtime = Runtime::new(settings).unwrap();
    // So many bytes of reasons, and the list's one end.
    let answering = |bytes: u32| {
        let reasons = put(8, 65_536 - bytes) + &put(12, bytes);
        let guest = Guest::new("filter", on_letter('X', &reasons));
        let chain = Chain::new(vec![load_with(&runtime, &guest.wasm(), "").unwrap()]);
        chain.ingest(logs(&["X"])).remove(0)
    };
    assert!(matches!(answering(50_000), Ingested::Accepted(_)), "{:?}", answering(50_000));
    let Ingested::Failed { error, .. } = answering(50_001) else { panic!("it was taken") };
    assert!(error.contains("more than 50000 bytes (--plugin-answer-bytes)"), "{error}");
}

#[test]
fn a_list_of_half_a_gigabyte_is_refused_by_the_limit_on_answers() {
    // Memory that is there, so that only the limit on answers is broken.
    let grow = "(if (i32.eq (memory.grow (i32.const 8192)) (i32.const -1)) (then unreachable))";
    for (what, list) in [
        ("text", put(8, 65_536) + &put(12, 512 << 20)),
        // Row errors have 12 bytes each.
        ("list", put(24, 65_536) + &put(28, 40 << 20)),
    ] {
        let guest = Guest::new("filter", on_letter('X', &(grow.to_owned() + &list)));
        let error = culprit_fails(&guest, "memory_mib = 600\ntimeout_ms = 5000");
        assert!(error.contains("more than 67108864 bytes"), "{what}: {error}");
    }
}

#[test]
fn memory_grows_up_to_the_limit_exactly() {
    let grow = |pages: u32| {
        format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable))")
    };
    // Two pages are there from the start. One more than the limit is refused, and a guest may live with that.
    let refused = "(if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))";
    let guest = Guest::new("filter", on_letter('X', &(grow(32 * 16 - 2) + refused)));
    let result = chain(&guest, "memory_mib = 32").ingest(logs(&["X"]));
    assert!(matches!(result[0], Ingested::Accepted(_)), "{result:?}");
    let past = Guest::new("filter", on_letter('X', &grow(32 * 16 - 1)));
    let error = culprit_fails(&past, "memory_mib = 32");
    assert!(error.contains("memory limit of 32 MiB"), "{error}");
}

#[test]
fn with_pass_the_log_goes_on_as_it_came() {
    let guest = Guest::new("filter", on_letter('X', TRAP));
    let results = chain(&guest, "on_error = \"pass\"").ingest(logs(&["one", "X"]));
    assert_eq!(results, logs(&["one", "X"]).into_iter().map(Ingested::Accepted).collect::<Vec<_>>());
}

#[test]
fn a_shadow_is_called_and_changes_nothing() {
    let all = put(0, 2048) + &put(4, 1) + "(i32.store8 (i32.const 2048) (i32.const 2))";
    let guest = Guest::new("filter", on_letter('R', &all));
    let refused = chain(&guest, "").ingest(logs(&["R"]));
    assert!(matches!(&refused[0], Ingested::Rejected { .. }), "{refused:?}");
    let shadow = chain(&guest, "mode = \"shadow\"").ingest(logs(&["R"]));
    assert!(matches!(&shadow[0], Ingested::Accepted(_)), "{shadow:?}");
    let failing =
        chain(&Guest::new("filter", on_letter('X', TRAP)), "mode = \"shadow\"").ingest(logs(&["X"]));
    assert!(matches!(&failing[0], Ingested::Accepted(_)), "{failing:?}");
}

#[test]
fn only_logs_that_match_are_sent() {
    let guest = Guest::new("filter", on_letter('X', TRAP));
    for (manifest, sent) in [
        ("match = { device_id = \"sensor-*\" }", true),
        ("match = { device_id = [\"gate-*\", \"pump\"] }", false),
        ("match = { log_level = [\"info\", \"ERROR\"] }", true),
        ("match = { log_level = \"ERROR\" }", false),
    ] {
        let results = chain(&guest, manifest).ingest(logs(&["X"]));
        assert_eq!(matches!(results[0], Ingested::Failed { .. }), sent, "{manifest}");
    }
}

#[test]
fn columns_that_are_not_read_are_not_sent() {
    // Traps when the message column has any bytes.
    let body = format!("(if (i32.load offset=32 (local.get $logs)) (then unreachable)) {}", answer());
    let mut guest = Guest::new("filter", body);
    assert!(refusal(&guest, "").contains("trial"));
    guest.reads = 0b0_1011;
    assert!(matches!(chain(&guest, "").ingest(logs(&["x"]))[0], Ingested::Accepted(_)));
}

#[test]
fn many_threads_share_the_instances() {
    let mut settings = settings();
    settings.threads = 2;
    settings.instances = 2;
    settings.breaker.failures = 0;
    let runtime = Runtime::new(settings).unwrap();
    let guest = Guest::new("filter", on_letter('X', TRAP));
    let chain = Chain::new(vec![load_with(&runtime, &guest.wasm(), "").unwrap()]);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let chain = &chain;
            scope.spawn(move || {
                for call in 0..50 {
                    let message = if (thread + call) % 7 == 0 { "X" } else { "fine" };
                    let result = chain.ingest(logs(&[message]));
                    assert_eq!(matches!(result[0], Ingested::Failed { .. }), message == "X", "{result:?}");
                }
            });
        }
    });
}
