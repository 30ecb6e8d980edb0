//! The stages as an author meets them: from a plugin's answer to what the host is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use proptest::prelude::*;
use sawpit_plugin::testing::{self, Sample};
use sawpit_plugin::{
    Batch, Edit, Enrich, Fields, Filter, Level, Log, NoConfig, Outputs, Patch, Plugin, Rewrite, Transform,
    Verdict, export, host,
};
use serde::Deserialize;
use serde_json::json;

/// Does what a log's message says.
struct Obedient;

impl Plugin for Obedient {
    const NAME: &'static str = "obedient";
    const VERSION: &'static str = "1.2.3";
    const HELP: &'static str = "Does what the message says";
    const READS: Fields = Fields::MESSAGE.union(Fields::LOG_DATA);
    type Config = NoConfig;

    fn new(_config: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Filter for Obedient {
    fn filter(&self, log: &Log<'_>) -> Result<Verdict, String> {
        match log.message().split_once(' ') {
            Some(("drop", reason)) => Ok(Verdict::drop(reason.to_owned())),
            Some(("reject", reason)) => Ok(Verdict::reject(reason.to_owned())),
            Some(("fail", message)) => Err(message.to_owned()),
            _ => Ok(Verdict::Accept),
        }
    }
}

impl Enrich for Obedient {
    fn enrich(&self, log: &Log<'_>) -> Result<Patch, String> {
        match log.message() {
            "nothing" => Ok(Patch::new()),
            "fail" => Err("as told".to_owned()),
            "device" => Ok(Patch::new().set("device", log.device_id())),
            _ => Ok(Patch::new().set("n", log.number("n")).set("at", log.index())),
        }
    }
}

impl Rewrite for Obedient {
    fn rewrite(&self, log: &Log<'_>, edit: &mut Edit<'_>) -> Result<(), String> {
        match log.message() {
            "shout" => edit.message("SHOUT").level(Level::Critical),
            "data" => edit.data(r#"{"a":1}"#).set("b", 2).set("c", [3]),
            "set" => edit.set("x", log.parse::<Vec<u8>>("list")),
            "fail" => {
                edit.message("forgotten");
                return Err("as told".to_owned());
            }
            "drop" => {
                edit.drop("as told");
                return Ok(());
            }
            _ => return Ok(()),
        };
        Ok(())
    }
}

export!(Obedient: filter, enrich, transform);

fn logs(messages: &[&str]) -> Vec<Sample> {
    messages
        .iter()
        .map(|message| Sample::new("d", Level::Info, message, r#"{"n":1.5,"list":[1,2]}"#))
        .collect()
}

#[test]
fn verdicts_keep_their_rows() {
    let verdicts = testing::filter::<Obedient>("{}", &logs(&["a", "drop x", "fail y", "reject zß", "b"]));
    let expected = [
        Ok(Verdict::Accept),
        Ok(Verdict::drop("x")),
        Err("y".to_owned()),
        Ok(Verdict::reject("zß")),
        Ok(Verdict::Accept),
    ];
    assert_eq!(verdicts, expected);
}

#[test]
fn patches_keep_their_rows() {
    let patches = testing::enrich::<Obedient>("{}", &logs(&["nothing", "x", "fail", "x"]));
    let expected = [
        Ok(json!({})),
        Ok(json!({"n": 1.5, "at": 1})),
        Err("as told".to_owned()),
        Ok(json!({"n": 1.5, "at": 3})),
    ];
    assert_eq!(patches, expected);
}

#[test]
#[should_panic(expected = "add Fields::DEVICE_ID to READS")]
fn a_column_that_was_not_asked_for_is_told() {
    testing::enrich::<Obedient>("{}", &logs(&["device"]));
}

#[test]
fn a_key_that_no_setting_has_is_told() {
    let error = testing::configure::<Obedient>(r#"{"colour": 1}"#).unwrap_err();
    assert_eq!(error, "wrong config: unknown field `colour`, there are no fields");
}

/// Has settings of several types.
struct Set;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    digits: u32,
    level: Option<Level>,
    limits: Vec<Limit>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether it is taken is looked at")]
struct Limit {
    above: f64,
}

impl Plugin for Set {
    const NAME: &'static str = "set";
    const VERSION: &'static str = "1.2.3";
    const HELP: &'static str = "Takes settings";
    const READS: Fields = Fields::empty();
    type Config = Settings;

    fn new(_config: Settings) -> Result<Self, String> {
        Ok(Self)
    }
}

#[test]
fn a_wrong_setting_is_told_with_its_key() {
    for (config, expected) in [
        (r#"{"digits": "one"}"#, r#"digits: invalid type: string "one", expected u32"#),
        (r#"{"digits": -1, "level": null}"#, "digits: invalid value: integer `-1`, expected u32"),
        (
            r#"{"level": "LOUD"}"#,
            r#"level: unknown level "LOUD": expected DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case"#,
        ),
        (
            r#"{"limits": [{"above": 1}, {"above": []}]}"#,
            "limits[1].above: invalid type: sequence, expected f64",
        ),
        (r#"{"limits": [{}]}"#, "limits[0]: missing field `above`"),
        (r#"{"digit": 1}"#, "unknown field `digit`, expected one of `digits`, `level`, `limits`"),
    ] {
        assert_eq!(testing::configure::<Set>(config), Err(format!("wrong config: {expected}")));
    }
    assert_eq!(testing::configure::<Set>(r#"{"digits": 1, "limits": []}"#), Ok(()));
}

#[test]
fn rewrites_edit_one_log_at_a_time() {
    let result = testing::transform::<Obedient>("{}", &logs(&["a", "shout", "data", "fail", "drop", "set"]));
    assert_eq!(result.failed, [(3, "as told".to_owned())]);
    assert_eq!(result.dropped, [(4, "as told".to_owned())]);
    let seen: Vec<_> = result
        .outputs
        .iter()
        .map(|it| (it.sources[0], it.log.message.as_str(), it.log.level, it.data()))
        .collect();
    let data = json!({"n": 1.5, "list": [1, 2]});
    assert_eq!(seen[0], (0, "a", Level::Info, data.clone()));
    assert_eq!(seen[1], (1, "SHOUT", Level::Critical, data));
    assert_eq!(seen[2], (2, "data", Level::Info, json!({"a": 1, "b": 2, "c": [3]})));
    assert_eq!(seen[3], (5, "set", Level::Info, json!({"n": 1.5, "list": [1, 2], "x": [1, 2]})));
}

/// Does with a batch what its settings say, step by step.
struct Script(Vec<Step>);

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Keep(usize),
    Edit(usize),
    Split(usize),
    Merge(usize, usize),
    Drop(usize),
    Fail(usize),
    Unwritable(usize),
}

impl Plugin for Script {
    const NAME: &'static str = "script";
    const VERSION: &'static str = "1.2.3";
    const HELP: &'static str = "Follows a script";
    const READS: Fields = Fields::empty();
    type Config = Vec<Step>;

    fn new(steps: Vec<Step>) -> Result<Self, String> {
        Ok(Self(steps))
    }
}

impl Transform for Script {
    fn transform(&self, batch: &Batch) -> Outputs {
        let mut outputs = batch.outputs();
        for (at, step) in self.0.iter().enumerate() {
            match *step {
                Step::Keep(input) => outputs.keep(input),
                Step::Edit(input) => drop(outputs.edit(input).message(format!("edited {at}"))),
                Step::Split(input) => drop(outputs.split(input).message(format!("split {at}"))),
                Step::Merge(into, input) => outputs.merge(into, input),
                Step::Drop(input) => outputs.drop(input, "why"),
                Step::Fail(input) => outputs.fail(input, "why"),
                Step::Unwritable(input) => {
                    outputs.edit(input).set("map", std::collections::BTreeMap::from([((), 1)]));
                }
            }
        }
        outputs
    }
}

fn script(steps: &serde_json::Value) -> testing::Transformed {
    testing::transform::<Script>(&steps.to_string(), &logs(&["0", "1", "2", "3"]))
}

fn shape(result: &testing::Transformed) -> Vec<(&str, Vec<usize>)> {
    result.outputs.iter().map(|it| (it.log.message.as_str(), it.sources.clone())).collect()
}

#[test]
fn a_log_that_is_not_mentioned_goes_on() {
    assert_eq!(script(&json!([])).outputs.len(), 4);
    assert_eq!(script(&json!([{"drop": 1}])).outputs.len(), 3);
}

#[test]
fn splits_follow_their_input_in_order() {
    let result = script(&json!([{"split": 2}, {"split": 0}, {"edit": 2}, {"split": 2}]));
    let expected = [
        ("0", vec![0]),
        ("split 1", vec![0]),
        ("1", vec![1]),
        ("edited 2", vec![2]),
        ("split 0", vec![2]),
        ("split 3", vec![2]),
        ("3", vec![3]),
    ];
    assert_eq!(shape(&result), expected);
}

#[test]
fn merges_are_followed_to_their_end() {
    let result = script(&json!([{"merge": [1, 0]}, {"merge": [3, 1]}]));
    assert_eq!(shape(&result), [("2", vec![2]), ("3", vec![3, 0, 1])]);
}

#[test]
fn merges_that_end_nowhere_fail_instead_of_losing_logs() {
    let circle = script(&json!([{"merge": [1, 0]}, {"merge": [0, 1]}, {"merge": [2, 2]}]));
    assert_eq!(circle.failed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 2]);
    let dropped = script(&json!([{"merge": [1, 0]}, {"drop": 1}]));
    assert_eq!(dropped.failed, [(0, "log 0 was merged into log 1, which is not kept".to_owned())]);
}

#[test]
fn the_last_word_counts_and_takes_the_splits_along() {
    let result = script(&json!([{"split": 0}, {"drop": 0}, {"drop": 1}, {"keep": 1}]));
    assert_eq!(shape(&result), [("1", vec![1]), ("2", vec![2]), ("3", vec![3])]);
}

#[test]
fn a_value_that_is_no_json_fails_its_log_only() {
    let result = script(&json!([{"unwritable": 1}, {"edit": 2}]));
    assert_eq!(result.outputs.len(), 3);
    assert!(result.failed[0].1.starts_with("cannot set \"map\""), "{:?}", result.failed);
}

#[test]
#[should_panic(expected = "the batch has 4 logs, there is no log 4")]
fn an_index_beyond_the_batch_is_told() {
    script(&json!([{"drop": 4}]));
}

#[test]
fn host_functions_can_be_watched() {
    host::count("seen", 2);
    host::count("seen", 1);
    testing::set_now(5);
    assert_eq!((testing::counter("seen"), testing::counter("other"), host::now()), (3, 0, 5));
}

proptest! {
    /// `testing::transform` itself checks that each log ends in exactly one way.
    #[test]
    fn whatever_is_said_every_log_is_accounted_for(steps in prop::collection::vec((0..7_u8, 0..4_usize, 0..4_usize), 0..12)) {
        let steps: Vec<_> = steps.into_iter().map(|(kind, a, b)| match kind {
            0 => json!({"keep": a}),
            1 => json!({"edit": a}),
            2 => json!({"split": a}),
            3 => json!({"merge": [a, b]}),
            4 => json!({"drop": a}),
            5 => json!({"fail": a}),
            _ => json!({"unwritable": a}),
        }).collect();
        script(&json!(steps));
    }
}
