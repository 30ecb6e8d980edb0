//! What a device may post, and what may be in a stream.

use sawpit_model::{Entry, Limits, Log, Timestamp, parse_batch, parse_log};

const NOW: Timestamp = Timestamp::from_micros(1_763_859_723_456_789);

/// The body of either POST.
pub fn body(data: &[u8]) {
    let limits = Limits::default();
    if let Ok(log) = parse_log(data, &limits, NOW) {
        check(log, &limits);
    }
    if let Ok(members) = parse_batch(data, &limits, NOW) {
        assert!((1..=limits.batch_logs).contains(&members.len()));
        for log in members.into_iter().flatten() {
            check(log, &limits);
        }
    }
}

/// What is accepted keeps the limits, is what other parsers of JSON take it for, and travels whole.
fn check(log: Log, limits: &Limits) {
    assert!((1..=limits.device_id_bytes).contains(&log.device_id.len()));
    assert!((1..=limits.message_bytes).contains(&log.message.len()));
    assert!(log.log_data.as_str().len() <= limits.log_data_bytes);
    let data: serde_json::Value = serde_json::from_str(log.log_data.as_str()).expect("log_data is JSON");
    assert!(data.is_object());
    let entry = Entry { log, chain: "c".to_owned(), traceparent: None, failure: None };
    travels(&entry);
}

fn travels(entry: &Entry) {
    let fields: Vec<_> = entry.to_fields().map(|(name, value)| (name, value.into_owned())).collect();
    assert_eq!(Entry::from_fields(fields).as_ref(), Ok(entry));
}

/// The fields of a stream's entry: names and values in turn, apart by zeros.
pub fn entry(data: &[u8]) {
    let texts: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let fields = texts.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    if let Ok(entry) = Entry::from_fields(fields) {
        travels(&entry);
    }
}
