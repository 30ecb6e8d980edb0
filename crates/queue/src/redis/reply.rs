//! What Redis answers, as our types.

use std::collections::BTreeSet;

use redis::Value;
use sawpit_model::{Entry, MessageId};

use crate::Corrupt;

/// An entry of a stream: its id and its fields; no fields when it was deleted meanwhile.
pub(crate) struct StreamEntry {
    pub(crate) id: MessageId,
    pub(crate) fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl StreamEntry {
    /// What the entry carries.
    pub(crate) fn body(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Entry, Corrupt> {
        let shown = |fields: Vec<(Vec<u8>, Vec<u8>)>| {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            fields.into_iter().map(|(name, value)| (text(name), text(value))).collect()
        };
        Entry::from_fields(fields.iter().map(|(name, value)| (name, value.clone())))
            .map_err(|error| Corrupt { why: error.to_string(), fields: shown(fields) })
    }
}

/// `milliseconds-sequence`.
pub(crate) fn id(bytes: &[u8]) -> Option<MessageId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The answer of XREADGROUP: the streams that had something, by name; nil when none had.
pub(crate) fn read(value: Value) -> Option<Vec<(Vec<u8>, Vec<StreamEntry>)>> {
    match value {
        Value::Nil => Some(Vec::new()),
        Value::Array(streams) => streams.into_iter().map(one_read).collect(),
        _ => None,
    }
}

fn one_read(stream: Value) -> Option<(Vec<u8>, Vec<StreamEntry>)> {
    let mut stream = array(stream)?.into_iter();
    Some((bytes(stream.next()?)?, entries(stream.next()?)?))
}

/// Of the answer of XINFO STREAM.
pub(crate) fn last_generated_id(value: Value) -> Option<MessageId> {
    let mut items = array(value)?.into_iter();
    while let Some(name) = items.next() {
        let value = items.next()?;
        if bytes(name)? == b"last-generated-id" {
            return id(&bytes(value)?);
        }
    }
    None
}

/// A fact of the answer of INFO, which is lines of `name:value`.
pub(crate) fn fact<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The answer of XRANGE and XCLAIM.
pub(crate) fn entries(value: Value) -> Option<Vec<StreamEntry>> {
    // Older servers put nil in the place of a deleted entry.
    array(value)?.into_iter().filter(|entry| !matches!(entry, Value::Nil)).map(entry).collect()
}

fn entry(value: Value) -> Option<StreamEntry> {
    let mut parts = array(value)?.into_iter();
    let id = id(&bytes(parts.next()?)?)?;
    let fields = match parts.next()? {
        Value::Nil => None,
        fields => Some(pairs(fields)?),
    };
    Some(StreamEntry { id, fields })
}

fn pairs(value: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut items = array(value)?.into_iter();
    let mut pairs = Vec::with_capacity(items.len() / 2);
    while let Some(name) = items.next() {
        pairs.push((bytes(name)?, bytes(items.next()?)?));
    }
    Some(pairs)
}

/// One message that somebody has in hand.
pub(crate) struct Pending {
    pub(crate) id: MessageId,
    pub(crate) owner: String,
}

/// The answer of XPENDING with a range.
pub(crate) fn pending(value: Value) -> Option<Vec<Pending>> {
    array(value)?.into_iter().map(one_pending).collect()
}

fn one_pending(value: Value) -> Option<Pending> {
    let mut parts = array(value)?.into_iter();
    let id = id(&bytes(parts.next()?)?)?;
    let owner = String::from_utf8_lossy(&bytes(parts.next()?)?).into_owned();
    Some(Pending { id, owner })
}

/// Messages taken over: how often each was delivered, and the entry.
type Taken = Vec<(u32, StreamEntry)>;

/// The answer of the script that takes messages over: those that it took, and the ids of those that it left.
pub(crate) fn taken(value: Value) -> Option<(Taken, BTreeSet<MessageId>)> {
    let mut parts = array(value)?.into_iter();
    let taken = array(parts.next()?)?.into_iter().map(one_taken).collect::<Option<_>>()?;
    let left = array(parts.next()?)?.into_iter().map(|left| id(&bytes(left)?)).collect::<Option<_>>()?;
    Some((taken, left))
}

fn one_taken(value: Value) -> Option<(u32, StreamEntry)> {
    let mut parts = array(value)?.into_iter();
    let Value::Int(tries) = parts.next()? else { return None };
    Some((u32::try_from(tries).unwrap_or(u32::MAX), entry(parts.next()?)?))
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}
