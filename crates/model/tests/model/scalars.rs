//! Levels, ids and times.

use sawpit_model::{Level, MessageId, Timestamp};
use time::OffsetDateTime;

#[test]
fn levels_are_read_in_any_case_and_ordered() {
    for (text, level) in [("debug", Level::Debug), ("Warning", Level::Warning), ("CRITICAL", Level::Critical)]
    {
        assert_eq!(text.parse(), Ok(level));
    }
    for text in ["", "WARN", "INFO ", "ınfo"] {
        assert!(text.parse::<Level>().is_err(), "{text}");
    }
    assert!(Level::ALL.is_sorted());
    for level in Level::ALL {
        assert_eq!(level.as_str().parse(), Ok(level));
        assert_eq!(Level::from_code(level.code()), Some(level));
        assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{level}\""));
        assert_eq!(serde_json::from_str::<Level>(&format!("\"{level}\"")).unwrap(), level);
    }
    assert_eq!(Level::from_code(5), None);
}

#[test]
fn ids_are_read_as_they_are_shown() {
    let id = MessageId { ms: 1_760_000_000_000, seq: 7 };
    assert_eq!(id.to_string(), "1760000000000-7");
    assert_eq!("1760000000000-7".parse(), Ok(id));
    assert_eq!(serde_json::from_str::<MessageId>("\"1760000000000-7\"").unwrap(), id);
    for text in ["", "-", "1", "1-", "-1", "+1-2", "1-+2", "1-2-3", " 1-2", "18446744073709551616-0"] {
        assert!(text.parse::<MessageId>().is_err(), "{text}");
    }
}

#[test]
fn ids_are_ordered_by_time_then_place() {
    let id = |ms, seq| MessageId { ms, seq };
    assert!(id(1, u64::MAX) < id(2, 0) && id(2, 9) < id(2, 10));
    assert_eq!(id(1, 1).next(), id(1, 2));
    assert_eq!(id(1, u64::MAX).next(), id(2, 0));
    assert_eq!(MessageId::MAX.next(), MessageId::MAX);
}

#[test]
fn times_are_shown_in_rfc_3339_with_microseconds() {
    for (micros, text) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_763_859_723_456_789, "2025-11-23T01:02:03.456789Z"),
        (i64::MIN, "0001-01-01T00:00:00.000000Z"),
        (i64::MAX, "9999-12-31T23:59:59.999999Z"),
    ] {
        let time = Timestamp::from_micros(micros);
        assert_eq!(time.to_string(), text);
        assert_eq!(text.parse(), Ok(time));
        assert_eq!(serde_json::to_string(&time).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Timestamp>(&format!("\"{text}\"")).unwrap(), time);
    }
}

#[test]
fn times_are_read_in_any_zone_and_precision() {
    let time = Timestamp::from_micros(1_763_859_723_456_789);
    assert_eq!("2025-11-23T02:02:03.4567899+01:00".parse(), Ok(time));
    assert_eq!("2025-11-23T01:02:03Z".parse(), Ok(Timestamp::from_micros(1_763_859_723_000_000)));
    for text in ["", "2025-11-23", "2025-11-23T01:02:03", "2025-13-23T01:02:03Z"] {
        assert!(text.parse::<Timestamp>().is_err(), "{text}");
    }
}

#[test]
fn times_convert_from_and_to_the_library_s() {
    for micros in [-1, 0, 1_763_859_723_456_789] {
        let time = Timestamp::from_micros(micros);
        assert_eq!(Timestamp::from(OffsetDateTime::from(time)), time);
    }
    let before = OffsetDateTime::from_unix_timestamp_nanos(-1).unwrap();
    assert_eq!(Timestamp::from(before).as_micros(), -1);
    assert_eq!((Timestamp::from_micros(1_999).as_millis(), Timestamp::from_micros(-1).as_millis()), (1, 0));
}
