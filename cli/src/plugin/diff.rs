//! The difference between two logs, field by field.
//!
//! Objects within `log_data` are opened, so that one changed member is one line; lists and texts are shown
//! whole, as their JSON.

use std::collections::BTreeSet;

use sawpit_model::Log;
use serde_json::Value;

use super::paint::{Paint, clean};

/// One field whose value differs. `None`: it is not there.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    field: String,
    old: Option<String>,
    new: Option<String>,
}

/// The lines `- field: old` and `+ field: new`, indented; nothing for equal logs.
pub fn lines(before: &Log, after: &Log, paint: Paint) -> String {
    let mut text = String::new();
    for Difference { field, old, new } in differences(&fields(before), &fields(after)) {
        if let Some(old) = old {
            text += &format!("    {}\n", paint.old(&clean(&format!("- {field}: {old}"))));
        }
        if let Some(new) = new {
            text += &format!("    {}\n", paint.new_text(&clean(&format!("+ {field}: {new}"))));
        }
    }
    text
}

type Fields = Vec<(String, String)>;

/// The fields of the old log in its order, then those that are new.
fn differences(before: &Fields, after: &Fields) -> Vec<Difference> {
    let value = |fields: &Fields, name: &str| {
        fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
    };
    let mut seen = BTreeSet::new();
    let names = before.iter().chain(after).map(|(name, _)| name).filter(|name| seen.insert(name.as_str()));
    names
        .map(|name| Difference { field: name.clone(), old: value(before, name), new: value(after, name) })
        .filter(|difference| difference.old != difference.new)
        .collect()
}

fn fields(log: &Log) -> Fields {
    let mut fields = vec![
        ("device_id".to_owned(), Value::from(log.device_id.as_str()).to_string()),
        ("log_level".to_owned(), log.log_level.to_string()),
        ("message".to_owned(), Value::from(log.message.as_str()).to_string()),
    ];
    open("log_data", log.log_data.as_str(), &mut fields);
    fields
}

/// One object's members by their paths. The texts of values stay as they are: a number must not be shown
/// other than it is stored.
fn open(path: &str, text: &str, fields: &mut Fields) {
    type Members<'a> = serde_json::Map<String, Value>;
    let Ok(members) = serde_json::from_str::<Members<'_>>(text) else {
        fields.push((path.to_owned(), text.to_owned()));
        return;
    };
    let raw = sawpit_model::RawObject::from_trusted(text);
    for (name, value) in &members {
        let path = format!("{path}.{name}");
        let text = raw.get(name).map_or_else(|| value.to_string(), |text| text.trim().to_owned());
        match value {
            Value::Object(inner) if !inner.is_empty() => open(&path, &text, fields),
            _ => fields.push((path, text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use sawpit_model::{Level, RawObject, Timestamp};

    use super::*;

    fn log(message: &str, data: &str) -> Log {
        Log {
            device_id: "d".to_owned(),
            log_level: Level::Info,
            message: message.to_owned(),
            log_data: RawObject::from_trusted(data),
            received_at: Timestamp::default(),
        }
    }

    fn shown(before: &Log, after: &Log) -> String {
        lines(before, after, Paint::new("never", None))
    }

    #[test]
    fn equal_logs_have_no_difference() {
        let one = log("m", r#"{"a":{"b":1},"c":[1]}"#);
        assert_eq!(shown(&one, &one), "");
    }

    #[test]
    fn changed_added_and_removed_members_are_a_line_each() {
        let before = log("old", r#"{"a":{"b":1.0,"same":2},"gone":null}"#);
        let after = log("new\n", r#"{"a":{"b":1.00,"same":2},"list":[1, 2]}"#);
        assert_eq!(
            shown(&before, &after),
            concat!(
                "    - message: \"old\"\n",
                "    + message: \"new\\n\"\n",
                "    - log_data.a.b: 1.0\n",
                "    + log_data.a.b: 1.00\n",
                "    - log_data.gone: null\n",
                "    + log_data.list: [1, 2]\n",
            )
        );
    }

    #[test]
    fn an_object_that_becomes_a_number_is_shown() {
        let text = shown(&log("m", r#"{"a":{"b":1}}"#), &log("m", r#"{"a":5}"#));
        assert_eq!(text, "    - log_data.a.b: 1\n    + log_data.a: 5\n");
    }
}
