//! What counts as a difference of a plugin in shadow mode: what the chain would have made otherwise with it.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sawpit_plugins::{Chain, Ingested, Instead, Plugin, Recorder};
use support::*;

/// An enricher that sets this in each log with an X, which must be alone in its call.
fn patching(patch: &str) -> Guest {
    let len = u32::try_from(patch.len()).unwrap();
    let set = format!("(i32.store (i32.const 3000) (i32.const {len}))")
        + &put(0, 2048)
        + &put(4, len)
        + &put(8, 3000)
        + &put(12, 1);
    let mut guest = Guest::new("enrich", on_letter('X', &set));
    guest.items = format!("(data (i32.const 2048) \"{}\")", patch.replace('"', "\\22"));
    guest
}

/// A filter that gives this verdict (1: drop, 2: reject) on a log with the letter, alone in its call.
fn judging(letter: char, verdict: u8) -> Guest {
    let judge = put(0, 2048) + &put(4, 1) + &format!("(i32.store8 (i32.const 2048) (i32.const {verdict}))");
    Guest::new("filter", on_letter(letter, &judge))
}

/// A transformer that gives the one log of its call this message.
fn writing(message: &str) -> Guest {
    let len = u32::try_from(message.len()).unwrap();
    let word = |at: u32, word: u32| format!("(i32.store (i32.const {at}) (i32.const {word}))");
    let edit = format!("(i32.store8 (i32.const {ANSWER}) (i32.const 1))")
        + &[put(4, 3000), put(8, 1), word(3000, 0)].concat()
        + &[put(36, 3400), put(40, 1), word(3400, 0)].concat()
        + &[put(44, 320), put(48, len), put(52, 3500), put(56, 1), word(3500, len)].concat();
    let mut guest = Guest::new("transform", on_letter('X', &edit));
    guest.items = format!("(data (i32.const 320) \"{message}\")");
    guest
}

/// A chain of these, each with its manifest.
fn chain_of(guests: &[(&Guest, &str)]) -> (Chain, Vec<Arc<Plugin>>) {
    let runtime = runtime();
    let load = |(guest, manifest): &(&Guest, &str)| load_with(&runtime, &guest.wasm(), manifest).unwrap();
    let plugins: Vec<_> = guests.iter().map(load).collect();
    (Chain::new(plugins.clone()), plugins)
}

const SHADOW: &str = "mode = \"shadow\"";

/// How many of the logs the shadow at this place would have changed. Each is sent alone.
fn differences(guests: &[(&Guest, &str)], shadow: usize, messages: &[&str]) -> usize {
    let (chain, plugins) = chain_of(guests);
    for message in messages {
        let outcomes = chain.ingest(logs(&[message]));
        let done = chain.transform(logs(&[message]));
        assert_eq!((outcomes.len(), done.failed.len()), (1, 0));
    }
    plugins[shadow].differences().len()
}

#[test]
fn a_patch_that_sets_what_is_there_is_none() {
    // The logs of the tests have {"a":1}.
    for (patch, expected) in
        [(r#"{"a":1}"#, 0), (r#"{ "a" : 1 }"#, 0), ("{}", 0), (r#"{"a":2}"#, 1), (r#"{"b":1}"#, 1)]
    {
        assert_eq!(differences(&[(&patching(patch), SHADOW)], 0, &["X"]), expected, "{patch}");
    }
}

#[test]
fn a_version_that_does_what_the_active_one_does_differs_in_nothing() {
    let (old, new) = (patching(r#"{"b":2}"#), patching(r#"{"b":3}"#));
    for (guests, shadow, expected) in [
        ([(&old, ""), (&old, SHADOW)], 1, 0),
        ([(&old, SHADOW), (&old, "")], 0, 0),
        ([(&old, ""), (&new, SHADOW)], 1, 1),
        ([(&new, SHADOW), (&old, "")], 0, 1),
    ] {
        assert_eq!(differences(&guests, shadow, &["X"]), expected, "{shadow}");
    }
}

#[test]
fn a_verdict_is_held_against_the_end_of_the_logs_way() {
    for (active, shadow, expected) in [(1, 1, 0), (2, 2, 0), (1, 2, 1), (2, 1, 1)] {
        let (active, shadow) = (judging('X', active), judging('X', shadow));
        let found = differences(&[(&shadow, SHADOW), (&active, "")], 0, &["X", "fine"]);
        assert_eq!(found, expected);
    }
    // Behind the active one it gets only what that one accepted.
    assert_eq!(differences(&[(&judging('X', 1), ""), (&judging('X', 1), SHADOW)], 1, &["X"]), 0);
    assert_eq!(differences(&[(&judging('X', 1), ""), (&judging('f', 1), SHADOW)], 1, &["X", "fine"]), 1);
}

#[test]
fn an_edit_that_says_what_is_there_is_none() {
    assert_eq!(differences(&[(&writing("X"), SHADOW)], 0, &["X"]), 0);
    assert_eq!(differences(&[(&writing("other"), SHADOW)], 0, &["X"]), 1);
    let (same, other) = (writing("gone"), writing("lost"));
    assert_eq!(differences(&[(&same, SHADOW), (&same, "")], 0, &["X"]), 0);
    assert_eq!(differences(&[(&other, SHADOW), (&same, "")], 0, &["X"]), 1);
    // And it is no change to those who count the verdicts of a plugin that serves.
    let (chain, _) = chain_of(&[(&writing("X"), "")]);
    let mut recorder = Recorder::off();
    let _done = chain.transform_recorded(logs(&["X"]), &mut recorder);
    let verdicts = recorder.take_verdicts();
    assert_eq!((verdicts.plugins()[0].accepted, verdicts.plugins()[0].changed), (1, 0));
}

#[test]
fn what_differs_is_kept_as_the_shadow_found_it() {
    let (first, second) = (patching(r#"{"b":2}"#), patching(r#"{"b":3}"#));
    let (chain, plugins) = chain_of(&[(&first, ""), (&second, SHADOW)]);
    let outcomes = chain.ingest(logs(&["X"]));
    let [Ingested::Accepted(left)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(left.log_data.as_str(), r#"{"a":1,"b":2}"#);
    let kept = plugins[1].differences();
    assert_eq!(kept[0].log, *left);
    let Instead::Changed { logs } = &kept[0].instead else { panic!("{kept:?}") };
    assert_eq!(logs[0].log_data.get("b"), Some("3"));
}
