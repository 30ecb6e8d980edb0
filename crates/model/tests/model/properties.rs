//! What holds for any input.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use sawpit_model::{Entry, Level, Limits, Log, RawObject, Timestamp, parse_batch, parse_log};
use serde_json::{Map, Value};

use crate::NOW;

/// Texts without NUL, with many that need escapes, and few enough names that patches often meet.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[abcé\"\\\\\n\u{1}]{0,3}", any::<String>().prop_map(|text| text.replace('\0', "")),]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(text(), inner, 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    btree_map(text(), value(), 0..24).prop_map(|members| members.into_iter().collect())
}

/// The same JSON in another spelling: every character of every string escaped, white space everywhere.
fn respelt(value: &Value) -> String {
    let string = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{units}\"")
    };
    match value {
        Value::String(text) => string(text),
        Value::Array(elements) => {
            format!("[ {}\t]", elements.iter().map(respelt).collect::<Vec<_>>().join(" ,\n"))
        }
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| format!("{} : {}", string(key), respelt(value));
            format!("{{\r{} }}", members.iter().map(member).collect::<Vec<_>>().join(" , "))
        }
        scalar => scalar.to_string(),
    }
}

fn limits() -> Limits {
    Limits { log_data_bytes: usize::MAX, ..Limits::default() }
}

fn parsed(text: &str) -> RawObject {
    RawObject::parse(text, &limits()).unwrap()
}

fn meaning(object: &RawObject) -> Map<String, Value> {
    serde_json::from_str(object.as_str()).unwrap()
}

/// The text of an object with these members in this order, duplicates and all.
fn spelt(members: &[(String, Value)]) -> String {
    let member = |(key, value): &(String, Value)| format!("{}:{value}", Value::from(key.as_str()));
    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
}

proptest! {
    #[test]
    fn an_object_is_taken_unchanged(object in object()) {
        let value = Value::Object(object);
        for text in [value.to_string(), respelt(&value)] {
            let raw = parsed(&text);
            prop_assert_eq!(raw.as_str(), &text);
            prop_assert_eq!(&Value::Object(meaning(&raw)), &value);
        }
    }

    #[test]
    fn duplicates_mean_what_the_last_says(
        members in vec((text(), value()), 0..40),
        inner in vec(("[ab]", value()), 0..6),
    ) {
        let inner = spelt(&inner);
        let text = spelt(&members).replacen('{', &format!("{{\"i\":[{inner}]{}", if members.is_empty() { "" } else { "," }), 1);
        let raw = parsed(&text);
        let expected: Map<String, Value> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(meaning(&raw), expected);
        // Once resolved there is nothing left to resolve.
        let again = parsed(raw.as_str());
        prop_assert_eq!(raw, again);
    }

    #[test]
    fn a_patch_is_a_merge(object in object(), patch in object(), respell: bool) {
        let (object, patch) = (Value::Object(object), Value::Object(patch));
        let patch_text = if respell { respelt(&patch) } else { patch.to_string() };
        let mut raw = parsed(&object.to_string());
        raw.patch(&patch_text, &limits()).unwrap();
        let mut merged = object.as_object().unwrap().clone();
        merged.extend(patch.as_object().unwrap().clone());
        prop_assert_eq!(meaning(&raw), merged);
        // The result needs no further check: it is what a check would keep.
        let again = parsed(raw.as_str());
        prop_assert_eq!(raw, again);
    }

    #[test]
    fn every_member_is_found(object in object()) {
        let raw = parsed(&respelt(&Value::Object(object.clone())));
        prop_assert_eq!(raw.members().count(), object.len());
        for (name, value) in &object {
            let found: Value = serde_json::from_str(raw.get(name).unwrap()).unwrap();
            prop_assert_eq!(&found, value);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = parse_log(&bytes, &Limits::default(), NOW);
        let _ = parse_batch(&bytes, &Limits::default(), NOW);
    }

    #[test]
    fn no_near_json_makes_it_panic(text in "[{}\\[\\]\",:\\\\u0d8e1\\-. \n]{0,60}", patch in "[{}\\[\\]\",:\\\\ua1]{0,12}") {
        let _ = RawObject::parse(&text, &Limits::default());
        let _ = parse_log(text.as_bytes(), &Limits::default(), NOW);
        let _ = parse_batch(format!("{{\"logs\":[{text}]}}").as_bytes(), &Limits::default(), NOW);
        // Not even text that was trusted and should not have been.
        let mut wrong = RawObject::from_trusted(text);
        let _ = (wrong.members().count(), wrong.get("a"));
        let _ = wrong.patch(&patch, &Limits::default());
    }

    #[test]
    fn a_log_is_taken_as_sent(
        device_id in "[a-zé😀\"\\\\][a-zé😀\"\\\\ ]{0,8}",
        level in proptest::sample::select(&Level::ALL),
        message in text().prop_filter("not empty", |text| !text.is_empty()),
        log_data in object(),
    ) {
        let sent = serde_json::json!({
            "device_id": device_id, "log_level": level, "message": message, "log_data": log_data,
        });
        for body in [sent.to_string(), respelt(&sent)] {
            let limits = Limits { log_data_bytes: usize::MAX, ..Limits::default() };
            let log = parse_log(body.as_bytes(), &limits, NOW).unwrap();
            prop_assert_eq!(&log.device_id, &device_id);
            prop_assert_eq!(log.log_level, level);
            prop_assert_eq!(&log.message, &message);
            prop_assert_eq!(&meaning(&log.log_data), &log_data);
            let batch = format!("{{\"logs\":[{body},{body}]}}");
            let logs = parse_batch(batch.as_bytes(), &limits, NOW).unwrap();
            prop_assert_eq!(logs, vec![Ok(log.clone()), Ok(log)]);
        }
    }

    #[test]
    fn an_entry_survives_every_form(
        device_id: String,
        level in proptest::sample::select(&Level::ALL),
        message: String,
        log_data in object(),
        micros: i64,
        chain: String,
        traceparent: Option<String>,
    ) {
        let received_at = Timestamp::from_micros(micros);
        let log_data = parsed(&Value::Object(log_data).to_string());
        let log = Log { device_id, log_level: level, message, log_data, received_at };
        let entry = Entry { log, chain, traceparent, failure: None };
        let fields: Vec<_> = entry.to_fields().map(|(name, text)| (name, text.into_owned())).collect();
        prop_assert_eq!(&Entry::from_fields(fields).unwrap(), &entry);
        let binary = postcard::to_stdvec(&entry).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Entry>(&binary).unwrap(), &entry);
        let json = serde_json::to_string(&entry).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Entry>(&json).unwrap(), &entry);
    }
}
