//! What the cases share.

use sawpit_model::{Level, Log, MessageId, RawObject, Tally, Timestamp};
use sawpit_store::{Batch, LogQuery, Row, Store, StoreSettings};

/// Noon of the day that the tests live in.
pub fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// `now`, some microseconds later (or earlier).
pub fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(now().as_micros() + micros)
}

pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const DAY: i64 = 24 * HOUR;

pub fn id(ms: u64, seq: u64) -> MessageId {
    MessageId { ms: now().as_millis() + ms, seq }
}

pub fn log(device: &str, message: &str, received_at: Timestamp) -> Log {
    Log {
        device_id: device.to_owned(),
        log_level: Level::Info,
        message: message.to_owned(),
        log_data: RawObject::from_trusted(r#"{"a":1,"b":["x",null]}"#),
        received_at,
    }
}

pub fn row(id: MessageId, log: Log) -> Row {
    Row { sources: vec![id], part: 0, log, chain: "enrich@1.0#ab".to_owned() }
}

/// A batch that settles what its rows are made from.
pub fn batch(rows: Vec<Row>) -> Batch {
    let ids = rows.iter().flat_map(|row| row.sources.clone()).collect();
    Batch { ids, rows, verdicts: Tally::default(), committed_at: now() }
}

/// One row per id, received one microsecond after the other from `now` on.
pub fn batch_of(device: &str, ids: &[MessageId]) -> Batch {
    let log = |n: usize| log(device, &format!("message {n}"), at(n as i64));
    batch(ids.iter().enumerate().map(|(n, id)| row(*id, log(n))).collect())
}

pub fn all_of(device: &str) -> LogQuery {
    LogQuery { device_id: Some(device.to_owned()), limit: 1_000, ..LogQuery::default() }
}

pub async fn messages(store: &Store, device: &str) -> Vec<String> {
    let page = store.query(&all_of(device)).await.unwrap();
    assert_eq!(page.total.value(), page.rows.len() as u64);
    page.rows.into_iter().map(|row| row.message).collect()
}

pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// Small enough that many stores fit into one server's 100 connections.
pub fn settings(url: &str) -> StoreSettings {
    StoreSettings { url: url.to_owned(), pool: 2, pool_extra: 2, ..StoreSettings::default() }
}

pub async fn open(url: &str) -> Store {
    Store::open(settings(url), now()).await.unwrap()
}
