//! The trial run: a few varied logs through each stage, before a version may serve.
//!
//! It must come back, in time, with an answer that keeps the contract. What it says of the logs, even that
//! it failed on some of them, is its own affair.

use sawpit_model::{Level, Log, RawObject, Timestamp};

use crate::call::Terms;
use crate::golden::{self, CaseResult, GoldenError};
use crate::source::Source;
use crate::{LoadError, Plugin, Stage, call, settle};

/// Runs every stage of the plugin over the sample logs.
pub fn run(plugin: &Plugin) -> Result<(), LoadError> {
    let logs = sample_logs();
    let logs: Vec<&Log> = logs.iter().collect();
    for &stage in &plugin.stages {
        let tried = match stage {
            Stage::Filter => call::filter(plugin, &logs, Terms::Whole).map(drop),
            Stage::Enrich => call::enrich(plugin, &logs, Terms::Whole)
                .and_then(|answer| settle::check_patches(plugin, &logs, &answer)),
            Stage::Transform => call::transform(plugin, &logs, Terms::Whole, Ok).map(drop),
        };
        tried.map_err(|cause| LoadError::Trial { stage, cause })?;
    }
    Ok(())
}

/// Runs the plugin's own cases, if it has any.
pub fn golden(plugin: &Plugin, source: &Source) -> Result<(), LoadError> {
    let file = source.cases_file();
    let cases = golden::parse(&file, &source.cases, plugin.settings())?;
    let results = golden::run(plugin, &cases);
    let not_run = cases.len() - results.len();
    if results.iter().all(CaseResult::passed) && not_run == 0 {
        return Ok(());
    }
    Err(LoadError::Golden(GoldenError { file, results, not_run }))
}

/// The logs that every version is tried with before it may serve: plain, empty, not ASCII, long, odd.
#[must_use]
pub fn sample_logs() -> Vec<Log> {
    let log = |device_id: &str, log_level, message: &str, log_data: &str| Log {
        device_id: device_id.to_owned(),
        log_level,
        message: message.to_owned(),
        log_data: RawObject::from_trusted(log_data),
        received_at: Timestamp::from_micros(1_767_225_600_000_000),
    };
    vec![
        log("sensor-1", Level::Info, "temperature read", r#"{"temperature": 21.5, "unit": "C"}"#),
        log("gateway", Level::Debug, "x", "{}"),
        log(
            "sensor-2",
            Level::Warning,
            "zażółć gęślą jaźń 🙂",
            r#"{"nested":{"list":[1,2,{"deep":null}]},"ok":true}"#,
        ),
        log(
            &"d".repeat(64),
            Level::Error,
            &"long message ".repeat(300),
            r#"{"text":"a \"quoted\" \u00e9 text"}"#,
        ),
        log("0", Level::Critical, "two\nlines", r#"{"a":-1e300,"b":12345678901234567890,"":""}"#),
    ]
}
