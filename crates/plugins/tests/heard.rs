//! What a plugin writes and counts is told to who looks on at its steps.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use sawpit_model::Level;
use sawpit_plugins::{Chain, Heard, Runtime};
use support::*;

/// Writes two lines for a log with an X, counts twice, and once under a name that no counter may have.
fn speaker() -> Guest {
    let line = "(call $write (i32.const 2) (i32.const 3000) (i32.const 5))";
    let add = |at: u32, by: u32| format!("(call $add (i32.const {at}) (i32.const 4) (i64.const {by}))");
    let body = line.repeat(2) + &add(3010, 1) + &add(3010, 2) + &add(3020, 1);
    Guest::new("filter", on_letter('X', &body)).speaking()
}

fn heard(lines: u32, grants: &str) -> Heard {
    let mut settings = settings();
    settings.log_lines = lines;
    let runtime = Runtime::new(settings).unwrap();
    let plugin = load_with(&runtime, &speaker().wasm(), &format!("grants = [{grants}]")).unwrap();
    let chain = Chain::new(vec![plugin]);
    assert_eq!(chain.explain(log("quiet")).steps[0].heard, Heard::default());
    drop(chain.ingest(logs(&["X"])));
    chain.explain(log("X")).steps[0].heard.clone()
}

#[test]
fn lines_are_told_with_their_level_and_whether_they_are_written() {
    let granted = heard(100, r#""counters", "log""#);
    let lines: Vec<_> =
        granted.lines.iter().map(|line| (line.level, line.text.as_str(), line.written)).collect();
    assert_eq!(lines, [(Level::Warning, "hello", true); 2]);
    assert!(heard(100, r#""counters""#).lines.iter().all(|line| !line.written));
    let few = heard(1, r#""counters", "log""#);
    assert_eq!((few.lines.len(), few.lines_left_out), (1, 1));
}

#[test]
fn counters_are_added_up_and_a_refused_name_is_told() {
    let counters = heard(100, r#""counters""#).counters;
    let told: Vec<_> = counters.iter().map(|counted| (counted.name.as_str(), counted.by)).collect();
    assert_eq!(told, [("seen", 3), ("Seen", 1)]);
    assert_eq!(counters[0].refused, None);
    let rule = counters[1].refused.as_deref().unwrap();
    assert!(rule.contains("lower-case letters"), "{rule}");
}
