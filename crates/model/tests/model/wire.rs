//! Entries on their way through a queue.

use sawpit_model::{Entry, Failure, Level, Log, RawObject, WireError};

use crate::NOW;

fn entry() -> Entry {
    Entry {
        log: Log {
            device_id: "d-é".into(),
            log_level: Level::Error,
            message: "line one\nline two".into(),
            log_data: RawObject::from_trusted(r#"{"a": 1}"#),
            received_at: NOW,
        },
        chain: "c0ffee".into(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        failure: Some(Failure { plugin: "geo@1.0.0#ab".into(), error: "trap\n  at geo".into() }),
    }
}

fn fields(entry: &Entry) -> Vec<(String, String)> {
    entry.to_fields().map(|(name, text)| (name.to_owned(), text.into_owned())).collect()
}

#[test]
fn the_fields_are_those_of_the_stream() {
    let bare = Entry { chain: String::new(), traceparent: None, failure: None, ..entry() };
    let expected = [
        ("device_id", "d-é"),
        ("log_level", "ERROR"),
        ("message", "line one\nline two"),
        ("log_data", r#"{"a": 1}"#),
        ("received_at", "2025-11-23T01:02:03.456789Z"),
    ];
    assert_eq!(fields(&bare), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let names: Vec<_> = entry().to_fields().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "device_id",
            "log_level",
            "message",
            "log_data",
            "received_at",
            "chain",
            "traceparent",
            "failed_plugin",
            "failed_error"
        ]
    );
}

#[test]
fn an_entry_survives_the_stream() {
    for entry in [entry(), Entry { chain: String::new(), traceparent: None, failure: None, ..entry() }] {
        let mut fields = fields(&entry);
        fields.reverse();
        fields.push(("of_a_later_version".into(), "x".into()));
        assert_eq!(Entry::from_fields(fields), Ok(entry));
    }
}

#[test]
fn a_missing_or_bad_field_is_named() {
    let with = |name: &str, value: Option<&[u8]>| {
        let fields = fields(&entry()).into_iter().filter(|(other, _)| other != name);
        let changed = value.map(|value| (name.to_owned(), value.to_vec()));
        Entry::from_fields(fields.map(|(name, text)| (name, text.into_bytes())).chain(changed))
    };
    for name in ["device_id", "log_level", "message", "log_data", "received_at"] {
        assert_eq!(with(name, None), Err(WireError::Missing(name)));
        assert_eq!(with(name, Some(b"\xff")), Err(WireError::Utf8(name)));
    }
    for name in ["chain", "traceparent"] {
        assert!(with(name, None).is_ok());
        assert_eq!(with(name, Some(b"\xff")), Err(WireError::Utf8(name)));
    }
    assert!(matches!(with("log_level", Some(b"LOUD")), Err(WireError::Level(_))));
    assert!(matches!(with("received_at", Some(b"now")), Err(WireError::ReceivedAt(_))));
    assert_eq!(with("log_data", Some(b"[]")), Err(WireError::LogData));
}

#[test]
fn an_entry_survives_binary_and_json_forms() {
    let entry = entry();
    let binary = postcard::to_stdvec(&entry).unwrap();
    assert_eq!(postcard::from_bytes::<Entry>(&binary).unwrap(), entry);
    let json = serde_json::to_string(&entry).unwrap();
    assert!(json.contains(r#""log_data":{"a": 1},"#), "{json}");
    assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
}
