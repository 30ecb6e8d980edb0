//! A plugin that costs more than its manifest allows does not serve.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::fs;
use std::time::Duration;

use std::path::Path;

use sawpit_plugins::{Stage, bench};
use sawpit_testkit::{GUESTS, plugins_dir};
use support::*;
use tempfile::TempDir;

/// Some hundred thousand instructions where a message has an X.
fn dear_on_x() -> Guest {
    let mut guest = Guest::new("filter", on_letter('X', "(call $work)"));
    guest.items = "(func $work (local $left i32) (local.set $left (i32.const 50000))
        (loop $on (local.set $left (i32.sub (local.get $left) (i32.const 1))) (br_if $on (local.get $left))))"
        .to_owned();
    guest
}

fn budget(fuel: u64) -> String {
    format!("[budget]\nfuel_per_log = {fuel}")
}

/// What the bench says of the file, which is what a budget must be and no more.
fn held_to_its_cost(wasm: &Path) {
    let manifest = fs::read_to_string(wasm.with_extension("toml")).unwrap_or_default();
    let cost = bench(&settings(), wasm, None, Duration::ZERO).unwrap();
    let dearest = cost.stages.iter().map(|stage| stage.fuel_per_log).max().unwrap();
    assert!(dearest > 10, "{cost:?}");
    fs::write(wasm.with_extension("toml"), format!("{manifest}\n{}", budget(dearest))).unwrap();
    runtime().load(wasm).unwrap_or_else(|error| panic!("{dearest}: {error}"));
    fs::write(wasm.with_extension("toml"), format!("{manifest}\n{}", budget(dearest - 1))).unwrap();
    let refused = runtime().load(wasm).unwrap_err().to_string();
    let rule = format!("over the budget.fuel_per_log of {} in", dearest - 1);
    assert!(
        refused.contains(&format!("needs {dearest} fuel per log")) && refused.contains(&rule),
        "{refused}"
    );
}

#[test]
fn what_the_bench_counts_is_what_the_budget_allows() {
    let folder = TempDir::new().unwrap();
    let wasm = folder.path().join("guest.wasm");
    // Dear on its first calls, as an allocator is: the trial makes them, in the bench as well.
    let mut guest = dear_on_x();
    guest.body =
        format!("(if (i32.le_u (global.get $calls) (i32.const 2)) (then (call $work))) {}", answer());
    for guest in [guest, Guest::new("filter", answer())] {
        fs::write(&wasm, guest.wasm()).unwrap();
        fs::write(wasm.with_extension("toml"), "").unwrap();
        held_to_its_cost(&wasm);
    }
}

#[test]
fn the_examples_are_held_to_what_the_bench_says_of_them() {
    let folder = TempDir::new().unwrap();
    for name in GUESTS {
        let wasm = folder.path().join(name).with_extension("wasm");
        for extension in ["wasm", "toml"] {
            let file = plugins_dir().join(name).with_extension(extension);
            fs::copy(file, wasm.with_extension(extension)).unwrap();
        }
        held_to_its_cost(&wasm);
    }
}

#[test]
fn cases_that_fail_on_purpose_cost_nothing() {
    let folder = TempDir::new().unwrap();
    let wasm = folder.path().join("guest.wasm");
    fs::write(&wasm, Guest::new("filter", on_letter('X', TRAP)).wasm()).unwrap();
    let case = |message, verdict| {
        let log = format!(r#"{{"device_id":"d","log_level":"INFO","message":"{message}"}}"#);
        format!("{{\"name\":\"{message}\",\"log\":{log},\"expect\":{{\"verdict\":\"{verdict}\"}}}}\n")
    };
    for cases in [case("X", "fail") + &case("calm", "accept"), case("X", "fail")] {
        fs::write(wasm.with_extension("cases.ndjson"), cases).unwrap();
        fs::write(wasm.with_extension("toml"), "").unwrap();
        held_to_its_cost(&wasm);
    }
}

#[test]
fn golden_cases_say_which_logs_the_budget_is_for() {
    let folder = TempDir::new().unwrap();
    let wasm = folder.path().join("guest.wasm");
    fs::write(&wasm, dear_on_x().wasm()).unwrap();
    fs::write(wasm.with_extension("toml"), budget(100_000)).unwrap();
    let plugin = runtime().load(&wasm).expect("no sample has an X");
    assert_eq!(plugin.stages(), [Stage::Filter]);
    let case = |message| {
        format!(
            r#"{{"name":"{message}","log":{{"device_id":"d","log_level":"INFO","message":"{message}"}}}}"#
        )
    };
    fs::write(wasm.with_extension("cases.ndjson"), case("X")).unwrap();
    let refused = runtime().load(&wasm).unwrap_err().to_string();
    assert!(refused.contains("(the mean over 1 logs), over the budget.fuel_per_log of 100000"), "{refused}");
    fs::write(wasm.with_extension("cases.ndjson"), case("calm")).unwrap();
    assert!(runtime().load(&wasm).is_ok());
}
