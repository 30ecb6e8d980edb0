//! A plugin that costs more than its manifest allows does not serve.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::fs;
use std::time::Duration;

use sawpit_plugins::{Stage, bench, sample_logs};
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

#[test]
fn what_the_bench_counts_is_what_the_budget_allows() {
    let folder = TempDir::new().unwrap();
    let wasm = folder.path().join("guest.wasm");
    fs::write(&wasm, Guest::new("filter", answer()).wasm()).unwrap();
    let cost = bench(&settings(), &wasm, &sample_logs(), Duration::ZERO).unwrap();
    let fuel = cost.stages[0].fuel_per_log;
    assert!(fuel > 10, "{fuel}");
    assert!(load(&Guest::new("filter", answer()), &budget(fuel)).is_ok());
    let refused = refusal(&Guest::new("filter", answer()), &budget(fuel - 1));
    let rule = format!(
        "filter needs {fuel} fuel per log (the mean over 5 logs), over the budget.fuel_per_log of {} in guest.toml",
        fuel - 1
    );
    assert_eq!(refused, rule);
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
