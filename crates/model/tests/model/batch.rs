//! `POST /api/logs/batch`.

use sawpit_model::{BodyError, FieldError, Limits, Log, parse_batch};

use crate::{NOW, limits, lines};

const GOOD: &str = r#"{"device_id":"d","log_level":"INFO","message":"m"}"#;

fn parse(body: &str) -> Result<Vec<Result<Log, Vec<FieldError>>>, BodyError> {
    parse_batch(body.as_bytes(), &limits(), NOW)
}

fn batch(members: &[&str]) -> String {
    format!(r#"{{ "logs" : [ {} ] }}"#, members.join(" , "))
}

#[test]
fn a_bad_member_spoils_only_itself() {
    let found = parse(&batch(&[GOOD, r#"{"message":"m","log_data":3}"#, GOOD])).unwrap();
    assert_eq!(found.len(), 3);
    assert!(found[0].is_ok() && found[2].is_ok());
    assert_eq!(
        lines(found[1].as_ref().unwrap_err()),
        [
            "logs[1].device_id: is required",
            "logs[1].log_level: is required",
            "logs[1].log_data: must be an object, not a number",
        ]
    );
}

#[test]
fn a_member_of_a_wrong_type_spoils_only_itself() {
    for (member, kind) in [
        ("\"x\"", "a string"),
        ("\"\\ud800\"", "a string"),
        ("1e999", "a number"),
        ("null", "null"),
        ("[[{}]]", "an array"),
    ] {
        let found = parse(&batch(&[GOOD, member, GOOD])).unwrap();
        assert!(found[0].is_ok() && found[2].is_ok());
        assert_eq!(
            lines(found[1].as_ref().unwrap_err()),
            [format!("logs[1]: must be an object, not {kind}")]
        );
    }
}

#[test]
fn a_member_with_an_impossible_name_spoils_only_itself() {
    let found = parse(&batch(&[r#"{"\ud800":1}"#, GOOD])).unwrap();
    assert!(found[0].is_err() && found[1].is_ok());
}

#[test]
fn broken_syntax_in_any_member_refuses_the_body() {
    let found = parse(&batch(&[GOOD, "{\"device_id\"}"]));
    assert!(matches!(found, Err(BodyError::Syntax { line: 1, .. })), "{found:?}");
}

#[test]
fn the_envelope_must_hold_logs_alone() {
    let fields = |body: &str| match parse(body) {
        Err(BodyError::Fields(errors)) => lines(&errors),
        other => panic!("{body} gave {other:?}"),
    };
    assert_eq!(fields("{}"), ["logs: is required: an array of logs"]);
    assert_eq!(fields(r#"{"logs":{}}"#), ["logs: must be an array, not an object"]);
    assert_eq!(fields(r#"{"logs":null}"#), ["logs: must be an array, not null"]);
    let twice = format!(r#"{{"logs":[{GOOD}],"logs":[]}}"#);
    assert_eq!(fields(&twice), ["logs: must be given once, but is given more than once"]);
    let more = format!(r#"{{"logs":[{GOOD}],"log":[]}}"#);
    assert_eq!(fields(&more), ["log: is unknown: the fields are logs"]);
    assert_eq!(parse("[]"), Err(BodyError::NotAnObject { found: "an array" }));
}

#[test]
fn the_number_of_members_is_limited() {
    assert_eq!(parse(&batch(&[GOOD; 3])).unwrap().len(), 3);
    assert_eq!(parse(&batch(&[GOOD; 4])), Err(BodyError::BatchSize { found: 4, limit: 3 }));
    for empty in [r#"{"logs":[]}"#, r#"{"logs": [ ] }"#] {
        assert_eq!(parse(empty), Err(BodyError::BatchSize { found: 0, limit: 3 }));
    }
}

#[test]
fn a_thousand_members_pass_the_default_limits() {
    let limits = Limits::default();
    let parse = |count| parse_batch(batch(&vec![GOOD; count]).as_bytes(), &limits, NOW);
    assert!(parse(1_000).unwrap().iter().all(Result::is_ok));
    assert_eq!(parse(1_001), Err(BodyError::BatchSize { found: 1_001, limit: 1_000 }));
}

#[test]
fn one_member_does_not_see_the_keys_of_another() {
    // The second is refused in the middle of an object; what the check then knew must not reach the third.
    let with =
        |data: &str| format!(r#"{{"device_id":"d","log_level":"INFO","message":"m","log_data":{data}}}"#);
    let (first, broken) = (with(r#"{"a":1,"b":2}"#), with(r#"{"a":[{"a":"\u0000"}]}"#));
    let found = parse(&batch(&[&first, &broken, &first])).unwrap();
    assert!(found[1].is_err());
    assert_eq!(found[2].as_ref().unwrap().log_data.as_str(), r#"{"a":1,"b":2}"#);
}
