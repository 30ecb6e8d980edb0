//! `NAME.toml` beside `NAME.wasm`: how the operator wants the plugin to run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::matches::RawMatch;
use crate::{BreakerLimits, CanaryLimits, Match, RuntimeSettings};

/// What becomes of a log that the plugin fails on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnError {
    /// It is refused (host) or fails (worker).
    #[default]
    Reject,
    /// It goes on as if the plugin were not there.
    Pass,
    /// It is kept whole among the dead letters, to be replayed once the plugin is mended.
    Quarantine,
}

/// Whether the plugin's answers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// They do.
    #[default]
    Active,
    /// It is called on copies, and what it would change is only counted.
    Shadow,
    /// It is not even compiled.
    Off,
}

/// How long what an instance remembers lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Lifetime {
    /// Over many calls: an instance is kept and called again.
    #[default]
    Shared,
    /// Over one call: each is made on a new instance, which no log of another call has touched.
    PerRequest,
}

/// Something beside its own memory that a plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Grant {
    /// Write lines to the log of the process. Without it they are kept only as the cause of an error.
    Log,
    /// Read the clock.
    Clock,
    /// Count into the metrics of the process.
    Counters,
}

/// The manifest is wrong. The message names the key and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{file}: {cause}")]
    Syntax {
        /// The file's name.
        file: String,
        /// Where and what, in the parser's words.
        cause: String,
    },
    /// A value that breaks a rule.
    #[error("{file}: {key} {rule}")]
    Value {
        /// The file's name.
        file: String,
        /// The key.
        key: &'static str,
        /// The rule.
        rule: String,
    },
}

/// A manifest that was checked, with the runtime's defaults filled in.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file's name, as it is or would be.
    pub file: String,
    /// The `config` table as JSON; `{}` without one.
    pub config: String,
    /// Whether there is a `config` table.
    pub has_config: bool,
    /// What becomes of a log that the plugin fails on.
    pub on_error: OnError,
    /// How long a call may take.
    pub timeout: Duration,
    /// How much memory an instance may have, in MiB.
    pub memory_mib: u32,
    /// Which logs it gets.
    pub matches: Match,
    /// Whether its answers count.
    pub mode: Mode,
    /// What it may use.
    pub grants: Vec<Grant>,
    /// How long what an instance remembers lasts.
    pub instance: Lifetime,
    /// When it is bypassed because it fails.
    pub breaker: BreakerLimits,
    /// Whether it gets only a part of the devices at first, where a version of it is serving already.
    pub canary: Option<CanaryLimits>,
    /// Most fuel that a log may cost in each stage, as `sawpit plugin bench` counts it.
    pub fuel_per_log: Option<u64>,
}

/// The file as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    config: Option<toml::Table>,
    on_error: OnError,
    timeout_ms: Option<u64>,
    memory_mib: Option<u32>,
    r#match: RawMatch,
    mode: Mode,
    grants: Vec<Grant>,
    instance: Lifetime,
    breaker: RawBreaker,
    canary: Option<RawCanary>,
    budget: RawBudget,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBudget {
    fuel_per_log: Option<u64>,
}

/// The keys of [`Raw`], all of which stand before the first table.
const KEYS: [&str; 11] = [
    "config",
    "on_error",
    "timeout_ms",
    "memory_mib",
    "match",
    "mode",
    "grants",
    "instance",
    "breaker",
    "canary",
    "budget",
];

/// `canary = 5`, or a table.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "canary must be a percentage, as in canary = 5, or a table with percent, and perhaps errors, error_percent, \
                 cost_percent and logs"
)]
enum RawCanary {
    Percent(u8),
    Table(RawCanaryTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCanaryTable {
    percent: u8,
    errors: Option<u64>,
    error_percent: Option<u8>,
    cost_percent: Option<u32>,
    logs: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBreaker {
    failures: Option<u32>,
    window_ms: Option<u64>,
    percent: Option<u8>,
    rest_ms: Option<u64>,
}

impl Manifest {
    /// Longest `timeout_ms`, in milliseconds: a request waits for it.
    pub const TIMEOUT_MS_MAX: u64 = 60_000;

    /// Parses the text of the file called `file`; an empty text is a manifest without keys.
    ///
    /// # Errors
    /// The first key that is unknown, of a wrong type or breaks its rule.
    pub fn parse(file: &str, text: &str, settings: &RuntimeSettings) -> Result<Self, ManifestError> {
        let raw: Raw = toml::from_str(text).map_err(|error| ManifestError::Syntax {
            file: file.to_owned(),
            cause: with_hint(error.to_string().trim_end()),
        })?;
        let wrong = |key, rule: String| ManifestError::Value { file: file.to_owned(), key, rule };
        Ok(Self {
            file: file.to_owned(),
            has_config: raw.config.is_some(),
            config: config_json(raw.config).map_err(|rule| wrong("config", rule))?,
            on_error: raw.on_error,
            timeout: timeout(raw.timeout_ms, settings).map_err(|rule| wrong("timeout_ms", rule))?,
            memory_mib: memory(raw.memory_mib, settings).map_err(|rule| wrong("memory_mib", rule))?,
            matches: Match::of(&raw.r#match).map_err(|(key, rule)| wrong(key, rule))?,
            mode: raw.mode,
            grants: raw.grants,
            instance: raw.instance,
            breaker: breaker(&raw.breaker, settings).map_err(|(key, rule)| wrong(key, rule))?,
            fuel_per_log: raw.budget.fuel_per_log,
            canary: canary(raw.canary.as_ref(), raw.mode).map_err(|(key, rule)| wrong(key, rule))?,
        })
    }

    /// What to do about keys of the manifest itself that stand in `[config]`; nothing where there are none. The plugin
    /// may have a setting of such a name, so it is only a hint.
    pub(crate) fn misplaced(&self) -> String {
        let config: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&self.config).unwrap_or_default();
        let misplaced: Vec<_> = KEYS.into_iter().filter(|key| config.contains_key(*key)).collect();
        if misplaced.is_empty() { String::new() } else { hint(&misplaced.join(", ")) }
    }

    /// Whether the plugin may use it.
    #[must_use]
    pub fn grants(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }
}

/// With a hint where a key of the manifest itself stands in a table.
fn with_hint(cause: &str) -> String {
    let unknown = cause.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    match unknown.filter(|(key, _)| KEYS.contains(key)) {
        Some((key, _)) => format!("{cause}{}", hint(key)),
        None => cause.to_owned(),
    }
}

fn hint(keys: &str) -> String {
    format!("; if {keys} is meant for the manifest itself, put it before the first [table]")
}

fn config_json(config: Option<toml::Table>) -> Result<String, String> {
    let table = config.unwrap_or_default();
    let json = json_of(toml::Value::Table(table))?;
    Ok(json.to_string())
}

/// Dates become their text, as JSON has none.
fn json_of(value: toml::Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(serde_json::Value::Number)
            .ok_or_else(|| format!("must not hold {number}: JSON has no such number"))?,
        toml::Value::Boolean(yes) => yes.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json_of).collect::<Result<Vec<_>, _>>()?.into(),
        toml::Value::Table(table) => serde_json::Value::Object(
            table
                .into_iter()
                .map(|(key, value)| Ok((key, json_of(value)?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}

fn timeout(millis: Option<u64>, settings: &RuntimeSettings) -> Result<Duration, String> {
    match millis {
        None => Ok(settings.timeout),
        Some(millis @ 1..=Manifest::TIMEOUT_MS_MAX) => Ok(Duration::from_millis(millis)),
        Some(other) => Err(format!("must be 1 to {}, not {other}", Manifest::TIMEOUT_MS_MAX)),
    }
}

fn memory(mib: Option<u32>, settings: &RuntimeSettings) -> Result<u32, String> {
    let max = settings.memory_mib_max;
    match mib {
        None => Ok(settings.memory_mib),
        Some(mib) if (1..=max).contains(&mib) => Ok(mib),
        Some(other) => Err(format!("must be 1 to {max}, not {other}")),
    }
}

fn breaker(raw: &RawBreaker, settings: &RuntimeSettings) -> Result<BreakerLimits, (&'static str, String)> {
    let default = settings.breaker;
    let limits = BreakerLimits {
        failures: raw.failures.unwrap_or(default.failures),
        window: raw.window_ms.map_or(default.window, Duration::from_millis),
        percent: raw.percent.unwrap_or(default.percent),
        rest: raw.rest_ms.map_or(default.rest, Duration::from_millis),
    };
    limits.check().map(|()| limits)
}

fn canary(raw: Option<&RawCanary>, mode: Mode) -> Result<Option<CanaryLimits>, (&'static str, String)> {
    let limits = match raw {
        None => return Ok(None),
        Some(RawCanary::Percent(percent)) => CanaryLimits::new(*percent),
        Some(RawCanary::Table(table)) => {
            let default = CanaryLimits::new(table.percent);
            CanaryLimits {
                percent: table.percent,
                errors: table.errors.unwrap_or(default.errors),
                error_percent: table.error_percent.unwrap_or(default.error_percent),
                cost_percent: table.cost_percent.unwrap_or(default.cost_percent),
                logs: table.logs.unwrap_or(default.logs),
            }
        }
    };
    if mode == Mode::Shadow {
        let rule = "cannot go with mode = \"shadow\": a shadow's answers do not count on any device";
        return Err(("canary", rule.to_owned()));
    }
    limits.check().map(|()| Some(limits))
}
