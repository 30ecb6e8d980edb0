//! The manifest's `match`: which logs a plugin gets.

use std::fmt;

use globset::{Glob, GlobMatcher};
use sawpit_model::{Level, Log};
use serde::Deserialize;

/// Longest pattern of devices. What is made of much longer ones is refused where nobody expects an error any more.
const PATTERN_BYTES: usize = 256;

/// Which logs a plugin gets.
#[derive(Clone, Default)]
pub struct Match {
    devices: Option<Vec<GlobMatcher>>,
    levels: Option<[bool; Level::ALL.len()]>,
}

impl Match {
    /// Of the table `match` as it is written; the key that is wrong and the rule that it breaks.
    pub(crate) fn of(raw: &RawMatch) -> Result<Self, (&'static str, String)> {
        Ok(Self {
            devices: devices(raw.device_id.as_ref()).map_err(|rule| ("match.device_id", rule))?,
            levels: levels(raw.log_level.as_ref()).map_err(|rule| ("match.log_level", rule))?,
        })
    }

    /// Whether the plugin gets this log.
    #[must_use]
    pub fn takes(&self, log: &Log) -> bool {
        let level =
            self.levels.is_none_or(|levels| levels.get(usize::from(log.log_level.code())) == Some(&true));
        level
            && self
                .devices
                .as_ref()
                .is_none_or(|globs| globs.iter().any(|glob| glob.is_match(&log.device_id)))
    }
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let globs = self
            .devices
            .as_ref()
            .map(|globs| globs.iter().map(|glob| glob.glob().glob()).collect::<Vec<_>>());
        f.debug_struct("Match").field("device_id", &globs).field("log_level", &self.levels).finish()
    }
}

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawMatch {
    device_id: Option<OneOrMany>,
    log_level: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "it must be a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

fn devices(patterns: Option<&OneOrMany>) -> Result<Option<Vec<GlobMatcher>>, String> {
    let Some(patterns) = patterns.map(OneOrMany::as_slice) else { return Ok(None) };
    let globs = patterns.iter().map(|pattern| device(pattern)).collect::<Result<Vec<_>, _>>()?;
    if globs.is_empty() {
        return Err("must name at least one pattern: leave it out for all".to_owned());
    }
    Ok(Some(globs))
}

fn device(pattern: &str) -> Result<GlobMatcher, String> {
    let rule = "must be glob patterns such as \"sensor-*\"";
    if pattern.len() > PATTERN_BYTES {
        return Err(format!("{rule}, of at most {PATTERN_BYTES} bytes, but one has {}", pattern.len()));
    }
    let glob = Glob::new(pattern).map_err(|error| format!("{rule}: {error}"))?;
    Ok(glob.compile_matcher())
}

fn levels(names: Option<&OneOrMany>) -> Result<Option<[bool; Level::ALL.len()]>, String> {
    let Some(names) = names.map(OneOrMany::as_slice) else { return Ok(None) };
    if names.is_empty() {
        return Err("must name at least one level: leave it out for all".to_owned());
    }
    let mut wanted = [false; Level::ALL.len()];
    for name in names {
        let level: Level = name.parse().map_err(|error| format!("has an {error}"))?;
        if let Some(slot) = wanted.get_mut(usize::from(level.code())) {
            *slot = true;
        }
    }
    Ok(Some(wanted))
}
