//! `POST /api/log`.

use sawpit_model::{BodyError, Level, Limits, Log, parse_log};

use crate::{NOW, limits, lines};

fn parse(body: &str) -> Result<Log, BodyError> {
    parse_log(body.as_bytes(), &limits(), NOW)
}

fn errors(body: &str) -> Vec<String> {
    match parse(body) {
        Err(BodyError::Fields(errors)) => lines(&errors),
        other => panic!("{body} gave {other:?}"),
    }
}

fn with(field: &str, value: &str) -> String {
    let value_of =
        |name: &str, default: &str| if name == field { value.to_owned() } else { default.to_owned() };
    format!(
        r#"{{"device_id":{},"log_level":{},"message":{},"log_data":{}}}"#,
        value_of("device_id", r#""d""#),
        value_of("log_level", r#""INFO""#),
        value_of("message", r#""m""#),
        value_of("log_data", "{}")
    )
}

#[test]
fn a_whole_log_is_taken_as_sent() {
    let log = parse(
        r#" {"log_data": {"b" : 1.50, "a":"\u00e9"}, "message":"a\tb", "log_level":"warning","device_id":"d-1"} "#,
    );
    let log = log.unwrap();
    assert_eq!(
        (log.device_id.as_str(), log.log_level, log.message.as_str()),
        ("d-1", Level::Warning, "a\tb")
    );
    assert_eq!(log.log_data.as_str(), r#"{"b" : 1.50, "a":"\u00e9"}"#);
    assert_eq!(log.received_at, NOW);
}

#[test]
fn log_data_may_be_left_out_or_null() {
    let without = r#"{"device_id":"d","log_level":"INFO","message":"m"}"#;
    for body in [without, &with("log_data", "null")] {
        assert_eq!(parse(body).unwrap().log_data.as_str(), "{}");
    }
}

#[test]
fn escaped_names_and_texts_mean_what_they_stand_for() {
    let log = parse(
        r#"{"\u0064evice_id":"\u00e9\ud83d\ude00","log_level":"inf\u006f","message":"\"\\\/\b\f\n\r\t"}"#,
    );
    let log = log.unwrap();
    assert_eq!((log.device_id.as_str(), log.log_level), ("é😀", Level::Info));
    assert_eq!(log.message, "\"\\/\u{8}\u{c}\n\r\t");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = errors(r#"{"log_level":"LOUD","message":"","log_data":[],"levle":1}"#);
    assert_eq!(
        found,
        [
            "levle: is unknown: the fields are device_id, log_level, message, log_data",
            "device_id: is required",
            "log_level: must be DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case, not \"LOUD\"",
            "message: must be 1 to 10 bytes of UTF-8, but has 0",
            "log_data: must be an object, not an array",
        ]
    );
}

#[test]
fn at_most_sixteen_mistakes_are_told() {
    let of = |unknown: usize| format!("{{{}}}", vec!["\"x\":1"; unknown].join(","));
    // Three fields are required besides.
    assert_eq!(errors(&of(12)).len(), 15);
    assert_eq!(errors(&of(14)).len(), 16);
    assert_eq!(errors(&of(50)).len(), 16);
}

#[test]
fn a_field_given_twice_is_refused() {
    let twice = "must be given once, but is given more than once";
    let body = r#"{"device_id":"a","device\u005fid":"b","log_level":"INFO","message":"m"}"#;
    assert_eq!(errors(body), [format!("device_id: {twice}")]);
}

#[test]
fn wrong_types_name_the_expected_one() {
    for (value, kind) in [
        ("1", "a number"),
        ("-1", "a number"),
        ("null", "null"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ("[]", "an array"),
        ("{}", "an object"),
    ] {
        for field in ["device_id", "log_level", "message"] {
            assert_eq!(errors(&with(field, value)), [format!("{field}: must be a string, not {kind}")]);
        }
    }
    for (value, kind) in
        [("1", "a number"), ("\"{}\"", "a string"), ("true", "a boolean"), ("[{}]", "an array")]
    {
        assert_eq!(errors(&with("log_data", value)), [format!("log_data: must be an object, not {kind}")]);
    }
}

#[test]
fn texts_are_limited_in_bytes_of_utf8() {
    for (field, limit) in [("device_id", 8), ("message", 10)] {
        // Two bytes each in UTF-8; as escapes six each in JSON, which do not count.
        for letter in ["é", "\\u00e9"] {
            let text = letter.repeat(limit / 2);
            assert!(parse(&with(field, &format!("\"{text}\""))).is_ok(), "{field} {text}");
            let expected = format!("{field}: must be 1 to {limit} bytes of UTF-8, but has {}", limit + 1);
            assert_eq!(errors(&with(field, &format!("\"{text}x\""))), [expected]);
        }
        let expected = format!("{field}: must be 1 to {limit} bytes of UTF-8, but has 0");
        assert_eq!(errors(&with(field, "\"\"")), [expected]);
    }
}

#[test]
fn texts_no_database_holds_are_refused() {
    for field in ["device_id", "message"] {
        let nul = format!("{field}: must not contain NUL (\\u0000)");
        assert_eq!(errors(&with(field, r#""a\u0000""#)), [nul]);
        for half in [r#""\ud800""#, r#""\ud800x""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud800\n""#] {
            let lone =
                format!("{field}: must not contain half of a surrogate pair (\\ud800 to \\udfff alone)");
            assert_eq!(errors(&with(field, half)), [lone], "{half}");
        }
    }
    assert_eq!(errors(&with("log_data", r#"{"a":"\u0000"}"#)).len(), 1);
}

#[test]
fn a_device_id_can_be_seen_on_a_line() {
    for id in ["\\n", "a\\u0007", "\\u0085"] {
        let expected = "device_id: must not contain control characters";
        assert_eq!(errors(&with("device_id", &format!("\"{id}\""))), [expected]);
    }
    assert_eq!(errors(&with("device_id", "\"  \"")), ["device_id: must not consist of blanks only"]);
    assert!(parse(&with("device_id", "\" a \"")).is_ok());
    assert!(parse(&with("message", "\"  \\n\"")).is_ok());
}

#[test]
fn broken_json_is_refused_with_its_place() {
    for (body, at) in [
        ("", (1, 0)),
        ("{\n\"device_id\": }", (2, 14)),
        ("{\"a\":1,}", (1, 8)),
        ("{\"a\":01}", (1, 7)),
        ("{\"a\":\"\u{0}\"}", (1, 6)),
        ("{\"a\":\"\\x\"}", (1, 8)),
        ("{} {}", (1, 4)),
        ("{\"a\":NaN}", (1, 6)),
    ] {
        match parse(body) {
            Err(BodyError::Syntax { line, column, reason }) => {
                assert_eq!((line, column), at, "{body:?}: {reason}");
                assert!(!reason.is_empty() && !reason.contains("line"), "{reason}");
            }
            other => panic!("{body:?} gave {other:?}"),
        }
    }
}

#[test]
fn broken_utf8_is_refused_with_its_place() {
    let found = parse_log(b"{\"message\":\"\xff\"}", &limits(), NOW);
    assert_eq!(found, Err(BodyError::Utf8 { at: 12 }));
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    assert_eq!(parse("[]"), Err(BodyError::NotAnObject { found: "an array" }));
    assert_eq!(parse("\"{}\""), Err(BodyError::NotAnObject { found: "a string" }));
}

#[test]
fn the_body_is_limited() {
    let padded = |bytes| format!("{:bytes$}", with("", ""));
    assert!(parse(&padded(400)).is_ok());
    assert_eq!(parse(&padded(401)), Err(BodyError::TooLarge { bytes: 401, limit: 400 }));
}

#[test]
fn hostile_nesting_takes_no_stack() {
    let limits = Limits::default();
    for opener in ["[", "{\"a\":"] {
        let deep = opener.repeat(limits.body_bytes / opener.len());
        let found = parse_log(deep.as_bytes(), &limits, NOW);
        assert!(matches!(found, Err(BodyError::Syntax { .. })), "{found:?}");
    }
    // Well-formed, and hidden where it must be skipped, judged, or both.
    let nest = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    for field in ["device_id", "log_data", "unknown"] {
        let body = format!(r#"{{"{field}":{nest}}}"#);
        let found = parse_log(body.as_bytes(), &limits, NOW);
        assert!(matches!(found, Err(BodyError::Fields(_))), "{found:?}");
    }
}
