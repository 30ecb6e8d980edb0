//! Whether a log would have come out otherwise.
//!
//! Running the rest of the chain again over what a shadow made would call plugins that serve for nothing, and count it
//! for them. So each part of a log (level, message, each member of `log_data`) is looked at by itself: it differs when
//! the shadow makes of it neither what it found nor what the chain has made of it in the end.

use std::collections::BTreeMap;

use sawpit_model::{Log, RawObject};
use serde_json::Value;

use crate::Ingested;

/// Whether `made` of a log that was `found` so is something else than what the chain `left`.
pub fn differs(found: &Log, made: &Log, left: &Log) -> bool {
    let level = made.log_level != found.log_level && made.log_level != left.log_level;
    let message = made.message != found.message && made.message != left.message;
    level || message || data_differs(&found.log_data, &made.log_data, &left.log_data)
}

/// Whether the chain without the shadow ended a log's way as the shadow would have.
pub const fn same_as_left(decided: &Ingested, left: &Ingested) -> bool {
    matches!(
        (decided, left),
        (Ingested::Dropped { .. }, Ingested::Dropped { .. })
            | (Ingested::Rejected { .. }, Ingested::Rejected { .. })
    )
}

fn data_differs(found: &RawObject, made: &RawObject, left: &RawObject) -> bool {
    if made == found || made == left {
        return false;
    }
    let [found, made, left] = [found, made, left].map(members);
    let differs = |name: &str| made.get(name) != found.get(name) && made.get(name) != left.get(name);
    made.keys().chain(found.keys()).any(|name| differs(name))
}

fn members(object: &RawObject) -> BTreeMap<String, Value> {
    // It was checked when it came in, so it parses.
    serde_json::from_str(object.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sawpit_model::{Level, Timestamp};

    use super::*;

    fn log(level: Level, message: &str, data: &str) -> Log {
        Log {
            device_id: "d".to_owned(),
            log_level: level,
            message: message.to_owned(),
            log_data: RawObject::from_trusted(data),
            received_at: Timestamp::default(),
        }
    }

    #[test]
    fn only_what_is_neither_found_nor_left_differs() {
        let of = |data: &str| log(Level::Info, "m", data);
        let found = of(r#"{"a":1}"#);
        for (made, left, expected) in [
            // The same again, in another order or spelling.
            (r#"{ "a": 1 }"#, r#"{"a":1}"#, false),
            (r#"{"a":1,"b":"x"}"#, r#"{"b":"\u0078","a":1}"#, false),
            // A later plugin does it too, and something else.
            (r#"{"a":1,"b":2}"#, r#"{"a":7,"b":2,"c":3}"#, false),
            // It is set here only, or otherwise.
            (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, true),
            (r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#, true),
            // It is taken out here only.
            ("{}", r#"{"a":1}"#, true),
            ("{}", "{}", false),
        ] {
            assert_eq!(differs(&found, &of(made), &of(left)), expected, "{made} {left}");
        }
    }

    #[test]
    fn level_and_message_are_looked_at_too() {
        let found = log(Level::Info, "mail a@b", "{}");
        let made = |level, message| log(level, message, "{}");
        assert!(!differs(&found, &found.clone(), &made(Level::Error, "x")));
        assert!(differs(&found, &made(Level::Error, "mail a@b"), &found));
        assert!(differs(&found, &made(Level::Info, "[mail]"), &made(Level::Info, "[email]")));
        assert!(!differs(&found, &made(Level::Info, "[mail]"), &made(Level::Error, "[mail]")));
    }
}
