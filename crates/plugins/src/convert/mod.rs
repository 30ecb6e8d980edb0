//! Logs to columns, and answers back: the one place where the model meets the WIT types.
//!
//! Whatever comes from a guest is checked here, once, and leaves as types that cannot be wrong.

mod changed;

use std::collections::BTreeMap;

use sawpit_model::{Level, Limits, Log, RawObject};

use crate::OutputError;
use crate::bindings::{enrich, filter, types};

pub use changed::Changed;

/// Cuts `text` to at most `bytes` bytes, between characters, and marks the cut.
pub fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// The last `bytes` bytes of `text` at most, from the beginning of a character.
pub fn end_of(text: &str, bytes: usize) -> &str {
    let surplus = text.len().saturating_sub(bytes);
    let start = (surplus..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(start..).unwrap_or_default()
}

pub const fn level_from_guest(level: types::Level) -> Level {
    match level {
        types::Level::Debug => Level::Debug,
        types::Level::Info => Level::Info,
        types::Level::Warning => Level::Warning,
        types::Level::Error => Level::Error,
        types::Level::Critical => Level::Critical,
    }
}

const fn level_to_guest(level: Level) -> types::Level {
    match level {
        Level::Debug => types::Level::Debug,
        Level::Info => types::Level::Info,
        Level::Warning => types::Level::Warning,
        Level::Error => types::Level::Error,
        Level::Critical => types::Level::Critical,
    }
}

/// A batch whose buffers are used for call after call.
pub fn empty_batch() -> types::Batch {
    let column = || types::Column { bytes: Vec::new(), ends: Vec::new() };
    types::Batch {
        len: 0,
        device_id: column(),
        log_level: Vec::new(),
        message: column(),
        log_data: column(),
        received_at: Vec::new(),
    }
}

/// Fills `batch` with the columns that the plugin reads.
pub fn fill(batch: &mut types::Batch, reads: types::Fields, logs: &[&Log]) {
    batch.len = u32::try_from(logs.len()).unwrap_or(u32::MAX);
    batch.log_level.clear();
    batch.received_at.clear();
    let texts = |column: &mut types::Column, field, text: fn(&Log) -> &str| {
        column.bytes.clear();
        column.ends.clear();
        if reads.contains(field) {
            for log in logs {
                column.bytes.extend_from_slice(text(log).as_bytes());
                column.ends.push(u32::try_from(column.bytes.len()).unwrap_or(u32::MAX));
            }
        }
    };
    texts(&mut batch.device_id, types::Fields::DEVICE_ID, |log| &log.device_id);
    texts(&mut batch.message, types::Fields::MESSAGE, |log| &log.message);
    texts(&mut batch.log_data, types::Fields::LOG_DATA, |log| log.log_data.as_str());
    if reads.contains(types::Fields::LOG_LEVEL) {
        batch.log_level.extend(logs.iter().map(|log| level_to_guest(log.log_level)));
    }
    if reads.contains(types::Fields::RECEIVED_AT) {
        batch.received_at.extend(logs.iter().map(|log| log.received_at.as_micros()));
    }
}

/// Bytes of text that a log puts into a batch, at most.
pub fn text_bytes(log: &Log) -> usize {
    log.device_id.len() + log.message.len() + log.log_data.as_str().len()
}

/// The names of the columns, in the order of the WIT.
pub fn field_names(fields: types::Fields) -> Vec<&'static str> {
    let names = [
        (types::Fields::DEVICE_ID, "device-id"),
        (types::Fields::LOG_LEVEL, "log-level"),
        (types::Fields::MESSAGE, "message"),
        (types::Fields::LOG_DATA, "log-data"),
        (types::Fields::RECEIVED_AT, "received-at"),
    ];
    names.into_iter().filter(|(field, _)| fields.contains(*field)).map(|(_, name)| name).collect()
}

/// A column that was checked.
#[derive(Debug, Default)]
pub struct Texts {
    text: String,
    ends: Vec<u32>,
}

impl Texts {
    /// `rows` rows, or none at all.
    fn check(column: types::Column, name: &'static str, rows: usize) -> Result<Self, OutputError> {
        let types::Column { mut bytes, ends } = column;
        if !ends.is_empty() && ends.len() != rows {
            return Err(OutputError::Length { list: name, found: ends.len(), wanted: rows });
        }
        check_ends(&ends, bytes.len(), name)?;
        bytes.truncate(ends.last().map_or(0, |&end| end as usize));
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                return Err(OutputError::Utf8 {
                    column: name,
                    row: row_at(&ends, error.utf8_error().valid_up_to()),
                });
            }
        };
        match ends.iter().position(|&end| !text.is_char_boundary(end as usize)) {
            Some(row) => Err(OutputError::Utf8 { column: name, row }),
            None => Ok(Self { text, ends }),
        }
    }

    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// The text of a row; empty where there is none.
    pub fn row(&self, row: usize) -> &str {
        let start =
            row.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end as usize);
        self.ends.get(row).and_then(|&end| self.text.get(start..end as usize)).unwrap_or_default()
    }
}

fn check_ends(ends: &[u32], bytes: usize, column: &'static str) -> Result<(), OutputError> {
    let mut before = 0;
    for (row, &end) in ends.iter().enumerate() {
        if end < before || end as usize > bytes {
            return Err(OutputError::Ends { column, bytes, row });
        }
        before = end;
    }
    Ok(())
}

fn row_at(ends: &[u32], byte: usize) -> usize {
    ends.partition_point(|&end| end as usize <= byte)
}

fn index(list: &'static str, what: &'static str, found: u32, count: usize) -> Result<usize, OutputError> {
    let at = found as usize;
    if at < count { Ok(at) } else { Err(OutputError::Index { list, what, found, count }) }
}

/// What a plugin said of the rows that it failed on.
pub type RowErrors = BTreeMap<usize, String>;

fn row_errors(
    errors: Vec<types::RowError>,
    rows: usize,
    text_bytes: usize,
) -> Result<RowErrors, OutputError> {
    let mut checked = RowErrors::new();
    for types::RowError { row, mut message } in errors {
        cut(&mut message, text_bytes);
        checked.insert(index("errors", "row", row, rows)?, message);
    }
    Ok(checked)
}

/// What a filter decided for one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Accept,
    Drop,
    Reject,
}

/// An answer of a filter.
#[derive(Debug)]
pub struct Filtered {
    /// One per row; none: all are accepted.
    decisions: Vec<filter::Verdict>,
    reasons: Texts,
    pub errors: RowErrors,
}

impl Filtered {
    pub fn check(answer: filter::Verdicts, rows: usize, text_bytes: usize) -> Result<Self, OutputError> {
        let found = answer.verdicts.len();
        if found != 0 && found != rows {
            return Err(OutputError::Length { list: "verdicts", found, wanted: rows });
        }
        Ok(Self {
            reasons: Texts::check(answer.reasons, "reasons", rows)?,
            errors: row_errors(answer.errors, rows, text_bytes)?,
            decisions: answer.verdicts,
        })
    }

    pub fn decision(&self, row: usize) -> Decision {
        match self.decisions.get(row) {
            None | Some(filter::Verdict::Accept) => Decision::Accept,
            Some(filter::Verdict::Drop) => Decision::Drop,
            Some(filter::Verdict::Reject) => Decision::Reject,
        }
    }

    pub fn reason(&self, row: usize) -> &str {
        self.reasons.row(row)
    }
}

/// An answer of an enricher.
#[derive(Debug)]
pub struct Enriched {
    /// Per row a JSON object or nothing; not yet checked as JSON, which the splicing does.
    pub patches: Texts,
    pub errors: RowErrors,
}

impl Enriched {
    pub fn check(answer: enrich::Patches, rows: usize, text_bytes: usize) -> Result<Self, OutputError> {
        Ok(Self {
            patches: Texts::check(answer.set, "set", rows)?,
            errors: row_errors(answer.errors, rows, text_bytes)?,
        })
    }
}

/// Sets the members of the JSON object `patch` in `object`, or says why not.
pub fn set(object: &mut RawObject, patch: &str, limits: &Limits) -> Result<(), String> {
    object.patch(patch, limits).map_err(|error| error.to_string())
}
