//! The worker's stage: what a transformer may do to a batch, and what it may not.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod support;

use sawpit_plugins::{Chain, Instead, Recorder, Transformed};
use support::*;

/// A list at `to`: address and length in the answer, its words in memory.
fn list(offset: u32, to: u32, len: u32, words: &[u32]) -> String {
    let stores: String = words
        .iter()
        .enumerate()
        .map(|(i, word)| format!("(i32.store (i32.const {}) (i32.const {word}))", to as usize + 4 * i))
        .collect();
    put(offset, to) + &put(offset + 4, len) + &stores
}

const ORIGINS: u32 = 4;
const MERGED: u32 = 12;
const DROPPED: u32 = 20;
const LEVELS: u32 = 28;
const MESSAGES: u32 = 36;
const LOG_DATA: u32 = 60;
const SET: u32 = 84;
const ERRORS: u32 = 108;

fn changed() -> String {
    format!("(i32.store8 (i32.const {ANSWER}) (i32.const 1))")
}

/// A transformer that does this to a batch with an X, and nothing to others.
fn guest(changes: &[String]) -> Guest {
    let mut guest = Guest::new("transform", on_letter('X', &(changed() + &changes.concat())));
    guest.items = r#"(data (i32.const 300) "reason") (data (i32.const 320) "NEW text") (data (i32.const 340) "{\"b\":2}")
        (data (i32.const 360) "[1,2]")"#
        .to_owned();
    guest
}

fn run(changes: &[String], messages: &[&str]) -> Transformed {
    chain(&guest(changes), "").transform(logs(messages))
}

fn shape(result: &Transformed) -> Vec<(String, Vec<usize>)> {
    result.outputs.iter().map(|output| (output.log.message.clone(), output.sources.clone())).collect()
}

fn as_shape(expected: &[(&str, &[usize])]) -> Vec<(String, Vec<usize>)> {
    expected.iter().map(|(message, sources)| ((*message).to_owned(), sources.to_vec())).collect()
}

#[test]
fn without_a_plugin_and_unchanged_the_batch_goes_on() {
    for chain in [Chain::empty(), chain(&guest(&[]), "")] {
        let result = chain.transform(logs(&["a", "b"]));
        assert_eq!(shape(&result), as_shape(&[("a", &[0]), ("b", &[1])]));
        assert!(result.dropped.is_empty() && result.failed.is_empty());
    }
}

fn everything() -> Vec<String> {
    vec![
        list(ORIGINS, 3000, 3, &[0, 0, 1]),
        list(MERGED, 3100, 1, &[2, 2]),
        list(DROPPED, 3200, 1, &[3, 300, 6]),
        list(LEVELS, 3300, 1, &[1, 4]),
        list(MESSAGES, 3400, 1, &[1]),
        list(MESSAGES + 8, 320, 8, &[]),
        list(MESSAGES + 16, 3500, 1, &[8]),
        list(SET, 3600, 1, &[2]),
        list(SET + 8, 340, 7, &[]),
        list(SET + 16, 3700, 1, &[7]),
    ]
}

#[test]
fn what_became_of_each_log_is_recorded() {
    let mut recorder = Recorder::all();
    let chain = chain(&guest(&everything()), "");
    let _done = chain.transform_recorded(logs(&["X", "b", "c", "d"]), &mut recorder);
    let _unchanged = chain.transform_recorded(logs(&["e"]), &mut recorder);
    let tally = recorder.take_verdicts();
    let [given] = tally.plugins() else { panic!("{tally:?}") };
    assert_eq!((given.accepted, given.changed, given.dropped, given.rejected), (1, 3, 1, 0));
    let [call, _] = &recorder.into_calls()[..] else { panic!("not two calls") };
    assert_eq!((call.plugin.as_str(), call.version.as_str(), call.size), ("guest", "1.0.0", 4));
    let verdicts: Vec<_> = call.logs.iter().map(|(log, verdict)| (*log, verdict.as_str())).collect();
    assert_eq!(verdicts, [(0, "changed"), (1, "changed"), (2, "changed"), (3, "dropped")]);
}

#[test]
fn split_merge_drop_and_edit() {
    let result = run(&everything(), &["X", "b", "c", "d"]);
    assert_eq!(shape(&result), as_shape(&[("X", &[0]), ("NEW text", &[0]), ("b", &[1, 2])]), "{result:?}");
    assert_eq!(result.outputs[1].log.log_level, sawpit_model::Level::Critical);
    assert_eq!(result.outputs[0].log.log_level, sawpit_model::Level::Info);
    assert_eq!(result.outputs[2].log.log_data.get("b"), Some("2"));
    assert_eq!(result.outputs[2].log.log_data.get("a"), Some("1"));
    let dropped: Vec<_> =
        result.dropped.iter().map(|dropped| (dropped.input, dropped.reason.as_str())).collect();
    assert_eq!(dropped, [(3, "reason")]);
    assert!(result.failed.is_empty());
}

#[test]
fn log_data_can_be_replaced() {
    let result = run(
        &[
            list(ORIGINS, 3000, 1, &[0]),
            list(LOG_DATA, 3400, 1, &[0]),
            list(LOG_DATA + 8, 340, 7, &[]),
            list(LOG_DATA + 16, 3500, 1, &[7]),
        ],
        &["X"],
    );
    assert_eq!(result.outputs[0].log.log_data.as_str(), "{\"b\":2}");
}

#[test]
fn answers_that_forget_or_confuse_inputs_fail_only_the_culprit() {
    let cases: [(&[String], &str); 10] = [
        (&[list(ORIGINS, 3000, 17, &[0; 17])], "origins has 17 entries, at most 16"),
        (&[list(DROPPED, 3200, 2, &[0, 300, 6, 0, 300, 6])], "dropped has 2 entries, at most 1"),
        (&[], "input 0 was forgotten"),
        (&[list(ORIGINS, 3000, 1, &[9])], "origins names input 9"),
        (&[list(ORIGINS, 3000, 1, &[0]), list(DROPPED, 3200, 1, &[0, 300, 6])], "both stored and dropped"),
        (&[list(ORIGINS, 3000, 1, &[0]), list(ERRORS, 3200, 1, &[0, 300, 6])], "both stored and failed"),
        (&[list(ORIGINS, 3000, 1, &[0]), list(MERGED, 3200, 1, &[5, 0])], "merged names output 5"),
        (&[list(ORIGINS, 3000, 1, &[0]), list(LEVELS, 3200, 1, &[1, 0])], "levels names output 1"),
        (
            &[
                list(ORIGINS, 3000, 1, &[0]),
                list(SET, 3400, 1, &[0]),
                list(SET + 8, 360, 5, &[]),
                list(SET + 16, 3500, 1, &[5]),
            ],
            "set of output 0",
        ),
        (
            &[
                list(ORIGINS, 3000, 1, &[0]),
                list(MESSAGES, 3400, 1, &[0]),
                list(MESSAGES + 16, 3500, 1, &[0]),
            ],
            "message of output 0: must not be empty",
        ),
    ];
    for (changes, message) in cases {
        let result = run(changes, &["a", "X", "c"]);
        assert_eq!(shape(&result), as_shape(&[("a", &[0]), ("c", &[2])]), "{message}");
        assert_eq!((result.failed.len(), result.failed[0].input), (1, 1), "{message}");
        assert!(result.failed[0].error.contains(message), "{} lacks {message}", result.failed[0].error);
    }
}

#[test]
fn a_log_may_be_split_up_to_the_limit() {
    let result = run(&[list(ORIGINS, 3000, 16, &[0; 16])], &["X"]);
    assert_eq!((result.outputs.len(), result.failed.len()), (16, 0));
}

#[test]
fn a_log_that_the_plugin_failed_on_is_failed_or_passed() {
    let changes = [list(ORIGINS, 3000, 1, &[1]), list(ERRORS, 3200, 1, &[0, 300, 6])];
    let rejected = chain(&guest(&changes), "").transform(logs(&["X", "b"]));
    assert_eq!(shape(&rejected), as_shape(&[("b", &[1])]));
    assert_eq!((rejected.failed[0].input, rejected.failed[0].error.as_str()), (0, "reason"));
    let passed = chain(&guest(&changes), "on_error = \"pass\"").transform(logs(&["X", "b"]));
    assert_eq!(shape(&passed), as_shape(&[("X", &[0]), ("b", &[1])]));
    assert!(passed.failed.is_empty());
}

#[test]
fn a_trap_fails_only_the_culprit() {
    let result = chain(&Guest::new("transform", on_letter('X', TRAP)), "").transform(logs(&["a", "X", "c"]));
    assert_eq!(shape(&result), as_shape(&[("a", &[0]), ("c", &[2])]));
    assert_eq!(result.failed[0].input, 1);
}

#[test]
fn logs_that_do_not_match_keep_their_places() {
    let changes = [list(ORIGINS, 3000, 2, &[0, 0])];
    let mut batch = logs(&["a", "X", "c"]);
    batch[1].device_id = "other".to_owned();
    let result = chain(&guest(&changes), "match = { device_id = \"other\" }").transform(batch);
    assert_eq!(shape(&result), as_shape(&[("a", &[0]), ("X", &[1]), ("X", &[1]), ("c", &[2])]));
}

#[test]
fn sources_follow_a_log_through_several_plugins() {
    let runtime = runtime();
    let merge =
        guest(&[list(ORIGINS, 3000, 1, &[0]), list(MERGED, 3100, 1, &[0, 1])]).named("merge", "1.0.0");
    let split = guest(&[list(ORIGINS, 3000, 2, &[0, 0])]).named("split", "1.0.0");
    let plugins = [merge, split].map(|guest| load_with(&runtime, &guest.wasm(), "").unwrap());
    let result = Chain::new(plugins.to_vec()).transform(logs(&["X", "b"]));
    assert_eq!(shape(&result), as_shape(&[("X", &[0, 1]), ("X", &[0, 1])]));
}

#[test]
fn a_failed_part_takes_the_other_parts_and_their_sources_with_it() {
    let runtime = runtime();
    // X is split; the second part gets another message, on which the next plugin fails.
    let split = guest(&[
        list(ORIGINS, 3000, 2, &[0, 0]),
        list(MERGED, 3100, 1, &[0, 1]),
        list(MESSAGES, 3400, 1, &[1]),
        list(MESSAGES + 8, 320, 8, &[]),
        list(MESSAGES + 16, 3500, 1, &[8]),
    ]);
    let fails = Guest::new("transform", on_letter('W', TRAP));
    let plugins = [split, fails].map(|guest| load_with(&runtime, &guest.wasm(), "").unwrap());
    let result = Chain::new(plugins.to_vec()).transform(logs(&["X", "b"]));
    assert!(result.outputs.is_empty(), "{result:?}");
    assert_eq!(result.failed.iter().map(|failed| failed.input).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_dropped_part_does_not_drop_the_log() {
    let runtime = runtime();
    let split = guest(&[
        list(ORIGINS, 3000, 2, &[0, 0]),
        list(MESSAGES, 3400, 1, &[1]),
        list(MESSAGES + 8, 320, 8, &[]),
        list(MESSAGES + 16, 3500, 1, &[8]),
    ]);
    let drops = Guest {
        body: on_letter(
            'W',
            &(changed() + &list(ORIGINS, 3000, 1, &[0]) + &list(DROPPED, 3200, 1, &[1, 300, 0])),
        ),
        ..Guest::new("transform", "")
    };
    let plugins = [split, drops].map(|guest| load_with(&runtime, &guest.wasm(), "").unwrap());
    let result = Chain::new(plugins.to_vec()).transform(logs(&["X"]));
    assert_eq!(shape(&result), as_shape(&[("X", &[0])]));
    assert!(result.dropped.is_empty() && result.failed.is_empty(), "{result:?}");
}

#[test]
fn a_shadow_transformer_changes_nothing() {
    let changes = [list(DROPPED, 3200, 1, &[0, 300, 6])];
    let result = chain(&guest(&changes), "mode = \"shadow\"").transform(logs(&["X"]));
    assert_eq!(shape(&result), as_shape(&[("X", &[0])]));
}

#[test]
fn what_a_shadow_transformer_would_have_done_is_kept() {
    let dropping = vec![list(DROPPED, 3200, 1, &[0, 300, 6]), list(ORIGINS, 3000, 1, &[1])];
    let splitting = vec![
        list(ORIGINS, 3000, 3, &[0, 0, 1]),
        list(LEVELS, 3300, 1, &[1, 4]),
        list(MESSAGES, 3400, 1, &[1]),
        list(MESSAGES + 8, 320, 8, &[]),
        list(MESSAGES + 16, 3500, 1, &[8]),
    ];
    let kept = |changes: &[String]| {
        let plugin = load(&guest(changes), "mode = \"shadow\"").unwrap();
        let result = Chain::new(vec![plugin.clone()]).transform(logs(&["X", "b"]));
        assert_eq!(shape(&result), as_shape(&[("X", &[0]), ("b", &[1])]));
        let mut kept = plugin.differences();
        assert_eq!((kept.len(), &kept[0].log), (1, &log("X")));
        kept.remove(0).instead
    };
    assert_eq!(kept(&dropping), Instead::Dropped { reason: "reason".to_owned() });
    let Instead::Changed { logs } = kept(&splitting) else { panic!("not changed") };
    let seen: Vec<_> = logs.iter().map(|log| (log.message.as_str(), log.log_level)).collect();
    assert_eq!(seen, [("X", sawpit_model::Level::Info), ("NEW text", sawpit_model::Level::Critical)]);
}
