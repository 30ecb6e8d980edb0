//! One version of one plugin.

use std::fmt;

use serde::Serialize;

/// Where in the flow a plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// In the host, first.
    Filter,
    /// In the host, after all filters.
    Enrich,
    /// In the worker.
    Transform,
}

impl Stage {
    /// In the order of the flow.
    pub const ALL: [Self; 3] = [Self::Filter, Self::Enrich, Self::Transform];

    /// As it is shown: `filter`, `enrich` or `transform`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Enrich => "enrich",
            Self::Transform => "transform",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
