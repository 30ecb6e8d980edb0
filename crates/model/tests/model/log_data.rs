//! What `log_data` may be.

use sawpit_model::{Limits, RawObject, RawObjectError};

use crate::limits;

fn parse(text: &str) -> Result<RawObject, RawObjectError> {
    RawObject::parse(text, &limits())
}

fn kept(text: &str) -> String {
    RawObject::parse(text, &Limits::default()).unwrap().as_str().to_owned()
}

#[test]
fn the_text_is_kept_as_it_is() {
    for text in [
        "{}",
        "{ }",
        "{\n\t\"a\" : [ 1 , 2.50 , -0 , 1E5 ] }",
        r#"{"a":{"a":{"a":1}},"b":"a","c":["a","a"]}"#,
        r#"{"":0,"é":"\u00e9\ud83d\ude00","q":"\"}]{[,:"}"#,
        r#"{"a":true,"b":false,"c":null}"#,
        r#"{"a":[{"x":1},{"x":2}],"x":[]}"#,
    ] {
        assert_eq!(kept(text), text);
    }
    assert_eq!(kept(" \n{\"a\": 1}\t"), "{\"a\": 1}");
}

#[test]
fn of_duplicate_keys_the_last_wins() {
    for (sent, expected) in [
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        (r#"{"a":1, "b":2, "a":3}"#, r#"{"b":2, "a":3}"#),
        (r#"{"a":1,"a":2,"a":3}"#, r#"{"a":3}"#),
        (r#"{"a":1,"\u0061":2}"#, r#"{"\u0061":2}"#),
        (r#"{"\u0061":1,"a":2,"b":3}"#, r#"{"a":2,"b":3}"#),
        (r#"{"\u00e9":1,"é":2}"#, r#"{"é":2}"#),
        (r#"{"x":[{"a":1,"a":[2]}]}"#, r#"{"x":[{"a":[2]}]}"#),
        (r#"{"x":{"a":1,"a":2},"x":{"b":1,"b":2}}"#, r#"{"x":{"b":2}}"#),
        (r#"{"x":{"a":1,"a":2},"y":{"a":3,"a":4}}"#, r#"{"x":{"a":2},"y":{"a":4}}"#),
        (r#"{"a":"a","A":"a","a ":1}"#, r#"{"a":"a","A":"a","a ":1}"#),
        (r#"{"":1,"":2}"#, r#"{"":2}"#),
    ] {
        assert_eq!(kept(sent), expected, "{sent}");
    }
}

#[test]
fn duplicates_are_found_among_many_keys() {
    let members: Vec<_> = (0..100).map(|i| format!("\"k{i}\":{i}")).collect();
    let unique = format!("{{{}}}", members.join(","));
    assert_eq!(kept(&unique), unique);
    assert_eq!(kept(&format!("{{\"k99\":0,{}", &unique[1..])), unique);
}

#[test]
fn the_size_is_limited() {
    let of = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert!(parse(&of(40)).is_ok());
    assert_eq!(parse(&of(41)), Err(RawObjectError::TooLong { bytes: 41, limit: 40 }));
}

#[test]
fn the_depth_is_limited() {
    assert!(parse(r#"{"a":[{"b":[]}]}"#).is_ok());
    assert!(parse(r#"{"a":[[[]],[[]]]}"#).is_ok());
    assert_eq!(parse(r#"{"a":[{"b":[{}]}]}"#), Err(RawObjectError::TooDeep { limit: 4 }));
}

#[test]
fn numbers_are_limited_in_length() {
    assert!(parse(r#"{"a":123456789012}"#).is_ok());
    assert_eq!(
        parse(r#"{"a":1234567890.12}"#),
        Err(RawObjectError::NumberTooLong { at: 5, bytes: 13, limit: 12 })
    );
}

#[test]
fn numbers_are_limited_to_what_a_float_holds() {
    let many = "9".repeat(309);
    let large = "1".repeat(309);
    let tiny = format!("0.{}1", "0".repeat(900));
    for fits in ["1.7976931348623157e308", "-1e308", "5e-324", "1E-324", "0e308", "1e+5", &large, &tiny] {
        assert_eq!(kept(&format!("{{\"a\":{fits}}}")), format!("{{\"a\":{fits}}}"));
    }
    for beyond in
        ["1e400", "-1e309", "1.8e308", "1e-325", "0e309", "0e-99999", "1e99999999999", "12e308", &many]
    {
        let found = RawObject::parse(&format!("{{\"a\":[{beyond}]}}"), &Limits::default());
        assert_eq!(found, Err(RawObjectError::NumberRange { at: 6 }), "{beyond}");
    }
}

#[test]
fn decimals_are_limited_to_what_numeric_holds() {
    let limits = Limits { number_bytes: 20_000, ..Limits::default() };
    let parse = |decimals| RawObject::parse(&format!("{{\"a\":0.{}}}", "0".repeat(decimals)), &limits);
    assert!(parse(16_383).is_ok());
    assert_eq!(parse(16_384), Err(RawObjectError::NumberRange { at: 5 }));
}

#[test]
fn strings_that_no_database_holds_are_refused() {
    for (text, at) in [(r#"{"a":"x\u0000"}"#, 7), (r#"{"\u0000":1}"#, 2), (r#"{"a":[{"b\u0000":1}]}"#, 9)] {
        assert_eq!(parse(text), Err(RawObjectError::Nul { at }), "{text}");
    }
    for (text, at) in [
        (r#"{"a":"\ud800"}"#, 6),
        (r#"{"\udfff":1}"#, 2),
        (r#"{"a":"\ud83dx\ude00"}"#, 6),
        (r#"{"a":"\\\ud83d\n"}"#, 8),
    ] {
        assert_eq!(parse(text), Err(RawObjectError::LoneSurrogate { at }), "{text}");
    }
    assert!(parse(r#"{"a":"\\u0000 \\ud800"}"#).is_ok());
}

#[test]
fn only_an_object_is_one() {
    assert_eq!(parse("[1]"), Err(RawObjectError::NotAnObject { found: "an array" }));
    for text in ["", "{", "{\"a\":}", "{} x", "{a:1}", "{'a':1}", "{\"a\":1 \"b\":2}"] {
        assert!(matches!(parse(text), Err(RawObjectError::Syntax(_))), "{text}");
    }
}

#[test]
fn members_are_found_by_their_name() {
    let object = RawObject::from_trusted(r#"{ "a" : [1, {"b":2}], "\u0062":"}" , "":null}"#);
    assert_eq!(object.get("a"), Some(r#"[1, {"b":2}]"#));
    assert_eq!(object.get("b"), Some("\"}\""));
    assert_eq!(object.get(""), Some("null"));
    assert_eq!(object.get("c"), None);
    let keys: Vec<_> = object.members().map(|(key, _)| key).collect();
    assert_eq!(keys, ["\"a\"", "\"\\u0062\"", "\"\""]);
    assert!(!object.is_empty() && RawObject::default().is_empty());
}

#[test]
fn it_is_written_as_json_byte_for_byte() {
    let object = parse("{\"a\":\n1.0e+1 ,\"b\":\"\\u00e9\"}").unwrap();
    assert_eq!(serde_json::to_string(&object).unwrap(), object.as_str());
    assert_eq!(serde_json::to_string(&(1, &object)).unwrap(), format!("[1,{object}]"));
    assert_eq!(serde_json::to_value(&object).unwrap()["b"], "é");
    assert_eq!(serde_json::from_str::<RawObject>(object.as_str()).unwrap(), object);
    assert!(serde_json::from_str::<RawObject>("[]").is_err());
}
