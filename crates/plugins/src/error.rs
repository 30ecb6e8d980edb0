//! One error type per stage: starting the runtime, loading a file, calling a guest, watching the folder.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::golden::{CasesError, GoldenError};
use crate::{Cause, ManifestError, SignatureError, Stage};

/// The runtime could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The settings contradict each other.
    #[error("plugin runtime settings: {rule}")]
    Settings {
        /// The rule that does not hold.
        rule: &'static str,
    },
    /// wasmtime refused the configuration; mostly too little address space.
    #[error("cannot set up the WebAssembly engine (try fewer instances): {cause}")]
    Engine {
        /// In wasmtime's words.
        cause: String,
    },
    /// The folder of the compile cache cannot be used.
    #[error(
        "cannot use {path} as the compile cache (it must be a folder that this user owns and no other may write): {cause}"
    )]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The thread that ticks the deadlines could not be started.
    #[error("cannot start the deadline thread: {0}")]
    Thread(io::Error),
}

/// The folder could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The folder cannot be made or read.
    #[error("cannot read the plugin folder {path} (check that it is a folder and may be read): {cause}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The watcher's thread could not be started.
    #[error("cannot start the thread that watches the plugin folder: {0}")]
    Thread(io::Error),
}

/// Why a file may not serve. The message tells the plugin's author or the operator what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Its name is none that a plugin may have.
    #[error("the file's name {rule}: rename it")]
    Name {
        /// The rule.
        rule: &'static str,
    },
    /// The folder holds more files than are looked at.
    #[error(
        "the folder holds {found} .wasm files, and at most {limit} are looked at (plugin-files): this one and those after \
         it are not"
    )]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Reading the file broke one of the libraries that read it.
    #[error("the file broke the compiler, please report it with the file: {cause}")]
    Panicked {
        /// What the panic said.
        cause: String,
    },
    /// The file is too large.
    #[error("the file is larger than {limit} bytes: strip it, or raise the limit")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The file does not begin as WebAssembly does.
    #[error("not WebAssembly: {found}; build it with `sawpit plugin build` or for wasm32-unknown-unknown")]
    NotWasm {
        /// What it is instead.
        found: &'static str,
    },
    /// It, or its manifest, is not signed as this runtime requires.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The `.toml` beside it is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A core module that cannot be made a component.
    #[error(
        "this core module cannot be made a component; build it for wasm32-unknown-unknown with the SDK: {cause}"
    )]
    Encode {
        /// In wit-component's words.
        cause: String,
    },
    /// WebAssembly that does not compile.
    #[error("the file is damaged or uses what the engine does not support: {cause}")]
    Compile {
        /// In wasmtime's words.
        cause: String,
    },
    /// It is not a plugin, or one for another version of the interface.
    #[error("not a plugin of this version: wanted exports {wanted}; found {found}")]
    Exports {
        /// What a plugin exports.
        wanted: String,
        /// What the file exports.
        found: String,
    },
    /// It imports what no plugin can have.
    #[error("it imports {found}, which no plugin can have: offered are {offered}")]
    Imports {
        /// The import.
        found: String,
        /// What can be imported.
        offered: &'static str,
    },
    /// It imports what its manifest does not grant.
    #[error("it imports {import}: add grants = [\"{grant}\"] to {manifest} to allow that")]
    Grant {
        /// The import.
        import: String,
        /// The grant to add.
        grant: &'static str,
        /// The manifest's file name.
        manifest: String,
    },
    /// The types of its imports or exports differ from the interface.
    #[error("its types differ from sawpit:plugin@0.1.0; build it against this version's wit folder: {cause}")]
    Link {
        /// In wasmtime's words.
        cause: String,
    },
    /// An instance could not be started.
    #[error("it does not start: {0}")]
    Start(CallError),
    /// `describe` failed.
    #[error("its describe failed: {0}")]
    Describe(CallError),
    /// What `describe` returned breaks a rule.
    #[error("its describe returned {field} {found:?}: {rule}")]
    Description {
        /// Which part.
        field: &'static str,
        /// What it was.
        found: String,
        /// The rule.
        rule: &'static str,
    },
    /// It has settings, and takes none.
    #[error("{manifest} has a config table, and the plugin exports no configuration: remove the table")]
    NotConfigurable {
        /// The manifest's file name.
        manifest: String,
    },
    /// It failed the trial on sample logs.
    #[error("it failed the trial run of {stage} on sample logs: {cause}")]
    Trial {
        /// The stage.
        stage: Stage,
        /// How.
        cause: CallError,
    },
    /// It was not proved in time.
    #[error("it was not proved within {} ms (plugin-proving-timeout): {at}", .limit.as_millis())]
    Unproved {
        /// The time for start, trial, golden cases and cost together.
        limit: Duration,
        /// How far it came.
        at: Box<Self>,
    },
    /// The file of its golden cases is wrong.
    #[error(transparent)]
    Cases(#[from] CasesError),
    /// It does not do what its golden cases say.
    #[error(transparent)]
    Golden(GoldenError),
    /// It costs more than its manifest allows.
    #[error(
        "{stage} needs {fuel} fuel per log (the mean over {logs} logs), over the budget.fuel_per_log of {budget} in {file}"
    )]
    Budget {
        /// The stage.
        stage: Stage,
        /// What it needs.
        fuel: u64,
        /// What it may need.
        budget: u64,
        /// Over how many logs.
        logs: usize,
        /// The manifest's file name.
        file: String,
    },
    /// Its cost could not be counted.
    #[error("its cost cannot be counted for budget.fuel_per_log: {cause}")]
    Meter {
        /// Why.
        cause: String,
    },
    /// It was a canary, and taken back.
    #[error(
        "this version was rolled back: {reason}. Put another in its place, or remove {note} to try it again"
    )]
    RolledBack {
        /// What it did wrong.
        reason: String,
        /// The file that says so.
        note: String,
    },
}

/// A call of a guest that failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The guest trapped, mostly a panic.
    #[error("{0}")]
    Trap(String),
    /// The deadline passed.
    #[error("deadline of {} ms passed{said}", .limit.as_millis())]
    Deadline {
        /// The budget.
        limit: Duration,
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
