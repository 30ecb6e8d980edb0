//! A call of a guest that failed.

use std::time::Duration;

use crate::Cause;

/// A call of a guest that failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The guest trapped, mostly a panic.
    #[error("{0}")]
    Trap(String),
    /// The deadline passed.
    #[error("deadline of {} ms passed ({setting}){said}", .limit.as_millis())]
    Deadline {
        /// The budget.
        limit: Duration,
        /// Where it is set.
        setting: &'static str,
        /// What the guest wrote last, with a separator, or nothing.
        said: String,
    },
    /// The guest wanted more memory than it may have.
    #[error("memory limit of {limit_mib} MiB reached (memory_mib in the manifest): {cause}")]
    Memory {
        /// The limit, in MiB.
        limit_mib: u32,
        /// What happened then.
        cause: String,
    },
    /// `configure` returned an error.
    #[error("configure refused the settings: {0}")]
    Configure(String),
    /// The answer is too large.
    #[error("the answer has more than {limit} bytes (--plugin-answer-bytes): {cause}")]
    Answer {
        /// The limit, in bytes.
        limit: usize,
        /// In wasmtime's words.
        cause: String,
    },
    /// The answer breaks the contract.
    #[error("bad answer: {0}")]
    Output(#[from] OutputError),
    /// No instance was free in time.
    #[error("no free instance within {} ms: raise the number of instances", .waited.as_millis())]
    Busy {
        /// How long was waited.
        waited: Duration,
    },
    /// Not called, because it failed too often just now.
    #[error("not called: it is bypassed, because it kept failing with: {last}")]
    Bypassed {
        /// What it failed with, one line.
        last: String,
    },
    /// Not called, because the time for calls of single logs after a failure was used up.
    #[error("not tried alone within {} ms after: {first}", .limit.as_millis())]
    NotTried {
        /// The time for all of them.
        limit: Duration,
        /// What the whole call failed with.
        first: String,
    },
}

impl CallError {
    /// Whether the plugin was not called because its breaker is open: trying again now is no use.
    pub(crate) const fn is_bypass(&self) -> bool {
        matches!(self, Self::Bypassed { .. })
    }

    /// Whether the plugin was not called at all, so that trying the logs one by one is no use.
    pub(crate) const fn is_no_call(&self) -> bool {
        matches!(self, Self::Bypassed { .. } | Self::Busy { .. })
    }

    /// Whether the guest used up its time.
    pub(crate) const fn is_deadline(&self) -> bool {
        matches!(self, Self::Deadline { .. })
    }

    /// Whether the log is at fault.
    pub(crate) const fn cause(&self) -> Cause {
        match self {
            Self::Busy { .. } | Self::NotTried { .. } => Cause::Circumstances,
            _ => Cause::Log,
        }
    }

    /// The `kind` label of the metrics.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline { .. } => "deadline",
            Self::Memory { .. } => "memory",
            Self::Configure(_) => "configure",
            Self::Output(_) | Self::Answer { .. } => "output",
            Self::Busy { .. } => "busy",
            Self::Bypassed { .. } => "bypassed",
            Self::NotTried { .. } => "not_tried",
        }
    }
}

/// How an answer of a guest breaks the contract of `plugin.wit`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// A list has the wrong length.
    #[error("{list} has {found} entries, wanted {wanted}")]
    Length {
        /// Which list.
        list: &'static str,
        /// Its length.
        found: usize,
        /// What was expected.
        wanted: usize,
    },
    /// A list is longer than there is reason for.
    #[error("{list} has {found} entries, at most {most} make sense here")]
    TooMany {
        /// Which list.
        list: &'static str,
        /// Its length.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// Ends of a column go backwards, or past its bytes.
    #[error("the ends of {column} must not go backwards nor past its {bytes} bytes (row {row})")]
    Ends {
        /// Which column.
        column: &'static str,
        /// Its length, in bytes.
        bytes: usize,
        /// The first wrong row.
        row: usize,
    },
    /// A row is not UTF-8.
    #[error("row {row} of {column} is not UTF-8")]
    Utf8 {
        /// Which column.
        column: &'static str,
        /// The row.
        row: usize,
    },
    /// An index is out of range.
    #[error("{list} names {what} {found}, and there are {count}")]
    Index {
        /// Which list.
        list: &'static str,
        /// What it counts.
        what: &'static str,
        /// The index.
        found: u32,
        /// How many there are.
        count: usize,
    },
    /// A patch is no object that could be set in a log.
    #[error("set of row {row}: the patch {rule}")]
    Patch {
        /// The row.
        row: usize,
        /// The rule that it breaks.
        rule: String,
    },
    /// An input was neither continued, merged, dropped nor failed.
    #[error("input {input} was forgotten: continue, merge, drop or fail it")]
    Forgotten {
        /// The input.
        input: usize,
    },
    /// An input was accounted for in two ways.
    #[error("input {input} is both {one} and {other}")]
    Conflict {
        /// The input.
        input: usize,
        /// The one way.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// An edit is not what a log may be.
    #[error("{part} of output {output}: {rule}")]
    Edit {
        /// Which part of the log.
        part: &'static str,
        /// The output.
        output: usize,
        /// The rule that it breaks.
        rule: String,
    },
}
