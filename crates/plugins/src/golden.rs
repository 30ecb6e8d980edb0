//! Golden cases: what a plugin's author or operator says that it must do, one case per line in
//! `NAME.cases.ndjson` beside `NAME.wasm`.
//!
//! A version that fails one of them does not serve. A case is one log through all stages of the plugin, called
//! as in production, with the manifest's `match`, deadline and memory; but `on_error` and `mode` are left out,
//! because they would hide what the plugin itself does.

use std::collections::HashSet;
use std::fmt;

use sawpit_model::{Level, Log, Timestamp, parse_log};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::call::Terms;
use crate::convert::Decision;
use crate::transform::Batch;
use crate::{Plugin, RuntimeSettings, Stage, call, convert};

/// Most cases in one file.
pub const CASES_MAX: usize = 1_000;
/// What follows the plugin's name in the name of its file of cases.
pub const CASES_EXTENSION: &str = "cases.ndjson";
/// How many failed cases a refusal shows.
const SHOWN: usize = 5;
/// When the logs of the cases were received: 2026-01-01T00:00:00Z, so that a case comes out alike every day.
pub const RECEIVED_AT: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// A line that is no case. The message names the file, the line and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {rule}")]
pub struct CasesError {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub rule: String,
}

/// What a plugin makes of a log as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It goes on.
    #[default]
    Accept,
    /// It is not stored.
    Drop,
    /// It is refused.
    Reject,
    /// The plugin fails on it.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Fail => "fail",
        })
    }
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, unique in the file.
    pub name: String,
    /// Its line in the file, from 1.
    pub line: usize,
    /// What goes in.
    pub log: Log,
    /// What must come out.
    pub expect: Expect,
}

/// What must come out. What is not named is not compared.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// What becomes of the log as a whole; left out: `accept`.
    pub verdict: Verdict,
    /// Text that the reason (drop, reject) or the error (fail) contains.
    pub reason: Option<String>,
    /// The level afterwards.
    pub log_level: Option<Level>,
    /// The message afterwards.
    pub message: Option<String>,
    /// Members that `log_data` has afterwards, with these values (1 and 1.0 differ).
    pub set: Map<String, Value>,
    /// Members that `log_data` does not have afterwards.
    pub absent: Vec<String>,
    /// The whole of `log_data` afterwards; the order of members does not matter.
    pub log_data: Option<Value>,
    /// How many logs a transformer makes of it; left out: 1. The other keys are for the first of them.
    pub parts: Option<usize>,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What became of the log as a whole.
    pub verdict: Verdict,
    /// The reason or the error; empty for an accepted log.
    pub reason: String,
    /// The logs afterwards: none unless it was accepted, several after a split.
    pub logs: Vec<Log>,
    /// Whether the manifest's `match` kept the log from it, so that it was not called.
    pub excluded: bool,
}

/// One thing that came out otherwise than expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What was compared, such as `verdict` or `log_data.severity`.
    pub what: String,
    /// What the case says.
    pub expected: String,
    /// What the plugin did.
    pub found: String,
}

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// Its line in the file, from 1.
    pub line: usize,
    /// What went in.
    pub log: Log,
    /// All that differs; empty: it passed.
    pub differences: Vec<Difference>,
    /// What came out.
    pub found: Found,
}

impl CaseResult {
    /// Whether nothing differs.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {:?} (line {})", self.name, self.line)?;
        if self.passed() {
            return f.write_str(" passed");
        }
        let mut separator = ": ";
        if self.found.excluded {
            write!(
                f,
                "{separator}the plugin was not called, as the manifest's match does not take this log"
            )?;
            separator = "; ";
        }
        for Difference { what, expected, found } in &self.differences {
            write!(f, "{separator}{what}: expected {expected}, found {found}")?;
            separator = "; ";
        }
        Ok(())
    }
}

/// A plugin failed some of its cases. The message shows the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenError {
    /// The file's name.
    pub file: String,
    /// How the cases went, in order.
    pub results: Vec<CaseResult>,
    /// How many more there are, which were not run because one passed its deadline or the time was over.
    pub not_run: usize,
}

impl std::error::Error for GoldenError {}

impl fmt::Display for GoldenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: Vec<_> = self.results.iter().filter(|result| !result.passed()).collect();
        write!(f, "{} of {} cases of {} failed", failed.len(), self.results.len(), self.file)?;
        if self.not_run > 0 {
            write!(f, ", {} after them were not run", self.not_run)?;
        }
        failed.iter().take(SHOWN).try_for_each(|result| write!(f, "\n{result}"))
    }
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase<'a> {
    name: String,
    #[serde(borrow)]
    log: &'a RawValue,
    #[serde(default)]
    expect: Expect,
}

/// Parses the text of the file called `file`; empty lines are skipped.
///
/// # Errors
/// The first line that is no case: not JSON, an unknown key, a log that no device could send, a name twice, or
/// more than [`CASES_MAX`] cases.
pub fn parse(file: &str, text: &str, settings: &RuntimeSettings) -> Result<Vec<Case>, CasesError> {
    let (mut cases, mut names) = (Vec::new(), HashSet::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let wrong = |rule: String| CasesError { file: file.to_owned(), line, rule };
        let case = parse_case(line, text, settings).map_err(wrong)?;
        if cases.len() == CASES_MAX {
            return Err(wrong(format!("there must be at most {CASES_MAX} cases")));
        }
        if !names.insert(case.name.clone()) {
            return Err(wrong(format!("the name {:?} is taken by a case before", case.name)));
        }
        cases.push(case);
    }
    Ok(cases)
}

fn parse_case(line: usize, text: &str, settings: &RuntimeSettings) -> Result<Case, String> {
    let RawCase { name, log, expect } =
        serde_json::from_str(text).map_err(|error| without_line(&error.to_string()))?;
    let log = parse_log(log.get().as_bytes(), &settings.limits, RECEIVED_AT)
        .map_err(|error| format!("log: {error}"))?;
    Ok(Case { name, line, log, expect })
}

/// What serde_json counts as line 1 is another line of the file, and named already.
fn without_line(message: &str) -> String {
    message.replace(" at line 1 column ", " at column ")
}

/// Runs the cases, in order. Each call has the plugin's deadline; the first case that fails because it was passed is
/// the last that is run, since those after it would likely wait as long. The plugin's circuit breaker is closed before
/// each case, since cases that fail on purpose say nothing of its health: use a plugin that serves no traffic.
#[must_use]
pub fn run(plugin: &Plugin, cases: &[Case]) -> Vec<CaseResult> {
    let mut results = Vec::with_capacity(cases.len());
    for case in cases {
        let deadlines = plugin.meter.deadlines();
        let result = run_case(plugin, case);
        let goes_on = (result.passed() || plugin.meter.deadlines() == deadlines) && !plugin.recipe.is_late();
        results.push(result);
        if !goes_on {
            break;
        }
    }
    results
}

fn run_case(plugin: &Plugin, case: &Case) -> CaseResult {
    plugin.forget_failures();
    let found = flow(plugin, &case.log);
    let differences = compare(&case.expect, &found);
    CaseResult { name: case.name.clone(), line: case.line, log: case.log.clone(), differences, found }
}

fn flow(plugin: &Plugin, log: &Log) -> Found {
    let has = |stage| plugin.stages.contains(&stage);
    let mut log = log.clone();
    if !plugin.manifest().matches.takes(&log) {
        return Found { excluded: true, ..accepted(vec![log]) };
    }
    if has(Stage::Filter)
        && let Some(found) = filter(plugin, &log)
    {
        return found;
    }
    if has(Stage::Enrich)
        && let Err(error) = enrich(plugin, &mut log)
    {
        return ended(Verdict::Fail, error);
    }
    if has(Stage::Transform) { transform(plugin, log) } else { accepted(vec![log]) }
}

fn accepted(logs: Vec<Log>) -> Found {
    Found { logs, ..Found::default() }
}

const fn ended(verdict: Verdict, reason: String) -> Found {
    Found { verdict, reason, logs: Vec::new(), excluded: false }
}

/// None: accepted.
fn filter(plugin: &Plugin, log: &Log) -> Option<Found> {
    let answer = match call::filter(plugin, &[log], Terms::Whole) {
        Ok(answer) => answer,
        Err(error) => return Some(ended(Verdict::Fail, error.to_string())),
    };
    if let Some(error) = answer.errors.get(&0) {
        return Some(ended(Verdict::Fail, error.clone()));
    }
    let reason = answer.reason(0).to_owned();
    match answer.decision(0) {
        Decision::Accept => None,
        Decision::Drop => Some(ended(Verdict::Drop, reason)),
        Decision::Reject => Some(ended(Verdict::Reject, reason)),
    }
}

fn enrich(plugin: &Plugin, log: &mut Log) -> Result<(), String> {
    let answer = call::enrich(plugin, &[log], Terms::Whole).map_err(|error| error.to_string())?;
    match (answer.errors.get(&0), answer.patches.row(0)) {
        (Some(error), _) => Err(error.clone()),
        (None, "") => Ok(()),
        (None, patch) => convert::set(&mut log.log_data, patch, &plugin.settings().limits),
    }
}

fn transform(plugin: &Plugin, log: Log) -> Found {
    let mut batch = Batch::strict(vec![log]);
    batch.run_alone(plugin);
    let made = batch.finish();
    if let Some(failed) = made.failed.into_iter().next() {
        return ended(Verdict::Fail, failed.error);
    }
    if let Some(dropped) = made.dropped.into_iter().next() {
        return ended(Verdict::Drop, dropped.reason);
    }
    accepted(made.outputs.into_iter().map(|output| output.log).collect())
}

fn compare(expect: &Expect, found: &Found) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut differs = |what: &str, expected: String, found: String| {
        all.push(Difference { what: what.to_owned(), expected, found });
    };
    if expect.verdict != found.verdict {
        let why = if found.reason.is_empty() { String::new() } else { format!(" ({})", found.reason) };
        differs("verdict", expect.verdict.to_string(), format!("{}{why}", found.verdict));
        return all;
    }
    if let Some(reason) = expect.reason.as_ref().filter(|reason| !found.reason.contains(*reason)) {
        differs("reason", format!("one with {reason:?}"), format!("{:?}", found.reason));
    }
    let Some(log) = found.logs.first() else { return all };
    let parts = expect.parts.unwrap_or(1);
    if parts != found.logs.len() {
        differs("parts", parts.to_string(), found.logs.len().to_string());
    }
    if let Some(level) = expect.log_level.filter(|level| *level != log.log_level) {
        differs("log_level", level.to_string(), log.log_level.to_string());
    }
    if let Some(message) = expect.message.as_ref().filter(|message| **message != log.message) {
        differs("message", format!("{message:?}"), format!("{:?}", log.message));
    }
    compare_data(expect, log, differs);
    all
}

fn compare_data(expect: &Expect, log: &Log, mut differs: impl FnMut(&str, String, String)) {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    for (key, wanted) in &expect.set {
        let has = log.log_data.get(key);
        if has.map(value).as_ref() != Some(wanted) {
            let has = has.map_or_else(|| "no such member".to_owned(), str::to_owned);
            differs(&format!("log_data.{key}"), wanted.to_string(), has);
        }
    }
    for key in &expect.absent {
        if let Some(has) = log.log_data.get(key) {
            differs(&format!("log_data.{key}"), "no such member".to_owned(), has.to_owned());
        }
    }
    if let Some(wanted) = &expect.log_data
        && value(log.log_data.as_str()) != *wanted
    {
        differs("log_data", wanted.to_string(), log.log_data.as_str().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn wrong(text: &str) -> String {
        let settings = RuntimeSettings::new(Arc::new(Timestamp::default));
        parse("x.cases.ndjson", text, &settings).unwrap_err().to_string()
    }

    const LOG: &str = r#"{"device_id":"d","log_level":"INFO","message":"m","log_data":{}}"#;

    #[test]
    fn a_line_that_is_no_case_is_named() {
        let good = format!(r#"{{"name":"a","log":{LOG}}}"#);
        for (text, message) in [
            ("\n\nnonsense".to_owned(), "x.cases.ndjson, line 3: expected"),
            (format!(r#"{{"name":"a","log":{LOG},"expects":{{}}}}"#), "unknown field `expects`"),
            (
                format!(r#"{{"name":"a","log":{LOG},"expect":{{"verdict":"keep"}}}}"#),
                "line 1: unknown variant `keep`",
            ),
            (format!("{good}\n\n{{\"name\":\"b\",\"log\":{LOG},\"x\":1}}"), "line 3: unknown field `x`"),
            (r#"{"name":"a","log":{"device_id":"d"}}"#.to_owned(), "line 1: log: "),
            (format!("{good}\n{good}"), "line 2: the name \"a\" is taken"),
        ] {
            let found = wrong(&text);
            assert!(found.contains(message), "{found}");
            assert_eq!(found.matches("line ").count(), 1, "{found}");
        }
    }

    #[test]
    fn there_may_be_a_thousand_cases_and_not_one_more() {
        let settings = RuntimeSettings::new(Arc::new(Timestamp::default));
        let mut text: String =
            (0..CASES_MAX).map(|i| format!("{{\"name\":\"{i}\",\"log\":{LOG}}}\n")).collect();
        assert_eq!(parse("x", &text, &settings).unwrap().len(), CASES_MAX);
        text.push_str(&format!(r#"{{"name":"more","log":{LOG}}}"#));
        assert!(wrong(&text).contains("at most 1000"));
    }
}
