//! How grave a log is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The five levels, ordered: `Debug < Info < Warning < Error < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum Level {
    /// Detail for whoever debugs the device.
    Debug = 0,
    /// Normal work.
    Info = 1,
    /// Unusual, and handled.
    Warning = 2,
    /// Something failed.
    Error = 3,
    /// The device cannot do its job.
    Critical = 4,
}

/// A text that names none of the levels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown level {0:?}: expected DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case")]
pub struct UnknownLevel(pub String);

impl Level {
    /// All of them, mildest first.
    pub const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The name as it is stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// The level of a code (0 to 4), as databases keep it.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// 0 for [`Level::Debug`] to 4 for [`Level::Critical`].
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownLevel(text.chars().take(32).collect()))
    }
}
