//! Runs a plugin natively as the host would, for unit tests: same columns (only those in `READS`), same
//! order of calls, and the answer read back as the host reads it.

use serde_json::{Map, Value};

use crate::bindings::wire;
use crate::plugin::build;
use crate::{Enrich, Fields, Filter, Level, Plugin, Transform, Verdict};

/// A log to test with.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Who sent it.
    pub device_id: String,
    /// How grave it is.
    pub level: Level,
    /// What happened.
    pub message: String,
    /// The text of a JSON object.
    pub data: String,
    /// Microseconds since the Unix epoch.
    pub received_at: i64,
}

impl Sample {
    /// A log received at 2026-01-01T00:00:00Z. `data` is the text of a JSON object.
    #[must_use]
    pub fn new(device_id: &str, level: Level, message: &str, data: &str) -> Self {
        let (device_id, message, data) = (device_id.to_owned(), message.to_owned(), data.to_owned());
        Self { device_id, level, message, data, received_at: 1_767_225_600_000_000 }
    }

    /// The same log, received at another time.
    #[must_use]
    pub fn at(mut self, received_at: i64) -> Self {
        self.received_at = received_at;
        self
    }
}

/// One log that came out of a transform.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The log, as it would be stored.
    pub log: Sample,
    /// Indices of the inputs that it was made from, the one it continues first.
    pub sources: Vec<usize>,
}

impl Output {
    /// `log_data`, parsed.
    ///
    /// # Panics
    ///
    /// When the plugin made it something else than JSON.
    #[must_use]
    #[track_caller]
    #[expect(clippy::expect_used, reason = "fails the test that it is called in")]
    pub fn data(&self) -> Value {
        serde_json::from_str(&self.log.data).expect("log_data must be JSON")
    }
}

/// What a transform made of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transformed {
    /// The logs that go on, in order.
    pub outputs: Vec<Output>,
    /// Inputs that were dropped, with the reason.
    pub dropped: Vec<(usize, String)>,
    /// Inputs that the plugin failed on, with the message.
    pub failed: Vec<(usize, String)>,
}

/// Tries the settings: whether the host would take them.
///
/// # Errors
///
/// What the operator would read.
pub fn configure<P: Plugin>(config: &str) -> Result<(), String> {
    build::<P>(config).map(drop)
}

/// Filters logs; per log its verdict, or the error of the plugin on it.
///
/// # Panics
///
/// When the plugin refuses the config.
#[track_caller]
pub fn filter<P: Filter>(config: &str, logs: &[Sample]) -> Vec<Result<Verdict, String>> {
    let plugin = made::<P>(config);
    let answer = crate::filter::filter(Some(&plugin), columns::<P>(logs));
    let reasons = rows(&answer.reasons);
    let mut results: Vec<_> = (0..logs.len())
        .map(|row| {
            let reason = || reasons.get(row).cloned().unwrap_or_default().into();
            Ok(match answer.verdicts.get(row) {
                None | Some(wire::Verdict::Accept) => Verdict::Accept,
                Some(wire::Verdict::Drop) => Verdict::Drop(reason()),
                Some(wire::Verdict::Reject) => Verdict::Reject(reason()),
            })
        })
        .collect();
    put_errors(&mut results, answer.errors);
    results
}

/// Enriches logs; per log the members to set (an empty object for none), or the error of the plugin on it.
///
/// # Panics
///
/// When the plugin refuses the config or writes a patch that is not a JSON object.
#[track_caller]
pub fn enrich<P: Enrich>(config: &str, logs: &[Sample]) -> Vec<Result<Value, String>> {
    let plugin = made::<P>(config);
    let answer = crate::enrich::enrich(Some(&plugin), columns::<P>(logs));
    let set = rows(&answer.set);
    let mut results: Vec<_> = (0..logs.len())
        .map(|row| Ok(Value::Object(set.get(row).map(|patch| object(patch)).unwrap_or_default())))
        .collect();
    put_errors(&mut results, answer.errors);
    results
}

/// Transforms one batch.
///
/// # Panics
///
/// When the plugin refuses the config, or answers what the host would refuse.
#[track_caller]
pub fn transform<P: Transform>(config: &str, logs: &[Sample]) -> Transformed {
    let plugin = made::<P>(config);
    match crate::transform::transform(Some(&plugin), columns::<P>(logs)) {
        wire::Outcome::Unchanged => Transformed {
            outputs: logs
                .iter()
                .enumerate()
                .map(|(at, log)| Output { log: log.clone(), sources: vec![at] })
                .collect(),
            ..Transformed::default()
        },
        wire::Outcome::Changed(changes) => apply(logs, changes),
    }
}

/// Sets the time that [`crate::host::now`] tells on this thread, in microseconds since the Unix epoch.
#[cfg(not(target_arch = "wasm32"))]
pub fn set_now(micros: i64) {
    crate::host::imports::clock::NOW.set(micros);
}

/// What a counter of [`crate::host::count`] stands at on this thread.
#[cfg(not(target_arch = "wasm32"))]
#[must_use]
pub fn counter(name: &str) -> u64 {
    crate::host::imports::counters::COUNTERS.with_borrow(|all| all.get(name).copied().unwrap_or_default())
}

#[track_caller]
#[expect(clippy::panic, reason = "fails the test that it is called in")]
fn made<P: Plugin>(config: &str) -> P {
    match build(config) {
        Ok(plugin) => plugin,
        Err(error) => panic!("the plugin refused the config: {error}"),
    }
}

/// Logs as the host sends them to this plugin.
fn columns<P: Plugin>(logs: &[Sample]) -> wire::Batch {
    let text = |field: Fields, get: fn(&Sample) -> &str| {
        let mut column = wire::Column { bytes: Vec::new(), ends: Vec::new() };
        for log in logs.iter().filter(|_| P::READS.contains(field)) {
            column.bytes.extend_from_slice(get(log).as_bytes());
            column.ends.push(column.bytes.len() as u32);
        }
        column
    };
    let sent = |field: Fields| logs.iter().filter(move |_| P::READS.contains(field));
    wire::Batch {
        len: logs.len() as u32,
        device_id: text(Fields::DEVICE_ID, |log| &log.device_id),
        log_level: sent(Fields::LOG_LEVEL).map(|log| log.level).collect(),
        message: text(Fields::MESSAGE, |log| &log.message),
        log_data: text(Fields::LOG_DATA, |log| &log.data),
        received_at: sent(Fields::RECEIVED_AT).map(|log| log.received_at).collect(),
    }
}

fn rows(column: &wire::Column) -> Vec<String> {
    let mut start = 0;
    let mut rows = Vec::new();
    for &end in &column.ends {
        let bytes = column.bytes.get(start..end as usize).unwrap_or_default();
        rows.push(String::from_utf8_lossy(bytes).into_owned());
        start = end as usize;
    }
    rows
}

fn put_errors<T>(results: &mut [Result<T, String>], errors: Vec<wire::RowError>) {
    for error in errors {
        if let Some(result) = results.get_mut(error.row as usize) {
            *result = Err(error.message);
        }
    }
}

#[expect(clippy::panic, reason = "fails the test that it is called in")]
fn object(text: &str) -> Map<String, Value> {
    if text.is_empty() {
        return Map::new();
    }
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not a JSON object ({error}): {text}"))
}

/// Applies a transform's answer as the host does.
#[expect(clippy::indexing_slicing, reason = "fails the test that it is called in")]
fn apply(logs: &[Sample], changes: wire::Changes) -> Transformed {
    let mut outputs: Vec<Output> = changes
        .origins
        .iter()
        .map(|&origin| Output { log: logs[origin as usize].clone(), sources: vec![origin as usize] })
        .collect();
    for merge in changes.merged {
        outputs[merge.output as usize].sources.push(merge.input as usize);
    }
    for edit in changes.levels {
        outputs[edit.output as usize].log.level = edit.level;
    }
    for (output, text) in edits(&changes.messages) {
        outputs[output].log.message = text;
    }
    for (output, text) in edits(&changes.log_data) {
        object(&text);
        outputs[output].log.data = text;
    }
    for (output, patch) in edits(&changes.set) {
        let mut data = object(&outputs[output].log.data);
        data.extend(object(&patch));
        outputs[output].log.data = Value::Object(data).to_string();
    }
    let dropped: Vec<_> =
        changes.dropped.into_iter().map(|drop| (drop.input as usize, drop.reason)).collect();
    let failed: Vec<_> =
        changes.errors.into_iter().map(|error| (error.row as usize, error.message)).collect();
    let transformed = Transformed { outputs, dropped, failed };
    check_accounted(logs.len(), &transformed);
    transformed
}

fn edits(edits: &wire::Edits) -> Vec<(usize, String)> {
    assert_eq!(edits.outputs.len(), edits.texts.ends.len(), "as many texts as outputs");
    edits.outputs.iter().map(|&output| output as usize).zip(rows(&edits.texts)).collect()
}

/// The host's rule: each input ends in outputs, or is dropped, or failed; never in two of these, never in none.
fn check_accounted(len: usize, transformed: &Transformed) {
    for input in 0..len {
        let ends = [
            transformed.outputs.iter().any(|output| output.sources.contains(&input)),
            transformed.dropped.iter().any(|&(at, _)| at == input),
            transformed.failed.iter().any(|&(at, _)| at == input),
        ];
        assert_eq!(
            ends.into_iter().filter(|&end| end).count(),
            1,
            "log {input} must end in one way: {ends:?}"
        );
    }
}
