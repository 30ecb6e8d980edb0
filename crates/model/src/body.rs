//! What devices post, parsed and validated.
//!
//! serde_json checks the whole body's syntax once; the values are then picked out of the valid text and judged
//! one by one, so that all mistakes of a log are answered together and a bad log of a batch spoils only itself.

use std::borrow::Cow;

use crate::check::Checker;
use crate::scan::{Members, elements, kind, syntax};
use crate::text::unescape;
use crate::{Level, Limits, Log, RawObject, Timestamp};

/// Most errors told of one log: a person reads them, and a body of a million unknown fields must not become an
/// answer of a million errors.
const ERRORS: usize = 16;

/// One rule that one field breaks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{field} {rule}")]
pub struct FieldError {
    /// Which field, as in `message`, or `logs[3].message` in a batch; `logs[3]` for the whole log.
    pub field: String,
    /// What it must be, as a sentence whose subject is the field: `must be 1 to 64 bytes of UTF-8, but has 65`.
    pub rule: String,
}

/// Why a whole body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// Larger than [`Limits::body_bytes`].
    #[error("the body must be at most {limit} bytes, but has {bytes}: send fewer logs at once")]
    TooLarge {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("the body must be UTF-8, but is not at byte {at}")]
    Utf8 {
        /// Byte offset of the first byte that is not UTF-8.
        at: usize,
    },
    /// Not JSON.
    #[error("the body must be valid JSON: {reason} at line {line} column {column}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1; 0 is the end of the line before.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// JSON, but not an object.
    #[error("the body must be a JSON object, not {found}")]
    NotAnObject {
        /// What it is instead, as in `an array`.
        found: &'static str,
    },
    /// The fields of the log, or of the batch's envelope, break these rules: at least one, and at most 16 are told.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldError>),
    /// No logs, or more than [`Limits::batch_logs`].
    #[error("logs must hold 1 to {limit} logs, but has {found}: split the batch")]
    BatchSize {
        /// How many there are.
        found: usize,
        /// The most there may be.
        limit: usize,
    },
}

/// Parses the body of `POST /api/log`: one log, taken at `received_at`.
///
/// `log_data` may be left out or `null`, which is the same as `{}`: many libraries write an absent value so.
/// An unknown field is refused, so that a misspelt one is not lost in silence.
///
/// # Errors
/// The body is no JSON object, or [`BodyError::Fields`] with every rule that its fields break.
pub fn parse_log(body: &[u8], limits: &Limits, received_at: Timestamp) -> Result<Log, BodyError> {
    let object = object(body, limits)?;
    log(object, None, limits, received_at, &mut Checker::default()).map_err(BodyError::Fields)
}

/// Parses the body of `POST /api/logs/batch`, `{"logs": […]}`: each log by the rules of [`parse_log`], in the
/// order sent, with the errors of those that break some.
///
/// # Errors
/// The body is no JSON object with `logs` alone, an array of 1 to [`Limits::batch_logs`] members.
pub fn parse_batch(
    body: &[u8],
    limits: &Limits,
    received_at: Timestamp,
) -> Result<Vec<Result<Log, Vec<FieldError>>>, BodyError> {
    let logs = logs(object(body, limits)?).map_err(BodyError::Fields)?;
    let mut checker = Checker::default();
    let mut members = elements(logs).enumerate();
    let parsed: Vec<_> = members
        .by_ref()
        .take(limits.batch_logs)
        .map(|(index, member)| log(member, Some(index), limits, received_at, &mut checker))
        .collect();
    let found = parsed.len() + members.count();
    if parsed.is_empty() || found > parsed.len() {
        return Err(BodyError::BatchSize { found, limit: limits.batch_logs });
    }
    Ok(parsed)
}

/// The JSON object that is the whole body.
fn object<'a>(body: &'a [u8], limits: &Limits) -> Result<&'a str, BodyError> {
    if body.len() > limits.body_bytes {
        return Err(BodyError::TooLarge { bytes: body.len(), limit: limits.body_bytes });
    }
    let text = std::str::from_utf8(body).map_err(|error| BodyError::Utf8 { at: error.valid_up_to() })?;
    let json = syntax(text).map_err(|fault| BodyError::Syntax {
        line: fault.line,
        column: fault.column,
        reason: fault.reason,
    })?;
    if json.starts_with('{') { Ok(json) } else { Err(BodyError::NotAnObject { found: kind(json) }) }
}

/// The text of the array in a batch's envelope.
fn logs(object: &str) -> Result<&str, Vec<FieldError>> {
    let mut errors = Errors::new(None);
    let [logs] = fields(object, ["logs"], &mut errors);
    match logs {
        None => errors.add("logs", "is required: an array of logs"),
        Some(logs) if !logs.starts_with('[') => {
            errors.add("logs", format!("must be an array, not {}", kind(logs)))
        }
        Some(logs) if errors.found.is_empty() => return Ok(logs),
        Some(_) => {}
    }
    Err(errors.found)
}

/// Judges one log: the whole body, or the member of the batch at `index`.
fn log(
    json: &str,
    index: Option<usize>,
    limits: &Limits,
    received_at: Timestamp,
    checker: &mut Checker,
) -> Result<Log, Vec<FieldError>> {
    let mut errors = Errors::new(index);
    if !json.starts_with('{') {
        errors.add("", format!("must be an object, not {}", kind(json)));
        return Err(errors.found);
    }
    let names = ["device_id", "log_level", "message", "log_data"];
    let [device_id, log_level, message, log_data] = fields(json, names, &mut errors);
    let device_id =
        errors.keep("device_id", required(device_id).and_then(|json| self::device_id(json, limits)));
    let log_level = errors.keep("log_level", required(log_level).and_then(level));
    let message = errors.keep("message", required(message).and_then(|json| self::message(json, limits)));
    let log_data = errors.keep("log_data", self::log_data(log_data, limits, checker));
    match (device_id, log_level, message, log_data) {
        (Some(device_id), Some(log_level), Some(message), Some(log_data)) if errors.found.is_empty() => {
            Ok(Log { device_id, log_level, message, log_data, received_at })
        }
        _ => Err(errors.found),
    }
}

/// The values of the members called `names`; other members, and a name given twice, are errors.
fn fields<'a, const N: usize>(
    object: &'a str,
    names: [&str; N],
    errors: &mut Errors,
) -> [Option<&'a str>; N] {
    let mut values = [None; N];
    for (key, value) in Members::new(object) {
        let name = unescape(key).unwrap_or(Cow::Borrowed(key));
        match values.iter_mut().zip(names).find(|(_, known)| *known == name) {
            Some((slot @ None, _)) => *slot = Some(value),
            Some((Some(_), known)) => errors.add(known, "must be given once, but is given more than once"),
            None => errors.add(&short(&name), format!("is unknown: the fields are {}", names.join(", "))),
        }
    }
    values
}

type Judged<T> = Result<T, Cow<'static, str>>;

fn required(value: Option<&str>) -> Judged<&str> {
    value.ok_or(Cow::Borrowed("is required"))
}

fn string(json: &str) -> Judged<Cow<'_, str>> {
    if !json.starts_with('"') {
        return Err(format!("must be a string, not {}", kind(json)).into());
    }
    unescape(json).map_err(|fault| fault.rule().into())
}

/// A string of 1 to `limit` bytes.
fn sized(json: &str, limit: usize) -> Judged<Cow<'_, str>> {
    let text = string(json)?;
    if text.is_empty() || text.len() > limit {
        return Err(format!("must be 1 to {limit} bytes of UTF-8, but has {}", text.len()).into());
    }
    Ok(text)
}

fn device_id(json: &str, limits: &Limits) -> Judged<String> {
    let text = sized(json, limits.device_id_bytes)?;
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    if text.trim().is_empty() {
        return Err("must not consist of blanks only".into());
    }
    Ok(text.into_owned())
}

fn level(json: &str) -> Judged<Level> {
    let text = string(json)?;
    text.parse().map_err(|_| {
        format!("must be DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case, not {:?}", short(&text)).into()
    })
}

fn message(json: &str, limits: &Limits) -> Judged<String> {
    sized(json, limits.message_bytes).map(Cow::into_owned)
}

fn log_data(json: Option<&str>, limits: &Limits, checker: &mut Checker) -> Judged<RawObject> {
    match json {
        None | Some("null") => Ok(RawObject::default()),
        Some(json) => RawObject::of_valid(json, limits, checker).map_err(|error| error.to_string().into()),
    }
}

/// The beginning of what a device sent, short enough to answer.
fn short(text: &str) -> String {
    text.chars().take(32).collect()
}

/// The errors found so far in one log.
struct Errors {
    /// Its place in the batch, if it is in one.
    index: Option<usize>,
    found: Vec<FieldError>,
}

impl Errors {
    const fn new(index: Option<usize>) -> Self {
        Self { index, found: Vec::new() }
    }

    /// An empty `field` is the whole log.
    fn add(&mut self, field: &str, rule: impl Into<String>) {
        if self.found.len() >= ERRORS {
            return;
        }
        let field = match self.index {
            None => field.to_owned(),
            Some(index) if field.is_empty() => format!("logs[{index}]"),
            Some(index) => format!("logs[{index}].{field}"),
        };
        self.found.push(FieldError { field, rule: rule.into() });
    }

    /// The value, or its error kept for the answer.
    fn keep<T>(&mut self, field: &str, judged: Judged<T>) -> Option<T> {
        judged.map_err(|rule| self.add(field, rule)).ok()
    }
}
